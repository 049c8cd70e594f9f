#pragma once

#include <stdio.h>

/* `usbpush-vm authorize --hold`: what a Pi runs here over a login of this machine's owner, to be let in without anybody at a terminal of it. It is let in for the time
 * being, and for good only when the Pi has seen that the link works and says so. Somebody who goes away without a word leaves everything as it was. */

struct authorize_hold_options {
	const char *root;        /* put before every path */
	const char *socket_path; /* the handler's; NULL: it is not told */
	const char *name;        /* suggested by the Pi */
	const char *address;     /* may be NULL */
	int limit_ms;            /* for each line to come */
};

/* Reads two lines from fd: the Pi's public key, and `keep`. Answers each with one line of JSON on stream: {"ok":true,"state":"authorized","name","id"}, then
 * {"ok":true,"state":"kept"}; or {"ok":false,"error":{code,text,cure}}. Anything but `keep`, the end of fd, silence, or a signal takes it all back. The exit status. */
int authorize_hold(const struct authorize_hold_options *options, int fd, FILE *stream);
