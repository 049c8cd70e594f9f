#include "imports.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "importer.h"

struct import {
	struct imports *imports;   /* borrowed: outlives us */
	struct importer *importer; /* owned */
	char offer_id[MESSAGE_ID_SIZE];
};

struct imports {
	sd_event *event;            /* borrowed: outlives us */
	struct attachment_set *set; /* borrowed: outlives us */
	size_t n;
	struct import *items[ATTACHMENT_SET_MAX]; /* owned */
};

bool imports_are_possible(void)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0;
}

static struct import *import_free(struct import *import)
{
	importer_free(import->importer);
	free(import);
	return NULL;
}

static void imports_remove(struct imports *imports, size_t index)
{
	struct import *import = imports->items[index];

	imports->items[index] = imports->items[--imports->n];
	import_free(import);
}

void imports_cancel(struct imports *imports, const char *offer_id)
{
	for (size_t i = imports->n; i > 0; i--)
		if (strcmp(imports->items[i - 1]->offer_id, offer_id) == 0)
			imports_remove(imports, i - 1);
}

/* Its entry is gone before the attachment hears of it: what that does may come back here. */
static void imports_on_done(int fd, const struct failure *failure, void *userdata)
{
	const struct import *import = userdata;
	struct imports *imports = import->imports;
	struct attachment *attachment = attachment_set_find_live(imports->set, import->offer_id);
	struct failure why = failure ? *failure : (struct failure){ 0 };
	char offer_id[MESSAGE_ID_SIZE];

	memcpy(offer_id, import->offer_id, sizeof(offer_id));
	imports_cancel(imports, offer_id);
	if (!attachment || attachment_get_info(attachment)->state != ATTACHMENT_STATE_WAITING)
		close_fd(fd);
	else if (fd >= 0)
		attachment_take_stream(attachment, fd);
	else
		attachment_refuse_stream(attachment, &why);
}

static int imports_add(struct imports *imports, const struct offer *offer, const char *address, uint32_t patience_ms,
		       struct failure *ret_failure)
{
	struct import *import;
	int r;

	if (!*address)
		return failure_set(ret_failure, FAILURE_UNREACHABLE, "Set TRANSPORT=tunnel in /etc/usbpush/vm.conf on the Pi.",
				   "the VM does not know the Pi's address: its sshd told none");
	if (imports->n == ATTACHMENT_SET_MAX)
		return failure_set(ret_failure, FAILURE_BUSY, NULL, "more than %d imports at once", ATTACHMENT_SET_MAX);
	import = calloc(1, sizeof(*import));
	if (!import)
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	import->imports = imports;
	memcpy(import->offer_id, offer->id, sizeof(import->offer_id));
	r = importer_new(imports->event, address, offer, patience_ms, imports_on_done, import, &import->importer, ret_failure);
	if (r < 0) {
		import_free(import);
		return r;
	}
	imports->items[imports->n++] = import;
	return 0;
}

void imports_start(struct imports *imports, struct attachment *attachment, const char *address, uint32_t patience_ms)
{
	struct failure failure;

	if (imports_add(imports, &attachment_get_info(attachment)->offer, address, patience_ms, &failure) < 0)
		attachment_refuse_stream(attachment, &failure);
}

struct imports *imports_new(sd_event *event, struct attachment_set *set)
{
	struct imports *imports = calloc(1, sizeof(*imports));

	if (!imports)
		return NULL;
	imports->event = event;
	imports->set = set;
	return imports;
}

struct imports *imports_free(struct imports *imports)
{
	if (!imports)
		return NULL;
	while (imports->n > 0)
		imports_remove(imports, imports->n - 1);
	free(imports);
	return NULL;
}
