#pragma once

#include <stddef.h>

#include "config.h"
#include "message.h"

/* /etc/usbpush/pi.conf: which Pis this VM knows. A line `PI=ID NAME [ADDRESS]` each, and `DEFAULT_PI_HOST=ADDRESS`. */

#define PICONF_PATH         "/etc/usbpush/pi.conf"
#define PICONF_ADDRESS_SIZE 256
#define PICONF_MAX_PIS      64

struct piconf_entry {
	char id[MESSAGE_ID_SIZE];
	char name[MESSAGE_NAME_SIZE];
	char address[PICONF_ADDRESS_SIZE]; /* empty if none was given */
};

struct piconf {
	char default_host[PICONF_ADDRESS_SIZE];
	size_t n;
	struct piconf_entry entries[PICONF_MAX_PIS];
};

/* Reads the file; without one, no Pi is known. Lines that make no sense go to on_problem (its userdata is ret_piconf), the rest is used.
 * 0 or negative errno. */
int piconf_read(const char *path, config_problem_fn on_problem, struct piconf *ret_piconf);

/* The entry of a Pi by its id, else by its name, or NULL. */
const struct piconf_entry *piconf_find(const struct piconf *piconf, const char *id_or_name);

/* Whether text can be a Pi's id: [0-9a-f]{1,32}. */
bool piconf_is_id(const char *text);

/* Whether text can be a Pi's name: [A-Za-z0-9._-]{1,63}, and not what machines have as ids, 32 hex digits. */
bool piconf_is_name(const char *text);

/* Whether text can be an address: no white space, no quotes. */
bool piconf_is_address(const char *text);

/* A name for the Pi with this id: asked, where somebody asked for one, else the one that it has here, else suggested (foreign), with what a name can't have made '-'; with a
 * number behind it where another Pi has it. 0, or -ENOSPC if all of them are taken. */
int piconf_choose_name(const struct piconf *piconf, const char *suggested, const char *asked, const char *pi_id,
		       char ret_name[MESSAGE_NAME_SIZE]);

/* Writes entry into the file in place of any entry with its id or its name; an address becomes DEFAULT_PI_HOST if there is none yet. All
 * other lines stay. 0 or negative errno. */
int piconf_write_entry(const char *path, const struct piconf_entry *entry);

/* Takes the entry with this id out. 0, also if there was none, or negative errno. */
int piconf_remove_entry(const char *path, const char *id);
