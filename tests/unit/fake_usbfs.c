#include "fake_usbfs.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "inject.h"

#define MAX_FDS 256

/* clang-format off */
const uint8_t FAKE_USBFS_DESCRIPTORS[] = {
	18, 1, 0, 2, 0, 0, 0, 64, 0x03, 0x04, 0x01, 0x60, 0, 6, 1, 2, 3, 1, /* the device */
	9, 2, 98, 0, 2, 1, 0, 0x80, 50, /* configuration 1 */
	9, 4, 0, 0, 2, 255, 0, 0, 0, 7, 5, 0x81, 2, 64, 0, 0, 7, 5, 0x01, 2, 64, 0, 0, /* interface 0, and its other settings */
	9, 4, 0, 1, 0, 255, 0, 0, 0,
	9, 4, 0, 2, 0, 255, 0, 0, 0,
	9, 4, 1, 0, 2, 255, 0, 0, 0, 7, 5, 0x82, 2, 64, 0, 0, 7, 5, 0x02, 2, 64, 0, 0, /* interface 1 */
	9, 4, 1, 1, 1, 255, 0, 0, 0, 7, 5, 0x83, 2, 64, 0, 0,
	9, 4, 1, 2, 0, 7, 1, 2, 0, /* as a printer */
};
/* clang-format on */
const size_t FAKE_USBFS_DESCRIPTORS_SIZE = sizeof(FAKE_USBFS_DESCRIPTORS);

/* ---- readiness: a socket that can be written to is a node with something to reap ---- */

static void set_ready(struct fake_usbfs *usbfs, bool is_ready)
{
	char chunk[1024] = "";

	if (usbfs->is_ready == is_ready || usbfs->far_end < 0)
		return;
	usbfs->is_ready = is_ready;
	if (is_ready)
		while (read(usbfs->far_end, chunk, sizeof(chunk)) > 0)
			;
	else
		while (write(usbfs->filler, chunk, sizeof(chunk)) > 0)
			;
}

static void update_ready(struct fake_usbfs *usbfs)
{
	bool is_ready = false;

	for (unsigned i = 0; i < usbfs->n_transfers && !is_ready; i++)
		is_ready = usbfs->transfers[i]->is_done;
	set_ready(usbfs, is_ready);
}

/* ---- with the lock held ---- */

static void note(struct fake_usbfs *usbfs, const char *what, int number)
{
	size_t used = strlen(usbfs->log);

	if (number >= 0)
		snprintf(usbfs->log + used, sizeof(usbfs->log) - used, "%s%s %d", used ? "; " : "", what, number);
	else
		snprintf(usbfs->log + used, sizeof(usbfs->log) - used, "%s%s", used ? "; " : "", what);
}

static void commit_crime(struct fake_usbfs *usbfs, const char *what)
{
	if (!usbfs->crime[0])
		snprintf(usbfs->crime, sizeof(usbfs->crime), "%s", what);
}

static bool has_claims(const struct fake_usbfs *usbfs)
{
	for (unsigned i = 0; i < usbfs->n_interfaces; i++)
		if (usbfs->interfaces[i].is_claimed)
			return true;
	return false;
}

/* The one that ends goes behind those that did before. */
static void end_transfer(struct fake_usbfs *usbfs, unsigned i, int status)
{
	struct fake_transfer *transfer = usbfs->transfers[i];

	transfer->is_done = true;
	transfer->status = status;
	memmove(&usbfs->transfers[i], &usbfs->transfers[i + 1], (usbfs->n_transfers - i - 1) * sizeof(transfer));
	usbfs->transfers[usbfs->n_transfers - 1] = transfer;
	update_ready(usbfs);
}

static void end_all(struct fake_usbfs *usbfs, int status)
{
	for (unsigned n = usbfs->n_transfers, i = 0; n > 0; n--)
		if (usbfs->transfers[i]->is_done)
			i++;
		else
			end_transfer(usbfs, i, status);
}

