#include "vm_doctor.h"

#include "authorized_keys.h"
#include "cleanup.h"
#include "doctor_cli.h"
#include "doctor_machine.h"
#include "piconf.h"

static void check_firewall(struct doctor *doctor)
{
	doctor_check_firewall(doctor, vm_doctor_sshd_port(doctor), "the Pis' link");
}

static const struct doctor_check CHECKS[] = {
	{ "kernel", doctor_check_kernel },    { "vhci", vm_doctor_check_vhci },       { "disk", doctor_check_disk },
	{ "clock", doctor_check_clock },      { "handler", vm_doctor_check_handler }, { "login", vm_doctor_check_login },
	{ "keys", vm_doctor_check_keys },     { "sshd", vm_doctor_check_sshd },       { "relay", vm_doctor_check_relay },
	{ "unpair", vm_doctor_check_unpair }, { "pis", vm_doctor_check_pis },         { "direct", vm_doctor_check_direct },
	{ "mdns", doctor_check_mdns },        { "firewall", check_firewall },
};

#define COMMAND(...)              \
	(const char *const[])     \
	{                         \
		__VA_ARGS__, NULL \
	}

static const struct doctor_part PARTS[] = {
	{ "pi.conf", DOCTOR_PART_FILE, COMMAND(PICONF_PATH) },
	{ "accept.conf", DOCTOR_PART_FILE, COMMAND("/etc/usbpush/accept.conf") },
	{ "authorized_keys", DOCTOR_PART_FILE, COMMAND(AUTHORIZED_KEYS_PATH) }, /* public ones */
	{ "os-release", DOCTOR_PART_FILE, COMMAND("/etc/os-release") },
	{ "kernel", DOCTOR_PART_FILE, COMMAND("/proc/version") },
	{ "modules", DOCTOR_PART_FILE, COMMAND("/proc/modules") },
	{ "vhci-status", DOCTOR_PART_FILE, COMMAND("/sys/devices/platform/vhci_hcd.0/status") },
	{ "ports.json", DOCTOR_PART_FILE, COMMAND("/run/usbpush/ports.json") },
	{ "sshd-effective", DOCTOR_PART_COMMAND, COMMAND("/usr/sbin/sshd", "-T", "-C", "user=usbpush,host=localhost,addr=127.0.0.1") },
	{ "packages", DOCTOR_PART_COMMAND,
	  COMMAND("/usr/bin/dpkg-query", "-W", "usbpush-*", "openssh-server", "libcurl*", "linux-image-*") },
	{ "units", DOCTOR_PART_COMMAND,
	  COMMAND("/usr/bin/systemctl", "--no-pager", "status", "usbpush-handler", "usbpush-boot-attach", "usbpush-unpair.path",
		  "usbpush-mdns", "ssh") },
	{ "log", DOCTOR_PART_COMMAND,
	  COMMAND("/usr/bin/journalctl", "--no-pager", "-o", "short-iso-precise", "-n", "3000", "-u", "usbpush-*", "-u", "ssh") },
	{ "kernel-log", DOCTOR_PART_COMMAND, COMMAND("/usr/bin/journalctl", "--no-pager", "-k", "-o", "short-monotonic", "-n", "2000") },
	{ "addresses", DOCTOR_PART_COMMAND, COMMAND("/usr/sbin/ip", "-brief", "address") },
	{ "routes", DOCTOR_PART_COMMAND, COMMAND("/usr/sbin/ip", "route") },
	{ "firewall", DOCTOR_PART_COMMAND, COMMAND("/usr/sbin/nft", "list", "ruleset") },
};

const struct doctor_check *vm_doctor_checks(size_t *ret_n)
{
	*ret_n = ARRAY_SIZE(CHECKS);
	return CHECKS;
}

int vm_doctor_main(int argc, char **argv)
{
	static const struct doctor_side side = { "usbpush-vm", CHECKS, ARRAY_SIZE(CHECKS), PARTS, ARRAY_SIZE(PARTS) };

	return doctor_cli(argc, argv, &side);
}
