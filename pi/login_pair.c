#include "login_pair.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "connector.h"
#include "log.h"
#include "machine.h"
#include "transport.h"
#include "vm_login.h"

#define PASSWORD_SIZE   256
#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

enum login_state {
	LOGIN_IDLE,
	LOGIN_CONNECTING,
	LOGIN_LOOKING,     /* a job asks for the host key */
	LOGIN_AUTHORIZING, /* a job logs in and has the Pi let in */
	LOGIN_TRYING,      /* the link */
	LOGIN_KEEPING,     /* a job tells the VM that it works */
	LOGIN_WRITING,     /* vm.conf */
};

/* What a job works on: its own while it runs. */
struct login_work {
	int fd;                  /* owned, until the login has it */
	struct vm_login *login;  /* owned */
	struct vm_config config; /* user: the person's */
	char password[PASSWORD_SIZE];
	char name[MESSAGE_NAME_SIZE], address[NI_MAXHOST];
	char *key; /* owned */
	char fingerprint[64];
	struct failure failure;
};

struct login_pair {
	sd_event *event; /* borrowed: outlives us, as all of these */
	struct job_runner *jobs;
	struct pairing *pairing;
	struct event_log *events;
	const char *key_path;
	struct own_key *own_key;
	enum login_state state;
	bool is_look;
	struct connector *connector; /* owned */
	struct login_work *work;     /* owned, while no job has it */
	struct job *job;
	bool is_lost; /* the link that was up went down again */
	struct failure failure;
	login_pair_done_fn on_done; /* NULL: nobody waits */
	void *userdata;             /* borrowed */
};

static void login_work_free(void *arg)
{
	struct login_work *work = arg;

	if (!work)
		return;
	explicit_bzero(work->password, sizeof(work->password));
	vm_login_close(work->login);
	close_fd(work->fd);
	free(work->key);
	free(work);
}

/* ---- the end ---- */

/* The login ends here: the VM takes back what it was not told to keep. */
static void login_finish(struct login_pair *login_pair, json_t *answer, const struct failure *failure)
{
	login_pair_done_fn on_done = login_pair->on_done;
	bool was_look = login_pair->is_look;
	struct failure copy = { 0 };

	if (failure)
		copy = *failure;
	login_pair->state = LOGIN_IDLE;
	login_pair->on_done = NULL;
	login_pair->connector = connector_free(login_pair->connector);
	login_work_free(TAKE_PTR(login_pair->work));
	if (!was_look)
		event_log_add(login_pair->events, "pairing", NULL, failure ? "FAILED" : "PAIRED",
			      failure ? copy.text : "by a login of the VM");
	if (on_done)
		on_done(answer, failure ? &copy : NULL, login_pair->userdata);
	else
		json_decref(answer);
}

/* A job's arg goes with the job; what it made is taken out of it. */
static struct login_work *login_take_work(struct login_work *work)
{
	struct login_work *taken = calloc(1, sizeof(*taken));

	if (!taken)
		return NULL;
	*taken = *work;
	work->fd = -EBADF;
	work->login = NULL;
	work->key = NULL;
	return taken;
}

static void login_start_job(struct login_pair *login_pair, enum login_state state, job_fn fn, job_done_fn on_done)
{
	struct failure failure;

	login_pair->state = state;
	if (job_start(login_pair->jobs, "pairing by login", fn, login_pair->work, login_work_free, on_done, login_pair, &login_pair->job) >=
	    0) {
		login_pair->work = NULL; /* the job's */
		return;
	}
	login_pair->job = NULL;
	failure_set(&failure, FAILURE_INTERNAL, NULL, "out of memory");
	login_finish(login_pair, NULL, &failure);
}

/* False when the pairing ended with it. */
static bool login_end_job(struct login_pair *login_pair, int result, struct login_work *work)
{
	login_pair->job = NULL;
	if (result >= 0)
		login_pair->work = login_take_work(work);
	if (result >= 0 && !login_pair->work)
		failure_set(&work->failure, FAILURE_INTERNAL, NULL, "out of memory");
	if (login_pair->work)
		return true;
	if (work->failure.code == FAILURE_NONE)
		failure_set(&work->failure, FAILURE_INTERNAL, NULL, "no thread could be started");
	login_finish(login_pair, NULL, &work->failure);
	return false;
}

/* ---- the VM keeps it ---- */

static int login_run_keep(void *arg)
{
	struct login_work *work = arg;

	return vm_login_keep(work->login, &work->failure);
}

/* What the VM keeps already, and this Pi does not. */
static void login_fail_kept(struct login_pair *login_pair)
{
	log_warning("%s keeps this Pi's key, though it is not paired with it: pair again, or on the VM: usbpush-vm unpair",
		    login_pair->work->config.host);
	login_finish(login_pair, NULL, &login_pair->failure);
}

static void login_on_kept(int result, void *arg, void *userdata)
{
	struct login_pair *login_pair = userdata;
	struct login_work *work = arg;

	if (result < 0 && !login_pair->is_lost)
		pairing_revert(login_pair->pairing);
	if (!login_end_job(login_pair, result, work))
		return;
	login_pair->state = LOGIN_WRITING;
	if (login_pair->is_lost || pairing_commit(login_pair->pairing, 0, &login_pair->failure) < 0)
		login_fail_kept(login_pair);
}

