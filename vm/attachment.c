#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acceptance.h"
#include "attachment_internal.h"
#include "candidate.h"
#include "cleanup.h"
#include "daemon.h"
#include "job.h"
#include "json_whole.h"
#include "log.h"
#include "name_book.h"
#include "vhci.h"

#define SECOND_USEC            UINT64_C(1000000)
#define STREAM_LIMIT_USEC      (20 * SECOND_USEC)
#define ENUMERATION_LIMIT_USEC (20 * SECOND_USEC) /* a hub reads its devices one after the other: many may be before this one */
#define JOB_LIMIT_USEC         (10 * SECOND_USEC)
#define SETTLE_LIMIT_USEC      (3 * SECOND_USEC)
#define PORT_POLL_MAX_USEC     (SECOND_USEC / 2)

static int attachment_start_job(struct attachment *attachment);
static int attachment_on_limit(sd_event_source *source, uint64_t usec, void *userdata);
static int attachment_on_poll(sd_event_source *source, uint64_t usec, void *userdata);

static const char *const STATE_NAMES[] = {
	[ATTACHMENT_STATE_WAITING] = "waiting",         [ATTACHMENT_STATE_ATTACHING] = "attaching",
	[ATTACHMENT_STATE_ENUMERATING] = "enumerating", [ATTACHMENT_STATE_VERIFYING] = "verifying",
	[ATTACHMENT_STATE_AUTHORIZING] = "authorizing", [ATTACHMENT_STATE_SETTLING] = "settling",
	[ATTACHMENT_STATE_ATTACHED] = "attached",       [ATTACHMENT_STATE_DETACHING] = "detaching",
	[ATTACHMENT_STATE_FAILED] = "failed",           [ATTACHMENT_STATE_GONE] = "gone",
};

const char *attachment_state_to_string(enum attachment_state state)
{
	return STATE_NAMES[state];
}

/* ---- the one transition function ---- */

void attachment_limit(struct attachment *attachment, uint64_t usec)
{
	timer_arm(attachment->services->event, &attachment->limit, usec, attachment_on_limit, attachment);
}

void attachment_poll_port(struct attachment *attachment)
{
	timer_arm(attachment->services->event, &attachment->poll, attachment->poll_usec, attachment_on_poll, attachment);
	attachment->poll_usec = attachment->poll_usec * 2 < PORT_POLL_MAX_USEC ? attachment->poll_usec * 2 : PORT_POLL_MAX_USEC;
}

/* A write to vhci_hcd is waited for, come what may. */
static void attachment_drop_job(struct attachment *attachment, enum attachment_state from)
{
	if (from != ATTACHMENT_STATE_ATTACHING || attachment->info.state != ATTACHMENT_STATE_DETACHING)
		attachment->job = job_abandon(attachment->job);
}

void attachment_enter_state(struct attachment *attachment, enum attachment_state state)
{
	enum attachment_state from = attachment->info.state;
	uint64_t now = clock_now_usec();

	log_debug("%s: %s: %s -> %s", attachment->owner_name, attachment->info.offer.busid.text, STATE_NAMES[from], STATE_NAMES[state]);
	attachment->spent_usec[from] = now - attachment->entered_usec;
	attachment->entered_usec = now;
	attachment->info.state = state;
	timer_disarm(attachment->limit);
	timer_disarm(attachment->poll);
	attachment_drop_job(attachment, from);

	switch (state) {
	case ATTACHMENT_STATE_WAITING:
		attachment_limit(attachment, STREAM_LIMIT_USEC);
		break;
	case ATTACHMENT_STATE_ATTACHING:
		attachment_limit(attachment, JOB_LIMIT_USEC);
		break;
	case ATTACHMENT_STATE_ATTACHED:
		break;
	case ATTACHMENT_STATE_ENUMERATING:
		attachment->stream_fd = close_fd(attachment->stream_fd); /* the kernel has its own reference */
		attachment_limit(attachment, ENUMERATION_LIMIT_USEC);
		attachment->poll_usec = PORT_POLL_MAX_USEC;
		attachment_poll_port(attachment);
		break;
	case ATTACHMENT_STATE_VERIFYING:
	case ATTACHMENT_STATE_AUTHORIZING:
		/* A job that can't be started ends like one that does not answer, only sooner. */
		attachment_limit(attachment, attachment_start_job(attachment) < 0 ? 0 : JOB_LIMIT_USEC);
		break;
	case ATTACHMENT_STATE_SETTLING:
		attachment_limit(attachment, SETTLE_LIMIT_USEC);
		break;
	case ATTACHMENT_STATE_DETACHING:
		/* The kernel may be slow to let it go: the same device may be back at another port before that. */
		name_book_leave(attachment->services->names, &attachment->info.busid);
		attachment_release_port(attachment);
		break;
	case ATTACHMENT_STATE_FAILED:
	case ATTACHMENT_STATE_GONE:
		attachment->stream_fd = close_fd(attachment->stream_fd);
		attachment->info.has_port = false;
		break;
	}
	attachment->services->on_change(attachment, from, attachment->services->userdata);
}

