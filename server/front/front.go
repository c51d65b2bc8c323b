// Package front answers HTTP: it takes texts in, has them answered, and maps what
// comes back, or what went wrong, to responses.
//
// It does not know which texts are computed together, nor whether that is done in
// this process or on ten machines. Clients are untrusted: what they send is bounded in size and number,
// and what is wrong with it is said in the answer.
package front

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
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

	// Tokens are those of which a request needs one, but for what HandleOpenly was given;
	// nil is for anybody.
	Tokens *Tokens

	// Origins are the web pages whose scripts may read the answers, beside the front's
	// own; none by default.
	Origins httpx.Origins

	// AllowedHosts are the names, beside localhost and loopback addresses, under which a front
	// on a loopback address without Tokens answers (see package hostcheck).
	AllowedHosts []string

	// Page answers GET / of those that prefer HTML and ask for no text, and everything
	// below /page/, without a token; nil is none.
	Page http.Handler

	// Wrap puts a handler around the front that Serve serves; nil is none.
	Wrap func(http.Handler) http.Handler

	Log *slog.Logger
}

// A Front is an http.Handler.
type Front struct {
	Config
	models   models
	mux      *http.ServeMux
	patterns []string        // see Patterns
	quiet    map[string]bool // patterns that are logged at debug
	open     map[string]bool // paths that need no token
	handler  http.Handler    // mux, with responses compressed
	page     http.Handler    // the same of Page
	document document
	refusals refusals

	connections *connections
	bodies      *httpx.Bodies
	listeners   *limiter.Shares // Lasting responses
	streams     *limiter.Shares // under way
	stopping    context.Context
	endStreams  context.CancelFunc
}

// New makes a front that answers with the given model.
func New(c Config, m Model) *Front {
	f := &Front{Config: c, mux: http.NewServeMux(), quiet: map[string]bool{}, open: map[string]bool{}, refusals: refusals{log: c.Log}}
	f.connections = newConnections(c.MaxConnections)
	f.bodies = httpx.NewBodies(c.MaxBody)
	f.listeners = limiter.NewShares(listenersAtOnce, time.Hour) // those that listen send nothing
	f.streams = limiter.NewShares(streamsAtOnce, stalledStream)
	f.stopping, f.endStreams = context.WithCancel(context.Background())
	f.models.follow(m)
	f.handler = httpx.Compress(f.mux)
	if f.Page != nil {
		f.page = httpx.Compress(f.Page)
	}
	f.Handle("/{$}", httpx.Methods(map[string]http.HandlerFunc{"GET": f.label, "POST": f.predict}))
	f.Handle("/predict", httpx.Post(f.predict))
	f.HandleOpenly("/healthz", httpx.Get(httpx.Alive))
	f.HandleOpenly("/readyz", httpx.Get(f.ready))
	f.Handle("/openapi.json", httpx.Get(f.describe))
	f.mux.HandleFunc("/", f.other)
	f.Describe(alwaysDescribed)
	return f
}

// Handle has requests answered by another handler, behind the front's tokens and limits.
// The pattern is http.ServeMux's. It is called before Serve, with a part of the OpenAPI document
// for Describe.
func (f *Front) Handle(pattern string, h http.Handler) {
	f.patterns = append(f.patterns, pattern)
	f.mux.Handle(pattern, h)
}

// Patterns are those that Handle was given, the front's own among them. The routes of the model's
// task are beside them. Tests compare them with the OpenAPI document.
func (f *Front) Patterns() []string { return f.patterns }

// HandleOpenly is Handle for a path that needs no token, since load balancers have none.
func (f *Front) HandleOpenly(path string, h http.Handler) {
	f.open[path] = true
	f.Handle(path, h)
}

// HandleQuietly is Handle for what is asked every few seconds: it is logged at debug.
func (f *Front) HandleQuietly(pattern string, h http.Handler) {
	f.quiet[pattern] = true
	f.Handle(pattern, h)
}

// Follow has requests that come from now on answered with another model. Those
// under way are answered with the one they began with, which is closed after them.
func (f *Front) Follow(m Model) {
	f.models.follow(m)
	f.document.forget()
}

// Close closes the model, after the requests under way.
func (f *Front) Close() {
	f.endStreams()
	f.models.follow(Model{})
}

// ServeHTTP implements http.Handler, and logs a line a request.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer use(r)()
	started := time.Now()
	rec := &recorder{StatusWriter: httpx.StatusWriter{ResponseWriter: w, Status: http.StatusOK}, id: httpx.RequestID(r)}
	w.Header()["X-Request-Id"] = []string{rec.id}
	switch {
	case strange(rec, r):
	case f.Origins.Allow(rec, r):
	case f.page != nil && wantsPage(r):
		f.page.ServeHTTP(rec, r)
	case f.Tokens == nil || f.open[r.URL.Path] || f.Tokens.Allow(r.Header["Authorization"]):
		f.handler.ServeHTTP(rec, r)
	default:
		refuse(rec, r)
	}
	f.log(r, rec, started)
}

func (f *Front) ready(w http.ResponseWriter, r *http.Request) {
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
