// Which processors threads run on. Elsewhere than on Linux it cannot be said.
#ifndef DISTINFER_PLACE_H
#define DISTINFER_PLACE_H

#include <stddef.h>

// place_list writes the numbers of the processors that this process may use into cpus,
// and returns how many there are: 0 if that cannot be told, or if there are more than max.
size_t place_list(int *cpus, size_t max);

// place_here keeps the calling thread on one processor. Refused, it runs on any.
void place_here(int cpu);

#endif
