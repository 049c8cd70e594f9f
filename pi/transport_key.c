#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "atomic_file.h"
#include "cleanup.h"
#include "transport_internal.h"

static void key_freep(ssh_key *key)
{
	ssh_key_free(*key);
}

#define _cleanup_key_ _cleanup_(key_freep)

static void ssh_stringp(char **text)
{
	ssh_string_free_char(*text);
}

int transport_key_ensure(const char *path, struct failure *ret_failure)
{
	_cleanup_key_ ssh_key key = NULL;
	_cleanup_(ssh_stringp) char *text = NULL;
	int r;

	if (access(path, F_OK) == 0)
		return 0;
	if (errno != ENOENT)
		return failure_set(ret_failure, FAILURE_NO_PERMISSION, "Look at the file and its directory.", "%s: %s", path,
				   strerror(errno));
	if (ssh_pki_generate(SSH_KEYTYPE_ED25519, 0, &key) != SSH_OK ||
	    ssh_pki_export_privkey_base64(key, NULL, NULL, NULL, &text) != SSH_OK)
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "no SSH key could be made");
	r = file_write_new(path, text, strlen(text), 0600); /* the VM knows the old one: never over that */
	explicit_bzero(text, strlen(text));
	if (r < 0 && r != -EEXIST)
		return failure_set(ret_failure, FAILURE_NO_PERMISSION, "Look at the directory's owner and free space.",
				   "%s: the SSH key could not be written: %s", path, strerror(-r));
	return 0;
}

int transport_key_public(const char *path, const char *comment, char **ret_line, struct failure *ret_failure)
{
	_cleanup_key_ ssh_key key = NULL;
	_cleanup_(ssh_stringp) char *base64 = NULL;

	if (ssh_pki_import_privkey_file(path, NULL, NULL, NULL, &key) != SSH_OK || ssh_pki_export_pubkey_base64(key, &base64) != SSH_OK)
		return failure_set(ret_failure, FAILURE_NO_PERMISSION,
				   "Remove the file and restart usbpush-exporter: it makes a new key. Then pair again.",
				   "%s: no usable SSH key", path);
	if (asprintf(ret_line, "%s %s %s", ssh_key_type_to_char(ssh_key_type(key)), base64, comment) < 0)
		return -ENOMEM;
	return 0;
}

static int key_fingerprint(ssh_key key, char *ret_fingerprint)
{
	unsigned char *hash = NULL;
	_cleanup_(ssh_stringp) char *text = NULL;
	size_t length;

	if (ssh_get_publickey_hash(key, SSH_PUBLICKEY_HASH_SHA256, &hash, &length) != SSH_OK)
		return -ENOMEM;
	text = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, length);
	ssh_clean_pubkey_hash(&hash);
	if (!text)
		return -ENOMEM;
	snprintf(ret_fingerprint, 64, "%s", text);
	return 0;
}

int transport_describe_key(ssh_key key, char *ret_normal, size_t size, char *ret_fingerprint)
{
	_cleanup_(ssh_stringp) char *base64 = NULL;

	if (ssh_pki_export_pubkey_base64(key, &base64) != SSH_OK)
		return -ENOMEM;
	if (snprintf(ret_normal, size, "%s %s", ssh_key_type_to_char(ssh_key_type(key)), base64) >= (int)size)
		return -EMSGSIZE;
	return key_fingerprint(key, ret_fingerprint);
}

/* Splits "TYPE BASE64 [COMMENT]". */
static int key_split(const char *text, char *type, size_t type_size, char *base64, size_t base64_size)
{
	size_t length;

	text += strspn(text, " \t");
	length = strcspn(text, " \t");
	if (length == 0 || length >= type_size || !text[length])
		return -EINVAL;
	memcpy(type, text, length);
	type[length] = '\0';
	text += length + strspn(text + length, " \t");
	length = strcspn(text, " \t\r\n");
	if (length == 0 || length >= base64_size)
		return -EINVAL;
	memcpy(base64, text, length);
	base64[length] = '\0';
	return 0;
}

/* Whether base64 is the key as it is written, and nothing besides: libssh passes over what stands behind the padding. */
static bool key_is_written(ssh_key key, const char *base64)
{
	_cleanup_(ssh_stringp) char *exact = NULL;

	return ssh_pki_export_pubkey_base64(key, &exact) == SSH_OK && strcmp(exact, base64) == 0;
}

int transport_key_parse(const char *text, char *ret_normal, size_t size, char *ret_fingerprint, struct failure *ret_failure)
{
	_cleanup_key_ ssh_key key = NULL;
	char type[64], base64[4096];
	enum ssh_keytypes_e key_type = SSH_KEYTYPE_UNKNOWN;

	if (key_split(text, type, sizeof(type), base64, sizeof(base64)) == 0)
		key_type = ssh_key_type_from_name(type);
	if (key_type == SSH_KEYTYPE_UNKNOWN || ssh_pki_import_pubkey_base64(base64, key_type, &key) != SSH_OK ||
	    !key_is_written(key, base64))
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, "Copy the line from /etc/ssh/ssh_host_ed25519_key.pub on the VM.",
				   "\"%.60s\" is no public key; expected \"ssh-ed25519 AAAA...\"", text);
	if (snprintf(ret_normal, size, "%s %s", type, base64) >= (int)size)
		return failure_set(ret_failure, FAILURE_BAD_REQUEST, "Use the VM's ed25519 key.", "the host key is too long");
	return ret_fingerprint ? key_fingerprint(key, ret_fingerprint) : 0;
}
