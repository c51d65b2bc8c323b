package ort

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"unsafe"

	binding "github.com/yalue/onnxruntime_go"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/memory"
	"github.com/distinfer/distinfer/runtime/ort/threads"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// Options say how a session computes.
type Options struct {
	// Threads is the size of the session's thread pool; 0 is one for each
	// processor this process may use.
	Threads int

	// Pool is the intra-op threads that help the session's runs, instead of threads of its own.
	Pool *Pool

	// Arena is the memory that the session computes in; nil is one of its own that
	// has no limit.
	Arena *Arena

	// MaxOutput bounds the bytes of the outputs of a run; a run with more fails with a
	// MemoryError. 0 is without a bound.
	MaxOutput int64

	// Plain leaves the graph as it is: no nodes are fused or folded, each rounds by itself.
	Plain bool

	// Nice is how far the threads that call for a run step back behind others, from 0 to
	// 19 as in nice(1). It has no effect but on Linux.
	Nice int
}

// A Session is one model, loaded. It implements pipeline.Runner.
type Session struct {
	api               api
	session           *binding.DynamicAdvancedSession
	handle            unsafe.Pointer // of the session
	inputs, outputs   []tensor.Spec
	inNames, outNames names
	runners           *threads.Runners
	closed            func() // called once the model is freed; may be nil

	// passed are outputs that are inputs as they came. ONNX Runtime leaves
	// memory that was allocated for such an output beforehand untouched, so it
	// is not asked for them.
	passed []string

	// maxOutput bounds the bytes of the outputs of a run.
	maxOutput int64

	// shrinks says that runs end with giving memory back to the system.
	shrinks bool

	// surprising is set once an output had another shape than its spec
	// resolved to; from then on ONNX Runtime allocates the outputs.
	surprising atomic.Bool
}

// Open loads the model in the file at path. inputs and outputs are what Run
// takes and returns; outputs whose dimensions resolve from those of the inputs
// are written straight into memory allocated beforehand.
func (l *Library) Open(path string, inputs, outputs []tensor.Spec, o Options) (*Session, error) {
	return l.open(path, inputs, outputs, o, func(in, out []string, o *binding.SessionOptions) (*binding.DynamicAdvancedSession, error) {
		return binding.NewDynamicAdvancedSession(path, in, out, o)
	})
}

// OpenBytes loads a model that is in memory, as Open does one in a file. name is
// what errors call it.
func (l *Library) OpenBytes(name string, model []byte, inputs, outputs []tensor.Spec, o Options) (*Session, error) {
	return l.open(name, inputs, outputs, o, func(in, out []string, o *binding.SessionOptions) (*binding.DynamicAdvancedSession, error) {
		return binding.NewDynamicAdvancedSessionWithONNXData(model, in, out, o)
	})
}

func (l *Library) open(name string, inputs, outputs []tensor.Spec, o Options,
	load func(inputs, outputs []string, o *binding.SessionOptions) (*binding.DynamicAdvancedSession, error),
) (*Session, error) {
	var computed []tensor.Spec
	var passed []string
	for _, s := range outputs {
		if _, isInput := tensor.Find(inputs, s.Name); isInput {
			passed = append(passed, s.Name)
		} else {
			computed = append(computed, s)
		}
	}
	options, err := o.binding(l.api)
	if err != nil {
		return nil, err
	}
	defer func() { _ = options.Destroy() }()
	defer trim()
	session, err := load(tensor.Names(inputs), tensor.Names(computed), options)
	if err != nil {
		if err = clean(err); noMemory.MatchString(err.Error()) {
			err = &MemoryError{readable(err.Error())}
		}
		return nil, fmt.Errorf("load %s: %w", name, err)
	}
	h, err := handle(session, "s", "ortSession")
	if err != nil {
		return nil, errors.Join(err, session.Destroy())
	}
	if o.MaxOutput == 0 {
		o.MaxOutput = math.MaxInt64
	}
	return &Session{
		maxOutput: o.MaxOutput,
		api:       l.api, session: session, handle: h, inputs: inputs, outputs: computed, passed: passed,
		inNames: newNames(tensor.Names(inputs)), outNames: newNames(tensor.Names(computed)),
		runners: threads.NewRunners(l.api.calls(), o.Pool, o.Nice),
	}, nil
}

// Size is how many threads a session has for a run.
func (o Options) Size() int {
	if o.Pool != nil {
		return o.Pool.Size()
	}
	if o.Threads > 0 {
		return o.Threads
	}
	return runtime.GOMAXPROCS(0)
}

func (o Options) binding(a api) (*binding.SessionOptions, error) {
	options, err := binding.NewSessionOptions()
	if err != nil {
		return nil, fmt.Errorf("make session options: %w", clean(err))
	}
	err = errors.Join(
		options.SetIntraOpNumThreads(o.Size()),
		options.SetInterOpNumThreads(1),
		options.SetLogSeverityLevel(binding.LoggingLevelFatal), // errors are returned
		// Threads that spin after a run take the processor from the other
		// sessions of this machine.
		options.AddSessionConfigEntry("session.force_spinning_stop", "1"),
	)
	if err == nil && o.Plain {
		err = options.SetGraphOptimizationLevel(binding.GraphOptimizationLevelDisableAll)
	}
	if err == nil && o.Pool != nil && o.Pool.Size() > 1 {
		err = share(a, options)
	}
	if err == nil && o.Arena != nil {
		err = o.Arena.use(options)
	}
	if err != nil {
		_ = options.Destroy()
		return nil, fmt.Errorf("set session options: %w", clean(err))
	}
	return options, nil
}

