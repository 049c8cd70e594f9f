#include "api_knock.h"

#include "api_answer.h"
#include "daemon.h"

#define KNOCK_GAP_USEC   250000  /* between two that the exporter hears of */
#define KNOCK_LIMIT_USEC 1000000 /* for its answer, which nobody waits for */

static void knock_on_answer(const json_t *answer, const struct failure *failure, void *userdata)
{
	(void)answer;
	(void)failure; /* an exporter that does not run tries by itself when it starts */
	(void)userdata;
}

static int knock_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct portal *portal = userdata;

	(void)source;
	(void)usec;
	portal->knocked_usec = clock_now_usec();
	(void)upstream_ask(portal->upstream, json_pack("{s:s}", "request", "knock"), KNOCK_LIMIT_USEC, knock_on_answer, NULL);
	return 0;
}

int api_knock_init(struct portal *portal)
{
	return timer_new(portal->event, &portal->knock_timer, knock_on_timer, portal);
}

/* All who knock before the timer ends are one. */
static void knock_pass_on(struct portal *portal)
{
	uint64_t now = clock_now_usec(), earliest = portal->knocked_usec + KNOCK_GAP_USEC;
	int is_armed = SD_EVENT_OFF;

	(void)sd_event_source_get_enabled(portal->knock_timer, &is_armed);
	if (is_armed == SD_EVENT_OFF)
		timer_arm(portal->event, &portal->knock_timer, earliest > now ? earliest - now : 0, knock_on_timer, portal);
}

void api_knock(const struct api_call *call)
{
	knock_pass_on(call->portal);
	api_add_security_headers(call->request, NULL);
	http_request_add_header(call->request, "Cache-Control", "no-store");
	http_reply_static(call->request, 204, NULL, "", 0);
}
