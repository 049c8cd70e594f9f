#include "importer.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "daemon.h"
#include "tcp_socket.h"
#include "usbip_wire.h"

#define LIMIT_USEC (10 * UINT64_C(1000000)) /* for all of it: below the limit on an offer without a stream */
#define REPLY_SIZE (USBIP_HEADER_SIZE + USBIP_DEVICE_SIZE)

#ifndef IPV6_PREFER_SRC_PUBLIC /* linux/in6.h has it, which does not go with netinet/in.h */
#define IPV6_PREFER_SRC_PUBLIC 0x0002
#endif

#define CURE_TUNNEL "Let this VM through to that port, or set TRANSPORT=tunnel in /etc/usbpush/vm.conf on the Pi."

struct importer {
	int fd;                      /* owned */
	sd_event_source *io, *timer; /* owned */
	bool is_connected;
	char address[64];
	uint16_t port;
	struct busid busid;
	uint32_t devid;
	uint16_t vid, pid;
	uint8_t reply[REPLY_SIZE];
	size_t n_read;
	importer_fn on_done;
	void *userdata; /* borrowed */
};

/* ---- the end ---- */

static void importer_finish(struct importer *importer, const struct failure *failure)
{
	int fd = -1;

	timer_disarm(importer->timer);
	importer->io = sd_event_source_disable_unref(importer->io);
	if (failure)
		importer->fd = close_fd(importer->fd);
	else
		fd = TAKE_FD(importer->fd);
	importer->on_done(fd, failure, importer->userdata);
}

static int fail_to_connect(const struct importer *importer, int error, struct failure *failure)
{
	if (error == EAFNOSUPPORT || error == EPERM || error == EACCES)
		return failure_set(
			failure, FAILURE_NO_PERMISSION,
			"Is usbpush-handler.service as it was installed, and no firewall of the VM in the way? Or set TRANSPORT=tunnel on the Pi.",
			"the handler on the VM may not connect to the Pi (%s, port %u): %s", importer->address, importer->port,
			strerror(error));
	return failure_set(failure, FAILURE_UNREACHABLE, CURE_TUNNEL, "the VM can't reach the Pi's port %u at %s: %s", importer->port,
			   importer->address, strerror(error));
}

static void importer_fail_to_connect(struct importer *importer, int error)
{
	struct failure failure;

	(void)fail_to_connect(importer, error, &failure);
	importer_finish(importer, &failure);
}

static void importer_fail(struct importer *importer, enum failure_code code, const char *cure, const char *text)
{
	struct failure failure;

	failure_set(&failure, code, cure, "%s, port %u: %s", importer->address, importer->port, text);
	importer_finish(importer, &failure);
}

/* ---- the reply ---- */

static void importer_refused(struct importer *importer, uint32_t status)
{
	switch (status) {
	case USBIP_NOT_AVAILABLE:
		importer_fail(
			importer, FAILURE_NOT_ALLOWED,
			"Is there a NAT in between, or has the VM several addresses? VM_HOST in /etc/usbpush/vm.conf must be the one that it connects from; or set TRANSPORT=tunnel.",
			"the Pi does not give its devices to this VM's address");
		break;
	case USBIP_BUSY:
		importer_fail(importer, FAILURE_BUSY, "End it there (usbip detach), or wait.", "the device is in use by another machine");
		break;
	case USBIP_DEVICE_ERROR:
		importer_fail(importer, FAILURE_KERNEL, "On the Pi: usbpush reset DEVICE.", usbip_status_to_string(status));
		break;
	case USBIP_NO_DEVICE:
		importer_fail(importer, FAILURE_GONE, NULL, usbip_status_to_string(status));
		break;
	default:
		importer_fail(importer, FAILURE_STREAM, NULL, usbip_status_to_string(status));
		break;
	}
}

/* True while it is right so far. A refusal has no body. */
static bool importer_check_header(struct importer *importer)
{
	struct usbip_header header;

	usbip_header_decode(importer->reply, &header);
	if (header.version != USBIP_VERSION)
		importer_fail(importer, FAILURE_VERSION, CURE_TUNNEL,
			      "what answers there speaks another version of USB/IP, or something else");
	else if (header.code != USBIP_IMPORT)
		importer_fail(importer, FAILURE_STREAM, NULL, "the reply is to something else than was asked for");
	else if (header.status != USBIP_OK)
		importer_refused(importer, header.status);
	else
		return true;
	return false;
}