/* ---- life ---- */

static struct attachment *attachment_alloc(const struct attachment_services *services, void *owner, const char *owner_name,
					   const struct offer *offer)
{
	struct attachment *attachment = calloc(1, sizeof(*attachment));

	if (!attachment)
		return NULL;
	attachment->services = services;
	attachment->owner = owner;
	attachment->owner_name = owner_name;
	attachment->info.offer = *offer;
	attachment->stream_fd = -EBADF;
	attachment->entered_usec = clock_now_usec();
	if (timer_new(services->event, &attachment->limit, attachment_on_limit, attachment) < 0 ||
	    timer_new(services->event, &attachment->poll, attachment_on_poll, attachment) < 0)
		return attachment_free(attachment);
	return attachment;
}

struct attachment *attachment_new(const struct attachment_services *services, void *owner, const char *owner_name,
				  const struct offer *offer, uint64_t epoch)
{
	struct attachment *attachment = attachment_alloc(services, owner, owner_name, offer);

	if (!attachment)
		return NULL;
	attachment->info.epoch = epoch;
	attachment_limit(attachment, STREAM_LIMIT_USEC);
	return attachment;
}

struct attachment *attachment_adopt(const struct attachment_services *services, void *owner, const char *owner_name,
				    const struct offer *offer, uint32_t port)
{
	struct attachment *attachment = attachment_alloc(services, owner, owner_name, offer);

	if (!attachment)
		return NULL;
	attachment->info.has_port = true;
	attachment->info.port = port;
	attachment_enter_state(attachment, ATTACHMENT_STATE_ENUMERATING);
	return attachment;
}

struct attachment *attachment_free(struct attachment *attachment)
{
	if (!attachment)
		return NULL;
	sd_event_source_disable_unref(attachment->limit);
	sd_event_source_disable_unref(attachment->poll);
	job_abandon(attachment->job);
	close_fd(attachment->stream_fd);
	node_list_done(&attachment->info.nodes);
	free(attachment->descriptors);
	free(attachment);
	return NULL;
}

/* ---- ends ---- */

void attachment_fail(struct attachment *attachment)
{
	const struct log_about about = { .busid = attachment->info.offer.busid.text,
					 .name = attachment->info.offer.name,
					 .pi = attachment->owner_name,
					 .state = STATE_NAMES[ATTACHMENT_STATE_FAILED] };

	log_write_about(LOG_LEVEL_WARNING, &about, "%s: %s: %s%s%s", about.pi, about.busid, about.name, about.name[0] ? ": " : "",
			attachment->info.failure.text);
	if (!attachment->info.reason[0])
		identity_clean_string(attachment->info.failure.text, attachment->info.reason, sizeof(attachment->info.reason));
	attachment_enter_state(attachment, attachment->info.has_port ? ATTACHMENT_STATE_DETACHING : ATTACHMENT_STATE_FAILED);
}

void attachment_end(struct attachment *attachment)
{
	free(attachment->descriptors);
	attachment->descriptors = NULL;
	attachment_enter_state(attachment, attachment->info.failure.code != FAILURE_NONE ? ATTACHMENT_STATE_FAILED : ATTACHMENT_STATE_GONE);
}

void attachment_detach(struct attachment *attachment, const char *reason)
{
	if (attachment->info.state == ATTACHMENT_STATE_DETACHING)
		attachment->info.failure = (struct failure){ 0 }; /* if it failed, nobody needs to read that any more */
	if (attachment->info.state == ATTACHMENT_STATE_DETACHING || attachment->info.state == ATTACHMENT_STATE_GONE)
		return;
	identity_clean_string(reason, attachment->info.reason, sizeof(attachment->info.reason));
	attachment_enter_state(attachment, attachment->info.has_port ? ATTACHMENT_STATE_DETACHING : ATTACHMENT_STATE_GONE);
}

