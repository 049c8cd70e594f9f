/* What the exporter keeps in files: /etc/usbpush/vm.conf, its key, the devices that it holds and those that it keeps here. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "check_program.h"
#include "cleanup.h"
#include "held_file.h"
#include "kept_file.h"
#include "temp_tree.h"
#include "transport.h"
#include "vm_config.h"

#define ECDSA_KEY                                                                                                          \
	"ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNu" \
	"G5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg="
#define KEY "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJvZ3VzYm9ndXNib2d1c2JvZ3VzYm9ndXNib2d1c2Jv"

static struct temp_tree tree;
static char path[128], problems[4096], key[256];
static unsigned n_problems;
static struct vm_config config;

static void setup(void)
{
	_cleanup_free_ char *line = NULL;
	struct failure failure;

	temp_tree_new(&tree);
	snprintf(path, sizeof(path), "%s/vm.conf", tree.path);
	problems[0] = '\0';
	n_problems = 0;
	ck_assert_int_eq(transport_key_ensure(temp_tree_path(&tree, "key"), &failure), 0);
	ck_assert_int_eq(transport_key_public(temp_tree_path(&tree, "key"), "comment here", &line, &failure), 0);
	ck_assert_int_eq(transport_key_parse(line, key, sizeof(key), NULL, &failure), 0);
}

static void teardown(void)
{
	temp_tree_free(&tree);
}

static void on_problem(const struct config_problem *problem, void *userdata)
{
	size_t used = strlen(problems);

	(void)userdata;
	n_problems++;
	ck_assert_int_eq(strncmp(problem->text, path, strlen(path)), 0);
	snprintf(problems + used, sizeof(problems) - used, "%s\n", problem->text + strlen(path));
}

/* Loads it; the number of problems is what was told. */
static void load(void)
{
	int r = vm_config_load(path, on_problem, NULL, &config);

	ck_assert_int_ge(r, 0);
	ck_assert_uint_eq(n_problems, (unsigned)r);
}

/* Loads a file that has KEY in the place of a real key. */
static void load_text(const char *text)
{
	char content[4096];
	const char *at = strstr(text, KEY);

	if (at)
		snprintf(content, sizeof(content), "%.*s%s%s", (int)(at - text), text, key, at + strlen(KEY));
	else
		snprintf(content, sizeof(content), "%s", text);
	temp_tree_put(&tree, "vm.conf", content);
	load();
}

/* ---- vm.conf ---- */

START_TEST(without_a_file_the_pi_is_not_paired)
{
	load();
	ck_assert(!vm_config_is_paired(&config));
	ck_assert_uint_eq(config.port, 22);
	ck_assert_str_eq(config.user, "usbpush");
	ck_assert_uint_eq(config.patience_ms, 8000);
	ck_assert_uint_eq(n_problems, 0);
}
END_TEST

START_TEST(every_setting_is_read)
{
	load_text("# our VM\nVM_HOST=vm.example\nVM_USER=\"pusher\"\nVM_PORT = 2222\nVM_HOST_KEY=" KEY
		  " root@vm\nTRANSPORT=tunnel\nPATIENCE_MS=20000\n");
	ck_assert_uint_eq(n_problems, 0);
	ck_assert(vm_config_is_paired(&config));
	ck_assert_str_eq(config.host, "vm.example");
	ck_assert_str_eq(config.user, "pusher");
	ck_assert_uint_eq(config.port, 2222);
	ck_assert_str_eq(config.host_key, key); /* without the comment */
	ck_assert_uint_eq(config.patience_ms, 20000);
}
END_TEST

