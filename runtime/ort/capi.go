package ort

/*
#cgo linux LDFLAGS: -ldl
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "gate.h"

typedef struct OrtValue OrtValue;
typedef struct OrtInfo OrtInfo;

typedef struct {
	Api (*GetApi)(uint32_t version);
	const char *(*GetVersionString)(void);
} ApiBase;

// The places of functions in struct OrtApi of onnxruntime_c_api.h. It only ever
// grows at its end, so they are the same in every release.
enum {
	GET_ERROR_MESSAGE = 2,
	CREATE_TENSOR = 48,
	CREATE_TENSOR_WITH_DATA = 49,
	IS_TENSOR = 50,
	GET_TENSOR_DATA = 51,
	GET_STRINGS_LENGTH = 53,
	GET_STRINGS = 54,
	GET_ELEMENT_TYPE = 60,
	GET_RANK = 61,
	GET_DIMENSIONS = 62,
	GET_TYPE_AND_SHAPE = 65,
	CREATE_CPU_MEMORY_INFO = 69,
	GET_ALLOCATOR = 78,
	RELEASE_ENV = 92,
	RELEASE_STATUS = 93,
	RELEASE_MEMORY_INFO = 94,
	RELEASE_VALUE = 96,
	RELEASE_TYPE_AND_SHAPE = 99,
	CREATE_ENV_WITH_THREADS = 119,
	DISABLE_SESSION_THREADS = 120,
	CREATE_THREADING_OPTIONS = 121,
	RELEASE_THREADING_OPTIONS = 122,
	SET_THREADS = 147,
	SET_INTER_OP_THREADS = 148,
	CREATE_ALLOCATOR = 131,
	RELEASE_ALLOCATOR = 132,
	REGISTER_ARENA = 144,
	RELEASE_ARENA_CONFIG = 157,
	CREATE_ARENA_CONFIG = 164,
	ADD_RUN_CONFIG = 165,
	UNREGISTER_ALLOCATOR = 177,
	RESIZE_STRING = 252,
	GET_VALUE = 297,
	RELEASE_PAIRS = 300,
	GET_ALLOCATOR_STATS = 319,
	VERSION = 23, // the first with all of these and those of gate.c
	FATAL = 4,
	STRING = 8,
};

static Api interface_of(void *library) {
	ApiBase *(*base)(void) = (ApiBase *(*)(void))dlsym(library, "OrtGetApiBase");
	return base == NULL ? NULL : base()->GetApi(VERSION);
}

// environment makes the process's only environment, or takes another reference to it.
// Its threads are there for all sessions that have none of their own.
static OrtStatus *environment(Api api, int threads, void **env) {
	void *options = NULL;
	OrtStatus *s = ((OrtStatus * (*)(void **)) api[CREATE_THREADING_OPTIONS])(&options);
	if (s != NULL) return s;
	s = ((OrtStatus * (*)(void *, int)) api[SET_THREADS])(options, threads);
	if (s == NULL) s = ((OrtStatus * (*)(void *, int)) api[SET_INTER_OP_THREADS])(options, 1);
	if (s == NULL) s = ((OrtStatus * (*)(int, const char *, void *, void **)) api[CREATE_ENV_WITH_THREADS])(FATAL, "distinfer", options, env);
	((void (*)(void *))api[RELEASE_THREADING_OPTIONS])(options);
	return s;
}

static void release_environment(Api api, void *env) { ((void (*)(void *))api[RELEASE_ENV])(env); }

static OrtStatus *disable_session_threads(Api api, void *options) {
	return ((OrtStatus * (*)(void *)) api[DISABLE_SESSION_THREADS])(options);
}

static const char *message(Api api, OrtStatus *s) { return ((const char *(*)(OrtStatus *))api[GET_ERROR_MESSAGE])(s); }
static void release_status(Api api, OrtStatus *s) { ((void (*)(OrtStatus *))api[RELEASE_STATUS])(s); }
static void release_value(Api api, OrtValue *v) { ((void (*)(OrtValue *))api[RELEASE_VALUE])(v); }

static OrtStatus *cpu_memory(Api api, void **memory) {
	return ((OrtStatus * (*)(int, int, void **)) api[CREATE_CPU_MEMORY_INFO])(1, 0, memory);
}

static void release_memory(Api api, void *memory) { ((void (*)(void *))api[RELEASE_MEMORY_INFO])(memory); }

// register_arena has the environment keep an arena of the CPU's memory, of at most max
// bytes, for sessions that are opened to share it.
static OrtStatus *register_arena(Api api, void *env, void *memory, size_t max) {
	const char *keys[] = {"max_mem", "arena_extend_strategy"};
	// It grows by what is requested, and not by powers of two: less is wasted.
	size_t values[] = {max, 1};
	void *config = NULL;
	OrtStatus *s = ((OrtStatus * (*)(const char *const *, const size_t *, size_t, void **)) api[CREATE_ARENA_CONFIG])(keys, values, 2, &config);
	if (s != NULL) return s;
	s = ((OrtStatus * (*)(void *, void *, void *)) api[REGISTER_ARENA])(env, memory, config);
	((void (*)(void *))api[RELEASE_ARENA_CONFIG])(config);
	return s;
}

// shrink_arena has a run with the options give memory of the CPU's arena back at its end.
static OrtStatus *shrink_arena(Api api, void *options) {
	return ((OrtStatus * (*)(void *, const char *, const char *)) api[ADD_RUN_CONFIG])(options, "memory.enable_memory_arena_shrinkage", "cpu:0");
}

static OrtStatus *unregister_arena(Api api, void *env, void *memory) {
	return ((OrtStatus * (*)(void *, void *)) api[UNREGISTER_ALLOCATOR])(env, memory);
}

// arena_stat reads a statistic of the arena that a session uses into text; it is
// empty when the library does not keep it.
static OrtStatus *arena_stat(Api api, void *session, void *memory, const char *key, char *text, size_t size) {
	void *allocator = NULL, *pairs = NULL;
	text[0] = 0;
	OrtStatus *s = ((OrtStatus * (*)(void *, void *, void **)) api[CREATE_ALLOCATOR])(session, memory, &allocator);
	if (s != NULL) return s;
	s = ((OrtStatus * (*)(void *, void **)) api[GET_ALLOCATOR_STATS])(allocator, &pairs);
	if (s == NULL) {
		const char *value = ((const char *(*)(void *, const char *))api[GET_VALUE])(pairs, key);
		if (value != NULL) snprintf(text, size, "%s", value);
		((void (*)(void *))api[RELEASE_PAIRS])(pairs);
	}
	((void (*)(void *))api[RELEASE_ALLOCATOR])(allocator);
	return s;
}

static OrtStatus *tensor_over(Api api, void *memory, void *data, size_t size, int64_t *shape, size_t rank, int dtype, OrtValue **v) {
	return ((OrtStatus * (*)(void *, void *, size_t, int64_t *, size_t, int, OrtValue **)) api[CREATE_TENSOR_WITH_DATA])(memory, data, size, shape, rank, dtype, v);
}

static OrtStatus *tensor_of_strings(Api api, int64_t *shape, size_t rank, OrtValue **v) {
	void *allocator = NULL;
	OrtStatus *s = ((OrtStatus * (*)(void **)) api[GET_ALLOCATOR])(&allocator);
	if (s != NULL) return s;
	return ((OrtStatus * (*)(void *, int64_t *, size_t, int, OrtValue **)) api[CREATE_TENSOR])(allocator, shape, rank, STRING, v);
}

static OrtStatus *string_at(Api api, OrtValue *v, size_t i, size_t size, char **to) {
	return ((OrtStatus * (*)(OrtValue *, size_t, size_t, char **)) api[RESIZE_STRING])(v, i, size, to);
}

static OrtStatus *is_tensor(Api api, OrtValue *v, int *yes) {
	return ((OrtStatus * (*)(OrtValue *, int *)) api[IS_TENSOR])(v, yes);
}

// type_and_shape gives the element type and the rank, and as many dimensions as
// there is room for.
static OrtStatus *type_and_shape(Api api, OrtValue *v, int *dtype, int64_t *shape, size_t room, size_t *rank) {
	OrtInfo *info = NULL;
	OrtStatus *s = ((OrtStatus * (*)(OrtValue *, OrtInfo **)) api[GET_TYPE_AND_SHAPE])(v, &info);
	if (s != NULL) return s;
	s = ((OrtStatus * (*)(OrtInfo *, int *)) api[GET_ELEMENT_TYPE])(info, dtype);
	if (s == NULL) s = ((OrtStatus * (*)(OrtInfo *, size_t *)) api[GET_RANK])(info, rank);
	if (s == NULL) s = ((OrtStatus * (*)(OrtInfo *, int64_t *, size_t)) api[GET_DIMENSIONS])(info, shape, *rank < room ? *rank : room);
	((void (*)(OrtInfo *))api[RELEASE_TYPE_AND_SHAPE])(info);
	return s;
}

static OrtStatus *data_of(Api api, OrtValue *v, void **data) {
	return ((OrtStatus * (*)(OrtValue *, void **)) api[GET_TENSOR_DATA])(v, data);
}

static OrtStatus *strings_length(Api api, OrtValue *v, size_t *n) {
	return ((OrtStatus * (*)(OrtValue *, size_t *)) api[GET_STRINGS_LENGTH])(v, n);
}

static OrtStatus *strings(Api api, OrtValue *v, void *buffer, size_t size, size_t *offsets, size_t n) {
	return ((OrtStatus * (*)(OrtValue *, void *, size_t, size_t *, size_t)) api[GET_STRINGS])(v, buffer, size, offsets, n);
}
*/
import "C"

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strconv"
	"unsafe"

	binding "github.com/yalue/onnxruntime_go"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// An api is ONNX Runtime's C interface. The binding loads models. The environment is
