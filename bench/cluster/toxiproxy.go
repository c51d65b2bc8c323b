package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// A Toxiproxy is the HTTP interface of a toxiproxy server: as much of it as is
// needed here. (Its own client would bring the server's dependencies with it.)
type Toxiproxy struct{ Address string }

// Streams are both directions of a link.
var Streams = []string{"upstream", "downstream"}

// A Toxic is what a proxy does to the bytes of one direction.
type Toxic struct {
	Name       string         `json:"name,omitempty"`
	Type       string         `json:"type,omitempty"`
	Stream     string         `json:"stream,omitempty"`
	Toxicity   float64        `json:"toxicity"` // share of connections; 0 is none
	Attributes map[string]int `json:"attributes"`
}

// Command starts the server.
func (t Toxiproxy) Command(binary string) []string {
	host, port, _ := strings.Cut(t.Address, ":")
	return []string{binary, "-host", host, "-port", port}
}

// Answers fails while the server does not.
func (t Toxiproxy) Answers(ctx context.Context) error {
	return t.call(ctx, http.MethodGet, "/version", nil)
}

// AddProxy makes a proxy that passes on what it hears to upstream.
func (t Toxiproxy) AddProxy(ctx context.Context, name, listen, upstream string) error {
	return t.call(ctx, http.MethodPost, "/proxies", map[string]any{"name": name, "listen": listen, "upstream": upstream, "enabled": true})
}

// AddToxic adds a toxic to a proxy.
func (t Toxiproxy) AddToxic(ctx context.Context, proxy string, x Toxic) error {
	return t.call(ctx, http.MethodPost, "/proxies/"+proxy+"/toxics", x)
}

// Bandwidth bounds what goes in one direction, in Mbit/s.
func Bandwidth(stream string, mbit int) Toxic {
	return Toxic{Name: "bandwidth_" + stream, Type: "bandwidth", Stream: stream, Toxicity: 1, Attributes: map[string]int{"rate": mbit * 1000 / 8}} // kB/s
}

// Latency delays what goes in one direction, by whole milliseconds.
func Latency(stream string, d time.Duration) Toxic {
	return Toxic{Name: "latency_" + stream, Type: "latency", Stream: stream, Toxicity: 1, Attributes: map[string]int{"latency": int(d.Milliseconds())}}
}

// SetToxicity changes the share of connections that a toxic is for.
func (t Toxiproxy) SetToxicity(ctx context.Context, proxy, name string, toxicity float64) error {
	return t.call(ctx, http.MethodPost, "/proxies/"+proxy+"/toxics/"+name, Toxic{Toxicity: toxicity, Attributes: map[string]int{}})
}

// RemoveToxic takes a toxic off.
func (t Toxiproxy) RemoveToxic(ctx context.Context, proxy, name string) error {
	return t.call(ctx, http.MethodDelete, "/proxies/"+proxy+"/toxics/"+name, nil)
}

func (t Toxiproxy) call(ctx context.Context, method, path string, body any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+t.Address+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("toxiproxy: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("toxiproxy: %s %s: %w", method, path, err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("toxiproxy: %s %s: %s: %s", method, path, response.Status, bytes.TrimSpace(answer))
	}
	return nil
}
