#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The special requests (usbfs_special.h) that are under way on one claimed device. Such a job may outlive its session: whoever settles the device, or gives it
 * back, waits for its end, so that it never claims what was given back nor resets what the next session uses. Counted: claim and jobs hold one reference each;
 * of several threads. */
struct usbfs_specials;

/* One reference, the caller's; NULL without memory. */
struct usbfs_specials *usbfs_specials_new(void);

/* Takes NULL, returns NULL. */
struct usbfs_specials *usbfs_specials_unref(struct usbfs_specials *specials);

/* One begins, and has a reference, which it returns. */
struct usbfs_specials *usbfs_specials_begin(struct usbfs_specials *specials);

/* It touches the device no more; its reference stays. */
void usbfs_specials_end(struct usbfs_specials *specials);

/* Whether one is under way. False for NULL. */
bool usbfs_specials_has_any(struct usbfs_specials *specials);

/* Until none is. May block: belongs in a job. */
void usbfs_specials_wait(struct usbfs_specials *specials);

/* Notes which interfaces are claimed now, one bit for each: they change with a configuration, and by a failure. */
void usbfs_specials_set_interfaces(struct usbfs_specials *specials, uint32_t interfaces);

/* What was noted last. */
uint32_t usbfs_specials_get_interfaces(struct usbfs_specials *specials);

/* Notes the configuration that one has set; 0: the device was left without. */
void usbfs_specials_set_configuration(struct usbfs_specials *specials, int configuration);

/* What was noted last; negative while it is the one that was found. */
int usbfs_specials_get_configuration(struct usbfs_specials *specials);