static int find_transfer(struct fake_usbfs *usbfs, uint8_t endpoint)
{
	for (unsigned i = 0; i < usbfs->n_transfers; i++) {
		const struct usbdevfs_urb *urb = usbfs->transfers[i]->urb;

		if (!usbfs->transfers[i]->is_done && (endpoint ? urb->endpoint == endpoint : (urb->endpoint & 15) == 0))
			return (int)i;
	}
	return -1;
}

static void forget_transfers(struct fake_usbfs *usbfs)
{
	for (unsigned i = 0; i < usbfs->n_transfers; i++) {
		free((void *)usbfs->transfers[i]->data);
		free(usbfs->transfers[i]);
	}
	usbfs->n_transfers = 0;
}

static int do_claim(struct fake_usbfs *usbfs, const struct usbdevfs_disconnect_claim *claim)
{
	if (claim->interface >= usbfs->n_interfaces)
		return -EINVAL;
	if (claim->flags != USBDEVFS_DISCONNECT_CLAIM_EXCEPT_DRIVER || strcmp(claim->driver, "usbfs") != 0)
		commit_crime(usbfs, "an interface is claimed from whoever has it");
	note(usbfs, "claim", (int)claim->interface);
	if (usbfs->interfaces[claim->interface].is_claimed || strcmp(usbfs->interfaces[claim->interface].driver, "usbfs") == 0)
		return -EBUSY;
	usbfs->interfaces[claim->interface].is_claimed = true;
	usbfs->interfaces[claim->interface].driver[0] = '\0';
	return 0;
}

/* releaseintf() */
static int do_release(struct fake_usbfs *usbfs, unsigned interface)
{
	if (interface >= usbfs->n_interfaces)
		return -ENOENT;
	if (!usbfs->interfaces[interface].is_claimed)
		return -EINVAL;
	note(usbfs, "release", (int)interface);
	usbfs->interfaces[interface].is_claimed = false;
	return 0;
}

static int do_connect(struct fake_usbfs *usbfs, unsigned interface)
{
	if (interface >= usbfs->n_interfaces)
		return -EINVAL;
	if (usbfs->interfaces[interface].is_claimed || usbfs->interfaces[interface].driver[0])
		return -EBUSY;
	note(usbfs, "connect", (int)interface);
	strcpy(usbfs->interfaces[interface].driver, "ftdi_sio");
	return 0;
}

static int do_reset(struct fake_usbfs *usbfs)
{
	note(usbfs, "reset", -1);
	if (has_claims(usbfs))
		commit_crime(usbfs, "reset while interfaces are claimed: their drivers get them");
	end_all(usbfs, -ESHUTDOWN);
	return usbfs->special_result;
}

/* proc_setconfig(): not while anybody has an interface, a driver or a program. */
static int do_set_configuration(struct fake_usbfs *usbfs, unsigned configuration)
{
	note(usbfs, "configuration", (int)configuration);
	for (unsigned i = 0; i < usbfs->n_interfaces; i++)
		if (usbfs->interfaces[i].is_claimed || usbfs->interfaces[i].driver[0])
			return -EBUSY;
	return usbfs->special_result;
}

static bool has_endpoint(const struct fake_usbfs *usbfs, uint8_t endpoint)
{
	uint16_t mask = endpoint & 0x80 ? usbfs->in_endpoints : usbfs->out_endpoints;

	return (endpoint & 15) == 0 || (mask >> (endpoint & 15) & 1);
}

static bool is_claimed(const struct fake_usbfs *usbfs, unsigned interface)
{
	return interface < usbfs->n_interfaces && usbfs->interfaces[interface].is_claimed;
}

/* GET_DEVICE_ID of the setting that is a printer's, above. */
static bool is_of_printer(const uint8_t *setup)
{
	return setup[0] == 0xa1 && setup[1] == 0 && setup[4] == 2 && setup[5] == 1;
}

