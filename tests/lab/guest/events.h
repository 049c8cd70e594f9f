/* Every uevent of this guest, to the host. */
#pragma once

/* Sends each event of the kernel ('k') and of udev ('u') to the port
 * usbpush.events as { u32 length, u8 kind, u64 guest_monotonic_nsec } and
 * NUL-terminated KEY=VALUE properties. Never returns. */
void events_forward(void);
