#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "inject_internal.h"

#define NO_MEMORY (-ENOMEM)

INJECT_SIMPLE(INJECT_LOOP, int, sd_event_new, (sd_event * *event), (event), NO_MEMORY)
INJECT_SIMPLE(INJECT_LOOP, int, sd_event_add_io,
	      (sd_event * event, sd_event_source **source, int fd, uint32_t events, sd_event_io_handler_t fn, void *userdata),
	      (event, source, fd, events, fn, userdata), NO_MEMORY)
INJECT_SIMPLE(INJECT_LOOP, int, sd_event_add_time,
	      (sd_event * event, sd_event_source **source, clockid_t clock, uint64_t usec, uint64_t accuracy, sd_event_time_handler_t fn,
	       void *userdata),
	      (event, source, clock, usec, accuracy, fn, userdata), NO_MEMORY)
INJECT_SIMPLE(INJECT_LOOP, int, sd_event_add_defer, (sd_event * event, sd_event_source **source, sd_event_handler_t fn, void *userdata),
	      (event, source, fn, userdata), NO_MEMORY)
INJECT_SIMPLE(INJECT_LOOP, int, sd_event_add_signal,
	      (sd_event * event, sd_event_source **source, int number, sd_event_signal_handler_t fn, void *userdata),
	      (event, source, number, fn, userdata), NO_MEMORY)
INJECT_SIMPLE(INJECT_LOOP, int, sd_event_source_set_prepare, (sd_event_source * source, sd_event_handler_t fn), (source, fn), NO_MEMORY)
INJECT_SIMPLE(INJECT_LOOP, int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1)
INJECT_SIMPLE(INJECT_LOOP, int, socketpair, (int domain, int type, int protocol, int *fds), (domain, type, protocol, fds), -1)
INJECT_SIMPLE(INJECT_LOOP, int, setsockopt, (int fd, int level, int name, const void *value, socklen_t size),
	      (fd, level, name, value, size), -1)
INJECT_SIMPLE(INJECT_LOOP, int, getsockopt, (int fd, int level, int name, void *value, socklen_t *size), (fd, level, name, value, size), -1)
INJECT_SIMPLE(INJECT_LOOP, int, connect, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size), -1)
INJECT_SIMPLE(INJECT_LOOP, int, bind, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size), -1)
INJECT_SIMPLE(INJECT_LOOP, int, listen, (int fd, int backlog), (fd, backlog), -1)
INJECT_SIMPLE(INJECT_LOOP, int, accept4, (int fd, struct sockaddr *address, socklen_t *size, int flags), (fd, address, size, flags), -1)
INJECT_SIMPLE(INJECT_LOOP, ssize_t, recv, (int fd, void *data, size_t size, int flags), (fd, data, size, flags), -1)
INJECT_SIMPLE(INJECT_LOOP, ssize_t, send, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags), -1)
INJECT_SIMPLE(INJECT_LOOP, ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags), -1)
INJECT_SIMPLE(INJECT_LOOP, int, pipe2, (int *fds, int flags), (fds, flags), -1)
INJECT_SIMPLE(INJECT_LOOP, int, eventfd, (unsigned initial, int flags), (initial, flags), -1)
INJECT_SIMPLE(INJECT_LOOP, pid_t, fork, (void), (), -1)
INJECT_SIMPLE(INJECT_LOOP, ssize_t, getrandom, (void *data, size_t size, unsigned flags), (data, size, flags), -1)

/* pthread_create(3) returns what others put into errno. */
INJECT_SIMPLE(INJECT_LOOP, int, pthread_create, (pthread_t * thread, const pthread_attr_t *attributes, void *(*fn)(void *), void *argument),
	      (thread, attributes, fn, argument), EAGAIN)
INJECT_SIMPLE(INJECT_LOOP, int, getaddrinfo, (const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **list),
	      (host, port, hints, list), EAI_MEMORY)

/* Ours pass an int, or nothing. */
INJECT(int, fcntl, (int fd, int command, ...))
{
	va_list arguments;
	int argument;

	va_start(arguments, command);
	argument = command == F_GETFL || command == F_GETFD ? 0 : va_arg(arguments, int);
	va_end(arguments);
	return inject_hits(INJECT_LOOP, "fcntl") ? -1 : fcntl(fd, command, argument);
}

INJECT_LARGE(fcntl);
