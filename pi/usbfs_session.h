#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

#include "job.h"
#include "usbfs_claim.h"
#include "usbfs_memory.h"

/* A USB/IP session on a claimed device: what usbip-host does in the kernel (stub_rx.c, stub_tx.c), done here by usbfs. Requests come on a connected stream socket,
 * transfers are started as they come, and each is answered when it is over. What the VM says is bounded: one request that makes no sense ends the session. One
 * that there is no memory for waits, and the stream is read on meanwhile: what waits can be cancelled. Where there is no memory left to wait in, the stream is held
 * up, for a moment, and then such requests are refused: a cancellation is heard in any case. What usbfs itself has no memory for, because other programs have it, is
 * tried again for such a moment, and then refused. */
struct usbfs_session;

/* What sessions stand on; all borrowed and outliving them. */
struct usbfs_context {
	sd_event *event;
	struct job_runner *jobs;
	struct usbfs_memory *memory;
	uint64_t max_held_usec; /* so long a stream may be held up, and usbfs be without memory */
};

/* What the exporter's are. No process of the VM shall sleep for 10 s for our sake. */
#define USBFS_MAX_HELD_USEC UINT64_C(5000000)

/* Starts a session on fd (borrowed: it takes a reference of its own). claim is borrowed and outlives the session; no other call is made on it meanwhile. name is for
 * the log; devid is the one that the VM was told. Where the session ends by itself (the device is unplugged, a bad request, the other end closed) it shuts fd
 * down: whoever holds the other end sees that. 0 or negative errno. */
int usbfs_session_new(const struct usbfs_context *context, struct usbfs_claim *claim, const char *name, uint32_t devid, int fd,
		      struct usbfs_session **ret_session);

/* Ends it at once, and shuts fd down. What is still under way stays with the claim, for usbfs_claim_settle(). Takes NULL, returns NULL. */
struct usbfs_session *usbfs_session_free(struct usbfs_session *session);
