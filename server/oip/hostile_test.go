package oip_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/oip"
)

// overHTTP serves a model over HTTP until the test ends, and gives the address.
func overHTTP(t *testing.T, c oip.Config) string {
	t.Helper()
	f := c.Host.(*front.Front)
	s := oip.New(c)
	f.Handle("/v2", s)
	f.Handle("/v2/", s)
	for _, path := range oip.HealthPaths() {
		f.HandleOpenly(path, s)
	}
	f.Describe(oip.Description)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- f.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// Memory for a body is taken as it comes: those whose size is not known in advance, and that
// send nothing, keep out no large ones.
func TestBodiesAreBookedAsTheyCome(t *testing.T) {
	t.Parallel()
	address := overHTTP(t, config(model()))
	large := inputs(x, names) + strings.Repeat(" ", maxBody*9/10)
	for _, header := range []string{"Transfer-Encoding: chunked", "Content-Encoding: gzip\r\nContent-Length: 1000"} {
		for range 64 {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			if _, err := io.WriteString(c, "POST /v2/models/m/infer HTTP/1.1\r\nHost: localhost\r\n"+header+"\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		client := &http.Client{Timeout: testkit.Patience, Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		for began := time.Now(); time.Since(began) < 200*time.Millisecond; {
			response, err := client.Post("http://"+address+"/v2/models/m/infer", "application/json", strings.NewReader(large))
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Fatalf("%s: %d %s", header, response.StatusCode, body)
			}
		}
	}
}

// overGRPC serves a model over gRPC until the test ends, and gives the address.
func overGRPC(t *testing.T, c oip.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- oip.New(c).Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// A rawClient speaks HTTP/2 frame by frame.
type rawClient struct {
	*http2.Framer
	conn    net.Conn
	headers bytes.Buffer
	encode  *hpack.Encoder
	stream  uint32
}

func rawHTTP2(t *testing.T, address, from string) *rawClient {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &rawClient{Framer: http2.NewFramer(conn, conn), conn: conn}
	c.encode = hpack.NewEncoder(&c.headers)
	_, _ = io.WriteString(conn, http2.ClientPreface)
	_ = c.WriteSettings()
	return c
}

// begin begins a call, and sends no more than what is given of its message.
func (c *rawClient) begin(path string, data []byte) {
	c.stream += 2
	id := c.stream - 1
	c.headers.Reset()
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", path}, {":authority", "localhost"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
		_ = c.encode.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.headers.Bytes(), EndHeaders: true})
	for len(data) > 0 {
		n := min(len(data), 1<<14)
		_ = c.WriteData(id, false, data[:n])
		data = data[n:]
	}
}

// Calls whose messages do not come keep nobody out, neither by their number nor by what they
// have sent of it, from one address or from another.
func TestCallsWithoutMessagesKeepNobodyOut(t *testing.T) {
	t.Parallel()
	const health, run = "/grpc.health.v1.Health/Check", oip.InferMethod
	prefix := []byte{0, 0, 0, 0xff, 0} // of a message of 65,280 bytes
	for name, attack := range map[string]struct {
		path string
		data []byte
	}{
		"health without data":      {health, nil},
		"health with a length":     {health, prefix},
		"a run without data":       {run, nil},
		"a run with a length":      {run, prefix},
		"most of a run":            {run, append(slices.Clone(prefix), make([]byte, 60_000)...)},
		"reflection without data":  {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", nil},
		"a method that is not one": {"/x/y", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config(model())
			c.Host = front.New(front.Config{MaxBody: maxBody, MaxConnections: 12, Timeout: testkit.Patience, Log: c.Log}, front.Model{})
			address := overGRPC(t, c)
			for i := range 20 {
				raw := rawHTTP2(t, address, fmt.Sprintf("127.0.0.%d", 1+i%2))
				for range 40 {
					raw.begin(attack.path, attack.data)
					if len(attack.data) > 1000 {
						break // what may be on its way on a connection
					}
				}
			}
			for range 5 {
				conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				if _, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
					t.Errorf("health: %v", err)
				}
				if _, err := infer(ctx, conn, message()); err != nil {
					t.Errorf("a run: %v", err)
				}
				cancel()
				_ = conn.Close()
			}
		})
	}
}

// A stream on which a client goes on sending is bounded.
func TestStreamsOfMessagesAreBounded(t *testing.T) {
	t.Parallel()
	address := overGRPC(t, config(model()))
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/grpc.health.v1.Health/Watch")
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		err = stream.SendMsg(&grpc_health_v1.HealthCheckRequest{Service: strings.Repeat("x", 1000)})
	}
	if ctx.Err() != nil {
		t.Error("it takes all that is sent")
	}
}

// Strings count by what they take in memory, before that is taken.
func TestStringsAreBoundedByTheMemoryTheyTake(t *testing.T) {
	t.Parallel()
	s := oip.New(config(model()))
	for n, want := range map[int]int{maxBody / 16: http.StatusOK, maxBody/16 + 1: http.StatusRequestEntityTooLarge} {
		header := fmt.Sprintf(`{"inputs":[%s,{"name":"names","shape":[%d],"datatype":"BYTES","parameters":{"binary_data_size":%d}}]}`, x, n, 4*n)
		w := post(s, "/v2/models/m/infer", header+string(make([]byte, 4*n)), "Inference-Header-Content-Length", fmt.Sprint(len(header)))
		if w.Code != want {
			t.Errorf("%d strings: %d %.200s", n, w.Code, w.Body)
		}
	}
}
