/* The devices of a Pi (pi/device.c, device_offer.c, device_list.c, inventory.c, offers.c) among a kernel, a link and a VM that do whatever they may, in any order. What must hold:
 * DESIGN section 5, and what a kernel with usbip-host survives. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "atomic_file.h"
#include "cleanup.h"
#include "daemon.h"
#include "device_job.h"
#include "device_list.h"
#include "direct_road.h"
#include "direct_session.h"
#include "inventory.h"
#include "offers.h"
#include "property.h"
#include "usbfs_claim.h"
#include "virtual_jobs.h"
#include "virtual_time.h"

#define N_SOCKETS    3
#define MAX_STREAMS  64
#define MAX_OFFERS   64
#define MAX_MESSAGES 256
#define MAX_UEVENTS  256
#define SECOND       UINT64_C(1000000)

/* ---- the world ---- */

enum driver { DRIVER_NONE, DRIVER_USB, DRIVER_USBIP };

struct socket {
	struct busid busid;
	bool is_plugged, is_serial;
	bool is_probing; /* `add` was told; the kernel holds its lock until a driver has it */
	uint32_t devnum;
	enum driver driver;
	bool has_entry;         /* in match_busid */
	uint32_t judged_devnum; /* the last device there that a rule shared */
	uint32_t entry_devnum;
	enum usbip_host_status status;
	struct stream *session;    /* the stream that its session is on */
	struct usbfs_claim *claim; /* by which it is taken from its drivers; NULL without */
};

struct stream {
	struct stream_handlers handlers;
	void *userdata;
	char offer_id[MESSAGE_ID_SIZE]; /* "" before it is announced */
	bool is_ready, is_dying;        /* dying: its end is to be told */
};

struct vm_offer {
	char id[MESSAGE_ID_SIZE];
	struct busid busid;
	bool is_live, is_accepted, is_attached; /* accepted: it said OK */
	bool is_partial;                        /* the rest of it is to come */
	uint32_t devid;
};

struct kernel_event {
	enum uevent_action action;
	unsigned socket;
	uint32_t devnum;
	char driver[16];
};

static struct world {
	struct device_context context;
	struct flap_list *flaps;
	struct device_list *devices;
	struct offers *offers_made;
	struct inventory *inventory;
	char held[N_SOCKETS * 64], kept[N_SOCKETS * 64]; /* the files */
	struct socket sockets[N_SOCKETS];
	struct stream *streams[MAX_STREAMS];
	size_t n_streams;
	struct vm_offer offers[MAX_OFFERS]; /* the last ones */
	size_t n_offers;
	struct message messages[MAX_MESSAGES]; /* of the VM, on their way */
	size_t n_messages;
	struct kernel_event events[MAX_UEVENTS];
	size_t n_events;
	enum link_state link;
	uint32_t next_devnum;
	int n_holds, null_fd;
	enum rule_backend backend;                       /* the owner's rule */
	unsigned n_names;                                /* how often the owner named something */
	bool is_serial_kept, is_other_shared, has_names; /* the owner's rules */
	bool is_vm_old;                                  /* it takes no partial offers */
	bool is_calm;                                    /* nobody disturbs any more */
	uint32_t chance;                                 /* of this step: what else it may decide */
} world;

static uint32_t chance(uint32_t n)
{
	world.chance = world.chance * 1664525 + 1013904223;
	return (world.chance >> 8) % n;
}

static bool happens(uint32_t one_of)
{
	return !world.is_calm && chance(one_of) == 0;
}

static bool is_shared_kind(bool is_serial)
{
	return is_serial ? !world.is_serial_kept : world.is_other_shared;
}

static struct socket *find_socket(const struct busid *busid)
{
	for (unsigned i = 0; i < N_SOCKETS; i++)
		if (busid_equal(&world.sockets[i].busid, busid))
			return &world.sockets[i];
	PROPERTY(!"no such socket");
	return NULL;
}

/* ---- the kernel ---- */

static void tell(unsigned socket, enum uevent_action action, const char *driver)
{
	struct kernel_event *event = &world.events[world.n_events];

	PROPERTY(world.n_events < MAX_UEVENTS);
	*event = (struct kernel_event){ .action = action, .socket = socket, .devnum = world.sockets[socket].devnum };
	snprintf(event->driver, sizeof(event->driver), "%s", driver);
	world.n_events++;
}

static void end_session(struct socket *socket)
{
	if (socket->session)
		socket->session->is_dying = true;
	socket->session = NULL;
}

static void give_to_usb(struct socket *socket)
{
	socket->driver = DRIVER_USB;
	tell((unsigned)(socket - world.sockets), UEVENT_BIND, "usb");
}

static void plug(struct socket *socket)
{
	socket->is_plugged = true;
	socket->is_serial = chance(4) != 0;
	socket->devnum = ++world.next_devnum;
	socket->status = USBIP_HOST_AVAILABLE;
	property_tell("    %s: plugged in, number %u, %s", socket->busid.text, socket->devnum,
		      socket->is_serial ? "serial" : "none of ours");
	tell((unsigned)(socket - world.sockets), UEVENT_ADD, "");
	socket->is_probing = true;
}

/* What needs the device's lock waits for that. */
static bool finish_probe(struct socket *socket)
{
	if (!socket->is_probing)
		return false;
	socket->is_probing = false;
	give_to_usb(socket);
	return true;
}

static void unplug(struct socket *socket)
{
	property_tell("    %s: unplugged", socket->busid.text);
	socket->is_plugged = socket->is_probing = false;
	socket->driver = DRIVER_NONE;
	socket->status = USBIP_HOST_AVAILABLE;
	socket->claim = NULL; /* whoever has it has one of a device that is gone */
	end_session(socket);
	tell((unsigned)(socket - world.sockets), UEVENT_REMOVE, "");
}