/* check_ctrlrecip() */
static void check_recipient(struct fake_usbfs *usbfs, const struct usbdevfs_urb *urb)
{
	const uint8_t *setup = urb->buffer;
	bool is_of_endpoint = urb->type == USBDEVFS_URB_TYPE_CONTROL && (setup[0] & 0x60) != 0x40 && (setup[0] & 0x1f) == 2;

	if (is_of_endpoint && !has_endpoint(usbfs, setup[4]) && has_endpoint(usbfs, setup[4] ^ 0x80))
		commit_crime(usbfs, "an endpoint is named in the wrong direction: the kernel's log has a line of it");
	if (urb->type == USBDEVFS_URB_TYPE_CONTROL && (setup[0] & 0x60) != 0x40 && (setup[0] & 0x1f) == 1 && !is_of_printer(setup) &&
	    !is_claimed(usbfs, setup[4]))
		commit_crime(usbfs, "an interface is named that is not claimed: the kernel's log has a line of it");
}

/* proc_do_submiturb() */
static int check_urb(const struct usbdevfs_urb *urb)
{
	const uint8_t *setup = urb->buffer;

	if (urb->type == USBDEVFS_URB_TYPE_CONTROL)
		return urb->buffer_length < 8 || urb->buffer_length < (setup[6] | setup[7] << 8) + 8 ? -EINVAL : 0;
	if (urb->type == USBDEVFS_URB_TYPE_ISO)
		return urb->number_of_packets < 1 || urb->number_of_packets > 128 ? -EINVAL : 0;
	return 0;
}

static int do_submit(struct fake_usbfs *usbfs, struct usbdevfs_urb *urb)
{
	struct fake_transfer *transfer;
	int r = has_endpoint(usbfs, urb->endpoint) ? check_urb(urb) : -ENOENT;

	if ((urb->endpoint & 15) && !has_claims(usbfs))
		commit_crime(usbfs, "a transfer while nothing is claimed: the kernel claims by itself");
	if (r == 0)
		check_recipient(usbfs, urb);
	if (r == 0 && usbfs->max_transfers && usbfs->n_transfers >= usbfs->max_transfers) {
		usbfs->n_refused++;
		r = -ENOMEM;
	}
	if (r < 0)
		return r;
	transfer = calloc(1, sizeof(*transfer));
	if (!transfer || usbfs->n_transfers == FAKE_USBFS_URBS)
		abort();
	transfer->urb = urb;
	usbfs->transfers[usbfs->n_transfers++] = transfer;
	return 0;
}

static int do_discard(struct fake_usbfs *usbfs, const struct usbdevfs_urb *urb)
{
	for (unsigned i = 0; i < usbfs->n_transfers; i++)
		if (usbfs->transfers[i]->urb == urb && !usbfs->transfers[i]->is_done) {
			end_transfer(usbfs, i, -ENOENT);
			return 0;
		}
	return -EINVAL;
}

/* processcompl() */
static void tell_results(struct fake_transfer *transfer)
{
	struct usbdevfs_urb *urb = transfer->urb;
	size_t offset = urb->type == USBDEVFS_URB_TYPE_CONTROL ? 8 : 0;

	urb->status = transfer->status;
	urb->actual_length = (int)transfer->actual_length;
	if (transfer->data)
		memcpy((uint8_t *)urb->buffer + offset, transfer->data, transfer->actual_length);
	for (int i = 0; urb->type == USBDEVFS_URB_TYPE_ISO && i < urb->number_of_packets; i++) {
		urb->iso_frame_desc[i].actual_length = transfer->packets[i].actual_length;
		urb->iso_frame_desc[i].status = transfer->packets[i].status;
	}
}

static int do_reap(struct fake_usbfs *usbfs, void **ret_urb)
{
	for (unsigned i = 0; i < usbfs->n_transfers; i++) {
		struct fake_transfer *transfer = usbfs->transfers[i];

		if (!transfer->is_done)
			continue;
		memmove(&usbfs->transfers[i], &usbfs->transfers[i + 1], (--usbfs->n_transfers - i) * sizeof(transfer));
		tell_results(transfer);
		*ret_urb = transfer->urb;
		free((void *)transfer->data);
		free(transfer);
		update_ready(usbfs);
		return 0;
	}
	return usbfs->is_unplugged ? -ENODEV : -EAGAIN;
}

