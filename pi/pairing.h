#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "link.h"
#include "vm_config.h"

/* Changing the VM: a new one is tried by the link itself, written down only once it works, and else the old pairing is back. And ending it, on both sides. */
struct pairing;

typedef void (*pairing_done_fn)(const struct failure *failure, void *userdata); /* failure NULL: paired */

/* is_ended false: nothing was done, for the reason given. Else this side is clean; failure says why the VM is not, and what is to be done there, NULL that it is. */
typedef void (*pairing_ended_fn)(bool is_ended, const struct failure *failure, void *userdata);

struct pairing_handlers {
	void (*on_paired)(void *userdata); /* with another VM than before */
	void (*on_ended)(void *userdata);  /* there is no VM (any more): nothing is shared. Called again when the link is gone, too */
	void (*on_back)(void *userdata);   /* vm.conf is as it was before the last pairing, or as others left it: read it */
};

/* current: the exporter's configuration (borrowed, updated on success). writes, borrowed too, outlives it, and runs one job at a time: they write vm.conf. */
int pairing_new(sd_event *event, struct link *link, struct job_runner *writes, const char *config_path, struct vm_config *current,
		const struct pairing_handlers *handlers, void *userdata, struct pairing **ret_pairing);

/* A try under way is dropped, without a word to who waits; what is being written is written whole or not at all. Takes NULL, returns NULL. */
struct pairing *pairing_free(struct pairing *pairing);

/* Starts a try; on_done tells its end: paired is who is written down. -EBUSY while another runs. What no pairing changes (the patience) stays as it is. */
int pairing_start(struct pairing *pairing, const struct vm_config *config, pairing_done_fn on_done, void *userdata);

/* The same, but when the link is up nothing is written yet: on_done says so (failure NULL), and the caller decides with pairing_commit() or
 * pairing_revert(). A link that goes down before that ends the try: on_done is called again, with the failure. */
int pairing_start_held(struct pairing *pairing, const struct vm_config *config, pairing_done_fn on_done, void *userdata);

/* Writes down what was held. 0, and on_done is called once more: failure NULL when it is on the disk, else the old pairing is back; a link that goes down meanwhile changes
 * nothing. Or a negative errno with ret_failure, and it is not called: nothing is held, or (the old pairing is back) there is no memory. The VM may yet go back, if it never
 * hears that it was written: a VM that does not let this Pi in any more, before the link was seen up settle_usec after that or later, has gone back, and so does the Pi. */
int pairing_commit(struct pairing *pairing, uint64_t settle_usec, struct failure *ret_failure);

/* Drops the try under way, or what is held or being written, without a word to who waits: the old pairing is back, in vm.conf too. Where there was none, on_ended is called, as
 * after each try that failed. */
void pairing_revert(struct pairing *pairing);

/* Ends the pairing: a try under way fails, vm.conf has no VM any more, and when that is written the VM is asked to forget this Pi, too. 0, and on_ended (may be NULL) tells the
 * end, 8 s after it was written at most; nothing is done where it can't be. A negative errno with ret_failure, and on_ended is not called: the pairing is ending already, or there
 * is no memory. */
int pairing_end(struct pairing *pairing, pairing_ended_fn on_ended, void *userdata, struct failure *ret_failure);

/* What the VM says: `unpaired`, or that it does not know `unpair`. */
void pairing_handle_message(struct pairing *pairing, const struct message *message);

/* The configuration was changed by other means (current is that already): a try under way fails, and says why. */
void pairing_cancel(struct pairing *pairing);

/* Whether this, read from vm.conf, is what is being written there, or yet to be taken back: then nobody has changed it, and what is to follow will when that is done. */
bool pairing_is_own(const struct pairing *pairing, const struct vm_config *config);

/* Whether a try is under way, or held, or the pairing is ending. */
bool pairing_is_busy(const struct pairing *pairing);

/* Whoever waits with this userdata has gone; the try goes on. */
void pairing_forget(struct pairing *pairing, void *userdata);

/* What the link's state says about the try. link: its JSON object, for the reason. */
void pairing_handle_link_state(struct pairing *pairing, enum link_state state, const json_t *link);
