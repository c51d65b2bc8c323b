#include "gate.h"

#include "fault.h"
#include "place.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

// The places of functions in struct OrtApi; see capi.go.
enum {
	CREATE_DOMAIN = 26,
	DOMAIN_ADD = 27,
	ADD_DOMAIN = 28,
	CONTEXT_GET_OUTPUT = 91,
	RELEASE_DOMAIN = 101,
	PARALLEL_FOR = 274,
};

// Operator is struct OrtCustomOp of onnxruntime_c_api.h, as of the version that it
// tells.
typedef struct {
	uint32_t version;
	void *(*create)(const void *op, Api api, const void *info);
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
	OrtStatus *(*create_v2)(const void *op, Api api, const void *info, void **kernel);
	OrtStatus *(*compute_v2)(void *kernel, void *context);
	OrtStatus *(*infer_shape)(const void *op, void *context);
	int (*start_version)(const void *op);
	int (*end_version)(const void *op);
} Operator;

enum { GATE_CPUS = 1024 }; // as many as there may be

enum { OPERATOR_VERSION = 17, INT64 = 7, REQUIRED = 0, MEMORY_DEFAULT = 0 };

struct Gate {
	Operator op; // the first: a pointer to it is one to the gate
	Api api;
	void *domain;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	int shut;
	size_t keep;      // helpers that are wanted inside
	size_t inside;    // helpers that are
	pthread_t runner; // of the model
	int entered;      // the runner is inside as well
	int cpus[GATE_CPUS]; // to keep helpers on
	size_t places;       // how many those are
	size_t placed;       // helpers that were put on one
};

static _Thread_local int placed; // this helper is on a processor of its own

// stay is one part of the gate's loop. A thread that sleeps in its part takes no
// other, and none leaves before the runner has its own, so the runner gets one: it
// would spin without.
static void stay(void *gate, size_t part) {
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

static OrtStatus *compute(void *gate, void *context) {
	fault_alone();
	Gate *g = gate;
	pthread_mutex_lock(&g->mutex);
	size_t parts = g->keep + 1; // the runner's is one
	g->runner = pthread_self();
	g->entered = 0;
	pthread_mutex_unlock(&g->mutex);
	OrtStatus *s = ((OrtStatus * (*)(void *, void (*)(void *, size_t), size_t, size_t, void *)) g->api[PARALLEL_FOR])(context, stay, parts, parts, g);
	if (s != NULL) return s;
	int64_t shape = 0;
	void *output = NULL;
	return ((OrtStatus * (*)(void *, size_t, const int64_t *, size_t, void **)) g->api[CONTEXT_GET_OUTPUT])(context, 0, &shape, 1, &output);
}

static OrtStatus *create(const void *op, Api api, const void *info, void **kernel) {
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

Gate *gate_new(Api api) {
	Gate *g = calloc(1, sizeof *g);
	if (g == NULL) return NULL;
	g->api = api;
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

OrtStatus *gate_add(Gate *g, void *options) {
	OrtStatus *s = ((OrtStatus * (*)(const char *, void **)) g->api[CREATE_DOMAIN])("distinfer", &g->domain);
	if (s == NULL) s = ((OrtStatus * (*)(void *, const void *)) g->api[DOMAIN_ADD])(g->domain, &g->op);
	if (s == NULL) s = ((OrtStatus * (*)(void *, void *)) g->api[ADD_DOMAIN])(options, g->domain);
	return s;
}

void gate_free(Gate *g) {
	if (g->domain != NULL) ((void (*)(void *))g->api[RELEASE_DOMAIN])(g->domain);
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
