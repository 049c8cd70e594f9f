/* Which devices are shared, by what they are. */

#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "fake_modules.h"
#include "policy.h"
#include "serial_driver.h"
#include "usb_sample.h"

#define ON_THE_PI "/sys/devices/platform/scb/fd500000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0/usb1/1-1/1-1.4"

static struct temp_tree tree;
static struct policy *policy;

static struct policy_options options;
static char rules_path[128], sysfs_root[128], proc_root[128], problems[2048];
static struct identity identity;
static struct busid busid;

static void on_problem(const struct config_problem *problem, void *userdata)
{
	size_t used = strlen(problems);

	(void)userdata;
	ck_assert_int_eq(strncmp(problem->text, rules_path, strlen(rules_path)), 0);
	snprintf(problems + used, sizeof(problems) - used, "%s\n", problem->text + strlen(rules_path));
}

static void setup(void)
{
	temp_tree_new(&tree);
	snprintf(rules_path, sizeof(rules_path), "%s/devices.conf", tree.path);
	snprintf(sysfs_root, sizeof(sysfs_root), "%s/sys", tree.path);
	snprintf(proc_root, sizeof(proc_root), "%s/proc", tree.path);
	options = (struct policy_options){ .modules_dir = fake_modules_make(&tree, SERIAL_AND_OTHER_MODULES, NULL),
					   .rules_path = rules_path,
					   .sysfs_root = sysfs_root,
					   .proc_root = proc_root };
	problems[0] = '\0';
	ck_assert_int_eq(busid_parse("1-1.4", &busid), 0);
	ck_assert_int_eq(policy_new(&options, on_problem, NULL, &policy), 0);
}

static void teardown(void)
{
	policy = policy_free(policy);
	temp_tree_free(&tree);
}

/* What the policy is asked about; in buffers that live until the next call. */
static struct policy_device device_of(const struct usb_sample *sample, const char *syspath)
{
	static struct descriptors descriptors;

	usb_sample_parse(sample, &descriptors);
	identity = (struct identity){ .vid = sample->vid, .pid = sample->pid, .bcd_device = sample->bcd_device };
	snprintf(identity.serial, sizeof(identity.serial), "%s", sample->serial ? sample->serial : "");
	snprintf(identity.product, sizeof(identity.product), "%s", sample->product ? sample->product : "");
	return (struct policy_device){ syspath, &busid, &identity, &descriptors };
}

static struct policy_decision decide_by(struct policy *by, const struct usb_sample *sample, const char *syspath)
{
	struct policy_device device = device_of(sample, syspath);
	struct policy_decision decision;

	memset(&decision, 'x', sizeof(decision));
	policy_decide(by, &device, &decision);
	return decision;
}

static struct policy_decision decide(const struct usb_sample *sample, const char *syspath)
{
	return decide_by(policy, sample, syspath);
}

static const struct {
	const struct usb_sample *device;
	bool is_shared;
	const char *reason;
} DECISIONS[] = {
	{ &FT232R, true, "serial driver ftdi_sio" },
	{ &CP2102, true, "serial driver cp210x" },
	{ &CH340, true, "serial driver ch341" },
	{ &ESP32_S3, true, "serial driver cdc_acm" },
	{ &ARDUINO_UNO, true, "serial driver cdc_acm" },
	{ &HUB, false, "a hub" },
	{ &KEYBOARD_DEVICE, false, "no serial driver fits it" },
	{ &DISK, false, "no serial driver fits it" },
	{ &MYSTERY, false, "no serial driver fits it" },  /* only usbserial's generic driver would */
	{ &RTL8153, false, "has a network interface" },   /* by its driver alone */
	{ &ECM_MODEM, false, "has a network interface" }, /* whatever else it has */
	{ &RNDIS_PHONE, false, "has a network interface" },
	{ &LTE_MODEM, false, "has a network interface" },
};

START_TEST(a_device_is_shared_for_what_it_is)
{
	struct policy_decision decision = decide(DECISIONS[_i].device, ON_THE_PI);

	ck_assert_str_eq(decision.reason, DECISIONS[_i].reason);
	ck_assert(decision.is_shared == DECISIONS[_i].is_shared);
}
END_TEST

START_TEST(a_device_that_came_over_the_network_is_not_pushed_on)
{
	struct policy_decision decision = decide(&FT232R, "/sys/devices/platform/vhci_hcd.0/usb3/3-1");

	ck_assert(!decision.is_shared);
	ck_assert_str_eq(decision.reason, "itself attached over the network");
}
END_TEST

START_TEST(a_hub_by_an_interface_alone_is_a_hub)
{
	struct usb_sample odd = FT232R;

	odd.n_interfaces = 2;
	odd.interfaces[1] = (struct usb_interface){ 1, 0x09, 0, 0 };
	ck_assert_str_eq(decide(&odd, ON_THE_PI).reason, "a hub");
}
END_TEST

