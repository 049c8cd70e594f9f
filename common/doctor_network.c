#include "doctor_network.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "cleanup.h"

#define LOOPBACK_LIMIT_MS 2000

int doctor_connect(const struct addrinfo *address, int limit_ms)
{
	_cleanup_close_ int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct pollfd polled = { .fd = fd, .events = POLLOUT };
	int error = 0;
	socklen_t size = sizeof(error);

	if (fd < 0)
		return -errno;
	if (connect(fd, address->ai_addr, address->ai_addrlen) < 0 && errno != EINPROGRESS)
		return -errno;
	if (poll(&polled, 1, limit_ms) <= 0)
		return -ETIMEDOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error)
		return error ? -error : -errno;
	return TAKE_FD(fd);
}

int doctor_connect_to(const char *address, unsigned port, int limit_ms)
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	struct addrinfo *found = NULL;
	char text[16];
	int fd;

	snprintf(text, sizeof(text), "%u", port);
	if (getaddrinfo(address, text, &hints, &found) != 0)
		return -EADDRNOTAVAIL;
	fd = doctor_connect(found, limit_ms);
	freeaddrinfo(found);
	return fd;
}

bool doctor_port_answers(unsigned port)
{
	_cleanup_close_ int fd = doctor_connect_to("127.0.0.1", port, LOOPBACK_LIMIT_MS);

	return fd >= 0;
}
