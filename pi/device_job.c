#include "device_job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "hub_port.h"
#include "log.h"
#include "sysfs.h"
#include "usbfs_claim.h"

struct device_job *device_job_new(struct usbip_host *host, const struct busid *busid, uint32_t devnum, struct usbip_hold *hold)
{
	struct device_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->host = usbip_host_ref(host);
	job->busid = *busid;
	job->devnum = devnum;
	job->hold = *hold;
	*hold = USBIP_HOLD_NONE;
	return job;
}

void device_job_free(void *arg)
{
	struct device_job *job = arg;

	usbip_hold_done(&job->hold);
	usbip_host_unref(job->host);
	free(job);
}

/* sysfs says "1.5" for low speed. */
static int job_read_speed(int device_fd, uint32_t *ret_speed)
{
	char text[16];
	int r = sysfs_read(device_fd, "speed", text, sizeof(text));

	if (r < 0)
		return r;
	if (strcmp(text, "1.5") == 0) {
		*ret_speed = 1;
		return 0;
	}
	return sysfs_read_uint(device_fd, "speed", 10, ret_speed);
}

/* It is 0 while the kernel resets the device, as it does at a session's end (hub_port_reset() in drivers/usb/core/hub.c). The reset holds the device's lock,
 * and so does whoever reads bConfigurationValue: behind that it is over. */
static int job_read_devnum(int device_fd, uint32_t *ret_devnum)
{
	char text[16];

	for (unsigned i = 0; i < 3; i++) {
		int r = sysfs_read_uint(device_fd, "devnum", 10, ret_devnum);

		if (r < 0 || *ret_devnum != 0)
			return r;
		(void)sysfs_read(device_fd, "bConfigurationValue", text, sizeof(text));
	}
	return -EBUSY;
}

int device_job_glance(void *arg)
{
	struct device_job *job = arg;
	_cleanup_close_ int fd = usbip_host_open_device(job->host, &job->busid);
	int r;

	if (fd < 0)
		return fd;
	r = sysfs_read_uint(fd, "busnum", 10, &job->busnum);
	if (r == 0)
		r = sysfs_read_uint(fd, "devnum", 10, &job->devnum);
	if (r == 0)
		r = job_read_speed(fd, &job->speed);
	if (r == 0)
		r = descriptors_read(fd, &job->descriptors);
	if (r < 0)
		return r;
	job->identity =
		(struct identity){ .vid = job->descriptors.vid, .pid = job->descriptors.pid, .bcd_device = job->descriptors.bcd_device };
	return job->devnum ? 0 : -EAGAIN;
}

int device_job_look(void *arg)
{
	struct device_job *job = arg;
	_cleanup_close_ int fd = usbip_host_open_device(job->host, &job->busid);
	int r;

	if (fd < 0)
		return fd;
	r = sysfs_read_uint(fd, "busnum", 10, &job->busnum);
	if (r == 0)
		r = job_read_devnum(fd, &job->devnum);
	if (r == 0)
		r = job_read_speed(fd, &job->speed);
	if (r == 0)
		r = identity_read(fd, &job->identity);
	return r < 0 ? r : descriptors_read(fd, &job->descriptors);
}

/* A bus id is a place. What was judged may have made room for another device since, whose `remove` and `add` wait in the loop's queue: nobody looked at that
 * one, and it may be a disk, or the Pi's own network. 0 in between stands for a reset. */
static int job_check_number(struct device_job *job)
{
	uint32_t devnum;
	int r = usbip_host_get_devnum(job->host, &job->busid, &devnum);

	if (r == 0 && (devnum == job->devnum || devnum == 0 || job->devnum == 0))
		return 0;
	if (r < 0 && r != -ENOENT && r != -ENODEV) {
		failure_set(&job->failure, FAILURE_KERNEL, NULL, "%s: its number can't be read: %s", job->busid.text, strerror(-r));
		return r;
	}
	return failure_set(&job->failure, FAILURE_GONE, NULL, "%s: another device is in its place now", job->busid.text);
}

/* A claim is of one device, whatever is in its place since. */
static int job_release_claim(struct device_job *job)
{
	usbfs_claim_release(job->hold.claim);
	usbip_hold_done(&job->hold);
	return 0;
}

int device_job_release(void *arg)
{
	struct device_job *job = arg;

	return job->hold.claim ? job_release_claim(job) : usbip_host_release(job->host, &job->busid, &job->hold, &job->failure);
}

/* Another device was bound in its place, and the hold is on the one before: that one's would not keep the entry's pointer good. */
static void job_give_back_stranger(struct device_job *job)
{
	struct failure failure;

	if (job->hold.claim) {
		job_release_claim(job);
		return;
	}
	usbip_hold_done(&job->hold);
	if (usbip_host_adopt(job->host, &job->busid, &job->hold) >= 0)
		(void)usbip_host_release(job->host, &job->busid, &job->hold, &failure);
}

