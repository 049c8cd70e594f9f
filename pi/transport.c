#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "daemon.h"
#include "log.h"
#include "tcp_watch.h"
#include "transport_internal.h"

#define TRANSPORT_LOOK_USEC 250000 /* between looks at the connection while bytes flow */

/* A Pi 4 has no AES instructions: ChaCha20 is four times as fast there. */
#define TRANSPORT_CIPHERS "chacha20-poly1305@openssh.com,aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr"
#define LIBSSH_READ_SIZE  4096 /* MAX_BUF_SIZE in its socket.c */

void transport_fail(struct transport *transport, enum failure_code code, const char *cure, const char *format, ...)
{
	char text[200];
	va_list arguments;

	if (transport->is_down)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	failure_set(&transport->failure, code, cure, "%s", text);
	transport->is_down = true;
	transport_schedule(transport);
}

void transport_schedule(struct transport *transport)
{
	sd_event_source_set_enabled(transport->work, SD_EVENT_ONESHOT);
}

static void transport_enter_step(struct transport *transport, enum transport_step step)
{
	transport->step = step;
	transport->handlers.on_step(step, transport->userdata);
}

static void transport_fail_with_libssh(struct transport *transport, enum failure_code code, const char *what)
{
	transport_fail(transport, code, NULL, "%s: %s", what, ssh_get_error(transport->ssh));
}

static void transport_step_handshake(struct transport *transport)
{
	int r = ssh_connect(transport->ssh);

	if (r == SSH_AGAIN)
		return;
	if (r != SSH_OK) {
		/* libssh offers the pinned key's type only: a VM whose key of that type went away fails here already. */
		if (strstr(ssh_get_error(transport->ssh), "no match for method server host key"))
			transport_fail(transport, FAILURE_HOST_KEY, "If the VM was set up anew: run usbpush pair again.",
				       "the VM has no host key of the pinned type any more");
		else
			transport_fail_with_libssh(transport, FAILURE_UNREACHABLE, "SSH handshake failed");
		return;
	}
	transport_enter_step(transport, TRANSPORT_HOST_KEY);
	transport_schedule(transport);
}

static void transport_step_host_key(struct transport *transport)
{
	ssh_key seen = NULL;
	bool is_same;

	if (ssh_get_server_publickey(transport->ssh, &seen) != SSH_OK) {
		transport_fail_with_libssh(transport, FAILURE_UNREACHABLE,
					   "the VM's host key can't be read"); /* no word about whose it is */
		return;
	}
	is_same = ssh_key_cmp(seen, transport->host_key, SSH_KEY_CMP_PUBLIC) == 0;
	ssh_key_free(seen);
	if (!is_same) {
		transport_fail(transport, FAILURE_HOST_KEY,
			       "If the VM was set up anew, compare its key and run usbpush pair again. If not, somebody may be in between.",
			       "the VM's host key is not the one pinned at pairing");
		return;
	}
	transport_enter_step(transport, TRANSPORT_LOGIN);
	transport_schedule(transport);
}

static void transport_step_login(struct transport *transport)
{
	int r = ssh_userauth_publickey(transport->ssh, NULL, transport->key);

	if (r == SSH_AUTH_AGAIN)
		return;
	if (r == SSH_AUTH_SUCCESS) {
		/* from here on the poll context reads the socket, for all channels */
		if (ssh_event_add_session(transport->poll, transport->ssh) != SSH_OK) {
			transport_fail(transport, FAILURE_INTERNAL, NULL, "out of memory");
			return;
		}
		transport_enter_step(transport, TRANSPORT_UP);
		return;
	}
	if (r == SSH_AUTH_DENIED || r == SSH_AUTH_PARTIAL)
		transport_fail(
			transport, FAILURE_LOGIN,
			"On the VM: usbpush-vm authorize --name NAME -, with the line that usbpush key prints here. If it was unpaired there: usbpush unpair.",
			"the VM does not accept this Pi's key");
	else
		transport_fail_with_libssh(transport, FAILURE_UNREACHABLE, "SSH login failed");
}

void transport_look(struct transport *transport)
{
	if (transport->is_down)
		return;
	transport->looked_usec = clock_now_usec();
	tcp_watch_look(transport->watch);
}

static void transport_on_dead(uint64_t silence_msec, void *userdata)
{
	transport_fail(userdata, FAILURE_TIMEOUT, NULL, "nothing has come from the VM for %u s", (unsigned)(silence_msec / 1000));
}

