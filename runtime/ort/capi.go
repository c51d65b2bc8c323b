package ort

/*
#cgo linux LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>

#include "capi.h"

static Api interface_of(void *library) {
	typedef struct {
		Api (*GetApi)(uint32_t version);
		const char *(*GetVersionString)(void);
	} Base;
	const Base *(*base)(void) = (const Base *(*)(void))dlsym(library, "OrtGetApiBase");
	return base == NULL ? NULL : base()->GetApi(API_VERSION);
}

static const void *run_of(Api api) { return api[PLACE_Run]; }
static const void *parallel_for_of(Api api) { return api[PLACE_KernelContext_ParallelFor]; }
static const void *get_output_of(Api api) { return api[PLACE_KernelContext_GetOutput]; }
*/
import "C"

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"unsafe"

	"github.com/distinfer/distinfer/runtime/ort/threads"
)

// An api is ONNX Runtime's C interface. The binding loads models. The environment is
// made here, since the binding cannot make one with threads to share; values and runs
// are, since it has no scalars of the types that Go has not, cannot read outputs of
// these, panics without inputs, and copies what the library allocates twice.
type api struct {
	c       C.Api
	threads int            // that sessions can share
	library unsafe.Pointer // of the loader
	env     *C.OrtEnv
	memory  *C.OrtMemoryInfo // says that data is in the memory of the CPU
}

// loadAPI loads the library at path, and gives it as many threads as sessions can
// share; the one that calls Run counts. The caller has locked its thread.
func loadAPI(path string, threads int) (_ api, err error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	a := api{threads: threads, library: C.dlopen(name, C.RTLD_LAZY)}
	if a.library == nil {
		return api{}, errors.New(C.GoString(C.dlerror()))
	}
	defer func() {
		if err != nil {
			a.release()
		}
	}()
	if a.c = C.interface_of(a.library); a.c == nil {
		if reason := C.dlerror(); reason != nil {
			return api{}, errors.New(C.GoString(reason))
		}
		return api{}, fmt.Errorf("older than %s", oldest)
	}
	if err := a.makeEnvironment(); err != nil {
		return api{}, err
	}
	if err := a.check(C.CreateCpuMemoryInfo(a.c, C.ARENA_ALLOCATOR, C.CPU_MEMORY_DEFAULT, &a.memory)); err != nil {
		return api{}, err
	}
	return a, nil
}

// makeEnvironment makes the process's only environment, or takes another reference to
// it. Its threads are there for all sessions that have none of their own.
func (a *api) makeEnvironment() error {
	var options *C.OrtThreadingOptions
	if err := a.check(C.CreateThreadingOptions(a.c, &options)); err != nil {
		return err
	}
	defer C.ReleaseThreadingOptions(a.c, options)
	if err := a.check(C.SetGlobalIntraOpNumThreads(a.c, options, C.int(a.threads))); err != nil {
		return err
	}
	if err := a.check(C.SetGlobalInterOpNumThreads(a.c, options, 1)); err != nil {
		return err
	}
	name := C.CString("distinfer")
	defer C.free(unsafe.Pointer(name))
	return a.check(C.CreateEnvWithGlobalThreadPools(a.c, C.LOG_FATAL, name, options, &a.env))
}

// release gives back what loadAPI took.
func (a api) release() {
	if a.memory != nil {
		C.ReleaseMemoryInfo(a.c, a.memory)
	}
	if a.env != nil {
		C.ReleaseEnv(a.c, a.env)
	}
	C.dlclose(a.library)
}

// check turns a status into an error.
func (a api) check(s *C.OrtStatus) error {
	if s == nil {
		return nil
	}
	defer C.ReleaseStatus(a.c, s)
	return clean(errors.New(C.GoString(C.GetErrorMessage(a.c, s))))
}

// checkStatus is check for other packages' pointers.
func (a api) checkStatus(s unsafe.Pointer) error { return a.check((*C.OrtStatus)(s)) }

// calls are what package threads calls by itself.
func (a api) calls() threads.Calls {
	return threads.Calls{Run: C.run_of(a.c), ParallelFor: C.parallel_for_of(a.c), GetOutput: C.get_output_of(a.c)}
}

// handle is the library's own object behind one of the binding's: a pointer that is
// reached by the names of its fields, since the binding shows it to nobody.
func handle(from any, fields ...string) (unsafe.Pointer, error) {
	v := reflect.ValueOf(from)
	for _, name := range fields {
		if v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		if v = v.FieldByName(name); !v.IsValid() {
			return nil, fmt.Errorf("the binding of ONNX Runtime has no %q in a %T any more", name, from)
		}
	}
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return nil, fmt.Errorf("the binding of ONNX Runtime holds no object in a %T", from)
	}
	return v.UnsafePointer(), nil
}