/* proc_setintf(), usb_set_interface() */
static int do_set_interface(struct fake_usbfs *usbfs, const struct usbdevfs_setinterface *set)
{
	note(usbfs, "interface", (int)set->interface);
	note(usbfs, "setting", (int)set->altsetting);
	if (set->interface >= usbfs->n_interfaces)
		return -ENOENT;
	if (set->altsetting >= FAKE_USBFS_SETTINGS)
		commit_crime(usbfs, "a setting that is none is chosen: the kernel's log has a line of it");
	return usbfs->special_result;
}

/* proc_clearhalt(), check_reset_of_active_ep() */
static int do_clear_halt(struct fake_usbfs *usbfs, unsigned endpoint)
{
	note(usbfs, "clear", (int)endpoint);
	if (!has_endpoint(usbfs, (uint8_t)endpoint))
		return -ENOENT;
	if (find_transfer(usbfs, (uint8_t)endpoint) >= 0)
		commit_crime(usbfs, "a halt is ended under a transfer: the kernel's log has a line of it");
	return usbfs->special_result;
}

static int do_special(struct fake_usbfs *usbfs, unsigned long request, void *argument)
{
	const struct usbdevfs_ioctl *command = argument;

	switch (request) {
	case USBDEVFS_DISCONNECT_CLAIM:
		return do_claim(usbfs, argument);
	case USBDEVFS_RELEASEINTERFACE:
		return do_release(usbfs, *(unsigned *)argument);
	case USBDEVFS_IOCTL:
		return command->ioctl_code == (int)USBDEVFS_CONNECT ? do_connect(usbfs, (unsigned)command->ifno) : -ENOTTY;
	case USBDEVFS_RESET:
		return do_reset(usbfs);
	case USBDEVFS_SETINTERFACE:
		return do_set_interface(usbfs, argument);
	case USBDEVFS_SETCONFIGURATION:
		return do_set_configuration(usbfs, *(unsigned *)argument);
	case USBDEVFS_CLEAR_HALT:
		return do_clear_halt(usbfs, *(unsigned *)argument);
	default:
		return -ENOTTY;
	}
}

static int do_ioctl(struct fake_usbfs *usbfs, unsigned long request, void *argument)
{
	switch (request) {
	case USBDEVFS_REAPURBNDELAY:
		return do_reap(usbfs, argument);
	case USBDEVFS_DISCARDURB:
		return usbfs->is_unplugged ? -ENODEV : do_discard(usbfs, argument);
	case USBDEVFS_SUBMITURB:
		return usbfs->is_unplugged ? -ENODEV : do_submit(usbfs, argument);
	default:
		return usbfs->is_unplugged ? -ENODEV : do_special(usbfs, request, argument);
	}
}

/* The device's lock is held: whoever asks for anything meanwhile would sleep, and our loop must not. */
static void keep_waiting(struct fake_usbfs *usbfs, unsigned long request)
{
	static const unsigned long slow[] = { USBDEVFS_RESET, USBDEVFS_SETINTERFACE, USBDEVFS_SETCONFIGURATION, USBDEVFS_CLEAR_HALT };
	bool is_slow = false;

	if (usbfs->is_in_special)
		commit_crime(usbfs, "usbfs is asked while the device is being changed: the asker sleeps");
	for (size_t i = 0; i < sizeof(slow) / sizeof(slow[0]); i++)
		is_slow = is_slow || request == slow[i];
	if (!is_slow)
		return;
	usbfs->is_in_special = true;
	while (usbfs->is_held) {
		pthread_mutex_unlock(&usbfs->lock);
		usleep(1000);
		pthread_mutex_lock(&usbfs->lock);
	}
	usbfs->is_in_special = false;
}

