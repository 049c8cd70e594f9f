#include "pair_party.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "identity.h"

#define LETTERS_AND_DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define ID_LENGTH          32

static int party_fail(struct failure *failure, const char *field)
{
	return failure_set(failure, FAILURE_BAD_REQUEST, "Install the same version of usbpush on both machines.",
			   "pairing: \"%s\" is missing or makes no sense", field);
}

/* A string of at most size - 1 bytes, all of them among allowed. */
static int party_read(const json_t *object, const char *field, const char *allowed, char *buffer, size_t size, struct failure *failure)
{
	const json_t *value = json_object_get(object, field);
	const char *text = json_string_value(value);
	size_t length = json_string_length(value);

	if (!text || length == 0 || length >= size || strspn(text, allowed) != length)
		return party_fail(failure, field);
	memcpy(buffer, text, length + 1);
	return 0;
}

static int party_read_id(const json_t *object, struct pair_party *party, struct failure *failure)
{
	int r = party_read(object, "id", "0123456789abcdef", party->id, sizeof(party->id), failure);

	return r < 0 || strlen(party->id) == ID_LENGTH ? r : party_fail(failure, "id");
}

/* As it came: what is bound into the exchange must be what was sent. So a name that would have to be cleaned is refused. */
static int party_read_name(const json_t *object, struct pair_party *party, struct failure *failure)
{
	const json_t *value = json_object_get(object, "name");
	const char *text = json_string_value(value);

	if (!text || !*text || json_string_length(value) >= sizeof(party->name) || strlen(text) != json_string_length(value))
		return party_fail(failure, "name");
	identity_clean_string(text, party->name, sizeof(party->name));
	return strcmp(party->name, text) == 0 ? 0 : party_fail(failure, "name");
}

/* "TYPE BASE64", one blank and no comment. Whoever uses the key decodes it. */
static int party_read_key(const json_t *object, const char *field, struct pair_party *party, struct failure *failure)
{
	int r = party_read(object, field, LETTERS_AND_DIGITS "+/=@.- ", party->key, sizeof(party->key), failure);
	const char *blank;

	if (r < 0)
		return r;
	blank = strchr(party->key, ' ');
	if (!blank || blank == party->key || !blank[1] || strchr(blank + 1, ' '))
		return party_fail(failure, field);
	return 0;
}

static int party_read_port(const json_t *object, const char *field, struct pair_party *party, struct failure *failure)
{
	const json_t *value = json_object_get(object, field);

	if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > UINT16_MAX)
		return party_fail(failure, field);
	party->port = (uint16_t)json_integer_value(value);
	return 0;
}

bool pair_party_is_host(const char *text)
{
	size_t length = strlen(text);

	return length > 0 && length < PAIR_HOST_SIZE && text[0] != '-' && strspn(text, LETTERS_AND_DIGITS ".-_:%") == length;
}

json_t *pair_party_vm_to_json(const struct pair_party *vm)
{
	return json_pack("{s:s, s:s, s:s, s:i, s:s, s:s}", "id", vm->id, "name", vm->name, "host", vm->host, "port", vm->port, "user",
			 vm->user, "host_key", vm->key);
}

int pair_party_vm_from_json(const json_t *object, struct pair_party *ret_vm, struct failure *ret_failure)
{
	struct pair_party vm = { .port = 0 };
	int r = party_read_id(object, &vm, ret_failure);

	if (r == 0)
		r = party_read_name(object, &vm, ret_failure);
	if (r == 0)
		r = party_read(object, "host", LETTERS_AND_DIGITS ".-_:%", vm.host, sizeof(vm.host), ret_failure);
	if (r == 0 && !pair_party_is_host(vm.host))
		r = party_fail(ret_failure, "host");
	if (r == 0)
		r = party_read_port(object, "port", &vm, ret_failure);
	if (r == 0)
		r = party_read(object, "user", LETTERS_AND_DIGITS "._-", vm.user, sizeof(vm.user), ret_failure);
	if (r == 0)
		r = party_read_key(object, "host_key", &vm, ret_failure);
	if (r == 0)
		*ret_vm = vm;
	return r;
}

json_t *pair_party_pi_to_json(const struct pair_party *pi)
{
	return json_pack("{s:s, s:s, s:s}", "id", pi->id, "name", pi->name, "key", pi->key);
}

int pair_party_pi_from_json(const json_t *object, struct pair_party *ret_pi, struct failure *ret_failure)
{
	struct pair_party pi = *ret_pi;
	int r = party_read_id(object, &pi, ret_failure);

	if (r == 0)
		r = party_read_name(object, &pi, ret_failure);
	if (r == 0)
		r = party_read_key(object, "key", &pi, ret_failure);
	if (r == 0)
		*ret_pi = pi;
	return r;
}

static void party_add_port(const struct pair_party *party, struct cpace_text *text)
{
	char port[8];

	snprintf(port, sizeof(port), "%u", party->port);
	cpace_text_add_string(text, port);
}

static void party_add_start(const struct pair_party *party, const char *role, struct cpace_text *text)
{
	char version[16];

	snprintf(version, sizeof(version), "%d", PROTOCOL_VERSION);
	cpace_text_add_string(text, role);
	cpace_text_add_string(text, version);
	cpace_text_add_string(text, party->id);
	cpace_text_add_string(text, party->name);
	cpace_text_add_string(text, party->host);
	party_add_port(party, text);
}

void pair_party_vm_to_text(const struct pair_party *vm, struct cpace_text *text)
{
	party_add_start(vm, "vm", text);
	cpace_text_add_string(text, vm->user);
	cpace_text_add_string(text, vm->key);
}

void pair_party_pi_to_text(const struct pair_party *pi, struct cpace_text *text)
{
	party_add_start(pi, "pi", text);
	cpace_text_add_string(text, pi->key);
}
