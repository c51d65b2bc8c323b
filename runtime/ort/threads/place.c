#define _GNU_SOURCE
#include "place.h"

#ifdef __linux__
#include <sched.h>
#include <unistd.h>

size_t place_list(int *cpus, size_t max) {
	cpu_set_t set;
	// By the process's first thread: another may have been kept on one of them.
	if (sched_getaffinity(getpid(), sizeof set, &set) != 0) return 0;
	size_t n = 0;
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &set)) continue;
		if (n == max) return 0;
		cpus[n++] = i;
	}
	return n;
}

void place_here(int cpu) {
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof set, &set);
}
#else
size_t place_list(int *cpus, size_t max) {
	(void)cpus, (void)max;
	return 0;
}

void place_here(int cpu) { (void)cpu; }
#endif
