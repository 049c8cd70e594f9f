#pragma once

/* Scope-bound cleanup in the manner of systemd. A variable marked with one of these is released when it leaves its scope;
 * TAKE_PTR and TAKE_FD hand it on. */

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

/* Closes *fd unless it is negative, and keeps errno. */
static inline void closep(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

/* Closes fd unless it is negative; always returns -EBADF, for `x->fd = close_fd(x->fd)`. */
static inline int close_fd(int fd)
{
	closep(&fd);
	return -EBADF;
}

/* free() of what *p points at. */
static inline void freep(void *p)
{
	free(*(void **)p);
}

/* fclose() unless NULL. */
static inline void fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

/* closedir() unless NULL. */
static inline void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define _cleanup_close_    _cleanup_(closep)
#define _cleanup_free_     _cleanup_(freep)
#define _cleanup_fclose_   _cleanup_(fclosep)
#define _cleanup_closedir_ _cleanup_(closedirp)
#define _cleanup_json_     _cleanup_(json_decrefp) /* jansson.h has the function */

#define TAKE_PTR(p)                 \
	({                          \
		typeof(p) _p = (p); \
		(p) = NULL;         \
		_p;                 \
	})

#define TAKE_FD(fd)             \
	({                      \
		int _fd = (fd); \
		(fd) = -EBADF;  \
		_fd;            \
	})

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
