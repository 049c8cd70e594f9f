#include "usbfs_special.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "usbfs.h"

struct special {
	int fd; /* owned: the session may end meanwhile */
	enum usbfs_urb_kind kind;
	uint8_t value, index; /* of the request: low bytes of wValue, wIndex */
};

static void special_free(void *arg)
{
	struct special *special = arg;

	close_fd(special->fd);
	free(special);
}

/* No interface may be claimed meanwhile: it may not be there afterwards. */
static int special_set_configuration(const struct special *special)
{
	int r, s;

	usbfs_release_interfaces(special->fd);
	r = usbfs_set_configuration(special->fd, special->value);
	s = usbfs_claim_interfaces(special->fd);
	return r < 0 ? r : s;
}

static int special_reset(const struct special *special)
{
	int r, s;

	usbfs_release_interfaces(special->fd);
	r = usbfs_reset(special->fd);
	s = usbfs_claim_interfaces(special->fd);
	return r < 0 ? r : s;
}

static int special_run(void *arg)
{
	const struct special *special = arg;

	switch (special->kind) {
	case USBFS_URB_SET_INTERFACE:
		return usbfs_set_interface(special->fd, special->index, special->value);
	case USBFS_URB_SET_CONFIGURATION:
		return special_set_configuration(special);
	case USBFS_URB_CLEAR_HALT:
		return usbfs_clear_halt(special->fd, special->index);
	case USBFS_URB_RESET:
		return special_reset(special);
	case USBFS_URB_TRANSFER:
		break;
	}
	return -EINVAL;
}

int usbfs_special_start(struct job_runner *jobs, const char *name, int fd, const struct usbfs_urb *urb, job_done_fn on_done, void *userdata,
			struct job **ret_job)
{
	struct special *special = calloc(1, sizeof(*special));
	int r;

	if (!special)
		return -ENOMEM;
	special->kind = usbfs_urb_get_kind(urb);
	special->value = urb->request.setup[2];
	special->index = urb->request.setup[4];
	special->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (special->fd < 0) {
		r = -errno;
		special_free(special);
		return r;
	}
	r = job_start(jobs, name, special_run, special, special_free, on_done, userdata, ret_job);
	if (r < 0)
		special_free(special);
	return r;
}