/* One more interface makes an FT232R taboo, wherever it stands. */
static const struct usb_interface NETWORKS[] = {
	{ 1, 0x02, 0x06, 0x00 }, /* CDC Ethernet */
	{ 1, 0x02, 0x0d, 0x00 }, /* NCM */
	{ 1, 0x02, 0x0e, 0x00 }, /* MBIM */
	{ 1, 0xe0, 0x01, 0x03 }, /* RNDIS */
	{ 1, 0xef, 0x04, 0x01 }, /* RNDIS, as Windows phones say it */
};

START_TEST(a_network_interface_outweighs_a_serial_one_in_any_place)
{
	struct usb_sample both = FT232R;

	both.n_interfaces = 2;
	both.interfaces[1] = NETWORKS[_i];
	ck_assert(!decide(&both, ON_THE_PI).is_shared);
	both.interfaces[0] = NETWORKS[_i];
	both.interfaces[1] = FT232R.interfaces[0];
	ck_assert(!decide(&both, ON_THE_PI).is_shared);
}
END_TEST

START_TEST(bluetooth_is_no_network_of_its_own)
{
	struct usb_sample dongle = MYSTERY;

	dongle.interfaces[0] = (struct usb_interface){ 0, 0xe0, 0x01, 0x01 };
	ck_assert_str_eq(decide(&dongle, ON_THE_PI).reason, "no serial driver fits it");
}
END_TEST

START_TEST(a_serial_interface_counts_also_behind_others)
{
	struct usb_sample composite = KEYBOARD_DEVICE;

	composite.n_interfaces = 4;
	composite.interfaces[2] = (struct usb_interface){ 2, 0x02, 0x02, 0x01 };
	composite.interfaces[3] = (struct usb_interface){ 3, 0x0a, 0x00, 0x00 };
	ck_assert_str_eq(decide(&composite, ON_THE_PI).reason, "serial driver cdc_acm");
}
END_TEST

START_TEST(a_device_without_interfaces_is_not_shared)
{
	struct usb_sample bare = FT232R;

	bare.n_interfaces = 0;
	ck_assert(!decide(&bare, ON_THE_PI).is_shared);
}
END_TEST

static struct policy *policy_of(const char *modules_dir)
{
	static struct policy_options own;
	struct policy *made = NULL;

	own = options;
	own.modules_dir = modules_dir;
	ck_assert_int_eq(policy_new(&own, NULL, NULL, &made), 0);
	return made;
}

START_TEST(a_driver_built_into_the_kernel_counts_as_one)
{
	static const struct fake_module none[] = { { 0 } };
	struct temp_tree built;
	struct policy *own;

	temp_tree_new(&built);
	own = policy_of(
		fake_modules_make(&built, none,
				  "cdc_acm.alias=usb:v*p*d*dc*dsc*dp*ic02isc02ip01in*\ncdc_acm.file=drivers/usb/class/cdc-acm\n"
				  "smsc95xx.alias=usb:v0424pEC00d*dc*dsc*dp*ic*isc*ip*in*\nsmsc95xx.file=drivers/net/usb/smsc95xx\n"));
	ck_assert_str_eq(decide_by(own, &ARDUINO_UNO, ON_THE_PI).reason, "serial driver cdc_acm");
	ck_assert_str_eq(decide_by(own, &LAN9514, ON_THE_PI).reason, "has a network interface");
	policy_free(own);
	temp_tree_free(&built);
}
END_TEST

START_TEST(without_a_module_index_only_what_its_class_tells_is_shared)
{
	struct policy *own = policy_of("/nonexistent/modules");
	struct policy_decision decision = decide_by(own, &FT232R, ON_THE_PI);

	ck_assert(!decision.is_shared);
	ck_assert_msg(strstr(decision.reason, "module index can't be read") && strstr(decision.reason, "run depmod"), "%s",
		      decision.reason);
	ck_assert(decide_by(own, &ARDUINO_UNO, ON_THE_PI).is_shared);
	ck_assert(!decide_by(own, &ECM_MODEM, ON_THE_PI).is_shared);
	policy_free(own);
}
END_TEST

START_TEST(a_module_index_that_is_there_later_is_found_later)
{
	static const struct fake_module ftdi[] = {
		{ "drivers/usb/serial/ftdi_sio.ko", { "usb:v0403p6001d*dc*dsc*dp*ic*isc*ip*in*" } },
		{ 0 },
	};
	struct temp_tree late;
	struct policy *own;

	temp_tree_new(&late);
	own = policy_of(temp_tree_path(&late, "lib/modules/1.0"));
	ck_assert(!decide_by(own, &FT232R, ON_THE_PI).is_shared);
	(void)fake_modules_make(&late, ftdi, NULL);
	ck_assert_str_eq(decide_by(own, &FT232R, ON_THE_PI).reason, "serial driver ftdi_sio");
	policy_free(own);
	temp_tree_free(&late);
}
END_TEST

