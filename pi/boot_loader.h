#pragma once

#include <stdint.h>

/* Under which VID:PID a board of this one comes back when its boot loader runs, as far as it is known: "2e8a:0003"; NULL otherwise, or where it keeps its own. */
const char *boot_loader_find(uint16_t vid, uint16_t pid);
