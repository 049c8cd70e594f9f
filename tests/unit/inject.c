#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "inject_internal.h"

struct inject {
	enum inject_family family;
	bool is_armed;
	unsigned nth, n_fails;
	int error;
	unsigned count; /* several threads count */
	const char *failed_call;
};

static struct inject own, *inject = &own;

static __thread unsigned n_pauses;

/* ASan has it: who called. */
extern void __sanitizer_print_stack_trace(void) __attribute__((weak));

const char *inject_family_to_string(enum inject_family family)
{
	static const char *const names[] = {
		[INJECT_MEMORY] = "memory", [INJECT_FILES] = "files", [INJECT_SSH] = "ssh", [INJECT_LOOP] = "loop"
	};

	return names[family];
}

struct inject *inject_new_shared(void)
{
	void *shared = mmap(NULL, sizeof(*inject), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED)
		abort();
	return shared;
}

void inject_use(struct inject *shared)
{
	inject = shared;
}

void inject_free_shared(struct inject *shared)
{
	inject = &own;
	munmap(shared, sizeof(*shared));
}

static void *inject_json_malloc(size_t size)
{
	return inject_hits(INJECT_MEMORY, "jansson's malloc") ? NULL : malloc(size);
}

void inject_arm(enum inject_family family, unsigned nth, unsigned n_fails, int error)
{
	json_set_alloc_funcs(inject_json_malloc, free);
	inject_disarm();
	inject->family = family;
	inject->nth = nth;
	inject->n_fails = n_fails;
	inject->error = error;
	__atomic_store_n(&inject->count, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&inject->failed_call, NULL, __ATOMIC_SEQ_CST);
	__atomic_store_n(&inject->is_armed, true, __ATOMIC_SEQ_CST);
}

void inject_disarm(void)
{
	__atomic_store_n(&inject->is_armed, false, __ATOMIC_SEQ_CST);
}

void inject_pause(void)
{
	n_pauses++;
}

void inject_resume(void)
{
	n_pauses--;
}

unsigned inject_count(void)
{
	return __atomic_load_n(&inject->count, __ATOMIC_SEQ_CST);
}

int inject_error(void)
{
	return inject->family == INJECT_FILES ? inject->error : 0;
}

const char *inject_failed_call(void)
{
	const char *call = __atomic_load_n(&inject->failed_call, __ATOMIC_SEQ_CST);

	return call ? call : "";
}

static void trace(const char *call, unsigned n)
{
	if (!getenv("INJECT_TRACE"))
		return;
	fprintf(stderr, "inject: %s call %u, %s, fails\n", inject_family_to_string(inject->family), n, call);
	if (__sanitizer_print_stack_trace)
		__sanitizer_print_stack_trace();
}

bool inject_hits(enum inject_family family, const char *call)
{
	const char *none = NULL;
	unsigned n;

	if (!__atomic_load_n(&inject->is_armed, __ATOMIC_SEQ_CST) || family != inject->family || n_pauses)
		return false;
	n = __atomic_add_fetch(&inject->count, 1, __ATOMIC_SEQ_CST);
	if (!inject->nth || n < inject->nth || n >= inject->nth + inject->n_fails)
		return false;
	__atomic_compare_exchange_n(&inject->failed_call, &none, call, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	trace(call, n);
	errno = family == INJECT_MEMORY ? ENOMEM : inject->error;
	return true;
}