/* Unplugged, or its stream ended: ordinary once it was attached; before that the Pi has to know that nothing came of its offer. */
static void attachment_lose(struct attachment *attachment)
{
	if (attachment->info.state == ATTACHMENT_STATE_ATTACHED) {
		attachment_detach(attachment, "the device was unplugged or its stream ended");
		return;
	}
	failure_set(&attachment->info.failure, FAILURE_GONE, NULL, "the device went away while it was being attached");
	attachment_fail(attachment);
}

static int attachment_on_poll(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct attachment *attachment = userdata;

	(void)source;
	(void)usec;
	attachment_check(attachment);
	return 0;
}

static int attachment_on_limit(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct attachment *attachment = userdata;
	struct failure *failure = &attachment->info.failure;

	(void)source;
	(void)usec;
	switch (attachment->info.state) {
	case ATTACHMENT_STATE_WAITING:
		failure_set(failure, FAILURE_STREAM, NULL, "the Pi opened no stream for the device");
		attachment_fail(attachment);
		break;
	case ATTACHMENT_STATE_ATTACHING:
		failure_set(failure, FAILURE_TIMEOUT, "See which write it is: usbpush-vm status. If it does not end, reboot the VM",
			    "the VM's kernel did not take the device within %llu s", (unsigned long long)(JOB_LIMIT_USEC / SECOND_USEC));
		attachment_fail(attachment);
		break;
	case ATTACHMENT_STATE_ENUMERATING:
		if (attachment->info.offer.is_partial && !attachment_is_device_gone(attachment))
			failure_set(failure, FAILURE_TIMEOUT, NULL, "the Pi has not said which device it is");
		else
			failure_set(failure, FAILURE_ENUMERATION, "Unplug it and plug it in again; see dmesg on the VM",
				    "the VM's kernel could not read the device within %llu s",
				    (unsigned long long)(ENUMERATION_LIMIT_USEC / SECOND_USEC));
		attachment_fail(attachment);
		break;
	case ATTACHMENT_STATE_VERIFYING:
	case ATTACHMENT_STATE_AUTHORIZING:
		if (attachment_is_device_gone(attachment)) {
			attachment_lose(attachment);
			break;
		}
		failure_set(failure, FAILURE_TIMEOUT, "Unplug it and plug it in again",
			    "the device did not answer the VM's kernel in time (%s)", STATE_NAMES[attachment->info.state]);
		attachment_fail(attachment);
		break;
	case ATTACHMENT_STATE_SETTLING:
		attachment_enter_state(attachment, ATTACHMENT_STATE_ATTACHED); /* a device without nodes */
		break;
	case ATTACHMENT_STATE_DETACHING:
		attachment_give_up_release(attachment);
		break;
	case ATTACHMENT_STATE_ATTACHED:
	case ATTACHMENT_STATE_FAILED:
	case ATTACHMENT_STATE_GONE:
		break;
	}
	return 0;
}

/* ---- the stream ---- */

void attachment_take_stream(struct attachment *attachment, int fd)
{
	attachment->stream_fd = fd;
	attachment_enter_state(attachment, ATTACHMENT_STATE_ATTACHING);
	attachment_claim_port(attachment);
}

void attachment_refuse_stream(struct attachment *attachment, const struct failure *failure)
{
	attachment->info.failure = *failure;
	attachment_fail(attachment);
}

/* ---- verifying and authorizing: in jobs ---- */

static void attachment_fail_job(struct attachment *attachment, int err)
{
	struct failure *failure = &attachment->info.failure;

	if (err == -ENOENT || err == -ENODEV) {
		attachment_lose(attachment);
		return;
	}
	if (err == -EACCES || err == -EPERM || err == -EROFS)
		failure_set(failure, FAILURE_NO_PERMISSION, "On the VM, let systemd start the handler: systemctl restart usbpush-handler",
			    "the device's files in the VM's sysfs may not be written");
	else
		failure_set(failure, FAILURE_KERNEL, "Unplug it and plug it in again; see dmesg on the VM",
			    "the device could not be set up on the VM: %s", strerror(-err));
	attachment_fail(attachment);
}

static int attachment_check_acceptance(struct attachment *attachment)
{
	const struct acceptance_device device = { attachment->owner_name, &attachment->info.offer.identity, attachment->descriptors };

	return acceptance_check(attachment->services->acceptance, &device, &attachment->info.failure);
}

