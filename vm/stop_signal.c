#include "stop_signal.h"

#include <stddef.h>

volatile sig_atomic_t stop_signal_came;

static void on_signal(int number)
{
	(void)number;
	stop_signal_came = 1;
}

void stop_signal_catch(void)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
	const struct sigaction action = { .sa_handler = on_signal };

	stop_signal_came = 0;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaction(numbers[i], &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}
