#pragma once

/* Shared by the transport_*.c files only: the one place that includes libssh. */

#include <libssh/callbacks.h>
#include <libssh/libssh.h>
#include <sys/queue.h>

#include "transport.h"

enum channel_state { CHANNEL_OPENING, CHANNEL_EXEC, CHANNEL_OPEN, CHANNEL_CLOSED };

struct transport_channel {
	TAILQ_ENTRY(transport_channel) entry;
	struct transport *transport; /* borrowed: outlives us */
	ssh_channel ssh;             /* owned */
	struct ssh_channel_callbacks_struct callbacks;
	enum channel_state state;
	struct transport_channel_handlers handlers;
	void *userdata;      /* borrowed */
	bool has_data;       /* libssh holds bytes that on_data has not seen */
	bool is_paused;      /* on_data took less: wait for resume */
	bool wants_write;    /* a write took less than all */
	bool is_asked;       /* the VM was asked for it */
	bool is_open;        /* and gave it */
	bool is_closing;     /* we closed it; it is kept until the VM has, too */
	bool has_closed;     /* the VM closed it */
	bool has_ended;      /* EOF or close came; told once all data is taken */
	bool is_told;        /* on_closed was called */
	char complaint[160]; /* what the command wrote to stderr: the reason why it ends */
	char *staged;        /* owned: bytes read from libssh that on_data did not take */
	size_t staged_size, staged_taken;
};

TAILQ_HEAD(channel_list, transport_channel);

struct transport {
	sd_event *event;         /* borrowed: outlives us */
	sd_event_source *io;     /* owned */
	sd_event_source *work;   /* owned: runs the steps outside libssh's callbacks */
	struct tcp_watch *watch; /* owned */
	uint64_t looked_usec;    /* when the watch last looked */
	int fd;                  /* owned */
	int given_fd;            /* its double, libssh's to close when it likes, and ours if it has not */
	ssh_session ssh;         /* owned */
	ssh_event poll;          /* owned */
	ssh_key key, host_key;   /* owned */
	enum transport_step step;
	bool is_overrun; /* the peer sent more than it was given room for */
	bool is_down;
	struct failure failure; /* why it is down */
	struct transport_handlers handlers;
	void *userdata; /* borrowed */
	struct channel_list channels;
	uint64_t bytes_in, bytes_out;
	struct ssh_counter_struct bytes;   /* libssh counts here what comes and goes on the socket, */
	struct ssh_counter_struct packets; /* and here what is in it */
	bool is_working;                   /* callbacks may run */
	bool is_freed;                     /* the caller is done with it; destroyed when no callback runs any more */
};

/* Moves every channel on as far as it goes; stops when a callback freed the transport. */
void transport_channels_step(struct transport *transport);

/* Frees the channels that were closed by both sides, or all. Not inside a libssh callback. */
void transport_channels_reap(struct transport *transport, bool is_all);

/* Schedules transport work for the loop's next turn. */
void transport_schedule(struct transport *transport);

/* libssh closes the descriptor that it was given (SSH_OPTIONS_FD) when the peer is lost, and leaves it open in ssh_disconnect() and ssh_free(). Its number may be another file's by
 * now: it is ours to close only while it is still the same socket as fd. */
void transport_close_given(int given_fd, int fd);

/* The key of "TYPE BASE64". 0 or -EINVAL. */
int transport_import_host_key(const char *text, ssh_key *ret_key);

/* What to offer so that the VM shows its key of this type, and no other. */
const char *transport_host_key_types(ssh_key key);

/* The key as transport_key_parse() makes it, and its fingerprint (64 bytes). 0 or a negative errno. */
int transport_describe_key(ssh_key key, char *ret_normal, size_t size, char *ret_fingerprint);

/* Records why the connection ended; on_down follows from the loop. */
void transport_fail(struct transport *transport, enum failure_code code, const char *cure, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
