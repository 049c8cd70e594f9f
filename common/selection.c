#include "selection.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

bool selection_fits(const char *selection, const struct busid *busid, const struct identity *identity, const char *name)
{
	char vid_pid[16];

	if (!*selection)
		return false;
	snprintf(vid_pid, sizeof(vid_pid), "%04x:%04x", identity->vid, identity->pid);
	return strcmp(selection, busid->text) == 0 || strcasecmp(selection, vid_pid) == 0 || strcmp(selection, identity->serial) == 0 ||
	       strcmp(selection, name) == 0;
}
