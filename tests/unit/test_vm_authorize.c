/* Pairing by hand on the VM: keys in, files out. */

#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "authorize.h"
#include "authorize_hold.h"
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
	return temp_tree_path(&tree, &REVOCATION_RUNTIME_DIR[1]);
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
	ck_assert_ptr_null(strstr(temp_tree_get(&tree, &PICONF_PATH[1]), "garage"));
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

/* ---- let in for the time being ---- */

/* What a Pi would write, its whole life; what it is answered is in answers. The exit status. */
static int hold(const char *input, bool is_left_open)
{
	const struct authorize_hold_options options = {
		.root = root, .name = "my pi", .address = "10.0.0.7", .limit_ms = is_left_open ? 200 : 5000
	};
	_cleanup_fclose_ FILE *stream = fopen(temp_tree_path(&tree, "answers"), "w");
	int ends[2], status;

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(write(ends[1], input, strlen(input)), (ssize_t)strlen(input));
	if (!is_left_open)
		ends[1] = close_fd(ends[1]);
	status = authorize_hold(&options, ends[0], stream);
	close_fd(ends[0]);
	close_fd(ends[1]);
	return status;
}

static void expect_answers(const char *text)
{
	ck_assert_msg(strstr(temp_tree_get(&tree, "answers"), text) != NULL, "%s", temp_tree_get(&tree, "answers"));
}

START_TEST(a_pi_that_says_keep_is_let_in_for_good)
{
	ck_assert_int_eq(hold("ssh-ed25519 " KEY " usbpush@pi\nkeep\n", false), 0);
	expect_answers("\"state\":\"authorized\"");
	expect_answers("\"state\":\"kept\"");
	expect_file(AUTHORIZED_KEYS_PATH, LINE(KEY_ID, KEY, "my-pi"));
	expect_file(PICONF_PATH, "PI=" KEY_ID " my-pi 10.0.0.7\nDEFAULT_PI_HOST=10.0.0.7\n");
	ck_assert_int_eq(hold("ssh-ed25519 " OTHER " usbpush@pi\nkeep\n", false), 0); /* another Pi of that name */
	expect_file(AUTHORIZED_KEYS_PATH, LINE(KEY_ID, KEY, "my-pi") LINE(OTHER_ID, OTHER, "my-pi-2"));
}
END_TEST

static const struct {
	const char *input, *code;
	bool is_left_open;
} NOT_KEPT[] = {
	{ "ssh-ed25519 " KEY " usbpush@pi\n", "cancelled", false },
	{ "ssh-ed25519 " KEY " usbpush@pi\n", "cancelled", true }, /* silence */
	{ "ssh-ed25519 " KEY " usbpush@pi\nundo\n", "cancelled", false },
	{ "ssh-ed25519 " KEY " usbpush@pi\nkeeper\n", "cancelled", false },
	{ "ssh-ed25519 " KEY " usbpush@pi\nkeep", "cancelled", false }, /* no line yet */
	{ "", "bad-request", false },
	{ "", "bad-request", true },
	{ "correct horse\nssh-ed25519 " KEY "\nkeep\n", "bad-request", false },
	{ "command=\"/bin/sh\" ssh-ed25519 " KEY "\nkeep\n", "bad-request", false },
	{ "keep\n", "bad-request", false },
};

START_TEST(a_pi_that_does_not_say_keep_leaves_all_as_it_was)
{
	char keys[1024], conf[1024];

	ck_assert_int_eq(authorize("attic", "ssh-ed25519 " OTHER "\n"), 0);
	snprintf(keys, sizeof(keys), "%s", temp_tree_get(&tree, &AUTHORIZED_KEYS_PATH[1]));
	snprintf(conf, sizeof(conf), "%s", temp_tree_get(&tree, &PICONF_PATH[1]));
	ck_assert_int_eq(hold(NOT_KEPT[_i].input, NOT_KEPT[_i].is_left_open), 1);
	expect_answers(NOT_KEPT[_i].code);
	expect_file(AUTHORIZED_KEYS_PATH, keys);
	expect_file(PICONF_PATH, conf);
	ck_assert_int_lt(access(temp_tree_path(&tree, "var/lib/usbpush/pairing.undo"), F_OK), 0);
}
END_TEST

