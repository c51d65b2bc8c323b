// A thread that runs models while Go does other things.
#ifndef DISTINFER_RUNNER_H
#define DISTINFER_RUNNER_H

#include <stddef.h>

// A Run is OrtApi::Run and its arguments.
typedef struct {
	const void *function;
	void *session, *options;
	void **in_names, **in;
	size_t ins;
	void **out_names, **out;
	size_t outs;
} Run;

typedef struct Runner Runner;

// runner_new starts a thread, which writes a byte to the file descriptor done whenever
// a run is over: 0, or the number of the signal that ended it. Then the thread is lost. On Linux
// it has the given nice value, from 0 to 19, and is kept on processor cpu if that is not
// negative. It returns NULL when there is no memory or no thread.
Runner *runner_new(int done, int nice, int cpu);

// runner_start begins a run, of which a runner has one at a time. What the arguments
// point to has to stay until it is over.
void runner_start(Runner *r, Run what);

// runner_status is the OrtStatus that came of the run that is over.
void *runner_status(Runner *r);

// runner_free ends the thread, which runs nothing.
void runner_free(Runner *r);

#endif
