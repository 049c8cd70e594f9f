#include "ssh_people.h"

#include <check.h>
#include <crypt.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"

#define SALT "$6$usbpush$" /* as PAM takes it everywhere; its cost is no matter here */

static char sources[3][160];
static const char *const TARGETS[] = { "/etc/passwd", "/etc/shadow", "/etc/sudoers" };

bool ssh_people_enter(const struct ssh_vm *vm)
{
	(void)vm;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(TARGETS); i++)
		if (mount(sources[i], TARGETS[i], NULL, MS_BIND, NULL) < 0)
			return false;
	return true;
}

bool ssh_people_are_possible(void)
{
	int status = -1;
	pid_t pid;

	if (geteuid() != 0 || access("/usr/bin/sudo", X_OK) < 0)
		return false;
	pid = fork();
	if (pid == 0)
		_exit(unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0);
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Where setuid programs are no more than others: people are root themselves then, and sudo is played. */
static bool is_sudo_played(void)
{
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
}

static const char PLAYED_SUDO[] = "#!/bin/sh\n"
				  "[ \"$1 $2\" = '-S -p' ] || exit 1\n"
				  "prompt=$3\n"
				  "shift 4\n"
				  "[ \"$USER\" != " PERSON_FREE " ] || exec \"$@\"\n"
				  "secret=$(cat \"$HOME/secret.person\")\n"
				  "[ \"$USER\" != " PERSON_OTHER " ] || secret=$(cat \"$HOME/secret.root\")\n"
				  "echo 'We trust you have received the usual lecture.' >&2\n"
				  "for try in 1 2 3; do\n"
				  "	printf %s \"$prompt\" >&2\n"
				  "	IFS= read -r typed || exit 1\n"
				  "	[ \"$typed\" != \"$secret\" ] || break\n"
				  "	echo 'Sorry, try again.' >&2\n"
				  "	[ $try != 3 ] || exit 1\n"
				  "done\n"
				  "if [ \"$USER\" = " PERSON_PLAIN " ]; then\n"
				  "	echo \"$USER is not in the sudoers file.\" >&2\n"
				  "	exit 1\n"
				  "fi\n"
				  "exec \"$@\"\n";

/* What stands in the system's own file, but for lines of those who move in. */
static void copy_others(const char *path, FILE *to)
{
	static const char *const ours[] = { "root:", "usbpush:", PERSON_SUDO ":", PERSON_PLAIN ":", PERSON_OTHER ":", PERSON_FREE ":" };
	FILE *from = fopen(path, "r");
	char line[1024];

	ck_assert_ptr_nonnull(from);
	while (fgets(line, sizeof(line), from)) {
		bool is_ours = false;

		for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
			is_ours |= strncmp(line, ours[i], strlen(ours[i])) == 0;
		if (!is_ours)
			fputs(line, to);
	}
	fclose(from);
}

static FILE *open_source(const struct ssh_vm *vm, size_t i, mode_t mode)
{
	FILE *file;

	snprintf(sources[i], sizeof(sources[i]), "%s/etc.%zu", vm->tree.path, i);
	file = fopen(sources[i], "w");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fchmod(fileno(file), mode), 0);
	return file;
}

/* Not crypt(): AddressSanitizer's own wrapper of it finds no libcrypt. */
static const char *hash_of(const char *password)
{
	static struct crypt_data data;
	const char *hash = crypt_rn(password, SALT, &data, sizeof(data));

	ck_assert_ptr_nonnull(hash);
	return hash;
}

