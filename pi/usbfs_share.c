#include "usbfs_share.h"

static enum usbfs_pool find_pool(const struct usbfs_urb *urb)
{
	return usbfs_urb_is_small(urb) ? USBFS_POOL_SMALL : USBFS_POOL_LARGE;
}

static enum usbfs_pool find_pool_here(const struct usbfs_urb *urb)
{
	return usbfs_urb_is_small(urb) ? USBFS_POOL_SMALL_HERE : USBFS_POOL_LARGE_HERE;
}

static bool share_move(struct usbfs_share *share, struct usbfs_urb *urb, enum usbfs_pool pool, size_t cost)
{
	if (!usbfs_memory_take(share->memory, pool, share->n_taken[pool], cost))
		return false;
	usbfs_share_give(share, urb);
	share->n_taken[pool] += cost;
	urb->pool = pool;
	urb->n_taken = cost;
	return true;
}

bool usbfs_share_fits(const struct usbfs_share *share, const struct usbfs_urb *urb)
{
	return usbfs_memory_fits(share->memory, find_pool(urb), usbfs_urb_get_cost(urb));
}

bool usbfs_share_take_here(struct usbfs_share *share, struct usbfs_urb *urb)
{
	size_t cost = usbfs_urb_get_cost_here(urb), *refused = &share->refused[find_pool_here(urb)];

	if (cost == 0 || urb->n_taken > 0)
		return true;
	if (!share_move(share, urb, find_pool_here(urb), cost))
		return false;
	if (cost >= *refused)
		*refused = 0;
	return true;
}

void usbfs_share_refuse(struct usbfs_share *share, const struct usbfs_urb *urb)
{
	size_t cost = usbfs_urb_get_cost_here(urb), *refused = &share->refused[find_pool_here(urb)];

	if (*refused == 0 || cost < *refused)
		*refused = cost;
}

bool usbfs_share_is_refusing(const struct usbfs_share *share, const struct usbfs_urb *urb)
{
	size_t refused = share->refused[find_pool_here(urb)];

	return refused > 0 && usbfs_urb_get_cost_here(urb) >= refused;
}

bool usbfs_share_take(struct usbfs_share *share, struct usbfs_urb *urb)
{
	enum usbfs_pool pool = find_pool(urb);

	return (urb->n_taken > 0 && urb->pool == pool) || share_move(share, urb, pool, usbfs_urb_get_cost(urb));
}

void usbfs_share_give(struct usbfs_share *share, struct usbfs_urb *urb)
{
	share->n_taken[urb->pool] -= urb->n_taken;
	usbfs_memory_give(share->memory, urb->pool, urb->n_taken);
	urb->n_taken = 0;
}

void usbfs_share_free(struct usbfs_share *share, struct usbfs_urb *urb)
{
	if (urb)
		usbfs_share_give(share, urb);
	usbfs_urb_free(urb);
}

void usbfs_share_free_all(struct usbfs_share *share, struct usbfs_urb_list *list)
{
	struct usbfs_urb *urb;

	while ((urb = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, urb, entry);
		usbfs_share_free(share, urb);
	}
}