/* ---- rules ---- */

static void rules(const char *content)
{
	temp_tree_put(&tree, "devices.conf", content);
	problems[0] = '\0';
	ck_assert_int_eq(policy_reload(policy, on_problem, NULL), 0);
}

static void expect_rule(const struct policy_decision *decision, const char *expected)
{
	ck_assert_int_eq(strncmp(decision->rule, rules_path, strlen(rules_path)), 0);
	ck_assert_str_eq(decision->rule + strlen(rules_path), expected);
}

START_TEST(the_owners_rule_comes_before_the_default)
{
	struct policy_decision decision;

	rules("# mine\nignore 0403:6001 name=bench\nshare class=keyboard\nshare 0781:* reset-before-share\n");
	decision = decide(&FT232R, ON_THE_PI);
	ck_assert(!decision.is_shared && !decision.is_never);
	ck_assert_str_eq(decision.reason, "a rule keeps it here");
	ck_assert_str_eq(decision.name, "bench");
	expect_rule(&decision, ":2: ignore 0403:6001 name=bench");
	decision = decide(&KEYBOARD_DEVICE, ON_THE_PI);
	ck_assert(decision.is_shared && !decision.is_reset);
	expect_rule(&decision, ":3: share class=03:01:01");
	ck_assert(decide(&DISK, ON_THE_PI).is_reset);
	decision = decide(&CH340, ON_THE_PI);
	ck_assert(decision.is_shared);
	ck_assert_str_eq(decision.rule, "");
}
END_TEST

START_TEST(default_in_a_rule_means_what_it_is)
{
	rules("default *:* name=all\n");
	ck_assert(decide(&FT232R, ON_THE_PI).is_shared);
	ck_assert_str_eq(decide(&FT232R, ON_THE_PI).name, "all");
	ck_assert(!decide(&KEYBOARD_DEVICE, ON_THE_PI).is_shared);
}
END_TEST

static bool foresees(const struct usb_sample *sample, const char *syspath)
{
	const struct policy_device device = device_of(sample, syspath);

	return policy_foresees_sharing(policy, &device);
}

/* Whatever its serial number is, and whatever its drivers make of it. */
static const struct {
	const char *rules;
	bool is_foreseen;
} FORESEEN[] = {
	{ "", true },
	{ "share 0403:*\n", true },
	{ "default *:* name=all\n", true },
	{ "share serial=A* name=mine\nignore 10c4:*\n", true },
	{ "share 0403:6001 backend=usbfs\n", true },
	{ "share 0403:6001\nignore *:*\n", true },
	{ "share *:* transport=tunnel\n", true },
	{ "share serial=A50285BI name=mine\nignore *:*\n", false },
	{ "ignore serial=A*\nshare *:*\n", false },
	{ "ignore *:*\n", false },
	{ "ask driver=ftdi_sio\n", false },
	{ "share serial=A* transport=direct\n", false },
	{ "share serial=A* reset-before-share\n", false },
	{ "ignore 10c4:ea60 name=board also=0403:6001\n", false },
};

START_TEST(what_will_be_shared_is_foreseen_where_no_serial_number_changes_it)
{
	rules(FORESEEN[_i].rules);
	ck_assert_int_eq(foresees(&FT232R, ON_THE_PI), FORESEEN[_i].is_foreseen);
	ck_assert(!FORESEEN[_i].is_foreseen || decide(&FT232R, ON_THE_PI).is_shared);
}
END_TEST

START_TEST(what_its_drivers_may_make_of_it_is_not_foreseen)
{
	rules("share *:*\n");
	ck_assert(foresees(&CP2102, ON_THE_PI) && foresees(&ESP32_S3, ON_THE_PI));
	ck_assert(!foresees(&DISK, ON_THE_PI) && !foresees(&KEYBOARD_DEVICE, ON_THE_PI) && !foresees(&RTL8153, ON_THE_PI));
	ck_assert(!foresees(&ECM_MODEM, ON_THE_PI) && !foresees(&HUB, ON_THE_PI));
	ck_assert(!foresees(&FT232R, "/sys/devices/platform/vhci_hcd.0/usb3/3-1"));
}
END_TEST

START_TEST(the_direct_road_is_not_foreseen_unless_a_rule_takes_the_tunnel)
{
	policy_set_direct(policy, true);
	ck_assert(!foresees(&FT232R, ON_THE_PI));
	rules("share 0403:* transport=tunnel\n");
	ck_assert(foresees(&FT232R, ON_THE_PI));
}
END_TEST