static bool is_torn_down(const struct socket *socket)
{
	return socket->is_plugged && socket->status == USBIP_HOST_USED && !socket->session;
}

/* The kernel is done with an ended session, and has reset the device. */
static bool finish_teardown(struct socket *socket)
{
	if (!is_torn_down(socket))
		return false;
	socket->status = happens(4) ? USBIP_HOST_ERROR : USBIP_HOST_AVAILABLE;
	property_tell("    %s: torn down, status %u", socket->busid.text, socket->status);
	return true;
}

static const char *driver_to_string(enum driver driver)
{
	static const char *const names[] = { [DRIVER_NONE] = "", [DRIVER_USB] = "usb", [DRIVER_USBIP] = "usbip-host" };

	return names[driver];
}

int usbip_host_enumerate(const struct usbip_host *host,
			 void (*fn)(const struct busid *busid, const char *syspath, const char *driver, void *userdata), void *userdata)
{
	int r = 0;

	(void)host;
	for (unsigned i = 0; i < N_SOCKETS; i++) {
		const struct socket *socket = &world.sockets[i];

		if (socket->is_plugged && happens(15))
			r = -EMFILE; /* that one can't be read */
		else if (socket->is_plugged)
			fn(&socket->busid, "/sys/devices/x", driver_to_string(socket->driver), userdata);
	}
	return r;
}

int uevent_monitor_new(sd_event *event, enum uevent_source source, const char *const *subsystems, uevent_fn on_uevent,
		       void (*on_overrun)(void *userdata), void *userdata, struct uevent_monitor **ret_monitor)
{
	(void)event;
	(void)source;
	(void)on_uevent;
	(void)on_overrun;
	(void)userdata;
	PROPERTY(strcmp(subsystems[0], "usb") == 0);
	*ret_monitor = NULL;
	return 0;
}

struct uevent_monitor *uevent_monitor_free(struct uevent_monitor *monitor)
{
	return monitor;
}

static char *file_of(const char *path)
{
	PROPERTY(strcmp(path, "run/held") == 0 || strcmp(path, "run/kept") == 0);
	return strcmp(path, "run/held") == 0 ? world.held : world.kept;
}

ssize_t file_read(const char *path, size_t max_size, char **ret_content)
{
	(void)max_size;
	if (happens(15))
		return -EMFILE;
	*ret_content = strdup(file_of(path));
	PROPERTY(*ret_content != NULL);
	return (ssize_t)strlen(*ret_content);
}

int file_write_atomic(const char *path, const char *content, size_t size, mode_t mode)
{
	(void)mode;
	PROPERTY(size < sizeof(world.held));
	if (happens(15))
		return -ENOSPC;
	snprintf(file_of(path), sizeof(world.held), "%s", content);
	return 0;
}

int usbip_host_get_devnum(const struct usbip_host *host, const struct busid *busid, uint32_t *ret_devnum)
{
	const struct socket *socket = find_socket(busid);

	(void)host;
	if (!socket->is_plugged)
		return -ENOENT;
	*ret_devnum = is_torn_down(socket) && happens(4) ? 0 : socket->devnum; /* 0 while it is reset at the session's end */
	return 0;
}

bool usbip_host_is_bound(const struct usbip_host *host, const struct busid *busid)
{
	(void)host;
	return find_socket(busid)->driver == DRIVER_USBIP;
}

int usbip_host_get_status(const struct usbip_host *host, const struct busid *busid, enum usbip_host_status *ret_status)
{
	const struct socket *socket = find_socket(busid);

	(void)host;
	if (socket->driver != DRIVER_USBIP)
		return -ENODEV;
	*ret_status = socket->status;
	return 0;
}

static struct stream *find_announced(const struct busid *busid)
{
	for (size_t i = 0; i < world.n_streams; i++)
		if (world.streams[i]->offer_id[0] && busid_equal(device_busid(world.streams[i]->userdata), busid))
			return world.streams[i];
	return NULL;
}

int usbip_host_start_session(const struct usbip_host *host, const struct busid *busid, int fd, struct failure *ret_failure)
{
	struct socket *socket = find_socket(busid);

	(void)host;
	PROPERTY(fcntl(fd, F_GETFD) >= 0);
	if (!socket->is_plugged || socket->driver != DRIVER_USBIP)
		return failure_set(ret_failure, FAILURE_GONE, NULL, "unplugged meanwhile");
	if (socket->status != USBIP_HOST_AVAILABLE)
		return failure_set(ret_failure, FAILURE_BUSY, NULL, "a session is up");
	if (happens(20))
		return failure_set(ret_failure, FAILURE_KERNEL, NULL, "the kernel refused");
	socket->status = USBIP_HOST_USED;
	socket->session = find_announced(busid);
	PROPERTY(socket->session != NULL);
	property_tell("    %s: a session is up", busid->text);
	return 0;
}

/* ---- the other carrier: a session is ours, and ends when we want it ---- */

struct usbfs_session {
	struct stream *stream; /* borrowed */
	struct usbfs_claim *claim;
};

int usbfs_session_new(const struct usbfs_context *context, struct usbfs_claim *claim, const char *name, uint32_t devid, int fd,
		      struct usbfs_session **ret_session)
{
	struct busid busid;
	struct socket *socket;

	(void)context;
	(void)devid;
	PROPERTY(busid_parse(name, &busid) == 0 && fcntl(fd, F_GETFD) >= 0);
	PROPERTY(claim && !claim->is_used); /* the last one is settled */
	if (happens(20))
		return -EMFILE;
	socket = find_socket(&busid);
	*ret_session = calloc(1, sizeof(**ret_session));
	PROPERTY(*ret_session != NULL);
	(*ret_session)->claim = claim;
	(*ret_session)->stream = find_announced(&busid);
	claim->is_used = true;
	claim->fd++; /* how many sessions are on it */
	if (socket->claim == claim)
		socket->session = (*ret_session)->stream;
	else
		(*ret_session)->stream->is_dying = true; /* unplugged: its node says so at once */
	property_tell("    %s: a session of ours is up", name);
	return 0;
}

