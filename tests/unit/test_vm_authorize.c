/* Pairing by hand on the VM: keys in, files out. */

#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "authorize.h"
#include "authorized_keys.h"
#include "check_program.h"
#include "cleanup.h"
#include "pi_key.h"
#include "revocation.h"
#include "temp_tree.h"
#include "vm_cli.h"

#define KEY      "AAAAC3NzaC1lZDI1NTE5AAAAIKRLTqsr+VDRr3Z+JgfhkTONdBJrWAIFimEo+uqa6M1u"
#define KEY_ID   "69c8a2a134bde56d6bf0fcb313f544fe" /* printf KEY | base64 -d | sha256sum */
#define OTHER    "AAAAC3NzaC1lZDI1NTE5AAAAIFQkRtRcvgvo09XRN2UfsAyHUzKxz+lxkBdVNys0V335"
#define OTHER_ID "699ebe741e9a68e01eaf258f48419c33"
#define LINE(id, key, name) \
	"restrict,command=\"exec /usr/libexec/usbpush/usbpush-relay --pi " id "\" ssh-ed25519 " key " usbpush:" name "\n"

static struct temp_tree tree;
static const char *root; /* what stands for / */
static struct failure failure;
static struct piconf_entry entry;

static void setup(void)
{
	temp_tree_new(&tree);
	root = tree.path;
	memset(&failure, 0, sizeof(failure));
}

static void teardown(void)
{
	temp_tree_free(&tree);
}

static void put(const char *path, const char *content)
{
	temp_tree_put(&tree, path + 1, content);
}

static void expect_file(const char *path, const char *expected)
{
	ck_assert_str_eq(temp_tree_get(&tree, path + 1), expected);
}

static int authorize(const char *name, const char *key_line)
{
	put("/key.pub", key_line);
	return authorize_pi(root, name, "pi.local", temp_tree_path(&tree, "key.pub"), &entry, &failure);
}

START_TEST(a_key_opens_the_relay_and_nothing_else)
{
	ck_assert_int_eq(authorize("garage", "ssh-ed25519 " KEY " root@pi\n"), 0);
	ck_assert_str_eq(entry.id, KEY_ID);
	expect_file(AUTHORIZED_KEYS_PATH, LINE(KEY_ID, KEY, "garage"));
	expect_file(PICONF_PATH, "PI=" KEY_ID " garage pi.local\nDEFAULT_PI_HOST=pi.local\n");
}
END_TEST

START_TEST(the_keys_are_readable_and_only_roots_to_write)
{
	struct stat st;

	ck_assert_int_eq(authorize("garage", "ssh-ed25519 " KEY "\n"), 0);
	ck_assert_int_eq(fstatat(tree.fd, &AUTHORIZED_KEYS_PATH[1], &st, 0), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0644);
	ck_assert_int_eq(fstatat(tree.fd, "var/lib/usbpush/.ssh", &st, 0), 0);
	ck_assert_uint_eq(st.st_mode & 022, 0);
}
END_TEST

START_TEST(authorizing_twice_changes_nothing)
{
	ck_assert_int_eq(authorize("garage", "ssh-ed25519 " KEY "\n"), 0);
	ck_assert_int_eq(authorize("garage", "# the same again\n\nssh-ed25519 " KEY " other comment\n"), 0);
	expect_file(AUTHORIZED_KEYS_PATH, LINE(KEY_ID, KEY, "garage"));
	expect_file(PICONF_PATH, "DEFAULT_PI_HOST=pi.local\nPI=" KEY_ID " garage pi.local\n");
}
END_TEST

START_TEST(a_pi_that_was_set_up_anew_takes_its_old_names_place)
{
	ck_assert_int_eq(authorize("garage", "ssh-ed25519 " KEY "\n"), 0);
	ck_assert_int_eq(authorize("garage", "ssh-ed25519 " OTHER "\n"), 0);
	expect_file(AUTHORIZED_KEYS_PATH, LINE(OTHER_ID, OTHER, "garage"));
}
END_TEST

START_TEST(foreign_lines_and_other_pis_stay)
{
	put(AUTHORIZED_KEYS_PATH, "# mine\nssh-ed25519 " KEY " usbpush:garage\n" LINE("0a", OTHER, "attic"));
	ck_assert_int_eq(authorize("garage", "ssh-ed25519 " KEY "\n"), 0);
	expect_file(AUTHORIZED_KEYS_PATH,
		    "# mine\nssh-ed25519 " KEY " usbpush:garage\n" LINE("0a", OTHER, "attic") LINE(KEY_ID, KEY, "garage"));
}
END_TEST

