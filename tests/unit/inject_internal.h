#pragma once

#include "inject.h"

/* Whether this call is to fail. Its errno is set then. */
bool inject_hits(enum inject_family family, const char *call);

/* A call's stand-in: declared and defined. */
#define INJECT(type, name, parameters) \
	type inject_##name parameters; \
	type inject_##name parameters

/* One that only fails or passes on. */
#define INJECT_SIMPLE(family, type, name, parameters, arguments, failure)       \
	INJECT(type, name, parameters)                                          \
	{                                                                       \
		return inject_hits(family, #name) ? (failure) : name arguments; \
	}

/* The same under the name that _FILE_OFFSET_BITS gives it. */
#define INJECT_LARGE(name) extern typeof(inject_##name) inject_##name##64 __attribute__((alias("inject_" #name)))