// names are strings of C's.
type names []unsafe.Pointer

func newNames(list []string) names {
	n := make(names, len(list))
	for i, s := range list {
		n[i] = unsafe.Pointer(C.CString(s))
	}
	return n
}

func (n names) free() {
	for _, s := range n {
		C.free(s)
	}
}

// shareThreads has a session use the environment's threads.
func (a api) shareThreads(sessionOptions unsafe.Pointer) error {
	return a.check(C.DisablePerSessionThreads(a.c, (*C.OrtSessionOptions)(sessionOptions)))
}

// addOperator has the models that are loaded with the options find an operator, an
// OrtCustomOp, in the domain "distinfer". release is called once they are closed.
func (a api) addOperator(sessionOptions, operator unsafe.Pointer) (release func(), err error) {
	name := C.CString("distinfer")
	defer C.free(unsafe.Pointer(name))
	var domain *C.OrtCustomOpDomain
	if err := a.check(C.CreateCustomOpDomain(a.c, name, &domain)); err != nil {
		return nil, err
	}
	release = func() { C.ReleaseCustomOpDomain(a.c, domain) }
	err = a.check(C.CustomOpDomain_Add(a.c, domain, (*C.OrtCustomOp)(operator)))
	if err == nil {
		err = a.check(C.AddCustomOpDomain(a.c, (*C.OrtSessionOptions)(sessionOptions), domain))
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// A runOptions is the library's object of the same name.
type runOptions struct {
	api api
	c   *C.OrtRunOptions
}

// newRunOptions makes options for one run. With shrink, the run gives memory of the CPU's
// arena back at its end.
func (a api) newRunOptions(shrink bool) (runOptions, error) {
	o := runOptions{api: a}
	if err := a.check(C.CreateRunOptions(a.c, &o.c)); err != nil {
		return runOptions{}, fmt.Errorf("make run options: %w", err)
	}
	if !shrink {
		return o, nil
	}
	key, value := C.CString("memory.enable_memory_arena_shrinkage"), C.CString("cpu:0")
	defer C.free(unsafe.Pointer(key))
	defer C.free(unsafe.Pointer(value))
	if err := a.check(C.AddRunConfigEntry(a.c, o.c, key, value)); err != nil {
		o.release()
		return runOptions{}, fmt.Errorf("set run options: %w", err)
	}
	return o, nil
}

// terminate has the run end at its next node.
func (o runOptions) terminate() { _ = o.api.check(C.RunOptionsSetTerminate(o.api.c, o.c)) }

func (o runOptions) release() { C.ReleaseRunOptions(o.api.c, o.c) }

// registerArena has the environment keep an arena of the CPU's memory, of at most max
// bytes, for sessions that are opened to share it.
func (a api) registerArena(max int64) error {
	// It grows by what is requested, and not by powers of two: less is wasted.
	keys := newNames([]string{"max_mem", "arena_extend_strategy"})
	defer keys.free()
	values := []C.size_t{C.size_t(max), 1}
	var config *C.OrtArenaCfg
	if err := a.check(C.CreateArenaCfgV2(a.c, (**C.char)(unsafe.Pointer(&keys[0])), &values[0], C.size_t(len(keys)), &config)); err != nil {
		return err
	}
	defer C.ReleaseArenaCfg(a.c, config)
	return a.check(C.CreateAndRegisterAllocator(a.c, a.env, a.memory, config))
}

func (a api) unregisterArena() error {
	return a.check(C.UnregisterAllocator(a.c, a.env, a.memory))
}

// arenaStat is a statistic of the arena of a session.
func (a api) arenaStat(session unsafe.Pointer, key string) (int64, error) {
	var allocator *C.OrtAllocator
	if err := a.check(C.CreateAllocator(a.c, (*C.OrtSession)(session), a.memory, &allocator)); err != nil {
		return 0, err
	}
	defer C.ReleaseAllocator(a.c, allocator)
	var pairs *C.OrtKeyValuePairs
	if err := a.check(C.AllocatorGetStats(a.c, allocator, &pairs)); err != nil {
		return 0, err
	}
	defer C.ReleaseKeyValuePairs(a.c, pairs)
	name := C.CString(key)
	defer C.free(unsafe.Pointer(name))
	n, err := strconv.ParseInt(C.GoString(C.GetKeyValue(a.c, pairs, name)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("ONNX Runtime does not say the %q of its arena: %w", key, err)
	}
	return n, nil
}
