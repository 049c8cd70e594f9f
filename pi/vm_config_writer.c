#include "vm_config_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct config_write {
	char *path; /* owned */
	struct vm_config config;
};

static void write_free(void *arg)
{
	struct config_write *write = arg;

	free(write->path);
	free(write);
}

static int write_run(void *arg)
{
	const struct config_write *write = arg;
	int r;

	job_set_step("write", write->path);
	r = vm_config_save(write->path, &write->config);
	job_set_step(NULL, NULL);
	return r;
}

int vm_config_write(struct job_runner *writes, const char *path, const struct vm_config *config, job_done_fn on_done, void *userdata,
		    struct job **ret_job)
{
	struct config_write *write = calloc(1, sizeof(*write));
	int r = -ENOMEM;

	if (!write)
		return -ENOMEM;
	write->path = strdup(path);
	write->config = *config;
	if (write->path)
		r = job_start(writes, "vm.conf", write_run, write, write_free, on_done, userdata, ret_job);
	if (r < 0)
		write_free(write);
	return r;
}