// Close frees the model. No Run may be in flight. Where a signal ended one, what its
// threads may still use is not freed.
func (s *Session) Close() error {
	if threads.Lost() {
		return nil
	}
	s.runners.Close()
	s.inNames.free()
	s.outNames.free()
	s.inNames, s.outNames = nil, nil
	err := s.session.Destroy()
	if s.closed != nil {
		s.closed()
	}
	return err
}

// Run implements pipeline.Runner. Tensors that the model does not take are
// ignored; a missing or mismatching one is a errcode.Invalid, and so are inputs with which
// the computation fails: ids that a table does not have, say. What needs more memory than
// there is is a errcode.TooLarge. When ctx ends, ONNX Runtime stops at the next node.
//
// A run whose input has ONNX Runtime get a signal that would end the process, on Linux,
// is a errcode.Fatal. Once the process is [Library.Damaged] every run fails.
func (s *Session) Run(ctx context.Context, in tensor.Bag) (_ tensor.Bag, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := threads.Damaged(); err != nil {
		return nil, err
	}
	sizes, err := tensor.MatchAll(s.inputs, in)
	if err != nil {
		return nil, errcode.Wrap(errcode.Invalid, err)
	}
	lane := s.runners.Begin()
	defer s.runners.End()
	held := values{api: s.api}
	defer func() { held.release(err) }()

	args := make([]value, len(s.inputs))
	for i, spec := range s.inputs {
		if args[i], err = held.over(in[spec.Name]); err != nil {
			return nil, fmt.Errorf("input %s: %w", spec, err)
		}
	}

	prepared := !s.surprising.Load()
	out, err := s.run(ctx, lane, args, sizes, prepared)
	if err != nil && prepared && ctx.Err() == nil && !errcode.Deadly(err) && !IsMemory(err) {
		// The model may be one whose output sizes depend on its values. If so,
		// the run succeeds when nothing is presumed about them.
		if out, err = s.run(ctx, lane, args, sizes, false); err == nil {
			s.surprising.Store(true)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := threads.Damaged(); err != nil { // meanwhile
		return nil, err
	}
	for _, name := range s.passed {
		out[name] = in[name]
	}
	return out, nil
}

// maxPrepared bounds the outputs that are allocated beforehand, in bytes: that one
// is larger may be a mistake in a manifest, and memory that ONNX Runtime cannot
// have is an error, while for Go it is the end.
const maxPrepared = 1 << 30

// run computes once. With prepared, outputs whose shapes resolve are allocated
// beforehand; the others are copied out of ONNX Runtime's memory.
func (s *Session) run(ctx context.Context, lane *threads.Lane, args []value, sizes tensor.Sizes, prepared bool) (_ tensor.Bag, err error) {
	held := values{api: s.api}
	defer func() { held.release(err) }()

	results := make([]value, len(s.outputs))
	bag := make(tensor.Bag, len(s.outputs)+len(s.passed))
	if len(s.outputs) == 0 { // all are passed on
		return bag, nil
	}
	if n, _ := memory.Bytes(s.outputs, sizes); prepared && n > s.maxOutput {
		return nil, s.tooMuch(n)
	}
	for i, spec := range s.outputs {
		shape, ok := spec.Resolve(sizes)
		if !ok || !prepared || spec.DType == tensor.String {
			continue
		}
		if n, err := tensor.Elements(shape); err != nil || spec.DType.Bytes(n) > maxPrepared {
			continue
		}
		t, err := tensor.New(spec.DType, shape)
		if err != nil {
			return nil, fmt.Errorf("output %s: %w", spec, err)
		}
		if results[i], err = held.over(t); err != nil {
			return nil, fmt.Errorf("output %s: %w", spec, err)
		}
		bag[spec.Name] = t
	}

	var options runOptions
	if s.shrinks || ctx.Done() != nil {
		if options, err = s.api.newRunOptions(s.shrinks); err != nil {
			return nil, err
		}
		terminated := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(terminated)
			options.terminate()
		})
		defer func() {
			if !stop() {
				<-terminated // it must not touch the options once they are freed
			}
			if !errcode.Deadly(err) {
				options.release()
			}
		}()
	}
	status, err := lane.Run(threads.Call{
		Session: s.handle, Options: unsafe.Pointer(options.c), InNames: s.inNames, In: args, OutNames: s.outNames, Out: results,
	})
	if err == nil {
		err = failure(s.api.checkStatus(status))
	}
	for i, v := range results {
		if _, ours := bag[s.outputs[i].Name]; !ours && v != nil {
			held.list = append(held.list, v)
		}
	}
	if err != nil {
		if ctx.Err() != nil && !errcode.Deadly(err) {
			return nil, ctx.Err()
		}
		return nil, err
	}
	var total int64
	for i, spec := range s.outputs {
		if t, ours := bag[spec.Name]; ours {
			total += t.Bytes()
			continue
		}
		n, err := s.api.size(results[i])
		if err != nil {
			return nil, fmt.Errorf("output %s: %w", spec, err)
		}
		if total += n; total > s.maxOutput {
			return nil, s.tooMuch(total)
		}
		if bag[spec.Name], err = s.api.read(results[i]); err != nil {
			return nil, fmt.Errorf("output %s: %w", spec, err)
		}
	}
	return bag, nil
}

func (s *Session) tooMuch(n int64) error {
	return &MemoryError{fmt.Sprintf("its outputs have %d bytes, more than %d", n, s.maxOutput)}
}

// Damaged is nil while what is computed can be trusted. Afterwards the process has to end:
// a run got a signal which says that the memory may be damaged, or too many threads were
// lost to such runs.
func (*Library) Damaged() error { return threads.Damaged() }
