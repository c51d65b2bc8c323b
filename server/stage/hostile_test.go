package stage

import (
	"bytes"
	"runtime"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/distinfer/distinfer/runtime/fault"
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
	full := p.held.Capacity()
	if !p.held.TryAcquire(full) {
		t.Fatal("something is held already")
	}
	conn := dialPlain(t, p.address)
	call := func(message []byte) error {
		var answer []byte
		return conn.Invoke(soon(t), RunMethod, message, &answer, grpc.ForceCodecV2(rawCodec{}))
	}
	// What is no message at all would be invalid if it were decoded.
	err := fromStatus(t.Context(), call([]byte("not a message")), "the stage")
	wantFault(t, err, fault.Overloaded, "stage 0 holds", "--max-message")
	p.held.Release(full)
	err = fromStatus(t.Context(), call([]byte("not a message")), "the stage")
	wantFault(t, err, fault.Invalid)
	if n := p.held.InUse(); n != 0 {
		t.Errorf("%d bytes are held by nobody", n)
	}
}
