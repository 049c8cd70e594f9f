#include "boot_loader.h"

#include <stddef.h>

#include "cleanup.h"

/* From the boards' own definitions: Arduino's and Adafruit's boards.txt, pico-sdk's USB ids, STMicroelectronics AN2606. */
static const struct {
	uint16_t vid, pid;
	const char *loader;
} LOADERS[] = {
	{ 0x0483, 0x5740, "0483:df11" }, /* STM32, virtual COM port -> DFU in ROM */
	{ 0x16c0, 0x0483, "16c0:0478" }, /* Teensy, serial -> HalfKay */
	{ 0x1b4f, 0x9204, "1b4f:9203" }, /* SparkFun Pro Micro 3.3 V */
	{ 0x1b4f, 0x9206, "1b4f:9205" }, /* SparkFun Pro Micro 5 V */
	{ 0x2341, 0x8036, "2341:0036" }, /* Arduino Leonardo */
	{ 0x2341, 0x8037, "2341:0037" }, /* Arduino Micro */
	{ 0x2341, 0x804d, "2341:004d" }, /* Arduino Zero */
	{ 0x2341, 0x804e, "2341:004e" }, /* MKR1000 */
	{ 0x2341, 0x8054, "2341:0054" }, /* MKR WiFi 1010 */
	{ 0x2341, 0x8057, "2341:0057" }, /* Nano 33 IoT */
	{ 0x2341, 0x805a, "2341:005a" }, /* Nano 33 BLE */
	{ 0x2a03, 0x8036, "2a03:0036" }, /* Leonardo of arduino.org */
	{ 0x239a, 0x800b, "239a:000b" }, /* Feather M0 */
	{ 0x239a, 0x8022, "239a:0022" }, /* Feather M4 */
	{ 0x239a, 0x8029, "239a:0029" }, /* Feather nRF52840 */
	{ 0x2e8a, 0x0005, "2e8a:0003" }, /* Pico, MicroPython */
	{ 0x2e8a, 0x0009, "2e8a:0003" }, /* Pico, SDK on RP2350 and RP2040 alike */
	{ 0x2e8a, 0x000a, "2e8a:0003" }, /* Pico, SDK */
	{ 0x2e8a, 0x00c0, "2e8a:0003" }, /* Pico, Arduino core */
	{ 0x2e8a, 0xf00a, "2e8a:0003" }, /* Pico W, Arduino core */
};

const char *boot_loader_find(uint16_t vid, uint16_t pid)
{
	for (size_t i = 0; i < ARRAY_SIZE(LOADERS); i++)
		if (LOADERS[i].vid == vid && LOADERS[i].pid == pid)
			return LOADERS[i].loader;
	return NULL;
}
