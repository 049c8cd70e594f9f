#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "doctor_machine.h"
#include "piconf.h"
#include "vm_cli.h"
#include "vm_doctor.h"

#define RELAY "/usr/libexec/usbpush/usbpush-relay"

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* ---- settings ---- */

/* What piconf_read() hands to on_problem is the piconf: its owner is found behind it. */
struct settings {
	struct piconf piconf; /* first */
	struct doctor *doctor;
};

static void say_problem(const struct config_problem *problem, void *userdata)
{
	const struct settings *settings = userdata;

	doctor_say(settings->doctor, DOCTOR_WRONG, "Mend the line (pi.conf(5)), then: sudo systemctl reload usbpush-handler", "%s",
		   problem->text);
}

static void check_settings(struct doctor *doctor)
{
	_cleanup_free_ struct settings *settings = calloc(1, sizeof(*settings));
	char path[DOCTOR_PATH_SIZE];
	int r;

	if (!settings || !doctor_path(doctor, PICONF_PATH, path))
		return;
	settings->doctor = doctor;
	r = piconf_read(path, say_problem, &settings->piconf);
	if (r < 0)
		doctor_say(doctor, DOCTOR_WRONG, "Look at the file's owner and mode.", "%s: %s", PICONF_PATH, strerror(-r));
}

/* ---- checks ---- */

void vm_doctor_check_handler(struct doctor *doctor)
{
	const json_t *error;

	check_settings(doctor);
	if (!doctor_ask_daemon(doctor, VM_CLI_SOCKET_PATH, "usbpush-handler", "version"))
		return;
	error = json_object_get(json_object_get(doctor->status, "vhci"), "error");
	if (json_is_object(error))
		doctor_say(doctor, DOCTOR_WRONG, text_of(error, "cure"), "%s", text_of(error, "text"));
}

static void check_devices(struct doctor *doctor, const json_t *pi)
{
	const json_t *device, *error;
	size_t i;

	json_array_foreach(json_object_get(pi, "devices"), i, device) {
		error = json_object_get(device, "error");
		if (json_is_object(error))
			doctor_say(doctor, DOCTOR_WRONG, text_of(error, "cure"), "%s: %s: %s", text_of(pi, "name"),
				   text_of(device, "pi_busid"), text_of(error, "text"));
	}
}

void vm_doctor_check_pis(struct doctor *doctor)
{
	const json_t *pis = json_object_get(doctor->status, "pis"), *pi;
	size_t i;

	if (!doctor->status) {
		doctor_say(doctor, DOCTOR_SKIPPED, NULL, "usbpush-handler does not answer");
		return;
	}
	if (json_array_size(pis) == 0)
		doctor_say(doctor, DOCTOR_NOTE, "sudo usbpush-vm pair", "no Pi is paired");
	json_array_foreach(pis, i, pi) {
		if (strcmp(text_of(pi, "state"), "up") == 0)
			doctor_say(doctor, DOCTOR_OK, NULL, "%s is connected, with %zu devices", text_of(pi, "name"),
				   json_array_size(json_object_get(pi, "devices")));
		else
			doctor_say(doctor, DOCTOR_NOTE, "Is it on? On it: usbpush doctor says what keeps it away.", "%s is %s%s%s",
				   text_of(pi, "name"), text_of(pi, "state"), *text_of(pi, "reason") ? ": " : "", text_of(pi, "reason"));
		check_devices(doctor, pi);
	}
}

/* The way of a Pi's channel, from where sshd starts the relay to an answer of the handler, by a first line that it must refuse. */
static void check_answer(struct doctor *doctor, const char *pi_id)
{
	const char *const command[] = { RELAY, "--pi", pi_id, NULL };
	_cleanup_free_ char *answer = NULL;
	int r = doctor_command(doctor, command, "{\"type\":\"beat\"}\n", &answer);

	if (r >= 0 && strncmp(answer, "{\"", 2) == 0 && strstr(answer, "\"refused\""))
		doctor_say(doctor, DOCTOR_OK, NULL, "a channel reaches the handler, and its answer comes back");
	else if (r >= 0)
		doctor_say(doctor, DOCTOR_WRONG, "See: journalctl -u usbpush-handler",
			   "the relay ended without the handler's answer: %.150s", *answer ? answer : "nothing");
	else
		doctor_say(doctor, DOCTOR_WRONG, "See: journalctl -u usbpush-handler", "the relay got no answer: %s", strerror(-r));
}

void vm_doctor_check_relay(struct doctor *doctor)
{
	const char *pi_id = text_of(json_array_get(json_object_get(doctor->status, "pis"), 0), "id");
	char path[DOCTOR_PATH_SIZE];

	if (!doctor_path(doctor, RELAY, path) || access(path, X_OK) < 0)
		doctor_say(doctor, DOCTOR_WRONG, "sudo apt install --reinstall usbpush-vm", RELAY " can't be run: %s", strerror(errno));
	else if (geteuid() != 0)
		doctor_say(doctor, DOCTOR_SKIPPED, "Run it with sudo.", "only root and the login may speak for a Pi");
	else if (!piconf_is_id(pi_id))
		doctor_say(doctor, DOCTOR_SKIPPED, NULL, "no Pi is paired, or the handler does not answer");
	else
		check_answer(doctor, pi_id);
}
