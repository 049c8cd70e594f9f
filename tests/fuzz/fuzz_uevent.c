/* What the kernel and udev say of devices, as the handler takes it: paths of sysfs, nodes and links. Every line of the input is a field. */

#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "fuzz.h"
#include "node_list.h"
#include "vhci.h"

static struct vhci *make_vhci(void)
{
	static const char *const hubs[] = { "sys/devices/platform/vhci_hcd.0/usb1/authorized_default",
					    "sys/devices/platform/vhci_hcd.0/usb2/authorized_default" };
	static const char status[] = "hub port sta spd dev      sockfd local_busid\n"
				     "hs  0000 004 000 00000000 000000 0-0\nhs  0001 006 003 00010002 000003 1-2\n"
				     "ss  0002 004 000 00000000 000000 0-0\nss  0003 004 000 00000000 000000 0-0\n";
	struct vhci *vhci;

	for (size_t i = 0; i < ARRAY_SIZE(hubs); i++)
		fuzz_put(hubs[i], "1\n", 2);
	fuzz_put("sys/devices/platform/vhci_hcd.0/nports", "4\n", 2);
	fuzz_put("sys/devices/platform/vhci_hcd.0/attach", "", 0);
	fuzz_put("sys/devices/platform/vhci_hcd.0/detach", "", 0);
	fuzz_put("sys/devices/platform/vhci_hcd.0/status", status, strlen(status));
	FUZZ_CHECK(vhci_new(fuzz_path("sys"), fuzz_directory(), &vhci) == 0);
	return vhci;
}

static void check_path(const struct vhci *vhci, const char *syspath)
{
	struct busid busid, same;
	uint32_t port;

	if (!vhci_find_port(vhci, syspath, &port, &busid))
		return;
	FUZZ_CHECK(port < vhci_count_ports(vhci) && strncmp(syspath, "/sys/devices/platform/vhci_hcd.", 31) == 0);
	FUZZ_CHECK(busid_parse(busid.text, &same) == 0 && strstr(syspath, busid.text));
}

static void check_node(struct node_list *list, const char *path, const char *links)
{
	if (node_list_add(list, path, links)) {
		_cleanup_json_ json_t *paths = node_list_paths_to_json(list), *all = node_list_links_to_json(list);

		FUZZ_CHECK(list->n <= MESSAGE_MAX_NODES && json_array_size(paths) == list->n && all);
		FUZZ_CHECK(node_list_has(list, path) || !fuzz_is_clean(path));
	}
	if (strlen(links) % 3 == 0)
		node_list_remove(list, path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vhci *vhci;
	_cleanup_free_ char *text = fuzz_text(data, size);
	_cleanup_free_ struct attached *attached = calloc(1, sizeof(*attached));
	struct node_list list = { 0 };
	char *rest = text, *line, *former = text;

	if (!vhci)
		vhci = make_vhci();
	while ((line = strsep(&rest, "\n"))) {
		check_path(vhci, line);
		check_node(&list, former, line);
		former = line;
	}
	node_list_to_attached(&list, attached);
	FUZZ_CHECK(attached->n_nodes == list.n && attached->n_links <= MESSAGE_MAX_NODES);
	node_list_done(&list);
	return 0;
}
