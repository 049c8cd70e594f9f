/* The link of a Pi (pi/link.c, link_hello.c, link_knock.c) above a network, an sshd and a handler that do whatever they may, in any order. What must hold: DESIGN sections 4 and 5. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "connector.h"
#include "control_channel.h"
#include "daemon.h"
#include "link.h"
#include "machine.h"
#include "own_key.h"
#include "property.h"
#include "virtual_time.h"

#define SECOND      UINT64_C(1000000)
#define PATIENCE_MS 8000

/* ---- the world ---- */

struct connector {
	connector_done_fn on_done;
	void *userdata;
	bool was_silence, was_refused;
};

struct transport {
	struct transport_handlers handlers;
	void *userdata;
	enum transport_step step;
	bool is_lost; /* the link was told to its owner as lost, before it was freed */
};

struct control_channel {
	struct control_channel_handlers handlers;
	void *userdata;
	bool is_open, is_greeted;
	unsigned n_sent;
	uint64_t sync_seq; /* of the last sync that came */
};

static struct world {
	struct link *link;
	struct connector *connector; /* at most one of each at a time */
	struct transport *transport;
	struct control_channel *control;
	struct vm_config config;
	enum link_state told; /* the last state that the owner heard of */
	bool is_pinned;       /* another host key came: nobody but a person tries again */
	bool is_calm;
	uint64_t heard_usec, sync_seq;
	unsigned n_connectors;
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

/* ---- what it stands on ---- */

int machine_id(char *buffer, size_t size)
{
	snprintf(buffer, size, "%s", "0123456789abcdef");
	return happens(50) ? -EMFILE : 0;
}

int machine_boot_id(char *buffer, size_t size)
{
	snprintf(buffer, size, "%s", "0123456789abcdef");
	return 0;
}

void machine_name(char *buffer, size_t size)
{
	snprintf(buffer, size, "%s", "pi");
}

int connector_new(sd_event *event, struct job_runner *jobs, const char *host, uint16_t port, connector_done_fn on_done, void *userdata,
		  struct connector **ret_connector)
{
	struct connector *connector;

	(void)event;
	(void)jobs;
	(void)port;
	PROPERTY(!world.connector && !world.transport && !world.control);
	PROPERTY(!world.is_pinned); /* not without a person */
	PROPERTY(strcmp(host, world.config.host) == 0);
	if (happens(30))
		return -ENOMEM;
	connector = calloc(1, sizeof(*connector));
	PROPERTY(connector != NULL);
	connector->on_done = on_done;
	connector->userdata = userdata;
	world.n_connectors++;
	*ret_connector = world.connector = connector;
	return 0;
}

struct connector *connector_free(struct connector *connector)
{
	if (connector) {
		PROPERTY(connector == world.connector);
		world.connector = NULL;
		free(connector);
	}
	return NULL;
}

bool connector_was_silence(const struct connector *connector)
{
	return connector->was_silence;
}

bool connector_was_refused(const struct connector *connector)
{
	return connector->was_refused;
}

int transport_new(sd_event *event, int tcp_fd, const struct transport_options *options, const struct transport_handlers *handlers,
		  void *userdata, struct transport **ret_transport)
{
	struct transport *transport;

	(void)event;
	PROPERTY(!world.connector && !world.transport);
	PROPERTY(strcmp(options->host_key, world.config.host_key) == 0 && options->silence_msec >= PATIENCE_MS);
	close(tcp_fd);
	if (happens(30))
		return chance(2) ? -ENOKEY : -ENOMEM;
	transport = calloc(1, sizeof(*transport));
	PROPERTY(transport != NULL);
	transport->handlers = *handlers;
	transport->userdata = userdata;
	*ret_transport = world.transport = transport;
	return 0;
}

struct transport *transport_free(struct transport *transport)
{
	if (transport) {
		PROPERTY(transport == world.transport && !world.control);
		world.transport = NULL;
		free(transport);
	}
	return NULL;
}

void transport_look(struct transport *transport)
{
	PROPERTY(transport && transport == world.transport);
}

void transport_get_traffic(const struct transport *transport, uint64_t *ret_in, uint64_t *ret_out)
{
	PROPERTY(transport == world.transport);
	*ret_in = *ret_out = 0;
}

struct own_key {
	bool is_in_use;
};

static struct own_key own_key;

int own_key_new(struct job_runner *jobs, const char *path, struct own_key **ret_key)
{
	(void)jobs;
	(void)path;
	PROPERTY(!own_key.is_in_use);
	own_key.is_in_use = true;
	*ret_key = &own_key;
	return 0;
}

struct own_key *own_key_free(struct own_key *key)
{
	if (key)
		key->is_in_use = false;
	return NULL;
}

int own_key_ensure(struct own_key *key, struct failure *ret_failure)
{
	PROPERTY(key->is_in_use);
	return happens(2) ? failure_set(ret_failure, FAILURE_INTERNAL, NULL, "no key") : 0;
}

int transport_key_parse(const char *text, char *ret_normal, size_t size, char *ret_fingerprint, struct failure *ret_failure)
{
	(void)text;
	(void)ret_normal;
	(void)size;
	(void)ret_fingerprint;
	return failure_set(ret_failure, FAILURE_BAD_REQUEST, NULL, "nobody reads vm.conf here");
}

int control_channel_new(sd_event *event, struct transport *transport, const struct control_channel_handlers *handlers, void *userdata,
			struct control_channel **ret_control)
{
	struct control_channel *control;

