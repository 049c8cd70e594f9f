#include "selection.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "device_name.h"

enum selection_fit selection_fit(const char *selection, const struct busid *busid, const struct identity *identity, const char *name)
{
	char vid_pid[16], made[RULE_NAME_SIZE];

	if (!*selection)
		return SELECTION_NONE;
	if (strcmp(selection, busid->text) == 0)
		return SELECTION_PLACE;
	if (strcmp(selection, name) == 0)
		return SELECTION_NAME;
	snprintf(vid_pid, sizeof(vid_pid), "%04x:%04x", identity->vid, identity->pid);
	device_name_make(identity, busid, made);
	if (strcasecmp(selection, vid_pid) == 0 || strcmp(selection, identity->serial) == 0 || strcmp(selection, made) == 0)
		return SELECTION_IDENTITY;
	return SELECTION_NONE;
}
