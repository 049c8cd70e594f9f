#include "usbfs_answers.h"

#include <errno.h>
#include <sys/socket.h>

/* 1: all of this one is sent now. 0: not yet. */
static int answer_send(struct usbfs_urb *urb, int fd)
{
	struct iovec pieces[3];
	struct msghdr message = { .msg_iov = pieces };
	ssize_t n;

	while ((message.msg_iovlen = (size_t)usbfs_urb_get_unsent(urb, pieces)) > 0) {
		n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		urb->n_sent += (size_t)n;
	}
	return 1;
}

int usbfs_answers_send(struct usbfs_urb_list *answers, int fd, struct usbfs_share *share)
{
	struct usbfs_urb *urb;

	while ((urb = TAILQ_FIRST(answers))) {
		int r = answer_send(urb, fd);

		if (r <= 0)
			return r;
		TAILQ_REMOVE(answers, urb, entry);
		usbfs_share_free(share, urb);
	}
	return 0;
}
