// What this package needs of ONNX Runtime's C interface for threads that are shared
// by sessions, and can be kept from taking part in their runs.
#ifndef DISTINFER_GATE_H
#define DISTINFER_GATE_H

#include <stddef.h>

typedef struct OrtStatus OrtStatus;
typedef const void *const *Api; // struct OrtApi, as an array of functions

// A Gate is the operator of a model of one node. The node computes nothing: the
// thread that runs it, and as many of the helpers as were asked for, sleep in it
// until it is opened.
typedef struct Gate Gate;

// gate_new returns NULL when there is no memory.
Gate *gate_new(Api api);

// gate_place keeps the helpers on one of n processors each, from the next time on that
// they come into the gate.
void gate_place(Gate *g, const int *cpus, size_t n);

// gate_add makes the operator known to the sessions that are made with options.
OrtStatus *gate_add(Gate *g, void *options);

// gate_free frees the gate. The session that was made with it is closed.
void gate_free(Gate *g);

// gate_shut says that the next run of the gate's model is to keep n helpers.
void gate_shut(Gate *g, size_t n);

// gate_lower lets all helpers but n go.
void gate_lower(Gate *g, size_t n);

// gate_open lets all go, and ends the run.
void gate_open(Gate *g);

#endif