START_TEST(an_endless_line_is_no_key)
{
	char line[3000];

	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\0';
	ck_assert_int_eq(hold(line, false), 1);
	expect_answers("bad-request");
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

/* Lets one Pi in and out, again and again. 0 if it was always there when it had been let in. */
static int come_and_go(const char *name, const char *key, const char *id)
{
	struct pi_key pi_key;
	char line[160];

	snprintf(line, sizeof(line), "ssh-ed25519 %s", key);
	if (pi_key_parse(line, "test", &pi_key, &failure) < 0)
		return 1;
	for (unsigned i = 0; i < 100; i++) {
		if (authorize_pi_key(root, name, NULL, &pi_key, &entry, &failure) < 0)
			return 2;
		if (!strstr(temp_tree_get(&tree, &PICONF_PATH[1]), id) || !strstr(temp_tree_get(&tree, &AUTHORIZED_KEYS_PATH[1]), id))
			return 3;
		if (authorize_remove(root, id, &entry, &failure) < 0)
			return 4;
		if (strstr(temp_tree_get(&tree, &PICONF_PATH[1]), id) || strstr(temp_tree_get(&tree, &AUTHORIZED_KEYS_PATH[1]), id))
			return 5;
	}
	return 0;
}

START_TEST(two_who_write_at_once_take_nothing_from_each_other)
{
	pid_t other = fork();
	int status;

	ck_assert_int_ge(other, 0);
	if (other == 0)
		_exit(come_and_go("shed", OTHER, OTHER_ID));
	ck_assert_int_eq(come_and_go("garage", KEY, KEY_ID), 0);
	ck_assert_int_eq(waitpid(other, &status, 0), other);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

START_TEST(the_end_of_a_pairing_does_not_take_out_who_was_let_in_again_meanwhile)
{
	ck_assert_int_eq(authorize("garage", "ssh-ed25519 " KEY "\n"), 0);
	ck_assert_int_eq(revocation_add(temp_tree_path(&tree, "run/usbpush"), KEY_ID), 0);
	ck_assert_int_eq(authorize("garage", "ssh-ed25519 " KEY "\n"), 0); /* the request was read by now */
	ck_assert_int_lt(authorize_remove_revoked(root, KEY_ID, &entry, &failure), 0);
	ck_assert_int_eq(failure.code, FAILURE_NOT_FOUND);
	expect_file(AUTHORIZED_KEYS_PATH, LINE(KEY_ID, KEY, "garage"));
	ck_assert_int_eq(revocation_add(temp_tree_path(&tree, "run/usbpush"), KEY_ID), 0);
	ck_assert_int_eq(authorize_remove_revoked(root, KEY_ID, &entry, &failure), 0);
	expect_file(AUTHORIZED_KEYS_PATH, "");
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("authorize");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, a_key_opens_the_relay_and_nothing_else);
	tcase_add_test(tests, two_who_write_at_once_take_nothing_from_each_other);
	tcase_add_test(tests, the_end_of_a_pairing_does_not_take_out_who_was_let_in_again_meanwhile);
	tcase_add_test(tests, the_keys_are_readable_and_only_roots_to_write);
	tcase_add_test(tests, authorizing_twice_changes_nothing);
	tcase_add_test(tests, a_pi_that_was_set_up_anew_takes_its_old_names_place);
	tcase_add_test(tests, foreign_lines_and_other_pis_stay);
	tcase_add_test(tests, an_unpaired_pi_leaves_no_line);
	tcase_add_test(tests, what_the_handler_noted_is_taken_out_and_nothing_else);
	tcase_add_test(tests, authorizing_lifts_what_the_pi_said_before);
	tcase_add_test(tests, an_id_that_leads_elsewhere_is_none);
	tcase_add_test(tests, a_pi_that_says_keep_is_let_in_for_good);
	tcase_add_loop_test(tests, a_pi_that_does_not_say_keep_leaves_all_as_it_was, 0, ARRAY_SIZE(NOT_KEPT));
	tcase_add_test(tests, an_endless_line_is_no_key);
	tcase_add_loop_test(tests, anything_but_one_ed25519_key_is_refused_with_the_cure, 0, ARRAY_SIZE(BAD_KEYS));
	tcase_add_loop_test(tests, a_name_that_could_break_a_line_is_refused, 0, ARRAY_SIZE(BAD_NAMES));
	tcase_add_test(tests, a_missing_key_file_is_named);
	tcase_add_test(tests, the_next_step_names_this_machines_host_key);
	return check_program_run("vm_authorize", tests, NULL);
}