static int attachment_judge(struct attachment *attachment, const struct candidate *device)
{
	char why[200];

	if (!identity_equal(&attachment->info.offer.identity, &device->identity, why, sizeof(why)))
		return failure_set(&attachment->info.failure, FAILURE_IDENTITY,
				   "If nobody tampers with the Pi, unplug it and plug it in again",
				   "the device is not what was offered: %s", why);
	if (!attachment->descriptors)
		attachment->descriptors = malloc(sizeof(*attachment->descriptors));
	if (!attachment->descriptors)
		return failure_set(&attachment->info.failure, FAILURE_INTERNAL, NULL, "out of memory");
	*attachment->descriptors = device->descriptors;
	return attachment_check_acceptance(attachment);
}

static bool attachment_enter_name(struct attachment *attachment)
{
	const struct name_claim claim = { .busid = &attachment->info.busid,
					  .pi = attachment->owner_name,
					  .offer = &attachment->info.offer,
					  .descriptors = attachment->descriptors,
					  .main_interface =
						  acceptance_find_main(attachment->services->acceptance, attachment->descriptors) };

	return name_book_enter(attachment->services->names, &claim);
}

static void attachment_on_read(int result, void *arg, void *userdata)
{
	struct attachment *attachment = userdata;

	attachment->job = NULL;
	if (result < 0)
		attachment_fail_job(attachment, result);
	else if (attachment_judge(attachment, arg) < 0)
		attachment_fail(attachment);
	else {
		(void)attachment_enter_name(attachment); /* before a driver makes a node of it */
		attachment_enter_state(attachment, ATTACHMENT_STATE_AUTHORIZING);
	}
}

static void attachment_on_authorized(int result, void *arg, void *userdata)
{
	struct attachment *attachment = userdata;

	(void)arg;
	attachment->job = NULL;
	if (result < 0)
		attachment_fail_job(attachment, result);
	else
		attachment_enter_state(attachment, attachment->info.nodes.n > 0 ? ATTACHMENT_STATE_ATTACHED : ATTACHMENT_STATE_SETTLING);
}

static int attachment_start_job(struct attachment *attachment)
{
	bool is_reading = attachment->info.state == ATTACHMENT_STATE_VERIFYING;
	int fd = vhci_open_device(attachment->services->vhci, attachment->info.port, NULL);
	struct candidate *device;
	char name[64];
	int r;

	if (fd < 0)
		return fd;
	device = candidate_new(fd);
	if (!device)
		return -ENOMEM;
	snprintf(name, sizeof(name), "%s: %s", attachment->owner_name, attachment->info.offer.busid.text);
	r = job_start(attachment->services->jobs, name, is_reading ? candidate_read : candidate_authorize, device, candidate_free,
		      is_reading ? attachment_on_read : attachment_on_authorized, attachment, &attachment->job);
	if (r < 0)
		candidate_free(device);
	return r;
}

/* ---- events ---- */

/* The generic driver's bind tells that enumeration is complete: authorizing between add and bind would configure the device twice. */
void attachment_on_device(struct attachment *attachment, enum uevent_action action, const struct busid *busid)
{
	switch (action) {
	case UEVENT_ADD:
		attachment->info.busid = *busid;
		break;
	case UEVENT_BIND:
		attachment->info.busid = *busid;
		if (attachment->info.state == ATTACHMENT_STATE_ENUMERATING && !attachment->info.offer.is_partial)
			attachment_enter_state(attachment, ATTACHMENT_STATE_VERIFYING);
		break;
	case UEVENT_REMOVE:
		if (attachment->info.state == ATTACHMENT_STATE_DETACHING)
			attachment_check(attachment);
		else if (attachment->info.state == ATTACHMENT_STATE_ATTACHING)
			attachment->info.busid.text[0] = '\0'; /* the port's former device, or ours: who enumerates it finds out */
		else if (attachment->info.has_port)
			attachment_lose(attachment);
		break;
	case UEVENT_UNBIND:
	case UEVENT_CHANGE:
	case UEVENT_OTHER:
		break;
	}
}

void attachment_on_node(struct attachment *attachment, enum uevent_action action, const char *path, const char *devlinks)
{
	bool is_changed = action == UEVENT_REMOVE ? node_list_remove(&attachment->info.nodes, path) :
						    node_list_add(&attachment->info.nodes, path, devlinks);

	if (attachment->info.state == ATTACHMENT_STATE_SETTLING && attachment->info.nodes.n > 0)
		attachment_enter_state(attachment, ATTACHMENT_STATE_ATTACHED);
	else if (attachment->info.state == ATTACHMENT_STATE_ATTACHED && is_changed)
		attachment->services->on_change(attachment, attachment->info.state, attachment->services->userdata);
}

