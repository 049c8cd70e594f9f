#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "failure.h"

/* One SSH connection, non-blocking, on the daemon's event loop, with any number of exec channels. It wraps libssh, which only the
 * transport_*.c files include. No callback is made from within a call of this module, nor from within libssh: callbacks may close channels and free
 * the transport. */
struct transport;
struct transport_channel;

enum transport_step { TRANSPORT_HANDSHAKE, TRANSPORT_HOST_KEY, TRANSPORT_LOGIN, TRANSPORT_UP };

struct transport_options {
	const char *user;      /* login on the VM */
	const char *key_path;  /* the Pi's private key */
	const char *host_key;  /* pinned, "ssh-ed25519 AAAA..." */
	uint32_t silence_msec; /* of the VM's kernel, while bytes wait for it: then the connection is given up */
};

struct transport_handlers {
	void (*on_step)(enum transport_step step, void *userdata);      /* that step begins; UP: channels can be opened */
	void (*on_down)(const struct failure *failure, void *userdata); /* once; then free the transport */
};

/* Starts SSH on a connected TCP socket, which the transport owns from now on (also on failure). options are copied. No ssh_config and no known_hosts
 * is read. Steps without a limit of their own: the caller has a timer. 0 or negative errno. */
int transport_new(sd_event *event, int tcp_fd, const struct transport_options *options, const struct transport_handlers *handlers,
		  void *userdata, struct transport **ret_transport);

/* Ends the connection at once, with every channel on it (their on_closed is not called; the channel objects are gone). Takes NULL. */
struct transport *transport_free(struct transport *transport);

/* Each heartbeat, before it is written: looks whether the connection is alive, and keeps a cut short (tcp_watch.h). */
void transport_look(struct transport *transport);

struct transport_channel_handlers {
	void (*on_open)(void *userdata); /* the command runs */
	/* Bytes from the VM. Returns how many were taken; the rest is kept and comes again after transport_channel_resume(). */
	size_t (*on_data)(const char *data, size_t size, void *userdata);
	void (*on_writable)(void *userdata);                              /* after a write that took less than all */
	void (*on_closed)(const struct failure *failure, void *userdata); /* once: refused, ended, connection lost; close it then */
};

/* Opens a session channel and executes the login's forced command on it. The channel is the caller's to close. 0 or negative errno. */
int transport_open_channel(struct transport *transport, const struct transport_channel_handlers *handlers, void *userdata,
			   struct transport_channel **ret_channel);

/* Writes as much as the peer's window and the connection take now; returns that number (0: wait for on_writable) or a negative errno. */
ssize_t transport_channel_write(struct transport_channel *channel, const char *data, size_t size);

/* Asks for the data that on_data left. */
void transport_channel_resume(struct transport_channel *channel);

/* Closes and frees it; no callback comes any more. Takes NULL, returns NULL. */
struct transport_channel *transport_channel_close(struct transport_channel *channel);

/* Bytes that passed on all channels, each way: for status and metrics. */
void transport_get_traffic(const struct transport *transport, uint64_t *ret_in, uint64_t *ret_out);

/* Makes an ed25519 key at path (mode 0600) unless there is one. 0 or negative errno with ret_failure filled. */
int transport_key_ensure(const char *path, struct failure *ret_failure);

/* The public half of the key at path as one line "ssh-ed25519 AAAA... COMMENT", malloc'ed. */
int transport_key_public(const char *path, const char *comment, char **ret_line, struct failure *ret_failure);

/* Whether text is a public key that can be pinned ("TYPE BASE64 [COMMENT]"); ret_normal (size bytes) gets it without the comment, ret_fingerprint (64 bytes, may be NULL)
 * its "SHA256:...". */
int transport_key_parse(const char *text, char *ret_normal, size_t size, char *ret_fingerprint, struct failure *ret_failure);
