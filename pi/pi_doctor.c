#include "pi_doctor.h"

#include "cleanup.h"
#include "control.h"
#include "doctor_cli.h"
#include "doctor_machine.h"
#include "portal_port.h"
#include "vm_config.h"

static void check_firewall(struct doctor *doctor)
{
	uint16_t port = PORTAL_PORT_DEFAULT;
	char path[DOCTOR_PATH_SIZE];

	if (doctor_path(doctor, PORTAL_CONFIG_PATH, path))
		(void)portal_port_read(path, &port); /* pi_doctor_check_portal() looks at what is there */
	doctor_check_firewall(doctor, port, "the web page, and a VM that pairs by six digits");
}

static const struct doctor_check CHECKS[] = {
	{ "kernel", doctor_check_kernel },
	{ "usbip", pi_doctor_check_usbip },
	{ "disk", doctor_check_disk },
	{ "clock", doctor_check_clock },
	{ "exporter", pi_doctor_check_exporter },
	{ "settings", pi_doctor_check_settings },
	{ "key", pi_doctor_check_key },
	{ "mdns", doctor_check_mdns },
	{ "name", pi_doctor_check_name },
	{ "network", pi_doctor_check_network },
	{ "link", pi_doctor_check_link },
	{ "direct", pi_doctor_check_direct },
	{ "devices", pi_doctor_check_devices },
	{ "portal", pi_doctor_check_portal },
	{ "firewall", check_firewall },
};

#define COMMAND(...)              \
	(const char *const[])     \
	{                         \
		__VA_ARGS__, NULL \
	}

/* The key and the owner's password are in /var/lib, the setup code in /run: nothing of either is read. */
static const struct doctor_part PARTS[] = {
	{ "vm.conf", DOCTOR_PART_FILE, COMMAND(VM_CONFIG_PATH) },
	{ "portal.conf", DOCTOR_PART_FILE, COMMAND(PORTAL_CONFIG_PATH) },
	{ "devices.conf", DOCTOR_PART_FILE, COMMAND("/etc/usbpush/devices.conf") },
	{ "os-release", DOCTOR_PART_FILE, COMMAND("/etc/os-release") },
	{ "kernel", DOCTOR_PART_FILE, COMMAND("/proc/version") },
	{ "modules", DOCTOR_PART_FILE, COMMAND("/proc/modules") },
	{ "match_busid", DOCTOR_PART_FILE, COMMAND("/sys/bus/usb/drivers/usbip-host/match_busid") },
	{ "held", DOCTOR_PART_FILE, COMMAND("/run/usbpush/held") },
	{ "kept", DOCTOR_PART_FILE, COMMAND("/run/usbpush/kept") },
	{ "events", DOCTOR_PART_COMMAND, COMMAND("/usr/bin/usbpush", "events") },
	{ "packages", DOCTOR_PART_COMMAND,
	  COMMAND("/usr/bin/dpkg-query", "-W", "usbpush-*", "libssh*", "libmicrohttpd*", "linux-image-*") },
	{ "units", DOCTOR_PART_COMMAND,
	  COMMAND("/usr/bin/systemctl", "--no-pager", "status", "usbpush-exporter", "usbpush-portal", "usbpush-mdns") },
	{ "log", DOCTOR_PART_COMMAND,
	  COMMAND("/usr/bin/journalctl", "--no-pager", "-o", "short-iso-precise", "-n", "3000", "-u", "usbpush-*") },
	{ "kernel-log", DOCTOR_PART_COMMAND, COMMAND("/usr/bin/journalctl", "--no-pager", "-k", "-o", "short-monotonic", "-n", "2000") },
	{ "addresses", DOCTOR_PART_COMMAND, COMMAND("/usr/sbin/ip", "-brief", "address") },
	{ "routes", DOCTOR_PART_COMMAND, COMMAND("/usr/sbin/ip", "route") },
	{ "usb", DOCTOR_PART_FILE, COMMAND("/sys/kernel/debug/usb/devices") },
};

const struct doctor_check *pi_doctor_checks(size_t *ret_n)
{
	*ret_n = ARRAY_SIZE(CHECKS);
	return CHECKS;
}

const struct doctor_part *pi_doctor_parts(size_t *ret_n)
{
	*ret_n = ARRAY_SIZE(PARTS);
	return PARTS;
}

int command_doctor(int argc, char **argv)
{
	static const struct doctor_side side = { "usbpush", CHECKS, ARRAY_SIZE(CHECKS), PARTS, ARRAY_SIZE(PARTS) };

	return doctor_cli(argc, argv, &side);
}
