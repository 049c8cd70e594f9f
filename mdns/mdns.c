#include "mdns.h"

#include <avahi-client/client.h>
#include <avahi-client/lookup.h>
#include <avahi-client/publish.h>
#include <avahi-common/alternative.h>
#include <avahi-common/error.h>
#include <avahi-common/malloc.h>
#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "avahi_poll.h"
#include "backoff.h"
#include "cleanup.h"
#include "daemon.h"
#include "identity.h"
#include "log.h"

#define USEC_PER_SEC UINT64_C(1000000)

/* One announcement that the browser told of, and its resolver, which also tells of changes. */
struct item {
	struct mdns *mdns; /* borrowed: owns us */
	char key[MDNS_KEY_SIZE];
	AvahiServiceResolver *resolver; /* owned by the client */
	bool is_told;                   /* on_found was called */
};

struct mdns {
	sd_event *event; /* borrowed: outlives us */
	AvahiPoll poll;
	AvahiClient *client;            /* owned; NULL between two D-Buses */
	AvahiEntryGroup *group;         /* owned by the client */
	AvahiServiceBrowser *browser;   /* owned by the client */
	sd_event_source *retry, *renew; /* owned: a new client; the group anew, from the loop */
	struct backoff backoff;
	char name[MDNS_NAME_SIZE];
	const struct mdns_service *services; /* borrowed: outlives us */
	size_t n_services;
	const char *browse; /* borrowed: outlives us; may be NULL */
	size_t n_items;
	struct item *items[MDNS_MAX_FOUND]; /* owned */
	struct mdns_handlers handlers;
	void *userdata; /* borrowed */
};

/* ---- what was found ---- */

static void make_key(AvahiIfIndex interface, AvahiProtocol protocol, const char *name, char key[MDNS_KEY_SIZE])
{
	char clean[MDNS_NAME_SIZE];

	identity_clean_string(name, clean, sizeof(clean));
	snprintf(key, MDNS_KEY_SIZE, "%d/%d/%s", interface, protocol, clean);
}

static size_t find_item(const struct mdns *mdns, const char *key)
{
	size_t i = 0;

	while (i < mdns->n_items && strcmp(mdns->items[i]->key, key) != 0)
		i++;
	return i;
}

/* has_client: the resolver is still there to be freed. */
static void remove_item(struct mdns *mdns, size_t i, bool has_client)
{
	struct item *item = mdns->items[i];

	mdns->items[i] = mdns->items[--mdns->n_items];
	if (has_client && item->resolver)
		avahi_service_resolver_free(item->resolver);
	if (item->is_told)
		mdns->handlers.on_lost(item->key, mdns->userdata);
	free(item);
}

static void read_txt(AvahiStringList *txt, struct mdns_found *found)
{
	for (; txt; txt = avahi_string_list_get_next(txt)) {
		char *key = NULL, *value = NULL;

		if (avahi_string_list_get_pair(txt, &key, &value, NULL) < 0)
			continue;
		if (value && strcmp(key, "id") == 0 && strlen(value) == 32 && strspn(value, "0123456789abcdef") == 32)
			snprintf(found->id, sizeof(found->id), "%s", value);
		if (value && strcmp(key, "host-key") == 0)
			identity_clean_string(value, found->fingerprint, sizeof(found->fingerprint));
		avahi_free(key);
		avahi_free(value);
	}
}

/* A link-local IPv6 address means something only with its network. */
static void write_address(const AvahiAddress *address, AvahiIfIndex interface, char buffer[MDNS_ADDRESS_SIZE])
{
	char scope[IF_NAMESIZE] = "";

	avahi_address_snprint(buffer, MDNS_ADDRESS_SIZE, address);
	if (address->proto == AVAHI_PROTO_INET6 && strncmp(buffer, "fe80:", strlen("fe80:")) == 0 && interface > 0 &&
	    if_indextoname((unsigned)interface, scope))
		snprintf(buffer + strlen(buffer), MDNS_ADDRESS_SIZE - strlen(buffer), "%%%s", scope);
}

static void on_resolved(AvahiServiceResolver *resolver, AvahiIfIndex interface, AvahiProtocol protocol, AvahiResolverEvent event,
			const char *name, const char *type, const char *domain, const char *host, const AvahiAddress *address,
			uint16_t port, AvahiStringList *txt, AvahiLookupResultFlags flags, void *userdata)
{
	struct item *item = userdata;
	struct mdns *mdns = item->mdns;
	struct mdns_found found = { .port = port };

	(void)resolver;
	(void)protocol;
	(void)type;
	(void)domain;
	(void)flags;
	if (event != AVAHI_RESOLVER_FOUND || !address || !host) {
		log_debug("%s: announced, but it does not resolve", item->key);
		return;
	}
	snprintf(found.key, sizeof(found.key), "%s", item->key);
	identity_clean_string(name, found.name, sizeof(found.name));
	identity_clean_string(host, found.host, sizeof(found.host));
	write_address(address, interface, found.address);
	read_txt(txt, &found);
	item->is_told = true;
	mdns->handlers.on_found(&found, mdns->userdata);
}