static const struct {
	const char *line, *problem;
} BAD_LINES[] = {
	{ "VM_HOST=-oProxyCommand=x", ":1: VM_HOST=-oProxyCommand=x makes no sense; expected a host name or address\n" },
	{ "VM_HOST=a b", ":1: VM_HOST=a b makes no sense; expected a host name or address\n" },
	{ "VM_HOST=vm;reboot", ":1: VM_HOST=vm;reboot makes no sense; expected a host name or address\n" },
	{ "VM_USER=", ":1: VM_USER= makes no sense; expected the name of the VM's login, normally usbpush\n" },
	{ "VM_USER=1st", ":1: VM_USER=1st makes no sense; expected the name of the VM's login, normally usbpush\n" },
	{ "VM_USER=a/b", ":1: VM_USER=a/b makes no sense; expected the name of the VM's login, normally usbpush\n" },
	{ "VM_PORT=0", ":1: VM_PORT=0 makes no sense; expected a port from 1 to 65535\n" },
	{ "VM_PORT=65536", ":1: VM_PORT=65536 makes no sense; expected a port from 1 to 65535\n" },
	{ "VM_PORT=22x", ":1: VM_PORT=22x makes no sense; expected a port from 1 to 65535\n" },
	{ "VM_PORT=-1", ":1: VM_PORT=-1 makes no sense; expected a port from 1 to 65535\n" },
	{ "VM_PORT=99999999999999999999", ":1: VM_PORT=99999999999999999999 makes no sense; expected a port from 1 to 65535\n" },
	{ "VM_HOST_KEY=AAAA", ":1: VM_HOST_KEY=AAAA makes no sense; expected the VM's public host key, \"ssh-ed25519 AAAA...\"\n" },
	{ "VM_HOST_KEY=ssh-ed25519 nonsense",
	  ":1: VM_HOST_KEY=ssh-ed25519 nonsense makes no sense; expected the VM's public host key, \"ssh-ed25519 AAAA...\"\n" },
	{ "PATIENCE_MS=999", ":1: PATIENCE_MS=999 makes no sense; expected milliseconds from 1000 to 600000\n" },
	{ "PATIENCE_MS=8s", ":1: PATIENCE_MS=8s makes no sense; expected milliseconds from 1000 to 600000\n" },
	{ "TRANSPORT=udp", ":1: TRANSPORT=udp makes no sense; expected tunnel or direct\n" },
	{ "ALLOW=desk.local",
	  ":1: ALLOW=desk.local makes no sense; expected addresses and prefixes, at most 32: 192.168.1.7, 10.0.0.0/8, 2001:db8::/32\n" },
	{ "VMHOST=vm", ":1: unknown setting \"VMHOST\"; known are those that the comments of this file and its man page list\n" },
	{ "vm.example", ":1: \"vm.example\" is no setting; expected KEY=VALUE\n" },
};

START_TEST(a_line_that_makes_no_sense_is_told_and_leaves_its_default)
{
	const struct vm_config defaults = { .port = 22, .user = "usbpush", .patience_ms = 8000 };

	load_text(BAD_LINES[_i].line);
	ck_assert_str_eq(problems, BAD_LINES[_i].problem);
	ck_assert(vm_config_equal(&config, &defaults));
}
END_TEST

START_TEST(the_roads_are_read_and_are_not_part_of_the_link)
{
	struct vm_config tunnel;

	load_text("VM_HOST=vm\nVM_HOST_KEY=" KEY "\n");
	tunnel = config;
	ck_assert(!tunnel.is_direct);
	ck_assert_uint_eq(tunnel.allow.n, 0);
	load_text("VM_HOST=vm\nVM_HOST_KEY=" KEY "\nTRANSPORT=direct\nALLOW=192.168.1.7, 10.0.0.0/8\n");
	ck_assert_uint_eq(n_problems, 0);
	ck_assert(config.is_direct);
	ck_assert_uint_eq(config.allow.n, 2);
	ck_assert(vm_config_equal(&config, &tunnel));
	load_text("TRANSPORT=tunnel\nALLOW=\n");
	ck_assert_uint_eq(n_problems, 0);
	ck_assert(!config.is_direct);
	ck_assert_uint_eq(config.allow.n, 0);
}
END_TEST

START_TEST(the_rest_of_a_file_with_a_bad_line_is_used)
{
	load_text("VM_PORT=none\nVM_HOST=10.0.0.2\nVM_HOST_KEY=" KEY "\n");
	ck_assert_uint_eq(n_problems, 1);
	ck_assert(vm_config_is_paired(&config));
	ck_assert_uint_eq(config.port, 22);
}
END_TEST