static bool attachment_was_judged(const struct attachment *attachment)
{
	return attachment->info.state == ATTACHMENT_STATE_AUTHORIZING || attachment->info.state == ATTACHMENT_STATE_SETTLING ||
	       attachment->info.state == ATTACHMENT_STATE_ATTACHED;
}

/* The offer is another one: it is to be recorded. */
static void attachment_tell_offer(struct attachment *attachment)
{
	if (attachment->info.has_port && attachment_is_live(attachment))
		attachment->services->on_change(attachment, attachment->info.state, attachment->services->userdata);
}

void attachment_complete(struct attachment *attachment, const struct offer *offer)
{
	attachment->info.offer = *offer;
	attachment_tell_offer(attachment);
	if (attachment->info.state == ATTACHMENT_STATE_ENUMERATING) {
		attachment_limit(attachment, ENUMERATION_LIMIT_USEC);
		attachment_check(attachment); /* it may have been read already */
	}
}

/* Nodes that are there already get their new links by udev. */
void attachment_rename(struct attachment *attachment, const char *name)
{
	struct node_list *nodes = &attachment->info.nodes;

	if (strcmp(attachment->info.offer.name, name) == 0)
		return;
	snprintf(attachment->info.offer.name, sizeof(attachment->info.offer.name), "%s", name);
	if (attachment_was_judged(attachment) && attachment_enter_name(attachment)) {
		log_info("%s: %s: is called %s now", attachment->owner_name, attachment->info.offer.busid.text,
			 attachment_get_name(attachment));
		for (size_t i = 0; i < nodes->n; i++)
			vhci_nudge_node(attachment->services->vhci, nodes->nodes[i].path);
	}
	attachment_tell_offer(attachment);
}

const char *attachment_get_name(const struct attachment *attachment)
{
	/* Without a port its bus id may be another's by now. */
	const char *name = attachment->info.has_port ? name_book_get(attachment->services->names, &attachment->info.busid) : "";

	return *name ? name : attachment->info.offer.name;
}

void attachment_reconsider(struct attachment *attachment)
{
	if (attachment_was_judged(attachment) && attachment_check_acceptance(attachment) < 0)
		attachment_fail(attachment);
}

/* For ENUMERATING (a stream that ends early frees the port without any event) and DETACHING, and for any state when events were lost. */
void attachment_check(struct attachment *attachment)
{
	_cleanup_close_ int fd = -EBADF;
	struct busid busid;

	if (!attachment->info.has_port || attachment->info.state == ATTACHMENT_STATE_ATTACHING)
		return; /* nothing is known of a port before the kernel has returned */
	if (attachment->info.state == ATTACHMENT_STATE_DETACHING) {
		attachment_check_release(attachment);
		return;
	}
	if (attachment_is_port_free(attachment)) {
		attachment_lose(attachment);
		return;
	}
	if (attachment->info.state != ATTACHMENT_STATE_ENUMERATING)
		return;
	fd = vhci_open_device(attachment->services->vhci, attachment->info.port, &busid);
	if (fd >= 0 && faccessat(fd, "driver", F_OK, 0) == 0 && !attachment->info.offer.is_partial)
		attachment_on_device(attachment, UEVENT_BIND, &busid);
	else
		attachment_poll_port(attachment);
}

/* ---- what others may know ---- */

void *attachment_get_owner(const struct attachment *attachment)
{
	return attachment->owner;
}

const struct attachment_info *attachment_get_info(const struct attachment *attachment)
{
	return &attachment->info;
}

bool attachment_is_live(const struct attachment *attachment)
{
	return attachment->info.state <= ATTACHMENT_STATE_ATTACHED;
}

json_t *attachment_steps_to_json(const struct attachment *attachment)
{
	static const struct {
		const char *name;
		enum attachment_state state;
	} steps[] = {
		{ "attach", ATTACHMENT_STATE_ATTACHING }, { "enumerate", ATTACHMENT_STATE_ENUMERATING },
		{ "verify", ATTACHMENT_STATE_VERIFYING }, { "authorize", ATTACHMENT_STATE_AUTHORIZING },
		{ "node", ATTACHMENT_STATE_SETTLING },
	};
	json_t *object = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		json_whole_set(&object, steps[i].name, json_integer((json_int_t)((attachment->spent_usec[steps[i].state] + 500) / 1000)));
	return object;
}