// made here, since the binding cannot make one with threads to share; values and runs
// are, since it has no scalars of the types that Go has not, cannot read outputs of
// these, panics without inputs, and copies what the library allocates twice.
type api struct {
	c       C.Api
	threads int            // that sessions can share
	library unsafe.Pointer // of the loader
	env     unsafe.Pointer
	memory  unsafe.Pointer // says that data is in the memory of the CPU
}

// loadAPI loads the library at path, and gives it as many threads as sessions can
// share, of which the one that calls Run is one. The caller has locked its thread.
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
	if err := a.check(C.environment(a.c, C.int(threads), &a.env)); err != nil {
		return api{}, err
	}
	if err := a.check(C.cpu_memory(a.c, &a.memory)); err != nil {
		return api{}, err
	}
	return a, nil
}

// release gives back what loadAPI took.
func (a api) release() {
	if a.memory != nil {
		C.release_memory(a.c, a.memory)
	}
	if a.env != nil {
		C.release_environment(a.c, a.env)
	}
	C.dlclose(a.library)
}

// handle is the library's own object behind one of the binding's: a pointer that is
// reached by the names of its fields.
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

// elementType is the library's number for an element type, or -1. Its numbers are
// those of onnx.proto up to 23; those behind came in another order.
func elementType(d tensor.DType) C.int {
	switch {
	case d > tensor.Undefined && d <= tensor.Float4E2M1:
		return C.int(d)
	case d == tensor.Uint2:
		return 24
	case d == tensor.Int2:
		return 25
	case d == tensor.Float8E8M0:
		return 26
	}
	return -1
}