static bool answer_ioctl(int fd, unsigned long request, void *argument, int *ret_result, void *userdata)
{
	struct fake_usbfs *usbfs = userdata;
	struct stat status;

	if (fstat(fd, &status) < 0 || status.st_ino != usbfs->inode)
		return false;
	pthread_mutex_lock(&usbfs->lock);
	keep_waiting(usbfs, request);
	*ret_result = do_ioctl(usbfs, request, argument);
	pthread_mutex_unlock(&usbfs->lock);
	return true;
}

/* The program has it open for writing by no other descriptor. far_end is ours. */
static bool is_last(const struct fake_usbfs *usbfs, int fd)
{
	struct stat status;

	for (int other = 3; other < MAX_FDS; other++)
		if (other != fd && other != usbfs->far_end && fstat(other, &status) == 0 && status.st_ino == usbfs->inode &&
		    (fcntl(other, F_GETFL) & O_ACCMODE) == O_RDWR)
			return false;
	return true;
}

/* usbdev_release(): what is under way ends untold, and nothing is claimed any more. */
static void on_close(int fd, void *userdata)
{
	struct fake_usbfs *usbfs = userdata;
	struct stat status;
	int saved = errno;

	if (fstat(fd, &status) == 0 && status.st_ino == usbfs->inode && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR && is_last(usbfs, fd)) {
		pthread_mutex_lock(&usbfs->lock);
		forget_transfers(usbfs);
		for (unsigned i = 0; i < usbfs->n_interfaces; i++)
			usbfs->interfaces[i].is_claimed = false;
		pthread_mutex_unlock(&usbfs->lock);
	}
	errno = saved;
}

/* ---- for tests ---- */