struct usbfs_session *usbfs_session_free(struct usbfs_session *session)
{
	if (session)
		session->claim->fd--;
	free(session);
	return NULL;
}

static void free_claim(struct usbfs_claim *claim)
{
	PROPERTY(claim->fd == 0);
	for (unsigned i = 0; i < N_SOCKETS; i++)
		if (world.sockets[i].claim == claim)
			world.sockets[i].claim = NULL;
	free(claim);
}

static void claim_socket(struct socket *socket, struct device_job *job)
{
	PROPERTY(!socket->claim && socket->driver == DRIVER_USB);
	job->hold.claim = socket->claim = calloc(1, sizeof(*socket->claim));
	PROPERTY(socket->claim != NULL);
	property_tell("    %s: claimed", socket->busid.text);
}

int usbip_host_forget(const struct usbip_host *host, const struct busid *busid, struct usbip_hold *hold)
{
	(void)host;
	(void)busid;
	usbip_hold_done(hold);
	return 0;
}

void usbip_hold_done(struct usbip_hold *hold)
{
	if (hold->claim)
		free_claim(hold->claim);
	world.n_holds -= hold->device_fd >= 0;
	*hold = USBIP_HOLD_NONE;
}

static void take_hold(struct usbip_hold *hold)
{
	hold->device_fd = 1 << 20;
	world.n_holds++;
}

/* ---- jobs: what the kernel does while everything else goes on ---- */

struct device_job *device_job_new(struct usbip_host *host, const struct busid *busid, uint32_t devnum, struct usbip_hold *hold)
{
	struct device_job *job = calloc(1, sizeof(*job));

	PROPERTY(job != NULL);
	job->host = host;
	job->busid = *busid;
	job->devnum = devnum;
	job->hold = *hold;
	*hold = USBIP_HOLD_NONE;
	return job;
}

void device_job_free(void *arg)
{
	struct device_job *job = arg;

	usbip_hold_done(&job->hold);
	free(job);
}

int device_job_glance(void *arg)
{
	static const int errors[] = { -EBADMSG, -EIO, -EAGAIN, -E2BIG };
	struct device_job *job = arg;
	const struct socket *socket = find_socket(&job->busid);

	if (!socket->is_plugged)
		return -ENODEV;
	if (happens(15))
		return errors[chance(ARRAY_SIZE(errors))];
	job->busnum = 1;
	job->devnum = socket->devnum;
	job->speed = 12;
	job->identity = (struct identity){ .vid = 0x0403, .pid = (uint16_t)(socket->is_serial ? 1 : 2) };
	job->descriptors.bcd_device = (uint16_t)socket->devnum;
	job->descriptors.vid = job->identity.vid;
	job->descriptors.pid = job->identity.pid;
	return 0;
}

int device_job_look(void *arg)
{
	struct device_job *job = arg;
	int r;

	(void)finish_probe(find_socket(&job->busid));
	r = device_job_glance(job);
	snprintf(job->identity.serial, sizeof(job->identity.serial), "%s", r == 0 ? "S" : "");
	return r;
}

static int bind_socket(struct socket *socket, struct device_job *job)
{
	static const enum failure_code codes[] = { FAILURE_TABLE_FULL, FAILURE_KERNEL, FAILURE_NO_PERMISSION, FAILURE_BUSY };

	if (!socket->is_plugged || socket->devnum != job->devnum)
		return failure_set(&job->failure, FAILURE_GONE, NULL, "unplugged meanwhile");
	if (socket->driver == DRIVER_USBIP && socket->status == USBIP_HOST_USED)
		return failure_set(&job->failure, FAILURE_BUSY, NULL, "another session is on it");
	PROPERTY(job->hold.device_fd < 0);
	PROPERTY(!socket->is_probing);                     /* the kernel would give it to a driver behind our back */
	PROPERTY(socket->judged_devnum == socket->devnum); /* what no rule ever shared is never given to usbip-host */
	if (happens(10)) {
		if (chance(2))
			give_to_usb(socket); /* it had been taken from its driver, and is back */
		return failure_set(&job->failure, codes[chance(ARRAY_SIZE(codes))], NULL, "it could not be bound");
	}
	take_hold(&job->hold);
	if (socket->driver == DRIVER_USB &&
	    (job->backend == RULE_BACKEND_USBFS || (job->backend == RULE_BACKEND_DEFAULT && chance(3) == 0))) {
		if (chance(4) == 0)
			give_to_usb(socket); /* usbip-host was tried first, and is full */
		claim_socket(socket, job);
		return 0;
	}
	socket->driver = DRIVER_USBIP;
	socket->status = USBIP_HOST_AVAILABLE;
	socket->has_entry = true;
	socket->entry_devnum = socket->devnum;
	property_tell("    %s: bound to usbip-host", socket->busid.text);
	return 0;
}

static int release_socket(struct socket *socket, struct device_job *job)
{
	PROPERTY(job->hold.device_fd >= 0);
	if (job->hold.claim) {
		usbip_hold_done(&job->hold);
		return 0;
	}
	if (socket->is_plugged && socket->driver == DRIVER_USBIP) {
		PROPERTY(socket->status != USBIP_HOST_USED); /* unbinding in a teardown: use after free up to 6.12 */
		if (happens(15))
			return failure_set(&job->failure, FAILURE_KERNEL, NULL, "it could not be released");
		give_to_usb(socket);
		property_tell("    %s: with its own driver again", socket->busid.text);
	}
	socket->has_entry = false;
	usbip_hold_done(&job->hold);
	return 0;
}

int device_job_bind(void *arg)
{
	struct device_job *job = arg;

	return bind_socket(find_socket(&job->busid), job);
}

