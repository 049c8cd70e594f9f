#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "busid.h"
#include "identity.h"

/* Devices that come and go: a loose plug, a board whose firmware crashes as it starts. Each time they are taken the VM's kernel has work for nothing, so after
 * some such lives one must stay for a moment before it is taken. A reset as esptool does it, or a change to the boot loader, is one life or two: never held up. */
struct flap_list;

/* The object is the caller's. */
int flap_list_new(struct flap_list **ret_list);

/* Takes NULL, returns NULL. */
struct flap_list *flap_list_free(struct flap_list *list);

/* A device was unplugged that had been there for so long. was_attached: it had been of use, which ends a row of short lives. identity may be all zero when
 * it went before it could be read; the socket stands for it then. now_usec: clock_now_usec(). */
void flap_list_note(struct flap_list *list, const struct busid *busid, const struct identity *identity, uint64_t lived_usec,
		    bool was_attached, uint64_t now_usec);

/* For how long, in µs, such a device must stay before it is taken, counted from its plug; 0: not at all. ret_lives: how many short lives it had in a row. */
uint64_t flap_list_get_hold(const struct flap_list *list, const struct busid *busid, const struct identity *identity, uint64_t now_usec,
			    unsigned *ret_lives);

/* Whether one whose serial number nobody knows yet may be held up. */
bool flap_list_may_hold(const struct flap_list *list, const struct busid *busid, uint16_t vid, uint16_t pid, uint64_t now_usec);