/* By what carries it. usbip-host has few places; where it has none, the other way is as good. */
static int job_take(struct device_job *job)
{
	bool is_claimed = job->backend == RULE_BACKEND_USBFS || (job->backend == RULE_BACKEND_DEFAULT && !usbip_host_has_place(job->host));
	int r = is_claimed ? usbip_host_claim(job->host, &job->busid, &job->hold, &job->failure) :
			     usbip_host_bind(job->host, &job->busid, &job->hold, &job->failure);

	if (r < 0 && !is_claimed && job->failure.code == FAILURE_TABLE_FULL && job->backend == RULE_BACKEND_DEFAULT)
		r = usbip_host_claim(job->host, &job->busid, &job->hold, &job->failure);
	return r;
}

/* `remove` is on its way, and then the hold is needed to clear the entry. */
static bool job_is_unplugged(const struct device_job *job)
{
	uint32_t devnum;
	int r = usbip_host_get_devnum(job->host, &job->busid, &devnum);

	return r == -ENOENT || r == -ENODEV;
}

int device_job_bind(void *arg)
{
	struct device_job *job = arg;
	int r = job_check_number(job);

	if (r == 0)
		r = job_take(job);
	if (r < 0)
		return r;
	r = job_check_number(job); /* now it can't go unseen any more: the hold keeps its number */
	if (r < 0 && !job_is_unplugged(job))
		job_give_back_stranger(job);
	return r;
}

int device_job_reset_and_bind(void *arg)
{
	struct device_job *job = arg;
	int r = job_check_number(job);

	if (r < 0)
		return r;
	r = usbip_host_reset(job->host, &job->busid);
	if (r < 0)
		log_warning("%s: it could not be reset before it is shared: %s", job->busid.text, strerror(-r));
	return device_job_bind(job);
}

static int job_fail_reset(struct device_job *job, int error, const char *what)
{
	return failure_set(&job->failure, FAILURE_KERNEL, NULL, "%s: %s: %s", job->busid.text, what, strerror(-error));
}

int device_job_reset(void *arg)
{
	struct device_job *job = arg;
	int r = job_check_number(job);

	if (r < 0)
		return r;
	r = job->hold.claim ? usbfs_claim_settle(job->hold.claim) : usbip_host_reset(job->host, &job->busid);
	return r < 0 ? job_fail_reset(job, r, "the kernel could not reset it") : 0;
}

int device_job_settle(void *arg)
{
	struct device_job *job = arg;
	int r = usbfs_claim_settle(job->hold.claim);

	if (r == -ENODEV || r == -ENOENT)
		return failure_set(&job->failure, FAILURE_GONE, NULL, "%s: unplugged meanwhile", job->busid.text);
	return r < 0 ? job_fail_reset(job, r, "the kernel could not reset it after its session") : 0;
}

static int job_rebind_with_reset(struct device_job *job)
{
	bool was_bound = job->hold.device_fd >= 0;
	int r = was_bound ? device_job_release(job) : 0;

	if (r < 0)
		return r;
	r = device_job_reset(job);
	return was_bound ? device_job_bind(job) : r;
}

int device_job_connect(void *arg)
{
	struct device_job *job = arg;
	int r = job_check_number(job);

	return r < 0 ? r : usbip_host_connect(job->host, &job->busid);
}

int device_job_cycle_power(void *arg)
{
	struct device_job *job = arg;
	_cleanup_close_ int fd = usbip_host_open_device(job->host, &job->busid);
	_cleanup_close_ int hub = fd < 0 ? -EBADF : usbip_host_open_hub(job->host, fd);
	int r = job_check_number(job);

	if (r < 0)
		return r;
	r = fd < 0 ? fd : hub_port_cycle(fd, hub);
	if (r == -EOPNOTSUPP) {
		log_info("%s: its hub can't switch its power; it is reset and bound anew", job->busid.text);
		return job_rebind_with_reset(job);
	}
	return r < 0 ? job_fail_reset(job, r, "its hub's port could not be switched") : 0;
}

int device_job_adopt(void *arg)
{
	struct device_job *job = arg;
	int r = job_check_number(job);

	if (r == 0)
		r = usbip_host_adopt(job->host, &job->busid, &job->hold);
	if (r == -ENODEV || r == -ENOENT)
		failure_set(&job->failure, FAILURE_GONE, NULL, "%s: no longer with usbip-host", job->busid.text);
	else if (r < 0)
		failure_set(&job->failure, FAILURE_KERNEL, NULL, "%s: it could not be taken over: %s", job->busid.text, strerror(-r));
	return r;
}

int device_job_rebind(void *arg)
{
	struct device_job *job = arg;
	int r = device_job_release(job);

	return r < 0 ? r : device_job_bind(job);
}

int device_job_forget(void *arg)
{
	struct device_job *job = arg;

	if (job->hold.claim)
		return job_release_claim(job); /* it is gone, or it is another one by its number, and goes back */
	/* Looked at and bound between its predecessor's `remove` and its own `add`, it was taken for that one: it goes back, and is found by its own events. */
	if (usbip_host_is_bound(job->host, &job->busid) && job_check_number(job) == 0 &&
	    usbip_host_release(job->host, &job->busid, &job->hold, &job->failure) == 0)
		return 0;
	return usbip_host_forget(job->host, &job->busid, &job->hold);
}