// dtypeOf is the inverse of elementType; Undefined for a number that is not known.
func dtypeOf(n int) tensor.DType {
	for d := tensor.Float32; d <= tensor.Int2; d++ {
		if int(elementType(d)) == n {
			return d
		}
	}
	return tensor.Undefined
}

// check turns a status into an error.
func (a api) check(s *C.OrtStatus) error {
	if s == nil {
		return nil
	}
	defer C.release_status(a.c, s)
	return clean(errors.New(C.GoString(C.message(a.c, s))))
}

// A value is a tensor of the library's.
type value struct{ c *C.OrtValue }

// values are those that one run owns, with the memory of Go's that they use.
type values struct {
	api  api
	list []*C.OrtValue
	pins runtime.Pinner
}

func (vs *values) release(err error) {
	if errcode.Deadly(err) {
		keep(vs.pins) // by threads that may compute on
		return
	}
	for _, v := range vs.list {
		C.release_value(vs.api.c, v)
	}
	vs.pins.Unpin()
}

// over makes a value over the tensor's own memory, or of strings with a copy of
// them. It is valid until vs is released.
func (vs *values) over(t tensor.Tensor) (value, error) {
	if t.DType == tensor.String {
		return vs.strings(t)
	}
	dtype := elementType(t.DType)
	if dtype < 0 {
		return value{}, fmt.Errorf("ONNX Runtime takes no tensors of type %s from outside", t.DType)
	}
	data := t.Data
	if len(data) == 0 {
		data = tensor.AlignedBytes(8) // a tensor without elements still needs an address
	}
	p := unsafe.Pointer(unsafe.SliceData(data))
	vs.pins.Pin(p)
	var v *C.OrtValue
	shape, rank := dims(t.Shape)
	err := vs.api.check(C.tensor_over(vs.api.c, vs.api.memory, p, C.size_t(len(t.Data)), shape, rank, dtype, &v))
	if err != nil {
		return value{}, err
	}
	vs.list = append(vs.list, v)
	return value{v}, nil
}