int device_job_rebind(void *arg)
{
	struct device_job *job = arg;
	struct socket *socket = find_socket(&job->busid);
	int r = release_socket(socket, job);

	return r < 0 ? r : bind_socket(socket, job);
}

int device_job_release(void *arg)
{
	struct device_job *job = arg;

	return release_socket(find_socket(&job->busid), job);
}

int device_job_settle(void *arg)
{
	struct device_job *job = arg;
	const struct socket *socket = find_socket(&job->busid);

	PROPERTY(job->hold.claim && job->hold.claim->is_used && job->hold.claim->fd == 0);
	if (socket->claim != job->hold.claim)
		return failure_set(&job->failure, FAILURE_GONE, NULL, "unplugged meanwhile");
	if (happens(10))
		return failure_set(&job->failure, FAILURE_KERNEL, NULL, "it could not be reset");
	job->hold.claim->is_used = false;
	return 0;
}

int device_job_connect(void *arg)
{
	struct device_job *job = arg;

	PROPERTY(job->hold.device_fd < 0);
	return 0;
}

int device_job_adopt(void *arg)
{
	struct device_job *job = arg;
	struct socket *socket = find_socket(&job->busid);

	if (socket->driver != DRIVER_USBIP || socket->devnum != job->devnum)
		return failure_set(&job->failure, FAILURE_GONE, NULL, "no longer with usbip-host");
	take_hold(&job->hold);
	return 0;
}

int device_job_forget(void *arg)
{
	struct device_job *job = arg;
	struct socket *socket = find_socket(&job->busid);

	PROPERTY(job->hold.device_fd >= 0);
	if (job->hold.claim) {
		usbip_hold_done(&job->hold);
		return 0;
	}
	PROPERTY(socket->driver != DRIVER_USBIP); /* what is forgotten is gone, and what came since is left alone */
	socket->has_entry = false;
	usbip_hold_done(&job->hold);
	return 0;
}

int device_job_reset_and_bind(void *arg)
{
	return device_job_bind(arg);
}

int device_job_reset(void *arg)
{
	struct device_job *job = arg;
	struct socket *socket = find_socket(&job->busid);

	if (!socket->is_plugged || socket->devnum != job->devnum)
		return failure_set(&job->failure, FAILURE_GONE, NULL, "unplugged meanwhile");
	PROPERTY(socket->driver != DRIVER_USBIP || socket->status != USBIP_HOST_USED); /* its session is over before */
	PROPERTY(!job->hold.claim || job->hold.claim->fd == 0);
	if (job->hold.claim && !happens(4)) {
		job->hold.claim->is_used = false;
		return 0;
	}
	(void)finish_probe(socket);
	return happens(4) ? failure_set(&job->failure, FAILURE_KERNEL, NULL, "it does not answer") : 0;
}

/* The hub takes its power, and it comes back as another one; or the hub can't. */
int device_job_cycle_power(void *arg)
{
	struct device_job *job = arg;
	struct socket *socket = find_socket(&job->busid);
	int r;

	if (!socket->is_plugged || socket->devnum != job->devnum)
		return failure_set(&job->failure, FAILURE_GONE, NULL, "unplugged meanwhile");
	PROPERTY(socket->driver != DRIVER_USBIP || socket->status != USBIP_HOST_USED);
	if (chance(2)) {
		unplug(socket);
		plug(socket);
		return 0;
	}
	if (job->hold.device_fd < 0)
		return device_job_reset(job); /* its hub can't */
	r = release_socket(socket, job);
	return r < 0 ? r : bind_socket(socket, job);
}

/* ---- the owner's rules ---- */

void policy_decide(struct policy *policy, const struct policy_device *device, struct policy_decision *ret_decision)
{
	(void)policy;
	*ret_decision = (struct policy_decision){ .is_shared = is_shared_kind(device->descriptors->pid == 1) };
	ret_decision->backend = world.backend;
	ret_decision->is_reset = ret_decision->is_shared && device->descriptors->bcd_device % 2;
	ret_decision->recover = (enum rule_recover)(device->descriptors->bcd_device % 3);
	snprintf(ret_decision->reason, sizeof(ret_decision->reason), "%s", ret_decision->is_shared ? "a rule" : "no rule");
	snprintf(ret_decision->name, sizeof(ret_decision->name), "%s", world.has_names ? "name" : "");
	if (ret_decision->is_shared)
		find_socket(device->busid)->judged_devnum = device->descriptors->bcd_device;
}

/* Now and then it is wrong. */
bool policy_foresees_sharing(struct policy *policy, const struct policy_device *device)
{
	(void)policy;
	PROPERTY(!device->identity->serial[0]);
	return is_shared_kind(device->descriptors->pid == 1) != happens(10);
}

void policy_note_place(struct policy *policy, const struct busid *busid, const char *name)
{
	(void)policy;
	(void)busid;
	(void)name;
}

/* ---- streams ---- */

int stream_new(sd_event *event, struct transport *transport, const struct stream_handlers *handlers, void *userdata,
	       struct stream **ret_stream)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	(void)event;
	PROPERTY(transport && stream && world.n_streams < MAX_STREAMS);
	stream->handlers = *handlers;
	stream->userdata = userdata;
	world.streams[world.n_streams++] = stream;
	*ret_stream = stream;
	return 0;
}

struct stream *stream_free(struct stream *stream)
{
	if (!stream)
		return NULL;
	for (unsigned i = 0; i < N_SOCKETS; i++)
		if (world.sockets[i].session == stream)
			world.sockets[i].session = NULL; /* the kernel sees the end of its socket */
	for (size_t i = 0; i < world.n_streams; i++)
		if (world.streams[i] == stream) {
			world.streams[i] = world.streams[--world.n_streams];
			free(stream);
			return NULL;
		}
	PROPERTY(!"a stream is freed twice");
	return NULL;
}

