#pragma once

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* Publishing and browsing by avahi-daemon: it may be away, come, go and be restarted, and so may D-Bus; what is wanted is published and found whenever they are there.
 * It wraps avahi-client, which no other file includes. */
struct mdns;

#define MDNS_TYPE_PI  "_usbpush._tcp"
#define MDNS_TYPE_VM  "_usbpush-vm._tcp"
#define MDNS_TYPE_WEB "_http._tcp"

#define MDNS_MAX_SERVICES 4
#define MDNS_MAX_FOUND    64
#define MDNS_NAME_SIZE    64
#define MDNS_KEY_SIZE     96
#define MDNS_ADDRESS_SIZE 80

struct mdns_service {
	const char *type;
	uint16_t port;
	const char *txt[6]; /* "KEY=VALUE"; NULL-ended */
};

/* One answer from the network: foreign, made safe for display. The same machine is found once for each of its networks and address families. */
struct mdns_found {
	char key[MDNS_KEY_SIZE]; /* of this answer, for on_lost */
	char name[MDNS_NAME_SIZE];
	char host[256];                  /* "raspberrypi.local" */
	char address[MDNS_ADDRESS_SIZE]; /* literal, with its scope where it has one */
	uint16_t port;
	char id[33];          /* TXT id, 32 hex digits; "" without */
	char fingerprint[64]; /* TXT host-key; a hint */
};

struct mdns_handlers {
	void (*on_found)(const struct mdns_found *found, void *userdata); /* also when something of it changed */
	void (*on_lost)(const char *key, void *userdata);
	void (*on_all)(void *userdata); /* that is all for now; may be NULL */
};

/* name: what the services are called ("usbpush on garage"); a number is added where another machine has it. services (n of them) are borrowed: they outlive it.
 * browse: the type to look for, or NULL. 0 or negative errno; that there is no avahi-daemon is none. */
int mdns_new(sd_event *event, const char *name, const struct mdns_service *services, size_t n, const char *browse,
	     const struct mdns_handlers *handlers, void *userdata, struct mdns **ret_mdns);

/* The services say something else now: they are published anew. */
void mdns_publish_anew(struct mdns *mdns);

/* Takes what is published back. Takes NULL, returns NULL. */
struct mdns *mdns_free(struct mdns *mdns);
