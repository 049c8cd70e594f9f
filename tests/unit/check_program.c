#include "check_program.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "daemon.h"

#define LIMIT_USEC UINT64_C(20000000) /* far beyond what is needed, even beside two guests on the same two cores */
#define TURN_USEC  UINT64_C(20000)
#define MAX_DUE    50 /* turns: what goes on for ever is no reason to stay */

/* Before any TCase is made: libcheck's own limit for a test is 4 s, which a busy machine takes for some of ours. Each TCase that needs more says so. */
__attribute__((constructor)) static void set_default_timeout(void)
{
	setenv("CK_DEFAULT_TIMEOUT", "60", 0);
}

int check_program_run(const char *name, TCase *first, ...)
{
	Suite *suite = suite_create(name);
	SRunner *runner;
	va_list arguments;
	int n_failed;

	if (getenv(CHECK_PROGRAM_PLAYS)) { /* its sshd would start it again and again, each time with an sshd of its own */
		fprintf(stderr, "%s: was started to play a part. Let main() call ssh_vm_play() first.\n", name);
		return 2;
	}
	va_start(arguments, first);
	for (TCase *tests = first; tests; tests = va_arg(arguments, TCase *))
		suite_add_tcase(suite, tests);
	va_end(arguments);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed > 0;
}

static bool is_never_done(void *userdata)
{
	(void)userdata;
	return false;
}

static bool loop_run(sd_event *event, bool (*is_done)(void *), void *userdata, uint64_t limit_usec)
{
	uint64_t end = clock_now_usec() + limit_usec;

	while (!is_done(userdata)) {
		uint64_t now = clock_now_usec();

		if (now >= end)
			return false;
		/* what is waited for may be a file's, which wakes no loop */
		ck_assert_int_ge(sd_event_run(event, end - now < TURN_USEC ? end - now : TURN_USEC), 0);
	}
	return true;
}

uint64_t test_slowness(void)
{
	const char *text = getenv("USBPUSH_TEST_SLOWNESS");
	uint64_t slowness = text ? strtoull(text, NULL, 10) : 1;

	return slowness ? slowness : 1;
}

bool loop_until(sd_event *event, bool (*is_done)(void *), void *userdata)
{
	return loop_run(event, is_done, userdata, LIMIT_USEC * test_slowness());
}

void loop_for(sd_event *event, uint64_t usec)
{
	loop_run(event, is_never_done, NULL, usec);
	/* On a busy machine that time may be over without a turn: what is due by now is done, and what follows from it. */
	for (unsigned i = 0; i < MAX_DUE && sd_event_run(event, 0) > 0; i++)
		;
}

size_t loop_hear(sd_event *event, int fd, void *buffer, size_t size)
{
	size_t used = 0;

	for (unsigned i = 0; used < size && i < 2000 * test_slowness(); i++) {
		ssize_t n = recv(fd, (char *)buffer + used, size - used, MSG_DONTWAIT);

		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
		if (n > 0)
			used += (size_t)n;
		else
			sd_event_run(event, 5000);
	}
	return used;
}

unsigned count_fds(void)
{
	_cleanup_closedir_ DIR *directory = opendir("/proc/self/fd");
	unsigned n = 0;

	ck_assert_ptr_nonnull(directory);
	while (readdir(directory))
		n++;
	return n;
}

void expect_fds(unsigned n)
{
	char list[4096] = "", path[32], target[256];
	size_t used = 0;

	for (unsigned i = 0; i < 400 * test_slowness(); i++) { /* a thread that nobody waits for ends by itself */
		if (count_fds() == n)
			return;
		poll(NULL, 0, 5);
	}
	for (int fd = 0; fd < 256 && used < sizeof(list); fd++) {
		ssize_t length;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		length = readlink(path, target, sizeof(target) - 1);
		target[length > 0 ? length : 0] = '\0';
		if (length > 0)
			used += (size_t)snprintf(list + used, sizeof(list) - used, " %d=%s", fd, target);
	}
	ck_abort_msg("%u file descriptors, not %u:%s", count_fds(), n, list);
}

unsigned count_in(const char *text, const char *part)
{
	unsigned n = 0;

	for (; (text = strstr(text, part)); text++)
		n++;
	return n;
}