/* ---- the link is tried ---- */

/* Once when it is up or can't be, again if it goes down while the VM is told, and again when it is written, or can't be. */
static void login_on_tried(const struct failure *failure, void *userdata)
{
	struct login_pair *login_pair = userdata;

	if (login_pair->state == LOGIN_KEEPING) {
		login_pair->is_lost = true;
		login_pair->failure = *failure;
	} else if (login_pair->state == LOGIN_WRITING && failure) {
		login_pair->failure = *failure;
		login_fail_kept(login_pair);
	} else if (login_pair->state == LOGIN_WRITING) {
		login_finish(login_pair, json_pack("{s:s}", "host", login_pair->work->config.host), NULL);
	} else if (failure) {
		login_finish(login_pair, NULL, failure);
	} else {
		event_log_add(login_pair->events, "pairing", NULL, "UP", "the link works; the VM is told to keep this Pi");
		login_start_job(login_pair, LOGIN_KEEPING, login_run_keep, login_on_kept);
	}
}

static void login_try_link(struct login_pair *login_pair)
{
	struct vm_config config = login_pair->work->config;
	struct failure failure;

	snprintf(config.user, sizeof(config.user), "usbpush");
	login_pair->state = LOGIN_TRYING;
	login_pair->is_lost = false;
	event_log_add(login_pair->events, "pairing", NULL, "CONNECTING", "the VM lets this Pi in; the link is tried");
	if (pairing_start_held(login_pair->pairing, &config, login_on_tried, login_pair) >= 0)
		return;
	failure_set(&failure, FAILURE_BUSY, "Wait for its end, 20 s at most.", "another pairing is under way");
	login_finish(login_pair, NULL, &failure);
}

/* ---- logging in ---- */

static int login_run_authorize(void *arg)
{
	struct login_work *work = arg;
	const struct vm_login_pi pi = { .name = work->name, .address = work->address, .key = work->key };
	int fd = work->fd, r;

	work->fd = -EBADF;
	r = vm_login_open(fd, work->config.user, work->config.host_key, &work->login, &work->failure);
	if (r == 0)
		r = vm_login_authenticate(work->login, work->password, &work->failure);
	if (r == 0)
		r = vm_login_authorize(work->login, work->password, &pi, &work->failure);
	explicit_bzero(work->password, sizeof(work->password));
	return r;
}

static void login_on_authorized(int result, void *arg, void *userdata)
{
	struct login_pair *login_pair = userdata;

	if (login_end_job(login_pair, result, arg))
		login_try_link(login_pair);
}

static int login_run_look(void *arg)
{
	struct login_work *work = arg;
	int fd = work->fd, r;

	work->fd = -EBADF;
	r = vm_login_open(fd, work->config.user, NULL, &work->login, &work->failure);
	if (r == 0)
		r = vm_login_host_key(work->login, work->config.host_key, sizeof(work->config.host_key), work->fingerprint, &work->failure);
	return r;
}

static void login_on_looked(int result, void *arg, void *userdata)
{
	struct login_pair *login_pair = userdata;
	const struct login_work *work;

	if (!login_end_job(login_pair, result, arg))
		return;
	work = login_pair->work;
	login_finish(login_pair, json_pack("{s:s, s:s}", "host_key", work->config.host_key, "fingerprint", work->fingerprint), NULL);
}

/* The Pi's address as the VM sees it; none where it means nothing there. */
static void login_note_address(struct login_work *work)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof(address);

	if (getsockname(work->fd, (struct sockaddr *)&address, &size) < 0 ||
	    getnameinfo((struct sockaddr *)&address, size, work->address, sizeof(work->address), NULL, 0, NI_NUMERICHOST) != 0 ||
	    work->address[strspn(work->address, "0123456789abcdef.:")])
		work->address[0] = '\0';
}

static void login_on_connected(int fd, const char *address, const struct failure *failure, void *userdata)
{
	struct login_pair *login_pair = userdata;

	(void)address;
	if (fd < 0) {
		login_finish(login_pair, NULL, failure);
		return;
	}
	login_pair->connector = connector_free(login_pair->connector);
	login_pair->work->fd = fd;
	if (login_pair->is_look) {
		login_start_job(login_pair, LOGIN_LOOKING, login_run_look, login_on_looked);
		return;
	}
	login_note_address(login_pair->work);
	login_start_job(login_pair, LOGIN_AUTHORIZING, login_run_authorize, login_on_authorized);
}

/* ---- asked ---- */

static void login_name_pi(char name[MESSAGE_NAME_SIZE])
{
	machine_name(name, MESSAGE_NAME_SIZE);
	for (char *at = name; *at; at++)
		if (!strchr(NAME_CHARACTERS, *at))
			*at = '-';
}

