#include "vhci_status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_COLUMNS  7 /* hub port sta spd dev sockfd local_busid */
#define STATUS_ROW_SIZE 160

static int column_parse_number(const char *text, int base, uint32_t *ret_value)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, base);
	if (errno || *end || end == text || *text == '-' || value > UINT32_MAX)
		return -EBADMSG;
	*ret_value = (uint32_t)value;
	return 0;
}

static int row_split(char *row, char *columns[STATUS_COLUMNS])
{
	char *rest = NULL;
	int n = 0;

	for (char *word = strtok_r(row, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest)) {
		if (n == STATUS_COLUMNS)
			return -EBADMSG;
		columns[n++] = word;
	}
	return n == STATUS_COLUMNS ? 0 : -EBADMSG;
}

static int row_parse(char *row, struct vhci_port *ret_port)
{
	char *columns[STATUS_COLUMNS];
	struct vhci_port port = { 0 };
	uint32_t state;

	if (row_split(row, columns) < 0)
		return -EBADMSG;
	if (strcmp(columns[0], "hs") != 0 && strcmp(columns[0], "ss") != 0)
		return -EBADMSG;
	port.is_super_speed = columns[0][0] == 's';
	if (column_parse_number(columns[1], 10, &port.number) < 0 || column_parse_number(columns[2], 10, &state) < 0 ||
	    column_parse_number(columns[4], 16, &port.devid) < 0)
		return -EBADMSG;
	if (state < VHCI_PORT_FREE || state > VHCI_PORT_ERROR)
		return -EBADMSG;
	port.state = state;
	if (port.state == VHCI_PORT_USED && busid_parse(columns[6], &port.busid) < 0)
		return -EBADMSG;
	*ret_port = port;
	return 0;
}

int vhci_status_parse(const char *text, struct vhci_port *ports, size_t max, size_t *ret_n)
{
	size_t n = 0;

	for (const char *line = text; *line;) {
		size_t length = strcspn(line, "\n");
		char row[STATUS_ROW_SIZE];

		if (length >= sizeof(row))
			return -EBADMSG;
		memcpy(row, line, length);
		row[length] = '\0';
		line += length + (line[length] == '\n');

		if (length == 0 || strncmp(row, "hub ", 4) == 0)
			continue;
		if (n == max)
			return -E2BIG;
		if (row_parse(row, &ports[n]) < 0)
			return -EBADMSG;
		n++;
	}
	*ret_n = n;
	return 0;
}
