#include <libssh/callbacks.h>
#include <libssh/libssh.h>

#include "inject_internal.h"

INJECT_SIMPLE(INJECT_SSH, ssh_session, ssh_new, (void), (), NULL)
INJECT_SIMPLE(INJECT_SSH, ssh_event, ssh_event_new, (void), (), NULL)
INJECT_SIMPLE(INJECT_SSH, int, ssh_event_add_session, (ssh_event event, ssh_session session), (event, session), SSH_ERROR)
INJECT_SIMPLE(INJECT_SSH, int, ssh_event_dopoll, (ssh_event event, int timeout), (event, timeout), SSH_ERROR)
INJECT_SIMPLE(INJECT_SSH, int, ssh_is_connected, (ssh_session session), (session), 0)
INJECT_SIMPLE(INJECT_SSH, int, ssh_options_set, (ssh_session session, enum ssh_options_e type, const void *value), (session, type, value),
	      SSH_ERROR)
INJECT_SIMPLE(INJECT_SSH, int, ssh_connect, (ssh_session session), (session), SSH_ERROR)
INJECT_SIMPLE(INJECT_SSH, int, ssh_get_server_publickey, (ssh_session session, ssh_key *key), (session, key), SSH_ERROR)
INJECT_SIMPLE(INJECT_SSH, int, ssh_userauth_publickey, (ssh_session session, const char *user, const ssh_key key), (session, user, key),
	      SSH_AUTH_ERROR)
INJECT_SIMPLE(INJECT_SSH, ssh_channel, ssh_channel_new, (ssh_session session), (session), NULL)
INJECT_SIMPLE(INJECT_SSH, int, ssh_channel_open_session, (ssh_channel channel), (channel), SSH_ERROR)
INJECT_SIMPLE(INJECT_SSH, int, ssh_channel_request_exec, (ssh_channel channel, const char *command), (channel, command), SSH_ERROR)
INJECT_SIMPLE(INJECT_SSH, int, ssh_channel_write, (ssh_channel channel, const void *data, uint32_t size), (channel, data, size), SSH_ERROR)
INJECT_SIMPLE(INJECT_SSH, int, ssh_channel_read_nonblocking, (ssh_channel channel, void *data, uint32_t size, int is_stderr),
	      (channel, data, size, is_stderr), SSH_ERROR)
INJECT_SIMPLE(INJECT_SSH, int, ssh_pki_import_privkey_file,
	      (const char *path, const char *passphrase, ssh_auth_callback fn, void *userdata, ssh_key *key),
	      (path, passphrase, fn, userdata, key), SSH_ERROR)
INJECT_SIMPLE(INJECT_SSH, int, ssh_pki_import_pubkey_base64, (const char *base64, enum ssh_keytypes_e type, ssh_key *key),
	      (base64, type, key), SSH_ERROR)
INJECT_SIMPLE(INJECT_SSH, int, ssh_pki_export_pubkey_base64, (const ssh_key key, char **base64), (key, base64), SSH_ERROR)
INJECT_SIMPLE(INJECT_SSH, int, ssh_pki_generate, (enum ssh_keytypes_e type, int parameter, ssh_key *key), (type, parameter, key), SSH_ERROR)
INJECT_SIMPLE(INJECT_SSH, int, ssh_pki_export_privkey_base64,
	      (const ssh_key key, const char *passphrase, ssh_auth_callback fn, void *userdata, char **base64),
	      (key, passphrase, fn, userdata, base64), SSH_ERROR)
INJECT_SIMPLE(INJECT_SSH, int, ssh_get_publickey_hash,
	      (const ssh_key key, enum ssh_publickey_hash_type type, unsigned char **hash, size_t *length), (key, type, hash, length),
	      SSH_ERROR)
