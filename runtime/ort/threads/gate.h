// An operator that intra-op threads can be parked in.
#ifndef DISTINFER_GATE_H
#define DISTINFER_GATE_H

#include <stddef.h>

// A Gate is the operator of a model of one node: a pointer to it is one to an OrtCustomOp.
// The node computes nothing: the thread that runs it, and as many intra-op threads as were
// asked for, sleep in it until it is opened.
typedef struct Gate Gate;

// gate_new returns NULL when there is no memory. The functions are those of OrtApi,
// KernelContext_ParallelFor and KernelContext_GetOutput.
Gate *gate_new(const void *parallel_for, const void *get_output);

// gate_place keeps the intra-op threads on one of n processors each, from the next time on
// that they come into the gate.
void gate_place(Gate *g, const int *cpus, size_t n);

// gate_free frees the gate. The session that was made with it is closed.
void gate_free(Gate *g);

// gate_shut says that the next run of the gate's model is to keep n intra-op threads.
void gate_shut(Gate *g, size_t n);

// gate_lower lets all intra-op threads but n go.
void gate_lower(Gate *g, size_t n);

// gate_open lets all go, and ends the run.
void gate_open(Gate *g);

#endif