/* Asking libssh for one channel's bytes reads the socket for all of them: what came that way for a channel whose turn was over already wakes no loop any more. */
static void transport_step_channels(struct transport *transport)
{
	uint64_t n_packets = transport->packets.in_packets;

	transport_channels_step(transport);
	if (transport->is_freed)
		return;
	transport_channels_reap(transport, false);
	if (transport->packets.in_packets != n_packets)
		transport_schedule(transport);
}

/* Until libssh has a packet, or there is nothing more: it reads 4096 bytes at a time, and a turn of the loop for each costs as much as reading them. */
static int transport_read(struct transport *transport)
{
	uint64_t n_packets = transport->packets.in_packets, n_bytes;
	int r;

	do {
		n_bytes = transport->bytes.in_bytes;
		r = ssh_event_dopoll(transport->poll, 0);
	} while (r == SSH_OK && transport->packets.in_packets == n_packets && transport->bytes.in_bytes - n_bytes >= LIBSSH_READ_SIZE);
	return r;
}

static void transport_step_up(struct transport *transport)
{
	int r = transport_read(transport);

	if (clock_now_usec() - transport->looked_usec > TRANSPORT_LOOK_USEC)
		transport_look(transport);

	if (r == SSH_ERROR || !ssh_is_connected(transport->ssh)) {
		transport_channels_step(transport); /* what came before the end still counts */
		transport_fail(transport, FAILURE_UNREACHABLE, NULL, "the connection to the VM was lost");
		return;
	}
	if (transport->is_overrun) {
		transport_fail(transport, FAILURE_BAD_REQUEST, "Is it sshd what answers there?", "the VM sent more than its window allows");
		return;
	}
	transport_step_channels(transport);
}

static void transport_destroy(struct transport *transport);

static void transport_tell_down(struct transport *transport)
{
	void (*on_down)(const struct failure *, void *) = transport->handlers.on_down;

	transport->io = sd_event_source_disable_unref(transport->io);
	transport->handlers.on_down = NULL; /* once */
	if (on_down)
		on_down(&transport->failure, transport->userdata);
}

static void transport_step(struct transport *transport)
{
	switch (transport->step) {
	case TRANSPORT_HANDSHAKE:
		transport_step_handshake(transport);
		break;
	case TRANSPORT_HOST_KEY:
		transport_step_host_key(transport);
		break;
	case TRANSPORT_LOGIN:
		transport_step_login(transport);
		break;
	case TRANSPORT_UP:
		transport_step_up(transport);
		break;
	}
}

/* All of libssh runs here and in transport_channel_write(); its own callbacks only take notes. A handler may free the transport:
 * that is done at the end. */
static int transport_work(struct transport *transport)
{
	transport->is_working = true;
	if (!transport->is_down)
		transport_step(transport);
	if (transport->is_down && !transport->is_freed)
		transport_tell_down(transport);
	transport->is_working = false;
	if (transport->is_freed)
		transport_destroy(transport);
	return 0;
}

static int transport_on_work(sd_event_source *source, void *userdata)
{
	(void)source;
	return transport_work(userdata);
}

static int transport_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	(void)source;
	(void)fd;
	(void)events;
	return transport_work(userdata);
}

