// Package pipelinetest has the tests that every pipeline.Runner passes, whatever it computes.
package pipelinetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// patience bounds waits that end sooner unless something is broken.
const patience = 90 * time.Second

// runs is how many different runs the tests make.
const runs = 8

// A Suite is a Runner with what the tests have to know of it.
type Suite struct {
	Runner          pipeline.Runner
	Inputs, Outputs []tensor.Spec
	// In makes the inputs of a run, from 0 on. Different runs have different answers.
	In func(run int) tensor.Bag
	// Typed reports that inputs of another type or shape are refused by the Runner itself. One
	// that only passes them on leaves that to others.
	Typed bool
	// Tolerance is how far floats may differ of runs with the same inputs, as a share.
	Tolerance float64
	// Endless makes inputs of a run that ends with its context only, and a channel that is sent
	// to when it has begun. nil: no run lasts long enough to be ended.
	Endless func() (in tensor.Bag, began <-chan struct{})
}

// Run runs the tests.
func Run(t *testing.T, s Suite) {
	t.Run("answers with its outputs", s.outputs)
	t.Run("leaves its input as it is", s.unchanged)
	t.Run("leaves what it answered as it is", s.kept)
	t.Run("keeps the answers of runs at the same time apart", s.concurrent)
	t.Run("refuses inputs that are missing or do not fit", s.invalid)
	t.Run("leaves tensors alone that are not its inputs", s.others)
	t.Run("does not begin when its context has ended", s.ended)
	t.Run("ends with its context", s.ends)
}

