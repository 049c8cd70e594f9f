#include "fake_modules.h"

#include <check.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atomic_file.h"
#include "cleanup.h"

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
static void put_module(const struct temp_tree *tree, const char *path, const char *modinfo, size_t modinfo_size)
{
	static const char names[] = "\0.modinfo\0.shstrtab";
	struct {
		Elf64_Ehdr header;
		Elf64_Shdr sections[3];
		char names[sizeof(names)], modinfo[32768];
	} elf = { 0 };
	char whole_path[256];

	ck_assert_uint_le(modinfo_size, sizeof(elf.modinfo));
	memcpy(elf.modinfo, modinfo, modinfo_size);
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
		(Elf64_Shdr){ .sh_name = 1, .sh_type = SHT_PROGBITS, .sh_offset = offsetof(typeof(elf), modinfo), .sh_size = modinfo_size };
	elf.sections[2] =
		(Elf64_Shdr){ .sh_name = 10, .sh_type = SHT_STRTAB, .sh_offset = offsetof(typeof(elf), names), .sh_size = sizeof(names) };
	snprintf(whole_path, sizeof(whole_path), ROOT "/kernel/%s", path);
	temp_tree_put_bytes(tree, whole_path, &elf, sizeof(elf));
}

static void put_fake(const struct temp_tree *tree, const struct fake_module *module)
{
	_cleanup_free_ char *modinfo = NULL;
	size_t size;
	FILE *stream = open_memstream(&modinfo, &size);

	for (const char *const *alias = module->aliases; *alias; alias++)
		fprintf(stream, "alias=%s%c", *alias, '\0');
	fclose(stream);
	put_module(tree, module->path, modinfo, size);
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

static const char *finish(const struct temp_tree *tree, const char *builtin_modinfo)
{
	static char path[128];

	temp_tree_put(tree, ROOT "/modules.order", "");
	temp_tree_put(tree, ROOT "/modules.builtin", "");
	put_builtin(tree, builtin_modinfo ? builtin_modinfo : "");
	run_depmod(tree);
	snprintf(path, sizeof(path), "%s/" ROOT, tree->path);
	return path;
}

const char *fake_modules_make(const struct temp_tree *tree, const struct fake_module *modules, const char *builtin_modinfo)
{
	for (; modules->path; modules++)
		put_fake(tree, modules);
	return finish(tree, builtin_modinfo);
}

/* The lines of one module, which stand together, from *line on. */
static void put_from_lines(const struct temp_tree *tree, char **line)
{
	_cleanup_free_ char *modinfo = NULL, *path = strndup(*line, strcspn(*line, " "));
	size_t size, length = strlen(path);
	FILE *stream = open_memstream(&modinfo, &size);

	while (strncmp(*line, path, length) == 0 && (*line)[length] == ' ') {
		size_t end = strcspn(*line, "\n");

		fprintf(stream, "alias=%.*s%c", (int)(end - length - 1), *line + length + 1, '\0');
		*line += end + ((*line)[end] == '\n');
	}
	fclose(stream);
	put_module(tree, path, modinfo, size);
}

const char *fake_modules_make_from_file(const struct temp_tree *tree, const char *path)
{
	_cleanup_free_ char *content = NULL;
	char *line;

	ck_assert_msg(file_read(path, 1024 * 1024, &content) > 0, "%s can't be read", path);
	for (line = content; *line == '#'; line += strcspn(line, "\n") + 1)
		;
	while (*line)
		put_from_lines(tree, &line);
	return finish(tree, NULL);
}
