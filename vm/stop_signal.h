#pragma once

#include <signal.h>

/* SIGINT, SIGTERM and SIGHUP for a command that tidies up before it ends: what waits looks here. Whoever has to get one more thing done sets it to 0. */
extern volatile sig_atomic_t stop_signal_came;

/* From now on they are noted, and end nothing by themselves: what waits in a system call comes back with EINTR. SIGPIPE is ignored. Forgets an earlier one. */
void stop_signal_catch(void);