void stream_announce(struct stream *stream, const char *offer_id)
{
	PROPERTY(!stream->offer_id[0]);
	snprintf(stream->offer_id, sizeof(stream->offer_id), "%s", offer_id);
}

struct stream *spare_take(struct spare *spare, const struct stream_handlers *handlers, void *userdata)
{
	struct stream *stream = NULL;

	(void)spare;
	if (link_get_transport(NULL) && chance(2))
		(void)stream_new(NULL, link_get_transport(NULL), handlers, userdata, &stream);
	return stream;
}

void spare_refill(struct spare *spare)
{
	(void)spare;
}

void spare_give(struct spare *spare, struct stream *stream)
{
	(void)spare;
	PROPERTY(!stream || !stream->offer_id[0]);
	stream_free(stream);
}

/* Its end is told, once, from the loop. */
static void tell_end(struct stream *stream, enum failure_code code)
{
	struct failure failure;

	failure_set(&failure, code, NULL, "the stream ended");
	for (unsigned i = 0; i < N_SOCKETS; i++)
		if (world.sockets[i].session == stream)
			world.sockets[i].session = NULL;
	stream->handlers.on_ended(&failure, stream->userdata);
}

static bool end_dying_stream(void)
{
	for (size_t i = 0; i < world.n_streams; i++)
		if (world.streams[i]->is_dying) {
			tell_end(world.streams[i], FAILURE_GONE);
			return true;
		}
	return false;
}

/* ---- the VM ---- */

static void vm_send(enum message_type type, const char *id, enum failure_code code, const char *reason)
{
	struct message *message = &world.messages[world.n_messages];

	if (world.link != LINK_UP)
		return;
	PROPERTY(world.n_messages < MAX_MESSAGES);
	*message = (struct message){ .type = type };
	snprintf(message->id, sizeof(message->id), "%s", id);
	snprintf(message->reason, sizeof(message->reason), "%s", reason);
	if (code != FAILURE_NONE)
		failure_set(&message->failure, code, NULL, "%s", reason);
	world.n_messages++;
}

static struct vm_offer *vm_find(const char *id)
{
	for (size_t i = 0; i < world.n_offers; i++)
		if (strcmp(world.offers[i].id, id) == 0)
			return &world.offers[i];
	return NULL;
}

/* Makes room by what is over. */
static void vm_forget_dead(void)
{
	size_t n = 0;

	for (size_t i = 0; i < world.n_offers; i++)
		if (world.offers[i].is_live)
			world.offers[n++] = world.offers[i];
	world.n_offers = n;
}

static void vm_on_connect(const struct offer *offer)
{
	struct vm_offer *known = vm_find(offer->id);

	/* Told again it has another name, or the strings that it had not, and nothing else; one that the VM has just ended begins anew, as its handler does. */
	if (known) {
		PROPERTY((known->is_partial || world.n_names > 0) && !offer->is_partial && busid_equal(&known->busid, &offer->busid));
		PROPERTY(known->devid == offer->devid);
		known->is_partial = false;
		if (!known->is_live)
			*known = (struct vm_offer){ .busid = offer->busid, .is_live = true, .devid = offer->devid };
		snprintf(known->id, sizeof(known->id), "%s", offer->id);
		return;
	}
	if (world.n_offers == MAX_OFFERS)
		vm_forget_dead();
	for (size_t i = 0; i < world.n_offers; i++) {
		/* Of one device there is one offer: the VM would refuse the second. */
		PROPERTY(!world.offers[i].is_live || !busid_equal(&world.offers[i].busid, &offer->busid));
	}
	PROPERTY(world.n_offers < MAX_OFFERS);
	PROPERTY(offer->is_partial ? !world.is_vm_old && !offer->identity.serial[0] : offer->identity.serial[0]);
	world.offers[world.n_offers] =
		(struct vm_offer){ .busid = offer->busid, .is_live = true, .is_partial = offer->is_partial, .devid = offer->devid };
	snprintf(world.offers[world.n_offers++].id, MESSAGE_ID_SIZE, "%s", offer->id);
}

static bool entries_have(const struct message *sync, const char *id)
{
	for (size_t i = 0; i < sync->n_entries; i++)
		if (strcmp(sync->entries[i].id, id) == 0)
			return true;
	return false;
}

/* It drops what is not in it and maybe more, and says what it keeps. */
static void vm_on_sync(const struct message *sync)
{
	struct message *answer = &world.messages[world.n_messages];

	PROPERTY(world.n_messages < MAX_MESSAGES);
	*answer = (struct message){ .type = MESSAGE_SYNCED, .seq = sync->seq };
	answer->entries = calloc(MAX_OFFERS, sizeof(*answer->entries));
	PROPERTY(answer->entries != NULL);
	for (size_t i = 0; i < world.n_offers; i++) {
		struct vm_offer *offer = &world.offers[i];

		if (offer->is_live && (!entries_have(sync, offer->id) || happens(6)))
			offer->is_live = false;
		if (offer->is_live)
			memcpy(answer->entries[answer->n_entries++].id, offer->id, sizeof(offer->id));
	}
	world.n_messages++;
}

void link_send(struct link *link, const struct message *message)
{
	struct vm_offer *offer;

	(void)link;
	if (world.link != LINK_UP && world.link != LINK_SYNCING)
		return;
	switch ((int)message->type) {
	case MESSAGE_SYNC:
		vm_on_sync(message);
		break;
	case MESSAGE_CONNECT:
		property_tell("    the VM is offered %s as %s", message->offer.busid.text, message->offer.id);
		vm_on_connect(&message->offer);
		break;
	case MESSAGE_DISCONNECT:
		property_tell("    the VM hears that %s is withdrawn: %s", message->id, message->reason);
		offer = vm_find(message->id);
		if (offer && offer->is_live)
			vm_send(MESSAGE_DETACHED, message->id, FAILURE_NONE, message->reason);
		if (offer)
			offer->is_live = false;
		break;
	default:
		PROPERTY(!"a device sends what it should not");
	}
}

