#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* Brings a TCP connection through a cut of the wire. By itself TCP doubles the pause between its retransmissions: after a cut of 7 s it may wait
 * another 6 s before it finds out that the wire is whole again. Here the pauses stay short, and the end comes when it was promised.
 *
 * How: TCP_USER_TIMEOUT does not only end a connection. The kernel also cuts each pause short, so that its timer does not run past that end
 * (tcp_clamp_rto_to_user_timeout() in net/ipv4/tcp_timer.c, since Linux 4.19). While bytes are overdue the user timeout is kept just ahead of the clock:
 * each pause is then about a second at most. */
struct tcp_watch;

/* The peer's kernel has sent nothing for the limit, though bytes wait for its acknowledgement. Called once, from the loop; the watch may be freed in it. */
typedef void (*tcp_watch_fn)(uint64_t silence_msec, void *userdata);

/* Watches fd (borrowed, connected) from now on, and alone sets its TCP_USER_TIMEOUT. 0 or negative errno. */
int tcp_watch_new(sd_event *event, int fd, uint32_t limit_msec, tcp_watch_fn on_dead, void *userdata, struct tcp_watch **ret_watch);

/* Takes NULL, returns NULL. */
struct tcp_watch *tcp_watch_free(struct tcp_watch *watch);

/* Looks at the connection. To be called at each heartbeat, before that is written, and now and then while bytes flow: the more often, the shorter the
 * pauses. Costs two system calls. Only while bytes are overdue does the watch wake up by itself. */
void tcp_watch_look(struct tcp_watch *watch);
