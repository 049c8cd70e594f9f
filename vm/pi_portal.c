#include "pi_portal.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "json_text.h"

#define CONNECT_LIMIT_MS  4000 /* for each address of a name */
#define POLL_STEP_MS      200
#define ANSWER_MAX_SIZE   ((size_t)16 * 1024)
#define ADDRESS_TEXT_SIZE 80

struct pi_portal {
	CURL *curl;                      /* owned */
	struct curl_slist *headers;      /* owned */
	char name[256];                  /* as it was given */
	char address[ADDRESS_TEXT_SIZE]; /* literal, with its scope */
	char own_address[ADDRESS_TEXT_SIZE];
	uint16_t port;
	const volatile sig_atomic_t *is_stopped; /* borrowed */
	char *answer;                            /* owned: of the request under way */
	size_t answer_size;
};

const char *pi_portal_address(const struct pi_portal *portal)
{
	return portal->address;
}

uint16_t pi_portal_port(const struct pi_portal *portal)
{
	return portal->port;
}

const char *pi_portal_own_address(const struct pi_portal *portal)
{
	return portal->own_address;
}

static int fail_stopped(struct failure *failure)
{
	return failure_set(failure, FAILURE_CANCELLED, NULL, "stopped by you");
}

/* ---- which address ---- */

/* Waits until the socket is connected; 0 or negative errno. */
static int wait_connected(int fd, const volatile sig_atomic_t *is_stopped)
{
	struct pollfd polled = { .fd = fd, .events = POLLOUT };
	int error = 0;
	socklen_t size = sizeof(error);

	for (unsigned waited = 0; waited < CONNECT_LIMIT_MS; waited += POLL_STEP_MS) {
		if (*is_stopped)
			return -ECANCELED;
		if (poll(&polled, 1, POLL_STEP_MS) <= 0)
			continue;
		return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? -errno : -error;
	}
	return -ETIMEDOUT;
}

/* Connects once, to see that something answers and which of our addresses goes there. */
static int try_address(struct pi_portal *portal, const struct addrinfo *info)
{
	_cleanup_close_ int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_storage own;
	socklen_t size = sizeof(own);
	int err;

	if (fd < 0)
		return -errno;
	if (connect(fd, info->ai_addr, info->ai_addrlen) < 0 && errno != EINPROGRESS)
		return -errno;
	err = wait_connected(fd, portal->is_stopped);
	if (err < 0)
		return err;
	if (getsockname(fd, (struct sockaddr *)&own, &size) < 0 ||
	    getnameinfo((struct sockaddr *)&own, size, portal->own_address, sizeof(portal->own_address), NULL, 0, NI_NUMERICHOST) != 0)
		return -EIO;
	portal->own_address[strcspn(portal->own_address, "%")] = '\0';
	return 0;
}

/* Each in turn, in the system's order of preference (RFC 6724). */
static int find_address(struct pi_portal *portal, struct failure *failure)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	char port[8];
	int err;

	snprintf(port, sizeof(port), "%u", portal->port);
	err = getaddrinfo(portal->name, port, &hints, &list);
	if (err)
		return failure_set(failure, FAILURE_UNREACHABLE,
				   "Give the Pi's address instead. Names in .local need avahi-daemon and libnss-mdns here.",
				   "%s: no such host (%s)", portal->name, gai_strerror(err));
	err = -ENOENT;
	for (const struct addrinfo *one = list; one && err != 0 && err != -ECANCELED; one = one->ai_next) {
		if (getnameinfo(one->ai_addr, one->ai_addrlen, portal->address, sizeof(portal->address), NULL, 0, NI_NUMERICHOST) != 0)
			continue;
		err = try_address(portal, one);
	}
	freeaddrinfo(list);
	if (err == -ECANCELED)
		return fail_stopped(failure);
	if (err < 0)
		return failure_set(failure, FAILURE_UNREACHABLE,
				   err == -ECONNREFUSED ?
					   "Is usbpush installed there? On the Pi: systemctl status usbpush-portal. For another "
					   "PORTAL_PORT: --pi-port" :
					   "Is it on, and on this network?",
				   "%s (%s): nothing answers at port %u: %s", portal->name, portal->address, portal->port, strerror(-err));
	return 0;
}

/* ---- libcurl ---- */

static size_t on_body(char *data, size_t one, size_t size, void *userdata)
{
	struct pi_portal *portal = userdata;

	(void)one; /* always 1 */
	if (portal->answer_size + size > ANSWER_MAX_SIZE)
		return 0; /* ends the request */
	memcpy(portal->answer + portal->answer_size, data, size);
	portal->answer_size += size;
	return size;
}

static int on_progress(void *userdata, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
	const struct pi_portal *portal = userdata;

	(void)down_total;
	(void)down;
	(void)up_total;
	(void)up;
	return *portal->is_stopped ? 1 : 0;
}

