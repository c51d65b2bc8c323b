package chaos

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"regexp"
	"sync"
	"sync/atomic"
	"time"
)

// pause is what a client waits after anything but a right answer, so that the
// errors of an outage are not counted as fast as they can be made.
const pause = 50 * time.Millisecond

// A load is clients that ask one question after the other, each waiting for its
// answer, so that a known number of requests is in flight at any time.
//
// A client knows both fronts, and does what a simple load balancer does: it
// takes them in turn, and asks the other one when a connection cannot be made
// or breaks before there was a byte of the answer.
type load struct {
	questions   []question
	urls        []string
	concurrency int
	timeout     time.Duration // for a request, on whatever fronts
	clock       clock
	client      *http.Client

	turn    atomic.Int64
	retries atomic.Int64 // on the other front

	mu       sync.Mutex
	requests []request
}

// A clock tells the time since the load began.
type clock struct{ began time.Time }

func (c clock) now() time.Duration { return time.Since(c.began) }

// A request is when it was made, when it was over, and how.
type request struct {
	start, end time.Duration
	verdict    verdict
}

func newLoad(questions []question, urls []string, concurrency int, timeout time.Duration, clock clock) *load {
	return &load{questions: questions, urls: urls, concurrency: concurrency, timeout: timeout, clock: clock,
		client: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: concurrency, DisableCompression: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
}

// run asks until during ends, and waits for the answers then in flight. It
// returns what became of every request.
func (l *load) run(ctx, during context.Context) []request {
	defer l.client.CloseIdleConnections()
	var clients sync.WaitGroup
	for range l.concurrency {
		clients.Go(func() {
			var own []request
			for during.Err() == nil {
				r := l.next(ctx)
				if ctx.Err() != nil {
					break // interrupted: the last one says nothing
				}
				own = append(own, r)
				if r.verdict.outcome != right {
					select {
					case <-time.After(pause):
					case <-during.Done():
					}
				}
			}
			l.mu.Lock()
			l.requests = append(l.requests, own...)
			l.mu.Unlock()
		})
	}
	clients.Wait()
	return l.requests
}

func (l *load) next(ctx context.Context) request {
	turn := int(l.turn.Add(1) - 1)
	q := &l.questions[turn%len(l.questions)]
	r := request{start: l.clock.now()}
	r.verdict = l.ask(ctx, turn, q)
	r.end = l.clock.now()
	return r
}

func (l *load) ask(ctx context.Context, turn int, q *question) verdict {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	for try := range l.urls {
		status, body, answering, err := l.post(ctx, l.urls[(turn+try)%len(l.urls)]+cmp.Or(q.path, "/predict"), q.body)
		switch {
		case err == nil:
			return judge(status, body, q)
		case ctx.Err() != nil:
			return verdict{lost, 0, "no answer within " + l.timeout.String()}
		case answering || try+1 == len(l.urls):
			return verdict{lost, 0, reason(err)}
		}
		l.retries.Add(1)
	}
	return verdict{lost, 0, "there is no front"}
}

// post asks one front at a URL. answering tells whether there was a byte of an answer.
func (l *load) post(ctx context.Context, url string, body []byte) (status int, answer []byte, answering bool, err error) {
	var begun atomic.Bool // the transport's own goroutine sets it
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { begun.Store(true) }})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, false, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := l.client.Do(request)
	if err != nil {
		return 0, nil, begun.Load(), err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err = io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, answer, true, err
}

// reason is an error without the ports that differ from connection to connection.
func reason(err error) string {
	return portPattern.ReplaceAllString(err.Error(), "127.0.0.1:… ->")
}

var portPattern = regexp.MustCompile(`127\.0\.0\.1:[0-9]+ ?->`)