/* Before the loop sleeps: whether libssh waits for the socket to take more. */
static int transport_on_prepare(sd_event_source *source, void *userdata)
{
	struct transport *transport = userdata;
	bool wants_write = !transport->is_down && (ssh_get_poll_flags(transport->ssh) & SSH_WRITE_PENDING);

	return sd_event_source_set_io_events(source, wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

const char *transport_host_key_types(ssh_key key)
{
	return ssh_key_type(key) == SSH_KEYTYPE_RSA ? "rsa-sha2-512,rsa-sha2-256" : ssh_key_type_to_char(ssh_key_type(key));
}

static int transport_set_options(struct transport *transport, const struct transport_options *options)
{
	const int no = 0, yes = 1;
	int r = 0;

	r |= ssh_options_set(transport->ssh, SSH_OPTIONS_PROCESS_CONFIG, &no);
	r |= ssh_options_set(transport->ssh, SSH_OPTIONS_HOST, "vm"); /* only a label: the socket is connected already */
	r |= ssh_options_set(transport->ssh, SSH_OPTIONS_USER, options->user);
	r |= ssh_options_set(transport->ssh, SSH_OPTIONS_FD, &transport->given_fd);
	r |= ssh_options_set(transport->ssh, SSH_OPTIONS_NODELAY, &yes);
	r |= ssh_options_set(transport->ssh, SSH_OPTIONS_CIPHERS_C_S, TRANSPORT_CIPHERS);
	r |= ssh_options_set(transport->ssh, SSH_OPTIONS_CIPHERS_S_C, TRANSPORT_CIPHERS);
	r |= ssh_options_set(transport->ssh, SSH_OPTIONS_COMPRESSION, "no");
	r |= ssh_options_set(transport->ssh, SSH_OPTIONS_HOSTKEYS, transport_host_key_types(transport->host_key));
	return r == 0 ? 0 : -EINVAL;
}

int transport_import_host_key(const char *text, ssh_key *ret_key)
{
	char type[64];
	const char *base64 = strchr(text, ' ');

	if (!base64 || (size_t)(base64 - text) >= sizeof(type))
		return -EINVAL;
	memcpy(type, text, (size_t)(base64 - text));
	type[base64 - text] = '\0';
	return ssh_pki_import_pubkey_base64(base64 + 1, ssh_key_type_from_name(type), ret_key) == SSH_OK ? 0 : -EINVAL;
}

static int transport_init(struct transport *transport, const struct transport_options *options)
{
	int r;

	r = sd_event_add_defer(transport->event, &transport->work, transport_on_work, transport);
	if (r < 0)
		return r;
	transport->ssh = ssh_new();
	transport->poll = ssh_event_new();
	if (!transport->ssh || !transport->poll)
		return -ENOMEM;
	if (ssh_pki_import_privkey_file(options->key_path, NULL, NULL, NULL, &transport->key) != SSH_OK)
		return -ENOKEY;
	r = transport_import_host_key(options->host_key, &transport->host_key);
	if (r < 0)
		return r;
	transport->given_fd = fcntl(transport->fd, F_DUPFD_CLOEXEC, 3);
	if (transport->given_fd < 0)
		return -errno;
	r = transport_set_options(transport, options);
	if (r < 0)
		return r;
	ssh_set_blocking(transport->ssh, 0);
	ssh_set_counters(transport->ssh, &transport->bytes, &transport->packets);
	r = tcp_watch_new(transport->event, transport->fd, options->silence_msec, transport_on_dead, transport, &transport->watch);
	if (r < 0)
		return r;
	r = sd_event_add_io(transport->event, &transport->io, transport->fd, EPOLLIN, transport_on_io, transport);
	return r < 0 ? r : sd_event_source_set_prepare(transport->io, transport_on_prepare);
}

int transport_new(sd_event *event, int tcp_fd, const struct transport_options *options, const struct transport_handlers *handlers,
		  void *userdata, struct transport **ret_transport)
{
	struct transport *transport = calloc(1, sizeof(*transport));
	int r;

	if (!transport) {
		close_fd(tcp_fd);
		return -ENOMEM;
	}
	transport->event = event;
	transport->fd = tcp_fd;
	transport->given_fd = -EBADF;
	transport->handlers = *handlers;
	transport->userdata = userdata;
	TAILQ_INIT(&transport->channels);
	r = transport_init(transport, options);
	if (r < 0) {
		transport_free(transport);
		return r;
	}
	*ret_transport = transport;
	return 0;
}

void transport_close_given(int given_fd, int fd)
{
	struct stat given, own;

	if (fstat(given_fd, &given) == 0 && fstat(fd, &own) == 0 && given.st_dev == own.st_dev && given.st_ino == own.st_ino)
		close_fd(given_fd);
}

static void transport_destroy(struct transport *transport)
{
	sd_event_source_disable_unref(transport->io);
	sd_event_source_disable_unref(transport->work);
	tcp_watch_free(transport->watch);
	transport_channels_reap(transport, true);
	if (transport->poll && transport->ssh)
		ssh_event_remove_session(transport->poll, transport->ssh);
	if (transport->poll)
		ssh_event_free(transport->poll);
	if (transport->ssh) {
		ssh_disconnect(transport->ssh);
		ssh_free(transport->ssh);
	}
	ssh_key_free(transport->key);
	ssh_key_free(transport->host_key);
	transport_close_given(transport->given_fd, transport->fd);
	close_fd(transport->fd);
	free(transport);
}

struct transport *transport_free(struct transport *transport)
{
	if (!transport)
		return NULL;
	transport->is_freed = true;
	if (!transport->is_working)
		transport_destroy(transport);
	return NULL;
}

void transport_get_traffic(const struct transport *transport, uint64_t *ret_in, uint64_t *ret_out)
{
	*ret_in = transport->bytes_in;
	*ret_out = transport->bytes_out;
}
