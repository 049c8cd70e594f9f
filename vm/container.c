#include "container.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "cleanup.h"

#define CONTAINER_MAX_NODES 32

/* One node as a container sees it. */
struct container_node {
	const char *path; /* its link in /dev/usbpush, else itself */
	char type;        /* 'c', 'b' */
	unsigned major;
};

/* For a node that is not there at this moment. */
static const struct {
	const char *prefix;
	char type;
	unsigned major;
} MAJORS[] = {
	{ "/dev/ttyUSB", 'c', 188 },
	{ "/dev/ttyACM", 'c', 166 },
	{ "/dev/sd", 'b', 8 },
	{ "/dev/video", 'c', 81 },
};

static bool find_numbers(const char *path, struct container_node *node)
{
	struct stat status;

	if (stat(path, &status) == 0 && (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode))) {
		node->type = S_ISCHR(status.st_mode) ? 'c' : 'b';
		node->major = major(status.st_rdev);
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(MAJORS); i++)
		if (strncmp(path, MAJORS[i].prefix, strlen(MAJORS[i].prefix)) == 0) {
			node->type = MAJORS[i].type;
			node->major = MAJORS[i].major;
			return true;
		}
	return false;
}

/* Links stand with all nodes of a device together: a link is a node's if there are as many of the kind as nodes, in the same order. */
static const char *find_link(const json_t *links, size_t nth)
{
	const json_t *item;
	size_t i, n = 0;

	json_array_foreach(links, i, item) {
		const char *link = json_string_value(item);

		if (link && strncmp(link, "/dev/usbpush/", strlen("/dev/usbpush/")) == 0 && n++ == nth)
			return link;
	}
	return NULL;
}

static size_t find_nodes(const json_t *device, struct container_node *nodes)
{
	const json_t *paths = json_object_get(device, "nodes"), *links = json_object_get(device, "links"), *item;
	size_t i, n = 0, n_links = 0;

	while (find_link(links, n_links))
		n_links++;
	json_array_foreach(paths, i, item) {
		const char *path = json_string_value(item);

		if (n == CONTAINER_MAX_NODES || !path || !find_numbers(path, &nodes[n]))
			continue;
		nodes[n].path = n_links == json_array_size(paths) ? find_link(links, i) : path;
		n++;
	}
	return n;
}

/* Each kind of node once. */
static void print_rules(const struct container_node *nodes, size_t n, const char *before, const char *after, FILE *stream)
{
	for (size_t i = 0; i < n; i++) {
		bool is_known = false;

		for (size_t j = 0; j < i; j++)
			is_known = is_known || (nodes[j].type == nodes[i].type && nodes[j].major == nodes[i].major);
		if (!is_known)
			fprintf(stream, "%s%c %u:* %s", before, nodes[i].type, nodes[i].major, after);
	}
}

int container_print(const json_t *device, FILE *stream)
{
	struct container_node nodes[CONTAINER_MAX_NODES];
	size_t n = find_nodes(device, nodes);

	if (n == 0)
		return -ENODEV;
	fprintf(stream, "# Proxmox LXC, usbpush-vm on the host: in /etc/pve/lxc/CTID.conf\n");
	for (size_t i = 0; i < n; i++)
		fprintf(stream, "dev%zu: %s\n", i, nodes[i].path);
	fprintf(stream, "\n# the same before Proxmox VE 8.2; the board may come and go\n");
	print_rules(nodes, n, "lxc.cgroup2.devices.allow: ", "rwm\n", stream);
	for (size_t i = 0; i < n; i++)
		fprintf(stream, "lxc.mount.entry: %s %s none bind,optional,create=file\n", nodes[i].path, nodes[i].path + 1);
	fprintf(stream, "\n# Docker, for as long as the board stays\ndocker run");
	for (size_t i = 0; i < n; i++)
		fprintf(stream, " --device %s", nodes[i].path);
	fprintf(stream, " ...\n\n# Docker; the board may come and go\ndocker run -v /dev:/dev");
	print_rules(nodes, n, " --device-cgroup-rule '", "rmw'", stream);
	fprintf(stream, " ...\n\n# devcontainer.json; the board may come and go\n\"runArgs\": [\"-v\", \"/dev:/dev\"");
	print_rules(nodes, n, ", \"--device-cgroup-rule=", "rmw\"", stream);
	fprintf(stream, "]\n");
	return 0;
}