/* What no rule shares, even one about all. */
static const struct {
	const struct usb_sample *device;
	const char *syspath, *reason;
} NEVER[] = {
	{ &HUB, ON_THE_PI, "a hub" },
	{ &RTL8153, ON_THE_PI, "has a network interface" },
	{ &ECM_MODEM, ON_THE_PI, "has a network interface" },
	{ &LTE_MODEM, ON_THE_PI, "has a network interface" },
	{ &FT232R, "/sys/devices/platform/vhci_hcd.0/usb3/3-1", "itself attached over the network" },
};

START_TEST(no_rule_shares_what_the_pi_stands_on)
{
	struct policy_decision decision;

	rules("share *:*\n");
	decision = decide(NEVER[_i].device, NEVER[_i].syspath);
	ck_assert(!decision.is_shared && decision.is_never);
	ck_assert_str_eq(decision.reason, NEVER[_i].reason);
	rules("ask *:*\n");
	decision = decide(NEVER[_i].device, NEVER[_i].syspath);
	ck_assert(!decision.is_asking && decision.is_never);
}
END_TEST

#define DISK_PLACE "devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.4"

static void put_disk(const char *mountinfo)
{
	temp_tree_put(&tree, "sys/" DISK_PLACE "/1-1.4:1.0/host0/block/sda/dev", "8:0\n");
	temp_tree_put(&tree, "sys/" DISK_PLACE "/1-1.4:1.0/host0/block/sda/sda1/dev", "8:1\n");
	temp_tree_make_dir(&tree, "sys/class/block");
	temp_tree_link(&tree, "sys/class/block/sda", "../../" DISK_PLACE "/1-1.4:1.0/host0/block/sda");
	temp_tree_link(&tree, "sys/class/block/sda1", "../../" DISK_PLACE "/1-1.4:1.0/host0/block/sda/sda1");
	if (mountinfo)
		temp_tree_put(&tree, "proc/1/mountinfo", mountinfo);
	rules("share *:*\n");
}

START_TEST(a_disk_that_is_not_in_use_can_be_shared)
{
	put_disk("21 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw\n");
	temp_tree_put(&tree, "proc/swaps", "Filename Type Size Used Priority\n/dev/sda12 partition 1 0 -2\n");
	ck_assert(decide(&DISK, "/sys/" DISK_PLACE).is_shared);
}
END_TEST

static const struct {
	const char *mountinfo, *swaps, *reason;
} USES[] = {
	{ "21 1 8:1 / / rw,noatime shared:1 - ext4 /dev/root rw\n", "", "it holds sda1, mounted at /" },
	{ "22 21 179:1 / /x rw - ext4 /dev/y rw\n21 1 8:0 / /media/usb rw - vfat /dev/sda rw\n", "",
	  "it holds sda, mounted at /media/usb" },
	{ "21 1 0:33 / /data rw - btrfs /dev/sda1 rw\n", "", "it holds sda1, mounted at /data" },
	{ "", "Filename\n/dev/sda1 partition 1 0 -2\n", "it holds sda1, this Pi's swap" },
	{ NULL, "", "what is mounted can't be read" },
};

START_TEST(the_disk_that_the_pi_uses_is_never_shared)
{
	struct policy_decision decision;

	put_disk(USES[_i].mountinfo);
	temp_tree_put(&tree, "proc/swaps", USES[_i].swaps);
	decision = decide(&DISK, "/sys/" DISK_PLACE);
	ck_assert(!decision.is_shared && decision.is_never);
	ck_assert_msg(strstr(decision.reason, USES[_i].reason), "%s", decision.reason);
	ck_assert(decide(&DISK, "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.40").is_shared); /* another one */
}
END_TEST

START_TEST(a_disk_under_a_volume_group_is_in_use)
{
	put_disk("");
	temp_tree_make_dir(&tree, "sys/" DISK_PLACE "/1-1.4:1.0/host0/block/sda/sda1/holders/dm-0");
	ck_assert_str_eq(decide(&DISK, "/sys/" DISK_PLACE).reason, "it holds sda1, which dm-0 is made of");
}
END_TEST

START_TEST(a_network_interface_that_no_index_knows_is_seen_in_sysfs)
{
	temp_tree_make_dir(&tree, "sys/class/net");
	temp_tree_link(&tree, "sys/class/net/wlan1", "../../" DISK_PLACE "/1-1.4:1.0/net/wlan1");
	rules("share *:*\n");
	ck_assert_str_eq(decide(&MYSTERY, "/sys/" DISK_PLACE).reason, "it has the network interface wlan1");
}
END_TEST

/* ---- what is said of it ---- */

