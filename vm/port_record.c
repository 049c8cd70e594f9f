#include "port_record.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "atomic_file.h"
#include "cleanup.h"
#include "json_text.h"
#include "piconf.h"

#define PORT_RECORDS_MAX_SIZE ((size_t)8 * 1024 * 1024)

int port_records_write(const char *path, const char *boot_id, const struct port_record *records, size_t n)
{
	_cleanup_json_ json_t *list = json_array(), *root = NULL;
	_cleanup_free_ char *text = NULL;

	for (size_t i = 0; i < n; i++)
		if (json_array_append_new(list, json_pack("{s:i, s:s, s:o}", "port", (int)records[i].port, "pi", records[i].pi_id, "offer",
							  offer_to_json(&records[i].offer))) < 0)
			return -ENOMEM;
	root = json_pack("{s:s, s:O}", "boot_id", boot_id, "ports", list);
	text = json_text(root, 0);
	return text ? file_write_atomic(path, text, strlen(text), 0644) : -ENOMEM;
}

static int record_parse(const json_t *object, struct port_record *ret_record)
{
	const json_t *port = json_object_get(object, "port");
	const char *pi_id = json_string_value(json_object_get(object, "pi"));
	struct failure failure;

	if (!json_is_integer(port) || json_integer_value(port) < 0 || json_integer_value(port) > UINT16_MAX)
		return -EBADMSG;
	if (!pi_id || !piconf_is_id(pi_id))
		return -EBADMSG;
	ret_record->port = (uint32_t)json_integer_value(port);
	memcpy(ret_record->pi_id, pi_id, strlen(pi_id) + 1);
	return offer_from_json(json_object_get(object, "offer"), &ret_record->offer, &failure);
}

int port_records_read(const char *path, const char *boot_id, struct port_record **ret_records, size_t *ret_n)
{
	_cleanup_json_ json_t *root = NULL;
	_cleanup_free_ struct port_record *records = NULL;
	_cleanup_free_ char *text = NULL;
	const json_t *list;
	const char *boot;
	ssize_t size = file_read(path, PORT_RECORDS_MAX_SIZE, &text);

	*ret_records = NULL;
	*ret_n = 0;
	if (size < 0)
		return size == -ENOENT ? 0 : (int)size;
	root = json_loadb(text, (size_t)size, 0, NULL);
	boot = json_string_value(json_object_get(root, "boot_id"));
	list = json_object_get(root, "ports");
	if (!boot || !json_is_array(list))
		return -EBADMSG;
	if (strcmp(boot, boot_id) != 0)
		return 0;
	records = calloc(json_array_size(list) + 1, sizeof(*records));
	if (!records)
		return -ENOMEM;
	for (size_t i = 0; i < json_array_size(list); i++)
		if (record_parse(json_array_get(list, i), &records[i]) < 0)
			return -EBADMSG;
	*ret_n = json_array_size(list);
	*ret_records = TAKE_PTR(records);
	return 0;
}