/* ---- the direct road: no device of this model takes it ---- */

int direct_road_check(const struct direct_road *road, struct failure *ret_failure)
{
	(void)road;
	return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "there is no direct road here");
}

uint16_t direct_road_get_port(const struct direct_road *road)
{
	(void)road;
	return 0;
}

uint32_t direct_road_get_patience(const struct direct_road *road)
{
	(void)road;
	return 8000;
}

int direct_session_new(sd_event *event, int fd, const char *peer, uint32_t patience_ms, direct_session_fn on_ended, void *userdata,
		       struct direct_session **ret_session)
{
	(void)event;
	(void)fd;
	(void)peer;
	(void)patience_ms;
	(void)on_ended;
	(void)userdata;
	(void)ret_session;
	return -ENOTSUP;
}

struct direct_session *direct_session_free(struct direct_session *session)
{
	return session;
}

const char *direct_session_get_peer(const struct direct_session *session)
{
	(void)session;
	return "";
}

/* Nobody here asks where a machine is: who may have what is the road's. */
int direct_session_get_address(const struct direct_session *session, struct sockaddr_storage *ret_address)
{
	(void)session;
	(void)ret_address;
	return -ENOTCONN;
}

const char *link_get_host(const struct link *link)
{
	(void)link;
	return "vm";
}

enum link_state link_get_state(const struct link *link)
{
	(void)link;
	return world.link;
}

bool link_can_partial(const struct link *link)
{
	(void)link;
	return !world.is_vm_old;
}

struct transport *link_get_transport(struct link *link)
{
	(void)link;
	return world.link == LINK_UP || world.link == LINK_SYNCING ? (struct transport *)&world : NULL;
}

static struct stream *stream_of(const struct vm_offer *offer)
{
	for (size_t i = 0; i < world.n_streams; i++)
		if (strcmp(world.streams[i]->offer_id, offer->id) == 0)
			return world.streams[i];
	return NULL;
}

/* "OK" to a stream whose offer it knows. */
static bool vm_accept(struct vm_offer *offer)
{
	struct stream *stream = stream_of(offer);
	struct failure failure;
	int r;

	if (!offer->is_live || offer->is_accepted || !stream || stream->is_dying || world.link != LINK_UP)
		return false;
	property_tell("    the VM takes the stream of %s", offer->id);
	offer->is_accepted = stream->is_ready = true;
	r = stream->handlers.on_ready(world.null_fd, &failure, stream->userdata);
	if (r < 0)
		stream->is_dying = true;
	return true;
}

static bool vm_finish(struct vm_offer *offer)
{
	if (!offer->is_live || offer->is_partial || !offer->is_accepted || offer->is_attached || world.link != LINK_UP)
		return false;
	if (!stream_of(offer) || find_socket(&offer->busid)->session != stream_of(offer))
		return false; /* its kernel has nothing to enumerate */
	offer->is_attached = true;
	vm_send(MESSAGE_ATTACHED, offer->id, FAILURE_NONE, "");
	return true;
}

static void vm_end(struct vm_offer *offer)
{
	static const enum failure_code codes[] = { FAILURE_NO_FREE_PORT, FAILURE_ENUMERATION, FAILURE_NOT_ACCEPTED, FAILURE_TIMEOUT };
	struct stream *stream = stream_of(offer);

	if (!offer->is_live || world.link != LINK_UP)
		return;
	property_tell("    the VM ends %s", offer->id);
	offer->is_live = false;
	if (offer->is_attached)
		vm_send(MESSAGE_DETACHED, offer->id, FAILURE_NONE, chance(4) ? "its stream ended" : DETACHED_BY_HAND);
	else
		vm_send(MESSAGE_FAILED, offer->id, codes[chance(ARRAY_SIZE(codes))], "the VM could not");
	if (stream && offer->is_accepted)
		stream->is_dying = true;
}

static void forget_messages(void)
{
	for (size_t i = 0; i < world.n_messages; i++)
		free(world.messages[i].entries);
	world.n_messages = 0;
}

static bool deliver_message(void)
{
	_cleanup_free_ struct attached *attached = NULL;
	_cleanup_free_ struct sync_entry *entries = NULL;
	struct message message;

	if (world.n_messages == 0)
		return false;
	message = world.messages[0];
	entries = message.entries;
	memmove(world.messages, world.messages + 1, --world.n_messages * sizeof(message));
	if (message.type == MESSAGE_ATTACHED) {
		attached = calloc(1, sizeof(*attached));
		PROPERTY(attached != NULL);
		message.attached = attached;
	}
	property_tell("    the Pi hears of %s: message %u, %s", message.id, message.type, message.reason);
	if (message.type == MESSAGE_SYNCED)
		world.link = LINK_UP;
	offers_handle_message(world.offers_made, &message);
	return true;
}

/* ---- the link ---- */

static void link_up(void)
{
	if (world.link != LINK_DOWN)
		return;
	property_tell("    the link comes up");
	world.is_vm_old = happens(4);
	world.link = LINK_SYNCING;
	offers_prepare(world.offers_made);
	offers_sync(world.offers_made);
}

static void link_down(void)
{
	if (world.link == LINK_DOWN)
		return;
	property_tell("    the link is gone");
	world.link = LINK_DOWN;
	forget_messages();
	offers_lose_link(world.offers_made);
	for (size_t i = 0; i < world.n_offers; i++)
		world.offers[i].is_accepted = false;
	PROPERTY(world.n_streams == 0);
}

/* ---- uevents ---- */