static int portal_init(struct pi_portal *portal)
{
	int r = 0;

	portal->curl = curl_easy_init();
	portal->headers = curl_slist_append(NULL, "Content-Type: application/json");
	portal->answer = malloc(ANSWER_MAX_SIZE);
	if (!portal->curl || !portal->headers || !portal->answer)
		return -ENOMEM;
	r |= (int)curl_easy_setopt(portal->curl, CURLOPT_NOSIGNAL, 1L);
	r |= (int)curl_easy_setopt(portal->curl, CURLOPT_PROTOCOLS_STR, "http");
	r |= (int)curl_easy_setopt(portal->curl, CURLOPT_PROXY, ""); /* the Pi is here, whatever http_proxy says */
	r |= (int)curl_easy_setopt(portal->curl, CURLOPT_FOLLOWLOCATION, 0L);
	r |= (int)curl_easy_setopt(portal->curl, CURLOPT_HTTPHEADER, portal->headers);
	r |= (int)curl_easy_setopt(portal->curl, CURLOPT_USERAGENT, "usbpush-vm/" USBPUSH_VERSION);
	r |= (int)curl_easy_setopt(portal->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_LIMIT_MS);
	r |= (int)curl_easy_setopt(portal->curl, CURLOPT_WRITEFUNCTION, on_body);
	r |= (int)curl_easy_setopt(portal->curl, CURLOPT_WRITEDATA, portal);
	r |= (int)curl_easy_setopt(portal->curl, CURLOPT_NOPROGRESS, 0L);
	r |= (int)curl_easy_setopt(portal->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	r |= (int)curl_easy_setopt(portal->curl, CURLOPT_XFERINFODATA, portal);
	return r == 0 ? 0 : -ENOTSUP;
}

int pi_portal_new(const char *host, uint16_t port, const volatile sig_atomic_t *is_stopped, struct pi_portal **ret_portal,
		  struct failure *ret_failure)
{
	struct pi_portal *portal = calloc(1, sizeof(*portal));
	int err;

	if (!portal || portal_init(portal) < 0) {
		pi_portal_free(portal);
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	}
	snprintf(portal->name, sizeof(portal->name), "%s", host);
	portal->port = port;
	portal->is_stopped = is_stopped;
	err = find_address(portal, ret_failure);
	if (err < 0) {
		pi_portal_free(portal);
		return err;
	}
	*ret_portal = portal;
	return 0;
}

struct pi_portal *pi_portal_free(struct pi_portal *portal)
{
	if (!portal)
		return NULL;
	curl_easy_cleanup(portal->curl);
	curl_slist_free_all(portal->headers);
	free(portal->answer);
	free(portal);
	return NULL;
}

/* "http://10.0.0.7:8080/...", "http://[fe80::1%25eth0]:8080/..." (RFC 6874) */
static void make_url(const struct pi_portal *portal, const char *step, char *buffer, size_t size)
{
	const char *scope = strchr(portal->address, '%');
	bool is_ipv6 = strchr(portal->address, ':') != NULL;
	int length = scope ? (int)(scope - portal->address) : (int)strlen(portal->address);

	snprintf(buffer, size, "http://%s%.*s%s%s%s:%u/api/v1/pairing/%s", is_ipv6 ? "[" : "", length, portal->address, scope ? "%25" : "",
		 scope ? scope + 1 : "", is_ipv6 ? "]" : "", portal->port, step);
}

static int fail_transfer(const struct pi_portal *portal, CURLcode code, struct failure *failure)
{
	if (code == CURLE_ABORTED_BY_CALLBACK)
		return fail_stopped(failure);
	if (code == CURLE_OPERATION_TIMEDOUT)
		return failure_set(failure, FAILURE_TIMEOUT, NULL, "the Pi (%s) did not answer in time", portal->address);
	if (code == CURLE_WRITE_ERROR || code == CURLE_WEIRD_SERVER_REPLY || code == CURLE_UNSUPPORTED_PROTOCOL)
		return failure_set(failure, FAILURE_NOT_FOUND, "Give the address of a Pi with usbpush.",
				   "what answers at %s port %u is no usbpush", portal->address, portal->port);
	return failure_set(failure, FAILURE_UNREACHABLE, "Is it still on, and on this network?", "the Pi (%s) is gone: %s", portal->address,
			   curl_easy_strerror(code));
}

static int read_answer(const struct pi_portal *portal, json_t **ret_answer, struct failure *failure)
{
	_cleanup_json_ json_t *answer = json_loadb(portal->answer, portal->answer_size, JSON_REJECT_DUPLICATES, NULL);
	const json_t *ok = json_object_get(answer, "ok");

	if (json_is_true(ok)) {
		*ret_answer = TAKE_PTR(answer);
		return 0;
	}
	if (json_is_false(ok) && json_is_object(json_object_get(answer, "error"))) {
		failure_from_json(json_object_get(answer, "error"), failure);
		return -EREMOTEIO;
	}
	return failure_set(failure, FAILURE_NOT_FOUND, "Give the address of a Pi with usbpush of this version.",
			   "what answers at %s port %u is no usbpush that can pair", portal->address, portal->port);
}

int pi_portal_post(struct pi_portal *portal, const char *step, const json_t *message, unsigned timeout_ms, json_t **ret_answer,
		   struct failure *ret_failure)
{
	_cleanup_free_ char *body = json_text(message, 0);
	char url[256];
	CURLcode code;

	if (!body)
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	make_url(portal, step, url, sizeof(url));
	portal->answer_size = 0;
	curl_easy_setopt(portal->curl, CURLOPT_URL, url);
	curl_easy_setopt(portal->curl, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(portal->curl, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
	curl_easy_setopt(portal->curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
	code = curl_easy_perform(portal->curl);
	curl_easy_setopt(portal->curl, CURLOPT_POSTFIELDS, ""); /* ours is freed */
	if (code != CURLE_OK)
		return fail_transfer(portal, code, ret_failure);
	return read_answer(portal, ret_answer, ret_failure);
}
