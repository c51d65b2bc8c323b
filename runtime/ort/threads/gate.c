#include "gate.h"

#include "fault.h"
#include "place.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

typedef void *ParallelFor(void *context, void (*part)(void *, size_t), size_t total, size_t batches, void *data);
typedef void *GetOutput(void *context, size_t i, const int64_t *shape, size_t rank, void **out);

// Operator is struct OrtCustomOp of onnxruntime_c_api.h, as of the version that it
// tells.
typedef struct {
	uint32_t version;
	void *(*create)(const void *op, const void *api, const void *info);
	const char *(*name)(const void *op);
	const char *(*provider)(const void *op);
	int (*input_type)(const void *op, size_t i);
	size_t (*inputs)(const void *op);
	int (*output_type)(const void *op, size_t i);
	size_t (*outputs)(const void *op);
	void (*compute)(void *kernel, void *context);
	void (*destroy)(void *kernel);
	int (*input_kind)(const void *op, size_t i);
	int (*output_kind)(const void *op, size_t i);
	int (*input_memory)(const void *op, size_t i);
	int (*variadic_input_least)(const void *op);
	int (*variadic_input_same)(const void *op);
	int (*variadic_output_least)(const void *op);
	int (*variadic_output_same)(const void *op);
	void *(*create_v2)(const void *op, const void *api, const void *info, void **kernel);
	void *(*compute_v2)(void *kernel, void *context);
	void *(*infer_shape)(const void *op, void *context);
	int (*start_version)(const void *op);
	int (*end_version)(const void *op);
} Operator;

enum { GATE_CPUS = 1024 }; // as many as there may be

enum { OPERATOR_VERSION = 17, INT64 = 7, REQUIRED = 0, MEMORY_DEFAULT = 0 };

struct Gate {
	Operator op; // the first: a pointer to it is one to the gate
	ParallelFor *parallel_for;
	GetOutput *get_output;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	int shut;
	size_t keep;      // intra-op threads that are wanted inside
	size_t inside;    // intra-op threads that are
	pthread_t runner; // of the model
	int entered;      // the runner is inside as well
	int cpus[GATE_CPUS]; // to keep intra-op threads on
	size_t places;       // how many those are
	size_t placed;       // intra-op threads that were put on one
};

static _Thread_local int placed; // this intra-op thread is on a processor of its own

// park is one part of the gate's loop. A thread that sleeps in its part takes no
// other, and none leaves before the runner has its own, so the runner gets one: it
// would spin without.
static void park(void *gate, size_t part) {
	(void)part;
	Gate *g = gate;
	pthread_mutex_lock(&g->mutex);
	if (pthread_equal(pthread_self(), g->runner)) {
		g->entered = 1;
		pthread_cond_broadcast(&g->changed);
		while (g->shut) pthread_cond_wait(&g->changed, &g->mutex);
	} else {
		if (!placed && g->placed < g->places) {
			placed = 1;
			place_here(g->cpus[g->placed++]);
		}
		g->inside++;
		while (g->shut && (!g->entered || g->inside <= g->keep)) pthread_cond_wait(&g->changed, &g->mutex);
		g->inside--;
	}
	pthread_mutex_unlock(&g->mutex);
}

static void *compute(void *gate, void *context) {
	fault_alone();
	Gate *g = gate;
	pthread_mutex_lock(&g->mutex);
	size_t parts = g->keep + 1; // the runner's is one
	g->runner = pthread_self();
	g->entered = 0;
	pthread_mutex_unlock(&g->mutex);
	void *s = g->parallel_for(context, park, parts, parts, g);
	if (s != NULL) return s;
	int64_t shape = 0;
	void *output = NULL;
	return g->get_output(context, 0, &shape, 1, &output);
}

static void *create(const void *op, const void *api, const void *info, void **kernel) {
	(void)api, (void)info;
	*kernel = (void *)op;
	return NULL;
}

static const char *name(const void *op) { (void)op; return "Gate"; }
static const char *provider(const void *op) { (void)op; return NULL; }
static size_t one(const void *op) { (void)op; return 1; }
static int first_version(const void *op) { (void)op; return 1; }
static int type(const void *op, size_t i) { (void)op, (void)i; return INT64; }
static int kind(const void *op, size_t i) { (void)op, (void)i; return REQUIRED; }
static int memory(const void *op, size_t i) { (void)op, (void)i; return MEMORY_DEFAULT; }
static void destroy(void *kernel) { (void)kernel; }

Gate *gate_new(const void *parallel_for, const void *get_output) {
	Gate *g = calloc(1, sizeof *g);
	if (g == NULL) return NULL;
	g->parallel_for = (ParallelFor *)parallel_for;
	g->get_output = (GetOutput *)get_output;
	g->op = (Operator){
		.version = OPERATOR_VERSION,
		.name = name,
		.provider = provider,
		.input_type = type,
		.inputs = one,
		.output_type = type,
		.outputs = one,
		.destroy = destroy,
		.input_kind = kind,
		.output_kind = kind,
		.input_memory = memory,
		.create_v2 = create,
		.compute_v2 = compute,
		.start_version = first_version,
		.end_version = first_version,
	};
	pthread_mutex_init(&g->mutex, NULL);
	pthread_cond_init(&g->changed, NULL);
	return g;
}

void gate_free(Gate *g) {
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->mutex);
	free(g);
}

void gate_place(Gate *g, const int *cpus, size_t n) {
	pthread_mutex_lock(&g->mutex);
	g->places = n < GATE_CPUS ? n : GATE_CPUS;
	for (size_t i = 0; i < g->places; i++) g->cpus[i] = cpus[i];
	pthread_mutex_unlock(&g->mutex);
}

void gate_shut(Gate *g, size_t n) {
	pthread_mutex_lock(&g->mutex);
	g->shut = 1;
	g->keep = n;
	pthread_mutex_unlock(&g->mutex);
}

void gate_lower(Gate *g, size_t n) {
	pthread_mutex_lock(&g->mutex);
	g->keep = n;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->mutex);
}

void gate_open(Gate *g) {
	pthread_mutex_lock(&g->mutex);
	g->shut = 0;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->mutex);
}