func dims(shape []int64) (*C.int64_t, C.size_t) {
	return (*C.int64_t)(unsafe.Pointer(unsafe.SliceData(shape))), C.size_t(len(shape))
}

func (vs *values) strings(t tensor.Tensor) (value, error) {
	var v *C.OrtValue
	shape, rank := dims(t.Shape)
	if err := vs.api.check(C.tensor_of_strings(vs.api.c, shape, rank, &v)); err != nil {
		return value{}, err
	}
	vs.list = append(vs.list, v)
	for i, s := range t.Strs {
		var to *C.char
		if err := vs.api.check(C.string_at(vs.api.c, v, C.size_t(i), C.size_t(len(s)), &to)); err != nil {
			return value{}, err
		}
		copy(unsafe.Slice((*byte)(unsafe.Pointer(to)), len(s)), s)
	}
	return value{v}, nil
}

// head is the element type and the shape of a tensor that the library made.
func (a api) head(v value) (dtype tensor.DType, number C.int, shape []int64, err error) {
	var yes C.int
	if err := a.check(C.is_tensor(a.c, v.c, &yes)); err != nil {
		return 0, 0, nil, err
	}
	if yes == 0 {
		return 0, 0, nil, errors.New("a sequence, map or optional cannot leave a stage")
	}
	var rank C.size_t
	shape = make([]int64, tensor.MaxRank)
	p, room := dims(shape)
	if err := a.check(C.type_and_shape(a.c, v.c, &number, p, room, &rank)); err != nil {
		return 0, 0, nil, err
	}
	if rank > room {
		return 0, 0, nil, fmt.Errorf("it has %d dimensions, more than %d", rank, room)
	}
	return dtypeOf(int(number)), number, shape[:rank:rank], nil
}

