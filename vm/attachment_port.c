#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "attachment_internal.h"
#include "cleanup.h"
#include "daemon.h"
#include "job.h"
#include "log.h"
#include "vhci.h"

#define ATTACH_TRIES       8
#define PORT_POLL_USEC     UINT64_C(20000)
#define RELEASE_LIMIT_USEC UINT64_C(30000000)

/* A write to vhci_hcd waits in the kernel as long as the port's former device is taken down there: so both are jobs, and while one is under way nothing is
 * concluded from what sysfs shows. A late `detach` would hit the port's next device. */

bool attachment_is_port_free(const struct attachment *attachment)
{
	struct vhci_port port;
	int err = vhci_read_port(attachment->services->vhci, attachment->info.port, &port);

	if (err == -ENOENT)
		return true;
	return err >= 0 && port.state == VHCI_PORT_FREE;
}

bool attachment_is_device_gone(const struct attachment *attachment)
{
	_cleanup_close_ int fd = vhci_open_device(attachment->services->vhci, attachment->info.port, NULL);

	return fd == -ENOENT || fd == -ENODEV;
}

/* The write belongs to the job from now on; NULL: it could not be made. */
static int attachment_start_write(struct attachment *attachment, struct vhci_write *write, job_done_fn on_done)
{
	char name[64];
	int r;

	if (!write)
		return -ENOMEM;
	snprintf(name, sizeof(name), "%s: %s", attachment->owner_name, attachment->info.offer.busid.text);
	r = job_start(attachment->services->jobs, name, vhci_write_run, write, vhci_write_free, on_done, attachment, &attachment->job);
	if (r < 0)
		vhci_write_free(write);
	return r;
}

/* ---- attaching ---- */

/* On the tunnel "OK\n" must be out before the kernel writes its first URB on the same socket. */
static int stream_accept(int fd, bool is_import)
{
	int flags = fcntl(fd, F_GETFL);

	if (!is_import && send(fd, "OK\n", 3, MSG_NOSIGNAL | MSG_DONTWAIT) != 3)
		return -EPIPE;
	return flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? -errno : 0;
}

/* A port that is not ours is not ours to detach. */
static void attachment_fail_without_port(struct attachment *attachment)
{
	attachment->info.has_port = false;
	attachment_fail(attachment);
}

/* Withdrawn while the kernel was at it. */
static void attachment_on_late_attach(struct attachment *attachment, int result)
{
	attachment->stream_fd = close_fd(attachment->stream_fd);
	if (result >= 0) {
		attachment_release_port(attachment);
		return;
	}
	attachment->info.has_port = false;
	attachment_end(attachment);
}

static void attachment_on_attach_written(int result, void *arg, void *userdata)
{
	struct attachment *attachment = userdata;

	attachment->job = NULL;
	if (attachment->info.state == ATTACHMENT_STATE_DETACHING) {
		attachment_on_late_attach(attachment, result);
	} else if (result == -EBUSY && attachment->n_tries < ATTACH_TRIES) {
		attachment_claim_port(attachment);
	} else if (result == -EBUSY) {
		failure_set(&attachment->info.failure, FAILURE_BUSY, NULL,
			    "the VM's free ports are taken by others as fast as we find them");
		attachment_fail_without_port(attachment);
	} else if (result < 0) {
		vhci_write_explain(arg, result, &attachment->info.failure);
		attachment_fail_without_port(attachment);
	} else {
		attachment_enter_state(attachment, ATTACHMENT_STATE_ENUMERATING);
		if (attachment->info.busid.text[0])
			attachment_check(attachment); /* it was enumerated before this was heard */
	}
}

void attachment_claim_port(struct attachment *attachment)
{
	const struct attachment_services *services = attachment->services;
	const struct offer *offer = &attachment->info.offer;
	struct failure *failure = &attachment->info.failure;

	attachment->info.has_port = false; /* of the try before: a stranger has it, and what was heard of it */
	attachment->info.busid.text[0] = '\0';
	if (vhci_find_free_port(services->vhci, offer->speed, services->is_port_reserved, services->userdata, &attachment->info.port,
				failure) < 0) {
		attachment_fail(attachment);
		return;
	}
	attachment->info.has_port = true;
	services->on_change(attachment, ATTACHMENT_STATE_ATTACHING, services->userdata);
	if (attachment->n_tries++ == 0 && stream_accept(attachment->stream_fd, offer->direct_port != 0) < 0) {
		failure_set(failure, FAILURE_STREAM, NULL, "the stream ended before it was attached");
		attachment_fail_without_port(attachment);
	} else if (attachment_start_write(attachment,
					  vhci_write_new_attach(services->vhci, attachment->info.port, attachment->stream_fd, offer->devid,
								offer->speed),
					  attachment_on_attach_written) < 0) {
		failure_set(failure, FAILURE_INTERNAL, NULL, "out of memory");
		attachment_fail_without_port(attachment);
	}
}

/* ---- detaching ---- */

/* From now on the kernel is asked, and looked at. */
static void attachment_begin_release(struct attachment *attachment)
{
	attachment->poll_usec = PORT_POLL_USEC;
	attachment_limit(attachment, RELEASE_LIMIT_USEC);
}

static void attachment_note_detach(struct attachment *attachment, int result)
{
	attachment->is_detach_written = result >= 0;
	if (result < 0)
		log_error("%s: %s: port %u could not be detached, it is tried again: %s", attachment->owner_name,
			  attachment->info.offer.busid.text, attachment->info.port, strerror(-result));
}

static void attachment_on_detach_written(int result, void *arg, void *userdata)
{
	struct attachment *attachment = userdata;

	(void)arg;
	attachment->job = NULL;
	attachment_note_detach(attachment, result);
	if (result < 0) { /* tried again, ever more seldom, until the limit */
		if (clock_now_usec() - attachment->entered_usec < RELEASE_LIMIT_USEC)
			attachment_poll_port(attachment);
		else
			attachment_give_up_release(attachment);
		return;
	}
	attachment_begin_release(attachment);
	attachment_check_release(attachment);
}

static void attachment_write_detach(struct attachment *attachment)
{
	int r = attachment_start_write(attachment, vhci_write_new_detach(attachment->services->vhci, attachment->info.port),
				       attachment_on_detach_written);

	if (r < 0)
		attachment_note_detach(attachment, r);
}

void attachment_release_port(struct attachment *attachment)
{
	attachment_begin_release(attachment);
	if (attachment->job)
		(void)shutdown(attachment->stream_fd, SHUT_RDWR); /* if it is attached after all, it ends by itself */
	else
		attachment_write_detach(attachment);
	attachment_poll_port(attachment);
}

/* The kernel calls the port free and the device's directory is gone: the one may come without the other. */
void attachment_check_release(struct attachment *attachment)
{
	if (!attachment->job) {
		if (attachment_is_port_free(attachment) && attachment_is_device_gone(attachment)) {
			attachment_end(attachment);
			return;
		}
		if (!attachment->is_detach_written)
			attachment_write_detach(attachment);
	}
	attachment_poll_port(attachment);
}

void attachment_give_up_release(struct attachment *attachment)
{
	log_error("%s: %s: the kernel did not free port %u; it stays unused", attachment->owner_name, attachment->info.offer.busid.text,
		  attachment->info.port);
	if (!attachment->job)
		attachment_end(attachment);
}
