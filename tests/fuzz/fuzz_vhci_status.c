/* vhci_hcd's status files: vm/vhci_status. What is read can be written as the kernel writes it, and reads the same. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "fuzz.h"
#include "vhci_status.h"

#define MAX_PORTS 64

static void write_rows(const struct vhci_port *ports, size_t n, char *text, size_t size)
{
	size_t used = (size_t)snprintf(text, size, "hub port sta spd dev      sockfd local_busid\n");

	for (size_t i = 0; i < n; i++)
		used += (size_t)snprintf(text + used, size - used, "%s  %04u %03u 000 %08x 000003 %s\n",
					 ports[i].is_super_speed ? "ss" : "hs", ports[i].number, (unsigned)ports[i].state, ports[i].devid,
					 ports[i].state == VHCI_PORT_USED ? ports[i].busid.text : "0-0");
	FUZZ_CHECK(used < size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char rows[MAX_PORTS * 128];
	_cleanup_free_ char *text = fuzz_text(data, size);
	struct vhci_port ports[MAX_PORTS], again[MAX_PORTS];
	size_t n = MAX_PORTS + 1, m;
	int r = vhci_status_parse(text, ports, MAX_PORTS, &n);

	if (r < 0) {
		FUZZ_CHECK(r == -EBADMSG || r == -E2BIG);
		return 0;
	}
	FUZZ_CHECK(n <= MAX_PORTS);
	write_rows(ports, n, rows, sizeof(rows));
	FUZZ_CHECK(vhci_status_parse(rows, again, MAX_PORTS, &m) == 0 && m == n);
	for (size_t i = 0; i < n; i++)
		FUZZ_CHECK(ports[i].number == again[i].number && ports[i].state == again[i].state && ports[i].devid == again[i].devid &&
			   ports[i].is_super_speed == again[i].is_super_speed && busid_equal(&ports[i].busid, &again[i].busid));
	return 0;
}