START_TEST(an_unpaired_pi_leaves_no_line)
{
	struct piconf_entry removed;

	ck_assert_int_eq(authorize("garage", "ssh-ed25519 " KEY "\n"), 0);
	ck_assert_int_eq(authorize("attic", "ssh-ed25519 " OTHER "\n"), 0);
	ck_assert_int_eq(authorize_remove(root, "garage", &removed, &failure), 0);
	ck_assert_str_eq(removed.id, KEY_ID);
	expect_file(AUTHORIZED_KEYS_PATH, LINE(OTHER_ID, OTHER, "attic"));
	ck_assert_int_lt(authorize_remove(root, "garage", &removed, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_NOT_FOUND);
}
END_TEST

static const char *runtime_dir(void)
{
	return temp_tree_path(&tree, REVOCATION_RUNTIME_DIR + 1);
}

START_TEST(what_the_handler_noted_is_taken_out_and_nothing_else)
{
	char *arguments[] = {
		(char *)"usbpush-vm", (char *)"unpair", (char *)"--requested", (char *)"--root", (char *)(uintptr_t)root, NULL
	};

	ck_assert_int_eq(authorize("garage", "ssh-ed25519 " KEY "\n"), 0);
	ck_assert_int_eq(authorize("attic", "ssh-ed25519 " OTHER "\n"), 0);
	ck_assert_int_eq(revocation_add(runtime_dir(), KEY_ID), 0);
	put("/run/usbpush/unpair/..garage", "");
	put("/run/usbpush/unpair/attic", ""); /* no id: nobody's */
	ck_assert_int_eq(vm_cli_main(5, arguments), 0);
	expect_file(AUTHORIZED_KEYS_PATH, LINE(OTHER_ID, OTHER, "attic"));
	ck_assert_ptr_null(strstr(temp_tree_get(&tree, PICONF_PATH + 1), "garage"));
	ck_assert_uint_eq(temp_tree_count(&tree, "run/usbpush/unpair"), 2);
	ck_assert(revocation_has(runtime_dir(), KEY_ID)); /* the handler's to lift, once it has read pi.conf */
	optind = 1;
	ck_assert_int_eq(vm_cli_main(5, arguments), 0);
}
END_TEST

START_TEST(authorizing_lifts_what_the_pi_said_before)
{
	ck_assert_int_eq(revocation_add(runtime_dir(), KEY_ID), 0);
	ck_assert_int_eq(authorize("garage", "ssh-ed25519 " KEY "\n"), 0);
	ck_assert(!revocation_has(runtime_dir(), KEY_ID));
	ck_assert_uint_eq(temp_tree_count(&tree, "run/usbpush/unpair"), 0);
}
END_TEST

START_TEST(an_id_that_leads_elsewhere_is_none)
{
	ck_assert_int_lt(revocation_add(runtime_dir(), "../../etc/passwd"), 0);
	ck_assert_int_lt(revocation_add(runtime_dir(), ""), 0);
	ck_assert(!revocation_has(runtime_dir(), ".."));
}
END_TEST

static const char *const BAD_KEYS[] = {
	"",
	"# only a comment\n",
	"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ root@pi\n",
	"ssh-ed25519\n",
	"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5\n",
	"ssh-ed25519 AAAAC3NzaC1yc2EyNTE5AAAAIKRLTqsr+VDRr3Z+JgfhkTONdBJrWAIFimEo+uqa6M1u\n", /* another type inside */
	"ssh-ed25519 !!!!C3NzaC1lZDI1NTE5AAAAIKRLTqsr+VDRr3Z+JgfhkTONdBJrWAIFimEo+uqa6M1u\n",
	"command=\"/bin/sh\" ssh-ed25519 " KEY "\n",
	"ssh-ed25519 " KEY "\nssh-ed25519 " OTHER "\n",
	"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n",
};

START_TEST(anything_but_one_ed25519_key_is_refused_with_the_cure)
{
	ck_assert_int_lt(authorize("garage", BAD_KEYS[_i]), 0);
	ck_assert_int_eq(failure.code, FAILURE_BAD_REQUEST);
	ck_assert_ptr_nonnull(strstr(failure.text, "key.pub"));
	ck_assert_str_ne(failure.cure, "");
}
END_TEST

static const char *const BAD_NAMES[] = { "",    "a b",
					 "a/b", "a\nssh-ed25519",
					 "ü",   "0123456789012345678901234567890123456789012345678901234567890123" };

START_TEST(a_name_that_could_break_a_line_is_refused)
{
	ck_assert_int_lt(authorize(BAD_NAMES[_i], "ssh-ed25519 " KEY "\n"), 0);
	ck_assert_int_eq(failure.code, FAILURE_BAD_REQUEST);
}
END_TEST

START_TEST(a_missing_key_file_is_named)
{
	ck_assert_int_lt(authorize_pi(root, "garage", NULL, "/nonexistent/key.pub", &entry, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_NOT_FOUND);
	ck_assert_ptr_nonnull(strstr(failure.text, "/nonexistent/key.pub"));
}
END_TEST

START_TEST(the_next_step_names_this_machines_host_key)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_fclose_ FILE *stream = NULL;
	size_t size;

	put("/etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 " OTHER " root@vm\n");
	stream = open_memstream(&text, &size);
	authorize_print_next_step(root, stream);
	fflush(stream);
	ck_assert_ptr_nonnull(strstr(text, "sudo usbpush pair --host "));
	ck_assert_ptr_nonnull(strstr(text, "--host-key 'ssh-ed25519 " OTHER "'\n"));
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("authorize");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, a_key_opens_the_relay_and_nothing_else);
	tcase_add_test(tests, the_keys_are_readable_and_only_roots_to_write);
	tcase_add_test(tests, authorizing_twice_changes_nothing);
	tcase_add_test(tests, a_pi_that_was_set_up_anew_takes_its_old_names_place);
	tcase_add_test(tests, foreign_lines_and_other_pis_stay);
	tcase_add_test(tests, an_unpaired_pi_leaves_no_line);
	tcase_add_test(tests, what_the_handler_noted_is_taken_out_and_nothing_else);
	tcase_add_test(tests, authorizing_lifts_what_the_pi_said_before);
	tcase_add_test(tests, an_id_that_leads_elsewhere_is_none);
	tcase_add_loop_test(tests, anything_but_one_ed25519_key_is_refused_with_the_cure, 0, ARRAY_SIZE(BAD_KEYS));
	tcase_add_loop_test(tests, a_name_that_could_break_a_line_is_refused, 0, ARRAY_SIZE(BAD_NAMES));
	tcase_add_test(tests, a_missing_key_file_is_named);
	tcase_add_test(tests, the_next_step_names_this_machines_host_key);
	return check_program_run("vm_authorize", tests, NULL);
}
