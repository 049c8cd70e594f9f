#pragma once

#include <stddef.h>

#define FINGERPRINT_SIZE 51 /* "SHA256:", 43 characters, and a NUL */

/* A public key's fingerprint as ssh-keygen -l prints it, from the first line ("TYPE BASE64 [COMMENT]") of a .pub file's content. 0 or -EBADMSG. */
int fingerprint_of(const char *content, char ret_fingerprint[FINGERPRINT_SIZE]);