static void add_item(struct mdns *mdns, AvahiIfIndex interface, AvahiProtocol protocol, const char *name, const char *type,
		     const char *domain)
{
	struct item *item;
	char key[MDNS_KEY_SIZE];

	make_key(interface, protocol, name, key);
	if (find_item(mdns, key) < mdns->n_items)
		return;
	if (mdns->n_items == MDNS_MAX_FOUND) {
		log_warning("more than %d announcements of %s; %s is passed over", MDNS_MAX_FOUND, type, key);
		return;
	}
	item = calloc(1, sizeof(*item));
	if (!item)
		return;
	item->mdns = mdns;
	memcpy(item->key, key, sizeof(key));
	item->resolver =
		avahi_service_resolver_new(mdns->client, interface, protocol, name, type, domain, AVAHI_PROTO_UNSPEC, 0, on_resolved, item);
	if (!item->resolver) {
		log_debug("%s: %s", key, avahi_strerror(avahi_client_errno(mdns->client)));
		free(item);
		return;
	}
	mdns->items[mdns->n_items++] = item;
}

static void on_browsed(AvahiServiceBrowser *browser, AvahiIfIndex interface, AvahiProtocol protocol, AvahiBrowserEvent event,
		       const char *name, const char *type, const char *domain, AvahiLookupResultFlags flags, void *userdata)
{
	struct mdns *mdns = userdata;
	char key[MDNS_KEY_SIZE];
	size_t i;

	(void)browser;
	(void)flags;
	switch (event) {
	case AVAHI_BROWSER_NEW:
		add_item(mdns, interface, protocol, name, type, domain);
		break;
	case AVAHI_BROWSER_REMOVE:
		make_key(interface, protocol, name, key);
		i = find_item(mdns, key);
		if (i < mdns->n_items)
			remove_item(mdns, i, true);
		break;
	case AVAHI_BROWSER_ALL_FOR_NOW:
		if (mdns->handlers.on_all)
			mdns->handlers.on_all(mdns->userdata);
		break;
	case AVAHI_BROWSER_CACHE_EXHAUSTED:
	case AVAHI_BROWSER_FAILURE: /* the client's state tells */
		break;
	}
}

static void start_browsing(struct mdns *mdns)
{
	if (!mdns->browse || mdns->browser)
		return;
	mdns->browser =
		avahi_service_browser_new(mdns->client, AVAHI_IF_UNSPEC, AVAHI_PROTO_UNSPEC, mdns->browse, NULL, 0, on_browsed, mdns);
	if (!mdns->browser)
		log_warning("%s can't be looked for: %s", mdns->browse, avahi_strerror(avahi_client_errno(mdns->client)));
}

/* What is known is known no more. Browser and resolvers die with an avahi-daemon, and the client's calls on them fail, which is no harm. */
static void stop_browsing(struct mdns *mdns)
{
	while (mdns->n_items > 0)
		remove_item(mdns, mdns->n_items - 1, mdns->client != NULL);
	if (mdns->browser && mdns->client)
		avahi_service_browser_free(mdns->browser);
	mdns->browser = NULL;
}

/* ---- what is published ---- */

static AvahiStringList *make_txt(const struct mdns_service *service)
{
	AvahiStringList *list = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(service->txt) && service->txt[i]; i++)
		list = avahi_string_list_add(list, service->txt[i]);
	return list;
}

static int publish_one(struct mdns *mdns, const struct mdns_service *service)
{
	AvahiStringList *txt = make_txt(service);
	int error = avahi_entry_group_add_service_strlst(mdns->group, AVAHI_IF_UNSPEC, AVAHI_PROTO_UNSPEC, 0, mdns->name, service->type,
							 NULL, NULL, service->port, txt);

	avahi_string_list_free(txt);
	return error;
}

static void take_other_name(struct mdns *mdns)
{
	char *other = avahi_alternative_service_name(mdns->name);

	if (!other)
		return;
	log_notice("another machine is called \"%s\" on this network: this one is \"%s\" now", mdns->name, other);
	snprintf(mdns->name, sizeof(mdns->name), "%s", other);
	avahi_free(other);
}

static void publish(struct mdns *mdns)
{
	int error = 0;

	if (!mdns->group || mdns->n_services == 0)
		return;
	avahi_entry_group_reset(mdns->group);
	for (size_t i = 0; i < mdns->n_services && error == 0; i++)
		error = publish_one(mdns, &mdns->services[i]);
	if (error == 0)
		error = avahi_entry_group_commit(mdns->group);
	if (error == AVAHI_ERR_COLLISION) {
		take_other_name(mdns);
		sd_event_source_set_enabled(mdns->renew, SD_EVENT_ONESHOT);
	} else if (error < 0) {
		log_warning("\"%s\" can't be published: %s", mdns->name, avahi_strerror(error));
	}
}

