package oip_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

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
		client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
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
