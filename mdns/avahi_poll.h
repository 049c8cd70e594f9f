#pragma once

#include <avahi-common/watch.h>
#include <systemd/sd-event.h>

/* Avahi's idea of an event loop, on sd-event. event (borrowed) outlives it, and it outlives every client made with it. */
void avahi_poll_init(AvahiPoll *poll, sd_event *event);
