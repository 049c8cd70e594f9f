#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "doctor_network.h"
#include "usbip_wire.h"
#include "vm_doctor.h"

#define LIMIT_MS 4000
#define PORT     ((unsigned)USBIP_PORT)

static bool has_direct(const json_t *pi)
{
	const json_t *device;
	size_t i;

	json_array_foreach(json_object_get(pi, "devices"), i, device) {
		const char *transport = json_string_value(json_object_get(device, "transport"));

		if (transport && strcmp(transport, "direct") == 0)
			return true;
	}
	return false;
}

static void check_road(struct doctor *doctor, const char *name, const char *address)
{
	_cleanup_close_ int fd = doctor_connect_to(address, PORT, LIMIT_MS);

	if (fd >= 0)
		doctor_say(doctor, DOCTOR_OK, NULL, "%s gives devices out at %s port %u", name, address, PORT);
	else
		doctor_say(
			doctor, DOCTOR_WRONG,
			"On the Pi: sudo usbpush doctor. A firewall between the two must let this port in; the tunnel needs none: TRANSPORT=tunnel",
			"%s has devices on the direct road, and %s port %u can't be reached: %s", name, address, PORT, strerror(-fd));
}

void vm_doctor_check_direct(struct doctor *doctor)
{
	const json_t *pi;
	bool is_used = false;
	size_t i;

	if (!doctor->status) {
		doctor_say(doctor, DOCTOR_SKIPPED, NULL, "usbpush-handler does not answer");
		return;
	}
	json_array_foreach(json_object_get(doctor->status, "pis"), i, pi) {
		const char *name = json_string_value(json_object_get(pi, "name")),
			   *address = json_string_value(json_object_get(pi, "address"));

		if (!name || !address || !has_direct(pi))
			continue;
		is_used = true;
		check_road(doctor, name, address);
	}
	if (!is_used)
		doctor_say(doctor, DOCTOR_OK, NULL, "no Pi has a device on it: all take the tunnel");
}
