/* TXT records of whoever is on the network: what mdns/mdns.c takes of them. That function is the module's own, so the module is part of this target. */

#include "../../mdns/mdns.c"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AvahiStringList *list = NULL;
	struct mdns_found found = { 0 };
	char *name = fuzz_text(data, size), key[MDNS_KEY_SIZE];

	make_key(1, AVAHI_PROTO_INET6, name, key);
	FUZZ_CHECK(fuzz_is_clean(key));
	free(name);
	if (avahi_string_list_parse(data, size, &list) < 0)
		return 0;
	read_txt(list, &found);
	FUZZ_CHECK(found.id[0] == '\0' || (strlen(found.id) == 32 && strspn(found.id, "0123456789abcdef") == 32));
	FUZZ_CHECK(fuzz_is_clean(found.fingerprint));
	avahi_string_list_free(list);
	return 0;
}
