#include "serial_driver.h"

#include <errno.h>
#include <libkmod.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

struct serial_driver_index {
	struct kmod_ctx *kmod; /* owned */
	int error;             /* why there is no index; libkmod takes a missing one for an empty one */
};

static int index_look_for_file(struct kmod_ctx *kmod)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/modules.alias.bin", kmod_get_dirname(kmod));

	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	return access(path, R_OK) < 0 ? -errno : 0;
}

static void index_load(struct serial_driver_index *index)
{
	/* Keeps the index mapped between look-ups. A kernel upgraded under a running daemon leaves its old index in place until the reboot. */
	(void)kmod_load_resources(index->kmod);
	index->error = index_look_for_file(index->kmod);
}

int serial_driver_index_new(const char *modules_dir, struct serial_driver_index **ret_index)
{
	static const char *const no_config[] = { NULL };
	struct serial_driver_index *index = calloc(1, sizeof(*index));

	if (!index)
		return -ENOMEM;
	index->kmod = kmod_new(modules_dir, no_config);
	if (!index->kmod) {
		free(index);
		return -ENOMEM;
	}
	index_load(index);
	*ret_index = index;
	return 0;
}

struct serial_driver_index *serial_driver_index_free(struct serial_driver_index *index)
{
	if (!index)
		return NULL;
	kmod_unref(index->kmod);
	free(index);
	return NULL;
}

