#pragma once

#include <jansson.h>
#include <stdbool.h>

/* Why something could not be done, as a person and a script need to know it. The names (failure_code_to_string) are an
 * interface: they stand in --json output and cross the link. */
enum failure_code {
	FAILURE_NONE,
	FAILURE_INTERNAL,          /* out of memory, a broken invariant */
	FAILURE_BAD_REQUEST,       /* a request or message that makes no sense */
	FAILURE_NOT_FOUND,         /* no such device, Pi, ... */
	FAILURE_AMBIGUOUS,         /* a selection that fits several */
	FAILURE_NOT_ALLOWED,       /* the caller lacks the right */
	FAILURE_NO_MODULE,         /* usbip-host or vhci_hcd is not loaded */
	FAILURE_NO_USB,            /* the kernel was built without USB (Debian's cloud kernel) */
	FAILURE_NO_PERMISSION,     /* sysfs refused the write */
	FAILURE_NO_FREE_PORT,      /* every vhci port of this speed is in use */
	FAILURE_TABLE_FULL,        /* usbip-host's match_busid table (16) is full */
	FAILURE_BUSY,              /* somebody else holds the device or the port */
	FAILURE_GONE,              /* the device was unplugged meanwhile */
	FAILURE_KERNEL,            /* a kernel interface failed in another way */
	FAILURE_ENUMERATION,       /* attached, but the VM's kernel could not read the device */
	FAILURE_IDENTITY,          /* the device is not what was offered */
	FAILURE_NOT_ACCEPTED,      /* the VM's policy does not take such a device */
	FAILURE_STREAM,            /* the stream could not be opened or ended early */
	FAILURE_TIMEOUT,           /* the other side or the kernel did not answer in time */
	FAILURE_VERSION,           /* the two sides speak different protocols */
	FAILURE_HOST_KEY,          /* the VM's host key is not the pinned one */
	FAILURE_LOGIN,             /* the VM does not accept the Pi's key */
	FAILURE_UNREACHABLE,       /* no address, no route, connection refused */
	FAILURE_NOT_PAIRED,        /* there is no VM to push to, or no such Pi */
	FAILURE_WRONG_CODE,        /* the digits typed are not those shown, or somebody is in between */
	FAILURE_LOCKED,            /* too many wrong tries: not now */
	FAILURE_CANCELLED,         /* somebody stopped it */
	FAILURE_WRONG_PASSWORD,    /* the VM does not let this login in with that password */
	FAILURE_NO_PASSWORD_LOGIN, /* the VM takes no passwords, or wants more than one */
	FAILURE_NO_SUDO,           /* that login may not do there what takes root */
	FAILURE_NOT_INSTALLED,     /* there is no usbpush on the VM, or one that is too old */
};

struct failure {
	enum failure_code code;
	char text[256]; /* what happened, and where */
	char cure[256]; /* what to do; may be empty */
};

/* The name of a code: "no-free-port". Never NULL. */
const char *failure_code_to_string(enum failure_code code);

/* The code of a name; FAILURE_INTERNAL for a name that this version does not know. */
enum failure_code failure_code_from_string(const char *name);

/* Whether no retry mends it: only another device, another rule or another request does. */
bool failure_is_final(enum failure_code code);

/* Fills in what happened (printf-like) and the cure (may be NULL). Text that does not fit is cut at a character.
 * Returns a negative errno fitting the code, so that `return failure_set(...)` reads well. failure may be NULL. */
int failure_set(struct failure *failure, enum failure_code code, const char *cure, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* The object {"code","text","cure"}; a new reference, or NULL without memory. */
json_t *failure_to_json(const struct failure *failure);

/* Reads what failure_to_json made, maybe by another version. Missing parts become empty. */
void failure_from_json(const json_t *object, struct failure *ret_failure);