// size is how many bytes a tensor takes that the library made; of one of strings, its
// elements without what is in them.
func (a api) size(v value) (int64, error) {
	dtype, _, shape, err := a.head(v)
	if err != nil {
		return 0, err
	}
	n, err := tensor.Elements(shape)
	if err != nil {
		return 0, err
	}
	if dtype == tensor.String {
		return n * int64(unsafe.Sizeof("")), nil
	}
	return max(dtype.Bytes(n), 0), nil
}

// read copies a tensor that the library made.
func (a api) read(v value) (tensor.Tensor, error) {
	dtype, number, shape, err := a.head(v)
	if err != nil {
		return tensor.Tensor{}, err
	}
	t := tensor.Tensor{DType: dtype, Shape: shape}
	n, err := tensor.Elements(t.Shape)
	if err != nil {
		return tensor.Tensor{}, err
	}
	if t.DType == tensor.String {
		t.Strs, err = a.readStrings(v, int(n))
		return t, err
	}
	size := t.DType.Bytes(n)
	if size < 0 {
		return tensor.Tensor{}, fmt.Errorf("its element type (number %d in ONNX Runtime) is not known", number)
	}
	var data unsafe.Pointer
	if err := a.check(C.data_of(a.c, v.c, &data)); err != nil {
		return tensor.Tensor{}, err
	}
	t.Data = tensor.AlignedBytes(size)
	copy(t.Data, unsafe.Slice((*byte)(data), size))
	return t, nil
}

func (a api) readStrings(v value, n int) ([]string, error) {
	if n == 0 {
		return nil, nil
	}
	var size C.size_t
	if err := a.check(C.strings_length(a.c, v.c, &size)); err != nil {
		return nil, err
	}
	buffer := make([]byte, size+1)
	offsets := make([]C.size_t, n)
	if err := a.check(C.strings(a.c, v.c, unsafe.Pointer(&buffer[0]), size, &offsets[0], C.size_t(n))); err != nil {
		return nil, err
	}
	list := make([]string, n)
	for i := range list {
		end := size
		if i+1 < n {
			end = offsets[i+1]
		}
		list[i] = string(buffer[offsets[i]:end])
	}
	return list, nil
}

// names are strings of C's.
type names []*C.char

func newNames(list []string) names {
	n := make(names, len(list))
	for i, s := range list {
		n[i] = C.CString(s)
	}
	return n
}

func (n names) free() {
	for _, s := range n {
		C.free(unsafe.Pointer(s))
	}
}

// handleOfRunOptions is the library's object behind run options; nil without any.
func handleOfRunOptions(o *binding.RunOptions) (unsafe.Pointer, error) {
	if o == nil {
		return nil, nil
	}
	return handle(o, "o")
}

// shareThreads has a session use the environment's threads.
func (a api) shareThreads(o *binding.SessionOptions) error {
	h, err := handle(o, "o")
	if err != nil {
		return err
	}
	return a.check(C.disable_session_threads(a.c, h))
}

// registerArena has the environment keep an arena of at most max bytes for the sessions
// that shareArena is called for.
func (a api) registerArena(max int64) error {
	return a.check(C.register_arena(a.c, a.env, a.memory, C.size_t(max)))
}

// shrinkArena has a run with the options give memory back at its end.
func (a api) shrinkArena(o *binding.RunOptions) error {
	h, err := handle(o, "o")
	if err != nil {
		return err
	}
	return a.check(C.shrink_arena(a.c, h))
}

func (a api) unregisterArena() error {
	return a.check(C.unregister_arena(a.c, a.env, a.memory))
}

// arenaStat is a statistic of the arena of a session.
func (a api) arenaStat(session unsafe.Pointer, key string) (int64, error) {
	name := C.CString(key)
	defer C.free(unsafe.Pointer(name))
	var text [32]C.char
	if err := a.check(C.arena_stat(a.c, session, a.memory, name, &text[0], C.size_t(len(text)))); err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(C.GoString(&text[0]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("ONNX Runtime does not say the %q of its arena: %w", key, err)
	}
	return n, nil
}
