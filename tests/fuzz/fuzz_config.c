/* The KEY=VALUE files: common/config, and what vm.conf, pi.conf and portal.conf make of them. What was set reads back as it was set, and all else stays. */

#include <stdlib.h>
#include <string.h>

#include "atomic_file.h"
#include "cleanup.h"
#include "config.h"
#include "fuzz.h"
#include "piconf.h"
#include "portal_config.h"
#include "vm_config.h"

struct seen {
	unsigned n, n_marks;
	char mark[128];
};

static int on_setting(const char *key, const char *value, unsigned line, char *expected, size_t expected_size, void *userdata)
{
	struct seen *seen = userdata;

	(void)expected;
	(void)expected_size;
	FUZZ_CHECK(line > 0 && !strpbrk(key, "\n=") && !strchr(value, '\n'));
	seen->n++;
	if (strcmp(key, "MARK") == 0) {
		seen->n_marks++;
		snprintf(seen->mark, sizeof(seen->mark), "%s", value);
	}
	return 0;
}

static unsigned n_problems;

static void on_problem(const struct config_problem *problem, void *userdata)
{
	(void)userdata;
	FUZZ_CHECK(problem->text[0] && fuzz_is_clean(problem->text));
	n_problems++;
}

static void check_set(const char *path, const char *value)
{
	const struct config_setting set = { "MARK", value }, unset = { "MARK", NULL };
	struct seen before = { 0 }, after = { 0 }, removed = { 0 };

	if (config_read(path, on_setting, on_problem, &before) != 0)
		return; /* what is no setting may look like one to config_set(), or not */
	if (config_set(path, &set, 1, 0644) < 0)
		return;
	FUZZ_CHECK(config_read(path, on_setting, on_problem, &after) == 0);
	FUZZ_CHECK(after.n_marks == 1 && strcmp(after.mark, value) == 0);
	FUZZ_CHECK(after.n == before.n - before.n_marks + 1);
	FUZZ_CHECK(config_set(path, &unset, 1, 0644) == 0);
	FUZZ_CHECK(config_read(path, on_setting, on_problem, &removed) == 0);
	FUZZ_CHECK(removed.n_marks == 0 && removed.n == before.n - before.n_marks);
}

static void check_vm_conf(const char *path)
{
	struct vm_config config, again;

	n_problems = 0;
	if (vm_config_load(path, on_problem, NULL, &config) < 0)
		return;
	FUZZ_CHECK(config.port > 0 && config.user[0] && config.patience_ms >= 1000 && config.patience_ms <= 600000);
	if (n_problems || !vm_config_is_paired(&config) || vm_config_save(path, &config) < 0)
		return;
	FUZZ_CHECK(vm_config_load(path, on_problem, NULL, &again) == 0 && vm_config_equal(&config, &again));
}

static void check_pi_conf(const char *path)
{
	static struct piconf piconf, again;
	const struct piconf_entry entry = { "0123456789abcdef0123456789abcdef", "added", "" };

	if (piconf_read(path, on_problem, &piconf) < 0)
		return;
	for (size_t i = 0; i < piconf.n; i++) {
		FUZZ_CHECK(piconf_is_id(piconf.entries[i].id) && piconf_is_name(piconf.entries[i].name));
		FUZZ_CHECK(!piconf.entries[i].address[0] || piconf_is_address(piconf.entries[i].address));
	}
	if (piconf.n >= PICONF_MAX_PIS || piconf_write_entry(path, &entry) < 0)
		return;
	FUZZ_CHECK(piconf_read(path, on_problem, &again) == 0 && piconf_find(&again, "added"));
	FUZZ_CHECK(piconf_remove_entry(path, entry.id) == 0 && piconf_read(path, on_problem, &again) == 0);
	FUZZ_CHECK(!piconf_find(&again, entry.id));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const values[] = { "plain", "", " white space ", "quo\"te's", "a = b # c", "\"", "'quoted'" };
	struct portal_config portal;

	if (size < 1)
		return 0;
	check_set(fuzz_put("set.conf", data + 1, size - 1), values[data[0] % ARRAY_SIZE(values)]);
	check_vm_conf(fuzz_put("vm.conf", data + 1, size - 1));
	check_pi_conf(fuzz_put("pi.conf", data + 1, size - 1));
	(void)portal_config_load(fuzz_put("portal.conf", data + 1, size - 1), on_problem, &portal);
	return 0;
}
