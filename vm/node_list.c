#include "node_list.h"

#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "json_whole.h"

/* False for what is too long, and for what is no text: the Pi is told of nodes and links in JSON, and people on a screen. */
static bool text_copy(char *buffer, size_t size, const char *text, size_t length)
{
	char clean[MESSAGE_NODE_SIZE], copy[MESSAGE_NODE_SIZE];

	if (length == 0 || length >= size || length >= sizeof(copy))
		return false;
	memcpy(copy, text, length);
	copy[length] = '\0';
	identity_clean_string(copy, clean, sizeof(clean));
	if (strcmp(copy, clean) != 0)
		return false;
	memcpy(buffer, copy, length + 1);
	return true;
}

/* The owner's name first, then what goes with the device, then what goes with its place. */
static unsigned link_rank(const char *link, size_t length)
{
	if (memmem(link, length, "/dev/usbpush/", strlen("/dev/usbpush/")) == link)
		return 0;
	return memmem(link, length, "/by-id/", strlen("/by-id/")) ? 1 : 2;
}

static void node_add_links(struct node *node, size_t *n, const char *devlinks, unsigned rank)
{
	while (*devlinks && *n < ARRAY_SIZE(node->links)) {
		size_t length = strcspn(devlinks, " ");

		if (link_rank(devlinks, length) == rank && text_copy(node->links[*n], MESSAGE_NODE_SIZE, devlinks, length))
			(*n)++;
		devlinks += length;
		devlinks += strspn(devlinks, " ");
	}
}

static void node_set_links(struct node *node, const char *devlinks)
{
	size_t n = 0;

	memset(node->links, 0, sizeof(node->links));
	for (unsigned rank = 0; rank <= 2; rank++)
		node_add_links(node, &n, devlinks, rank);
}

void node_list_done(struct node_list *list)
{
	free(list->nodes);
	*list = (struct node_list){ 0 };
}

static struct node *node_list_find(struct node_list *list, const char *path)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->nodes[i].path, path) == 0)
			return &list->nodes[i];
	return NULL;
}

/* One more node, all zero; NULL when there are 32 already, or no memory. */
static struct node *node_list_grow(struct node_list *list)
{
	struct node *grown = list->n < MESSAGE_MAX_NODES ? realloc(list->nodes, (list->n + 1) * sizeof(*grown)) : NULL;

	if (!grown)
		return NULL;
	list->nodes = grown;
	memset(&grown[list->n], 0, sizeof(*grown));
	return &grown[list->n++];
}

bool node_list_add(struct node_list *list, const char *path, const char *devlinks)
{
	struct node *node = node_list_find(list, path);
	struct node new = { 0 };

	if (!text_copy(new.path, sizeof(new.path), path, strlen(path)))
		return false;
	node_set_links(&new, devlinks);
	if (!node)
		node = node_list_grow(list);
	if (!node || memcmp(node, &new, sizeof(new)) == 0)
		return false;
	*node = new;
	return true;
}

bool node_list_remove(struct node_list *list, const char *path)
{
	struct node *node = node_list_find(list, path);

	if (!node)
		return false;
	list->n--;
	memmove(node, node + 1, (size_t)(list->nodes + list->n - node) * sizeof(*node));
	return true;
}

bool node_list_has(const struct node_list *list, const char *path)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct node *node = &list->nodes[i];

		if (strcmp(node->path, path) == 0)
			return true;
		for (size_t j = 0; j < ARRAY_SIZE(node->links); j++)
			if (node->links[j][0] && strcmp(node->links[j], path) == 0)
				return true;
	}
	return false;
}

void node_list_to_attached(const struct node_list *list, struct attached *attached)
{
	attached->n_nodes = attached->n_links = 0;
	for (size_t i = 0; i < list->n; i++) {
		const struct node *node = &list->nodes[i];

		memcpy(attached->nodes[attached->n_nodes++], node->path, sizeof(node->path));
		for (size_t j = 0; j < ARRAY_SIZE(node->links) && attached->n_links < MESSAGE_MAX_NODES; j++)
			if (node->links[j][0])
				memcpy(attached->links[attached->n_links++], node->links[j], sizeof(node->links[j]));
	}
}

json_t *node_list_paths_to_json(const struct node_list *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->n; i++)
		json_whole_append(&array, json_string(list->nodes[i].path));
	return array;
}

json_t *node_list_links_to_json(const struct node_list *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->n; i++)
		for (size_t j = 0; j < ARRAY_SIZE(list->nodes[i].links); j++)
			if (list->nodes[i].links[j][0])
				json_whole_append(&array, json_string(list->nodes[i].links[j]));
	return array;
}
