#include "usbfs_specials.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "job.h"

struct usbfs_specials {
	pthread_mutex_t lock; /* guards the two numbers */
	pthread_cond_t none;  /* none is under way any more */
	unsigned n_references, n_running;
	atomic_int configuration;
	_Atomic uint32_t interfaces;
};

struct usbfs_specials *usbfs_specials_new(void)
{
	struct usbfs_specials *specials = calloc(1, sizeof(*specials));

	if (!specials)
		return NULL;
	pthread_mutex_init(&specials->lock, NULL);
	pthread_cond_init(&specials->none, NULL);
	specials->n_references = 1;
	specials->configuration = -1;
	return specials;
}

struct usbfs_specials *usbfs_specials_unref(struct usbfs_specials *specials)
{
	unsigned left;

	if (!specials)
		return NULL;
	pthread_mutex_lock(&specials->lock);
	left = --specials->n_references;
	pthread_mutex_unlock(&specials->lock);
	if (left > 0)
		return NULL;
	pthread_cond_destroy(&specials->none);
	pthread_mutex_destroy(&specials->lock);
	free(specials);
	return NULL;
}

struct usbfs_specials *usbfs_specials_begin(struct usbfs_specials *specials)
{
	pthread_mutex_lock(&specials->lock);
	specials->n_references++;
	specials->n_running++;
	pthread_mutex_unlock(&specials->lock);
	return specials;
}

void usbfs_specials_end(struct usbfs_specials *specials)
{
	pthread_mutex_lock(&specials->lock);
	if (--specials->n_running == 0)
		pthread_cond_broadcast(&specials->none);
	pthread_mutex_unlock(&specials->lock);
}

bool usbfs_specials_has_any(struct usbfs_specials *specials)
{
	bool has_any;

	if (!specials)
		return false;
	pthread_mutex_lock(&specials->lock);
	has_any = specials->n_running > 0;
	pthread_mutex_unlock(&specials->lock);
	return has_any;
}

void usbfs_specials_wait(struct usbfs_specials *specials)
{
	job_set_step("wait for", "the last session's request");
	pthread_mutex_lock(&specials->lock);
	while (specials->n_running > 0)
		pthread_cond_wait(&specials->none, &specials->lock);
	pthread_mutex_unlock(&specials->lock);
	job_set_step(NULL, NULL);
}

void usbfs_specials_set_interfaces(struct usbfs_specials *specials, uint32_t interfaces)
{
	specials->interfaces = interfaces;
}

uint32_t usbfs_specials_get_interfaces(struct usbfs_specials *specials)
{
	return specials->interfaces;
}

void usbfs_specials_set_configuration(struct usbfs_specials *specials, int configuration)
{
	specials->configuration = configuration;
}

int usbfs_specials_get_configuration(struct usbfs_specials *specials)
{
	return specials->configuration;
}
