#include <stdint.h>
#include <string.h>

#include "doctor_machine.h"
#include "doctor_network.h"
#include "pi_doctor.h"

/* Devices for which the direct road was chosen, whether or not they are on it. */
static unsigned count_direct(const json_t *devices)
{
	const json_t *device;
	unsigned n = 0;
	size_t i;

	json_array_foreach(devices, i, device) {
		const char *transport = json_string_value(json_object_get(device, "transport"));
		const char *state = json_string_value(json_object_get(device, "state"));

		n += transport && state && strcmp(transport, "direct") == 0 && strcmp(state, "IGNORED") != 0;
	}
	return n;
}

static void check_port(struct doctor *doctor, unsigned port, unsigned n_direct)
{
	if (!doctor_port_answers(port)) {
		doctor_say(doctor, DOCTOR_WRONG, "See: journalctl -u usbpush-exporter. Then: sudo systemctl restart usbpush-exporter",
			   "usbpush-exporter says that it gives devices out on port %u, and nothing answers there", port);
		return;
	}
	doctor_say(doctor, DOCTOR_OK, NULL, "port %u is open, for the VM and what ALLOW= names; %u devices take it", port, n_direct);
	doctor_check_firewall(doctor, port, "the VM, which fetches devices there");
}

void pi_doctor_check_direct(struct doctor *doctor)
{
	const json_t *port = json_object_get(doctor->status, "direct_port");
	unsigned n_direct = count_direct(json_object_get(doctor->status, "devices"));

	if (!doctor->status)
		doctor_say(doctor, DOCTOR_SKIPPED, NULL, "usbpush-exporter does not answer");
	else if (json_is_integer(port) && json_integer_value(port) > 0 && json_integer_value(port) <= UINT16_MAX)
		check_port(doctor, (unsigned)json_integer_value(port), n_direct);
	else if (n_direct)
		doctor_say(doctor, DOCTOR_WRONG, "See above what usbpush-exporter says, or let them take the tunnel: TRANSPORT=tunnel",
			   "%u devices are to take the direct road, and it is closed", n_direct);
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "closed: devices take the tunnel, and nothing listens for them");
}
