/* A USB device's descriptors, and who decides by them: common/descriptor, pi/policy's and vm/acceptance's judgement. A VM never takes what has a class that
 * a serial device has no business with. */

#include <stdlib.h>
#include <string.h>

#include "acceptance.h"
#include "cleanup.h"
#include "descriptor.h"
#include "fuzz.h"
#include "policy.h"

enum { CLASS_HID = 0x03, CLASS_STORAGE = 0x08, CLASS_HUB = 0x09 };

static void check_decisions(const struct descriptors *descriptors)
{
	static struct acceptance *acceptance;
	static struct policy *policy;
	struct policy_decision decision = { 0 };
	struct failure failure;
	bool is_accepted;

	static const struct busid busid = { "1-1" };
	static const struct identity identity;
	const struct acceptance_device offered = { .pi = "pi", .identity = &identity, .descriptors = descriptors };
	const struct policy_device plugged = {
		.syspath = "/sys/devices/pci0000:00/usb1/1-1", .busid = &busid, .identity = &identity, .descriptors = descriptors
	};

	if (!acceptance) {
		static struct policy_options options;

		options = (struct policy_options){ .modules_dir = fuzz_directory(),
						   .rules_path = strdup(fuzz_path("devices.conf")),
						   .sysfs_root = fuzz_directory(),
						   .proc_root = fuzz_directory() };
		FUZZ_CHECK(acceptance_new(fuzz_directory(), options.rules_path, &acceptance) == 0);
		FUZZ_CHECK(policy_new(&options, NULL, NULL, &policy) == 0);
	}
	is_accepted = acceptance_check(acceptance, &offered, &failure) == 0;
	policy_decide(policy, &plugged, &decision);
	FUZZ_CHECK(decision.reason[0] && fuzz_is_clean(decision.reason));
	if (!is_accepted)
		FUZZ_CHECK(failure.code == FAILURE_NOT_ACCEPTED && fuzz_is_clean(failure.text));
	for (size_t i = 0; i < descriptors->n_interfaces; i++) {
		uint8_t class = descriptors->interfaces[i].class;

		if (class == CLASS_HID || class == CLASS_STORAGE || class == CLASS_HUB)
			FUZZ_CHECK(!is_accepted);
		if (class == CLASS_HUB)
			FUZZ_CHECK(!decision.is_shared);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ uint8_t *exact = malloc(size ? size : 1);
	struct descriptors descriptors;
	char modalias[128], small[16];

	FUZZ_CHECK(exact != NULL);
	if (size)
		memcpy(exact, data, size);
	if (descriptors_parse(exact, size, &descriptors) < 0)
		return 0;
	FUZZ_CHECK(descriptors.n_interfaces <= DESCRIPTOR_MAX_INTERFACES);
	for (size_t i = 0; i < descriptors.n_interfaces; i++) {
		int length = descriptors_modalias(&descriptors, &descriptors.interfaces[i], modalias, sizeof(modalias));

		FUZZ_CHECK(length > 0 && strlen(modalias) == (size_t)length && fuzz_is_clean(modalias));
		FUZZ_CHECK(descriptors_modalias(&descriptors, &descriptors.interfaces[i], small, sizeof(small)) < 0);
	}
	check_decisions(&descriptors);
	return 0;
}
