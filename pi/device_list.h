#pragma once

#include <stddef.h>

#include "device.h"

/* The USB devices of this Pi, with those that are gone but still on their way out of the kernel's tables. Owns them. */
struct device_list;

/* context is borrowed and outlives the list; its on_finished must call device_list_finish(). */
int device_list_new(const struct device_context *context, struct device_list **ret_list);

/* Frees the devices too, as they are. Takes NULL, returns NULL. */
struct device_list *device_list_free(struct device_list *list);

/* A device that was just found. -ENOSPC when there are too many (which is logged), -ENOMEM. */
int device_list_add(struct device_list *list, const struct busid *busid, const char *syspath, struct device **ret_device);

/* What is plugged in there now, or NULL; never a GONE one. */
struct device *device_list_find(struct device_list *list, const struct busid *busid);

/* device_look(), as soon as its predecessor in the socket has left the kernel's tables. */
void device_list_look(struct device_list *list, struct device *device);

/* device_glance(), unless its predecessor in the socket has not left the kernel's tables yet. */
void device_list_glance(struct device_list *list, struct device *device);

/* device_recover(); FAILURE_BUSY, too, while its predecessor in the socket is on its way out of the kernel's tables. */
int device_list_recover(struct device_list *list, struct device *device, bool is_hard, struct failure *ret_failure);

/* It is GONE and nothing is under way for it: frees it from the loop. */
void device_list_finish(struct device_list *list, struct device *device);

/* The one after device (NULL: the first), GONE ones left out; NULL at the end. Devices are freed from the loop only: any may be changed meanwhile. */
struct device *device_list_next(struct device_list *list, const struct device *device);

#define DEVICE_LIST_FOREACH(list, device) \
	for (struct device *device = device_list_next(list, NULL); device; device = device_list_next(list, device))

/* Whether nothing is under way for any device, gone ones too, and usbip-host holds none for us. */
bool device_list_is_settled(struct device_list *list);

/* Those that fit a selection best (selection.h), as many as fit into ret_devices (n, borrowed). Returns how many they are. */
size_t device_list_select(struct device_list *list, const char *selection, struct device **ret_devices, size_t n);
