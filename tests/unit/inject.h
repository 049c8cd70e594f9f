#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Calls of our own code that fail on purpose. The check programs link copies of our libraries in which the calls of inject.syms are renamed to inject_*
 * (objcopy --redefine-syms): so only our code's calls are counted and failed, not the tests' and not those inside other libraries, and sanitizers and valgrind
 * see everything as it is. jansson's own allocations count as ours. Without inject_arm() every call just passes. */

enum inject_family {
	INJECT_MEMORY, /* malloc, strdup, asprintf, open_memstream, ... */
	INJECT_FILES,  /* open, read, write, close, readdir, rename, ...: sysfs and our own files */
	INJECT_SSH,    /* libssh */
	INJECT_LOOP,   /* sd-event, sockets, threads, processes */
	INJECT_FAMILIES,
};

/* A name for people: "memory". */
const char *inject_family_to_string(enum inject_family family);

/* From now on counts that family's calls. The nth of them (1: the next) fails, and with it the n_fails - 1 after it; 0: none does. error is the errno of a
 * call of INJECT_FILES; others fail in the way that they have. */
void inject_arm(enum inject_family family, unsigned nth, unsigned n_fails, int error);

/* From now on every call passes, uncounted. */
void inject_disarm(void);

/* Between pause and resume of this thread calls pass uncounted: for what a test itself asks of our code. */
void inject_pause(void);
void inject_resume(void);

/* What is armed and counted, to be shared with a process that is forked: a new one; make it this process' one; take it away (this process' one is its own again). */
struct inject *inject_new_shared(void);
void inject_use(struct inject *shared);
void inject_free_shared(struct inject *shared);

/* How many calls were counted since inject_arm(). */
unsigned inject_count(void);

/* The errno given to inject_arm(); 0 for a family that takes none. */
int inject_error(void);

/* The name of the first call that failed since inject_arm(); "" if none has. */
const char *inject_failed_call(void);

/* Whether write(2) is answered by fn, with *ret_result (a negative errno is turned into errno): for a fake kernel. NULL ends it. */
typedef bool (*inject_write_fn)(int fd, const void *data, size_t size, ssize_t *ret_result, void *userdata);
void inject_answer_writes(inject_write_fn fn, void *userdata);

/* The same for ioctl(2), of any thread: for a fake usbfs. Waits for those that fn is at work on: afterwards none is. */
typedef bool (*inject_ioctl_fn)(int fd, unsigned long request, void *argument, int *ret_result, void *userdata);
void inject_answer_ioctls(inject_ioctl_fn fn, void *userdata);

/* The same for fsync(2), of any thread: for a disk that takes its time. */
typedef bool (*inject_sync_fn)(int fd, int *ret_result, void *userdata);
void inject_answer_syncs(inject_sync_fn fn, void *userdata);

/* fn is told of each close(2), of any thread, before it is done: for a fake that loses what was open. NULL ends it, as above. */
typedef void (*inject_close_fn)(int fd, void *userdata);
void inject_watch_closes(inject_close_fn fn, void *userdata);
