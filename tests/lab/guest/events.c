#define _GNU_SOURCE
#include "events.h"

#include <linux/netlink.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "port.h"

enum { GROUP_KERNEL = 1, GROUP_UDEV = 2, MAX_EVENT = 16384 };

/* systemd, src/libsystemd/sd-device/device-monitor.c: monitor_netlink_header */
struct udev_header {
	char prefix[8];
	uint32_t magic, header_size, properties_off, properties_len;
};

struct __attribute__((packed)) event_header {
	uint32_t length;
	uint8_t kind;
	uint64_t guest_nsec;
};

static int monitor_open(int group)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK, .nl_groups = group };
	int size = 16 << 20;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0)
		return -1;
	return fd;
}

/* Returns where the properties start, or NULL for what is no event. */
static const char *find_properties(const char *message, size_t n, uint8_t kind, size_t *ret_n)
{
	struct udev_header h;

	if (kind == 'u') {
		if (n < sizeof h)
			return NULL;
		memcpy(&h, message, sizeof h);
		if (memcmp(h.prefix, "libudev", 8) != 0 || h.properties_off > n || h.properties_len > n - h.properties_off)
			return NULL;
		*ret_n = h.properties_len;
		return message + h.properties_off;
	}
	size_t title = strnlen(message, n) + 1; /* "add@/devices/..." */
	if (title >= n || !strchr(message, '@'))
		return NULL;
	*ret_n = n - title;
	return message + title;
}

static void forward(int port, int monitor, uint8_t kind)
{
	static char message[MAX_EVENT + 1], frame[sizeof(struct event_header) + MAX_EVENT];
	size_t n_properties;
	struct timespec now;
	ssize_t n = recv(monitor, message, MAX_EVENT, MSG_DONTWAIT);

	if (n <= 0)
		return;
	message[n] = '\0';
	const char *properties = find_properties(message, n, kind, &n_properties);
	if (!properties)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	struct event_header h = { .length = n_properties, .kind = kind, .guest_nsec = now.tv_sec * 1000000000ull + now.tv_nsec };
	memcpy(frame, &h, sizeof h);
	memcpy(frame + sizeof h, properties, n_properties);
	port_write(port, frame, sizeof h + n_properties);
}

void events_forward(void)
{
	int kernel = monitor_open(GROUP_KERNEL), udev = monitor_open(GROUP_UDEV);
	int port = port_open("usbpush.events", 0);

	setpriority(PRIO_PROCESS, 0, -19);
	port_write(port, PORT_MAGIC, PORT_MAGIC_SIZE);
	for (;;) {
		struct pollfd p[] = { { .fd = kernel, .events = POLLIN }, { .fd = udev, .events = POLLIN } };

		if (poll(p, 2, -1) < 0)
			continue;
		if (p[0].revents)
			forward(port, kernel, 'k');
		if (p[1].revents)
			forward(port, udev, 'u');
	}
}
