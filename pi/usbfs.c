#include "usbfs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "job.h"

static int usbfs_ask(int fd, unsigned long request, void *argument)
{
	return ioctl(fd, request, argument) < 0 ? -errno : 0;
}

/* The same where it may take long, and people may want to know what it is that does. */
static int usbfs_ask_slowly(int fd, const char *what, unsigned long request, void *argument)
{
	int r;

	job_set_step("ask usbfs to", what);
	r = usbfs_ask(fd, request, argument);
	job_set_step(NULL, NULL);
	return r;
}

/* -EINVAL: the configuration has no such interface. */
static int usbfs_claim(int fd, unsigned interface)
{
	struct usbdevfs_disconnect_claim claim = { .interface = interface,
						   .flags = USBDEVFS_DISCONNECT_CLAIM_EXCEPT_DRIVER,
						   .driver = "usbfs" };

	return usbfs_ask_slowly(fd, "claim an interface", USBDEVFS_DISCONNECT_CLAIM, &claim);
}

int usbfs_claim_interfaces(int fd, uint32_t *ret_interfaces)
{
	uint32_t interfaces = 0;

	for (unsigned i = 0; i < USBFS_MAX_INTERFACES; i++) {
		int r = usbfs_claim(fd, i);

		if (r < 0 && r != -EINVAL) {
			(void)usbfs_release_interfaces(fd);
			usbfs_connect_drivers(fd);
			return r;
		}
		if (r == 0)
			interfaces |= UINT32_C(1) << i;
	}
	*ret_interfaces = interfaces;
	return 0;
}

/* -ENOENT: there is none; -EINVAL: not ours (releaseintf()). A second no is one: what stays claimed would be taken from us at a reset. */
static int usbfs_release(int fd, unsigned interface)
{
	int r = usbfs_ask_slowly(fd, "release an interface", USBDEVFS_RELEASEINTERFACE, &interface);

	if (r < 0)
		r = usbfs_ask_slowly(fd, "release an interface", USBDEVFS_RELEASEINTERFACE, &interface);
	return r == -ENOENT || r == -EINVAL ? 0 : r;
}

int usbfs_release_interfaces(int fd)
{
	int err = 0;

	for (unsigned i = 0; i < USBFS_MAX_INTERFACES; i++) {
		int r = usbfs_release(fd, i);

		if (r < 0 && err == 0)
			err = r;
	}
	return err;
}

/* -EINVAL: there is none; -EBUSY: has one */
static int usbfs_connect_driver(int fd, unsigned interface)
{
	struct usbdevfs_ioctl connect = { .ifno = (int)interface, .ioctl_code = USBDEVFS_CONNECT };

	return usbfs_ask_slowly(fd, "connect a driver", USBDEVFS_IOCTL, &connect);
}

void usbfs_connect_drivers(int fd)
{
	for (unsigned i = 0; i < USBFS_MAX_INTERFACES; i++) {
		int r = usbfs_connect_driver(fd, i);

		if (r < 0 && r != -EINVAL && r != -ENODEV)
			(void)usbfs_connect_driver(fd, i); /* memory was short, it may be: nobody else gives the interface its driver */
	}
}

int usbfs_reset(int fd)
{
	return usbfs_ask_slowly(fd, "reset", USBDEVFS_RESET, NULL);
}

int usbfs_set_interface(int fd, unsigned interface, unsigned setting)
{
	struct usbdevfs_setinterface set = { .interface = interface, .altsetting = setting };

	return usbfs_ask_slowly(fd, "set an interface", USBDEVFS_SETINTERFACE, &set);
}

int usbfs_set_configuration(int fd, unsigned configuration)
{
	return usbfs_ask_slowly(fd, "set a configuration", USBDEVFS_SETCONFIGURATION, &configuration);
}

int usbfs_clear_halt(int fd, unsigned endpoint)
{
	return usbfs_ask_slowly(fd, "clear a halt", USBDEVFS_CLEAR_HALT, &endpoint);
}

int usbfs_submit(int fd, struct usbdevfs_urb *urb)
{
	return usbfs_ask(fd, USBDEVFS_SUBMITURB, urb);
}

int usbfs_discard(int fd, struct usbdevfs_urb *urb)
{
	return usbfs_ask(fd, USBDEVFS_DISCARDURB, urb);
}

int usbfs_reap(int fd, struct usbdevfs_urb **ret_urb)
{
	void *urb = NULL;
	int r = usbfs_ask(fd, USBDEVFS_REAPURBNDELAY, &urb);

	if (r == 0)
		*ret_urb = urb;
	return r;
}