static int on_renew(sd_event_source *source, void *userdata)
{
	(void)source;
	publish(userdata);
	return 0;
}

static void on_group(AvahiEntryGroup *group, AvahiEntryGroupState state, void *userdata)
{
	struct mdns *mdns = userdata;

	(void)group;
	switch (state) {
	case AVAHI_ENTRY_GROUP_ESTABLISHED:
		log_info("published as \"%s\"", mdns->name);
		break;
	case AVAHI_ENTRY_GROUP_COLLISION:
		take_other_name(mdns);
		sd_event_source_set_enabled(mdns->renew, SD_EVENT_ONESHOT);
		break;
	case AVAHI_ENTRY_GROUP_UNCOMMITED:
	case AVAHI_ENTRY_GROUP_REGISTERING:
	case AVAHI_ENTRY_GROUP_FAILURE: /* the client's state tells */
		break;
	}
}

/* ---- avahi-daemon and D-Bus ---- */

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata);

/* Never from within a callback of the client that is to be freed: by the timer. */
static void start_anew(struct mdns *mdns)
{
	(void)timer_arm(mdns->event, &mdns->retry, backoff_next(&mdns->backoff), on_retry, mdns);
}

static void on_running(struct mdns *mdns, AvahiClient *client)
{
	backoff_reset(&mdns->backoff);
	if (!mdns->group && mdns->n_services > 0)
		mdns->group = avahi_entry_group_new(client, on_group, mdns);
	sd_event_source_set_enabled(mdns->renew, SD_EVENT_ONESHOT);
	start_browsing(mdns);
}

/* It is called from within avahi_client_new() too, before mdns->client is set. */
static void on_client(AvahiClient *client, AvahiClientState state, void *userdata)
{
	struct mdns *mdns = userdata;

	mdns->client = client;
	switch (state) {
	case AVAHI_CLIENT_S_RUNNING:
		on_running(mdns, client);
		break;
	case AVAHI_CLIENT_S_COLLISION:
	case AVAHI_CLIENT_S_REGISTERING: /* the host's own name is in question: published anew when it is settled */
		if (mdns->group)
			avahi_entry_group_reset(mdns->group);
		break;
	case AVAHI_CLIENT_FAILURE:
		log_notice("avahi-daemon or D-Bus went away: %s", avahi_strerror(avahi_client_errno(client)));
		start_anew(mdns);
		break;
	case AVAHI_CLIENT_CONNECTING:
		log_info("waiting for avahi-daemon");
		break;
	}
}

static void drop_client(struct mdns *mdns)
{
	AvahiClient *client = mdns->client;

	stop_browsing(mdns);
	mdns->client = NULL;
	mdns->group = NULL;
	if (client)
		avahi_client_free(client);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct mdns *mdns = userdata;
	int error = 0;

	(void)source;
	(void)usec;
	drop_client(mdns);
	mdns->client = avahi_client_new(&mdns->poll, AVAHI_CLIENT_NO_FAIL, on_client, mdns, &error);
	if (!mdns->client) {
		log_debug("no D-Bus: %s", avahi_strerror(error));
		start_anew(mdns);
	}
	return 0;
}

int mdns_new(sd_event *event, const char *name, const struct mdns_service *services, size_t n, const char *browse,
	     const struct mdns_handlers *handlers, void *userdata, struct mdns **ret_mdns)
{
	struct mdns *mdns = calloc(1, sizeof(*mdns));
	int r;

	if (!mdns)
		return -ENOMEM;
	*mdns = (struct mdns){ .event = event,
			       .backoff = { .min_usec = USEC_PER_SEC / 4, .max_usec = 10 * USEC_PER_SEC },
			       .services = services,
			       .n_services = n,
			       .browse = browse,
			       .handlers = *handlers,
			       .userdata = userdata };
	identity_clean_string(name, mdns->name, sizeof(mdns->name));
	avahi_poll_init(&mdns->poll, event);
	r = sd_event_add_defer(event, &mdns->renew, on_renew, mdns);
	if (r >= 0)
		r = sd_event_source_set_enabled(mdns->renew, SD_EVENT_OFF);
	if (r >= 0)
		r = timer_arm(event, &mdns->retry, 0, on_retry, mdns);
	if (r < 0) {
		mdns_free(mdns);
		return r;
	}
	*ret_mdns = mdns;
	return 0;
}

void mdns_publish_anew(struct mdns *mdns)
{
	sd_event_source_set_enabled(mdns->renew, SD_EVENT_ONESHOT);
}

struct mdns *mdns_free(struct mdns *mdns)
{
	if (!mdns)
		return NULL;
	drop_client(mdns);
	sd_event_source_disable_unref(mdns->retry);
	sd_event_source_disable_unref(mdns->renew);
	free(mdns);
	return NULL;
}