static void expect_text(const char *text)
{
	json_t *string = json_string(text);

	ck_assert_msg(string != NULL, "no UTF-8: %s", text);
	json_decref(string);
}

static void repeat(const char *start, const char *what, unsigned times, const char *end, char *buffer, size_t size)
{
	size_t used = (size_t)snprintf(buffer, size, "%s", start);

	while (times-- > 0)
		used += (size_t)snprintf(buffer + used, size - used, "%s", what);
	ck_assert_int_lt(snprintf(buffer + used, size - used, "%s", end), (int)(size - used));
}

/* Characters of several bytes, which a bound must not cut; and bytes that are none. */
static const char *const STRANGE[] = { "語", "\xff", "é" };

START_TEST(a_disk_is_told_as_in_use_wherever_it_is_mounted)
{
	struct policy_decision decision;
	char line[512];

	repeat("21 1 8:1 / /media/", STRANGE[_i], 60, " rw,noatime shared:1 - ext4 /dev/sda1 rw\n", line, sizeof(line));
	put_disk(line);
	temp_tree_put(&tree, "proc/swaps", "");
	decision = decide(&DISK, "/sys/" DISK_PLACE);
	ck_assert(decision.is_never);
	ck_assert_ptr_nonnull(strstr(decision.reason, "mounted at /media/"));
	expect_text(decision.reason);
}
END_TEST

START_TEST(a_network_interface_is_told_whatever_it_is_called)
{
	temp_tree_make_dir(&tree, "sys/class/net");
	temp_tree_link(&tree, "sys/class/net/wlan\xff", "../../" DISK_PLACE "/1-1.4:1.0/net/wlan\xff");
	rules("share *:*\n");
	ck_assert_str_eq(decide(&MYSTERY, "/sys/" DISK_PLACE).reason, "it has the network interface wlan?");
}
END_TEST

START_TEST(a_long_rule_is_told_up_to_a_character)
{
	struct usb_sample sample = FT232R;
	struct policy_decision decision;
	char serial[256], line[512];

	repeat("", "瀀", 60, "", serial, sizeof(serial));
	sample.serial = serial;
	for (unsigned i = 0; i < 3; i++) { /* the bound falls on each byte of a character */
		snprintf(line, sizeof(line), "share serial=%.*s%s\n", (int)i, "**", serial);
		rules(line);
		decision = decide(&sample, ON_THE_PI);
		ck_assert_str_eq(decision.reason, "a rule shares it");
		expect_text(decision.rule);
	}
}
END_TEST

/* So that the bound falls on each byte of a character. */
static const char *const STARTS[] = { "share ", "share a", "share aa" };

START_TEST(a_long_line_that_makes_no_sense_is_told_up_to_a_character)
{
	struct policy *own;
	char line[512];

	repeat(STARTS[_i], "瀀", 100, "=x\n", line, sizeof(line));
	temp_tree_put(&tree, "devices.conf", line);
	own = policy_of(options.modules_dir);
	expect_text(decide_by(own, &FT232R, ON_THE_PI).rule);
	policy_free(own);
}
END_TEST

START_TEST(a_device_that_is_asked_for_waits_for_the_answer)
{
	struct policy_device device;
	struct policy_decision decision;

	rules("ask 0403:*\n");
	decision = decide(&FT232R, ON_THE_PI);
	ck_assert(decision.is_asking && !decision.is_shared);
	ck_assert_str_eq(decision.reason, "it waits for your yes: usbpush attach 1-1.4, or for good usbpush share 1-1.4");
	device = device_of(&FT232R, ON_THE_PI);
	policy_answer(policy, &device, true);
	ck_assert(decide(&FT232R, ON_THE_PI).is_shared);
	ck_assert_int_eq(busid_parse("1-2", &busid), 0);
	ck_assert(decide(&FT232R, ON_THE_PI).is_shared); /* the same one, elsewhere */
	identity.serial[0]++;
	policy_decide(policy, &device, &decision);
	ck_assert(decision.is_asking); /* another one */
	device = device_of(&FT232R, ON_THE_PI);
	policy_answer(policy, &device, false);
	decision = decide(&FT232R, ON_THE_PI);
	ck_assert(!decision.is_asking && !decision.is_shared);
}
END_TEST

START_TEST(answers_are_bounded_and_the_newest_stay)
{
	struct policy_device device = device_of(&FT232R, ON_THE_PI);
	struct policy_decision decision;

	rules("ask *:*\n");
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(identity.serial, sizeof(identity.serial), "%u", i);
		policy_answer(policy, &device, true);
	}
	policy_decide(policy, &device, &decision);
	ck_assert(decision.is_shared);
	strcpy(identity.serial, "0");
	policy_decide(policy, &device, &decision);
	ck_assert(decision.is_asking);
}
END_TEST

