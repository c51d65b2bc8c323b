package quarantine_test

import (
	"errors"
	"hash/maphash"
	"strings"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/quarantine"
)

var (
	start   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	errDied = errcode.Errorf(errcode.Fatal, "stage 1 at a:1 died with it")
	policy  = quarantine.Policy{First: time.Minute, Longest: 3 * time.Minute, Max: 2}
)

func key(l *quarantine.List, s string) quarantine.Key {
	return l.Key(func(h *maphash.Hash) { _, _ = h.WriteString(s) })
}

func TestAnInputIsRefusedForAWhileAndLongerEachTime(t *testing.T) {
	t.Parallel()
	l := quarantine.New(policy)
	k := key(l, "bad")
	if suspect, err := l.Find(start, k); err != nil || suspect || l.Len() != 0 {
		t.Fatalf("before: %v, suspect %v", err, suspect)
	}
	now := start
	for i, want := range []time.Duration{time.Minute, 2 * time.Minute, 3 * time.Minute, 3 * time.Minute} {
		l.Add(now, k, errDied)
		l.Add(now.Add(time.Second), k, errDied) // of another call with it; that is no other death
		suspect, err := l.Find(now.Add(want-time.Nanosecond), k)
		if errcode.Of(err) != errcode.Quarantined || !strings.Contains(err.Error(), errDied.Error()) || !suspect {
			t.Errorf("time %d: %v, suspect %v", i, err, suspect)
		}
		now = now.Add(want)
		if suspect, err := l.Find(now, k); err != nil || !suspect {
			t.Errorf("time %d, afterwards: %v, suspect %v", i, err, suspect)
		}
	}
	if suspect, err := l.Find(start, key(l, "good")); err != nil || suspect {
		t.Errorf("another input: %v, suspect %v", err, suspect)
	}
}

func TestTheOldestMakesRoom(t *testing.T) {
	t.Parallel()
	l := quarantine.New(policy)
	for _, s := range []string{"a", "b", "a", "c"} {
		l.Add(start, key(l, s), errDied)
	}
	for s, want := range map[string]bool{"a": false, "b": true, "c": true} {
		if _, err := l.Find(start, key(l, s)); (err != nil) != want {
			t.Errorf("%s: %v", s, err)
		}
	}
	if l.Len() != 2 {
		t.Errorf("%d are remembered", l.Len())
	}
}

func TestTensorsThatDifferHaveOtherKeys(t *testing.T) {
	t.Parallel()
	l := quarantine.New(policy)
	one := func(shape []int64, v ...int64) tensor.Bag { return tensor.Bag{"x": tensor.Of(shape, v)} }
	text := func(s ...string) tensor.Bag {
		return tensor.Bag{"x": {DType: tensor.String, Shape: []int64{int64(len(s))}, Strs: s}}
	}
	bags := map[string]tensor.Bag{
		"none": {}, "1 2": one([]int64{2}, 1, 2), "2 1": one([]int64{2}, 2, 1), "column": one([]int64{2, 1}, 1, 2),
		"other name": {"y": tensor.Of([]int64{2}, []int64{1, 2})}, "other type": {"x": tensor.Of([]int64{4}, []int32{1, 0, 2, 0})},
		"two":  {"x": tensor.Of([]int64{1}, []int64{1}), "y": tensor.Of([]int64{1}, []int64{2})},
		"ab c": text("ab", "c"), "a bc": text("a", "bc"),
	}
	seen := map[quarantine.Key]string{}
	for name, b := range bags {
		k := l.Tensors(b)
		if other, twice := seen[k]; twice {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[k] = name
		if again := l.Tensors(b); again != k {
			t.Errorf("%s has two keys", name)
		}
	}
	if quarantine.New(policy).Tensors(bags["two"]) == l.Tensors(bags["two"]) {
		t.Error("the hash has no key of its own")
	}
	l.Add(start, l.Tensors(bags["two"]), errDied)
	if _, err := l.Find(start, l.Tensors(bags["two"])); !errors.Is(err, errDied) {
		t.Errorf("it is found as %v", err)
	}
}
