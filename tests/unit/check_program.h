#pragma once

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* What every check program does: run its cases, wait for an event within a limit. */

/* In the environment of a check program that an sshd starts to play a part of its script (ssh_vm.h, ssh_people.h). */
#define CHECK_PROGRAM_PLAYS "USBPUSH_CHECK_PROGRAM_PLAYS"

/* Runs the cases (NULL-ended) as one suite. Returns main()'s exit status; refuses where the program was started to play a part and main() did not see to it. */
int check_program_run(const char *name, TCase *first, ...) __attribute__((sentinel));

/* By how much everything is slower than it should be: USBPUSH_TEST_SLOWNESS (under valgrind), else 1. Whoever waits for something waits so many times longer. */
uint64_t test_slowness(void);

/* Runs the loop until is_done says so, 20 s at most. Whether it did. */
bool loop_until(sd_event *event, bool (*is_done)(void *userdata), void *userdata);

/* Runs the loop for a short while in which something must not happen, and until nothing is due, however late the machine lets us come to it. */
void loop_for(sd_event *event, uint64_t usec);

/* Reads up to size bytes from a socket while the loop runs, for 10 s at most; less where the other end closed it. */
size_t loop_hear(sd_event *event, int fd, void *buffer, size_t size);

/* How many file descriptors this process has open. */
unsigned count_fds(void);

/* It has so many; else the test fails, with their list. */
void expect_fds(unsigned n);

/* How often part stands in text. */
unsigned count_in(const char *text, const char *part);
