#include "usbfs_special.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "usbfs.h"
#include "usbfs_specials.h"

struct special {
	int fd;                          /* owned: the session may end meanwhile */
	struct usbfs_specials *specials; /* owned reference: it is one of those */
	bool is_over;
	enum usbfs_urb_kind kind;
	uint8_t value, index; /* of the request: low bytes of wValue, wIndex */
};

static void special_free(void *arg)
{
	struct special *special = arg;

	close_fd(special->fd);
	if (!special->is_over)
		usbfs_specials_end(special->specials);
	usbfs_specials_unref(special->specials);
	free(special);
}

/* No interface may be claimed meanwhile: it may not be there afterwards. A failure leaves the device without a configuration (usb_set_configuration()), but where it has no
 * such one, or nothing was tried. */
static int special_set_configuration(const struct special *special)
{
	int r = usbfs_release_interfaces(special->fd), s;

	if (r < 0) {
		(void)usbfs_claim_again(special->fd, special->specials);
		return r;
	}
	r = usbfs_set_configuration(special->fd, special->value);
	if (r == 0)
		usbfs_specials_set_configuration(special->specials, special->value);
	else if (r != -EINVAL && r != -EBUSY)
		usbfs_specials_set_configuration(special->specials, 0);
	s = usbfs_claim_again(special->fd, special->specials);
	return r < 0 ? r : s;
}

static int special_reset(const struct special *special)
{
	int r = usbfs_release_interfaces(special->fd), s;

	if (r == 0)
		r = usbfs_reset(special->fd);
	s = usbfs_claim_again(special->fd, special->specials);
	return r < 0 ? r : s;
}

static int special_do(const struct special *special)
{
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
	case USBFS_URB_SET_ADDRESS:
		break;
	}
	return -EINVAL;
}

/* Nothing of it touches the device once it is over. */
static int special_run(void *arg)
{
	struct special *special = arg;
	int r = special_do(special);

	special->is_over = true;
	usbfs_specials_end(special->specials);
	return r;
}

int usbfs_special_start(struct job_runner *jobs, const char *name, const struct usbfs_claim *claim, const struct usbfs_urb *urb,
			job_done_fn on_done, void *userdata, struct job **ret_job)
{
	struct special *special = calloc(1, sizeof(*special));
	int r;

	if (!special)
		return -ENOMEM;
	special->specials = usbfs_specials_begin(claim->specials);
	special->kind = usbfs_urb_get_kind(urb);
	special->value = urb->request.setup[2];
	special->index = urb->request.setup[4];
	special->fd = fcntl(claim->fd, F_DUPFD_CLOEXEC, 3);
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
