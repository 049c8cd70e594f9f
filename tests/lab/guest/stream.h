/* The commands under way in this guest, each a stream of frames. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct frame_header;

/* epoll_fd: where streams watch their ends, with `source` in the upper half of
 * the event's data; the lower half goes to streams_take_event(). */
void streams_init(int epoll_fd, uint32_t source);
void streams_take_event(uint32_t which, uint32_t events);
/* A frame of the host's: EXEC begins a stream, all others belong to one. */
void streams_take_frame(const struct frame_header *h, char *payload);
/* This child has ended: sends what it wrote before, and its exit code. */
void streams_take_exit(pid_t pid, int status);
void streams_kill_all(void);
