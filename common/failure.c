#include "failure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "identity.h"

static const struct {
	enum failure_code code;
	const char *name;
	int error;
} CODES[] = {
	{ FAILURE_NONE, "none", 0 },
	{ FAILURE_INTERNAL, "internal", -EIO },
	{ FAILURE_BAD_REQUEST, "bad-request", -EBADMSG },
	{ FAILURE_NOT_FOUND, "not-found", -ENOENT },
	{ FAILURE_AMBIGUOUS, "ambiguous", -ENOTUNIQ },
	{ FAILURE_NOT_ALLOWED, "not-allowed", -EPERM },
	{ FAILURE_NO_MODULE, "no-module", -ENOSYS },
	{ FAILURE_NO_USB, "no-usb", -ENOSYS },
	{ FAILURE_NO_PERMISSION, "no-permission", -EACCES },
	{ FAILURE_NO_FREE_PORT, "no-free-port", -ENOSPC },
	{ FAILURE_TABLE_FULL, "table-full", -ENOSPC },
	{ FAILURE_BUSY, "busy", -EBUSY },
	{ FAILURE_GONE, "gone", -ENODEV },
	{ FAILURE_KERNEL, "kernel", -EIO },
	{ FAILURE_ENUMERATION, "enumeration", -EIO },
	{ FAILURE_IDENTITY, "identity", -EINVAL },
	{ FAILURE_NOT_ACCEPTED, "not-accepted", -EPERM },
	{ FAILURE_STREAM, "stream", -EPIPE },
	{ FAILURE_TIMEOUT, "timeout", -ETIMEDOUT },
	{ FAILURE_VERSION, "version", -EPROTONOSUPPORT },
	{ FAILURE_HOST_KEY, "host-key", -EKEYREJECTED },
	{ FAILURE_LOGIN, "login", -EACCES },
	{ FAILURE_UNREACHABLE, "unreachable", -EHOSTUNREACH },
	{ FAILURE_NOT_PAIRED, "not-paired", -ENOTCONN },
	{ FAILURE_WRONG_CODE, "wrong-code", -EKEYREJECTED },
	{ FAILURE_LOCKED, "locked", -EAGAIN },
	{ FAILURE_CANCELLED, "cancelled", -ECANCELED },
	{ FAILURE_WRONG_PASSWORD, "wrong-password", -EACCES },
	{ FAILURE_NO_PASSWORD_LOGIN, "no-password-login", -EACCES },
	{ FAILURE_NO_SUDO, "no-sudo", -EPERM },
	{ FAILURE_NOT_INSTALLED, "not-installed", -ENOPKG },
};

const char *failure_code_to_string(enum failure_code code)
{
	for (size_t i = 0; i < sizeof(CODES) / sizeof(CODES[0]); i++)
		if (CODES[i].code == code)
			return CODES[i].name;
	return "internal";
}

enum failure_code failure_code_from_string(const char *name)
{
	for (size_t i = 0; i < sizeof(CODES) / sizeof(CODES[0]); i++)
		if (strcmp(CODES[i].name, name) == 0)
			return CODES[i].code;
	return FAILURE_INTERNAL;
}

bool failure_is_final(enum failure_code code)
{
	return code == FAILURE_NOT_ACCEPTED || code == FAILURE_IDENTITY || code == FAILURE_BAD_REQUEST;
}

static int failure_code_to_error(enum failure_code code)
{
	for (size_t i = 0; i < sizeof(CODES) / sizeof(CODES[0]); i++)
		if (CODES[i].code == code)
			return CODES[i].error;
	return -EIO;
}

int failure_set(struct failure *failure, enum failure_code code, const char *cure, const char *format, ...)
{
	char text[1024];
	va_list arguments;

	if (failure) {
		va_start(arguments, format);
		vsnprintf(text, sizeof(text), format, arguments);
		va_end(arguments);
		failure->code = code;
		identity_clean_string(text, failure->text, sizeof(failure->text));
		identity_clean_string(cure ? cure : "", failure->cure, sizeof(failure->cure));
	}
	return failure_code_to_error(code);
}

json_t *failure_to_json(const struct failure *failure)
{
	return json_pack("{s:s, s:s, s:s}", "code", failure_code_to_string(failure->code), "text", failure->text, "cure", failure->cure);
}

void failure_from_json(const json_t *object, struct failure *ret_failure)
{
	const char *code = json_string_value(json_object_get(object, "code"));
	const char *text = json_string_value(json_object_get(object, "text"));
	const char *cure = json_string_value(json_object_get(object, "cure"));

	ret_failure->code = code ? failure_code_from_string(code) : FAILURE_INTERNAL;
	identity_clean_string(text ? text : "", ret_failure->text, sizeof(ret_failure->text));
	identity_clean_string(cure ? cure : "", ret_failure->cure, sizeof(ret_failure->cure));
}