static void handle_event(const struct kernel_event *event)
{
	const char *busid = world.sockets[event->socket].busid.text;
	const struct uevent uevent = {
		.action = event->action,
		.subsystem = "usb",
		.devtype = "usb_device",
		.syspath = "/sys/devices/x",
		.sysname = busid,
		.driver = event->driver,
		.devnum = event->devnum,
	};

	property_tell("    the Pi hears of %s: uevent %u %s of number %u", busid, event->action, event->driver, event->devnum);
	inventory_handle_uevent(world.inventory, &uevent);
}

static bool deliver_event(void)
{
	struct kernel_event event;

	if (world.n_events == 0)
		return false;
	event = world.events[0];
	memmove(world.events, world.events + 1, --world.n_events * sizeof(event));
	handle_event(&event);
	return true;
}

/* Events were lost: all is looked at anew. */
static void overrun(void)
{
	property_tell("    uevents are lost");
	world.n_events = 0;
	inventory_look(world.inventory);
}

/* ---- what must hold at any time ---- */

static void check_device(struct device *device)
{
	enum device_state state = device_get_state(device);
	bool has_offer = device_has_offer(device);

	if (state == DEVICE_ATTACHED || state == DEVICE_OFFERED)
		PROPERTY(has_offer && world.link == LINK_UP);
	if (state == DEVICE_SEEN)
		PROPERTY(!has_offer || (world.link == LINK_UP && !world.is_vm_old));
	if (state == DEVICE_IGNORED || state == DEVICE_GONE || state == DEVICE_FAILED || state == DEVICE_READY)
		PROPERTY(!has_offer);
}

static void check_world(void)
{
	DEVICE_LIST_FOREACH(world.devices, device)
		check_device(device);
	for (size_t i = 0; i < world.n_streams; i++)
		for (size_t j = 0; j < i; j++)
			PROPERTY(world.streams[i]->userdata != world.streams[j]->userdata); /* a device has one */
	PROPERTY(world.n_holds >= 0 && world.n_holds <= 3 * N_SOCKETS);
}

/* From where a device may go where; what is passed through within one turn is not told. */
static bool is_allowed(enum device_state from, enum device_state to)
{
	static const char *const allowed[] = {
		[DEVICE_SEEN] = "SIBROFG",    [DEVICE_IGNORED] = "SIBROFG",  [DEVICE_BINDING] = "SIBROFG", [DEVICE_READY] = "SBROFG",
		[DEVICE_OFFERED] = "SBROAFG", [DEVICE_ATTACHED] = "SBROAFG", [DEVICE_FAILED] = "SIBROFG",  [DEVICE_GONE] = "",
	};

	return strchr(allowed[from], device_state_to_string(to)[0]) != NULL;
}

static struct {
	const struct device *device;
	enum device_state state;
} known[64];

static void on_change(struct device *device, void *userdata)
{
	enum device_state state = device_get_state(device);

	(void)userdata;
	inventory_note(world.inventory);
	property_tell("    %s is %s", device_busid(device)->text, device_state_to_string(state));
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (known[i].device && known[i].device != device)
			continue;
		PROPERTY(!known[i].device || is_allowed(known[i].state, state));
		known[i].device = device;
		known[i].state = state;
		return;
	}
}

static void on_finished(struct device *device, void *userdata)
{
	(void)userdata;
	PROPERTY(device_get_state(device) == DEVICE_GONE);
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].device == device)
			known[i].device = NULL;
	device_list_finish(world.devices, device);
}

static void make_offer_id(char *buffer, size_t size, void *userdata)
{
	(void)userdata;
	offers_make_id(world.offers_made, buffer, size);
}

static void on_plug(void *userdata)
{
	(void)userdata;
}

/* ---- steps ---- */

static void use_hands(struct socket *socket)
{
	struct device *device = device_list_find(world.devices, &socket->busid);

	if (!device)
		return;
	property_tell("    a person takes %s in hand", socket->busid.text);
	if (chance(4) == 0) {
		struct failure failure;

		(void)device_list_recover(world.devices, device, chance(2), &failure);
	} else if (chance(2)) {
		device_share(device);
	} else {
		device_detach(device, "by hand");
	}
}

static void change_rules(void)
{
	switch (chance(4)) {
	case 3:
		world.backend = (enum rule_backend)chance(3);
		break;
	case 0:
		world.is_serial_kept = !world.is_serial_kept;
		break;
	case 1:
		world.is_other_shared = !world.is_other_shared;
		break;
	default:
		world.has_names = !world.has_names;
		world.n_names++;
		break;
	}
	property_tell("    the rules change: serial %d, others %d, names %d", !world.is_serial_kept, world.is_other_shared,
		      world.has_names);
	DEVICE_LIST_FOREACH(world.devices, device)
		device_reconsider(device);
}

static struct vm_offer *any_offer(void)
{
	return world.n_offers ? &world.offers[world.n_offers - 1 - chance((uint32_t)(world.n_offers < 4 ? world.n_offers : 4))] : NULL;
}

static void step_vm(void)
{
	struct vm_offer *offer = any_offer();

	if (!offer)
		return;
	if (!vm_accept(offer) && !(chance(3) && vm_finish(offer)) && chance(3) == 0)
		vm_end(offer);
}

