// Package threads decides which threads compute a run of ONNX Runtime, and where.
//
// A run is computed by the thread that calls OrtApi::Run, and by intra-op threads that
// take parts of its operators. The caller is a runner: a thread of C's, since a long call
// out of Go costs Go's scheduler time. The intra-op threads are ONNX Runtime's own, one
// set for all sessions of the process: a Pool. ONNX Runtime cannot be told how many of
// them a run may use, so a Pool parks the others in a gate: the only node of a model that
// it runs all the time. A lone run has all of them. With as many runs as processors there
// are none: a caller spins while it waits for a part that has no processor.
// When a run has a processor for each of its threads, each is kept on one of its own:
// that is its place. A signal that a run gets, such as SIGFPE, ends that run alone; the
// thread that got it sleeps forever, and what it may still use is never freed.
package threads

import "unsafe"

// Calls are the functions of ONNX Runtime, in C, that this package calls itself.
type Calls struct {
	Run         unsafe.Pointer // OrtApi::Run
	ParallelFor unsafe.Pointer // OrtApi::KernelContext_ParallelFor
	GetOutput   unsafe.Pointer // OrtApi::KernelContext_GetOutput
}
