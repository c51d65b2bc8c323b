package chaos

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// An adversary is a client that wants others to pay for its requests. Its address is not
// that of the bystanders, who ask as in every other scenario.
type adversary struct {
	in     *injector
	dialer net.Dialer
	client *http.Client

	mu     sync.Mutex
	bodies map[string][]byte // that were made
}

// body is what make writes, compressed. It is made once: what the adversary computes is not
// to be taken for what the fronts do.
func (a *adversary) body(name string, write func(io.Writer)) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bodies[name] == nil {
		var b bytes.Buffer
		zip := gzip.NewWriter(&b)
		write(zip)
		if err := zip.Close(); err != nil {
			return nil, err
		}
		if a.bodies == nil {
			a.bodies = map[string][]byte{}
		}
		a.bodies[name] = b.Bytes()
	}
	return a.bodies[name], nil
}

func newAdversary(in *injector) *adversary {
	a := &adversary{in: in, dialer: net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: 5 * time.Second}}
	a.client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: a.dialer.DialContext, MaxIdleConnsPerHost: 64}}
	return a
}

// attack has n clients do something again and again, from warmUp on, with a pause in
// between. what they do is given the number of the client and of the time.
func attack(what string, n int, pause time.Duration, do func(ctx context.Context, a *adversary, client, time int) error) func(context.Context, *injector) error {
	return func(ctx context.Context, in *injector) error {
		if !sleep(ctx, warmUp) {
			return nil
		}
		defer in.begin(fault{what: what})()
		a := newAdversary(in)
		defer a.client.CloseIdleConnections()
		var clients sync.WaitGroup
		var mu sync.Mutex
		var failed error
		for i := range n {
			clients.Go(func() {
				for k := 0; ctx.Err() == nil; k++ {
					if err := do(ctx, a, i, k); err != nil && ctx.Err() == nil {
						mu.Lock()
						failed = errors.Join(failed, err)
						mu.Unlock()
						return
					}
					sleep(ctx, pause)
				}
			})
		}
		clients.Wait()
		return failed
	}
}

// url is that of a front, which take turns.
func (a *adversary) url(n int) string { return a.in.cluster.Clients[n%fronts].URL() }

// post sends a request and notes how it is answered. An answer that may says is not to be is
// trouble. That the front breaks off is its right.
func (a *adversary) post(ctx context.Context, what, url string, header map[string]string, body io.Reader, may func(status int) bool) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		request.Header.Set(k, v)
	}
	response, err := a.client.Do(request)
	if err != nil {
		if ctx.Err() == nil {
			a.in.answered(what+" broken off", 0)
		}
		return nil
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	a.in.answered(what, response.StatusCode)
	if !may(response.StatusCode) {
		a.in.cluster.Trouble(fmt.Sprintf("%s was answered %d: %.200s", what, response.StatusCode, bytes.TrimSpace(text)))
	}
	return nil
}

func (in *injector) answered(what string, status int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.answers == nil {
		in.answers = map[reasonCount]int{}
	}
	in.answers[reasonCount{Outcome: "attack", Status: status, Why: what}]++
}

// refused are the statuses of what is the client's to mend, or comes too often.
func refused(status int) bool { return status >= 400 && status < 500 }

// refusedOrAnswered allows for all but a failure of the server.
func refusedOrAnswered(status int) bool {
	return status < 500 || status == http.StatusServiceUnavailable
}

// both does two things at a time.
func both(a, b func(context.Context, *injector) error) func(context.Context, *injector) error {
	return func(ctx context.Context, in *injector) error {
		other := make(chan error, 1)
		go func() { other <- b(ctx, in) }()
		return errors.Join(a(ctx, in), <-other)
	}
}
