/*
 * Prints how many thousand times a second this machine's time stamp counter counts, to the nearest thousand thousands: what a
 * guest under TCG reads is the host's own counter. A guest measures it at boot, against a timer, and on a busy host it may be
 * wrong by a factor of ten; from then on all of the guest's time is.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

struct moment {
	uint64_t ticks;
	double seconds;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The narrowest of many looks at both clocks: one in which nobody took the processor away in between. */
static struct moment look(void)
{
	struct moment best = { 0 };
	uint64_t width = UINT64_MAX;

	for (int i = 0; i < 1000; i++) {
		const uint64_t before = __rdtsc();
		const double seconds = now();
		const uint64_t after = __rdtsc();

		if (after - before < width) {
			width = after - before;
			best = (struct moment){ before + width / 2, seconds };
		}
	}
	return best;
}

int main(void)
{
	const struct moment from = look();
	struct moment to;

	nanosleep(&(struct timespec){ .tv_nsec = 200 * 1000 * 1000 }, NULL);
	to = look();
	const double khz = (double)(to.ticks - from.ticks) / (to.seconds - from.seconds) / 1e3;

	printf("%.0f\n", (double)(uint64_t)(khz / 1e3 + 0.5) * 1e3);
	return 0;
}
