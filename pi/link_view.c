#include <string.h>

#include "cleanup.h"
#include "daemon.h"
#include "json_whole.h"
#include "link_internal.h"
#include "log.h"

bool link_is_repeating(const struct link *link)
{
	return link->is_repeating;
}

bool link_is_in_trouble(const struct link *link)
{
	return link->state != LINK_UP && link->state != LINK_UNPAIRED && link->failure.code != FAILURE_NONE;
}

/* Whether the state itself is the trouble, and not a new try after it. */
static bool link_is_state_bad(const struct link *link)
{
	return link->state == LINK_DOWN || link->state == LINK_REFUSED || (link->state == LINK_SYNCING && link->control_lost_usec);
}

/* Each trouble is told once, however often it is tried again. */
static enum log_level link_log_level(const struct link *link)
{
	bool is_told = link->told.code == link->failure.code && strcmp(link->told.text, link->failure.text) == 0;

	if (!link_is_in_trouble(link))
		return link->state == LINK_UP ? LOG_LEVEL_NOTICE : LOG_LEVEL_INFO;
	if (!link_is_state_bad(link))
		return is_told ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
	if (link->state == LINK_REFUSED)
		return LOG_LEVEL_ERROR;
	return is_told ? LOG_LEVEL_DEBUG : LOG_LEVEL_NOTICE;
}

void link_log_state(struct link *link, enum link_state old)
{
	const struct log_about about = { .vm = link->config.host, .state = link_state_to_string(link->state) };
	enum log_level level = link_log_level(link);

	link->is_repeating = level == LOG_LEVEL_DEBUG;
	if (link_is_in_trouble(link) && link_is_state_bad(link)) {
		log_write_about(level, &about, "link to %s: %s -> %s: %s %s", about.vm, link_state_to_string(old), about.state,
				link->failure.text, link->failure.cure);
		link->told = link->failure;
		return;
	}
	log_write_about(level, &about, "link to %s: %s -> %s", about.vm, link_state_to_string(old), about.state);
	if (link->state == LINK_UP)
		link->told = (struct failure){ 0 };
}

static const char *const STEP_NAMES[] = { "tcp", "host_key", "login", "handler", "sync" };

static json_t *link_steps_to_json(const struct link *link)
{
	json_t *steps = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(STEP_NAMES); i++)
		if (link->step_usec[i] >= link->attempt_since_usec && link->attempt_since_usec)
			json_whole_set(&steps, STEP_NAMES[i], json_real((double)(link->step_usec[i] - link->attempt_since_usec) / 1000));
	return steps;
}

static void link_add_traffic(const struct link *link, json_t **object)
{
	uint64_t in = 0, out = 0;

	if (link->transport)
		transport_get_traffic(link->transport, &in, &out);
	json_whole_set(object, "bytes_in", json_integer((json_int_t)in));
	json_whole_set(object, "bytes_out", json_integer((json_int_t)out));
}

json_t *link_to_json(const struct link *link)
{
	uint64_t now = clock_now_usec();
	bool is_trouble = link_is_in_trouble(link);
	json_t *object =
		json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:I, s:o}", "state", link_state_to_string(link->state), "vm", link->vm.name,
			  "host", link->config.host, "user", link->config.user, "port", link->config.port, "address", link->address,
			  "since_ms", (json_int_t)((now - link->state_since_usec) / 1000), "steps_ms", link_steps_to_json(link));

	json_whole_set(&object, "rtt_ms",
		       link->rtt_usec && link->state == LINK_UP ? json_real((double)link->rtt_usec / 1000) : json_null());
	json_whole_set(&object, "patience_ms", json_integer(link->config.patience_ms));
	json_whole_set(&object, "attempts", json_integer((json_int_t)link->n_attempts));
	json_whole_set(&object, "vm_software", json_string(link->vm.software));
	json_whole_set(&object, "error", is_trouble ? failure_to_json(&link->failure) : json_null());
	json_whole_set(&object, "next_try_ms",
		       is_trouble && link->next_try_usec > now ? json_integer((json_int_t)((link->next_try_usec - now) / 1000)) :
								 json_null());
	link_add_traffic(link, &object);
	return object;
}

const char *link_get_host(const struct link *link)
{
	return link->config.host;
}

const char *link_get_address(const struct link *link)
{
	return link->address;
}
