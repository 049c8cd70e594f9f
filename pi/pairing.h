#pragma once

#include <jansson.h>

#include "link.h"
#include "vm_config.h"

/* Changing the VM: a new one is tried by the link itself, written down only once it works, and else the old pairing is back. */
struct pairing;

typedef void (*pairing_done_fn)(const struct failure *failure, void *userdata); /* failure NULL: paired */

/* current: the exporter's configuration (borrowed, updated on success). on_paired is called with userdata after each success. */
int pairing_new(sd_event *event, struct link *link, const char *config_path, struct vm_config *current, void (*on_paired)(void *userdata),
		void *userdata, struct pairing **ret_pairing);

/* A try under way is dropped, without a word to who waits. Takes NULL, returns NULL. */
struct pairing *pairing_free(struct pairing *pairing);

/* Starts a try; on_done tells its end. -EBUSY while another runs. */
int pairing_start(struct pairing *pairing, const struct vm_config *config, pairing_done_fn on_done, void *userdata);

/* The configuration was changed by other means (current is that already): a try under way fails, and says why. */
void pairing_cancel(struct pairing *pairing);

/* Whoever waits with this userdata has gone; the try goes on. */
void pairing_forget(struct pairing *pairing, void *userdata);

/* What the link's state says about the try. link: its JSON object, for the reason. */
void pairing_handle_link_state(struct pairing *pairing, enum link_state state, const json_t *link);
