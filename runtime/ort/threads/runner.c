#define _GNU_SOURCE
#include "runner.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fault.h"
#include "place.h"

typedef void *RunFunction(void *session, void *options, void **in_names, void **in, size_t ins, void **out_names, size_t outs, void **out);

struct Runner {
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	int begun, quit, done, nice, cpu;
	Run what;
	void *status;
};

static void *serve(void *runner) {
	Runner *r = runner;
#ifdef __linux__ // elsewhere priorities are of processes
	pthread_setname_np(pthread_self(), "ort-run");
	if (r->nice != 0) setpriority(PRIO_PROCESS, 0, r->nice); // refused, it computes as usual
#endif
	if (r->cpu >= 0) place_here(r->cpu);
	for (;;) {
		pthread_mutex_lock(&r->mutex);
		while (!r->begun && !r->quit) pthread_cond_wait(&r->changed, &r->mutex);
		int quit = r->quit;
		r->begun = 0;
		Run w = r->what;
		pthread_mutex_unlock(&r->mutex);
		if (quit) return NULL;
		fault_begin(r->done);
		void *s = ((RunFunction *)w.function)(w.session, w.options, w.in_names, w.in, w.ins, w.out_names, w.outs, w.out);
		fault_end();
		pthread_mutex_lock(&r->mutex);
		r->status = s;
		pthread_mutex_unlock(&r->mutex);
		while (write(r->done, "", 1) < 0 && errno == EINTR) {
		}
	}
}

Runner *runner_new(int done, int nice, int cpu) {
	Runner *r = calloc(1, sizeof *r);
	if (r == NULL) return NULL;
	r->done = done;
	r->nice = nice;
	r->cpu = cpu;
	pthread_mutex_init(&r->mutex, NULL);
	pthread_cond_init(&r->changed, NULL);
	if (pthread_create(&r->thread, NULL, serve, r) != 0) {
		free(r);
		return NULL;
	}
	return r;
}

void runner_start(Runner *r, Run what) {
	pthread_mutex_lock(&r->mutex);
	r->what = what;
	r->begun = 1;
	pthread_cond_signal(&r->changed);
	pthread_mutex_unlock(&r->mutex);
}

void *runner_status(Runner *r) {
	pthread_mutex_lock(&r->mutex);
	void *s = r->status;
	r->status = NULL;
	pthread_mutex_unlock(&r->mutex);
	return s;
}

void runner_free(Runner *r) {
	pthread_mutex_lock(&r->mutex);
	r->quit = 1;
	pthread_cond_signal(&r->changed);
	pthread_mutex_unlock(&r->mutex);
	pthread_join(r->thread, NULL);
	free(r);
}