static void step(uint32_t choice)
{
	struct socket *socket = &world.sockets[(choice >> 8) % N_SOCKETS];

	world.chance = choice;
	switch (choice % 20) {
	case 0:
	case 1:
		if (socket->is_plugged)
			unplug(socket);
		else
			plug(socket);
		break;
	case 2:
		if (!finish_probe(socket))
			deliver_event();
		break;
	case 3:
	case 4:
		deliver_event();
		break;
	case 5:
	case 6:
	case 7:
	case 8:
		virtual_jobs_step(chance(1000));
		break;
	case 9:
		virtual_time_pass(20000);
		break;
	case 10:
		virtual_time_pass(40 * SECOND);
		break;
	case 11:
	case 12:
	case 13:
		step_vm();
		break;
	case 14:
	case 15:
		deliver_message();
		break;
	case 16:
		if (!finish_teardown(socket) && !end_dying_stream() && world.n_streams && chance(3) == 0)
			tell_end(world.streams[chance((uint32_t)world.n_streams)],
				 FAILURE_STREAM); /* its channel broke, or sshd allows no more */
		break;
	case 17:
		if (world.link == LINK_UP && chance(3) == 0)
			link_down();
		else
			link_up();
		break;
	case 18:
		use_hands(socket);
		break;
	case 19:
		if (chance(8) == 0)
			overrun();
		else if (chance(4) == 0)
			change_rules();
		else if (chance(4) == 0 && world.link == LINK_UP)
			offers_sync(world.offers_made);
		else if (socket->is_plugged)
			tell((unsigned)(socket - world.sockets), !socket->is_probing && chance(2) ? UEVENT_BIND : UEVENT_ADD,
			     "usb"); /* told twice */
		break;
	}
}

/* Everything that is under way comes to its end. */
static void calm_down(void)
{
	bool is_busy = true;

	for (unsigned i = 0; i < 20000 && is_busy; i++) {
		is_busy = deliver_event() || virtual_jobs_step(0) || end_dying_stream() || deliver_message();
		for (unsigned j = 0; j < N_SOCKETS; j++)
			is_busy = finish_probe(&world.sockets[j]) || finish_teardown(&world.sockets[j]) || is_busy;
		for (size_t j = 0; j < world.n_offers; j++)
			is_busy = vm_accept(&world.offers[j]) || vm_finish(&world.offers[j]) || is_busy;
		if (!is_busy)
			is_busy = virtual_time_pass(200 * SECOND);
		check_world();
	}
	PROPERTY(!is_busy);
}

/* ---- a run ---- */

static void world_setup(void)
{
	static const char *const names[N_SOCKETS] = { "1-1", "1-1.2", "1-2" };

	virtual_time_reset();
	memset(&world, 0, sizeof(world));
	memset(known, 0, sizeof(known));
	world.null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	world.link = LINK_DOWN;
	for (unsigned i = 0; i < N_SOCKETS; i++)
		PROPERTY(busid_parse(names[i], &world.sockets[i].busid) == 0);
	PROPERTY(flap_list_new(&world.flaps) == 0);
	world.context = (struct device_context){
		.flaps = world.flaps, .on_change = on_change, .on_finished = on_finished, .make_offer_id = make_offer_id
	};
	PROPERTY(device_list_new(&world.context, &world.devices) == 0);
	PROPERTY(offers_new(NULL, world.devices, &world.offers_made) == 0);
	PROPERTY(inventory_new(NULL, NULL, world.devices, NULL, "run", on_plug, NULL, &world.inventory) == 0);
	PROPERTY(inventory_start(world.inventory) == 0);
}

/* Now that nobody disturbs: each device is where it belongs. */
static void check_end(void)
{
	unsigned n_attached = 0, n_plugged = 0, n_devices = 0;

	for (unsigned i = 0; i < N_SOCKETS; i++) {
		const struct socket *socket = &world.sockets[i];
		struct device *device = device_list_find(world.devices, &socket->busid);

		PROPERTY(socket->is_plugged == (device != NULL));
		if (!device) {
			PROPERTY(!socket->has_entry);
			continue;
		}
		n_plugged++;
		if (!is_shared_kind(socket->is_serial)) {
			PROPERTY(device_get_state(device) == DEVICE_IGNORED);
			PROPERTY(socket->driver == DRIVER_USB && !socket->has_entry && !socket->claim);
			continue;
		}
		n_attached++;
		PROPERTY(device_get_state(device) == DEVICE_ATTACHED);
		PROPERTY(socket->session);
		PROPERTY((world.backend != RULE_BACKEND_USBFS || socket->claim) &&
			 (world.backend != RULE_BACKEND_USBIP_HOST || !socket->claim));
		if (socket->claim) {
			PROPERTY(socket->driver == DRIVER_USB && !socket->has_entry && socket->claim->is_used && socket->claim->fd == 1);
			continue;
		}
		PROPERTY(socket->driver == DRIVER_USBIP && socket->has_entry && socket->entry_devnum == socket->devnum);
		PROPERTY(socket->status == USBIP_HOST_USED);
	}
	DEVICE_LIST_FOREACH(world.devices, device)
		n_devices++;
	PROPERTY(!world.kept[0]); /* all were wanted again */
	vm_forget_dead();
	PROPERTY(n_devices == n_plugged && world.n_offers == n_attached && world.n_streams == n_attached);
	PROPERTY(world.n_holds == (int)n_attached && virtual_jobs_count() == 0);
}

static void world_end(void)
{
	int fd;

	world.link = LINK_DOWN;
	forget_messages();
	inventory_free(world.inventory);
	offers_free(world.offers_made);
	world.devices = device_list_free(world.devices);
	flap_list_free(world.flaps);
	while (virtual_jobs_step(0))
		;
	PROPERTY(world.n_streams == 0 && world.n_holds == 0 && virtual_time_count() == 0);
	fd = fcntl(world.null_fd, F_DUPFD_CLOEXEC, 0);
	PROPERTY(fd == world.null_fd + 1 || fd < world.null_fd); /* no other is open */
	close(fd);
	close(world.null_fd);
}

static void run(const uint32_t *choices, size_t n)
{
	world_setup();
	for (size_t i = 0; i < n; i++) {
		property_tell("%zu:", i);
		step(choices[i]);
		check_world();
	}
	property_tell("now nobody disturbs any more");
	world.is_calm = true;
	link_up();
	calm_down();
	DEVICE_LIST_FOREACH(world.devices, device)
		device_share(device);
	calm_down();
	check_end();
	world_end();
}

int main(int argc, char **argv)
{
	return property_main(argc, argv, "devices of a Pi", run);
}
