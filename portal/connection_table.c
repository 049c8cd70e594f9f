#include "connection_table.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "daemon.h"

struct connection {
	TAILQ_ENTRY(connection) entry;
	struct connection_table *table;        /* borrowed: outlives us */
	int fd;                                /* borrowed */
	char address[CONNECTION_ADDRESS_SIZE]; /* who shares its places */
	char peer[CONNECTION_PEER_SIZE];
	uint64_t waiting_since_usec; /* 0: being served */
	bool is_shut;
};

TAILQ_HEAD(connection_list, connection);

struct connection_table {
	struct connection_list connections; /* oldest first */
	unsigned n, max, max_per_address;
	uint64_t patience_usec;
};

struct connection_table *connection_table_new(unsigned max, unsigned max_per_address, uint64_t patience_usec)
{
	struct connection_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	TAILQ_INIT(&table->connections);
	table->max = max;
	table->max_per_address = max_per_address;
	table->patience_usec = patience_usec;
	return table;
}

struct connection_table *connection_table_free(struct connection_table *table)
{
	if (!table)
		return NULL;
	while (!TAILQ_EMPTY(&table->connections))
		connection_remove(TAILQ_FIRST(&table->connections));
	free(table);
	return NULL;
}

/* IPv4 also where it comes in by an IPv6 socket. */
static bool connection_is_ipv4(const struct sockaddr *address, struct in_addr *ret_in4)
{
	const struct sockaddr_in6 *in6 = (const void *)address;

	if (address->sa_family == AF_INET)
		*ret_in4 = ((const struct sockaddr_in *)(const void *)address)->sin_addr;
	else if (address->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		memcpy(ret_in4, &in6->sin6_addr.s6_addr[12], sizeof(*ret_in4));
	else
		return false;
	return true;
}

/* Of IPv6 only the network counts for the address: a host has as many addresses in it as it likes. */
static void connection_print_addresses(struct connection *connection, const struct sockaddr *address)
{
	struct sockaddr_in6 in6;
	struct in_addr in4;

	if (!address)
		return;
	if (connection_is_ipv4(address, &in4)) {
		inet_ntop(AF_INET, &in4, connection->address, sizeof(connection->address));
		memcpy(connection->peer, connection->address, sizeof(connection->address));
	} else if (address->sa_family == AF_INET6) {
		in6 = *(const struct sockaddr_in6 *)(const void *)address;
		if (getnameinfo(address, sizeof(in6), connection->peer, sizeof(connection->peer), NULL, 0, NI_NUMERICHOST) != 0)
			connection->peer[0] = '\0';
		memset(&in6.sin6_addr.s6_addr[8], 0, 8);
		inet_ntop(AF_INET6, &in6.sin6_addr, connection->address, sizeof(connection->address));
	}
}

static void connection_shut(struct connection *connection)
{
	connection->is_shut = true;
	shutdown(connection->fd, SHUT_RDWR);
}

/* The one that has waited longest, of all or of one address. */
static struct connection *connection_table_oldest(struct connection_table *table, const char *address)
{
	struct connection *connection, *oldest = NULL;

	TAILQ_FOREACH(connection, &table->connections, entry) {
		if (connection->is_shut || !connection->waiting_since_usec || (address && strcmp(connection->address, address) != 0))
			continue;
		if (!oldest || connection->waiting_since_usec < oldest->waiting_since_usec)
			oldest = connection;
	}
	return oldest;
}

/* Those that were shut down and are not gone yet do not count. */
static unsigned connection_table_count_live(const struct connection_table *table, const char *address)
{
	const struct connection *connection;
	unsigned n = 0;

	TAILQ_FOREACH(connection, &table->connections, entry)
		n += !connection->is_shut && (!address || strcmp(connection->address, address) == 0);
	return n;
}

static void connection_table_make_room(struct connection_table *table, const char *address)
{
	struct connection *oldest = NULL;

	if (connection_table_count_live(table, address) >= table->max_per_address)
		oldest = connection_table_oldest(table, address);
	else if (connection_table_count_live(table, NULL) >= table->max)
		oldest = connection_table_oldest(table, NULL);
	if (oldest)
		connection_shut(oldest);
}

struct connection *connection_add(struct connection_table *table, int fd, const struct sockaddr *address)
{
	struct connection *connection = calloc(1, sizeof(*connection));

	if (!connection)
		return NULL;
	connection->table = table;
	connection->fd = fd;
	connection->waiting_since_usec = clock_now_usec();
	connection_print_addresses(connection, address);
	connection_table_make_room(table, connection->address);
	TAILQ_INSERT_TAIL(&table->connections, connection, entry);
	table->n++;
	return connection;
}

void connection_remove(struct connection *connection)
{
	TAILQ_REMOVE(&connection->table->connections, connection, entry);
	connection->table->n--;
	free(connection);
}

void connection_is_served(struct connection *connection)
{
	connection->waiting_since_usec = 0;
}

void connection_is_waiting(struct connection *connection)
{
	connection->waiting_since_usec = clock_now_usec();
}

const char *connection_address(const struct connection *connection)
{
	return connection->address;
}

const char *connection_peer(const struct connection *connection)
{
	return connection->peer;
}

void connection_table_expire(struct connection_table *table)
{
	uint64_t now = clock_now_usec();
	struct connection *connection;

	TAILQ_FOREACH(connection, &table->connections, entry)
		if (!connection->is_shut && connection->waiting_since_usec && now - connection->waiting_since_usec > table->patience_usec)
			connection_shut(connection);
}

unsigned connection_table_count(const struct connection_table *table)
{
	return table->n;
}
