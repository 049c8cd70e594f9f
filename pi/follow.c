#include "follow.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "log.h"
#include "vm_config_writer.h"

#define MDNS_USER         "usbpush-mdns"
#define USEC_PER_SEC      UINT64_C(1000000)
#define FOLLOW_AGAIN_USEC (30 * USEC_PER_SEC) /* between two tries at the same address */

struct follow {
	sd_event *event;               /* borrowed: outlives us */
	struct link *link;             /* borrowed: outlives us */
	struct pairing *pairing;       /* borrowed: outlives us */
	struct event_log *events;      /* borrowed: outlives us */
	struct vm_config *config;      /* borrowed: outlives us */
	const char *config_path;       /* borrowed: outlives us */
	struct job_runner *writes;     /* borrowed: outlives us */
	struct job *job;               /* the VM's id is being written */
	struct vm_config written;      /* with that */
	struct neighbours *neighbours; /* owned */
	sd_event_source *look;         /* owned: acts from the loop, not from within the link's transition */
	struct vm_config tried;        /* where it was looked for last */
	uint64_t tried_usec;
};

static int follow_on_look(sd_event_source *source, void *userdata);

int follow_new(sd_event *event, struct link *link, struct pairing *pairing, struct event_log *events, struct job_runner *writes,
	       struct vm_config *config, const char *config_path, struct follow **ret_follow)
{
	struct follow *follow = calloc(1, sizeof(*follow));
	int r;

	if (!follow)
		return -ENOMEM;
	follow->event = event;
	follow->link = link;
	follow->pairing = pairing;
	follow->events = events;
	follow->config = config;
	follow->config_path = config_path;
	follow->writes = writes;
	r = neighbours_new(&follow->neighbours);
	if (r == 0)
		r = sd_event_add_defer(event, &follow->look, follow_on_look, follow);
	if (r >= 0)
		r = sd_event_source_set_enabled(follow->look, SD_EVENT_OFF);
	if (r < 0) {
		follow_free(follow);
		return r;
	}
	*ret_follow = follow;
	return 0;
}

struct follow *follow_free(struct follow *follow)
{
	if (!follow)
		return NULL;
	job_abandon(follow->job);
	sd_event_source_disable_unref(follow->look);
	neighbours_free(follow->neighbours);
	free(follow);
	return NULL;
}

static bool follow_is_needed(const struct follow *follow)
{
	enum link_state state = link_get_state(follow->link);

	return state == LINK_DOWN || state == LINK_REFUSED;
}

static void follow_on_tried(const struct failure *failure, void *userdata)
{
	struct follow *follow = userdata;

	if (failure)
		log_notice("the VM is not at %s: %s", follow->tried.host, failure->text);
	else
		log_notice("the VM moved to %s; its host key is the pinned one", follow->tried.host);
}

/* The pairing's own way: the link is tried there with the same pin, and written down only when it is up. */
static void follow_try(struct follow *follow, const struct neighbour *neighbour)
{
	struct vm_config config = *follow->config;
	uint64_t now = clock_now_usec();

	snprintf(config.host, sizeof(config.host), "%s", neighbour->address);
	config.port = neighbour->port;
	if (vm_config_equal(&config, &follow->tried) && now - follow->tried_usec < FOLLOW_AGAIN_USEC)
		return;
	if (pairing_start(follow->pairing, &config, follow_on_tried, follow) < 0)
		return; /* a person pairs: that comes first */
	follow->tried = config;
	follow->tried_usec = now;
	log_notice("the VM seems to have moved from %s to %s; looking whether its host key answers there", follow->config->host,
		   config.host);
}

static void follow_write(struct follow *follow);

/* What was changed by hand meanwhile may have been written over. */
static void follow_on_written(int result, void *arg, void *userdata)
{
	struct follow *follow = userdata;

	(void)arg;
	follow->job = NULL;
	if (result < 0)
		log_debug("%s can't be written; the VM's id is learned again next time", follow->config_path);
	else if (!vm_config_equal(&follow->written, follow->config))
		follow_write(follow);
}

static void follow_write(struct follow *follow)
{
	int r;

	follow->written = *follow->config;
	r = vm_config_write(follow->writes, follow->config_path, follow->config, follow_on_written, follow, &follow->job);
	if (r < 0)
		follow_on_written(r, NULL, follow);
}

/* So that a VM that an earlier version was paired with can be followed, too. */
static void follow_learn_id(struct follow *follow)
{
	const char *id = link_vm_id(follow->link);

	if (follow->job || follow->config->id[0] || !vm_config_is_id(id) || pairing_is_busy(follow->pairing))
		return;
	snprintf(follow->config->id, sizeof(follow->config->id), "%s", id);
	follow_write(follow);
}

static int follow_on_look(sd_event_source *source, void *userdata)
{
	struct follow *follow = userdata;
	const struct neighbour *moved;

	(void)source;
	if (link_get_state(follow->link) == LINK_UP)
		follow_learn_id(follow);
	if (!follow_is_needed(follow))
		return 0;
	moved = neighbours_find_moved(follow->neighbours, follow->config);
	if (moved)
		follow_try(follow, moved);
	return 0;
}

void follow_handle_link_state(struct follow *follow, enum link_state state)
{
	if (follow && (state == LINK_DOWN || state == LINK_REFUSED || state == LINK_UP))
		sd_event_source_set_enabled(follow->look, SD_EVENT_ONESHOT);
}

/* Looked up each time: the package makes the user, maybe after our start. */
bool follow_is_teller(uid_t uid)
{
	const struct passwd *user = uid == 0 ? NULL : getpwnam(MDNS_USER);

	return uid == 0 || (user && user->pw_uid == uid);
}

int follow_vm_found(struct follow *follow, const json_t *object, struct failure *ret_failure)
{
	const struct neighbour *neighbour;
	char text[256];
	int r = neighbours_add(follow->neighbours, object, &neighbour, ret_failure);

	if (r < 0)
		return r;
	if (r > 0) {
		snprintf(text, sizeof(text), "%s is on the network at %s", neighbour->name, neighbour->address);
		event_log_add(follow->events, "network", NULL, "FOUND", text);
	}
	if (!neighbour_is_vm(neighbour, follow->config))
		return 0;
	sd_event_source_set_enabled(follow->look, SD_EVENT_ONESHOT);
	if (!neighbours_find_moved(follow->neighbours, follow->config))
		link_kick(follow->link, false); /* it is where it was: no need to wait any longer */
	return 0;
}

void follow_vm_lost(struct follow *follow, const char *key)
{
	char name[64], text[128];

	if (!neighbours_remove(follow->neighbours, key, name, sizeof(name)))
		return;
	snprintf(text, sizeof(text), "%s left the network", name);
	event_log_add(follow->events, "network", NULL, "LOST", text);
}

void follow_forget(struct follow *follow)
{
	neighbours_clear(follow->neighbours);
}

json_t *follow_to_json(const struct follow *follow)
{
	return neighbours_to_json(follow->neighbours, follow->config);
}
