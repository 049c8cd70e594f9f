#include "usbfs_claim.h"

#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "usbfs.h"

int usbfs_claim_again(int fd, struct usbfs_specials *specials)
{
	uint32_t interfaces = 0;
	int r = usbfs_claim_interfaces(fd, &interfaces);

	usbfs_specials_set_interfaces(specials, interfaces);
	return r;
}

int usbfs_claim_new(int fd, struct usbfs_layout *layout, int configuration, struct usbfs_claim **ret_claim)
{
	struct usbfs_claim *claim = calloc(1, sizeof(*claim));
	int r = -ENOMEM;

	if (claim)
		claim->specials = usbfs_specials_new();
	if (claim && claim->specials)
		r = usbfs_claim_again(fd, claim->specials);
	if (r == 0 && usbfs_specials_get_interfaces(claim->specials) == 0)
		r = -ENXIO;
	if (r < 0) {
		close_fd(fd);
		if (claim)
			usbfs_specials_unref(claim->specials);
		usbfs_layout_free(layout);
		free(claim);
		return r;
	}
	claim->fd = fd;
	claim->layout = layout;
	claim->configuration = configuration;
	TAILQ_INIT(&claim->flying);
	*ret_claim = claim;
	return 0;
}

void usbfs_claim_use_memory(struct usbfs_claim *claim, struct usbfs_memory *memory)
{
	usbfs_memory_unref(claim->memory);
	claim->memory = usbfs_memory_ref(memory);
}

int usbfs_claim_get_configuration(const struct usbfs_claim *claim)
{
	int configuration = usbfs_specials_get_configuration(claim->specials);

	return configuration < 0 ? claim->configuration : configuration;
}

static bool is_halt_under(const struct usbfs_claim *claim, const struct usbfs_urb *urb)
{
	const struct usbfs_urb *other;

	TAILQ_FOREACH(other, &claim->flying, entry)
		if (usbfs_urb_clears_halt_under(urb, other))
			return true;
	return false;
}

bool usbfs_claim_allows(const struct usbfs_claim *claim, const struct usbfs_urb *urb)
{
	int configuration = usbfs_claim_get_configuration(claim);

	if (usbfs_urb_get_kind(urb) == USBFS_URB_CLEAR_HALT && is_halt_under(claim, urb))
		return false;
	return usbfs_urb_is_within(urb, usbfs_specials_get_interfaces(claim->specials), claim->layout, configuration) &&
	       usbfs_urb_is_known(urb, claim->layout, configuration);
}

uint64_t usbfs_claim_pay_change(struct usbfs_claim *claim, uint64_t now_usec)
{
	const uint64_t most_owed = (USBFS_CHANGE_BURST - 1) * USBFS_CHANGE_USEC;

	if (claim->changed_usec < now_usec)
		claim->changed_usec = now_usec;
	if (claim->changed_usec - now_usec > most_owed)
		return claim->changed_usec - now_usec - most_owed;
	claim->changed_usec += USBFS_CHANGE_USEC;
	return 0;
}

void usbfs_claim_refund_change(struct usbfs_claim *claim)
{
	claim->changed_usec -= USBFS_CHANGE_USEC;
}

/* usbfs is done with all of them. */
static void claim_free_transfers(struct usbfs_claim *claim)
{
	struct usbfs_urb *urb;

	TAILQ_FOREACH(urb, &claim->flying, entry)
		usbfs_memory_give(claim->memory, urb->pool, urb->n_taken);
	usbfs_urb_list_free(&claim->flying);
}

/* Every transfer is ended, and returned: usbfs would write into it later. */
static void claim_end_transfers(struct usbfs_claim *claim)
{
	struct usbdevfs_urb *kernel;
	struct usbfs_urb *urb;

	TAILQ_FOREACH(urb, &claim->flying, entry)
		(void)usbfs_discard(claim->fd, &urb->kernel); /* waits for its end */
	while (usbfs_reap(claim->fd, &kernel) == 0)
		;
	claim_free_transfers(claim);
}

/* The kernel would give what is claimed back to the drivers at a reset: what nobody has it leaves so. */
static int claim_reset(struct usbfs_claim *claim)
{
	int r;

	claim_end_transfers(claim);
	r = usbfs_release_interfaces(claim->fd);
	return r < 0 ? r : usbfs_reset(claim->fd);
}

int usbfs_claim_settle(struct usbfs_claim *claim)
{
	int r, s;

	usbfs_specials_wait(claim->specials);
	r = claim_reset(claim);
	s = usbfs_claim_again(claim->fd, claim->specials);
	if (r == 0 && s == 0)
		claim->is_used = false;
	return r < 0 ? r : s;
}

/* One that a session has left without interfaces has none for a driver. */
static void claim_restore_configuration(struct usbfs_claim *claim)
{
	if (claim->configuration > 0 && usbfs_claim_get_configuration(claim) != claim->configuration)
		(void)usbfs_set_configuration(claim->fd, (unsigned)claim->configuration);
}

void usbfs_claim_release(struct usbfs_claim *claim)
{
	usbfs_specials_wait(claim->specials);
	if (claim->is_used)
		(void)claim_reset(claim); /* it goes back as it is */
	(void)usbfs_release_interfaces(claim->fd);
	claim_restore_configuration(claim);
	usbfs_connect_drivers(claim->fd);
}

struct usbfs_claim *usbfs_claim_free(struct usbfs_claim *claim)
{
	if (!claim)
		return NULL;
	close_fd(claim->fd); /* from here on usbfs writes nowhere any more */
	claim_free_transfers(claim);
	usbfs_memory_unref(claim->memory);
	usbfs_layout_free(claim->layout);
	usbfs_specials_unref(claim->specials);
	free(claim);
	return NULL;
}
