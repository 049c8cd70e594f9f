#pragma once

/* A password that passes through leaves no trace in memory that was freed. */

/* From now on jansson zeroes what it frees. First thing in main(): what it allocated before must not be freed after. */
void secret_wipe_json(void);

/* Zeroes and frees what malloc() gave. Takes NULL, returns NULL. */
void *secret_free(void *memory);

/* For _cleanup_secret_. */
static inline void secret_freep(void *p)
{
	secret_free(*(void **)p);
}

#define _cleanup_secret_ __attribute__((cleanup(secret_freep)))