static void write_accounts(const struct ssh_vm *vm)
{
	static const char *const people[] = { PERSON_SUDO, PERSON_PLAIN, PERSON_OTHER, PERSON_FREE };
	FILE *passwd = open_source(vm, 0, 0644), *shadow = open_source(vm, 1, 0600), *sudoers = open_source(vm, 2, 0440);

	fprintf(passwd, "root:x:0:0:root:%s:/bin/sh\nusbpush:x:0:0::%s:/bin/sh\n", vm->tree.path, vm->tree.path);
	fprintf(shadow, "root:%s:19000:0:99999:7:::\nusbpush:*:19000:0:99999:7:::\n", hash_of(ROOT_PASSWORD));
	for (size_t i = 0; i < ARRAY_SIZE(people); i++) {
		fprintf(passwd, "%s:x:%zu:65534::%s:/bin/sh\n", people[i], is_sudo_played() ? 0 : 61001 + i, vm->tree.path);
		fprintf(shadow, "%s:%s:19000:0:99999:7:::\n", people[i], hash_of(PERSON_PASSWORD));
	}
	copy_others("/etc/passwd", passwd);
	copy_others("/etc/shadow", shadow);
	fprintf(sudoers,
		"Defaults env_reset, secure_path=\"%s/bin:/usr/sbin:/usr/bin:/sbin:/bin\", passwd_tries=3, !syslog\nDefaults:" PERSON_OTHER
		" rootpw\n"
		"root ALL=(ALL:ALL) ALL\n" PERSON_SUDO " ALL=(ALL:ALL) ALL\n" PERSON_OTHER " ALL=(ALL:ALL) ALL\n" PERSON_FREE
		" ALL=(ALL:ALL) NOPASSWD: ALL\n",
		vm->tree.path);
	fclose(passwd);
	fclose(shadow);
	fclose(sudoers);
}

static void write_sshd_config(struct ssh_vm *vm, enum ssh_asking asking)
{
	char program[256], text[2048];
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);

	ck_assert_int_gt(n, 0);
	program[n] = '\0';
	snprintf(
		text, sizeof(text),
		"HostKey %s/%s\nAuthorizedKeysFile none\nUsePAM yes\nPasswordAuthentication %s\nKbdInteractiveAuthentication %s\nPermitRootLogin yes\n"
		"StrictModes no\nPrintMotd no\nPrintLastLog no\nPidFile none\nUseDNS no\nLogLevel VERBOSE\nSetEnv HOME=%s PATH=%s/bin:/usr/bin:/bin " CHECK_PROGRAM_PLAYS
		"=1\n"
		"Match User usbpush\nAuthorizedKeysFile %s/root/var/lib/usbpush/.ssh/authorized_keys\nForceCommand %s --play %s\n",
		vm->tree.path, vm->host_key, asking == ASKING_PASSWORD ? "yes" : "no", asking == ASKING_QUESTIONS ? "yes" : "no",
		vm->tree.path, vm->tree.path, vm->tree.path, program, vm->tree.path);
	temp_tree_replace(&vm->tree, "sshd_config", text);
}

void ssh_people_put_program(struct ssh_vm *vm, const char *name, const char *script)
{
	char path[64];

	snprintf(path, sizeof(path), "bin/%s", name);
	if (!*script) {
		temp_tree_remove(&vm->tree, path);
		return;
	}
	temp_tree_put(&vm->tree, path, script);
	ck_assert_int_eq(chmod(temp_tree_path(&vm->tree, path), 0755), 0);
}

void ssh_people_move_in(struct ssh_vm *vm, enum ssh_asking asking)
{
	const char *build = getenv("USBPUSH_BUILD_DIR");
	char script[512];

	ck_assert_int_eq(chmod(vm->tree.path, 0755), 0);
	temp_tree_make_dir(&vm->tree, "root");
	write_accounts(vm);
	write_sshd_config(vm, asking);
	snprintf(script, sizeof(script), "#!/bin/sh\nexec %s/usbpush-vm \"$@\" --root %s/root\n", build ? build : ".", vm->tree.path);
	ssh_people_put_program(vm, "usbpush-vm", script);
	temp_tree_put(&vm->tree, "secret.person", PERSON_PASSWORD);
	temp_tree_put(&vm->tree, "secret.root", ROOT_PASSWORD);
	ssh_people_put_program(vm, "sudo-of-here", is_sudo_played() ? PLAYED_SUDO : "#!/bin/sh\nexec /usr/bin/sudo \"$@\"\n");
	ssh_people_put_program(vm, "sudo", "#!/bin/sh\nexec sudo-of-here \"$@\"\n");
	vm->has_people = true;
}
