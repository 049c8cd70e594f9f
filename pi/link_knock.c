#include "daemon.h"
#include "link_internal.h"

#define KNOCK_GAP_USEC UINT64_C(1000000) /* between the beginnings of two tries, the later one for a knock */

/* No count of knocks, and none is lost: one that comes too early after a try brings the next one to the end of the gap. */
static void link_hurry(struct link *link)
{
	uint64_t now = clock_now_usec(), earliest = link->attempt_since_usec + KNOCK_GAP_USEC;

	if (earliest < now)
		earliest = now;
	if (earliest < link->next_try_usec)
		link_schedule_retry(link, earliest);
}

void link_knock(struct link *link)
{
	switch (link->state) {
	case LINK_DOWN:
		link_hurry(link);
		break;
	case LINK_CONNECTING:
	case LINK_AUTHENTICATING:
	case LINK_SYNCING:
		link->is_knocked = true;
		break;
	case LINK_UNPAIRED:
	case LINK_UP:
	case LINK_REFUSED:
		break;
	}
}

void link_recall_knock(struct link *link)
{
	if (link->is_knocked)
		link_hurry(link);
	link->is_knocked = false;
}
