#include "backoff.h"

#include <sys/random.h>

uint64_t backoff_next(struct backoff *backoff)
{
	uint64_t half, random = 0;

	if (backoff->step_usec == 0)
		backoff->step_usec = backoff->min_usec;
	else if (backoff->step_usec < backoff->max_usec)
		backoff->step_usec *= 2;
	if (backoff->step_usec > backoff->max_usec)
		backoff->step_usec = backoff->max_usec;
	half = backoff->step_usec / 2;
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = half; /* no entropy yet at boot: a fixed jitter is good enough for once */
	return backoff->step_usec - random % (half + 1);
}

void backoff_reset(struct backoff *backoff)
{
	backoff->step_usec = 0;
}
