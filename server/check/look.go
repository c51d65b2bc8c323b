package check

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/mtls"
	"github.com/distinfer/distinfer/server/stage"
	"github.com/distinfer/distinfer/server/stage/stagepb"
)

// look asks a replica what it is, or finds out why it does not say.
func (c *Config) look(ctx context.Context, r *replica) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	fail := func(contact Contact, err error) { r.Contact, r.Error = contact, printable(err.Error()) }

	probe, err := stage.Connect(r.Rank, r.Address, r.name, c.Options)
	if err != nil { // before anything is sent
		fail(Forbidden, err)
		return
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.Address)
	if err != nil {
		_ = probe.Close()
		fail(unconnected(err), err)
		return
	}
	_ = conn.Close()
	d, err := probe.Describe(ctx)
	if err != nil {
		_ = probe.Close()
		contact, why := c.diagnose(ctx, r, err)
		fail(contact, why)
		return
	}
	r.probe, r.Contact, r.Transport, r.Holds = probe, Answers, plaintext, holds(d)
	if c.Options.TLS != nil {
		r.Transport = encrypted
	}
	var took []time.Duration
	for range trips {
		started := time.Now()
		if _, err := probe.Describe(ctx); err != nil {
			break
		}
		took = append(took, time.Since(started))
	}
	if len(took) > 0 {
		r.RoundTrip = milliseconds(median(took))
	}
}

// The transports.
const (
	encrypted = "tls"
	plaintext = "plaintext"
)

func holds(d *stagepb.DescribeResponse) *Holds {
	h := &Holds{
		Protocol: int(d.GetProtocol()), Distinfer: printable(d.GetVersion()), ONNXRuntime: printable(d.GetOnnxruntime()),
		Bundle: bundle.ID(printable(d.GetBundle())), Rank: int(d.GetRank()), Stages: int(d.GetStages()), Model: printable(d.GetModel()),
		Hostname: printable(d.GetHostname()), Threads: int(d.GetThreads()),
		MemoryUsed: int64(min(d.GetMemoryUsed(), math.MaxInt64)), MemoryAvailable: int64(min(d.GetMemoryAvailable(), math.MaxInt64)),
		Running: int(d.GetRunning()), Waiting: int(d.GetWaiting()), Starved: d.GetStarved(),
	}
	for _, e := range encoding.Encodings() {
		if slices.Contains(d.GetEncodings(), string(e)) {
			h.Encodings = append(h.Encodings, string(e))
		}
	}
	return h
}

// unconnected says why a connection did not come about.
func unconnected(err error) Contact {
	var dns *net.DNSError
	var timed net.Error
	switch {
	case errors.As(err, &dns):
		return Unresolved
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.As(err, &timed) && timed.Timeout():
		return Silent
	}
	return Unreachable
}

// diagnose says what is wrong with what accepted a connection but did not describe
// itself, and why that is.
func (c *Config) diagnose(ctx context.Context, r *replica, err error) (Contact, error) {
	switch errcode.Of(err) {
	case errcode.Deadline:
		return Hangs, err
	case errcode.Mismatch: // it speaks gRPC, and has no such service
		return Stranger, err
	case errcode.Unavailable:
	default:
		return Broken, err
	}
	if c.Options.TLS == nil {
		if speaksTLS(ctx, r.Address) {
			return WantsTLS, err
		}
		return Stranger, err
	}
	failed := handshake(ctx, r.Address, r.name, c.Options.TLS())
	switch {
	case failed == nil:
		return Stranger, err
	case errors.As(failed, new(tls.RecordHeaderError)):
		return NoTLS, failed
	case errors.Is(failed, io.EOF) || errors.Is(failed, syscall.ECONNRESET) || ctx.Err() != nil:
		return Stranger, failed
	}
	return Certificate, failed
}

// speaksTLS reports whether what listens at the address answers in TLS.
func speaksTLS(ctx context.Context, address string) bool {
	// Nothing is sent over the connection, so it does not matter whose it is.
	err := handshake(ctx, address, address, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // see above
	return err == nil || isAlert(err)
}

// afterwards is how long after a handshake a server may take to say that it does
// not accept a certificate. One that does may wait for the client to begin.
const afterwards = time.Second

// handshake opens a connection with TLS, and fails as the handshake does or as the
// server does right after it.
func handshake(ctx context.Context, address, name string, config *tls.Config) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	config = config.Clone()
	config.NextProtos = nil // that it is not for gRPC shows otherwise
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(name)
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return mtls.Explain(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(afterwards))
	_, err = secured.Read(make([]byte, 1))
	if isAlert(err) {
		return err
	}
	return nil
}

// isAlert reports whether the other side broke off in TLS.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// longest bounds what is kept of a text that came over the network, in bytes.
const longest = 500

// printable makes a text from the network safe to print.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\ufffd'
		}
		return r
	}, s)
}
