#include "whereabouts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "daemon.h"
#include "file_job.h"
#include "json_text.h"
#include "log.h"

#define WHEREABOUTS_MAX_SIZE ((size_t)16 * 1024)
#define WRITE_DELAY_USEC     UINT64_C(5000000)
#define SCOPE_LETTERS        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_"

struct whereabouts {
	sd_event *event;         /* borrowed: outlives us */
	struct job_runner *jobs; /* borrowed: outlives us */
	char *path;              /* owned */
	json_t *addresses;       /* owned: {ID: ADDRESS} */
	sd_event_source *timer;  /* owned: armed while there is something to write */
	struct job *job;         /* the write that is under way */
};

/* "10.0.0.7", "2001:db8::7", "fe80::7%eth0" */
static bool is_address(const char *text)
{
	size_t length = strcspn(text, "%");
	char bare[WHEREABOUTS_ADDRESS_SIZE];
	struct in6_addr address;

	if (strlen(text) >= sizeof(bare))
		return false;
	memcpy(bare, text, length);
	bare[length] = '\0';
	if (text[length] == '\0' && inet_pton(AF_INET, bare, &address) == 1)
		return true;
	if (text[length] == '%' && (!text[length + 1] || text[length + 1 + strspn(text + length + 1, SCOPE_LETTERS)]))
		return false;
	return inet_pton(AF_INET6, bare, &address) == 1;
}

static bool is_own_address(const char *text)
{
	return strncmp(text, "127.", 4) == 0 || strcmp(text, "::1") == 0;
}

/* ---- the file ---- */

static bool is_entry(const char *pi_id, const json_t *value)
{
	const char *address = json_string_value(value);

	return piconf_is_id(pi_id) && address && strlen(address) == json_string_length(value) && is_address(address);
}

json_t *whereabouts_read(const char *path)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *kept = NULL;
	json_t *addresses = json_object(), *value;
	ssize_t size = file_read(path, WHEREABOUTS_MAX_SIZE, &text);
	const char *pi_id;

	if (size > 0)
		kept = json_loadb(text, (size_t)size, JSON_REJECT_DUPLICATES, NULL);
	json_object_foreach(kept, pi_id, value)
		if (is_entry(pi_id, value) && json_object_size(addresses) < PICONF_MAX_PIS)
			json_object_set(addresses, pi_id, value);
	return addresses;
}

static void whereabouts_on_written(int result, void *arg, void *userdata)
{
	struct whereabouts *whereabouts = userdata;

	(void)arg;
	whereabouts->job = NULL;
	if (result < 0)
		log_notice("%s: %s; after the next boot the Pis come by themselves, up to 8 s later", whereabouts->path, strerror(-result));
}

static int whereabouts_start_write(struct whereabouts *whereabouts)
{
	_cleanup_(file_draft_done) struct file_draft draft = { .content = json_text(whereabouts->addresses, JSON_SORT_KEYS), .mode = 0644 };

	if (!draft.content)
		return -ENOMEM;
	draft.size = strlen(draft.content);
	return file_job_start(whereabouts->jobs, "addresses", whereabouts->path, &draft, whereabouts_on_written, whereabouts,
			      &whereabouts->job);
}

static int whereabouts_on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static void whereabouts_write_soon(struct whereabouts *whereabouts)
{
	int is_armed = SD_EVENT_OFF;

	(void)sd_event_source_get_enabled(whereabouts->timer, &is_armed);
	if (is_armed == SD_EVENT_OFF)
		timer_arm(whereabouts->event, &whereabouts->timer, WRITE_DELAY_USEC, whereabouts_on_timer, whereabouts);
}

/* One write at a time: a disk that hangs gets no more of them. */
static int whereabouts_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct whereabouts *whereabouts = userdata;

	(void)source;
	(void)usec;
	if (whereabouts->job || whereabouts_start_write(whereabouts) < 0)
		whereabouts_write_soon(whereabouts);
	return 0;
}

/* ---- for the handler ---- */

int whereabouts_new(sd_event *event, struct job_runner *jobs, const char *path, struct whereabouts **ret_whereabouts)
{
	struct whereabouts *whereabouts = calloc(1, sizeof(*whereabouts));
	int err = -ENOMEM;

	if (!whereabouts)
		return -ENOMEM;
	whereabouts->event = event;
	whereabouts->jobs = jobs;
	whereabouts->path = strdup(path);
	whereabouts->addresses = whereabouts_read(path);
	if (whereabouts->path && whereabouts->addresses)
		err = timer_new(event, &whereabouts->timer, whereabouts_on_timer, whereabouts);
	if (err < 0) {
		whereabouts_free(whereabouts);
		return err;
	}
	*ret_whereabouts = whereabouts;
	return 0;
}

struct whereabouts *whereabouts_free(struct whereabouts *whereabouts)
{
	if (!whereabouts)
		return NULL;
	job_abandon(whereabouts->job);
	sd_event_source_disable_unref(whereabouts->timer);
	json_decref(whereabouts->addresses);
	free(whereabouts->path);
	free(whereabouts);
	return NULL;
}

void whereabouts_note(struct whereabouts *whereabouts, const char *pi_id, const char *address)
{
	const char *known = json_string_value(json_object_get(whereabouts->addresses, pi_id));

	if (!is_address(address) || is_own_address(address) || (known && strcmp(known, address) == 0))
		return;
	if (json_object_set_new(whereabouts->addresses, pi_id, json_string(address)) == 0)
		whereabouts_write_soon(whereabouts);
}

void whereabouts_prune(struct whereabouts *whereabouts, const struct piconf *piconf)
{
	const char *pi_id;
	json_t *value;
	void *next;

	json_object_foreach_safe(whereabouts->addresses, next, pi_id, value) {
		if (piconf_find(piconf, pi_id))
			continue;
		json_object_del(whereabouts->addresses, pi_id);
		whereabouts_write_soon(whereabouts);
	}
}