START_TEST(a_broken_file_leaves_the_rules_as_they_were)
{
	bool is_in_force;

	rules("ignore 0403:6001\n");
	temp_tree_put(&tree, "devices.conf", "share 0403:6001\nignroe 10c4:ea60\n");
	ck_assert_int_eq(policy_reload(policy, on_problem, NULL), 1);
	ck_assert_str_eq(problems, ":2: \"ignroe\" is no action; expected one of share, ignore, ask, default\n");
	ck_assert(!decide(&FT232R, ON_THE_PI).is_shared);
	ck_assert_ptr_nonnull(policy_get_problem(policy, &is_in_force));
	ck_assert(!is_in_force);
	rules("share 0403:6001\n");
	ck_assert(decide(&FT232R, ON_THE_PI).is_shared);
	ck_assert_ptr_null(policy_get_problem(policy, &is_in_force));
}
END_TEST

START_TEST(a_file_that_is_broken_at_the_start_makes_the_rest_wait)
{
	struct policy *own;
	struct policy_decision decision;
	bool is_in_force;

	temp_tree_put(&tree, "devices.conf", "share class=storage\nignroe 0403:6001\nshare *:*\n");
	own = policy_of(options.modules_dir);
	ck_assert(decide_by(own, &DISK, ON_THE_PI).is_shared); /* above it */
	decision = decide_by(own, &FT232R, ON_THE_PI);         /* maybe what was meant */
	ck_assert(decision.is_asking && !decision.is_shared);
	ck_assert_msg(strstr(decision.rule, ":2: \"ignroe\" is no action"), "%s", decision.rule);
	ck_assert(!decide_by(own, &KEYBOARD_DEVICE, ON_THE_PI).is_shared); /* below it, and more than the default */
	ck_assert_ptr_nonnull(policy_get_problem(own, &is_in_force));
	ck_assert(is_in_force);
	temp_tree_put(&tree, "devices.conf", "");
	ck_assert_int_eq(policy_reload(own, NULL, NULL), 0);
	ck_assert(decide_by(own, &FT232R, ON_THE_PI).is_shared);
	policy_free(own);
}
END_TEST

START_TEST(rules_that_cant_be_read_share_nothing_unasked)
{
	struct policy *own;

	temp_tree_make_dir(&tree, "devices.conf");
	own = policy_of(options.modules_dir);
	ck_assert(decide_by(own, &FT232R, ON_THE_PI).is_asking);
	policy_free(own);
}
END_TEST

/* ---- writing rules ---- */

static struct failure failure;

/* A draft is written as the exporter does it. */
static int write_down(int r, struct file_draft *draft)
{
	if (r == 0)
		r = file_write_atomic(options.rules_path, draft->content, draft->size, draft->mode);
	file_draft_done(draft);
	return r;
}

static int write_action(const struct policy_device *device, enum policy_action action)
{
	struct file_draft draft = { .content = NULL };
	int r = policy_draft_action(policy, device, action, &draft, &failure);

	return write_down(r, &draft);
}

static const char *set_action(const struct usb_sample *sample, enum policy_action action)
{
	struct policy_device device = device_of(sample, ON_THE_PI);

	ck_assert_msg(write_action(&device, action) == 0, "%s", failure.text);
	ck_assert_int_eq(policy_reload(policy, on_problem, NULL), 0);
	return temp_tree_get(&tree, "devices.conf");
}

static int set_name(const struct usb_sample *sample, const char *name, const char *also)
{
	struct policy_device device = device_of(sample, ON_THE_PI);
	struct file_draft draft = { .content = NULL };
	int r = policy_draft_name(policy, &device, name, also, &draft, &failure);

	r = write_down(r, &draft);
	ck_assert_int_eq(policy_reload(policy, on_problem, NULL), 0);
	return r;
}

START_TEST(a_device_gets_a_rule_of_its_own)
{
	ck_assert_str_eq(set_action(&KEYBOARD_DEVICE, POLICY_SHARE), "share 046d:c31c socket=1-1.4\n");
	ck_assert(decide(&KEYBOARD_DEVICE, ON_THE_PI).is_shared);
	ck_assert_str_eq(set_action(&FT232R, POLICY_IGNORE), "share 046d:c31c socket=1-1.4\nignore 0403:6001 serial=A50285BI\n");
	ck_assert(!decide(&FT232R, ON_THE_PI).is_shared);
	ck_assert_str_eq(set_action(&FT232R, POLICY_SHARE), "share 046d:c31c socket=1-1.4\nshare 0403:6001 serial=A50285BI\n");
}
END_TEST

