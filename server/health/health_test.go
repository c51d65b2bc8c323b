package health_test

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/distinfer/distinfer/server/health"
)

// Both protocols tell the same of a process that starts, serves and leaves.
func TestProbesFollowTheProcess(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	s := health.Start(l, slog.New(slog.DiscardHandler))
	conn, err := grpc.NewClient("passthrough:///"+s.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	client := grpc_health_v1.NewHealthClient(conn)
	for _, step := range []struct {
		name         string
		do           func()
		start, ready bool
	}{
		{"at first", func() {}, false, false},
		{"ready before it has started", s.Ready, false, false},
		{"started", s.Started, true, true},
		{"leaving", s.Leave, true, false},
		{"ready while it leaves", s.Ready, true, false},
	} {
		step.do()
		for path, want := range map[string]bool{"/livez": true, "/healthz": true, "/startupz": step.start, "/readyz": step.ready} {
			code, body := get(t, "http://"+s.Addr().String()+path)
			if got := code == http.StatusOK; got != want || !want && code != http.StatusServiceUnavailable || len(body) > 3 {
				t.Errorf("%s: %s is %d %q, want ok %v", step.name, path, code, body, want)
			}
		}
		for service, want := range map[string]bool{"": step.ready, health.Readiness: step.ready, health.Startup: step.start, health.Liveness: true} {
			answer, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
			if got := answer.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING; err != nil || got != want {
				t.Errorf("%s: service %q is %v, want %v: %v", step.name, service, answer.GetStatus(), want, err)
			}
		}
	}
	if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "distinfer"}); status.Code(err) != codes.NotFound {
		t.Errorf("a service that there is not: %v", err)
	}
	watch, err := client.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err == nil {
		_, err = watch.Recv()
	}
	if err != nil {
		t.Errorf("a watch: %v", err)
	}
	if err := s.Close(); err != nil { // which a watch does not delay
		t.Error(err)
	}
	if c, err := net.Dial("tcp", s.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("the address still listens")
	}
}

// Nothing but the state is there.
func TestThereIsNothingElse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	s := health.Start(l, slog.New(slog.DiscardHandler))
	defer func() { _ = s.Close() }()
	for _, path := range []string{"/", "/metrics", "/debug/pprof/", "/livez/x", "/status", "/predict"} {
		if code, _ := get(t, "http://"+s.Addr().String()+path); code != http.StatusNotFound {
			t.Errorf("%s is %d", path, code)
		}
	}
	response, err := http.Post("http://"+s.Addr().String()+"/livez", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST is %s", response.Status)
	}
	conn, err := grpc.NewClient("passthrough:///"+s.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Invoke(t.Context(), "/distinfer.stage.v1.Stage/Describe", &grpc_health_v1.HealthCheckRequest{}, &grpc_health_v1.HealthCheckResponse{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("another service: %v", err)
	}
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(b)
}
