package stage

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/testkit"
)

// emptyStrings is a message of about n bytes that are strings of none.
func emptyStrings(n int) []byte {
	var message []byte
	tensor := func(i int) []byte {
		return field(4, text(1, string(rune('a'+i))), varint(2, 8), dims(1<<19), bytes.Repeat(text(5, ""), 1<<19))
	}
	for i := 0; len(message) < n; i++ {
		message = append(message, tensor(i)...)
	}
	return message
}

// What strings take in memory counts before it is taken.
func TestStringsAreBoundedByTheMemoryTheyTake(t *testing.T) {
	encoded := emptyStrings(12 << 20)
	const most = 16 << 20
	r := &request{}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := newCodec(most).Unmarshal(mem.BufferSlice{mem.SliceBuffer(encoded)}, r)
	runtime.ReadMemStats(&after)
	if err == nil && r.malformed == nil {
		t.Error("it is accepted")
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 2*most {
		t.Errorf("refusing %d bytes took %d bytes of memory", len(encoded), took)
	}
}

// A message is admitted by its length, before it is decoded.
func TestMessagesAreAdmittedBeforeTheyAreDecoded(t *testing.T) {
	t.Parallel()
	p := start(t, config(0, 1))
	full := p.bytes.Capacity()
	if !p.bytes.TryAcquire(full) {
		t.Fatal("something is held already")
	}
	conn := dialPlain(t, p.address)
	call := func(message []byte) error {
		var answer []byte
		return conn.Invoke(soon(t), RunMethod, message, &answer, grpc.ForceCodecV2(rawCodec{}))
	}
	// What is no message at all would be invalid if it were decoded.
	err := fromStatus(t.Context(), call([]byte("not a message")), "the stage")
	wantFault(t, err, errcode.Overloaded, "stage 0 holds", "largest message")
	p.bytes.Release(full)
	err = fromStatus(t.Context(), call([]byte("not a message")), "the stage")
	wantFault(t, err, errcode.Invalid)
	if n := p.bytes.InUse(); n != 0 {
		t.Errorf("%d bytes are held by nobody", n)
	}
}

// A route does not tell what listens where: a port that is refused, one that is silent, one that
// speaks something else, and a gRPC server that is no stage are the same to its caller. The
// log tells them apart.
func TestARouteTellsNothingOfItsAddresses(t *testing.T) {
	t.Parallel()
	silent := listenAt(t, "127.0.0.1:0") // nobody accepts
	defer func() { _ = silent.Close() }()
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	other := grpc.NewServer()
	l := listenAt(t, "127.0.0.1:0")
	go func() { _ = other.Serve(l) }()
	defer other.Stop()
	var log testkit.Log
	c := config(0, 2)
	c.Next.Log = slog.New(slog.NewTextHandler(&log, nil))
	first := start(t, c)
	said := map[string]bool{}
	var mu sync.Mutex
	var calls sync.WaitGroup
	for _, address := range []string{refusedAddress(t), silent.Addr().String(), web.Listener.Addr().String(), l.Addr().String()} {
		p := dialPipeline(t, [][]string{{first.address}, {address}})
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 5*deadAfter)
			defer cancel()
			began := time.Now()
			_, err := p.Run(ctx, input(1, 1))
			if took := time.Since(began); took < 3*deadAfter {
				t.Errorf("%s: it fails after %s already", address, took)
			}
			wantFault(t, err, errcode.Unavailable)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				said[strings.ReplaceAll(err.Error(), address, "ADDRESS")] = true
			}
		})
	}
	calls.Wait()
	if len(said) != 1 {
		t.Errorf("different errors tell them apart: %v", said)
	}
	if !strings.Contains(log.String(), "connection refused") {
		t.Errorf("the log does not say why: %s", log.String())
	}
}

// Routes with very many addresses are refused, and those of many routes are bounded together.
func TestRoutesAreBounded(t *testing.T) {
	t.Parallel()
	var accepted atomic.Int64
	l := listenAt(t, "127.0.0.1:0")
	defer func() { _ = l.Close() }()
	go func() {
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
			accepted.Add(1)
		}
	}()
	first := start(t, config(0, 2))
	second := start(t, config(1, 2))
	caller, err := Dial(thisBundle, 0, []string{first.address}, options())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = caller.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	hop := func(from, n int) []string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("127.0.%d.%d:%s", 1+from, 1+i, port))
		}
		return list
	}
	_, err = caller.run(soon(t), [][]string{hop(0, maxHop+1)}, 1, input(1, 1))
	wantFault(t, err, errcode.Invalid, "more than 64 replicas")
	// Each route has a stage, and 63 addresses where there is none.
	for i := range 8 {
		out, err := caller.run(soon(t), [][]string{append(hop(i, maxHop-1), second.address)}, 1, input(1, 1))
		if err != nil {
			t.Fatal(err)
		}
		wantAnswer(t, 2, 1, 1, out.tensors, nil)
	}
	first.next.mu.Lock()
	addresses := 0
	for _, s := range first.next.byID {
		addresses += s.replicas()
	}
	first.next.mu.Unlock()
	if addresses > maxAddresses {
		t.Errorf("%d addresses are watched", addresses)
	}
	testkit.Eventually(t, "addresses that are no stages are let go", func() bool {
		first.next.mu.Lock()
		defer first.next.mu.Unlock()
		open := 0
		for _, s := range first.next.byID {
			s.mu.Lock()
			for _, l := range s.links {
				l.mu.Lock()
				if l.probes != nil {
					open++
				}
				l.mu.Unlock()
			}
			s.mu.Unlock()
		}
		return open <= len(first.next.byID)
	})
}
