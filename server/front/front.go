// Package front is the HTTP server: it reads texts from requests, has a model answer them, and
// writes responses.
//
// It must not know which texts are computed together, nor whether this process or ten machines
// compute them. Clients are untrusted: what they send is bounded in size and number, and a
// response says what is wrong with a request.
package front

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/distinfer/distinfer/server/httpx"
	"github.com/distinfer/distinfer/server/limiter"
)

// Config says how a Front serves.
type Config struct {
	MaxBody        int64         // bytes of a request's body
	MaxConnections int           // at once; 0 is no limit
	Timeout        time.Duration // for one request; a client may allow less

	// TLS makes it HTTPS; nil is plain HTTP.
	TLS *tls.Config

	// Tokens are the bearer tokens that are accepted. Nil means no authentication. What
	// HandleOpenly was given needs none.
	Tokens *Tokens

	// Origins are the web pages, beside the front's own, whose scripts may read responses.
	Origins httpx.Origins

	// AllowedHosts are the hosts, beside localhost and loopback addresses, that a front at a
	// loopback address without Tokens answers for (see package hostcheck).
	AllowedHosts []string

	// Page answers GET / for clients that prefer HTML and send no text, and everything below
	// /page/, without a token. It may be nil.
	Page http.Handler

	// Wrap puts a handler around the front that Serve serves. It may be nil.
	Wrap func(http.Handler) http.Handler

	Log *slog.Logger
}

// A Front is an http.Handler.
type Front struct {
	config     Config
	models     models
	mux        *http.ServeMux
	patterns   []string        // see Patterns
	quiet      map[string]bool // patterns logged at debug
	open       map[string]bool // paths that need no token
	handler    http.Handler    // mux, with responses compressed
	page       http.Handler    // the same of Page
	document   document
	rejections rejections

	connections *connections
	bodies      *httpx.Bodies
	listeners   *limiter.Shares // Lasting responses
	streams     *limiter.Shares // in flight
	stopping    context.Context
	leaving     atomic.Bool
	endStreams  context.CancelFunc
}

// New makes a front for a model.
func New(c Config, m Model) *Front {
	f := &Front{config: c, mux: http.NewServeMux(), quiet: map[string]bool{}, open: map[string]bool{}, rejections: rejections{log: c.Log}}
	f.connections = newConnections(c.MaxConnections)
	f.bodies = httpx.NewBodies(c.MaxBody)
	f.listeners = limiter.NewShares(listenersAtOnce, time.Hour) // listeners send nothing
	f.streams = limiter.NewShares(streamsAtOnce, stalledStream)
	f.stopping, f.endStreams = context.WithCancel(context.Background())
	f.models.follow(m)
	f.handler = httpx.Compress(f.mux)
	if f.config.Page != nil {
		f.page = httpx.Compress(f.config.Page)
	}
	f.Handle("/{$}", httpx.Methods(map[string]http.HandlerFunc{"GET": f.label, "POST": f.predict}))
	f.Handle("/predict", httpx.Post(f.predict))
	f.Handle("/rows", httpx.Post(f.rows))
	f.HandleOpenly("/healthz", httpx.Get(httpx.Alive))
	f.HandleOpenly("/readyz", httpx.Get(f.ready))
	f.Handle("/openapi.json", httpx.Get(f.describe))
	f.mux.HandleFunc("/", f.other)
	f.Describe(alwaysDescribed)
	return f
}

// Config is a copy of what New was given.
func (f *Front) Config() Config { return f.config }

// Handle mounts another handler behind the front's tokens and limits.
// The pattern is http.ServeMux's. It is called before Serve, with a part of the OpenAPI document
// for Describe.
func (f *Front) Handle(pattern string, h http.Handler) {
	f.patterns = append(f.patterns, pattern)
	f.mux.Handle(pattern, h)
}

// Patterns are the patterns given to Handle, the front's own included, without the routes of the
// model's task. Tests compare them with the OpenAPI document.
func (f *Front) Patterns() []string { return f.patterns }

// HandleOpenly is Handle for a path that needs no token, since load balancers have none.
func (f *Front) HandleOpenly(path string, h http.Handler) {
	f.open[path] = true
	f.Handle(path, h)
}

// HandleQuietly is Handle for routes that are polled: requests are logged at debug.
func (f *Front) HandleQuietly(pattern string, h http.Handler) {
	f.quiet[pattern] = true
	f.Handle(pattern, h)
}

// Follow makes another model answer all requests from now on. Requests in flight end with the
// model that they began with, which is closed after them.
func (f *Front) Follow(m Model) {
	f.models.follow(m)
	f.document.forget()
}

// Leave has clients close their connections after the next response, so that they find another
// front before this one ends.
func (f *Front) Leave() { f.leaving.Store(true) }

// Close closes the model, after the requests in flight.
func (f *Front) Close() {
	f.endStreams()
	f.models.follow(Model{})
}

// ServeHTTP implements http.Handler, and logs one line a request.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer use(r)()
	started := time.Now()
	rec := &recorder{StatusWriter: httpx.StatusWriter{ResponseWriter: w, Status: http.StatusOK}, id: httpx.RequestID(r)}
	w.Header()["X-Request-Id"] = []string{rec.id}
	if f.leaving.Load() {
		w.Header()["Connection"] = []string{"close"}
	}
	switch {
	case rejected(rec, r):
	case f.config.Origins.Allow(rec, r):
	case f.page != nil && wantsPage(r):
		f.page.ServeHTTP(rec, r)
	case f.config.Tokens == nil || f.open[r.URL.Path] || f.config.Tokens.Allow(r.Header["Authorization"]):
		f.handler.ServeHTTP(rec, r)
	default:
		unauthorized(rec, r)
	}
	f.log(r, rec, started)
}

func (f *Front) ready(w http.ResponseWriter, r *http.Request) {
	if f.leaving.Load() {
		httpx.FailPlain(w, httpx.Errorf(http.StatusServiceUnavailable, "the front is about to end"))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	m, done := f.models.use()
	defer done()
	if err := m.Ready(ctx); err != nil {
		httpx.FailPlain(w, httpx.Errorf(http.StatusServiceUnavailable, "%s", err))
		return
	}
	httpx.WritePlain(w, http.StatusOK, "ready")
}
