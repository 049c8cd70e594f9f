/* Public keys as people and files give them: vm/pi_key, pi/transport_key, common/fingerprint. Two readers of one key agree. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cpace.h"
#include "fingerprint.h"
#include "fuzz.h"
#include "pi_key.h"
#include "transport.h"

static void check_pi_key(const struct pi_key *key)
{
	char line[256], normal[256], fingerprint[FINGERPRINT_SIZE], other[64];
	struct pi_key again;

	snprintf(line, sizeof(line), "ssh-ed25519 %s", key->text);
	FUZZ_CHECK(strlen(key->pi_id) == PI_KEY_PI_ID_SIZE - 1 && strspn(key->pi_id, "0123456789abcdef") == strlen(key->pi_id));
	FUZZ_CHECK(pi_key_parse(line, "again", &again, NULL) == 0 && strcmp(again.pi_id, key->pi_id) == 0);
	FUZZ_CHECK(fingerprint_of(line, fingerprint) == 0);
	if (transport_key_parse(line, normal, sizeof(normal), other, NULL) < 0)
		return;
	FUZZ_CHECK(strcmp(normal, line) == 0 && strcmp(other, fingerprint) == 0);
}

static void check_host_key(const char *text)
{
	char normal[4096], again[4096], fingerprint[64], same[64];

	if (transport_key_parse(text, normal, sizeof(normal), fingerprint, NULL) < 0)
		return;
	FUZZ_CHECK(!strpbrk(normal, "\n\r\t\"'#") && strncmp(fingerprint, "SHA256:", strlen("SHA256:")) == 0);
	FUZZ_CHECK(transport_key_parse(normal, again, sizeof(again), same, NULL) == 0);
	FUZZ_CHECK(strcmp(normal, again) == 0 && strcmp(fingerprint, same) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	char fingerprint[FINGERPRINT_SIZE];
	struct failure failure;
	struct pi_key key;

	FUZZ_CHECK(cpace_init() == 0);
	if (fingerprint_of(text, fingerprint) == 0)
		FUZZ_CHECK(strlen(fingerprint) == FINGERPRINT_SIZE - 1);
	if (pi_key_parse(text, "input", &key, &failure) == 0)
		check_pi_key(&key);
	else
		FUZZ_CHECK(failure.text[0] && fuzz_is_clean(failure.text));
	check_host_key(text);
	return 0;
}
