/* What a device says of itself, and how people name devices: common/identity, busid, selection, failure. */

#include <stdlib.h>
#include <string.h>

#include "busid.h"
#include "cleanup.h"
#include "failure.h"
#include "fuzz.h"
#include "identity.h"
#include "selection.h"

static void check_cleaning(const char *text)
{
	static const size_t sizes[] = { 1, 2, 5, 32, IDENTITY_STRING_SIZE, 4096 };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		_cleanup_free_ char *once = malloc(sizes[i]), *twice = malloc(sizes[i]);

		FUZZ_CHECK(once && twice);
		identity_clean_string(text, once, sizes[i]);
		FUZZ_CHECK(strlen(once) < sizes[i] && fuzz_is_clean(once));
		identity_clean_string(once, twice, sizes[i]);
		FUZZ_CHECK(strcmp(once, twice) == 0);
		if (fuzz_is_clean(text) && strlen(text) < sizes[i])
			FUZZ_CHECK(strcmp(once, text) == 0);
	}
}

static void check_busid(const char *text)
{
	struct busid busid = { "untouched" }, same;
	struct identity identity = { 0 };

	if (busid_parse(text, &busid) < 0) {
		FUZZ_CHECK(strcmp(busid.text, "untouched") == 0);
		return;
	}
	FUZZ_CHECK(strcmp(busid.text, text) == 0 && strspn(text, "0123456789-.") == strlen(text) && text[0] != '0');
	FUZZ_CHECK(busid_parse(busid.text, &same) == 0 && busid_equal(&busid, &same));
	FUZZ_CHECK(selection_fit(text, &busid, &identity, "") == SELECTION_PLACE);
}

static void check_json(const char *text, size_t size)
{
	_cleanup_json_ json_t *object = json_loadb(text, size, JSON_DECODE_ANY, NULL), *written = json_object();
	struct identity identity, again;
	struct failure failure;

	failure_from_json(object, &failure);
	FUZZ_CHECK(fuzz_is_clean(failure.text) && fuzz_is_clean(failure.cure));
	if (identity_from_json(object, &identity) < 0)
		return;
	FUZZ_CHECK(fuzz_is_clean(identity.serial) && fuzz_is_clean(identity.manufacturer) && fuzz_is_clean(identity.product));
	FUZZ_CHECK(identity_to_json(&identity, written) == 0 && identity_from_json(written, &again) == 0);
	FUZZ_CHECK(identity_equal(&identity, &again, NULL, 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	struct identity identity = { .vid = 0x0403, .pid = 0x6001, .serial = "A1" };
	const struct busid busid = { "1-1.2" };

	check_cleaning(text);
	check_busid(text);
	(void)selection_fit(text, &busid, &identity, "name");
	check_json(text, size);
	return 0;
}
