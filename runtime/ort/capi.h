// The calls of ONNX Runtime's C interface that this package makes itself.
//
// struct OrtApi of onnxruntime_c_api.h is an array of functions that only ever grows at its
// end, so a function has the same place in every release. Each CALL below is a place, and
// the function there by the header's own name and type. capi_test.go compares the table
// with the header.
#ifndef DISTINFER_CAPI_H
#define DISTINFER_CAPI_H

#include <stddef.h>
#include <stdint.h>

typedef const void *const *Api; // struct OrtApi

typedef struct OrtAllocator OrtAllocator;
typedef struct OrtArenaCfg OrtArenaCfg;
typedef struct OrtCustomOp OrtCustomOp;
typedef struct OrtCustomOpDomain OrtCustomOpDomain;
typedef struct OrtEnv OrtEnv;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct OrtKeyValuePairs OrtKeyValuePairs;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtStatus OrtStatus;
typedef struct OrtTensorTypeAndShapeInfo OrtTensorTypeAndShapeInfo;
typedef struct OrtThreadingOptions OrtThreadingOptions;
typedef struct OrtValue OrtValue;

// The header's enums are ints to a caller.
typedef int ONNXTensorElementDataType, OrtAllocatorType, OrtLoggingLevel, OrtMemType;

enum {
	API_VERSION = 23, // the first with all of these calls
	CPU_MEMORY_DEFAULT = 0,
	ARENA_ALLOCATOR = 1,
	LOG_FATAL = 4,
	ELEMENT_STRING = 8,
};