	(void)event;
	PROPERTY(!world.control && transport == world.transport && transport->step == TRANSPORT_UP);
	if (happens(30))
		return -ENOMEM;
	control = calloc(1, sizeof(*control));
	PROPERTY(control != NULL);
	control->handlers = *handlers;
	control->userdata = userdata;
	world.heard_usec = clock_now_usec();
	*ret_control = world.control = control;
	return 0;
}

/* The first line is hello, and no sync goes before the VM's. */
void control_channel_send(struct control_channel *control, const struct message *message)
{
	PROPERTY(control == world.control);
	if (!control->is_open)
		return;
	PROPERTY((control->n_sent++ == 0) == (message->type == MESSAGE_HELLO));
	if (message->type == MESSAGE_SYNC)
		control->sync_seq = message->seq;
}

struct control_channel *control_channel_free(struct control_channel *control)
{
	if (control) {
		PROPERTY(control == world.control);
		world.control = NULL;
		free(control);
	}
	return NULL;
}

/* ---- its owner ---- */

static void on_state(enum link_state state, void *userdata)
{
	(void)userdata;
	world.told = state;
}

static void send_sync(void)
{
	const struct message sync = { .type = MESSAGE_SYNC, .seq = ++world.sync_seq };

	link_send(world.link, &sync);
}

static void on_sync_wanted(void *userdata)
{
	(void)userdata;
	PROPERTY(world.control && world.control->is_greeted);
	send_sync();
}

static void on_message(const struct message *message, void *userdata)
{
	(void)userdata;
	PROPERTY(world.control && world.control->is_greeted);
	PROPERTY(message->type == MESSAGE_SYNCED || message->type == MESSAGE_ATTACHED || message->type == MESSAGE_FAILED ||
		 message->type == MESSAGE_DETACHED || message->type == MESSAGE_UNPAIRED || message->type == MESSAGE_UNKNOWN);
}

/* Once for each connection, while what the streams stand on is still there. */
static void on_lost(void *userdata)
{
	(void)userdata;
	PROPERTY(world.transport && link_get_transport(world.link) == world.transport && !world.transport->is_lost);
	world.transport->is_lost = true;
}

static void configure(bool is_paired)
{
	world.config = (struct vm_config){ .port = 22, .patience_ms = PATIENCE_MS };
	if (is_paired)
		snprintf(world.config.host, sizeof(world.config.host), "vm%u", chance(2));
	if (is_paired)
		snprintf(world.config.host_key, sizeof(world.config.host_key), "ssh-ed25519 %u", chance(2));
	world.is_pinned = false;
	property_tell("    configured: %s", is_paired ? world.config.host : "no VM");
	link_configure(world.link, &world.config);
}

static void kick(bool is_person)
{
	property_tell("    kicked by %s", is_person ? "a person" : "a plug");
	if (is_person)
		world.is_pinned = false;
	link_kick(world.link, is_person);
}

/* Anybody can, so nothing comes of it but a try that is sooner, from the loop. */
static void knock(void)
{
	enum link_state state = link_get_state(world.link);
	unsigned n_connectors = world.n_connectors;

	property_tell("    a knock");
	link_knock(world.link);
	PROPERTY(link_get_state(world.link) == state && world.n_connectors == n_connectors);
}

/* ---- the network and the VM ---- */

static void make_failure(struct failure *failure)
{
	static const enum failure_code codes[] = { FAILURE_UNREACHABLE, FAILURE_TIMEOUT,  FAILURE_HOST_KEY,   FAILURE_LOGIN,
						   FAILURE_STREAM,      FAILURE_VERSION,  FAILURE_NOT_PAIRED, FAILURE_BAD_REQUEST,
						   FAILURE_BUSY,        FAILURE_NO_MODULE };

	failure_set(failure, codes[chance(ARRAY_SIZE(codes))], NULL, "as it happens");
	property_tell("    %s", failure_code_to_string(failure->code));
}

static void end_connecting(bool is_good)
{
	struct connector *connector = world.connector;
	struct failure failure;

	if (!connector)
		return;
	property_tell("    %s", is_good ? "connected" : "not connected");
	failure_set(&failure, FAILURE_UNREACHABLE, NULL, "nobody there");
	connector->was_silence = !is_good && chance(2);
	connector->was_refused = !is_good && !connector->was_silence && chance(2);
	connector->on_done(is_good ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -EBADF, "192.0.2.1", &failure, connector->userdata);
}

static void step_transport(void)
{
	struct transport *transport = world.transport;

	if (!transport || transport->step == TRANSPORT_UP)
		return;
	transport->step++;
	property_tell("    SSH goes on: %u", transport->step);
	transport->handlers.on_step(transport->step, transport->userdata);
}

static void lose_transport(void)
{
	struct transport *transport = world.transport;
	struct failure failure;

	if (!transport)
		return;
	make_failure(&failure);
	world.is_pinned = failure.code == FAILURE_HOST_KEY;
	transport->handlers.on_down(&failure, transport->userdata);
}

static void open_control(void)
{
	struct control_channel *control = world.control;

	if (!control || control->is_open)
		return;
	property_tell("    the control channel is open");
	control->is_open = true;
	control->handlers.on_open(control->userdata);
}

static void close_control(void)
{
	struct control_channel *control = world.control;
	struct failure failure;

	if (!control)
		return;
	failure_set(&failure, chance(3) ? FAILURE_STREAM : FAILURE_BAD_REQUEST, NULL, "it ended");
	property_tell("    the control channel ends: %s", failure_code_to_string(failure.code));
	control->handlers.on_closed(&failure, control->userdata);
}

static void say(const struct message *message)
{
	struct control_channel *control = world.control;

	if (!control || !control->is_open)
		return;
	property_tell("    the VM says message %d, seq %llu", (int)message->type, (unsigned long long)message->seq);
	world.heard_usec = clock_now_usec();
	if (message->type == MESSAGE_HELLO && message->hello.protocol == PROTOCOL_VERSION)
		control->is_greeted = true;
	if (message->type == MESSAGE_REFUSED)
		world.is_pinned = message->failure.code == FAILURE_HOST_KEY;
	control->handlers.on_message(message, control->userdata);
}

static void say_hello(uint32_t protocol)
{
	struct message message = { .type = MESSAGE_HELLO, .hello = { .protocol = protocol, .patience_ms = PATIENCE_MS } };

	say(&message);
}

static void say_synced(uint64_t seq)
{
	struct message message = { .type = MESSAGE_SYNCED, .seq = seq };

	say(&message);
}

static void say_anything(void)
{
	static struct attached attached;
	struct message message = { .type = (enum message_type)chance(MESSAGE_UNRECOGNIZED + 1),
				   .seq = chance(4),
				   .id = "a-1",
				   .attached = &attached,
				   .hello = { .protocol = PROTOCOL_VERSION } };

	if (message.type == MESSAGE_REFUSED)
		make_failure(&message.failure);
	say(&message);
}

/* What a good VM would do next. */
static void do_right(void)
{
	if (world.connector)
		end_connecting(true);
	else if (world.transport && world.transport->step < TRANSPORT_UP)
		step_transport();
	else if (world.control && !world.control->is_open)
		open_control();
	else if (world.control && !world.control->is_greeted)
		say_hello(PROTOCOL_VERSION);
	else if (world.control && link_get_state(world.link) == LINK_SYNCING)
		say_synced(world.control->sync_seq);
	else if (world.control)
		say(&(struct message){ .type = MESSAGE_PONG, .seq = 1 });
}

static void pass_time(uint64_t usec)
{
	uint64_t end = clock_now_usec() + usec;

	property_tell("    %llu ms pass", (unsigned long long)(usec / 1000));
	for (unsigned i = 0; i < 64 && clock_now_usec() < end; i++)
		if (!virtual_time_pass(end - clock_now_usec()))
			break;
}

static void step(uint32_t choice)
{
	world.chance = choice >> 5;
	switch (choice % 32) {
	case 0:
		end_connecting(false);
		break;
	case 1:
		lose_transport();
		break;
	case 2:
		close_control();
		break;
	case 3:
		say_hello(chance(3));
		break;
	case 4:
		say_synced(chance(3) ? world.sync_seq - chance(2) : chance(5));
		break;
	case 5:
	case 6:
		say_anything();
		break;
	case 7:
		kick(false);
		break;
	case 8:
		kick(chance(4) == 0);
		break;
	case 9:
		if (chance(8) == 0)
			configure(chance(4) != 0);
		break;
	case 10:
		link_set_carrying(world.link, chance(2));
		break;
	case 11:
		if (chance(2))
			send_sync();
		else
			link_ping(world.link);
		break;
	case 12:
	case 13:
	case 14:
		pass_time(chance(300) * 1000);
		break;
	case 15:
	case 16:
		pass_time(chance(20) * SECOND);
		break;
	case 17:
		knock();
		break;
	default:
		do_right();
		break;
	}
}

/* ---- what must hold ---- */

static void check_world(void)
{
	enum link_state state = link_get_state(world.link);
	bool is_connected = state == LINK_AUTHENTICATING || state == LINK_SYNCING || state == LINK_UP;

	PROPERTY(state == world.told);
	PROPERTY((state == LINK_UNPAIRED) == !vm_config_is_paired(&world.config));
	PROPERTY((world.connector != NULL) == (state == LINK_CONNECTING));
	PROPERTY((world.transport != NULL) == is_connected && link_get_transport(world.link) == world.transport);
	PROPERTY(!world.control || state == LINK_SYNCING || state == LINK_UP);
	PROPERTY(!world.is_pinned || state == LINK_REFUSED || state == LINK_UNPAIRED);
	if (state == LINK_UP) {
		PROPERTY(world.control && world.control->is_greeted && world.control->sync_seq > 0);
		PROPERTY(clock_now_usec() - world.heard_usec < (2 * PATIENCE_MS + 2 * patience_to_beat(PATIENCE_MS)) * 1000);
	}
	PROPERTY(virtual_time_count() == 4); /* its own, whatever happens */
}

/* Nobody disturbs any more: it is up within a minute, and stays. */
static void check_end(void)
{
	uint64_t end;

	world.is_calm = true;
	configure(true);
	for (unsigned i = 0; i < 100 && link_get_state(world.link) != LINK_UP; i++) {
		do_right();
		pass_time(10000);
		check_world();
	}
	PROPERTY(link_get_state(world.link) == LINK_UP);
	lose_transport();
	world.is_pinned = false;
	kick(true);
	end = clock_now_usec() + 60 * SECOND;
	while (link_get_state(world.link) != LINK_UP && clock_now_usec() < end) {
		do_right();
		pass_time(SECOND / 10);
		check_world();
	}
	PROPERTY(link_get_state(world.link) == LINK_UP);
	for (unsigned i = 0; i < 300; i++) {
		do_right();
		pass_time(SECOND / 5);
		PROPERTY(link_get_state(world.link) == LINK_UP);
	}
	PROPERTY(world.n_connectors < 10000);
}

static void run(const uint32_t *choices, size_t n)
{
	static const struct link_handlers handlers = { on_state, on_sync_wanted, on_message, on_lost };

	world = (struct world){ .told = LINK_UNPAIRED };
	virtual_time_reset();
	PROPERTY(link_new(NULL, NULL, "key", &handlers, NULL, &world.link) == 0);
	configure(true);
	check_world();
	for (size_t i = 0; i < n; i++) {
		property_tell("%zu:", i);
		step(choices[i]);
		check_world();
	}
	property_tell("now nobody disturbs any more");
	check_end();
	link_free(world.link);
	PROPERTY(!world.connector && !world.transport && !world.control && virtual_time_count() == 0);
}

int main(int argc, char **argv)
{
	return property_main(argc, argv, "the link of a Pi", run);
}
