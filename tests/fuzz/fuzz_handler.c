#include "fuzz_handler.h"

#include <string.h>

#include "fuzz.h"

static void make_tree(void)
{
	static const char conf[] = "PI=" FUZZ_PI " pi1\n";
	static const char status[] = "hub port sta spd dev      sockfd local_busid\n"
				     "hs  0000 004 000 00000000 000000 0-0\nhs  0001 004 000 00000000 000000 0-0\n"
				     "ss  0002 004 000 00000000 000000 0-0\nss  0003 004 000 00000000 000000 0-0\n";

	fuzz_put("pi.conf", conf, strlen(conf));
	fuzz_put("sys/devices/platform/vhci_hcd.0/usb1/authorized_default", "1\n", 2);
	fuzz_put("sys/devices/platform/vhci_hcd.0/usb2/authorized_default", "1\n", 2);
	fuzz_put("sys/devices/platform/vhci_hcd.0/nports", "4\n", 2);
	fuzz_put("sys/devices/platform/vhci_hcd.0/attach", "", 0);
	fuzz_put("sys/devices/platform/vhci_hcd.0/detach", "", 0);
	fuzz_put("sys/devices/platform/vhci_hcd.0/status", status, strlen(status));
}

void fuzz_handler_new(struct fuzz_handler *bed)
{
	static struct handler_options options;
	static char conf[256], sysfs[256], run[256];

	if (!options.sysfs_root) {
		make_tree();
		snprintf(conf, sizeof(conf), "%s", fuzz_path("pi.conf"));
		snprintf(sysfs, sizeof(sysfs), "%s", fuzz_path("sys"));
		snprintf(run, sizeof(run), "%s", fuzz_directory());
		options = (struct handler_options){ .sysfs_root = sysfs,
						    .modules_dir = run,
						    .piconf_path = conf,
						    .runtime_dir = run,
						    .addresses_path = "/dev/null/addresses" };
	}
	fuzz_put("ports.json", "", 0);
	FUZZ_CHECK(sd_event_new(&bed->event) >= 0 && handler_new(bed->event, &options, &bed->handler) == 0);
	handler_start(bed->handler);
}

void fuzz_handler_settle(struct fuzz_handler *bed)
{
	for (unsigned i = 0; i < 10000 && sd_event_run(bed->event, 0) > 0; i++)
		;
}

void fuzz_handler_free(struct fuzz_handler *bed)
{
	handler_free(bed->handler);
	sd_event_unref(bed->event);
}
