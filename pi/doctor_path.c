#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "doctor_network.h"
#include "pi_doctor.h"
#include "vm_config.h"

#define CONNECT_LIMIT_MS 4000
#define BANNER_LIMIT_MS  15000 /* a busy sshd starts a process first */

static void pass_over(const struct config_problem *problem, void *userdata)
{
	(void)problem;
	(void)userdata;
}

/* False, and that is said, when there is no VM to look for. */
static bool load_config(struct doctor *doctor, struct vm_config *config)
{
	char path[DOCTOR_PATH_SIZE];

	if (doctor_path(doctor, VM_CONFIG_PATH, path) && vm_config_load(path, pass_over, NULL, config) >= 0 && config->host[0])
		return true;
	doctor_say(doctor, DOCTOR_SKIPPED, NULL, "no VM is paired");
	return false;
}

static int resolve(const struct vm_config *config, struct addrinfo **ret_addresses)
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	char port[8];

	snprintf(port, sizeof(port), "%u", config->port);
	return getaddrinfo(config->host, port, &hints, ret_addresses);
}

static bool is_mdns_name(const char *host)
{
	size_t length = strlen(host);

	return length > 6 && strcmp(host + length - 6, ".local") == 0;
}

static bool has_mdns_resolver(const struct doctor *doctor)
{
	_cleanup_free_ char *text = NULL;
	const char *hosts;

	if (doctor_read(doctor, "/etc/nsswitch.conf", 16384, &text) < 0)
		return false;
	hosts = strncmp(text, "hosts:", 6) == 0 ? text : strstr(text, "\nhosts:");
	return hosts && memmem(hosts + 1, strcspn(hosts + 1, "\n"), "mdns", 4);
}

void pi_doctor_check_name(struct doctor *doctor)
{
	struct addrinfo *addresses = NULL;
	struct vm_config config;
	char text[NI_MAXHOST];
	int r;

	if (!load_config(doctor, &config))
		return;
	r = resolve(&config, &addresses);
	if (r != 0 && is_mdns_name(config.host) && !has_mdns_resolver(doctor))
		doctor_say(doctor, DOCTOR_WRONG, "sudo apt install libnss-mdns avahi-daemon, or write the VM's address into VM_HOST.",
			   "%s is a name of mDNS, and this Pi does not look names up there", config.host);
	else if (r != 0)
		doctor_say(doctor, DOCTOR_WRONG, "Try: getent hosts NAME. Or write the VM's address into VM_HOST in " VM_CONFIG_PATH ".",
			   "the VM's name %s has no address: %s", config.host, gai_strerror(r));
	else if (getnameinfo(addresses->ai_addr, addresses->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST) == 0)
		doctor_say(doctor, DOCTOR_OK, NULL, "%s is %s", config.host, text);
	if (addresses)
		freeaddrinfo(addresses);
}

/* What speaks there, by its first bytes (RFC 4253, section 4.2): 0 for an sshd, -ETIMEDOUT for one that says nothing, -EPROTO for anything else. */
static int expect_ssh(int fd)
{
	struct pollfd polled = { .fd = fd, .events = POLLIN };
	char banner[8] = "";

	if (poll(&polled, 1, BANNER_LIMIT_MS) <= 0)
		return -ETIMEDOUT;
	return recv(fd, banner, sizeof(banner) - 1, MSG_WAITALL) > 0 && strncmp(banner, "SSH-", 4) == 0 ? 0 : -EPROTO;
}

static void say_connect_error(struct doctor *doctor, const struct vm_config *config, int error)
{
	const char *cure =
		"Is the VM on, and on this network? A firewall between the two, or on the VM, may drop it: it must let this port in.";

	if (error == -ECONNREFUSED)
		cure = "On the VM: sudo systemctl status ssh. Does it listen on that port? usbpush-vm doctor looks further there.";
	doctor_say(doctor, DOCTOR_WRONG, cure, "%s port %u: %s", config->host, config->port, strerror(-error));
}

void pi_doctor_check_network(struct doctor *doctor)
{
	struct addrinfo *addresses = NULL;
	_cleanup_close_ int fd = -EHOSTUNREACH;
	struct vm_config config;
	int r;

	if (!load_config(doctor, &config))
		return;
	if (resolve(&config, &addresses) != 0) {
		doctor_say(doctor, DOCTOR_SKIPPED, NULL, "the VM's name has no address");
		return;
	}
	for (const struct addrinfo *address = addresses; address && fd < 0; address = address->ai_next)
		fd = doctor_connect(address, CONNECT_LIMIT_MS);
	freeaddrinfo(addresses);
	if (fd < 0) {
		say_connect_error(doctor, &config, fd);
		return;
	}
	r = expect_ssh(fd);
	if (r == -ETIMEDOUT)
		doctor_say(doctor, DOCTOR_WRONG, "Is the VM overloaded? On it: usbpush-vm doctor. Is VM_PORT the port of its sshd?",
			   "%s port %u takes connections, and says nothing for %d s", config.host, config.port, BANNER_LIMIT_MS / 1000);
	else if (r < 0)
		doctor_say(doctor, DOCTOR_WRONG, "Is VM_PORT the port of the VM's sshd?",
			   "%s port %u takes connections, but what is there is no sshd", config.host, config.port);
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "%s port %u: an sshd answers", config.host, config.port);
}
