#include "table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct cell {
	char *text; /* owned */
	enum table_color color;
};

struct table {
	unsigned n_columns;
	size_t n_cells, allocated;
	struct cell *cells; /* owned */
};

struct table *table_new(unsigned n_columns)
{
	struct table *table = calloc(1, sizeof(*table));

	if (table)
		table->n_columns = n_columns;
	return table;
}

struct table *table_free(struct table *table)
{
	if (!table)
		return NULL;
	for (size_t i = 0; i < table->n_cells; i++)
		free(table->cells[i].text);
	free(table->cells);
	free(table);
	return NULL;
}

void table_add(struct table *table, enum table_color color, const char *format, ...)
{
	va_list arguments;
	char *text;

	if (table->n_cells == table->allocated) {
		size_t wanted = table->allocated ? table->allocated * 2 : 32;
		struct cell *grown = reallocarray(table->cells, wanted, sizeof(*grown));
		if (!grown)
			return;
		table->cells = grown;
		table->allocated = wanted;
	}
	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		text = NULL;
	va_end(arguments);
	table->cells[table->n_cells++] = (struct cell){ text, color };
}

/* Columns on the screen: every UTF-8 character counts one; the strings shown hold no control characters. */
static size_t table_width(const char *text)
{
	size_t width = 0;

	for (; text && *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static size_t table_column_width(const struct table *table, size_t column)
{
	size_t widest = 0;

	for (size_t i = column; i < table->n_cells; i += table->n_columns) {
		size_t width = table_width(table->cells[i].text);
		if (width > widest)
			widest = width;
	}
	return widest;
}

/* Empty cells at a row's end leave no trailing space. */
static bool table_row_ends_here(const struct table *table, size_t cell)
{
	for (size_t i = cell + 1; i < table->n_cells && i % table->n_columns != 0; i++)
		if (table->cells[i].text && table->cells[i].text[0])
			return false;
	return true;
}

static void table_print_row(const struct table *table, FILE *stream, bool is_coloured, size_t first, const size_t *widths)
{
	for (size_t i = first; i < table->n_cells && i < first + table->n_columns; i++) {
		const struct cell *cell = &table->cells[i];
		const char *text = cell->text ? cell->text : "";
		size_t padding = widths[i - first] - table_width(text) + 2;

		fprintf(stream, "%s%s%s", table_color_start(cell->color, is_coloured), text,
			cell->color == TABLE_PLAIN ? "" : table_color_end(is_coloured));
		if (table_row_ends_here(table, i))
			break;
		fprintf(stream, "%*s", (int)padding, "");
	}
	fputc('\n', stream);
}

void table_print(const struct table *table, FILE *stream, bool is_coloured)
{
	size_t *widths = calloc(table->n_columns, sizeof(*widths));

	if (!widths)
		return;
	for (size_t i = 0; i < table->n_columns; i++)
		widths[i] = table_column_width(table, i);
	for (size_t first = 0; first < table->n_cells; first += table->n_columns)
		table_print_row(table, stream, is_coloured, first, widths);
	free(widths);
}

bool table_wants_color(FILE *stream)
{
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

	return isatty(fileno(stream)) && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
}

const char *table_color_start(enum table_color color, bool is_coloured)
{
	static const char *const codes[] = {
		[TABLE_PLAIN] = "",         [TABLE_GREEN] = "\033[32m", [TABLE_YELLOW] = "\033[33m",
		[TABLE_RED] = "\033[1;31m", [TABLE_GREY] = "\033[90m",  [TABLE_BOLD] = "\033[1m",
	};

	return is_coloured ? codes[color] : "";
}

const char *table_color_end(bool is_coloured)
{
	return is_coloured ? "\033[0m" : "";
}