static void start(struct fake_usbfs *usbfs, unsigned n_interfaces)
{
	struct stat status;

	ck_assert_uint_le(n_interfaces, FAKE_USBFS_INTERFACES);
	ck_assert_int_eq(fstat(usbfs->filler, &status), 0);
	ck_assert_int_eq(fcntl(usbfs->far_end, F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(fcntl(usbfs->filler, F_SETFL, O_NONBLOCK), 0);
	usbfs->inode = status.st_ino;
	usbfs->n_interfaces = n_interfaces;
	usbfs->out_endpoints = 1 << 1 | 1 << 2;
	usbfs->in_endpoints = 1 << 1 | 1 << 2 | 1 << 3;
	for (unsigned i = 0; i < n_interfaces; i++)
		strcpy(usbfs->interfaces[i].driver, "ftdi_sio");
	pthread_mutex_init(&usbfs->lock, NULL);
	usbfs->is_ready = true;
	set_ready(usbfs, false);
	inject_answer_ioctls(answer_ioctl, usbfs);
	inject_watch_closes(on_close, usbfs);
}

void fake_usbfs_new(struct fake_usbfs *usbfs, unsigned n_interfaces)
{
	int fds[2], small = 4096;

	memset(usbfs, 0, sizeof(*usbfs));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	ck_assert_int_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	usbfs->node = usbfs->filler = fds[0];
	usbfs->far_end = fds[1];
	start(usbfs, n_interfaces);
}

/* A FIFO that is open both ways: it can be written to as long as it is not full, as a node with nothing to reap can't. */
void fake_usbfs_new_at(struct fake_usbfs *usbfs, const char *path, unsigned n_interfaces)
{
	memset(usbfs, 0, sizeof(*usbfs));
	(void)unlink(path);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	usbfs->node = -EBADF;
	usbfs->far_end = usbfs->filler = open(path, O_RDWR | O_CLOEXEC);
	start(usbfs, n_interfaces);
}

void fake_usbfs_free(struct fake_usbfs *usbfs)
{
	inject_answer_ioctls(NULL, NULL);
	inject_watch_closes(NULL, NULL);
	forget_transfers(usbfs);
	usbfs->far_end = close_fd(usbfs->far_end);
	ck_assert_msg(!usbfs->crime[0], "%s", usbfs->crime);
}

static bool is_in(const struct usbdevfs_urb *urb)
{
	const uint8_t *setup = urb->buffer;

	return urb->type == USBDEVFS_URB_TYPE_CONTROL ? setup[0] & 0x80 : urb->endpoint & 0x80;
}

bool fake_usbfs_complete(struct fake_usbfs *usbfs, uint8_t endpoint, int status, const void *data, size_t size)
{
	struct fake_transfer *transfer;
	int i;

	pthread_mutex_lock(&usbfs->lock);
	i = find_transfer(usbfs, endpoint);
	if (i >= 0) {
		transfer = usbfs->transfers[i];
		transfer->actual_length = size;
		if (is_in(transfer->urb) && size > 0)
			transfer->data = memcpy(malloc(size), data, size);
		end_transfer(usbfs, (unsigned)i, status);
	}
	pthread_mutex_unlock(&usbfs->lock);
	return i >= 0;
}

bool fake_usbfs_complete_packets(struct fake_usbfs *usbfs, uint8_t endpoint, const void *data, size_t size, unsigned failing)
{
	struct fake_transfer *transfer;
	int i;

	pthread_mutex_lock(&usbfs->lock);
	i = find_transfer(usbfs, endpoint);
	if (i >= 0) {
		transfer = usbfs->transfers[i];
		transfer->actual_length = (size_t)transfer->urb->buffer_length; /* all of the buffer is copied (copy_urb_data_to_user()) */
		for (int j = 0; j < transfer->urb->number_of_packets; j++) {
			transfer->packets[j].actual_length = (unsigned)j == failing ? 0 : (unsigned)size;
			transfer->packets[j].status = (unsigned)j == failing ? (unsigned)-EXDEV : 0;
		}
		if (is_in(transfer->urb))
			transfer->data = memcpy(malloc(transfer->actual_length), data, transfer->actual_length);
		end_transfer(usbfs, (unsigned)i, 0);
	}
	pthread_mutex_unlock(&usbfs->lock);
	return i >= 0;
}

const struct usbdevfs_urb *fake_usbfs_find(struct fake_usbfs *usbfs, uint8_t endpoint)
{
	const struct usbdevfs_urb *urb = NULL;
	int i;

	pthread_mutex_lock(&usbfs->lock);
	i = find_transfer(usbfs, endpoint);
	if (i >= 0)
		urb = usbfs->transfers[i]->urb;
	pthread_mutex_unlock(&usbfs->lock);
	return urb;
}

unsigned fake_usbfs_count(struct fake_usbfs *usbfs)
{
	unsigned n = 0;

	pthread_mutex_lock(&usbfs->lock);
	for (unsigned i = 0; i < usbfs->n_transfers; i++)
		n += !usbfs->transfers[i]->is_done;
	pthread_mutex_unlock(&usbfs->lock);
	return n;
}

void fake_usbfs_unplug(struct fake_usbfs *usbfs)
{
	pthread_mutex_lock(&usbfs->lock);
	usbfs->is_unplugged = true;
	end_all(usbfs, -ESHUTDOWN);
	usbfs->far_end = close_fd(usbfs->far_end);
	pthread_mutex_unlock(&usbfs->lock);
}

void fake_usbfs_hold(struct fake_usbfs *usbfs, bool is_held)
{
	pthread_mutex_lock(&usbfs->lock);
	usbfs->is_held = is_held;
	pthread_mutex_unlock(&usbfs->lock);
}

bool fake_usbfs_is_in_special(struct fake_usbfs *usbfs)
{
	bool is_in_special;

	pthread_mutex_lock(&usbfs->lock);
	is_in_special = usbfs->is_in_special;
	pthread_mutex_unlock(&usbfs->lock);
	return is_in_special;
}

const char *fake_usbfs_log(struct fake_usbfs *usbfs)
{
	static char log[sizeof(usbfs->log)];

	pthread_mutex_lock(&usbfs->lock);
	strcpy(log, usbfs->log);
	usbfs->log[0] = '\0';
	pthread_mutex_unlock(&usbfs->lock);
	return log;
}
