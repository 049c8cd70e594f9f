/* The lines of the control channel and the first line of a stream: common/message. What is taken can be written, and is the same when it is read again. */

#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "fuzz.h"
#include "line.h"
#include "message.h"

static void check_texts(const struct message *message)
{
	FUZZ_CHECK(fuzz_is_clean(message->id) && fuzz_is_clean(message->reason) && fuzz_is_clean(message->of));
	FUZZ_CHECK(fuzz_is_clean(message->hello.software) && fuzz_is_clean(message->hello.role) && fuzz_is_clean(message->hello.name));
	FUZZ_CHECK(fuzz_is_clean(message->offer.name) && fuzz_is_clean(message->offer.identity.serial));
	FUZZ_CHECK(fuzz_is_clean(message->offer.identity.manufacturer) && fuzz_is_clean(message->offer.identity.product));
	FUZZ_CHECK(fuzz_is_clean(message->failure.text) && fuzz_is_clean(message->failure.cure));
	for (size_t i = 0; i < message->n_entries; i++)
		FUZZ_CHECK(message->entries[i].id[0] && fuzz_is_clean(message->entries[i].id));
	if (!message->attached)
		return;
	for (size_t i = 0; i < message->attached->n_nodes; i++)
		FUZZ_CHECK(fuzz_is_clean(message->attached->nodes[i]));
	for (size_t i = 0; i < message->attached->n_links; i++)
		FUZZ_CHECK(fuzz_is_clean(message->attached->links[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size), *once = NULL, *twice = NULL;
	_cleanup_(message_freep) struct message *message = NULL, *again = NULL;
	struct failure failure = { 0 };

	if (message_parse(text, size, &message, &failure) < 0) {
		FUZZ_CHECK(!message && failure.code != FAILURE_NONE && failure.text[0]);
		return 0;
	}
	check_texts(message);
	if (message->type == MESSAGE_UNRECOGNIZED || (message->type == MESSAGE_HELLO && message->hello.protocol != PROTOCOL_VERSION))
		return 0; /* nobody writes these */
	once = message_format(message);
	if (!once) {
		FUZZ_CHECK(size > LINE_MAX_SIZE / 8); /* numbers may grow */
		return 0;
	}
	FUZZ_CHECK(strchr(once, '\n') == once + strlen(once) - 1);
	FUZZ_CHECK(message_parse(once, strlen(once) - 1, &again, &failure) == 0);
	twice = message_format(again);
	FUZZ_CHECK(twice && again->type == message->type && strcmp(once, twice) == 0);
	return 0;
}
