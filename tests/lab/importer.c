/* The least an importer can do: imports one device from a stock usbipd and gives
 * the socket to vhci_hcd. The measure of what our own way costs.
 *
 *   importer HOST BUSID      prints "PORT SECONDS", the seconds being
 *                            CLOCK_MONOTONIC just before `attach` was written
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define VHCI "/sys/devices/platform/vhci_hcd.0/"

struct reply { /* tools/usb/usbip/src/usbip_network.h: op_import_reply */
	uint16_t version, code;
	uint32_t status;
	char path[256], busid[32];
	uint32_t busnum, devnum, speed;
	uint16_t vid, pid, bcd;
	uint8_t rest[6];
} __attribute__((packed));

static void die(const char *what)
{
	fprintf(stderr, "importer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int connect_to(const char *host)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(3240) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	inet_pton(AF_INET, host, &a.sin_addr);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
		die(host);
	return fd;
}

static void request_import(int fd, const char *busid, struct reply *ret)
{
	char request[40] = { 0x01, 0x11, (char)0x80, 0x03 };

	strncpy(request + 8, busid, 31);
	if (write(fd, request, sizeof request) != sizeof request)
		die("request");
	if (recv(fd, ret, 8, MSG_WAITALL) != 8 || ret->status) {
		errno = EREMOTEIO;
		die(busid);
	}
	if (recv(fd, ret->path, sizeof *ret - 8, MSG_WAITALL) != sizeof *ret - 8)
		die("reply");
}

/* A free high-speed port; every device here is of high speed or less. */
static int find_port(void)
{
	FILE *f = fopen(VHCI "status", "r");
	char line[256], hub[8];
	int port, state;

	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "%7s %d %d", hub, &port, &state) == 3 && !strcmp(hub, "hs") && state == 4) {
			fclose(f);
			return port;
		}
	errno = EBUSY;
	die("port");
	return -1;
}

int main(int argc, char **argv)
{
	struct reply r;
	struct timespec t;
	char line[80];

	if (argc != 3)
		return 2;
	int fd = connect_to(argv[1]);
	request_import(fd, argv[2], &r);
	int port = find_port(), attach = open(VHCI "attach", O_WRONLY);
	int n = snprintf(line, sizeof line, "%d %d %u %u", port, fd, ntohl(r.busnum) << 16 | ntohl(r.devnum), ntohl(r.speed));

	clock_gettime(CLOCK_MONOTONIC, &t);
	if (write(attach, line, n) != n)
		die("attach");
	printf("%d %lld.%09ld\n", port, (long long)t.tv_sec, t.tv_nsec);
	return 0;
}
