#include "avahi_bed.h"

#include <check.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"

#define START_TRIES 200 /* of 50 ms */

static const char BUS_CONFIG[] = "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" "
				 "\"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n"
				 "<busconfig><type>system</type><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth>"
				 "<policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow send_type=\"method_call\"/>"
				 "<allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>\n";

static const char AVAHI_CONFIG[] =
	"[server]\nhost-name=bed\nallow-interfaces=lo\nuse-ipv4=yes\nuse-ipv6=no\nenable-dbus=yes\ndisallow-other-stacks=no\n"
	"[publish]\npublish-workstation=no\n[rlimits]\n";

static void bring_loopback_up(void)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING | IFF_MULTICAST };

	ck_assert_int_eq(ioctl(fd, SIOCSIFFLAGS, &request), 0);
}

static bool unshare_all(void)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0)
		return false;
	ck_assert_int_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	/* Where avahi-daemon keeps its pid; the machine's own one, if there is one, is not to be met. */
	(void)mkdir("/run/avahi-daemon", 0755);
	ck_assert_int_eq(mount("tmpfs", "/run/avahi-daemon", "tmpfs", 0, NULL), 0);
	bring_loopback_up();
	return true;
}

static pid_t start(const char *program, const char *const *arguments)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		sigset_t none;
		int null = open("/dev/null", O_RDWR);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		dup2(null, STDOUT_FILENO);
		if (!getenv("USBPUSH_TEST_VERBOSE"))
			dup2(null, STDERR_FILENO);
		execv(program, (char *const *)(uintptr_t)arguments);
		_exit(127);
	}
	return pid;
}

static void stop(pid_t *pid)
{
	if (*pid <= 0)
		return;
	kill(*pid, SIGKILL);
	waitpid(*pid, NULL, 0);
	*pid = 0;
}

static void wait_for_file(const char *path)
{
	for (unsigned i = 0; i < START_TRIES && access(path, F_OK) < 0; i++)
		poll(NULL, 0, 50);
	ck_assert_msg(access(path, F_OK) == 0, "%s does not appear", path);
}

void avahi_bed_start_dbus(struct avahi_bed *bed)
{
	char config[160];
	const char *arguments[] = { "dbus-daemon", config, "--nofork", "--nopidfile", NULL };

	snprintf(config, sizeof(config), "--config-file=%s/bus.conf", bed->tree.path);
	unlink(temp_tree_path(&bed->tree, "bus"));
	bed->dbus = start("/usr/bin/dbus-daemon", arguments);
	wait_for_file(temp_tree_path(&bed->tree, "bus"));
}

void avahi_bed_stop_dbus(struct avahi_bed *bed)
{
	stop(&bed->dbus);
}

void avahi_bed_start_avahi(struct avahi_bed *bed)
{
	char config[160];
	const char *arguments[] = { "avahi-daemon", "--no-drop-root", "--no-chroot", "--no-rlimits", "-f", config, NULL };

	snprintf(config, sizeof(config), "%s/avahi.conf", bed->tree.path);
	bed->avahi = start("/usr/sbin/avahi-daemon", arguments);
}

void avahi_bed_stop_avahi(struct avahi_bed *bed)
{
	stop(&bed->avahi);
	unlink("/run/avahi-daemon/pid");
}

bool avahi_bed_setup(struct avahi_bed *bed)
{
	char text[1024];

	*bed = (struct avahi_bed){ .dbus = 0 };
	if (!unshare_all())
		return false;
	temp_tree_new(&bed->tree);
	snprintf(text, sizeof(text), BUS_CONFIG, bed->tree.path);
	temp_tree_put(&bed->tree, "bus.conf", text);
	temp_tree_put(&bed->tree, "avahi.conf", AVAHI_CONFIG);
	snprintf(text, sizeof(text), "unix:path=%s/bus", bed->tree.path);
	setenv("DBUS_SYSTEM_BUS_ADDRESS", text, 1);
	avahi_bed_start_dbus(bed);
	avahi_bed_start_avahi(bed);
	return true;
}

void avahi_bed_teardown(struct avahi_bed *bed)
{
	avahi_bed_stop_avahi(bed);
	avahi_bed_stop_dbus(bed);
	temp_tree_free(&bed->tree);
}
