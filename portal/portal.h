#pragma once

#include "daemon.h"
#include "portal_config.h"

/* The portal: web page and JSON API of the Pi. It knows the exporter's control socket and nothing else of usbpush; killed, it takes nothing with it. */
struct portal;

struct portal_options {
	const char *control_path; /* the exporter's socket */
	const char *state_dir;    /* the owner's password */
	const char *code_path;    /* where `usbpush setup-code` writes */
	struct portal_config config;
	int listen_fd; /* taken over */
};

/* Serves from now on. The object is the caller's; 0 or negative errno. */
int portal_new(sd_event *event, const struct portal_options *options, struct portal **ret_portal);

/* Takes NULL, returns NULL. */
struct portal *portal_free(struct portal *portal);
