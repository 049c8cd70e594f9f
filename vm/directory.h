#pragma once

/* Makes the directories above path that are missing, mode 0755. 0 or negative errno. */
int directory_make_parents(const char *path);
