#include "metrics_token.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "atomic_file.h"
#include "cleanup.h"
#include "log.h"
#include "secret.h"
#include "session.h"

#define TOKEN_FILE_MAX ((size_t)1024)
#define SCHEME         "Bearer "

/* The first line of the file without the white space around it: 0 and the caller's, or a negative errno (-EINVAL: too short, or no token). */
static int token_read(const char *path, char **ret_token)
{
	_cleanup_secret_ char *content = NULL;
	ssize_t size = file_read(path, TOKEN_FILE_MAX, &content);
	char *token;

	if (size < 0)
		return (int)size;
	token = content + strspn(content, " \t\r\n");
	token[strcspn(token, " \t\r\n")] = '\0';
	if (strlen(token) < METRICS_TOKEN_MIN)
		return -EINVAL;
	*ret_token = strdup(token);
	return *ret_token ? 0 : -ENOMEM;
}

bool metrics_token_check(const char *path)
{
	_cleanup_secret_ char *token = NULL;
	int r = token_read(path, &token);

	if (r == -EINVAL)
		log_warning("%s has no token of %d or more characters: /metrics takes a login. Make one: openssl rand -hex 32", path,
			    METRICS_TOKEN_MIN);
	else if (r < 0)
		log_warning(
			"%s can't be read: %s. /metrics takes a login. It must be readable by the portal: chgrp usbpush-portal, chmod 0640",
			path, strerror(-r));
	return r == 0;
}

bool metrics_token_fits(const char *path, const char *authorization)
{
	_cleanup_secret_ char *token = NULL;

	if (!authorization || strncasecmp(authorization, SCHEME, strlen(SCHEME)) != 0 || token_read(path, &token) < 0)
		return false;
	return session_secret_equal(token, authorization + strlen(SCHEME));
}