static void importer_check_device(struct importer *importer)
{
	struct usbip_device device;
	int flags = fcntl(importer->fd, F_GETFL);

	if (usbip_device_decode(importer->reply + USBIP_HEADER_SIZE, &device) < 0)
		importer_fail(importer, FAILURE_STREAM, NULL, "the reply makes no sense");
	else if (!busid_equal(&device.busid, &importer->busid) || (device.busnum << 16 | device.devnum) != importer->devid ||
		 device.vid != importer->vid || device.pid != importer->pid)
		importer_fail(importer, FAILURE_IDENTITY, "If nobody tampers with the Pi, unplug it and plug it in again.",
			      "the device there is not the one that was offered");
	else if (flags < 0 || fcntl(importer->fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		importer_fail(importer, FAILURE_INTERNAL, NULL, strerror(errno));
	else
		importer_finish(importer, NULL);
}

/* Never a byte more than the reply has: what follows it is the kernel's. */
static void importer_read(struct importer *importer)
{
	size_t size = importer->n_read < USBIP_HEADER_SIZE ? USBIP_HEADER_SIZE : REPLY_SIZE;
	ssize_t n = recv(importer->fd, importer->reply + importer->n_read, size - importer->n_read, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		importer_fail_to_connect(importer, errno);
		return;
	}
	if (n == 0) {
		importer_fail(importer, FAILURE_STREAM, NULL, "the Pi closed the connection in the middle of its reply");
		return;
	}
	importer->n_read += (size_t)n;
	if (importer->n_read == USBIP_HEADER_SIZE && !importer_check_header(importer))
		return;
	if (importer->n_read == REPLY_SIZE)
		importer_check_device(importer);
}

/* ---- the request ---- */

static void importer_connected(struct importer *importer)
{
	uint8_t request[USBIP_REQUEST_SIZE];
	socklen_t size = sizeof(int);
	int error = 0;

	if (getsockopt(importer->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		error = errno;
	if (error != 0) {
		importer_fail_to_connect(importer, error);
		return;
	}
	importer->is_connected = true;
	usbip_request_encode(&importer->busid, request);
	if (send(importer->fd, request, sizeof(request), MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)sizeof(request)) {
		importer_fail_to_connect(importer, errno);
		return;
	}
	sd_event_source_set_io_events(importer->io, EPOLLIN);
}

static int importer_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct importer *importer = userdata;

	(void)source;
	(void)fd;
	(void)events;
	if (importer->is_connected)
		importer_read(importer);
	else
		importer_connected(importer);
	return 0;
}

static int importer_on_limit(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct importer *importer = userdata;

	(void)source;
	(void)usec;
	if (importer->is_connected)
		importer_fail(importer, FAILURE_TIMEOUT, CURE_TUNNEL, "what listens there did not answer the import");
	else
		importer_fail_to_connect(importer, ETIMEDOUT);
	return 0;
}

/* ---- life ---- */

/* The Pi knows this VM by the address that it connects to, which is no temporary one (RFC 5014). */
static void importer_prefer_public_address(int fd)
{
	const int preference = IPV6_PREFER_SRC_PUBLIC;

	(void)setsockopt(fd, IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, &preference, sizeof(preference));
}

static int importer_connect(struct importer *importer, const struct addrinfo *address, uint32_t patience_ms)
{
	int r;

	importer->fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (importer->fd < 0)
		return -errno;
	importer_prefer_public_address(importer->fd);
	r = tcp_socket_prepare(importer->fd, tcp_socket_patience(patience_ms));
	if (r < 0)
		return r;
	return connect(importer->fd, address->ai_addr, address->ai_addrlen) < 0 && errno != EINPROGRESS ? -errno : 0;
}

static int importer_start(struct importer *importer, sd_event *event, uint32_t patience_ms)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	struct addrinfo *address = NULL;
	char port[8];
	int r;

	snprintf(port, sizeof(port), "%u", importer->port);
	if (getaddrinfo(importer->address, port, &hints, &address) != 0)
		return -EADDRNOTAVAIL;
	r = importer_connect(importer, address, patience_ms);
	freeaddrinfo(address);
	if (r >= 0)
		r = sd_event_add_io(event, &importer->io, importer->fd, EPOLLOUT, importer_on_io, importer);
	return r < 0 ? r : timer_arm(event, &importer->timer, LIMIT_USEC, importer_on_limit, importer);
}

int importer_new(sd_event *event, const char *address, const struct offer *offer, uint32_t patience_ms, importer_fn on_done, void *userdata,
		 struct importer **ret_importer, struct failure *ret_failure)
{
	struct importer *importer = calloc(1, sizeof(*importer));
	int r;

	if (!importer)
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	*importer = (struct importer){ .fd = -EBADF,
				       .port = offer->direct_port,
				       .busid = offer->busid,
				       .devid = offer->devid,
				       .vid = offer->identity.vid,
				       .pid = offer->identity.pid,
				       .on_done = on_done,
				       .userdata = userdata };
	snprintf(importer->address, sizeof(importer->address), "%s", address);
	r = importer_start(importer, event, patience_ms);
	if (r < 0) {
		(void)fail_to_connect(importer, -r, ret_failure);
		importer_free(importer);
		return r;
	}
	*ret_importer = importer;
	return 0;
}

struct importer *importer_free(struct importer *importer)
{
	if (!importer)
		return NULL;
	sd_event_source_disable_unref(importer->io);
	sd_event_source_disable_unref(importer->timer);
	close_fd(importer->fd);
	free(importer);
	return NULL;
}
