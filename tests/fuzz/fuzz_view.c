/* JSON that one of our programs shows to people or machines: the portal's metrics and steps, usbpush-vm's table, the neighbours that mDNS told of. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "fuzz.h"
#include "link_test.h"
#include "metrics.h"
#include "neighbours.h"
#include "vm_status_view.h"

static void check_metrics(const json_t *status)
{
	const struct portal_numbers numbers = { 1, 2, 3 };
	_cleanup_free_ char *text = metrics_format(json_is_object(status) ? status : NULL, &numbers);
	char *rest = text, *line;

	FUZZ_CHECK(text && text[0] && text[strlen(text) - 1] == '\n');
	while ((line = strsep(&rest, "\n")) && rest)
		FUZZ_CHECK(line[0] == '#' || (strncmp(line, "usbpush_", 8) == 0 && strrchr(line, ' ')));
}

static void check_view(const json_t *status)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);

	FUZZ_CHECK(stream != NULL);
	vm_status_view_print(status, stream, false);
	vm_status_view_print_event(status, stream);
	vm_status_view_print_missing(status, "  ", stream);
	(void)vm_status_is_complete(status);
	fclose(stream);
	FUZZ_CHECK(memchr(text, '\033', size) == NULL);
}

static void check_neighbours(const json_t *object)
{
	static const struct vm_config config = { .host = "vm.example", .id = "0123456789abcdef0123456789abcdef", .port = 22 };
	const struct neighbour *neighbour;
	struct neighbours *neighbours;
	struct failure failure;
	char name[64];

	FUZZ_CHECK(neighbours_new(&neighbours) == 0);
	if (neighbours_add(neighbours, object, &neighbour, &failure) == 1) {
		_cleanup_json_ json_t *list = neighbours_to_json(neighbours, &config);

		FUZZ_CHECK(fuzz_is_clean(neighbour->key) && fuzz_is_clean(neighbour->name) && fuzz_is_clean(neighbour->host));
		FUZZ_CHECK(neighbour->port > 0 && json_array_size(list) == 1);
		(void)neighbours_find_moved(neighbours, &config);
		FUZZ_CHECK(neighbours_add(neighbours, object, &neighbour, &failure) == 0);
		FUZZ_CHECK(neighbours_remove(neighbours, neighbour->key, name, sizeof(name)));
	}
	neighbours_free(neighbours);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_json_ json_t *object = json_loadb((const char *)data, size, 0, NULL), *steps = NULL;

	if (!object)
		return 0;
	check_metrics(object);
	check_view(object);
	check_neighbours(object);
	steps = link_test_steps(object);
	FUZZ_CHECK(json_is_array(steps));
	return 0;
}
