/* What anybody on the network may write to port 8080: the real portal, HTTP and all, on a socket of this process, with no exporter behind it. Every answer is one of
 * HTTP's, and nothing of a stranger's ends in 200 but what is open to all. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "fuzz.h"
#include "portal.h"

static struct portal *portal;
static sd_event *event;
static char socket_path[256];

static void settle(void)
{
	for (unsigned i = 0; i < 1000 && sd_event_run(event, 0) > 0; i++)
		;
}

static int listen_unix(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	FUZZ_CHECK(fd >= 0 && strlen(socket_path) < sizeof(address.sun_path));
	memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);
	FUZZ_CHECK(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 16) == 0);
	return fd;
}

static void start(void)
{
	static char code[256], control[256];
	struct portal_options options = { .code_path = code, .control_path = control, .state_dir = fuzz_directory() };

	snprintf(code, sizeof(code), "%s", fuzz_path("setup-code"));
	snprintf(control, sizeof(control), "%s", fuzz_path("nobody.sock"));
	snprintf(socket_path, sizeof(socket_path), "%s", fuzz_path("http.sock"));
	options.listen_fd = listen_unix();
	FUZZ_CHECK(sd_event_new(&event) >= 0 && portal_new(event, &options, &portal) == 0);
	settle();
}

static int connect_client(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	FUZZ_CHECK(fd >= 0);
	memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);
	FUZZ_CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char answer[256 * 1024];
	ssize_t n;
	int fd;

	if (!portal)
		start();
	fd = connect_client();
	settle();
	(void)send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	settle();
	n = recv(fd, answer, sizeof(answer) - 1, MSG_DONTWAIT);
	if (n > 0) {
		answer[n] = '\0';
		FUZZ_CHECK(strncmp(answer, "HTTP/1.", 7) == 0);
		FUZZ_CHECK(!strstr(answer, "\r\nSet-Cookie: usbpush=") || strstr(answer, "HttpOnly"));
	}
	close(fd);
	settle();
	return 0;
}
