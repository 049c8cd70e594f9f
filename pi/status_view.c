#include "status_view.h"

#include <string.h>

#include "blocked.h"
#include "table.h"

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static enum table_color color_of_device(const char *state)
{
	if (strcmp(state, "ATTACHED") == 0)
		return TABLE_GREEN;
	if (strcmp(state, "FAILED") == 0)
		return TABLE_RED;
	if (strcmp(state, "IGNORED") == 0)
		return TABLE_GREY;
	return TABLE_YELLOW;
}

static enum table_color color_of_link(const char *state)
{
	if (strcmp(state, "UP") == 0)
		return TABLE_GREEN;
	if (strcmp(state, "REFUSED") == 0 || strcmp(state, "DOWN") == 0)
		return TABLE_RED;
	return TABLE_YELLOW;
}

static void print_link_words(const json_t *link, FILE *stream)
{
	const char *state = text_of(link, "state"), *vm = text_of(link, "vm");
	const json_t *error = json_object_get(link, "error"), *next = json_object_get(link, "next_try_ms");

	if (strcmp(state, "UNPAIRED") == 0) {
		fprintf(stream, "not paired with a VM. On the VM: sudo usbpush-vm pair; then here: sudo usbpush pair\n");
		return;
	}
	if (strcmp(state, "UP") == 0) {
		fprintf(stream, "up: connected to %s (%s@%s)", vm, text_of(link, "user"), text_of(link, "host"));
		if (json_is_number(json_object_get(link, "rtt_ms")))
			fprintf(stream, ", round trip %.1f ms", json_number_value(json_object_get(link, "rtt_ms")));
		fputc('\n', stream);
		return;
	}
	fprintf(stream, "%s: %s@%s", state, text_of(link, "user"), text_of(link, "host"));
	if (json_is_object(error))
		fprintf(stream, ": %s. %s", text_of(error, "text"), text_of(error, "cure"));
	if (json_is_integer(next))
		fprintf(stream, " Next try in %.1f s.", json_number_value(next) / 1000);
	fputc('\n', stream);
}

static void print_link(const json_t *link, FILE *stream, bool is_coloured)
{
	fprintf(stream, "%sLink%s  %s", table_color_start(TABLE_BOLD, is_coloured), table_color_end(is_coloured),
		table_color_start(color_of_link(text_of(link, "state")), is_coloured));
	print_link_words(link, stream);
	fputs(table_color_end(is_coloured), stream);
}

/* The tunnel is what nobody has to be told of. */
static const char *road_of(const json_t *device)
{
	return strcmp(text_of(device, "transport"), "direct") == 0 ? ", on the direct road" : "";
}

static void add_device(struct table *table, const json_t *device, bool is_explained)
{
	const char *state = text_of(device, "state");
	const json_t *nodes = json_object_get(json_object_get(device, "vm"), "nodes");
	const char *node = json_string_value(json_array_get(nodes, 0));
	size_t n_nodes = json_array_size(nodes);

	table_add(table, TABLE_BOLD, "%s", text_of(device, "busid"));
	table_add(table, TABLE_PLAIN, "%s:%s", text_of(device, "vid"), text_of(device, "pid"));
	table_add(table, TABLE_PLAIN, "%s", *text_of(device, "name") ? text_of(device, "name") : text_of(device, "product"));
	table_add(table, TABLE_PLAIN, "%s", text_of(device, "serial"));
	table_add(table, color_of_device(state), "%s", state);
	if (is_explained)
		table_add(table, TABLE_PLAIN, "%s; %s", text_of(device, "policy"),
			  *text_of(device, "rule") ? text_of(device, "rule") : "no rule is about it");
	else if (node && n_nodes > 1)
		table_add(table, TABLE_PLAIN, "%s on the VM, and %zu more%s", node, n_nodes - 1, road_of(device));
	else if (node)
		table_add(table, TABLE_PLAIN, "%s on the VM%s", node, road_of(device));
	else
		table_add(table, TABLE_PLAIN, "%s", text_of(device, "reason"));
}

void status_view_print_devices(const json_t *status, FILE *stream, bool is_coloured, bool is_explained)
{
	const json_t *devices = json_object_get(status, "devices"), *device;
	struct table *table;
	size_t i;

	if (json_array_size(devices) == 0) {
		fprintf(stream, "No USB device is plugged in. Plug one in: it appears here, and on the VM.\n");
		return;
	}
	table = table_new(6);
	if (!table)
		return;
	table_add(table, TABLE_GREY, "BUS ID");
	table_add(table, TABLE_GREY, "USB ID");
	table_add(table, TABLE_GREY, "PRODUCT");
	table_add(table, TABLE_GREY, "SERIAL");
	table_add(table, TABLE_GREY, "STATE");
	table_add(table, TABLE_GREY, "%s", is_explained ? "WHY" : "");
	json_array_foreach(devices, i, device)
		add_device(table, device, is_explained);
	table_print(table, stream, is_coloured);
	table_free(table);
}

/* Whom this Pi could be paired with: a hint for one who does not know what to do next. */
static void print_found_vms(const json_t *status, FILE *stream)
{
	const json_t *vms = json_object_get(status, "vms"), *vm;
	size_t i;

	if (strcmp(text_of(json_object_get(status, "link"), "state"), "UNPAIRED") != 0)
		return;
	json_array_foreach(vms, i, vm)
		fprintf(stream, "%s%s (%s)%s", i == 0 ? "On this network: " : ", ", text_of(vm, "name"), text_of(vm, "address"),
			i + 1 == json_array_size(vms) ? "\n" : "");
}

void status_view_print(const json_t *status, FILE *stream, bool is_coloured)
{
	const json_t *problem = json_object_get(status, "problem");

	if (json_is_object(problem))
		fprintf(stream, "%sProblem%s  %s. %s\n", table_color_start(TABLE_RED, is_coloured), table_color_end(is_coloured),
			text_of(problem, "text"), text_of(problem, "cure"));
	blocked_print(json_object_get(status, "blocked"), stream, is_coloured);
	print_link(json_object_get(status, "link"), stream, is_coloured);
	print_found_vms(status, stream);
	fputc('\n', stream);
	status_view_print_devices(status, stream, is_coloured, false);
}

void status_view_print_event(const json_t *event, FILE *stream, bool is_coloured)
{
	const char *state = text_of(event, "state"), *kind = text_of(event, "kind");
	enum table_color color = strcmp(kind, "device") == 0 ? color_of_device(state) : color_of_link(state);

	fprintf(stream, "%s  %-8s %s%-14s%s %s\n", text_of(event, "time"), *text_of(event, "busid") ? text_of(event, "busid") : kind,
		table_color_start(color, is_coloured), state, table_color_end(is_coloured), text_of(event, "text"));
	fflush(stream);
}
