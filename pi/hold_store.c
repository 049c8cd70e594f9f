#include "hold_store.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "cleanup.h"
#include "log.h"

#define NAME_PREFIX    "hold-"
#define HOLD_STORE_MAX 32 /* match_busid has 16; between two of the same socket there may be one more */

struct kept {
	struct busid busid;     /* "" in a free one */
	struct usbip_hold hold; /* owned: a predecessor's; none otherwise */
	dev_t device;           /* with inode: the node that is held; another plug, another node */
	ino_t inode;            /* 0: systemd has none yet */
	bool is_seen;
};

struct hold_store {
	struct kept kept[HOLD_STORE_MAX];
};

int hold_store_new(struct hold_store **ret_store)
{
	struct hold_store *store = calloc(1, sizeof(*store));

	if (!store)
		return -ENOMEM;
	for (size_t i = 0; i < HOLD_STORE_MAX; i++)
		store->kept[i].hold = USBIP_HOLD_NONE;
	*ret_store = store;
	return 0;
}

struct hold_store *hold_store_free(struct hold_store *store)
{
	if (!store)
		return NULL;
	for (size_t i = 0; i < HOLD_STORE_MAX; i++)
		usbip_hold_done(&store->kept[i].hold);
	free(store);
	return NULL;
}

static struct kept *store_find(struct hold_store *store, const char *busid)
{
	for (size_t i = 0; i < HOLD_STORE_MAX; i++)
		if (strcmp(store->kept[i].busid.text, busid) == 0)
			return &store->kept[i];
	return NULL;
}

/* The one of that socket, or one to be used for it; NULL: there is no room. */
static struct kept *store_choose(struct hold_store *store, const struct busid *busid)
{
	struct kept *kept = store_find(store, busid->text);

	if (kept)
		return kept;
	kept = store_find(store, "");
	if (kept)
		kept->busid = *busid;
	return kept;
}

static bool kept_is_of(const struct kept *kept, int device_fd)
{
	struct stat status;

	return fstat(device_fd, &status) == 0 && kept->device == status.st_dev && kept->inode == status.st_ino;
}

static void kept_note_node(struct kept *kept, int device_fd)
{
	struct stat status;

	if (fstat(device_fd, &status) < 0)
		return;
	kept->device = status.st_dev;
	kept->inode = status.st_ino;
}

static void kept_drop(struct kept *kept)
{
	char state[64];

	snprintf(state, sizeof(state), "FDSTOREREMOVE=1\nFDNAME=" NAME_PREFIX "%s", kept->busid.text);
	(void)sd_notify(0, state);
	usbip_hold_done(&kept->hold);
	*kept = (struct kept){ .hold = USBIP_HOLD_NONE };
}

/* ---- what a successor finds ---- */

void hold_store_add_former(struct hold_store *store, const char *name, int fd)
{
	struct kept *kept = NULL;
	struct busid busid;

	if (strncmp(name, NAME_PREFIX, strlen(NAME_PREFIX)) == 0 && busid_parse(name + strlen(NAME_PREFIX), &busid) == 0)
		kept = store_choose(store, &busid);
	if (kept && kept->hold.device_fd < 0) { /* they come in the order in which they were sent */
		kept->hold.device_fd = fd;
		kept_note_node(kept, fd);
	} else if (kept && kept->hold.hub_fd < 0) {
		kept->hold.hub_fd = fd;
	} else {
		close_fd(fd);
	}
}

int hold_store_take_over(struct hold_store *store)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names);

	for (int i = 0; i < n; i++) {
		hold_store_add_former(store, names[i], SD_LISTEN_FDS_START + i);
		free(names[i]);
	}
	free(names);
	return n < 0 ? n : 0;
}

static void kept_clear_entry(struct kept *kept, const struct usbip_host *host)
{
	int r = usbip_host_forget(host, &kept->busid, &kept->hold);

	if (r < 0) {
		log_warning("%s left usbip-host while there was no exporter; its entry of match_busid can't be cleared: %s",
			    kept->busid.text, strerror(-r));
		return;
	}
	log_info("%s left usbip-host while there was no exporter; its entry of match_busid is cleared", kept->busid.text);
	kept_drop(kept);
}

void hold_store_clear_former(struct hold_store *store, const struct usbip_host *host)
{
	for (size_t i = 0; store && i < HOLD_STORE_MAX; i++) {
		struct kept *kept = &store->kept[i];

		if (kept->hold.device_fd >= 0 && !usbip_host_is_bound(host, &kept->busid))
			kept_clear_entry(kept, host);
		else
			usbip_hold_done(&kept->hold); /* systemd has it still */
	}
}

/* ---- what is held now ---- */

void hold_store_begin(struct hold_store *store)
{
	for (size_t i = 0; store && i < HOLD_STORE_MAX; i++)
		store->kept[i].is_seen = false;
}

/* FDPOLL=0: systemd would let go of a node whose device is unplugged, which is when it is needed. */
static void store_send(struct kept *kept, const struct usbip_hold *hold)
{
	const int fds[] = { hold->device_fd, hold->hub_fd };
	char state[64];

	snprintf(state, sizeof(state), "FDSTORE=1\nFDPOLL=0\nFDNAME=" NAME_PREFIX "%s", kept->busid.text);
	if (sd_pid_notify_with_fds(0, 0, state, fds, ARRAY_SIZE(fds)) >= 0)
		kept_note_node(kept, hold->device_fd); /* else it is tried again with the next change */
}

void hold_store_keep(struct hold_store *store, const struct busid *busid, const struct usbip_hold *hold)
{
	struct kept *kept;

	if (!store || hold->claim)
		return;
	kept = hold->device_fd >= 0 ? store_choose(store, busid) : store_find(store, busid->text);
	if (!kept)
		return;
	if (hold->device_fd >= 0 && kept->inode && !kept_is_of(kept, hold->device_fd)) {
		kept_drop(kept); /* of the device before in that socket */
		kept->busid = *busid;
	}
	if (hold->device_fd >= 0 && !kept->inode)
		store_send(kept, hold);
	kept->is_seen = true;
}

void hold_store_end(struct hold_store *store)
{
	for (size_t i = 0; store && i < HOLD_STORE_MAX; i++)
		if (store->kept[i].busid.text[0] && !store->kept[i].is_seen)
			kept_drop(&store->kept[i]);
}