/* A line's end in it would end it at the VM, too. */
static int login_check_password(const char *password, struct failure *failure)
{
	if (!password || !*password)
		return failure_set(failure, FAILURE_BAD_REQUEST, NULL, "the password is missing");
	if (strlen(password) >= PASSWORD_SIZE || strpbrk(password, "\r\n"))
		return failure_set(failure, FAILURE_BAD_REQUEST, NULL, "that can't be a password: it is too long, or more than a line");
	return 0;
}

static int login_fill_config(struct vm_config *config, const struct login_pair_request *request, struct failure *failure)
{
	const char *user = request->user ? request->user : "usbpush", *host_key = request->host_key ? request->host_key : "";

	if (!request->host || strlen(request->host) >= sizeof(config->host) || strlen(user) >= sizeof(config->user) ||
	    strlen(host_key) >= sizeof(config->host_key))
		return failure_set(failure, FAILURE_BAD_REQUEST, NULL, "this takes the VM's host, a login there, and its host key");
	*config = (struct vm_config){ .patience_ms = DEFAULT_PATIENCE_MS,
				      .port = request->port > 0 && request->port <= UINT16_MAX ? (uint16_t)request->port : 0 };
	snprintf(config->host, sizeof(config->host), "%s", request->host);
	snprintf(config->user, sizeof(config->user), "%s", user);
	if (vm_config_check_login(config, failure) < 0)
		return -EBADMSG;
	return host_key[0] ? transport_key_parse(host_key, config->host_key, sizeof(config->host_key), NULL, failure) : 0;
}

static int login_fill_work(struct login_pair *login_pair, const struct login_pair_request *request, struct login_work *work,
			   struct failure *failure)
{
	char comment[96];
	int r = login_fill_config(&work->config, request, failure);

	if (r < 0 || login_pair->is_look)
		return r;
	if (!request->user || !work->config.host_key[0])
		return failure_set(failure, FAILURE_BAD_REQUEST, NULL, "this takes a login on the VM, and the host key that was compared");
	r = login_check_password(request->password, failure);
	if (r < 0)
		return r;
	snprintf(work->password, sizeof(work->password), "%s", request->password);
	login_name_pi(work->name);
	snprintf(comment, sizeof(comment), "usbpush@%s", work->name);
	r = own_key_ensure(login_pair->own_key, failure);
	return r < 0 ? r : transport_key_public(login_pair->key_path, comment, &work->key, failure);
}

static int login_begin(struct login_pair *login_pair, bool is_look, const struct login_pair_request *request, login_pair_done_fn on_done,
		       void *userdata, struct failure *ret_failure)
{
	struct login_work *work;
	int r;

	if (login_pair->state != LOGIN_IDLE || (!is_look && pairing_is_busy(login_pair->pairing)))
		return failure_set(ret_failure, FAILURE_BUSY, "Wait for its end.", "another pairing is under way");
	work = calloc(1, sizeof(*work));
	if (!work)
		return failure_set(ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	work->fd = -EBADF;
	login_pair->is_look = is_look;
	r = login_fill_work(login_pair, request, work, ret_failure);
	if (r == 0 && connector_new(login_pair->event, login_pair->jobs, work->config.host, work->config.port, login_on_connected,
				    login_pair, &login_pair->connector) < 0)
		r = failure_set(ret_failure, FAILURE_INTERNAL, NULL, "out of memory");
	if (r < 0) {
		login_work_free(work);
		return r;
	}
	login_pair->work = work;
	login_pair->state = LOGIN_CONNECTING;
	login_pair->on_done = on_done;
	login_pair->userdata = userdata;
	if (!is_look)
		event_log_add(login_pair->events, "pairing", NULL, "LOGIN", work->config.host);
	return 0;
}

int login_pair_look(struct login_pair *login_pair, const struct login_pair_request *request, login_pair_done_fn on_done, void *userdata,
		    struct failure *ret_failure)
{
	return login_begin(login_pair, true, request, on_done, userdata, ret_failure);
}

int login_pair_start(struct login_pair *login_pair, const struct login_pair_request *request, login_pair_done_fn on_done, void *userdata,
		     struct failure *ret_failure)
{
	return login_begin(login_pair, false, request, on_done, userdata, ret_failure);
}

void login_pair_forget(struct login_pair *login_pair, void *userdata)
{
	if (!userdata || login_pair->userdata == userdata)
		login_pair->on_done = NULL;
}

int login_pair_new(sd_event *event, struct job_runner *jobs, struct pairing *pairing, struct event_log *events, const char *key_path,
		   struct own_key *own_key, struct login_pair **ret_login_pair)
{
	struct login_pair *login_pair = calloc(1, sizeof(*login_pair));

	if (!login_pair)
		return -ENOMEM;
	*login_pair = (struct login_pair){
		.event = event, .jobs = jobs, .pairing = pairing, .events = events, .key_path = key_path, .own_key = own_key
	};
	*ret_login_pair = login_pair;
	return 0;
}

struct login_pair *login_pair_free(struct login_pair *login_pair)
{
	if (!login_pair)
		return NULL;
	pairing_forget(login_pair->pairing, login_pair);
	job_abandon(login_pair->job);
	connector_free(login_pair->connector);
	login_work_free(login_pair->work);
	free(login_pair);
	return NULL;
}
