#include "pair_find.h"

int pair_find(const volatile sig_atomic_t *is_stopped, char ret_host[PAIR_FIND_HOST_SIZE], struct failure *ret_failure)
{
	(void)is_stopped;
	(void)ret_host;
	return failure_set(ret_failure, FAILURE_NOT_FOUND, "Give its name or address: usbpush-vm pair raspberrypi.local", "which Pi?");
}
