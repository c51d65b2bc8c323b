package rpc_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/mtls"
	"github.com/distinfer/distinfer/server/mtls/mtlstest"
	"github.com/distinfer/distinfer/server/rpc"
)

func load(t *testing.T, dir string) *mtls.Credentials {
	t.Helper()
	c, err := mtls.Load(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serve serves gRPC with the health service on a loopback address.
func serve(t *testing.T, transport credentials.TransportCredentials) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(transport))
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func dial(t *testing.T, target string, transport credentials.TransportCredentials, more ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target, append(more, grpc.WithTransportCredentials(transport), grpc.WithNoProxy())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func check(conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

func TestGRPCOverMutualTLS(t *testing.T) {
	t.Parallel()
	ca, other := mtlstest.NewCA(t, "ours"), mtlstest.NewCA(t, "another")
	server, client, stranger := load(t, ca.Folder(t, nil)), load(t, ca.Folder(t, nil)), load(t, other.Folder(t, nil))
	secure := serve(t, credentials.NewTLS(server.Server()))
	_, port, err := net.SplitHostPort(secure)
	if err != nil {
		t.Fatal(err)
	}
	open := serve(t, insecure.NewCredentials())
	nobody := func() *tls.Config {
		c := client.Client()
		c.GetClientCertificate = nil
		return c
	}

	for _, c := range []struct {
		what, target string
		transport    credentials.TransportCredentials
		says         string
	}{
		{"by address", secure, rpc.Credentials(client.Client), ""},
		{"by name", "localhost:" + port, rpc.Credentials(client.Client), ""},
		{"with a configuration that is kept", secure, credentials.NewTLS(client.Client()), ""},
		{"another authority's server", secure, rpc.Credentials(stranger.Client), "unknown authority"},
		// The reason may be lost: the client may write to the closed connection first.
		{"no certificate", secure, rpc.Credentials(nobody), "code = Unavailable"},
		{"a plaintext client", secure, insecure.NewCredentials(), "error reading server preface"},
		{"a plaintext server", open, rpc.Credentials(client.Client), "first record does not look like a TLS handshake"},
		{"what both plaintext cases differ from", open, insecure.NewCredentials(), ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			err := check(dial(t, c.target, c.transport))
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

// The name to be proved is that of the address called, which for replicas the
// resolver has to say.
func TestEachReplicaHasToProveItsOwnName(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "ours")
	client := load(t, ca.Folder(t, nil))
	address := serve(t, credentials.NewTLS(load(t, ca.Folder(t, nil)).Server()))
	through := func(name string) error {
		replicas := manual.NewBuilderWithScheme("replicas")
		replicas.InitialState(resolver.State{Endpoints: []resolver.Endpoint{{Addresses: []resolver.Address{{Addr: address, ServerName: name}}}}})
		return check(dial(t, "replicas:///other.example.org:1", rpc.Credentials(client.Client), grpc.WithResolvers(replicas)))
	}
	if err := through("127.0.0.1"); err != nil {
		t.Errorf("its name: %v", err)
	}
	if err := through("192.0.2.1"); err == nil || !strings.Contains(err.Error(), "it is called by 192.0.2.1;") {
		t.Errorf("another name: %v", err)
	}
	if err := through(""); err == nil || !strings.Contains(err.Error(), "it is called by other.example.org;") {
		t.Errorf("the target's name: %v", err)
	}
}

func TestANewAuthorityIsTakenWithoutRestartingEitherSide(t *testing.T) {
	t.Parallel()
	ca, next := mtlstest.NewCA(t, "ours"), mtlstest.NewCA(t, "next")
	serverDir, clientDir := ca.Folder(t, nil), ca.Folder(t, nil)
	server, client := load(t, serverDir), load(t, clientDir)
	address := serve(t, credentials.NewTLS(server.Server()))
	old := dial(t, address, rpc.Credentials(client.Client))
	if err := check(old); err != nil {
		t.Fatal(err)
	}

	next.Fill(t, serverDir, nil)
	next.Fill(t, clientDir, nil)
	for end := time.Now().Add(testkit.Patience); server.Identity().Authority != "CN=next" || client.Identity().Authority != "CN=next"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the new files are not read")
		}
	}
	// The open connection lives, and a client made before makes new ones.
	if got := old.GetState(); got != connectivity.Ready {
		t.Errorf("the open connection is %v", got)
	}
	if err := check(old); err != nil {
		t.Errorf("over the open connection: %v", err)
	}
	second := serve(t, credentials.NewTLS(server.Server()))
	fresh := dial(t, second, rpc.Credentials(client.Client))
	if err := check(fresh); err != nil {
		t.Errorf("over a new connection: %v", err)
	}
}

// The same client, with the same credentials, connects anew after the change.
func TestAClientThatReconnectsTrustsTheNewAuthority(t *testing.T) {
	t.Parallel()
	ca, next := mtlstest.NewCA(t, "ours"), mtlstest.NewCA(t, "next")
	clientDir := ca.Folder(t, nil)
	client := load(t, clientDir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	run := func(l net.Listener, of *mtlstest.CA) (stop func()) {
		s := grpc.NewServer(grpc.Creds(credentials.NewTLS(load(t, of.Folder(t, nil)).Server())))
		grpc_health_v1.RegisterHealthServer(s, health.NewServer())
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		return func() {
			s.Stop()
			if err := <-served; err != nil {
				t.Error(err)
			}
		}
	}
	stop := run(l, ca)
	conn := dial(t, address, rpc.Credentials(client.Client))
	if err := check(conn); err != nil {
		stop()
		t.Fatal(err)
	}
	stop()
	if l, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(run(l, next))
	next.Fill(t, clientDir, nil)
	for end := time.Now().Add(testkit.Patience); check(conn) != nil; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the client does not find the server of the next authority")
		}
	}
}