START_TEST(a_host_without_a_key_is_no_pairing_and_that_is_told)
{
	load_text("VM_HOST=vm.example\n");
	ck_assert_uint_eq(n_problems, 1);
	ck_assert(!vm_config_is_paired(&config));
	ck_assert_str_eq(problems, ": VM_HOST without a usable VM_HOST_KEY; expected both (usbpush pair sets them)\n");
}
END_TEST

START_TEST(a_host_with_a_broken_key_is_told_twice)
{
	load_text("VM_HOST=vm.example\nVM_HOST_KEY=ssh-ed25519 AAAA\n");
	ck_assert_uint_eq(n_problems, 2);
	ck_assert(!vm_config_is_paired(&config));
}
END_TEST

START_TEST(addresses_of_both_families_are_hosts)
{
	static const char *const hosts[] = { "10.0.0.2", "fe80::1%eth0", "2001:db8::2", "vm", "vm.local", "VM-1.example.com" };

	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		char text[256];

		snprintf(text, sizeof(text), "VM_HOST=%s\nVM_HOST_KEY=" KEY "\n", hosts[i]);
		load_text(text);
		ck_assert_str_eq(config.host, hosts[i]);
	}
}
END_TEST

START_TEST(an_unreadable_file_is_told_and_nothing_written)
{
	temp_tree_make_dir(&tree, "vm.conf");
	config.port = 7;
	ck_assert_int_eq(vm_config_load(path, on_problem, NULL, &config), -EISDIR);
	ck_assert_uint_eq(config.port, 7);
}
END_TEST

START_TEST(what_was_saved_is_loaded_and_comments_stay)
{
	struct vm_config saved = { .host = "vm.example", .user = "pusher", .port = 2222, .patience_ms = 8000 };

	snprintf(saved.host_key, sizeof(saved.host_key), "%s", key);
	temp_tree_put(&tree, "vm.conf", "# our VM\nVM_HOST=old\n# how long\nPATIENCE_MS=8000\n");
	ck_assert_int_eq(vm_config_save(path, &saved), 0);
	load();
	ck_assert_uint_eq(n_problems, 0);
	ck_assert(vm_config_equal(&config, &saved));
	ck_assert_ptr_eq(strstr(temp_tree_get(&tree, "vm.conf"), "# our VM\nVM_HOST=vm.example\n# how long\nPATIENCE_MS=8000\n"),
			 temp_tree_get(&tree, "vm.conf"));
}
END_TEST

START_TEST(unpairing_takes_the_vm_out_and_leaves_the_rest)
{
	const struct vm_config nobody = { 0 };

	load_text("# our VM\nVM_HOST=vm\nVM_USER=u\nVM_PORT=22\nVM_HOST_KEY=" KEY "\nPATIENCE_MS=9000\n");
	ck_assert_int_eq(vm_config_save(path, &nobody), 0);
	ck_assert_str_eq(temp_tree_get(&tree, "vm.conf"), "# our VM\nPATIENCE_MS=9000\n");
}
END_TEST

static const struct {
	const char *host, *user;
	uint16_t port;
	bool has_key;
} BAD_PAIRINGS[] = {
	{ "", "usbpush", 22, true }, { "a b", "usbpush", 22, true }, { "-h", "usbpush", 22, true },  { "vm", "", 22, true },
	{ "vm", "a b", 22, true },   { "vm", "usbpush", 0, true },   { "vm", "usbpush", 22, false },
};

