#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "temp_tree.h"
#include "vm_config.h"

/* A VM for tests: a real sshd on loopback, whose forced command is this very program, playing what the test wrote into a script. */

/* Called first thing in main(): if sshd started us, plays the VM's part and does not return. */
void ssh_vm_play(int argc, char **argv);

enum ssh_vm_wire {
	WIRE_SSHD,   /* each connection gets an sshd */
	WIRE_SILENT, /* accepted, and never a byte */
	WIRE_HTTP,   /* something else answers there */
	WIRE_CLOSED, /* accepted and closed */
	WIRE_ROGUE,  /* each connection gets a rogue_sshd.py, which does rogue_acts */
};

struct ssh_vm {
	struct temp_tree tree;
	sd_event *event; /* borrowed */
	sd_event_source *source;
	int listen_fd;
	enum ssh_vm_wire wire;
	const char *rogue_acts; /* borrowed: of rogue_sshd.py; what it did stands in rogue.log */
	unsigned n_connections;
	bool has_people;       /* ssh_people.h */
	unsigned max_sessions; /* of one connection */
	char host_key[32];     /* the file in use */
	pid_t sshds[256];      /* one for each connection, 0 without */
	int held[16];          /* silent connections */
	char key_path[128];    /* the Pi's */
	struct vm_config config;
};

/* Makes keys, authorizes the Pi's, listens. event runs the accepting. */
void ssh_vm_new(struct ssh_vm *vm, sd_event *event);

/* Ends every sshd. */
void ssh_vm_free(struct ssh_vm *vm);

/* What is played on the next channels of that kind ("control", "stream"), line by line:
 *   hear TYPE     wait for a message of that type
 *   say TEXT      write a line
 *   raw TEXT      write bytes; \n, \0 and \\ stand for themselves
 *   fill N        write N bytes without a newline
 *   repeat N TEXT write that line so many times, and read nothing meanwhile
 *   flood         write without end and without a newline
 *   complain TEXT write a line to stderr
 *   echo          send back every byte
 *   serve         answer hello, sync (keeping all that stream), ping, and connect as ssh_vm_answer_connect() says
 *   forget        from here on serve keeps nothing at a sync
 *   old           from here on serve is a VM that knows no direct road and no partial offers
 *   session       OK, then be the VM's kernel: a URB, its answer, and reading to the end
 *   wait          read on, answer nothing, until the channel ends
 *   sleep         read nothing
 *   end           end at once (also at the script's end)
 */
void ssh_vm_script(struct ssh_vm *vm, const char *kind, const char *script);

/* What `serve` says to each connect, with the offer's id added; nothing at first. ATTACHED comes only after the stream's session is up. */
void ssh_vm_answer_connect(struct ssh_vm *vm, const char *answer);

/* What `serve` says to `unpair`, instead of `unpaired`; "" for nothing. */
void ssh_vm_answer_unpair(struct ssh_vm *vm, const char *answer);

#define SSH_VM_ATTACHED "{\"type\":\"attached\",\"port\":0,\"busid\":\"1-1\",\"nodes\":[\"/dev/ttyUSB0\"],\"links\":[],\"steps_ms\":{}}"

/* `serve` says this, too, behind its answer to the next line that it hears (a beat, at the latest). */
void ssh_vm_say_now(struct ssh_vm *vm, const char *text);

/* All lines that came on channels of that kind, so far. */
const char *ssh_vm_heard(const struct ssh_vm *vm, const char *kind);

/* The session of an offer is up: SSH_VM_ATTACHED may be said. For what the test itself imports. */
void ssh_vm_note_session(struct ssh_vm *vm, const char *offer_id);

/* How often text stands in what came on control channels. */
unsigned ssh_vm_count_heard(const struct ssh_vm *vm, const char *text);

/* How many offers came, each of them in one `connect` or more. */
unsigned ssh_vm_count_offers(const struct ssh_vm *vm);

/* How many channels of that kind were begun. */
unsigned ssh_vm_count(const struct ssh_vm *vm, const char *kind);

/* For a test that fails: the connections so far, their sshds, and the end of sshd's log. */
const char *ssh_vm_describe(const struct ssh_vm *vm);

/* A new host key of that type ("ed25519", "ecdsa"), known to the next sshd only. */
void ssh_vm_change_host_key(struct ssh_vm *vm, const char *type);

/* How many sessions the next sshd gives to one connection; 64 at first. */
void ssh_vm_limit_sessions(struct ssh_vm *vm, unsigned max);

/* Takes the Pi's key out of the authorized ones. */
void ssh_vm_deauthorize(struct ssh_vm *vm);

/* Kills those who play on the channels of that kind, as a handler that is restarted ends its channels; all that were heard of so far. */
void ssh_vm_end_players(struct ssh_vm *vm, const char *kind);

/* Kills the sshds of all connections. */
void ssh_vm_kill(struct ssh_vm *vm);
