#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "config.h"
#include "control.h"
#include "doctor_machine.h"
#include "doctor_network.h"
#include "pi_doctor.h"
#include "portal_port.h"

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* {"code","text","cure"}, or null. Whether it was one. */
static bool say_failure(struct doctor *doctor, enum doctor_state state, const char *where, const json_t *failure)
{
	if (!json_is_object(failure))
		return false;
	doctor_say(doctor, state, text_of(failure, "cure"), "%s%s%s", where, *where ? ": " : "", text_of(failure, "text"));
	return true;
}

void pi_doctor_check_exporter(struct doctor *doctor)
{
	if (doctor_ask_daemon(doctor, CONTROL_SOCKET, "usbpush-exporter", "software"))
		(void)say_failure(doctor, DOCTOR_WRONG, "", json_object_get(doctor->status, "problem"));
}

static bool has_status(struct doctor *doctor)
{
	if (!doctor->status)
		doctor_say(doctor, DOCTOR_SKIPPED, NULL, "usbpush-exporter does not answer");
	return doctor->status;
}

void pi_doctor_check_link(struct doctor *doctor)
{
	const json_t *link = json_object_get(doctor->status, "link"), *rtt = json_object_get(link, "rtt_ms");
	const char *state = text_of(link, "state"), *software = text_of(link, "vm_software");

	if (!has_status(doctor))
		return;
	if (strcmp(state, "UP") == 0) {
		doctor_say(doctor, DOCTOR_OK, NULL, "up: usbpush-handler on %.60s answers%s", text_of(link, "vm"),
			   json_is_number(rtt) && json_number_value(rtt) > 1000 ? ", slowly" : "");
		if (*software && strcmp(software, USBPUSH_VERSION) != 0)
			doctor_say(doctor, DOCTOR_NOTE, "Install the same version on both.",
				   "the VM has usbpush %.20s, this Pi " USBPUSH_VERSION, software);
		return;
	}
	if (strcmp(state, "UNPAIRED") == 0)
		doctor_say(doctor, DOCTOR_SKIPPED, NULL, "no VM is paired");
	else if (!say_failure(doctor, DOCTOR_WRONG, state, json_object_get(link, "error")))
		doctor_say(doctor, DOCTOR_NOTE, "Ask again in a few seconds; usbpush test goes the way step by step.",
			   "%.20s: it is being tried", state);
}

void pi_doctor_check_devices(struct doctor *doctor)
{
	const json_t *device;
	unsigned n_attached = 0;
	size_t i;

	if (!has_status(doctor))
		return;
	json_array_foreach(json_object_get(doctor->status, "devices"), i, device) {
		const char *state = text_of(device, "state");

		n_attached += strcmp(state, "ATTACHED") == 0;
		if (strcmp(state, "FAILED") == 0)
			(void)say_failure(doctor, DOCTOR_WRONG, text_of(device, "busid"), json_object_get(device, "error"));
	}
	doctor_say(doctor, DOCTOR_OK, NULL, "%u of %zu on the VM; usbpush devices --explain says why others are not", n_attached,
		   json_array_size(json_object_get(doctor->status, "devices")));
}

/* ---- the portal ---- */

struct portal_settings {
	uint16_t port;
	bool is_elsewhere; /* it listens on one address only */
};

static int on_setting(const char *key, const char *value, unsigned line, char *expected, size_t size, void *userdata)
{
	struct portal_settings *settings = userdata;

	(void)line;
	(void)expected;
	(void)size;
	if (strcmp(key, "PORTAL_PORT") == 0)
		(void)portal_port_parse(value, &settings->port);
	if (strcmp(key, "PORTAL_ADDRESS") == 0 && *value && strcmp(value, "127.0.0.1") != 0)
		settings->is_elsewhere = true;
	return 0;
}

static void pass_over(const struct config_problem *problem, void *userdata)
{
	(void)problem;
	(void)userdata;
}

void pi_doctor_check_portal(struct doctor *doctor)
{
	struct portal_settings settings = { .port = PORTAL_PORT_DEFAULT };
	char path[DOCTOR_PATH_SIZE];

	if (doctor_path(doctor, PORTAL_CONFIG_PATH, path))
		(void)config_read(path, on_setting, pass_over, &settings);
	if (settings.is_elsewhere)
		doctor_say(doctor, DOCTOR_OK, NULL, "it listens on an address of its own (%s)", PORTAL_CONFIG_PATH);
	else if (doctor_port_answers(settings.port))
		doctor_say(doctor, DOCTOR_OK, NULL, "the web page answers on port %u", settings.port);
	else
		doctor_say(doctor, DOCTOR_NOTE,
			   "See: systemctl status usbpush-portal. Without it devices are pushed all the same; pairing by six "
			   "digits is not possible.",
			   "nothing answers on port %u", settings.port);
}
