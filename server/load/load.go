// Package load sends an HTTP service many requests and measures how it answers.
//
// In a closed loop each of a number of clients sends its next request once it has
// an answer. In an open loop requests fall due at a constant rate, whether or not
// earlier ones are answered. A latency counts from when its request was due, not
// from when a client was free to send it: a service that stalls is charged for all
// requests that it delayed.
//
// Only right answers count for throughput and latency; what is right, the caller
// says: what a front answers, by Labels and Predictions.
//
// The loop is our own: vegeta, which was looked at first, counts from when a
// request was sent, so that those who wait for one of its workers are not
// charged, and cannot judge answers. The histograms are HdrHistogram's.
package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxAnswer bounds what is read of one answer, in bytes.
const maxAnswer = 4 << 20

// Options say how many requests are made, and when.
type Options struct {
	Concurrency int           // closed loop: clients; open loop: most requests in flight
	Rate        float64       // open loop when above 0: requests a second
	Requests    int           // 0: as many as Duration has room for
	Warmup      time.Duration // asked before, and not counted
	Duration    time.Duration // 0: until there were as many as Requests
	Timeout     time.Duration // for one request, from when it was due
}

func (o Options) check() error {
	switch {
	case o.Concurrency < 1:
		return errors.New("the concurrency must be at least 1")
	case !(o.Rate >= 0) || math.IsInf(o.Rate, 0):
		return fmt.Errorf("the rate is %v; it must be a number of requests a second, or 0 for a closed loop", o.Rate)
	case o.Requests < 0 || o.Warmup < 0 || o.Duration < 0:
		return errors.New("the number of requests and the times must not be below 0")
	case o.Requests == 0 && o.Duration == 0:
		return errors.New("neither a duration nor a number of requests says when to end")
	case o.Timeout <= 0:
		return errors.New("the timeout must be above 0")
	}
	return nil
}

// A Verdict is what became of a request.
type Verdict uint8

// The verdicts there are. Who forgets to give one says Failed.
const (
	Failed  Verdict = iota // another answer, or none
	Right                  // answered, and rightly
	Refused                // not answered now: 429 or 503
	Wrong                  // answered as if it were right, and is not
)

func (v Verdict) String() string {
	return [...]string{"failed", "right", "refused", "wrong"}[v]
}

// A Target is a service that can be asked. Its functions are called by many
// goroutines at a time.
type Target struct {
	TLS *tls.Config // of https; nil trusts the system's authorities
	// Request makes the request that asks about a text. An error ends the run.
	Request func(ctx context.Context, text string) (*http.Request, error)
	// Judge says what the answer is worth. It must not keep the body.
	Judge func(text string, status int, body []byte) Verdict
}

// Run asks about the texts in order, over and over, until the time is up or
// there were as many requests as asked for, and waits for the answers then under
// way. When ctx ends before, it returns what there was until then along with the
// context's error. A service that cannot be reached is no error, but a result.
func Run(ctx context.Context, o Options, t Target, texts []string) (*Result, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if len(texts) == 0 {
		return nil, errors.New("there are no texts to ask about")
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r := &run{o: o, target: t, texts: texts, result: newResult(o), stop: stop}
	r.schedule = schedule{o: o, began: time.Now()}
	var clients sync.WaitGroup
	for range o.Concurrency {
		clients.Go(func() { r.client(ctx) })
	}
	clients.Wait()
	switch {
	case ctx.Err() != nil:
		r.result.close(r.since())
	case r.schedule.exhausted():
		r.result.close(r.result.last)
	}
	return r.result, context.Cause(ctx)
}

// A run is what the clients of a run share.
type run struct {
	o        Options
	target   Target
	texts    []string
	schedule schedule
	result   *Result
	stop     context.CancelCauseFunc
}

func (r *run) since() time.Duration { return time.Since(r.schedule.began) }

func (r *run) client(ctx context.Context) {
	l := &line{tls: r.target.TLS}
	defer l.close()
	var body bytes.Buffer // used again for every answer
	for {
		turn, ok := r.schedule.next(ctx)
		if !ok {
			return
		}
		a := r.ask(ctx, turn, l, &body)
		if a.status == 0 && ctx.Err() != nil {
			a.abandoned = true
		}
		r.result.add(turn, a, r.since())
	}
}

// An answer is a verdict and what it is based on.
type answer struct {
	verdict   Verdict
	status    int    // 0 when there was none
	why       string // there was none
	body      []byte // until the client's next request
	abandoned bool   // nobody waits for it any more
}

func (r *run) ask(ctx context.Context, turn turn, l *line, body *bytes.Buffer) answer {
	failed := func(format string, args ...any) answer {
		return answer{verdict: Failed, why: fmt.Sprintf(format, args...)}
	}
	deadline := r.schedule.began.Add(turn.due + r.o.Timeout)
	if time.Now().After(deadline) {
		return failed("not sent within %s: all %d connections were taken", r.o.Timeout, r.o.Concurrency)
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	text := r.texts[turn.number%len(r.texts)]
	request, err := r.target.Request(ctx, text)
	if err != nil {
		r.stop(fmt.Errorf("make a request: %w", err)) // not an error of the service
		return answer{}
	}
	status, err := l.exchange(request, body)
	switch {
	// A busy machine also learns late that the time is up.
	case errors.Is(err, context.DeadlineExceeded), err == nil && time.Now().After(deadline):
		return failed("no answer within %s", r.o.Timeout)
	case err != nil:
		return failed("%s", reason(err))
	case body.Len() > maxAnswer:
		return failed("the answer is larger than %d MB", maxAnswer>>20)
	}
	return answer{verdict: r.target.Judge(text, status, body.Bytes()), status: status, body: body.Bytes()}
}

// reason is an error without the address and port that differ from connection to
// connection, so that alike ones are counted together.
func reason(err error) string {
	var op *net.OpError
	switch {
	case errors.As(err, &op):
		return op.Err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed before the whole answer was there"
	}
	if inner := errors.Unwrap(err); inner != nil { // the frame names method and URL
		return inner.Error()
	}
	return err.Error()
}