START_TEST(a_pairing_that_makes_no_sense_is_refused_with_the_cure)
{
	struct vm_config wanted = { .port = BAD_PAIRINGS[_i].port };
	struct failure failure;

	snprintf(wanted.host, sizeof(wanted.host), "%s", BAD_PAIRINGS[_i].host);
	snprintf(wanted.user, sizeof(wanted.user), "%s", BAD_PAIRINGS[_i].user);
	snprintf(wanted.host_key, sizeof(wanted.host_key), "%s", BAD_PAIRINGS[_i].has_key ? key : "nonsense");
	ck_assert_int_lt(vm_config_check(&wanted, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_BAD_REQUEST);
	ck_assert_str_ne(failure.text, "");
	ck_assert_str_ne(failure.cure, "");
}
END_TEST

/* ---- keys ---- */

START_TEST(a_key_is_made_once_and_for_its_owner_only)
{
	_cleanup_free_ char *first = strdup(temp_tree_get(&tree, "key"));
	struct failure failure;
	struct stat status;

	ck_assert_int_eq(transport_key_ensure(temp_tree_path(&tree, "key"), &failure), 0);
	ck_assert_str_eq(temp_tree_get(&tree, "key"), first);
	ck_assert_int_eq(stat(temp_tree_path(&tree, "key"), &status), 0);
	ck_assert_uint_eq(status.st_mode & 07777, 0600);
}
END_TEST

START_TEST(a_key_that_can_not_be_written_or_read_is_told)
{
	_cleanup_free_ char *line = NULL;
	struct failure failure;

	ck_assert_int_lt(transport_key_ensure(temp_tree_path(&tree, "none/key"), &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_NO_PERMISSION);
	temp_tree_put(&tree, "garbage", "no key\n");
	ck_assert_int_lt(transport_key_public(temp_tree_path(&tree, "garbage"), "", &line, &failure), 0);
	ck_assert_str_ne(failure.cure, "");
	ck_assert_ptr_null(line);
}
END_TEST

START_TEST(a_public_key_has_a_type_a_body_and_a_fingerprint)
{
	char normal[256], fingerprint[64], padded[512];
	struct failure failure;

	snprintf(padded, sizeof(padded), "  %s\t root@vm \n", key);
	ck_assert_int_eq(transport_key_parse(padded, normal, sizeof(normal), fingerprint, &failure), 0);
	ck_assert_str_eq(normal, key);
	ck_assert_int_eq(strncmp(fingerprint, "SHA256:", 7), 0);
}
END_TEST

START_TEST(what_is_no_public_key_is_refused)
{
	static const char *const bad[] = { "", " ", "ssh-ed25519", "ssh-ed25519 ", "ssh-ed25519 !!!",
					   "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIGJv", "nonsense AAAA", "-----BEGIN OPENSSH PRIVATE KEY-----",
					   "ssh-ed25519\nAAAA",
					   /* Found by fuzz_key: a key with something behind its padding. */
					   ECDSA_KEY "#", ECDSA_KEY "x" };
	struct failure failure;
	char normal[256];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(transport_key_parse(bad[i], normal, sizeof(normal), NULL, &failure) < 0, "\"%s\"", bad[i]);
	ck_assert_int_lt(transport_key_parse(key, normal, 20, NULL, &failure), 0);
	ck_assert_int_eq(transport_key_parse(ECDSA_KEY, normal, sizeof(normal), NULL, &failure), 0);
}
END_TEST

/* ---- held ---- */

static bool is_held(const struct busid *busid)
{
	_cleanup_free_ char *lines = NULL;

	ck_assert_int_eq(held_file_read(path, &lines), 0);
	return held_lines_have(lines, busid);
}

START_TEST(a_held_device_is_one_whole_line)
{
	const struct busid held = { "1-1.2" }, hub = { "1-1" }, deeper = { "1-1.2.1" }, other = { "1-3" };

	ck_assert(!is_held(&held));
	ck_assert_int_eq(held_file_write(path, "1-1.2\n2-1\n", 10), 0);
	ck_assert(is_held(&held));
	ck_assert(!is_held(&hub));
	ck_assert(!is_held(&deeper));
	ck_assert(!is_held(&other));
	ck_assert_int_eq(held_file_write(path, "", 0), 0);
	ck_assert(!is_held(&held));
}
END_TEST

/* ---- kept ---- */

static bool is_kept(const struct busid *busid, uint32_t devnum)
{
	_cleanup_free_ char *lines = NULL;

	ck_assert_int_eq(kept_file_read(path, &lines), 0);
	return kept_lines_have(lines, busid, devnum);
}

START_TEST(a_kept_device_is_one_whole_line_with_its_number)
{
	const struct busid kept = { "1-1.2" }, hub = { "1-1" }, end = { "1.2" };
	_cleanup_free_ char *lines = NULL;
	size_t size;
	FILE *stream = open_memstream(&lines, &size);

	ck_assert_ptr_nonnull(stream);
	kept_file_print(stream, &kept, 17);
	kept_file_print(stream, &(struct busid){ "2-1" }, 0); /* whatever is there: nobody could tell it from the next one */
	kept_file_print(stream, &(struct busid){ "2-2" }, UINT32_MAX);
	ck_assert_int_eq(fclose(stream), 0);
	ck_assert_str_eq(lines, "1-1.2 17\n2-2 4294967295\n");
	ck_assert(!is_kept(&kept, 17)); /* no file */
	ck_assert_int_eq(kept_file_write(path, lines, size), 0);
	ck_assert(is_kept(&kept, 17));
	ck_assert(is_kept(&(struct busid){ "2-2" }, UINT32_MAX));
	ck_assert(!is_kept(&kept, 1));
	ck_assert(!is_kept(&kept, 18)); /* plugged in again */
	ck_assert(!is_kept(&hub, 17));
	ck_assert(!is_kept(&end, 17));
	ck_assert(!kept_lines_have(NULL, &kept, 17));
}
END_TEST

START_TEST(a_kept_file_that_somebody_else_wrote_keeps_nothing)
{
	static const char *const texts[] = { "1-1.2",       "1-1.2\n",     "1-1.2 17",    "1-1.2  17\n",
					     "1-1.2 017\n", "1-1.2 17x\n", " 1-1.2 17\n", "1-1.2 0\n" };
	const struct busid busid = { "1-1.2" };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		ck_assert_int_eq(kept_file_write(path, texts[i], strlen(texts[i])), 0);
		ck_assert_msg(!is_kept(&busid, 17) && !is_kept(&busid, 0), "\"%s\"", texts[i]);
	}
	ck_assert_int_eq(kept_file_write(path, "\0\n1-1.2 17\n", 11), 0);
	ck_assert(!is_kept(&busid, 17));
}
END_TEST

int main(void)
{
	TCase *vm_conf = tcase_create("vm.conf"), *keys = tcase_create("keys"), *held = tcase_create("held devices"),
	      *kept = tcase_create("kept devices");

	tcase_add_checked_fixture(vm_conf, setup, teardown);
	tcase_add_test(vm_conf, without_a_file_the_pi_is_not_paired);
	tcase_add_test(vm_conf, every_setting_is_read);
	tcase_add_loop_test(vm_conf, a_line_that_makes_no_sense_is_told_and_leaves_its_default, 0, ARRAY_SIZE(BAD_LINES));
	tcase_add_test(vm_conf, the_roads_are_read_and_are_not_part_of_the_link);
	tcase_add_test(vm_conf, the_rest_of_a_file_with_a_bad_line_is_used);
	tcase_add_test(vm_conf, a_host_without_a_key_is_no_pairing_and_that_is_told);
	tcase_add_test(vm_conf, a_host_with_a_broken_key_is_told_twice);
	tcase_add_test(vm_conf, addresses_of_both_families_are_hosts);
	tcase_add_test(vm_conf, an_unreadable_file_is_told_and_nothing_written);
	tcase_add_test(vm_conf, what_was_saved_is_loaded_and_comments_stay);
	tcase_add_test(vm_conf, unpairing_takes_the_vm_out_and_leaves_the_rest);
	tcase_add_loop_test(vm_conf, a_pairing_that_makes_no_sense_is_refused_with_the_cure, 0, ARRAY_SIZE(BAD_PAIRINGS));
	tcase_add_checked_fixture(keys, setup, teardown);
	tcase_add_test(keys, a_key_is_made_once_and_for_its_owner_only);
	tcase_add_test(keys, a_key_that_can_not_be_written_or_read_is_told);
	tcase_add_test(keys, a_public_key_has_a_type_a_body_and_a_fingerprint);
	tcase_add_test(keys, what_is_no_public_key_is_refused);
	tcase_add_checked_fixture(held, setup, teardown);
	tcase_add_test(held, a_held_device_is_one_whole_line);
	tcase_add_checked_fixture(kept, setup, teardown);
	tcase_add_test(kept, a_kept_device_is_one_whole_line_with_its_number);
	tcase_add_test(kept, a_kept_file_that_somebody_else_wrote_keeps_nothing);
	return check_program_run("pi_config", vm_conf, keys, held, kept, NULL);
}