func (s Suite) run(t *testing.T, in tensor.Bag) tensor.Bag {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := s.Runner.Run(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s Suite) outputs(t *testing.T) {
	seen := map[string]int{}
	for n := range runs {
		in := s.In(n)
		sizes, err := tensor.MatchAll(s.Inputs, in)
		if err != nil {
			t.Fatalf("the inputs of run %d: %v", n, err)
		}
		out := s.run(t, in)
		if got, want := out.Names(), slices.Sorted(slices.Values(tensor.Names(s.Outputs))); !slices.Equal(got, want) {
			t.Fatalf("the outputs are %q, want %q", got, want)
		}
		for _, spec := range s.Outputs {
			if err := errors.Join(spec.Match(out[spec.Name], sizes), out[spec.Name].Check()); err != nil {
				t.Errorf("run %d: output %s: %v", n, spec, err)
			}
		}
		key := fmt.Sprint(text(out))
		if other, twice := seen[key]; twice {
			t.Errorf("runs %d and %d have the same answer", other, n)
		}
		seen[key] = n
	}
}

func (s Suite) unchanged(t *testing.T) {
	in := s.In(1)
	s.run(t, in)
	s.same(t, "the input", in, s.In(1), 0)
}

func (s Suite) kept(t *testing.T) {
	out := s.run(t, s.In(0))
	before := clone(out)
	for n := range runs {
		s.run(t, s.In(n))
	}
	s.same(t, "the first answer", out, before, 0)
	s.same(t, "the same run again", s.run(t, s.In(0)), before, s.Tolerance)
}

func (s Suite) concurrent(t *testing.T) {
	var want [runs]tensor.Bag
	for n := range runs {
		want[n] = clone(s.run(t, s.In(n)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	shared := s.In(0) // runs may have the same input at the same time
	var work sync.WaitGroup
	for k := range 3 * runs {
		work.Go(func() {
			n, in := k%runs, shared
			if n > 0 {
				in = s.In(n)
			}
			out, err := s.Runner.Run(ctx, in)
			if err != nil {
				t.Error(err)
				return
			}
			s.same(t, fmt.Sprint("run ", n), out, want[n], s.Tolerance)
		})
	}
	work.Wait()
}

// refused expects that a run is refused because of a tensor.
func (s Suite) refused(t *testing.T, what string, in tensor.Bag, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := s.Runner.Run(ctx, in)
	if err == nil || errcode.Of(err) != errcode.Invalid || !strings.Contains(err.Error(), name) || out != nil {
		t.Errorf("%s: %v, %v is %s; want an invalid input that is named %q", what, out, err, errcode.Of(err), name)
	}
}

func (s Suite) invalid(t *testing.T) {
	for _, spec := range s.Inputs {
		in := s.In(0)
		delete(in, spec.Name)
		s.refused(t, spec.Name+" is missing", in, spec.Name)
		if !s.Typed {
			continue
		}
		in = s.In(0)
		in[spec.Name] = tensor.Of([]int64{1}, []bool{true})
		if spec.DType == tensor.Bool {
			in[spec.Name] = tensor.Of([]int64{1}, []int64{1})
		}
		s.refused(t, spec.Name+" is of another type", in, spec.Name)
		if spec.AnyRank {
			continue
		}
		in = s.In(0)
		one := in[spec.Name]
		one.Shape = append([]int64{1}, one.Shape...)
		in[spec.Name] = one
		s.refused(t, spec.Name+" is of another rank", in, spec.Name)
	}
	s.run(t, s.In(0)) // and goes on
}

func (s Suite) others(t *testing.T) {
	in := s.In(0)
	in["no input of any model"] = tensor.Of([]int64{2}, []int64{1, 2})
	s.same(t, "with another tensor", s.run(t, in), s.run(t, s.In(0)), s.Tolerance)
}

func (s Suite) ended(t *testing.T) {
	for _, c := range []struct {
		cause error
		code  errcode.Code
	}{{context.Canceled, errcode.Canceled}, {context.DeadlineExceeded, errcode.Deadline}} {
		ctx, cancel := context.WithCancel(t.Context())
		if c.code == errcode.Deadline {
			ctx, cancel = context.WithDeadline(t.Context(), time.Unix(1, 0))
		}
		cancel()
		if out, err := s.Runner.Run(ctx, s.In(0)); errcode.Of(err) != c.code || out != nil {
			t.Errorf("%v: %v, %v is %s", c.cause, out, err, errcode.Of(err))
		}
	}
}

func (s Suite) ends(t *testing.T) {
	if s.Endless == nil {
		t.Skip("no run lasts long enough")
	}
	in, began := s.Endless()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := s.Runner.Run(ctx, in)
		failed <- err
	}()
	for _, wait := range []func() error{
		func() error { return receive("it does not begin", began) },
		func() error { cancel(); return nil },
	} {
		if err := wait(); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-failed:
		if errcode.Of(err) != errcode.Canceled {
			t.Errorf("%v is %s", err, errcode.Of(err))
		}
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	s.run(t, s.In(0)) // and goes on
}

func receive(why string, from <-chan struct{}) error {
	select {
	case <-from:
		return nil
	case <-time.After(patience):
		return errors.New(why)
	}
}

// text is all of a bag.
func text(b tensor.Bag) (all []string) {
	for _, name := range b.Names() {
		all = append(all, fmt.Sprintf("%s %s %v %v %q", name, b[name].DType, b[name].Shape, b[name].Data, b[name].Strs))
	}
	return all
}

func clone(b tensor.Bag) tensor.Bag {
	copied := make(tensor.Bag, len(b))
	for name, t := range b {
		t.Shape, t.Data, t.Strs = slices.Clone(t.Shape), slices.Clone(t.Data), slices.Clone(t.Strs)
		copied[name] = t
	}
	return copied
}

// same compares bags; floats may differ by a share of the larger one.
func (s Suite) same(t *testing.T, what string, got, want tensor.Bag, tolerance float64) {
	t.Helper()
	if !slices.Equal(got.Names(), want.Names()) {
		t.Errorf("%s: the tensors are %q, want %q", what, got.Names(), want.Names())
		return
	}
	for _, name := range want.Names() {
		g, w := got[name], want[name]
		if g.DType != w.DType || !slices.Equal(g.Shape, w.Shape) || !slices.Equal(g.Strs, w.Strs) || !near(g, w, tolerance) {
			t.Errorf("%s: %q is %v, want %v", what, name, text(tensor.Bag{name: g}), text(tensor.Bag{name: w}))
		}
	}
}

func near(a, b tensor.Tensor, tolerance float64) bool {
	if tolerance == 0 || a.DType != tensor.Float32 {
		return bytes.Equal(a.Data, b.Data)
	}
	x, err := tensor.As[float32](a)
	y, err2 := tensor.As[float32](b)
	if err != nil || err2 != nil || len(x) != len(y) {
		return false
	}
	for i := range x {
		p, q := float64(x[i]), float64(y[i])
		if math.Abs(p-q) > tolerance*max(math.Abs(p), math.Abs(q)) {
			return false
		}
	}
	return true
}
