#include "blocked.h"

#include "job.h"
#include "json_whole.h"
#include "table.h"

static void blocked_add(const struct job_step *step, void *userdata)
{
	json_whole_append(userdata, json_pack("{s:s, s:s, s:I}", "name", step->name, "step", step->step, "since_ms",
					      (json_int_t)(step->usec / 1000)));
}

void blocked_append(json_t **list, struct job_runner *runner)
{
	job_runner_for_each_long(runner, blocked_add, list);
}

json_t *blocked_to_json(struct job_runner *runner)
{
	json_t *list = json_array();

	blocked_append(&list, runner);
	return list;
}

static const char *text_of(const json_t *item, const char *key)
{
	const char *text = json_string_value(json_object_get(item, key));

	return text ? text : "";
}

void blocked_print(const json_t *blocked, FILE *stream, bool is_coloured)
{
	const json_t *item;
	size_t i;

	json_array_foreach(blocked, i, item)
		fprintf(stream,
			"%sBlocked%s  %s: the kernel has not returned from \"%s\" for %lld s. Other devices don't wait for it; see dmesg.\n",
			table_color_start(TABLE_RED, is_coloured), table_color_end(is_coloured), text_of(item, "name"),
			text_of(item, "step"), (long long)(json_integer_value(json_object_get(item, "since_ms")) / 1000));
}
