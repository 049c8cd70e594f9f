#include "mdns_exporter.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "daemon.h"
#include "local_request.h"
#include "log.h"

#define ANSWER_LIMIT_MS 2000
#define RETRY_USEC      UINT64_C(2000000)

/* What the exporter knows is what it was told on this connection: while it stands, nothing is to be told again. */
struct mdns_exporter {
	sd_event *event;         /* borrowed: outlives us */
	const char *socket_path; /* borrowed: outlives us */
	int fd;
	sd_event_source *watch, *retry; /* owned */
	size_t n;
	struct mdns_found found[MDNS_MAX_FOUND];
};

static int exporter_on_retry(sd_event_source *source, uint64_t usec, void *userdata);

static void exporter_lose(struct mdns_exporter *exporter)
{
	exporter->watch = sd_event_source_disable_unref(exporter->watch);
	exporter->fd = close_fd(exporter->fd);
	(void)timer_arm(exporter->event, &exporter->retry, RETRY_USEC, exporter_on_retry, exporter);
}

/* The exporter says nothing unasked: this is its end. */
static int exporter_on_hangup(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	(void)source;
	(void)fd;
	(void)events;
	exporter_lose(userdata);
	return 0;
}

/* The request's reference is taken. */
static void exporter_tell(struct mdns_exporter *exporter, json_t *request)
{
	_cleanup_json_ json_t *owned = request, *answer = NULL;
	struct failure failure;
	int r;

	if (exporter->fd < 0)
		return;
	r = local_request(exporter->fd, owned, ANSWER_LIMIT_MS, &answer, &failure);
	if (r == 0)
		return;
	log_warning("the exporter: %s", failure.text);
	if (r != -EREMOTEIO)
		exporter_lose(exporter);
}

static void exporter_tell_found(struct mdns_exporter *exporter, const struct mdns_found *found)
{
	exporter_tell(exporter, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:s}", "request", "vm-found", "key", found->key, "id",
					  found->id, "name", found->name, "host", found->host, "address", found->address, "port",
					  found->port, "fingerprint", found->fingerprint));
}

static int exporter_connect(struct mdns_exporter *exporter)
{
	struct failure failure;
	int r;

	exporter->fd = local_connect(exporter->socket_path, "usbpush-exporter", &failure);
	if (exporter->fd < 0) {
		log_debug("%s", failure.text);
		return exporter->fd;
	}
	r = sd_event_add_io(exporter->event, &exporter->watch, exporter->fd, EPOLLRDHUP, exporter_on_hangup, exporter);
	for (size_t i = 0; r >= 0 && i < exporter->n; i++)
		exporter_tell_found(exporter, &exporter->found[i]);
	return r;
}

static int exporter_on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct mdns_exporter *exporter = userdata;

	(void)source;
	(void)usec;
	if (exporter->fd < 0 && exporter_connect(exporter) < 0)
		exporter_lose(exporter);
	return 0;
}

int mdns_exporter_new(sd_event *event, const char *socket_path, struct mdns_exporter **ret_exporter)
{
	struct mdns_exporter *exporter = calloc(1, sizeof(*exporter));
	int r;

	if (!exporter)
		return -ENOMEM;
	exporter->event = event;
	exporter->socket_path = socket_path;
	exporter->fd = -EBADF;
	r = timer_arm(event, &exporter->retry, 0, exporter_on_retry, exporter);
	if (r < 0) {
		free(exporter);
		return r;
	}
	*ret_exporter = exporter;
	return 0;
}

struct mdns_exporter *mdns_exporter_free(struct mdns_exporter *exporter)
{
	if (!exporter)
		return NULL;
	sd_event_source_disable_unref(exporter->watch);
	sd_event_source_disable_unref(exporter->retry);
	close_fd(exporter->fd);
	free(exporter);
	return NULL;
}

static size_t exporter_find(const struct mdns_exporter *exporter, const char *key)
{
	size_t i = 0;

	while (i < exporter->n && strcmp(exporter->found[i].key, key) != 0)
		i++;
	return i;
}

void mdns_exporter_found(struct mdns_exporter *exporter, const struct mdns_found *found)
{
	size_t i = exporter_find(exporter, found->key);

	if (i == MDNS_MAX_FOUND)
		return;
	exporter->found[i] = *found;
	exporter->n += i == exporter->n;
	exporter_tell_found(exporter, found);
}

void mdns_exporter_lost(struct mdns_exporter *exporter, const char *key)
{
	size_t i = exporter_find(exporter, key);

	if (i == exporter->n)
		return;
	exporter->found[i] = exporter->found[--exporter->n];
	exporter_tell(exporter, json_pack("{s:s, s:s}", "request", "vm-lost", "key", key));
}
