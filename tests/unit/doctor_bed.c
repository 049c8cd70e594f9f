#include "doctor_bed.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"

void doctor_bed_setup(struct doctor_bed *bed)
{
	memset(bed, 0, sizeof(*bed));
	temp_tree_new(&bed->tree);
}

void doctor_bed_teardown(struct doctor_bed *bed)
{
	if (bed->daemon) {
		kill(bed->daemon, SIGKILL);
		waitpid(bed->daemon, NULL, 0);
	}
	doctor_done(&bed->doctor);
	temp_tree_free(&bed->tree);
}

void doctor_bed_put_program(struct doctor_bed *bed, const char *path, const char *output, int status)
{
	char script[8192];

	ck_assert_int_lt(snprintf(script, sizeof(script), "#!/bin/sh\ncat <<'END'\n%s\nEND\nexit %d\n", output, status), sizeof(script));
	temp_tree_put(&bed->tree, path + 1, script);
	ck_assert_int_eq(chmod(temp_tree_path(&bed->tree, path + 1), 0755), 0);
}

static void serve(int listener, const char *answer)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		char request[4096];

		if (fd < 0)
			_exit(0);
		if (read(fd, request, sizeof(request)) > 0 && write(fd, answer, strlen(answer)) > 0 && write(fd, "\n", 1) > 0)
			(void)read(fd, request, sizeof(request));
		close(fd);
	}
}

void doctor_bed_serve(struct doctor_bed *bed, const char *path, const char *answer)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char dir[128];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(path, '/') - path - 1), path + 1);
	temp_tree_make_dir(&bed->tree, dir);
	ck_assert_int_lt(snprintf(address.sun_path, sizeof(address.sun_path), "%s%s", bed->tree.path, path), sizeof(address.sun_path));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(fd, 8), 0);
	bed->daemon = fork();
	if (bed->daemon == 0)
		serve(fd, answer);
	close(fd);
}

void doctor_bed_run(struct doctor_bed *bed, const struct doctor_check *checks, size_t n)
{
	doctor_done(&bed->doctor);
	doctor_run(&bed->doctor, bed->tree.path, checks, n);
}

void doctor_bed_run_one(struct doctor_bed *bed, const char *name, void (*run)(struct doctor *doctor))
{
	const struct doctor_check check = { name, run };

	doctor_bed_run(bed, &check, 1);
}

static void print_all(const struct doctor_bed *bed)
{
	doctor_print(&bed->doctor, stderr, false);
}

void expect_finding(const struct doctor_bed *bed, enum doctor_state state, const char *part)
{
	for (size_t i = 0; i < bed->doctor.n; i++) {
		const struct doctor_finding *finding = &bed->doctor.findings[i];

		if (finding->state == state && strstr(finding->text, part)) {
			ck_assert_msg(state != DOCTOR_WRONG || finding->cure[0], "no cure: %s", finding->text);
			return;
		}
	}
	print_all(bed);
	ck_abort_msg("no finding \"%s\" of state %s", part, doctor_state_to_string(state));
}

void doctor_bed_expect_worst(const struct doctor_bed *bed, enum doctor_state state)
{
	for (size_t i = 0; i < bed->doctor.n; i++)
		if (bed->doctor.findings[i].state > state) {
			print_all(bed);
			ck_abort_msg("worse than %s: %s", doctor_state_to_string(state), bed->doctor.findings[i].text);
		}
}
