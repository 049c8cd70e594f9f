#include "device_job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "log.h"
#include "sysfs.h"

struct device_job *device_job_new(struct usbip_host *host, const struct busid *busid, struct usbip_hold *hold)
{
	struct device_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->host = usbip_host_ref(host);
	job->busid = *busid;
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

int device_job_bind(void *arg)
{
	struct device_job *job = arg;

	return usbip_host_bind(job->host, &job->busid, &job->hold, &job->failure);
}

int device_job_reset_and_bind(void *arg)
{
	struct device_job *job = arg;
	int r = usbip_host_reset(job->host, &job->busid);

	if (r < 0)
		log_warning("%s: it could not be reset before it is shared: %s", job->busid.text, strerror(-r));
	return device_job_bind(job);
}

int device_job_adopt(void *arg)
{
	struct device_job *job = arg;
	int r = usbip_host_adopt(job->host, &job->busid, &job->hold);

	if (r == -ENODEV || r == -ENOENT)
		failure_set(&job->failure, FAILURE_GONE, NULL, "%s: no longer with usbip-host", job->busid.text);
	else if (r < 0)
		failure_set(&job->failure, FAILURE_KERNEL, NULL, "%s: it could not be taken over: %s", job->busid.text, strerror(-r));
	return r;
}

int device_job_rebind(void *arg)
{
	struct device_job *job = arg;
	int r = usbip_host_release(job->host, &job->busid, &job->hold, &job->failure);

	return r < 0 ? r : usbip_host_bind(job->host, &job->busid, &job->hold, &job->failure);
}

int device_job_release(void *arg)
{
	struct device_job *job = arg;

	return usbip_host_release(job->host, &job->busid, &job->hold, &job->failure);
}

int device_job_forget(void *arg)
{
	struct device_job *job = arg;

	usbip_host_forget(job->host, &job->busid, &job->hold);
	return 0;
}
