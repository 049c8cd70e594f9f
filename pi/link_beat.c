#include "daemon.h"
#include "link_internal.h"
#include "log.h"

#define USEC_PER_SEC   UINT64_C(1000000)
#define USEC_PER_MSEC  UINT64_C(1000)
#define BEATS_PER_PING 5

static void link_send_ping(struct link *link)
{
	struct message message = { .type = MESSAGE_PING, .seq = ++link->ping_seq };

	link->ping_sent_usec = clock_now_usec();
	link_send(link, &message);
}

void link_ping(struct link *link)
{
	link->rtt_usec = 0; /* what is asked for now is not answered by what was measured before */
	link_send_ping(link);
}

void link_take_pong(struct link *link, uint64_t seq)
{
	if (seq == link->ping_seq && link->ping_sent_usec) {
		link->rtt_usec = clock_now_usec() - link->ping_sent_usec;
		link->ping_sent_usec = 0;
	}
}

static int link_on_beat(sd_event_source *source, uint64_t usec, void *userdata);

void link_arm_beat(struct link *link)
{
	timer_arm(link->event, &link->beat_timer, patience_to_beat(link->config.patience_ms) * USEC_PER_MSEC, link_on_beat, link);
}

/* That the VM's kernel lives is what the transport watches. Its handler, which is asked at every fifth beat, has twice the patience: after a cut that was long
 * but not too long, the VM's TCP may find out that late. Whether it is taken for dead. */
static bool link_give_up_handler(struct link *link)
{
	uint64_t silence = clock_now_usec() - link->heard_usec;
	struct failure failure;

	if (silence < link->config.patience_ms * 2 * USEC_PER_MSEC)
		return false;
	failure_set(&failure, FAILURE_TIMEOUT, "On the VM: systemctl restart usbpush-handler",
		    "the handler on the VM has said nothing for %u s", (unsigned)(silence / USEC_PER_SEC));
	link_fail(link, &failure);
	return true;
}

/* This machine was asleep (or held up) and its clock went on: what the VM said meanwhile is still to be read, so it gets the time until the next beat. */
static void link_forgive_sleep(struct link *link, uint64_t late_usec)
{
	uint64_t beat_usec = patience_to_beat(link->config.patience_ms) * USEC_PER_MSEC, now = clock_now_usec(), earliest;

	if (late_usec < beat_usec)
		return;
	log_info("link to %s: this machine was asleep for %u s", link->config.host, (unsigned)(late_usec / USEC_PER_SEC));
	earliest = now - link->config.patience_ms * 2 * USEC_PER_MSEC + beat_usec;
	if (link->heard_usec < earliest)
		link->heard_usec = earliest;
	if (link->state == LINK_UP)
		link_send_ping(link);
}

static int link_on_beat(sd_event_source *source, uint64_t usec, void *userdata)
{
	const struct message beat = { .type = MESSAGE_BEAT };
	struct link *link = userdata;

	(void)source;
	link_forgive_sleep(link, clock_now_usec() - usec);
	link_arm_beat(link);
	transport_look(link->transport);
	if (link->state != LINK_UP || link_give_up_handler(link))
		return 0;
	if (++link->n_beats % BEATS_PER_PING != 0)
		link_send(link, &beat);
	else
		link_send_ping(link);
	return 0;
}

int link_make_beat_timer(struct link *link)
{
	return timer_new(link->event, &link->beat_timer, link_on_beat, link);
}
