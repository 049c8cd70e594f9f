#pragma once

#include <stdint.h>

/* Exponential backoff with jitter: each delay is drawn from half to the whole of a step that doubles from min to max. */
struct backoff {
	uint64_t min_usec, max_usec;
	uint64_t step_usec; /* 0: fresh */
};

/* The next delay in µs. */
uint64_t backoff_next(struct backoff *backoff);

/* After a success: the next delay starts from min again. */
void backoff_reset(struct backoff *backoff);
