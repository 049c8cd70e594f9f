#pragma once

#include <check.h>

#include "inject.h"

/* A story is told once, in a process of its own, to count a family's calls, and then again and again: each time another call fails. What such a telling may
 * come to is the story's business (it asserts); that it ends in time, without a crash, is looked at here, and that it leaks nothing by the sanitizer. */
struct each_call_story {
	const char *name;
	const TTest *tell;
	unsigned n_quick; /* so many calls of each family are failed in a quick run, evenly spread */
};

/* How many of the calls are failed: with USBPUSH_THOROUGH in the environment each one; else so many a family as the story says (or USBPUSH_INJECT_EACH). With
 * USBPUSH_INJECT set to "FAMILY N ERRNO" only that one, with all that it says; with USBPUSH_INJECT_RANGE set to "FAMILY FIRST LAST" each of those, so that all can be
 * told piece by piece: of the first story, or of the one whose number stands behind ("memory 1 600 2"). */

/* Tells the stories (NULL-named end) and prints what came of it. Returns main()'s exit status. */
int each_call_run(const struct each_call_story *stories);
