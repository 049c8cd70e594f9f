#pragma once

#include <stdbool.h>
#include <stdio.h>

/* A table for people: columns aligned by what is displayed, coloured on a terminal only. */
struct table;

enum table_color { TABLE_PLAIN, TABLE_GREEN, TABLE_YELLOW, TABLE_RED, TABLE_GREY, TABLE_BOLD };

/* The caller's; NULL without memory. */
struct table *table_new(unsigned n_columns);

/* Takes NULL, returns NULL. */
struct table *table_free(struct table *table);

/* Adds the next cell, row by row. */
void table_add(struct table *table, enum table_color color, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Writes all rows, two spaces between the columns, none at a line's end. */
void table_print(const struct table *table, FILE *stream, bool is_coloured);

/* Whether stream is a terminal that wants colours (NO_COLOR is not set, TERM is not dumb). */
bool table_wants_color(FILE *stream);

/* The escape sequence that starts a colour and the one that ends it; "" if not is_coloured. */
const char *table_color_start(enum table_color color, bool is_coloured);

/* The sequence that ends it. */
const char *table_color_end(bool is_coloured);
