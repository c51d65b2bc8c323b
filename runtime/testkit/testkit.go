// Package testkit has what tests of many packages need: waiting, a log to read, free ports,
// the top of the checkout.
// Only tests import it.
package testkit

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Patience is how long a test waits for what must happen. A loaded machine takes its time; a
// test that passes does not wait that long.
const Patience = 90 * time.Second

// Context ends with the test, or when its patience does.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Eventually waits for a condition that no event announces. The condition completes the sentence
// "it does not happen that …".
func Eventually(t testing.TB, condition string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not happen that %s", condition)
		}
	}
}

// Receive takes what must arrive.
func Receive[T any](t testing.TB, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(Patience):
		t.Fatalf("%s does not come", what)
	}
	return v
}

// FreePorts returns ports of localhost at which nobody listens.
func FreePorts(t testing.TB, n int) []int {
	t.Helper()
	ports := make([]int, n)
	for i := range ports {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "localhost:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }() // so that no two are the same
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports
}

// Root is the top of the checkout.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test's folder")
		}
		dir = filepath.Dir(dir)
	}
}
