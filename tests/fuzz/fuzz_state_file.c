/* Files of our own that we read back, whoever wrote into them meanwhile: ports.json, held, kept, addresses, the setup code, authorized_keys. */

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomic_file.h"
#include "authorized_keys.h"
#include "cleanup.h"
#include "fuzz.h"
#include "held_file.h"
#include "kept_file.h"
#include "port_record.h"
#include "setup_code.h"
#include "whereabouts.h"

#define BOOT_ID "0123456789abcdef0123456789abcdef"

static void check_port_records(const char *path)
{
	_cleanup_free_ struct port_record *records = NULL, *again = NULL;
	size_t n, m;

	if (port_records_read(path, BOOT_ID, &records, &n) < 0) {
		FUZZ_CHECK(records == NULL && n == 0);
		return;
	}
	FUZZ_CHECK(port_records_write(path, BOOT_ID, records, n) == 0);
	FUZZ_CHECK(port_records_read(path, BOOT_ID, &again, &m) == 0 && m == n);
	for (size_t i = 0; i < n; i++) {
		FUZZ_CHECK(fuzz_is_clean(records[i].pi_id) && records[i].port == again[i].port);
		FUZZ_CHECK(strcmp(records[i].pi_id, again[i].pi_id) == 0 && strcmp(records[i].offer.id, again[i].offer.id) == 0);
		FUZZ_CHECK(identity_equal(&records[i].offer.identity, &again[i].offer.identity, NULL, 0));
	}
}

static unsigned count(const char *text, const char *part)
{
	unsigned n = 0;

	for (text = strstr(text, part); text; text = strstr(text + 1, part))
		n++;
	return n;
}

/* A Pi is let in by one line and by no other; what is not ours stays. */
static void check_authorized_keys(const uint8_t *data, size_t size)
{
	static const struct pi_key key = { "AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
					   "00112233445566778899aabbccddeeff" };
	const char *path = fuzz_put("authorized_keys", data, size);
	_cleanup_free_ char *before = NULL, *written = NULL, *after = NULL;
	ssize_t after_size;

	if (file_read(path, 1 << 20, &before) < 0 || authorized_keys_write(path, &key, "pi") < 0)
		return;
	FUZZ_CHECK(file_read(path, 1 << 20, &written) > 0);
	FUZZ_CHECK(count(written, "--pi 00112233445566778899aabbccddeeff\" ssh-ed25519 ") >= 1);
	FUZZ_CHECK(authorized_keys_remove(path, key.pi_id) == 0);
	after_size = file_read(path, 1 << 20, &after);
	FUZZ_CHECK(after_size >= 0);
	/* No line of this Pi's is left that sshd would read as one of ours. */
	FUZZ_CHECK(!strstr(after, "\nrestrict,command=\"exec /usr/libexec/usbpush/usbpush-relay --pi 00112233445566778899aabbccddeeff\""));
	FUZZ_CHECK(strncmp(after, "restrict,command=\"exec /usr/libexec/usbpush/usbpush-relay --pi 00112233445566778899aabbccddeeff\"",
			   96) != 0);
	/* A file without such lines is as it was, but for the end of its last line. */
	if (!memmem(data, size, "--pi", 4) && !memmem(data, size, "usbpush:pi", 10))
		FUZZ_CHECK((size_t)after_size >= size && (size_t)after_size <= size + 1 && memcmp(before, after, size) == 0);
}

/* A device is kept by a whole line of its own. */
static void check_kept(const uint8_t *data, size_t size)
{
	static const struct busid busid = { "1-1.2" };
	_cleanup_free_ char *kept = NULL;

	if (kept_file_read(fuzz_put("kept", data, size), &kept) < 0)
		return;
	if (kept_lines_have(kept, &busid, 17))
		FUZZ_CHECK(strncmp(kept, "1-1.2 17\n", 9) == 0 || strstr(kept, "\n1-1.2 17\n"));
	FUZZ_CHECK(!kept_lines_have(kept, &busid, 0));
}

/* Whom a booted VM knocks at: a paired Pi's id, and nothing but an address. */
static void check_addresses(const uint8_t *data, size_t size)
{
	_cleanup_json_ json_t *addresses = whereabouts_read(fuzz_put("addresses", data, size));
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST }, *found;
	const char *pi_id, *address, *scope;
	char bare[WHEREABOUTS_ADDRESS_SIZE];
	json_t *value;

	FUZZ_CHECK(addresses && json_object_size(addresses) <= PICONF_MAX_PIS);
	json_object_foreach(addresses, pi_id, value) {
		address = json_string_value(value);
		FUZZ_CHECK(piconf_is_id(pi_id) && address && fuzz_is_clean(address) && strlen(address) < sizeof(bare));
		scope = address + strcspn(address, "%");
		FUZZ_CHECK(!*scope || (scope[1] && strchr(address, ':')));
		snprintf(bare, sizeof(bare), "%.*s", (int)(scope - address), address); /* that scope need not be on this machine */
		FUZZ_CHECK(getaddrinfo(bare, NULL, &hints, &found) == 0);
		freeaddrinfo(found);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct busid busid = { "1-1.2" };
	_cleanup_free_ char *text = fuzz_text(data, size), *held = NULL;

	check_port_records(fuzz_put("ports.json", data, size));
	if (held_file_read(fuzz_put("held", data, size), &held) >= 0)
		(void)held_lines_have(held, &busid);
	check_kept(data, size);
	check_addresses(data, size);
	/* An empty or broken file is nobody's code. */
	if (setup_code_fits(fuzz_put("code", data, size), text))
		FUZZ_CHECK(size >= 8);
	(void)setup_code_fits(fuzz_put("code", "ABCD-EFGH\n", 10), text);
	check_authorized_keys(data, size);
	return 0;
}