static bool is_one_of(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* A driver built into the kernel has no path: those are told by name. */
static bool serial_driver_is_known_name(const char *name)
{
	static const char *const names[] = {
		"cdc_acm",
		"ark3116",
		"belkin_sa",
		"ch341",
		"cp210x",
		"cyberjack",
		"cypress_m8",
		"digi_acceleport",
		"f81232",
		"f81534",
		"ftdi_sio",
		"garmin_gps",
		"io_edgeport",
		"io_ti",
		"ipaq",
		"ir_usb",
		"iuu_phoenix",
		"keyspan",
		"keyspan_pda",
		"kl5kusb105",
		"kobil_sct",
		"mct_u232",
		"metro_usb",
		"mos7720",
		"mos7840",
		"mxuport",
		"navman",
		"omninet",
		"opticon",
		"option",
		"oti6858",
		"pl2303",
		"qcaux",
		"qcserial",
		"quatech2",
		"safe_serial",
		"sierra",
		"spcp8x5",
		"ssu100",
		"symbolserial",
		"ti_usb_3410_5052",
		"upd78f0730",
		"usb_serial_simple",
		"visor",
		"whiteheat",
		"wishbone_serial",
		"xr_serial",
		"xsens_mt",
		"usb_debug",
	};

	return is_one_of(name, names, ARRAY_SIZE(names));
}

static bool serial_driver_is_serial(struct kmod_module *module)
{
	const char *name = kmod_module_get_name(module);
	const char *path = kmod_module_get_path(module);

	if (strcmp(name, "usbserial") == 0) /* its generic driver matches only by module parameter */
		return false;
	return (path && strstr(path, "/drivers/usb/serial/")) || serial_driver_is_known_name(name);
}

/* A Pi's own kernel has some of these built in: its Ethernet socket is a USB device there. */
static bool serial_driver_is_known_net_name(const char *name)
{
	static const char *const names[] = {
		"aqc111",     "asix",     "ax88179_178a", "cdc_eem",   "cdc_ether",  "cdc_mbim", "cdc_ncm",        "cdc_phonet",
		"cdc_subset", "ch9200",   "cx82310_eth",  "dm9601",    "gl620a",     "hso",      "huawei_cdc_ncm", "int51x1",
		"ipheth",     "kalmia",   "kaweth",       "lan78xx",   "lg_vl600",   "mcs7830",  "net1080",        "pegasus",
		"plusb",      "qmi_wwan", "r8152",        "r8153_ecm", "rndis_host", "rtl8150",  "sierra_net",     "smsc75xx",
		"smsc95xx",   "sr9700",   "sr9800",       "usbnet",    "zaurus",     "brcmfmac", "rtl8192cu",      "rtl8xxxu",
	};

	return is_one_of(name, names, ARRAY_SIZE(names));
}

static bool serial_driver_is_net(struct kmod_module *module)
{
	const char *path = kmod_module_get_path(module);

	return (path && strstr(path, "/drivers/net/")) || serial_driver_is_known_net_name(kmod_module_get_name(module));
}

/* The modules that the interface's modalias leads to; the list is the caller's. 0 or negative errno. */
static int serial_driver_resolve(struct serial_driver_index *index, const struct descriptors *descriptors,
				 const struct usb_interface *interface, struct kmod_list **ret_list)
{
	char modalias[128];
	int r;

	*ret_list = NULL;
	if (index->error < 0)
		index_load(index); /* it may be there by now: depmod was run, or the disk was read */
	r = index->error < 0 ? index->error : descriptors_modalias(descriptors, interface, modalias, sizeof(modalias));
	if (r < 0)
		return r;
	r = kmod_module_new_from_lookup(index->kmod, modalias, ret_list);
	if (r < 0)
		return r == -ENOSYS ? -ENOENT : r;
	return 0;
}

/* The first of them that is of the kind asked for. 1, 0 for none, negative errno. */
static int serial_driver_find(struct serial_driver_index *index, const struct descriptors *descriptors,
			      const struct usb_interface *interface, bool (*is_kind)(struct kmod_module *), char *buffer, size_t size)
{
	struct kmod_list *list, *item;
	int r = serial_driver_resolve(index, descriptors, interface, &list);

	if (r < 0)
		return r;
	kmod_list_foreach(item, list)
	{
		struct kmod_module *module = kmod_module_get_module(item);

		if (r == 0 && is_kind(module)) {
			snprintf(buffer, size, "%s", kmod_module_get_name(module));
			r = 1;
		}
		kmod_module_unref(module);
	}
	kmod_module_unref_list(list);
	return r;
}

static bool names_have(char names[][SERIAL_DRIVER_NAME_SIZE], size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

int serial_driver_list(struct serial_driver_index *index, const struct descriptors *descriptors, const struct usb_interface *interface,
		       char names[][SERIAL_DRIVER_NAME_SIZE], size_t max, size_t *n)
{
	struct kmod_list *list, *item;
	int r = serial_driver_resolve(index, descriptors, interface, &list);

	if (r < 0)
		return r;
	kmod_list_foreach(item, list)
	{
		struct kmod_module *module = kmod_module_get_module(item);
		const char *name = kmod_module_get_name(module);

		if (*n < max && strlen(name) < SERIAL_DRIVER_NAME_SIZE && !names_have(names, *n, name))
			memcpy(names[(*n)++], name, strlen(name) + 1);
		kmod_module_unref(module);
	}
	kmod_module_unref_list(list);
	return 0;
}

int serial_driver_lookup(struct serial_driver_index *index, const struct descriptors *descriptors, const struct usb_interface *interface,
			 char *buffer, size_t size)
{
	return serial_driver_find(index, descriptors, interface, serial_driver_is_serial, buffer, size);
}

int serial_driver_is_network(struct serial_driver_index *index, const struct descriptors *descriptors,
			     const struct usb_interface *interface)
{
	char driver[64];

	return serial_driver_find(index, descriptors, interface, serial_driver_is_net, driver, sizeof(driver));
}

static bool serial_driver_is_other(struct kmod_module *module)
{
	return !serial_driver_is_serial(module) && strcmp(kmod_module_get_name(module), "usbserial") != 0;
}

int serial_driver_find_other(struct serial_driver_index *index, const struct descriptors *descriptors,
			     const struct usb_interface *interface, char *buffer, size_t size)
{
	return serial_driver_find(index, descriptors, interface, serial_driver_is_other, buffer, size);
}
