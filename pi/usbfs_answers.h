#pragma once

#include "usbfs_share.h"

/* Sends what can be sent now of these answers, in their order, on a connected stream socket; each that is sent whole is freed. 0, or a negative errno: the other end is closed. */
int usbfs_answers_send(struct usbfs_urb_list *answers, int fd, struct usbfs_share *share);
