/* What anybody on the VM may write to handler.sock: common/local_server and vm/handler_request. Each request is answered by one JSON line. */

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "fuzz.h"
#include "fuzz_handler.h"
#include "handler_request.h"
#include "local_server.h"

static int connect_client(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	FUZZ_CHECK(fd >= 0 && strlen(path) < sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path) + 1);
	FUZZ_CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

static void read_answers(int fd)
{
	static char data[512 * 1024];
	ssize_t n = recv(fd, data, sizeof(data) - 1, MSG_DONTWAIT);
	char *rest = data, *line;

	if (n <= 0)
		return;
	data[n] = '\0';
	while ((line = strsep(&rest, "\n")) && rest) {
		_cleanup_json_ json_t *object = json_loads(line, 0, NULL);

		/* A client that said it is the relay speaks for a Pi from then on. */
		FUZZ_CHECK(json_is_object(object) && fuzz_is_clean(line));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *path = fuzz_path("fuzz.sock");
	struct local_server *server;
	struct fuzz_handler bed;
	int fd;

	fuzz_handler_new(&bed);
	FUZZ_CHECK(local_server_new(bed.event, path, 0666, 8, handler_on_request, NULL, bed.handler, &server) == 0);
	fd = connect_client(path);
	fuzz_handler_settle(&bed);
	while (size > 0) {
		ssize_t n = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);

		fuzz_handler_settle(&bed);
		read_answers(fd);
		if (n <= 0)
			break;
		data += n;
		size -= (size_t)n;
	}
	close(fd);
	fuzz_handler_settle(&bed);
	local_server_free(server);
	fuzz_handler_free(&bed);
	return 0;
}
