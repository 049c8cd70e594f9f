/* The attachments of a VM (vm/attachment.c, node_list.c) among a kernel, a Pi and strangers that do whatever they may, in any order. What must hold above all: no driver
 * sees a device that is not what was offered, or that this VM does not take; no port is touched that is not ours. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "acceptance.h"
#include "attachment.h"
#include "candidate.h"
#include "cleanup.h"
#include "daemon.h"
#include "name_book.h"
#include "property.h"
#include "vhci.h"
#include "virtual_jobs.h"
#include "virtual_time.h"

#define N_PORTS         3
#define MAX_ATTACHMENTS 8
#define MAX_EVENTS      512
#define SECOND          UINT64_C(1000000)
#define CLASS_SERIAL    0x02
#define CLASS_KEYBOARD  0x03

/* ---- the world ---- */

struct port {
	enum vhci_port_state state;
	bool is_strangers; /* who is no Pi of ours */
	bool is_dying;     /* its stream ended, or it was detached: the kernel is at it */
	uint64_t plug;     /* counts its devices */
	uint16_t vid;
	uint8_t class;
	bool is_authorized;
};

struct kernel_event {
	unsigned port;
	enum uevent_action action;
	bool is_node;
};

static struct world {
	struct attachment_services services;
	struct port ports[N_PORTS];
	struct attachment *attachments[MAX_ATTACHMENTS];
	size_t n_attachments;
	struct kernel_event events[MAX_EVENTS];
	size_t n_events;
	uint64_t n_offers, n_plugs;
	unsigned opened_port; /* by the last vhci_open_device() */
	unsigned next_port;
	bool is_shut; /* this VM's rules take nothing now */
	bool is_calm;
	uint32_t chance;
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

static void tell(unsigned port, enum uevent_action action, bool is_node)
{
	PROPERTY(world.n_events < MAX_EVENTS);
	world.events[world.n_events++] = (struct kernel_event){ port, action, is_node };
}

/* Who holds the port, as the handler's roster finds it. */
static struct attachment *find_holder(unsigned port)
{
	for (size_t i = 0; i < world.n_attachments; i++) {
		const struct attachment_info *info = attachment_get_info(world.attachments[i]);

		if (info->has_port && info->port == port)
			return world.attachments[i];
	}
	return NULL;
}

/* ---- the kernel ---- */

/* The device goes, its port is free. */
static bool finish_port(unsigned i)
{
	struct port *port = &world.ports[i];

	if (!port->is_dying)
		return false;
	property_tell("    port %u is free", i);
	if (port->state == VHCI_PORT_USED)
		tell(i, UEVENT_REMOVE, false);
	*port = (struct port){ .state = VHCI_PORT_FREE, .plug = port->plug };
	return true;
}

/* What the Pi's device says of itself: mostly what was offered, and sometimes not, or more than a serial device. */
static bool enumerate(unsigned i)
{
	struct port *port = &world.ports[i];
	struct attachment *holder = find_holder(i);

	if (port->state != VHCI_PORT_ASSIGNED || port->is_dying || port->is_strangers)
		return false;
	port->state = VHCI_PORT_USED;
	port->plug = ++world.n_plugs;
	port->vid = holder ? attachment_get_info(holder)->offer.identity.vid : 1;
	port->vid = (uint16_t)(port->vid + happens(5));
	port->class = happens(5) ? CLASS_KEYBOARD : CLASS_SERIAL;
	property_tell("    port %u: enumerated, vid %u, class %u", i, port->vid, port->class);
	tell(i, UEVENT_ADD, false);
	tell(i, UEVENT_BIND, false);
	return true;
}

/* Drivers of an authorized device make nodes. */
static void make_node(unsigned i)
{
	if (world.ports[i].is_authorized)
		tell(i, chance(4) ? UEVENT_ADD : UEVENT_REMOVE, true);
}

int vhci_find_free_port(struct vhci *vhci, uint32_t speed, vhci_is_reserved_fn is_reserved, void *userdata, uint32_t *ret_port,
			struct failure *ret_failure)
{
	(void)vhci;
	(void)speed;
	for (unsigned n = 0; n < N_PORTS && !happens(30); n++) {
		unsigned port = world.next_port++ % N_PORTS;

		if (world.ports[port].state != VHCI_PORT_FREE || is_reserved(port, userdata))
			continue;
		*ret_port = port;
		return 0;
	}
	return failure_set(ret_failure, FAILURE_NO_FREE_PORT, "Detach a device", "no free port");
}

/* What a job writes, and for whom: `attach` has the stream, a duplicate of its own. */
struct vhci_write {
	uint32_t port;
	int fd; /* owned; negative for `detach` */
	const struct attachment *holder;
};

static struct vhci_write *vhci_write_new(uint32_t port, int fd)
{
	struct vhci_write *write = calloc(1, sizeof(*write));