START_TEST(a_rule_of_its_own_stands_before_the_one_for_many)
{
	rules("# all of FTDI's stay here\nignore 0403:*  # really\nshare *:*\n");
	ck_assert_str_eq(set_action(&FT232R, POLICY_SHARE),
			 "share 0403:6001 serial=A50285BI\n# all of FTDI's stay here\nignore 0403:*  # really\nshare *:*\n");
	ck_assert(decide(&FT232R, ON_THE_PI).is_shared);
	ck_assert_int_eq(set_name(&FT232R, "bench", NULL), 0);
	ck_assert_str_eq(temp_tree_get(&tree, "devices.conf"),
			 "share 0403:6001 serial=A50285BI name=bench\n# all of FTDI's stay here\nignore 0403:*  # really\nshare *:*\n");
}
END_TEST

START_TEST(a_name_alone_changes_nothing_else)
{
	ck_assert_int_eq(set_name(&FT232R, "bench", NULL), 0);
	ck_assert_str_eq(temp_tree_get(&tree, "devices.conf"), "default 0403:6001 serial=A50285BI name=bench\n");
	ck_assert(decide(&FT232R, ON_THE_PI).is_shared);
	ck_assert_str_eq(decide(&FT232R, ON_THE_PI).name, "bench");
	rules("ask *:* # all\n");
	ck_assert_int_eq(set_name(&KEYBOARD_DEVICE, "kbd", NULL), 0);
	ck_assert_str_eq(temp_tree_get(&tree, "devices.conf"), "ask 046d:c31c socket=1-1.4 name=kbd\nask *:* # all\n");
}
END_TEST

START_TEST(a_rule_of_its_own_does_all_that_the_rule_for_many_did)
{
	static const char many[] = "share 0403:* reset-before-share recover=power transport=direct backend=usbfs\n";
	char expected[512];

	rules(many);
	ck_assert_int_eq(set_name(&FT232R, "bench", NULL), 0);
	snprintf(expected, sizeof(expected),
		 "share 0403:6001 serial=A50285BI name=bench reset-before-share recover=power transport=direct backend=usbfs\n%s", many);
	ck_assert_str_eq(temp_tree_get(&tree, "devices.conf"), expected);
	rules(many);
	snprintf(expected, sizeof(expected),
		 "ignore 0403:6001 serial=A50285BI reset-before-share recover=power transport=direct backend=usbfs\n%s", many);
	ck_assert_str_eq(set_action(&FT232R, POLICY_IGNORE), expected);
}
END_TEST

START_TEST(a_board_keeps_its_name_in_its_boot_loader)
{
	struct usb_sample loader = CH340, other = CH340;

	loader.pid = 0x0036;
	ck_assert_int_eq(set_name(&FT232R, "board", "1A86:0036"), 0);
	ck_assert_str_eq(temp_tree_get(&tree, "devices.conf"), "default 0403:6001 serial=A50285BI name=board also=1a86:0036\n");
	policy_note_place(policy, &busid, "board");
	ck_assert_str_eq(decide(&loader, ON_THE_PI).name, "board");
	ck_assert_str_eq(decide(&other, ON_THE_PI).name, "");
	/* Renamed while it is there: the same rule. */
	ck_assert_int_eq(set_name(&loader, "plank", NULL), 0);
	ck_assert_str_eq(temp_tree_get(&tree, "devices.conf"), "default 0403:6001 serial=A50285BI name=plank also=1a86:0036\n");
	policy_note_place(policy, &busid, "another");
	ck_assert_str_eq(decide(&loader, ON_THE_PI).name, "");
}
END_TEST

START_TEST(what_can_not_be_written_is_refused_with_the_cure)
{
	struct policy_device device = device_of(&HUB, ON_THE_PI);

	ck_assert_int_lt(write_action(&device, POLICY_SHARE), 0);
	ck_assert_str_eq(failure.text, "1-1.4 is never shared: a hub");
	ck_assert_int_eq(set_name(&FT232R, "taken", NULL), 0);
	ck_assert_int_lt(set_name(&CP2102, "taken", NULL), 0);
	ck_assert_msg(strstr(failure.text, "another device's name"), "%s", failure.text);
	ck_assert_int_eq(set_name(&FT232R, "taken", NULL), 0); /* its own */
	ck_assert_int_lt(set_name(&CP2102, "../x", NULL), 0);
	ck_assert_int_lt(set_name(&CP2102, "", NULL), 0);
	ck_assert_int_lt(set_name(&CP2102, "x", "nonsense"), 0);
	temp_tree_put(&tree, "devices.conf", "nonsense\n");
	device = device_of(&FT232R, ON_THE_PI);
	ck_assert_int_lt(write_action(&device, POLICY_SHARE), 0);
	ck_assert_msg(strstr(failure.text, "devices.conf:1: \"nonsense\" is no action"), "%s", failure.text);
	ck_assert_str_eq(failure.cure, "Mend that line first.");
	ck_assert_str_eq(temp_tree_get(&tree, "devices.conf"), "nonsense\n");
}
END_TEST

