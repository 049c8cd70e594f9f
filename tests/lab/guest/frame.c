#include "frame.h"

#include <errno.h>
#include <string.h>

#include "port.h"

int frame_port_fd = -EBADF;
bool frame_is_in_step;

static struct {
	struct frame_header header;
	char payload[FRAME_CHUNK];
} frame;

void frame_send(uint32_t stream, enum frame_type type, const void *data, size_t n)
{
	if (!frame_is_in_step)
		return;
	frame.header = (struct frame_header){ .length = n, .stream = stream, .type = type };
	if (n)
		memcpy(frame.payload, data, n);
	port_write(frame_port_fd, &frame, sizeof frame.header + n);
}

void frame_send_number(uint32_t stream, enum frame_type type, uint32_t number)
{
	frame_send(stream, type, &number, sizeof number);
}