	PROPERTY(write && port < N_PORTS && find_holder(port));
	*write = (struct vhci_write){ .port = port, .fd = fd, .holder = find_holder(port) };
	return write;
}

struct vhci_write *vhci_write_new_attach(const struct vhci *vhci, uint32_t port, int fd, uint32_t devid, uint32_t speed)
{
	(void)vhci;
	(void)devid;
	(void)speed;
	PROPERTY(fcntl(fd, F_GETFD) >= 0 && !(fcntl(fd, F_GETFL) & O_NONBLOCK));
	return happens(20) ? NULL : vhci_write_new(port, fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

struct vhci_write *vhci_write_new_detach(const struct vhci *vhci, uint32_t port)
{
	(void)vhci;
	return happens(20) ? NULL : vhci_write_new(port, -EBADF);
}

void vhci_write_free(void *arg)
{
	struct vhci_write *write = arg;

	if (!write)
		return;
	close_fd(write->fd);
	free(write);
}

static int kernel_attach(unsigned i)
{
	struct port *port = &world.ports[i];

	if (happens(6) && port->state == VHCI_PORT_FREE) {
		property_tell("    a stranger takes port %u", i);
		port->state = VHCI_PORT_ASSIGNED;
		port->is_strangers = true;
	}
	if (port->state != VHCI_PORT_FREE)
		return -EBUSY;
	if (happens(15))
		return -EIO;
	port->state = VHCI_PORT_ASSIGNED;
	return 0;
}

static int kernel_detach(unsigned i)
{
	if (happens(15))
		return -EIO;
	if (world.ports[i].state != VHCI_PORT_FREE)
		world.ports[i].is_dying = true;
	return 0;
}

/* However late it comes: the port is still the one's who asked for it, and a device of ours is never detached in another's place. */
int vhci_write_run(void *arg)
{
	const struct vhci_write *write = arg;

	PROPERTY(find_holder(write->port) == write->holder);
	if (write->fd >= 0)
		return kernel_attach(write->port);
	PROPERTY(!world.ports[write->port].is_strangers);
	return kernel_detach(write->port);
}

int vhci_write_explain(const struct vhci_write *write, int err, struct failure *ret_failure)
{
	(void)write;
	return failure_set(ret_failure, FAILURE_KERNEL, NULL, "the kernel refused: %s", strerror(-err));
}

int vhci_read_port(struct vhci *vhci, uint32_t port, struct vhci_port *ret_port)
{
	(void)vhci;
	PROPERTY(port < N_PORTS);
	*ret_port = (struct vhci_port){ .number = port, .state = world.ports[port].state };
	return 0;
}

/* A directory with what attachment_check() looks for: the generic driver has bound. */
static char bound_device[] = "/tmp/property-device.XXXXXX";

static void make_bound_device(void)
{
	_cleanup_close_ int fd = -EBADF;

	PROPERTY(mkdtemp(bound_device) != NULL);
	fd = open(bound_device, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	PROPERTY(fd >= 0 && mkdirat(fd, "driver", 0700) == 0);
}

static void remove_bound_device(void)
{
	_cleanup_close_ int fd = open(bound_device, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)unlinkat(fd, "driver", AT_REMOVEDIR);
	(void)rmdir(bound_device);
}

int vhci_open_device(const struct vhci *vhci, uint32_t port, struct busid *ret_busid)
{
	(void)vhci;
	if (world.ports[port].state != VHCI_PORT_USED)
		return -ENOENT;
	if (ret_busid)
		snprintf(ret_busid->text, sizeof(ret_busid->text), "2-%u", port + 1);
	world.opened_port = port;
	return open(bound_device, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void vhci_nudge_node(const struct vhci *vhci, const char *devnode)
{
	(void)vhci;
	PROPERTY(strncmp(devnode, "/dev/", 5) == 0);
}

/* ---- jobs on the device's directory ---- */

struct seen {
	struct candidate candidate; /* first */
	unsigned port;
	uint64_t plug;
};

struct candidate *candidate_new(int fd)
{
	struct seen *seen = calloc(1, sizeof(*seen));

	PROPERTY(seen != NULL);
	seen->candidate.fd = fd;
	seen->port = world.opened_port;
	seen->plug = world.ports[world.opened_port].plug;
	return &seen->candidate;
}

void candidate_free(void *arg)
{
	struct seen *seen = arg;

	close(seen->candidate.fd);
	free(seen);
}

/* The directory is that device's, and of no later one there. */
static struct port *seen_port(const struct seen *seen)
{
	struct port *port = &world.ports[seen->port];

	return port->state == VHCI_PORT_USED && port->plug == seen->plug ? port : NULL;
}

int candidate_read(void *arg)
{
	struct seen *seen = arg;
	const struct port *port = seen_port(seen);

	if (!port)
		return -ENODEV;
	if (happens(20))
		return -EBADMSG;
	seen->candidate.identity = (struct identity){ .vid = port->vid };
	seen->candidate.descriptors.class = port->class;
	return 0;
}

int candidate_authorize(void *arg)
{
	struct seen *seen = arg;
	struct port *port = seen_port(seen);
	struct attachment *holder = find_holder(seen->port);

	if (!port)
		return -ENODEV;
	if (happens(20))
		return -EPERM;
	/* This is what it is all about. A holder that let go meanwhile (the job was abandoned) does not matter: the device is being detached. */
	PROPERTY(port->class == CLASS_SERIAL && !port->is_strangers);
	PROPERTY(!holder || port->is_dying || attachment_get_info(holder)->offer.identity.vid == port->vid);
	PROPERTY(!holder || !attachment_get_info(holder)->offer.is_partial);
	port->is_authorized = true;
	property_tell("    port %u: authorized", seen->port);
	if (world.is_calm || chance(3))
		tell(seen->port, UEVENT_ADD, true);
	return 0;
}

unsigned acceptance_find_main(struct acceptance *acceptance, const struct descriptors *descriptors)
{
	(void)acceptance;
	(void)descriptors;
	return 0;
}

/* Names are files of udev's: here nobody has one. */
bool name_book_enter(struct name_book *book, const struct name_claim *claim)
{
	(void)book;
	PROPERTY(claim->busid->text[0]);
	return false;
}

void name_book_leave(struct name_book *book, const struct busid *busid)
{
	(void)book;
	(void)busid;
}

const char *name_book_get(const struct name_book *book, const struct busid *busid)
{
	(void)book;
	(void)busid;
	return "";
}

int acceptance_check(struct acceptance *acceptance, const struct acceptance_device *device, struct failure *ret_failure)
{
	(void)acceptance;
	return device->descriptors->class == CLASS_SERIAL && !world.is_shut ?
		       0 :
		       failure_set(ret_failure, FAILURE_NOT_ACCEPTED, "c", "not accepted");
}

/* ---- what must hold ---- */

/* Each transition is told, and each change of the offer while it has a port, so this is the whole machine (w aiting, a ttaching, e numerating, v erifying, u authorizing, s ettling, A ttached, d etaching, f ailed, g one). */
static bool is_allowed(enum attachment_state from, enum attachment_state to)
{
	static const char letters[] = "waevusAdfg";
	static const char *const allowed[] = {
		[ATTACHMENT_STATE_WAITING] = "afg",   [ATTACHMENT_STATE_ATTACHING] = "aedfg",  [ATTACHMENT_STATE_ENUMERATING] = "evd",
		[ATTACHMENT_STATE_VERIFYING] = "vud", [ATTACHMENT_STATE_AUTHORIZING] = "uAsd", [ATTACHMENT_STATE_SETTLING] = "sAd",
		[ATTACHMENT_STATE_ATTACHED] = "Ad",   [ATTACHMENT_STATE_DETACHING] = "fg",     [ATTACHMENT_STATE_FAILED] = "g",
		[ATTACHMENT_STATE_GONE] = "",
	};

	return strchr(allowed[from], letters[to]) != NULL;
}

static void on_change(struct attachment *attachment, enum attachment_state from, void *userdata)
{
	const struct attachment_info *info = attachment_get_info(attachment);

	(void)userdata;
	property_tell("    %s: %s -> %s", info->offer.id, attachment_state_to_string(from), attachment_state_to_string(info->state));
	PROPERTY(is_allowed(from, info->state));
	PROPERTY((info->state != ATTACHMENT_STATE_FAILED && info->state != ATTACHMENT_STATE_GONE) || !info->has_port);
	PROPERTY((info->state == ATTACHMENT_STATE_FAILED) <= (info->failure.code != FAILURE_NONE && info->failure.text[0] != '\0'));
	PROPERTY(info->state != ATTACHMENT_STATE_DETACHING || info->reason[0]);
}

static bool is_port_reserved(uint32_t port, void *userdata)
{
	(void)userdata;
	return find_holder(port) != NULL;
}

static void check_world(void)
{
	for (size_t i = 0; i < world.n_attachments; i++) {
		const struct attachment_info *info = attachment_get_info(world.attachments[i]);

		if (!info->has_port)
			continue;
		PROPERTY(info->port < N_PORTS);
		for (size_t j = 0; j < i; j++) {
			const struct attachment_info *other = attachment_get_info(world.attachments[j]);

			PROPERTY(!other->has_port || other->port != info->port);
		}
		if (info->state == ATTACHMENT_STATE_ATTACHED || info->state == ATTACHMENT_STATE_SETTLING)
			PROPERTY(world.ports[info->port].is_authorized || world.n_events > 0 ||
				 world.ports[info->port].state == VHCI_PORT_FREE);
	}
	for (unsigned i = 0; i < N_PORTS; i++)
		PROPERTY(!world.ports[i].is_authorized || world.ports[i].class == CLASS_SERIAL);
}

/* ---- steps ---- */

static struct attachment *make_offer(void)
{
	struct offer offer = { .speed = 12, .identity.vid = (uint16_t)(1 + chance(50)), .is_partial = happens(3) };
	struct attachment *attachment;

	if (world.n_attachments == MAX_ATTACHMENTS)
		return NULL;
	snprintf(offer.id, sizeof(offer.id), "o-%llu", (unsigned long long)++world.n_offers);
	snprintf(offer.busid.text, sizeof(offer.busid.text), "1-%llu", (unsigned long long)(world.n_offers % 200 + 1));
	attachment = attachment_new(&world.services, &world, "pi", &offer, 1);
	PROPERTY(attachment != NULL);
	property_tell("    offer %s, vid %u%s", offer.id, offer.identity.vid, offer.is_partial ? ", partial" : "");
	world.attachments[world.n_attachments++] = attachment;
	return attachment;
}

/* It is whole now, and may have another name. */
static void tell_the_rest(struct attachment *attachment)
{
	struct offer offer = attachment_get_info(attachment)->offer;

	if (!offer.is_partial) {
		attachment_rename(attachment, chance(2) ? "name" : "");
	} else if (attachment_is_live(attachment)) {
		property_tell("    the rest of %s", offer.id);
		offer.is_partial = false;
		attachment_complete(attachment, &offer);
	}
}

/* The Pi's end may be gone already. */
static void give_stream(struct attachment *attachment)
{
	int fds[2];

	if (attachment_get_info(attachment)->state != ATTACHMENT_STATE_WAITING)
		return;
	PROPERTY(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	if (happens(6)) {
		close(fds[1]);
		fds[1] = -EBADF;
	}
	attachment_take_stream(attachment, fds[0]);
	close_fd(fds[1]);
}

static void reap(void)
{
	for (size_t i = 0; i < world.n_attachments;) {
		enum attachment_state state = attachment_get_info(world.attachments[i])->state;

		if (state == ATTACHMENT_STATE_GONE || (state == ATTACHMENT_STATE_FAILED && chance(2))) {
			attachment_free(world.attachments[i]);
			world.attachments[i] = world.attachments[--world.n_attachments];
		} else {
			i++;
		}
	}
}

static bool deliver_event(void)
{
	struct kernel_event event;
	struct attachment *holder;
	struct busid busid;

	if (world.n_events == 0)
		return false;
	event = world.events[0];
	memmove(world.events, world.events + 1, --world.n_events * sizeof(event));
	holder = find_holder(event.port);
	snprintf(busid.text, sizeof(busid.text), "2-%u", event.port + 1);
	property_tell("    heard of port %u: uevent %u%s", event.port, event.action, event.is_node ? " of a node" : "");
	if (holder && event.is_node)
		attachment_on_node(holder, event.action, event.port % 2 ? "/dev/ttyUSB0" : "/dev/ttyACM0", "/dev/serial/by-id/x");
	else if (holder)
		attachment_on_device(holder, event.action, &busid);
	return true;
}

static void change_rules(void)
{
	world.is_shut = !world.is_shut;
	property_tell("    the rules take %s", world.is_shut ? "nothing" : "serial devices");
	for (size_t i = 0; i < world.n_attachments; i++) {
		const struct attachment_info *info = attachment_get_info(world.attachments[i]);

		attachment_reconsider(world.attachments[i]);
		PROPERTY(!world.is_shut || (info->state != ATTACHMENT_STATE_ATTACHED && info->state != ATTACHMENT_STATE_SETTLING));
	}
}

static void free_strangers_ports(void)
{
	for (unsigned i = 0; i < N_PORTS; i++)
		if (world.ports[i].is_strangers)
			world.ports[i] = (struct port){ .state = VHCI_PORT_FREE };
}

static void step(uint32_t choice)
{
	unsigned port = (choice >> 8) % N_PORTS;
	struct attachment *attachment;

	world.chance = choice;
	attachment = world.n_attachments ? world.attachments[chance((uint32_t)world.n_attachments)] : NULL;
	switch (choice % 18) {
	case 0:
	case 1:
		make_offer();
		break;
	case 2:
	case 3:
	case 4:
		if (attachment)
			give_stream(attachment);
		break;
	case 5:
	case 6:
		enumerate(port);
		break;
	case 7:
	case 8:
		deliver_event();
		break;
	case 9:
	case 10:
	case 11:
		virtual_jobs_step(chance(1000));
		break;
	case 12:
		finish_port(port);
		break;
	case 13:
		virtual_time_pass(chance(3) ? 30000 : 25 * SECOND);
		break;
	case 14:
		if (attachment && chance(3) == 0)
			attachment_detach(attachment, "withdrawn");
		reap();
		break;
	case 15:
		if (world.ports[port].state != VHCI_PORT_FREE && !world.ports[port].is_strangers && chance(3) == 0)
			world.ports[port].is_dying = true; /* its stream ended */
		break;
	case 16:
		make_node(port);
		if (chance(10) == 0)
			free_strangers_ports();
		break;
	case 17:
		if (attachment && chance(2))
			attachment_check(attachment); /* events may have been lost */
		else if (chance(10) == 0)
			world.n_events = 0; /* and are */
		else if (chance(3) == 0)
			change_rules();
		else if (attachment)
			tell_the_rest(attachment);
		break;
	}
}

static void calm_down(void)
{
	bool is_busy = true;

	for (unsigned i = 0; i < 20000 && is_busy; i++) {
		is_busy = deliver_event() || virtual_jobs_step(0);
		for (unsigned j = 0; j < N_PORTS; j++)
			is_busy = finish_port(j) || enumerate(j) || is_busy;
		if (!is_busy)
			is_busy = virtual_time_pass(100 * SECOND);
		check_world();
	}
	PROPERTY(!is_busy);
}

/* ---- a run ---- */

static void world_setup(void)
{
	virtual_time_reset();
	memset(&world, 0, sizeof(world));
	for (unsigned i = 0; i < N_PORTS; i++)
		world.ports[i].state = VHCI_PORT_FREE;
	world.services = (struct attachment_services){ .is_port_reserved = is_port_reserved, .on_change = on_change };
}

/* What is under way comes to an end; then all goes, and every port that was ours is free. */
static void end_all(void)
{
	calm_down();
	for (size_t i = 0; i < world.n_attachments; i++) {
		enum attachment_state state = attachment_get_info(world.attachments[i])->state;

		PROPERTY(state == ATTACHMENT_STATE_ATTACHED || state == ATTACHMENT_STATE_FAILED || state == ATTACHMENT_STATE_GONE);
	}
	for (size_t i = 0; i < world.n_attachments; i++)
		attachment_detach(world.attachments[i], "the handler stops");
	calm_down();
	for (size_t i = 0; i < world.n_attachments; i++)
		PROPERTY(attachment_get_info(world.attachments[i])->state == ATTACHMENT_STATE_GONE ||
			 attachment_get_info(world.attachments[i])->state == ATTACHMENT_STATE_FAILED);
	for (unsigned i = 0; i < N_PORTS; i++)
		PROPERTY(world.ports[i].state == VHCI_PORT_FREE || world.ports[i].is_strangers);
	while (world.n_attachments > 0)
		attachment_free(world.attachments[--world.n_attachments]);
}

/* Whatever was before: a good offer is attached now. */
static void check_a_good_offer(void)
{
	struct attachment *attachment;

	free_strangers_ports();
	attachment = make_offer();
	PROPERTY(attachment != NULL);
	give_stream(attachment);
	calm_down();
	PROPERTY(attachment_get_info(attachment)->state == ATTACHMENT_STATE_ATTACHED);
	PROPERTY(attachment_get_info(attachment)->nodes.n == 1);
}

static void run(const uint32_t *choices, size_t n)
{
	int before = open("/dev/null", O_RDONLY | O_CLOEXEC), after;

	close(before);
	world_setup();
	for (size_t i = 0; i < n; i++) {
		property_tell("%zu:", i);
		step(choices[i]);
		check_world();
	}
	property_tell("now nobody disturbs any more");
	world.is_calm = true;
	world.is_shut = false;
	end_all();
	check_a_good_offer();
	end_all();
	PROPERTY(virtual_jobs_count() == 0 && virtual_time_count() == 0);
	after = open("/dev/null", O_RDONLY | O_CLOEXEC);
	PROPERTY(after == before); /* no file descriptor is left */
	close(after);
}

int main(int argc, char **argv)
{
	int status;

	make_bound_device();
	status = property_main(argc, argv, "attachments of a VM", run);
	remove_bound_device();
	return status;
}
