/* What becomes of real devices: their descriptors, as public lists and their makers' documents have them, against the aliases of Debian's kernel
 * (tests/unit/data/usb-aliases). */

#include <stdlib.h>
#include <string.h>

#include "check_program.h"
#include "cleanup.h"
#include "fake_modules.h"
#include "policy.h"

#define SHARED(driver) "serial driver " driver
#define NETWORK        "has a network interface"
#define A_HUB          "a hub"
#define NOT_SERIAL     "no serial driver fits it"

/* Classes are "class/subclass/protocol"; interfaces in their order, numbered from 0 unless "N:" stands before one. */
static const struct real_device {
	const char *name;
	uint16_t vid, pid;
	const char *class, *interfaces, *reason;
} DEVICES[] = {
	/* ESP boards */
	{ "ESP32 DevKitC, CP2102N", 0x10c4, 0xea60, "00/00/00", "ff/00/00", SHARED("cp210x") },
	{ "ESP32 board, CH9102F", 0x1a86, 0x55d4, "02/00/00", "02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "ESP8266 NodeMCU, CH340G", 0x1a86, 0x7523, "ff/00/00", "ff/01/02", SHARED("ch341") },
	{ "ESP32-S2, CDC in ROM", 0x303a, 0x0002, "ef/02/01", "02/02/00 0a/00/00 fe/01/01", SHARED("cdc_acm") },
	{ "ESP32-S3, USB serial/JTAG", 0x303a, 0x1001, "ef/02/01", "02/02/00 0a/02/00 ff/ff/01", SHARED("cdc_acm") },
	{ "ESP32-C3, USB serial/JTAG", 0x303a, 0x1001, "ef/02/01", "02/02/00 0a/02/00 ff/ff/01", SHARED("cdc_acm") },
	{ "ESP-Prog, FT2232H", 0x0403, 0x6010, "00/00/00", "ff/ff/ff ff/ff/ff", SHARED("ftdi_sio") },
	{ "M5Stack, CP2104", 0x10c4, 0xea60, "00/00/00", "ff/00/00", SHARED("cp210x") },
	/* Arduino and its like */
	{ "Arduino Uno R3", 0x2341, 0x0043, "02/00/00", "02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "Arduino Mega 2560 R3", 0x2341, 0x0042, "02/00/00", "02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "Arduino Leonardo", 0x2341, 0x8036, "ef/02/01", "02/02/00 0a/00/00", SHARED("cdc_acm") },
	{ "Arduino Leonardo as a keyboard", 0x2341, 0x8036, "ef/02/01", "02/02/00 0a/00/00 03/00/00", SHARED("cdc_acm") },
	{ "Arduino Leonardo, boot loader", 0x2341, 0x0036, "02/00/00", "02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "Arduino Micro", 0x2341, 0x8037, "ef/02/01", "02/02/00 0a/00/00 03/00/00", SHARED("cdc_acm") },
	{ "Arduino Due, programming port", 0x2341, 0x003d, "02/00/00", "02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "Arduino Zero, EDBG", 0x03eb, 0x2157, "ef/02/01", "03/00/00 02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "Arduino MKR WiFi 1010", 0x2341, 0x8054, "ef/02/01", "02/02/00 0a/00/00", SHARED("cdc_acm") },
	{ "Arduino Nano 33 BLE", 0x2341, 0x805a, "ef/02/01", "02/02/02 0a/00/00", SHARED("cdc_acm") },
	{ "Nano clone, CH340C", 0x1a86, 0x7523, "ff/00/00", "ff/01/02", SHARED("ch341") },
	{ "Nano clone, FT232R", 0x0403, 0x6001, "00/00/00", "ff/ff/ff", SHARED("ftdi_sio") },
	{ "Teensy 4, serial", 0x16c0, 0x0483, "02/00/00", "02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "Teensy, boot loader", 0x16c0, 0x0478, "00/00/00", "03/00/00", NOT_SERIAL },
	{ "Adafruit Feather M0", 0x239a, 0x800b, "ef/02/01", "02/02/00 0a/00/00", SHARED("cdc_acm") },
	{ "Adafruit board, CircuitPython", 0x239a, 0x8022, "ef/02/01", "02/02/00 0a/00/00 08/06/50 03/00/00 01/01/00 01/03/00",
	  SHARED("cdc_acm") },
	{ "Digispark, boot loader", 0x16d0, 0x0753, "ff/00/00", "ff/00/00", NOT_SERIAL },
	/* Raspberry Pi Pico */
	{ "Pico, MicroPython", 0x2e8a, 0x0005, "ef/02/01", "02/02/00 0a/00/00", SHARED("cdc_acm") },
	{ "Pico, SDK stdio with reset interface", 0x2e8a, 0x000a, "ef/02/01", "02/02/00 0a/00/00 ff/00/01", SHARED("cdc_acm") },
	{ "Pico, boot loader", 0x2e8a, 0x0003, "00/00/00", "08/06/50 ff/00/00", NOT_SERIAL },
	{ "Debug Probe", 0x2e8a, 0x000c, "ef/02/01", "ff/00/00 02/02/00 0a/00/00", SHARED("cdc_acm") },
	/* STM32 and Nordic */
	{ "STM32 virtual COM port", 0x0483, 0x5740, "02/00/00", "02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "Nucleo, ST-LINK/V2-1", 0x0483, 0x374b, "ef/02/01", "ff/ff/ff 08/06/50 02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "ST-LINK/V2", 0x0483, 0x3748, "00/00/00", "ff/ff/ff", NOT_SERIAL },
	{ "STM32, DFU", 0x0483, 0xdf11, "00/00/00", "fe/01/02 fe/01/02", NOT_SERIAL },
	{ "nRF52840 dongle, DFU", 0x1915, 0x521f, "ef/02/01", "02/02/00 0a/00/00", SHARED("cdc_acm") },
	{ "nRF PPK2", 0x1915, 0xc00a, "ef/02/01", "02/02/00 0a/00/00", SHARED("cdc_acm") },
	{ "BBC micro:bit, DAPLink", 0x0d28, 0x0204, "ef/02/01", "08/06/50 02/02/01 0a/00/00 03/00/00 ff/03/00", SHARED("cdc_acm") },
	/* converters */
	{ "FT232H", 0x0403, 0x6014, "00/00/00", "ff/ff/ff", SHARED("ftdi_sio") },
	{ "FT4232H", 0x0403, 0x6011, "00/00/00", "ff/ff/ff ff/ff/ff ff/ff/ff ff/ff/ff", SHARED("ftdi_sio") },
	{ "FT230X", 0x0403, 0x6015, "00/00/00", "ff/ff/ff", SHARED("ftdi_sio") },
	{ "CP2105", 0x10c4, 0xea70, "00/00/00", "ff/00/00 ff/00/00", SHARED("cp210x") },
	{ "CP2108", 0x10c4, 0xea71, "00/00/00", "ff/00/00 ff/00/00 ff/00/00 ff/00/00", SHARED("cp210x") },
	{ "CH341A, UART", 0x1a86, 0x5523, "ff/00/00", "ff/01/02", SHARED("ch341") },
	{ "CH340K", 0x1a86, 0x7522, "ff/00/00", "ff/01/02", SHARED("ch341") },
	{ "CH341A, EPP/I2C", 0x1a86, 0x5512, "ff/00/00", "ff/01/02", NOT_SERIAL },
	{ "CH343", 0x1a86, 0x55d3, "02/00/00", "02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "CH342", 0x1a86, 0x55d2, "ef/02/01", "02/02/01 0a/00/00 02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "PL2303HX", 0x067b, 0x2303, "00/00/00", "ff/00/00", SHARED("pl2303") },
	{ "PL2303GC", 0x067b, 0x23a3, "00/00/00", "ff/00/00", SHARED("pl2303") },
	{ "MCP2221", 0x04d8, 0x00dd, "ef/02/01", "02/02/01 0a/00/00 03/00/00", SHARED("cdc_acm") },
	{ "MCS7840, four ports", 0x9710, 0x7840, "ff/00/ff", "ff/00/ff", SHARED("mos7840") },
	{ "Moxa UPort 1150", 0x110a, 0x1150, "ff/00/00", "ff/ff/ff", SHARED("ti_usb_3410_5052") },
	{ "Keyspan USA-19HS", 0x06cd, 0x0121, "00/00/00", "ff/00/00", SHARED("keyspan") },
	{ "CP2110, UART over HID", 0x10c4, 0xea80, "00/00/00", "03/00/00", NOT_SERIAL },
	/* sticks */
	{ "Sonoff ZBDongle-P", 0x10c4, 0xea60, "00/00/00", "ff/00/00", SHARED("cp210x") },
	{ "Sonoff ZBDongle-E", 0x1a86, 0x55d4, "02/00/00", "02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "ConBee II", 0x1cf1, 0x0030, "02/00/00", "02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "CC2531", 0x0451, 0x16a8, "02/00/00", "02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "HUSBZB-1, Zigbee and Z-Wave", 0x10c4, 0x8a2a, "00/00/00", "ff/00/00 ff/00/00", SHARED("cp210x") },
	{ "Aeotec Z-Stick Gen5", 0x0658, 0x0200, "02/00/00", "02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "u-blox 7 GPS", 0x1546, 0x01a7, "02/00/00", "02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "u-blox 8 GPS", 0x1546, 0x01a8, "02/00/00", "02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "CANable, slcan", 0x16d0, 0x117e, "02/00/00", "02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "CANable, candleLight", 0x1d50, 0x606f, "00/00/00", "ff/ff/ff fe/01/01", NETWORK },
	{ "3D printer, Klipper", 0x1d50, 0x614e, "02/00/00", "02/02/01 0a/00/00", SHARED("cdc_acm") },
	{ "Prusa MK3", 0x2c99, 0x0002, "02/00/00", "02/02/01 0a/00/00", SHARED("cdc_acm") },
	/* probes */
	{ "J-Link", 0x1366, 0x0101, "00/00/00", "ff/ff/ff", NOT_SERIAL },
	{ "J-Link OB with a port", 0x1366, 0x1015, "ef/02/01", "02/02/01 0a/00/00 ff/ff/ff 08/06/50", SHARED("cdc_acm") },
	{ "Black Magic Probe", 0x1d50, 0x6018, "ef/02/01", "02/02/01 0a/00/00 02/02/01 0a/00/00 fe/01/01 ff/ff/ff", SHARED("cdc_acm") },
	{ "Olimex ARM-USB-OCD-H", 0x15ba, 0x002b, "00/00/00", "ff/ff/ff ff/ff/ff", SHARED("ftdi_sio") },
	{ "Altera USB-Blaster", 0x09fb, 0x6001, "00/00/00", "ff/ff/ff", NOT_SERIAL },
	{ "Xilinx Platform Cable", 0x03fd, 0x0008, "ff/00/00", "ff/00/00", NOT_SERIAL },
	{ "CMSIS-DAP over HID", 0xc251, 0xf001, "00/00/00", "03/00/00", NOT_SERIAL },
	/* modems: a serial port and a network in one */
	{ "Quectel EC25", 0x2c7c, 0x0125, "ef/02/01", "ff/ff/ff ff/00/00 ff/00/00 ff/00/00 ff/ff/ff", NETWORK },
	{ "Quectel EC25, ECM", 0x2c7c, 0x0125, "ef/02/01", "ff/ff/ff ff/00/00 ff/00/00 ff/00/00 02/06/00 0a/00/00", NETWORK },
	{ "Sierra MC7455", 0x1199, 0x9071, "00/00/00", "ff/ff/ff 2:ff/00/00 3:ff/00/00 8:ff/ff/ff 10:ff/ff/ff", NETWORK },
	{ "SIMCom SIM7600", 0x1e0e, 0x9001, "00/00/00", "ff/ff/ff ff/00/00 ff/00/00 ff/00/00 ff/00/00 ff/ff/ff", NETWORK },
	{ "Huawei E3372 HiLink", 0x12d1, 0x14dc, "02/00/00", "02/06/00 0a/06/00 08/06/50", NETWORK },
	{ "Huawei E3372, NCM", 0x12d1, 0x1506, "00/00/00", "ff/02/12 ff/02/16 08/06/50", NETWORK },
	{ "MBIM modem", 0x1199, 0x9079, "ef/02/01", "12:02/0e/00 13:0a/00/02 3:ff/00/00", NETWORK },
	/* network adapters */
	{ "Pi 3, Ethernet of its LAN9514", 0x0424, 0xec00, "ff/00/01", "ff/00/ff", NETWORK },
	{ "Pi 3B+, LAN7800", 0x0424, 0x7800, "ff/00/ff", "ff/00/ff", NETWORK },
	{ "Realtek RTL8153", 0x0bda, 0x8153, "00/00/00", "ff/ff/00", NETWORK },
	{ "Realtek RTL8153, CDC configuration", 0x0bda, 0x8153, "00/00/00", "02/06/00 0a/00/00", NETWORK },
	{ "ASIX AX88179", 0x0b95, 0x1790, "ff/ff/00", "ff/ff/00", NETWORK },
	{ "ASIX AX88772B", 0x0b95, 0x772b, "ff/ff/00", "ff/ff/00", NETWORK },
	{ "iPhone, tethered", 0x05ac, 0x12a8, "00/00/00", "06/01/01 ff/fe/02 ff/fd/01", NETWORK },
	{ "Android phone, RNDIS", 0x18d1, 0x4ee4, "00/00/00", "e0/01/03 0a/00/00 ff/42/01", NETWORK },
	{ "Linux gadget, RNDIS and serial", 0x0525, 0xa4a7, "ef/02/01", "02/02/01 0a/00/00 ef/04/01 0a/00/00", NETWORK },
	{ "Wi-Fi, RTL8188CUS", 0x0bda, 0x8176, "00/00/00", "ff/ff/ff", NETWORK },
	{ "Wi-Fi, RT5370", 0x148f, 0x5370, "00/00/00", "ff/ff/ff", NETWORK },
	{ "Wi-Fi, MT7601U", 0x148f, 0x7601, "00/00/00", "ff/ff/ff", NETWORK },
	/* hubs */
	{ "Pi 4, hub of its VL805", 0x2109, 0x3431, "09/00/01", "09/00/00", A_HUB },
	{ "Pi 3, hub of its LAN9514", 0x0424, 0x9514, "09/00/02", "09/00/01 09/00/02", A_HUB },
	{ "Genesys GL850G", 0x05e3, 0x0608, "09/00/01", "09/00/00", A_HUB },
	{ "root hub", 0x1d6b, 0x0002, "09/00/01", "09/00/00", A_HUB },
	/* and the rest of a desk */
	{ "keyboard", 0x046d, 0xc31c, "00/00/00", "03/01/01 03/00/00", NOT_SERIAL },
	{ "Unifying receiver", 0x046d, 0xc52b, "00/00/00", "03/01/01 03/01/02 03/00/00", NOT_SERIAL },
	{ "YubiKey 5", 0x1050, 0x0407, "00/00/00", "03/01/01 03/00/00 0b/00/00", NOT_SERIAL },
	{ "flash drive", 0x0781, 0x5581, "00/00/00", "08/06/50", NOT_SERIAL },
	{ "SATA bridge, UAS", 0x152d, 0x0578, "00/00/00", "08/06/50 0:08/06/62", NOT_SERIAL },
	{ "webcam C920", 0x046d, 0x082d, "ef/02/01", "0e/01/00 0e/02/00 01/01/00 01/02/00", NOT_SERIAL },
	{ "sound card", 0x0d8c, 0x0014, "00/00/00", "01/01/00 01/02/00 01/02/00 03/00/00", NOT_SERIAL },
	{ "laser printer", 0x03f0, 0x1d17, "00/00/00", "07/01/02", NOT_SERIAL },
	{ "Bluetooth, CSR", 0x0a12, 0x0001, "e0/01/01", "e0/01/01 e0/01/01", NOT_SERIAL },
	{ "RTL-SDR", 0x0bda, 0x2838, "00/00/00", "ff/ff/ff ff/ff/ff", NOT_SERIAL },
	{ "Xbox 360 pad", 0x045e, 0x028e, "ff/ff/ff", "ff/5d/01 ff/5d/03 ff/5d/02 ff/fd/13", NOT_SERIAL },
	{ "smart card reader", 0x04e6, 0x5116, "00/00/00", "0b/00/00", NOT_SERIAL },
	{ "APC UPS", 0x051d, 0x0002, "00/00/00", "03/00/00", NOT_SERIAL },
	{ "logic analyser", 0x0925, 0x3881, "ff/ff/ff", "ff/ff/ff", NOT_SERIAL },
	{ "Android phone, adb", 0x18d1, 0x4ee7, "00/00/00", "ff/42/01", NOT_SERIAL },
};

static struct temp_tree tree;
static struct policy_options options;
static struct policy *policy;
static char rules_path[128];

/* Once for all: indexing takes a while. */
static void setup(void)
{
	const char *source = getenv("USBPUSH_SOURCE_DIR");
	char path[256];

	temp_tree_new(&tree);
	snprintf(path, sizeof(path), "%s/tests/unit/data/usb-aliases", source ? source : ".");
	snprintf(rules_path, sizeof(rules_path), "%s/devices.conf", tree.path);
	options = (struct policy_options){ .modules_dir = fake_modules_make_from_file(&tree, path),
					   .rules_path = rules_path,
					   .sysfs_root = tree.path,
					   .proc_root = tree.path };
	ck_assert_int_eq(policy_new(&options, NULL, NULL, &policy), 0);
}

static void teardown(void)
{
	policy = policy_free(policy);
	temp_tree_free(&tree);
}

static struct usb_interface read_interface(const char *text, unsigned number)
{
	unsigned class, subclass, protocol;
	const char *colon = strchr(text, ':');

	if (colon)
		number = (unsigned)strtoul(text, NULL, 10);
	ck_assert_int_eq(sscanf(colon ? colon + 1 : text, "%x/%x/%x", &class, &subclass, &protocol), 3);
	return (struct usb_interface){ (uint8_t)number, (uint8_t) class, (uint8_t)subclass, (uint8_t)protocol };
}

static struct descriptors descriptors_of(const struct real_device *device)
{
	struct usb_interface own = read_interface(device->class, 0);
	struct descriptors descriptors = { .vid = device->vid,
					   .pid = device->pid,
					   .bcd_device = 0x0100,
					   .class = own.class,
					   .subclass = own.subclass,
					   .protocol = own.protocol };
	_cleanup_free_ char *text = strdup(device->interfaces);
	char *rest = text, *word;

	while ((word = strsep(&rest, " "))) {
		ck_assert_uint_lt(descriptors.n_interfaces, DESCRIPTOR_MAX_INTERFACES);
		descriptors.interfaces[descriptors.n_interfaces] = read_interface(word, (unsigned)descriptors.n_interfaces);
		descriptors.n_interfaces++;
	}
	return descriptors;
}

static struct policy_decision decide(const struct real_device *device)
{
	const struct descriptors descriptors = descriptors_of(device);
	const struct identity identity = { .vid = device->vid, .pid = device->pid };
	const struct busid busid = { "1-1.2" };
	const struct policy_device asked = { "/sys/devices/pci0000:00/usb1/1-1/1-1.2", &busid, &identity, &descriptors };
	struct policy_decision decision;

	policy_decide(policy, &asked, &decision);
	return decision;
}

START_TEST(each_device_goes_where_it_belongs)
{
	for (size_t i = 0; i < ARRAY_SIZE(DEVICES); i++) {
		struct policy_decision decision = decide(&DEVICES[i]);
		bool is_shared = strncmp(DEVICES[i].reason, "serial driver ", 14) == 0;

		ck_assert_msg(strcmp(decision.reason, DEVICES[i].reason) == 0, "%s: \"%s\", expected \"%s\"", DEVICES[i].name,
			      decision.reason, DEVICES[i].reason);
		ck_assert_msg(decision.is_shared == is_shared, "%s", DEVICES[i].name);
	}
	ck_assert_uint_ge(ARRAY_SIZE(DEVICES), 60);
}
END_TEST

START_TEST(a_rule_for_all_shares_all_but_hubs_and_networks)
{
	temp_tree_put(&tree, "devices.conf", "share *:*\n");
	ck_assert_int_eq(policy_reload(policy, NULL, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(DEVICES); i++) {
		bool is_never = strcmp(DEVICES[i].reason, A_HUB) == 0 || strcmp(DEVICES[i].reason, NETWORK) == 0;
		struct policy_decision decision = decide(&DEVICES[i]);

		ck_assert_msg(decision.is_shared == !is_never && decision.is_never == is_never, "%s", DEVICES[i].name);
	}
}
END_TEST

START_TEST(a_rule_by_driver_finds_what_the_kernel_would_bind)
{
	temp_tree_put(&tree, "devices.conf", "ignore driver=cp210x\nignore driver=usb*storage\nshare driver=snd_usb_audio\n");
	ck_assert_int_eq(policy_reload(policy, NULL, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(DEVICES); i++) {
		struct policy_decision decision = decide(&DEVICES[i]);

		if (strcmp(DEVICES[i].reason, SHARED("cp210x")) == 0 || strstr(DEVICES[i].name, "flash drive") ||
		    strstr(DEVICES[i].name, "micro:bit"))
			ck_assert_msg(strcmp(decision.reason, "a rule keeps it here") == 0, "%s: %s", DEVICES[i].name, decision.reason);
		if (strcmp(DEVICES[i].name, "sound card") == 0)
			ck_assert(decision.is_shared);
		if (strcmp(DEVICES[i].name, "FT232H") == 0)
			ck_assert_str_eq(decision.rule, "");
	}
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("devices");

	tcase_set_timeout(tests, 120);
	tcase_add_unchecked_fixture(tests, setup, teardown);
	tcase_add_test(tests, each_device_goes_where_it_belongs);
	tcase_add_test(tests, a_rule_for_all_shares_all_but_hubs_and_networks);
	tcase_add_test(tests, a_rule_by_driver_finds_what_the_kernel_would_bind);
	return check_program_run("pi_devices", tests, NULL);
}
