// Package health answers probes: whether a process lives, has started and is ready for requests,
// over HTTP and by the gRPC health protocol, on one listener of its own. It shows nothing else, so
// that it may be reached by anybody, without TLS.
package health

import (
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/distinfer/distinfer/server/httpx"
)

// The services of the gRPC health protocol. The one without a name is Readiness.
const (
	Liveness  = "liveness"
	Startup   = "startup"
	Readiness = "readiness"
)

// A Server answers probes. A process begins alive, neither started nor ready.
type Server struct {
	http            *http.Server
	grpc            *grpc.Server
	state           *health.Server
	startup, ready  atomic.Bool
	leaving         atomic.Bool
	address         net.Addr
	serving, closed chan struct{}
}

// Limits of a probe. A prober waits for seconds at most.
const (
	probeTime   = 10 * time.Second
	idleTime    = time.Minute
	maxHeader   = 8 << 10
	maxReceived = 4 << 10 // bytes of a gRPC message
)

// Start answers probes on the listener, until Close.
func Start(l net.Listener, log *slog.Logger) *Server {
	s := &Server{state: health.NewServer(), address: l.Addr(), serving: make(chan struct{}), closed: make(chan struct{})}
	s.state.SetServingStatus(Liveness, grpc_health_v1.HealthCheckResponse_SERVING)
	s.tell()
	s.grpc = grpc.NewServer(grpc.MaxRecvMsgSize(maxReceived))
	grpc_health_v1.RegisterHealthServer(s.grpc, s.state)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.http = &http.Server{
		Handler:           s.handler(),
		Protocols:         &protocols,
		ReadHeaderTimeout: probeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(s.serving)
		if err := s.http.Serve(l); err != nil && !s.isClosed() {
			log.Error("probes are no longer answered", "listen", l.Addr().String(), "error", err)
		}
	}()
	return s
}

func (s *Server) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// Addr is where probes are answered.
func (s *Server) Addr() net.Addr { return s.address }

// Started says that the process has loaded what it serves, and listens.
func (s *Server) Started() {
	s.startup.Store(true)
	s.tell()
}

// Ready says that requests can be answered from now on. Stays so until Leave.
func (s *Server) Ready() {
	s.ready.Store(true)
	s.tell()
}

// Leave says that the process is about to end, and is to receive no new requests. It stays so.
func (s *Server) Leave() {
	s.leaving.Store(true)
	s.tell()
}

func (s *Server) isReady() bool { return s.startup.Load() && s.ready.Load() && !s.leaving.Load() }

// tell has the gRPC health service tell the state.
func (s *Server) tell() {
	for service, is := range map[string]bool{Startup: s.startup.Load(), Readiness: s.isReady(), "": s.isReady()} {
		status := grpc_health_v1.HealthCheckResponse_NOT_SERVING
		if is {
			status = grpc_health_v1.HealthCheckResponse_SERVING
		}
		s.state.SetServingStatus(service, status)
	}
}

// Close ends the answers to probes, and closes the listener.
func (s *Server) Close() error {
	close(s.closed)
	err := s.http.Close()
	s.grpc.Stop()
	<-s.serving
	return err
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	always := func() bool { return true }
	for path, is := range map[string]func() bool{"/livez": always, "/healthz": always, "/startupz": s.startup.Load, "/readyz": s.isReady} {
		mux.Handle(path, httpx.Get(func(w http.ResponseWriter, r *http.Request) {
			if is() {
				httpx.Alive(w, r)
				return
			}
			httpx.WritePlain(w, http.StatusServiceUnavailable, "no")
		}))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		httpx.NotFound(w, r, "there are /livez (or /healthz), /startupz and /readyz, and the gRPC health protocol")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			s.grpc.ServeHTTP(w, r)
			return
		}
		// A probe has no body to wait for.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(probeTime))
		mux.ServeHTTP(w, r)
	})
}
