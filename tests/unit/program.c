#include "program.h"

#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"

struct wanted {
	struct program *program;
	const char *text;
};

static void run_child(const char *name, const char *const *arguments, int in_fd, int out_fd)
{
	const char *build = getenv("USBPUSH_BUILD_DIR");
	char path[256], *argv[32] = { NULL };
	sigset_t none;

	snprintf(path, sizeof(path), "%s/%s", build ? build : ".", name);
	argv[0] = strdup(name);
	for (size_t i = 0; i < ARRAY_SIZE(argv) - 2 && arguments[i]; i++)
		argv[i + 1] = strdup(arguments[i]);
	dup2(in_fd, STDIN_FILENO);
	dup2(out_fd, STDOUT_FILENO);
	dup2(out_fd, STDERR_FILENO);
	sigemptyset(&none); /* the daemon's frame blocks some */
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(path, argv);
	_exit(127);
}

void program_start(struct program *program, sd_event *event, const char *name, const char *const *arguments)
{
	int ins[2], outs[2];

	*program = (struct program){ .event = event };
	ck_assert_int_eq(pipe2(ins, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(outs, O_CLOEXEC), 0);
	program->pid = fork();
	ck_assert_int_ge(program->pid, 0);
	if (program->pid == 0)
		run_child(name, arguments, ins[0], outs[1]);
	close(ins[0]);
	close(outs[1]);
	program->in_fd = ins[1];
	program->out_fd = outs[0];
}

void program_type(struct program *program, const char *text)
{
	ck_assert_int_eq(write(program->in_fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void collect(struct program *program)
{
	struct pollfd polled = { .fd = program->out_fd, .events = POLLIN };

	if (!program->has_ended && waitpid(program->pid, &program->status, WNOHANG) == program->pid)
		program->has_ended = true;
	while (poll(&polled, 1, 0) > 0) {
		ssize_t n = read(program->out_fd, program->out + program->used, sizeof(program->out) - 1 - program->used);

		if (n <= 0)
			break;
		program->used += (size_t)n;
		program->out[program->used] = '\0';
	}
}

static bool has_written(void *userdata)
{
	const struct wanted *wanted = userdata;

	collect(wanted->program);
	return strstr(wanted->program->out, wanted->text) || wanted->program->has_ended;
}

static bool has_ended(void *userdata)
{
	struct program *program = userdata;

	collect(program);
	return program->has_ended;
}

const char *program_wait_for(struct program *program, const char *text)
{
	struct wanted wanted = { program, text };
	const char *found;

	(void)loop_until(program->event, has_written, &wanted);
	found = strstr(program->out, text);
	ck_assert_msg(found != NULL, "it did not say \"%s\" but: %s", text, program->out);
	return found;
}

int program_finish(struct program *program)
{
	bool is_over = loop_until(program->event, has_ended, program);

	if (!is_over)
		is_over = loop_until(program->event, has_ended, program); /* some wait half a minute */
	if (!is_over)
		kill(program->pid, SIGKILL);
	ck_assert_msg(is_over, "it does not end; it said: %s", program->out);
	collect(program);
	close(program->in_fd);
	close(program->out_fd);
	ck_assert_msg(WIFEXITED(program->status), "it was killed; it said: %s", program->out);
	return WEXITSTATUS(program->status);
}

void program_signal(struct program *program, int number)
{
	ck_assert_int_eq(kill(program->pid, number), 0);
}
