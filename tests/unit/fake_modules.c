#include "fake_modules.h"

#include <check.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOT "lib/modules/1.0"

#define ACM_ALIAS(protocol) "usb:v*p*d*dc*dsc*dp*ic02isc02ip" protocol "in*"

const struct fake_module SERIAL_AND_OTHER_MODULES[] = {
	{ "drivers/usb/serial/ftdi_sio.ko", { "usb:v0403p6001d*dc*dsc*dp*ic*isc*ip*in*", "usb:v0403p6010d*dc*dsc*dp*ic*isc*ip*in*" } },
	{ "drivers/usb/serial/cp210x.ko", { "usb:v10C4pEA60d*dc*dsc*dp*ic*isc*ip*in*" } },
	{ "drivers/usb/serial/ch341.ko", { "usb:v1A86p7523d*dc*dsc*dp*ic*isc*ip*in*" } },
	{ "drivers/usb/serial/option.ko", { "usb:v2C7Cp0125d*dc*dsc*dp*icFFisc00ip00in*", "usb:v2C7Cp0125d*dc*dsc*dp*icFFiscFFipFFin*" } },
	{ "drivers/usb/serial/usbserial.ko", { "usb:vDEADpBEEFd*dc*dsc*dp*ic*isc*ip*in*" } },
	{ "drivers/usb/class/cdc-acm.ko", { ACM_ALIAS("00"), ACM_ALIAS("01"), ACM_ALIAS("02"), ACM_ALIAS("06") } },
	{ "drivers/usb/storage/usb-storage.ko", { "usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*" } },
	{ "drivers/hid/usbhid/usbhid.ko", { "usb:v*p*d*dc*dsc*dp*ic03isc*ip*in*" } },
	{ "drivers/net/usb/r8152.ko", { "usb:v0BDAp8153d*dc*dsc*dp*icFFisc*ip*in*" } },
	{ "drivers/net/usb/cdc_ether.ko", { "usb:v*p*d*dc*dsc*dp*ic02isc06ip00in*" } },
	{ "drivers/net/usb/qmi_wwan.ko", { "usb:v2C7Cp0125d*dc*dsc*dp*icFFiscFFip50in*" } },
	{ 0 },
};

/* An ELF object with one section: .modinfo, "alias=...\0alias=...\0". */
static void put_module(const struct temp_tree *tree, const struct fake_module *module)
{
	static const char names[] = "\0.modinfo\0.shstrtab";
	struct {
		Elf64_Ehdr header;
		Elf64_Shdr sections[3];
		char names[sizeof(names)], modinfo[1024];
	} elf = { 0 };
	char path[256];
	size_t used = 0;

	for (const char *const *alias = module->aliases; *alias; alias++)
		used += (size_t)snprintf(elf.modinfo + used, sizeof(elf.modinfo) - used, "alias=%s", *alias) + 1;
	ck_assert_uint_lt(used, sizeof(elf.modinfo));
	memcpy(elf.names, names, sizeof(names));
	memcpy(elf.header.e_ident, ELFMAG, SELFMAG);
	elf.header.e_ident[EI_CLASS] = ELFCLASS64;
	elf.header.e_ident[EI_DATA] = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;
	elf.header.e_ident[EI_VERSION] = EV_CURRENT;
	elf.header.e_type = ET_REL;
	elf.header.e_version = EV_CURRENT;
	elf.header.e_ehsize = sizeof(elf.header);
	elf.header.e_shoff = offsetof(typeof(elf), sections);
	elf.header.e_shentsize = sizeof(elf.sections[0]);
	elf.header.e_shnum = 3;
	elf.header.e_shstrndx = 2;
	elf.sections[1] =
		(Elf64_Shdr){ .sh_name = 1, .sh_type = SHT_PROGBITS, .sh_offset = offsetof(typeof(elf), modinfo), .sh_size = used };
	elf.sections[2] =
		(Elf64_Shdr){ .sh_name = 10, .sh_type = SHT_STRTAB, .sh_offset = offsetof(typeof(elf), names), .sh_size = sizeof(names) };
	snprintf(path, sizeof(path), ROOT "/kernel/%s", module->path);
	temp_tree_put_bytes(tree, path, &elf, sizeof(elf));
}

static void put_builtin(const struct temp_tree *tree, const char *modinfo)
{
	size_t size = strlen(modinfo);
	char *bytes = strdup(modinfo);

	ck_assert_ptr_nonnull(bytes);
	for (size_t i = 0; i < size; i++)
		if (bytes[i] == '\n')
			bytes[i] = '\0';
	temp_tree_put_bytes(tree, ROOT "/modules.builtin.modinfo", bytes, size);
	free(bytes);
}

static void run_depmod(const struct temp_tree *tree)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		/* Not in everybody's PATH. */
		execl("/usr/sbin/depmod", "depmod", "-b", tree->path, "1.0", NULL);
		execl("/sbin/depmod", "depmod", "-b", tree->path, "1.0", NULL);
		_exit(127);
	}
	ck_assert_int_ge(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

const char *fake_modules_make(const struct temp_tree *tree, const struct fake_module *modules, const char *builtin_modinfo)
{
	static char path[128];

	temp_tree_put(tree, ROOT "/modules.order", "");
	temp_tree_put(tree, ROOT "/modules.builtin", "");
	for (; modules->path; modules++)
		put_module(tree, modules);
	put_builtin(tree, builtin_modinfo ? builtin_modinfo : "");
	run_depmod(tree);
	snprintf(path, sizeof(path), "%s/" ROOT, tree->path);
	return path;
}
