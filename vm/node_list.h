#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "message.h"

/* The device nodes of one attached device, each with the links that udev made to it. */
struct node {
	char path[MESSAGE_NODE_SIZE];     /* "/dev/ttyUSB0" */
	char links[4][MESSAGE_NODE_SIZE]; /* /dev/usbpush first, then by-id; "" where there are fewer */
};

/* All zero when empty. Most offers of a Pi in foreign hands never get a node: they are to cost little. */
struct node_list {
	size_t n;
	struct node *nodes; /* owned */
};

/* Frees the nodes. */
void node_list_done(struct node_list *list);

/* Adds a node, or renews its links (devlinks: separated by spaces). True if the list changed. A path or link that is too long, or no
 * clean text, is left out, as is the 33rd node. */
bool node_list_add(struct node_list *list, const char *path, const char *devlinks);

/* True if path was in the list. */
bool node_list_remove(struct node_list *list, const char *path);

/* Whether path is one of the nodes or of their links. */
bool node_list_has(const struct node_list *list, const char *path);

/* Copies paths and links into the fields of `attached`. */
void node_list_to_attached(const struct node_list *list, struct attached *attached);

/* A list of the paths; a new reference. */
json_t *node_list_paths_to_json(const struct node_list *list);

/* A list of all links; a new reference. */
json_t *node_list_links_to_json(const struct node_list *list);
