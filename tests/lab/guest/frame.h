/* Frames on the command port: { u32 length, u32 stream, u32 type } and a payload,
 * little endian. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum frame_type {
	FRAME_EXEC = 2,
	FRAME_STDIN = 3,
	FRAME_STDIN_EOF = 4,
	FRAME_KILL = 5,
	FRAME_WINSIZE = 6,
	FRAME_HELLO_AGAIN = 7,
	FRAME_STDOUT = 17,
	FRAME_STDERR = 18,
	FRAME_EXIT = 19,
	FRAME_CREDIT = 20,
	FRAME_READY = 21,
};

enum { FRAME_MAX = 1 << 20, FRAME_CHUNK = 32768 - 64 };

struct frame_header {
	uint32_t length, stream, type;
};

extern int frame_port_fd;
extern bool frame_is_in_step; /* the host has repeated our nonce */

/* Sends at most FRAME_CHUNK bytes; nothing before the host is in step. */
void frame_send(uint32_t stream, enum frame_type type, const void *data, size_t n);
void frame_send_number(uint32_t stream, enum frame_type type, uint32_t number);
