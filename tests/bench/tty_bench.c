/*
 * What a program sees of a serial device: runs on whichever guest has the node, so that all roads are measured by the same code.
 *
 *   tty_bench NODE echo BYTES TIMES      sends BYTES, reads as many back, TIMES over; prints each round trip in microseconds
 *   tty_bench NODE send BYTES            sends BYTES and waits until the device has them
 *   tty_bench NODE receive BYTES         prints "open", reads BYTES; prints the microseconds from the first of them to the last
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "tty_bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int open_raw(const char *node)
{
	struct termios settings;
	int fd = open(node, O_RDWR | O_NOCTTY);

	if (fd < 0 || tcgetattr(fd, &settings) < 0)
		die(node);
	cfmakeraw(&settings);
	cfsetspeed(&settings, B3000000);
	if (tcsetattr(fd, TCSANOW, &settings) < 0 || tcflush(fd, TCIOFLUSH) < 0)
		die(node);
	return fd;
}

static void write_all(int fd, const char *data, size_t size)
{
	while (size > 0) {
		const ssize_t n = write(fd, data, size);

		if (n <= 0)
			die("write");
		data += n;
		size -= (size_t)n;
	}
}

/* Returns when the first byte came. */
static double read_all(int fd, char *data, size_t size)
{
	double first = 0;

	while (size > 0) {
		const ssize_t n = read(fd, data, size);

		if (n <= 0)
			die("read");
		if (first == 0)
			first = now_usec();
		data += n;
		size -= (size_t)n;
	}
	return first;
}

static void echo(int fd, char *data, size_t size, unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		const double start = now_usec();

		write_all(fd, data, size);
		read_all(fd, data, size);
		printf("%.0f\n", now_usec() - start);
	}
}

static void receive(int fd, char *data, size_t size)
{
	double first;

	puts("open");
	fflush(stdout);
	first = read_all(fd, data, size);
	printf("%.0f\n", now_usec() - first);
}

int main(int argc, char **argv)
{
	const size_t size = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
	char *data = calloc(1, size + 1);
	int fd;

	if (argc < 4 || size == 0 || !data) {
		fputs("usage: tty_bench NODE echo BYTES TIMES | send BYTES | receive BYTES\n", stderr);
		return 2;
	}
	for (size_t i = 0; i < size; i++)
		data[i] = (char)('a' + i % 26);
	fd = open_raw(argv[1]);
	if (strcmp(argv[2], "echo") == 0 && argc > 4)
		echo(fd, data, size, (unsigned)strtoul(argv[4], NULL, 10));
	else if (strcmp(argv[2], "receive") == 0)
		receive(fd, data, size);
	else
		write_all(fd, data, size);
	if (tcdrain(fd) < 0)
		die("drain");
	free(data);
	return 0;
}
