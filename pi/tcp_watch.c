#include "tcp_watch.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "daemon.h"
#include "log.h"

#define USEC_PER_MSEC UINT64_C(1000)
#define OVERDUE_MSEC \
	500 /* unacknowledged for longer: the wire may be cut. A delayed acknowledgement takes 40 ms, the first retransmission some 200 */
#define LOST_TIMEOUTS \
	2 /* retransmission timeouts in a row without any progress, so 600 ms at the least. One alone is a segment that was lost */
#define LOOK_MSEC  200 /* between looks while bytes are overdue */
#define AHEAD_MSEC 800 /* how far the user timeout is ahead: four looks, so that a busy machine does not end the connection */

struct tcp_watch {
	sd_event *event;        /* borrowed: outlives us */
	int fd;                 /* borrowed: outlives us */
	sd_event_source *timer; /* owned: armed while bytes are overdue */
	uint32_t limit_msec;
	uint64_t in_order_usec; /* when a look last found nothing lost: what is retransmitted now was first retransmitted later */
	uint64_t idle_usec;     /* when a look last found nothing unacknowledged */
	unsigned user_timeout_msec;
	bool is_overdue;
	tcp_watch_fn on_dead;
	void *userdata; /* borrowed */
};

static void tcp_watch_set_user_timeout(struct tcp_watch *watch, unsigned msec)
{
	if (watch->user_timeout_msec == msec)
		return;
	watch->user_timeout_msec = msec;
	if (setsockopt(watch->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &msec, sizeof(msec)) < 0)
		log_debug("TCP_USER_TIMEOUT: %m");
}

static uint64_t tcp_watch_age(uint64_t since_usec)
{
	return (clock_now_usec() - since_usec) / USEC_PER_MSEC;
}

/* In ms: since when bytes wait for an acknowledgement while none comes. */
static uint64_t tcp_watch_get_wait(const struct tcp_watch *watch, const struct tcp_info *info)
{
	uint64_t idle = tcp_watch_age(watch->idle_usec);

	if (info->tcpi_unacked == 0)
		return 0;
	return idle < info->tcpi_last_ack_recv ? idle : info->tcpi_last_ack_recv;
}

/* In ms: since anything came. Keepalive's answers and data count as much as acknowledgements. */
static uint64_t tcp_watch_get_silence(const struct tcp_info *info)
{
	return info->tcpi_last_ack_recv < info->tcpi_last_data_recv ? info->tcpi_last_ack_recv : info->tcpi_last_data_recv;
}

/* What comes from the peer tells nothing of the way to it: a wire may be whole in one direction only, and after a cut the peer's bytes are often the first to
 * come through. The pauses have to stay short until what we sent is acknowledged. */
static bool tcp_watch_is_waiting(const struct tcp_watch *watch, const struct tcp_info *info)
{
	return tcp_watch_get_wait(watch, info) >= OVERDUE_MSEC || (info->tcpi_unacked > 0 && info->tcpi_retransmits >= LOST_TIMEOUTS);
}

static int tcp_watch_on_timer(sd_event_source *source, uint64_t usec, void *userdata);

/* The kernel counts from the first retransmission, so never from before the last look that found all in order. */
static void tcp_watch_enter_overdue(struct tcp_watch *watch)
{
	if (!watch->is_overdue)
		log_info("the VM does not acknowledge what it is sent");
	watch->is_overdue = true;
	tcp_watch_set_user_timeout(watch, (unsigned)tcp_watch_age(watch->in_order_usec) + AHEAD_MSEC);
	timer_arm(watch->event, &watch->timer, LOOK_MSEC * USEC_PER_MSEC, tcp_watch_on_timer, watch);
}

static void tcp_watch_leave_overdue(struct tcp_watch *watch)
{
	if (watch->is_overdue)
		log_info("the VM acknowledges again");
	watch->is_overdue = false;
	tcp_watch_set_user_timeout(watch, 0);
	timer_disarm(watch->timer);
}

/* Whether the silence is over the limit. */
static bool tcp_watch_check(struct tcp_watch *watch, uint64_t *ret_silence)
{
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);

	if (getsockopt(watch->fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0 || info.tcpi_state != TCP_ESTABLISHED)
		return false; /* its end is told by the socket */
	if (info.tcpi_unacked == 0)
		watch->idle_usec = clock_now_usec();
	if (info.tcpi_ca_state == TCP_CA_Open && info.tcpi_retransmits == 0)
		watch->in_order_usec = clock_now_usec();
	*ret_silence = tcp_watch_get_silence(&info);
	if (!tcp_watch_is_waiting(watch, &info)) {
		tcp_watch_leave_overdue(watch);
		return false;
	}
	if (*ret_silence >= watch->limit_msec)
		return true;
	tcp_watch_enter_overdue(watch);
	return false;
}

static int tcp_watch_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct tcp_watch *watch = userdata;
	uint64_t silence = 0;

	(void)source;
	(void)usec;
	if (tcp_watch_check(watch, &silence))
		watch->on_dead(silence, watch->userdata);
	return 0;
}

void tcp_watch_look(struct tcp_watch *watch)
{
	uint64_t silence = 0;

	if (tcp_watch_check(watch, &silence)) /* told from the loop, as promised */
		timer_arm(watch->event, &watch->timer, 0, tcp_watch_on_timer, watch);
}

int tcp_watch_new(sd_event *event, int fd, uint32_t limit_msec, tcp_watch_fn on_dead, void *userdata, struct tcp_watch **ret_watch)
{
	struct tcp_watch *watch = calloc(1, sizeof(*watch));
	int r;

	if (!watch)
		return -ENOMEM;
	*watch = (struct tcp_watch){ .event = event, .fd = fd, .limit_msec = limit_msec, .on_dead = on_dead, .userdata = userdata };
	watch->idle_usec = watch->in_order_usec = clock_now_usec();
	r = timer_new(event, &watch->timer, tcp_watch_on_timer, watch);
	if (r < 0) {
		free(watch);
		return r;
	}
	tcp_watch_look(watch);
	*ret_watch = watch;
	return 0;
}

struct tcp_watch *tcp_watch_free(struct tcp_watch *watch)
{
	if (!watch)
		return NULL;
	sd_event_source_disable_unref(watch->timer);
	free(watch);
	return NULL;
}
