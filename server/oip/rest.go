package oip

import (
	"context"
	_ "embed" // the description
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/distinfer/distinfer/server/httpx"
)

// Description is the part of an OpenAPI document for what a Server answers over HTTP.
//
//go:embed openapi.json
var Description []byte

const (
	livePath  = "/v2/health/live"
	readyPath = "/v2/health/ready"
)

// HealthPaths are for load balancers, which have no token.
func HealthPaths() []string { return []string{livePath, readyPath} }

// ServeHTTP implements http.Handler, for /v2 and everything below it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Patterns are the routes, as patterns of http.ServeMux. Tests compare them with Description.
func (s *Server) Patterns() []string { return slices.Collect(maps.Keys(s.routes())) }

// routes are the handlers by pattern.
func (s *Server) routes() map[string]http.HandlerFunc {
	all := map[string]http.HandlerFunc{
		"/v2":     httpx.Get(s.serverMetadata),
		livePath:  httpx.Get(s.serverLive),
		readyPath: httpx.Get(s.serverReady),
	}
	for _, model := range []string{"/v2/models/{model}", "/v2/models/{model}/versions/{version}"} {
		all[model] = httpx.Get(s.ofModel(s.modelMetadata))
		all[model+"/ready"] = httpx.Get(s.ofModel(s.modelReady))
		all[model+"/infer"] = httpx.Post(s.infer)
	}
	return all
}

func nothing(w http.ResponseWriter, r *http.Request) {
	httpx.NotFound(w, r, "of the Open Inference Protocol there are health, metadata and infer")
}

func (s *Server) serverLive(w http.ResponseWriter, _ *http.Request) {
	httpx.WriteJSON(w, http.StatusOK, map[string]bool{"live": true})
}

func (s *Server) serverMetadata(w http.ResponseWriter, _ *http.Request) {
	httpx.WriteJSON(w, http.StatusOK, map[string]any{"name": serverName, "version": s.config.Version, "extensions": extensions})
}

// A readiness is also an error document when it is not ready.
type readiness struct {
	Name  string `json:"name,omitempty"`
	Ready bool   `json:"ready"`
	Error string `json:"error,omitempty"`
}

func (s *Server) serverReady(w http.ResponseWriter, r *http.Request) {
	m, done := s.config.Use()
	defer done()
	s.ready(w, r, m, "")
}

// ofModel serves what a path says of a model.
func (s *Server) ofModel(serve func(http.ResponseWriter, *http.Request, Model, *entry)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m, done := s.config.Use()
		defer done()
		e, err := s.entry(m, r.PathValue("model"), r.PathValue("version"))
		if err != nil {
			httpx.Fail(w, err)
			return
		}
		serve(w, r, m, e)
	}
}

func (s *Server) modelReady(w http.ResponseWriter, r *http.Request, m Model, e *entry) {
	s.ready(w, r, m, e.name)
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request, m Model, name string) {
	if err := isReady(r.Context(), m); err != nil {
		err := &httpx.Error{Status: http.StatusServiceUnavailable, Message: err.Error()}
		httpx.WriteJSON(w, httpx.PrepareError(w, err), readiness{name, false, err.Error()})
		return
	}
	httpx.WriteJSON(w, http.StatusOK, readiness{name, true, ""})
}

func isReady(ctx context.Context, m Model) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	return m.Ready(ctx)
}

func (s *Server) modelMetadata(w http.ResponseWriter, _ *http.Request, _ Model, e *entry) {
	d, err := e.describe()
	if err != nil {
		httpx.Fail(w, err)
		return
	}
	httpx.WriteJSON(w, http.StatusOK, d)
}

func (s *Server) infer(w http.ResponseWriter, r *http.Request) {
	header, tail, err := s.inferred(w, r)
	if err != nil {
		httpx.Fail(w, err)
		return
	}
	kind := httpx.TypeJSON
	if len(tail) > 0 {
		kind = httpx.TypeBinary
		w.Header()[headerLength] = []string{strconv.Itoa(len(header))}
	}
	httpx.Write(w, http.StatusOK, kind, slices.Insert(tail, 0, header)...)
}

// inferred returns the answer to a request: JSON, and binary data.
func (s *Server) inferred(w http.ResponseWriter, r *http.Request) (header []byte, tail [][]byte, err error) {
	m, done := s.config.Use()
	defer done()
	e, err := s.entry(m, r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return nil, nil, err
	}
	allowed, err := s.config.Host.TimeAllowed(w, r)
	if err != nil {
		return nil, nil, err
	}
	q, err := s.readRequest(w, r, e, allowed)
	if err != nil {
		return nil, nil, err
	}
	answer, truncated, err := e.run(r.Context(), q.allowed, q.inputs, q.outputs)
	if err != nil {
		return nil, nil, err
	}
	return q.encode(e, answer, truncated)
}