// CALL defines `result name(Api, parameters)`, and PLACE_name for code that wants the
// function itself.
#define LIST(...) __VA_ARGS__
#define CALL(place, result, name, parameters, arguments) \
	enum { PLACE_##name = place }; \
	static inline result name(Api api, LIST parameters) { return ((result(*) parameters)api[place])arguments; }
#define RELEASE(place, name) \
	static inline void Release##name(Api api, Ort##name *x) { ((void (*)(Ort##name *))api[place])(x); }

CALL(2, const char *, GetErrorMessage, (const OrtStatus *status), (status))
CALL(9, OrtStatus *, Run, (OrtSession *session, const OrtRunOptions *options, const char *const *in_names, const OrtValue *const *in, size_t ins, const char *const *out_names, size_t outs, OrtValue **out), (session, options, in_names, in, ins, out_names, outs, out))
CALL(26, OrtStatus *, CreateCustomOpDomain, (const char *name, OrtCustomOpDomain **out), (name, out))
CALL(27, OrtStatus *, CustomOpDomain_Add, (OrtCustomOpDomain *domain, const OrtCustomOp *op), (domain, op))
CALL(28, OrtStatus *, AddCustomOpDomain, (OrtSessionOptions *options, OrtCustomOpDomain *domain), (options, domain))
CALL(39, OrtStatus *, CreateRunOptions, (OrtRunOptions **out), (out))
CALL(46, OrtStatus *, RunOptionsSetTerminate, (OrtRunOptions *options), (options))
CALL(48, OrtStatus *, CreateTensorAsOrtValue, (OrtAllocator *allocator, const int64_t *shape, size_t rank, ONNXTensorElementDataType type, OrtValue **out), (allocator, shape, rank, type, out))
CALL(49, OrtStatus *, CreateTensorWithDataAsOrtValue, (const OrtMemoryInfo *memory, void *data, size_t size, const int64_t *shape, size_t rank, ONNXTensorElementDataType type, OrtValue **out), (memory, data, size, shape, rank, type, out))
CALL(50, OrtStatus *, IsTensor, (const OrtValue *value, int *out), (value, out))
CALL(51, OrtStatus *, GetTensorMutableData, (OrtValue *value, void **out), (value, out))
CALL(53, OrtStatus *, GetStringTensorDataLength, (const OrtValue *value, size_t *out), (value, out))
CALL(54, OrtStatus *, GetStringTensorContent, (const OrtValue *value, void *buffer, size_t size, size_t *offsets, size_t n), (value, buffer, size, offsets, n))
CALL(60, OrtStatus *, GetTensorElementType, (const OrtTensorTypeAndShapeInfo *info, ONNXTensorElementDataType *out), (info, out))
CALL(61, OrtStatus *, GetDimensionsCount, (const OrtTensorTypeAndShapeInfo *info, size_t *out), (info, out))
CALL(62, OrtStatus *, GetDimensions, (const OrtTensorTypeAndShapeInfo *info, int64_t *shape, size_t rank), (info, shape, rank))
CALL(65, OrtStatus *, GetTensorTypeAndShape, (const OrtValue *value, OrtTensorTypeAndShapeInfo **out), (value, out))
CALL(69, OrtStatus *, CreateCpuMemoryInfo, (OrtAllocatorType allocator, OrtMemType type, OrtMemoryInfo **out), (allocator, type, out))
CALL(78, OrtStatus *, GetAllocatorWithDefaultOptions, (OrtAllocator **out), (out))
CALL(91, OrtStatus *, KernelContext_GetOutput, (OrtKernelContext *context, size_t i, const int64_t *shape, size_t rank, OrtValue **out), (context, i, shape, rank, out))
RELEASE(92, Env)
RELEASE(93, Status)
RELEASE(94, MemoryInfo)
RELEASE(96, Value)
RELEASE(97, RunOptions)
RELEASE(99, TensorTypeAndShapeInfo)
RELEASE(101, CustomOpDomain)
CALL(119, OrtStatus *, CreateEnvWithGlobalThreadPools, (OrtLoggingLevel level, const char *name, const OrtThreadingOptions *options, OrtEnv **out), (level, name, options, out))
CALL(120, OrtStatus *, DisablePerSessionThreads, (OrtSessionOptions *options), (options))
CALL(121, OrtStatus *, CreateThreadingOptions, (OrtThreadingOptions **out), (out))
RELEASE(122, ThreadingOptions)
CALL(131, OrtStatus *, CreateAllocator, (const OrtSession *session, const OrtMemoryInfo *memory, OrtAllocator **out), (session, memory, out))
RELEASE(132, Allocator)
CALL(144, OrtStatus *, CreateAndRegisterAllocator, (OrtEnv *env, const OrtMemoryInfo *memory, const OrtArenaCfg *config), (env, memory, config))
CALL(147, OrtStatus *, SetGlobalIntraOpNumThreads, (OrtThreadingOptions *options, int n), (options, n))
CALL(148, OrtStatus *, SetGlobalInterOpNumThreads, (OrtThreadingOptions *options, int n), (options, n))
RELEASE(157, ArenaCfg)
CALL(164, OrtStatus *, CreateArenaCfgV2, (const char *const *keys, const size_t *values, size_t n, OrtArenaCfg **out), (keys, values, n, out))
CALL(165, OrtStatus *, AddRunConfigEntry, (OrtRunOptions *options, const char *key, const char *value), (options, key, value))
CALL(177, OrtStatus *, UnregisterAllocator, (OrtEnv *env, const OrtMemoryInfo *memory), (env, memory))
CALL(252, OrtStatus *, GetResizedStringTensorElementBuffer, (OrtValue *value, size_t i, size_t size, char **out), (value, i, size, out))
CALL(274, OrtStatus *, KernelContext_ParallelFor, (const OrtKernelContext *context, void (*part)(void *, size_t), size_t total, size_t batches, void *data), (context, part, total, batches, data))
CALL(297, const char *, GetKeyValue, (const OrtKeyValuePairs *pairs, const char *key), (pairs, key))
RELEASE(300, KeyValuePairs)
CALL(319, OrtStatus *, AllocatorGetStats, (const OrtAllocator *allocator, OrtKeyValuePairs **out), (allocator, out))

#endif