START_TEST(an_interface_knows_its_serial_driver)
{
	struct serial_driver_index *index = NULL;
	struct descriptors descriptors;
	char driver[64] = "";

	ck_assert_int_eq(serial_driver_index_new(temp_tree_path(&tree, "lib/modules/1.0"), &index), 0);
	usb_sample_parse(&LTE_MODEM, &descriptors);
	ck_assert_int_eq(serial_driver_lookup(index, &descriptors, &descriptors.interfaces[0], driver, sizeof(driver)), 1);
	ck_assert_str_eq(driver, "option");
	ck_assert_int_eq(serial_driver_is_network(index, &descriptors, &descriptors.interfaces[0]), 0);
	ck_assert_int_eq(serial_driver_is_network(index, &descriptors, &descriptors.interfaces[2]), 1);
	ck_assert_int_eq(serial_driver_lookup(index, &descriptors, &descriptors.interfaces[2], driver, sizeof(driver)), 0);
	serial_driver_index_free(index);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("policy");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_loop_test(tests, a_device_is_shared_for_what_it_is, 0, ARRAY_SIZE(DECISIONS));
	tcase_add_test(tests, a_device_that_came_over_the_network_is_not_pushed_on);
	tcase_add_test(tests, a_hub_by_an_interface_alone_is_a_hub);
	tcase_add_loop_test(tests, a_network_interface_outweighs_a_serial_one_in_any_place, 0, ARRAY_SIZE(NETWORKS));
	tcase_add_test(tests, bluetooth_is_no_network_of_its_own);
	tcase_add_test(tests, a_serial_interface_counts_also_behind_others);
	tcase_add_test(tests, a_device_without_interfaces_is_not_shared);
	tcase_add_test(tests, a_driver_built_into_the_kernel_counts_as_one);
	tcase_add_test(tests, without_a_module_index_only_what_its_class_tells_is_shared);
	tcase_add_test(tests, a_module_index_that_is_there_later_is_found_later);
	tcase_add_test(tests, the_owners_rule_comes_before_the_default);
	tcase_add_test(tests, default_in_a_rule_means_what_it_is);
	tcase_add_loop_test(tests, what_will_be_shared_is_foreseen_where_no_serial_number_changes_it, 0, ARRAY_SIZE(FORESEEN));
	tcase_add_test(tests, what_its_drivers_may_make_of_it_is_not_foreseen);
	tcase_add_test(tests, the_direct_road_is_not_foreseen_unless_a_rule_takes_the_tunnel);
	tcase_add_loop_test(tests, no_rule_shares_what_the_pi_stands_on, 0, ARRAY_SIZE(NEVER));
	tcase_add_test(tests, a_disk_that_is_not_in_use_can_be_shared);
	tcase_add_loop_test(tests, the_disk_that_the_pi_uses_is_never_shared, 0, ARRAY_SIZE(USES));
	tcase_add_test(tests, a_disk_under_a_volume_group_is_in_use);
	tcase_add_test(tests, a_network_interface_that_no_index_knows_is_seen_in_sysfs);
	tcase_add_loop_test(tests, a_disk_is_told_as_in_use_wherever_it_is_mounted, 0, ARRAY_SIZE(STRANGE));
	tcase_add_test(tests, a_network_interface_is_told_whatever_it_is_called);
	tcase_add_test(tests, a_long_rule_is_told_up_to_a_character);
	tcase_add_loop_test(tests, a_long_line_that_makes_no_sense_is_told_up_to_a_character, 0, ARRAY_SIZE(STARTS));
	tcase_add_test(tests, a_device_that_is_asked_for_waits_for_the_answer);
	tcase_add_test(tests, answers_are_bounded_and_the_newest_stay);
	tcase_add_test(tests, a_broken_file_leaves_the_rules_as_they_were);
	tcase_add_test(tests, a_file_that_is_broken_at_the_start_makes_the_rest_wait);
	tcase_add_test(tests, rules_that_cant_be_read_share_nothing_unasked);
	tcase_add_test(tests, a_device_gets_a_rule_of_its_own);
	tcase_add_test(tests, a_rule_of_its_own_stands_before_the_one_for_many);
	tcase_add_test(tests, a_name_alone_changes_nothing_else);
	tcase_add_test(tests, a_rule_of_its_own_does_all_that_the_rule_for_many_did);
	tcase_add_test(tests, a_board_keeps_its_name_in_its_boot_loader);
	tcase_add_test(tests, what_can_not_be_written_is_refused_with_the_cure);
	tcase_add_test(tests, an_interface_knows_its_serial_driver);
	return check_program_run("pi_policy", tests, NULL);
}
