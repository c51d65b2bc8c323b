package front

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/httpx"
)

// messageHeader is the length of what begins each gRPC message: a byte that says whether it is
// compressed, and its length.
const messageHeader = 5

// maxStream bounds what a client may send on a stream of messages, in bytes. They are short.
const maxStream = 1 << 20

// ServeMessages serves gRPC by an http.Handler on a listener of its own, within the front's bounds
// of connections and bodies, until ctx ends. Then it finishes the calls in flight and returns nil.
// It closes the listener. Calls to paths for which unary is true have one message, which Received
// waits for.
func (f *Front) ServeMessages(ctx context.Context, l net.Listener, h http.Handler, unary func(path string) bool) error {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return f.serve(ctx, l, "gRPC", &http.Server{Protocols: &protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := &message{held: f.receive(w, r), unary: unary(r.URL.Path), most: maxStream, whole: make(chan struct{})}
		if m.unary {
			m.most = messageHeader + f.config.MaxBody
		} else { // it may last for long
			control := http.NewResponseController(w)
			_ = control.SetReadDeadline(time.Time{})
			_ = control.SetWriteDeadline(time.Time{})
		}
		defer use(r)()
		m.ReadCloser = r.Body
		r.Body = m
		defer m.held.Release()
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), messageKey{}, m)))
	})})
}

type messageKey struct{}

// Received waits until the message of a unary call that ServeMessages handles is received, or
// fails with the reason why it does not come. ctx is the call's. release gives the memory of the
// message back; the end of the call does so too.
func (f *Front) Received(ctx context.Context) (release func(), err error) {
	m, ok := ctx.Value(messageKey{}).(*message)
	if !ok {
		return func() {}, nil
	}
	select {
	case <-m.whole:
		return m.held.Release, m.err
	case <-ctx.Done():
		return m.held.Release, ctx.Err()
	}
}

// A message is the body of a gRPC call while it is received. Its reader keeps all of it, in pieces
// as large as the buffers it reads into, however little is read.
type message struct {
	io.ReadCloser
	held  *httpx.Body
	unary bool
	most  int64

	header [messageHeader]byte
	read   int64

	once  sync.Once
	whole chan struct{} // closed once the message is received, or never will be
	err   error         // then
}

func (m *message) Read(p []byte) (n int, err error) {
	if left, known := m.left(); known && m.unary && m.read+left > m.most {
		m.end(nil) // its reader knows from the header, too
		return 0, io.EOF
	}
	if m.read > httpx.FreeBody || !m.unary && m.read > 0 {
		if err := m.held.Grow(int64(len(p))); err != nil {
			m.end(err)
			return 0, err
		}
	}
	if m.unary {
		// Less than the whole message is of no use.
		if left, known := m.left(); !known {
			p = p[:min(messageHeader-m.read, int64(len(p)))]
		} else if left > 0 {
			p = p[:min(left, int64(len(p)))]
		}
		if n, err = io.ReadFull(m.ReadCloser, p); errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
	} else {
		n, err = m.ReadCloser.Read(p)
	}
	if m.read < messageHeader {
		copy(m.header[m.read:], p[:n])
	}
	m.read += int64(n)
	left, known := m.left()
	switch evicted := m.held.Evicted(); {
	case evicted != nil:
		err = evicted
	case m.read > m.most:
		err = errcode.Errorf(errcode.TooLarge, "the stream has more than %d bytes; begin another", m.most)
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		m.end(err)
	case err != nil || m.unary && known && left <= 0:
		m.held.Received()
		m.end(nil)
	}
	return n, err
}

// left is how many bytes of the message are missing.
func (m *message) left() (n int64, known bool) {
	if m.read < messageHeader {
		return 0, false
	}
	return messageHeader + int64(binary.BigEndian.Uint32(m.header[1:])) - m.read, true
}

func (m *message) end(err error) {
	m.once.Do(func() {
		m.err = err
		close(m.whole)
	})
}
