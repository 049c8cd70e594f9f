/* Holds the lock of a USB device, as a program may whose memory is slow: usbfs takes the lock, and then waits for a page of ours that nobody fills in. Until it is
 * killed. */
#include <fcntl.h>
#include <linux/usbdevice_fs.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *make_empty_page(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .range.len = 4096, .mode = UFFDIO_REGISTER_MODE_MISSING };
	void *page = mmap(NULL, range.range.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	range.range.start = (unsigned long)page;
	return fd < 0 || page == MAP_FAILED || ioctl(fd, UFFDIO_API, &api) < 0 || ioctl(fd, UFFDIO_REGISTER, &range) < 0 ? NULL : page;
}

int main(int argc, char **argv)
{
	int device = argc == 2 ? open(argv[1], O_RDWR | O_CLOEXEC) : -1;
	void *page = make_empty_page();

	if (device < 0 || !page) {
		perror("hold_lock");
		return 1;
	}
	ioctl(device, USBDEVFS_CONTROL, page); /* usbdev_do_ioctl(), drivers/usb/core/devio.c */
	perror("hold_lock: not held");
	return 1;
}
