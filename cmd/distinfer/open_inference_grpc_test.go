package main_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/oip/oippb"
)

const openInferenceService = "/inference.GRPCInferenceService/"

// dialled is a connection to a front's gRPC, over TLS if authorities are given.
func dialled(t *testing.T, address string, authorities *x509.CertPool) *grpc.ClientConn {
	t.Helper()
	secure := insecure.NewCredentials()
	if authorities != nil {
		secure = credentials.NewTLS(&tls.Config{RootCAs: authorities, ServerName: "localhost"})
	}
	c, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(secure))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// labelOverGRPC asks for the label of a text, with more metadata.
func labelOverGRPC(t *testing.T, c *grpc.ClientConn, model, text string, more ...string) (string, error) {
	t.Helper()
	ctx, end := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), more...), testkit.Patience)
	defer end()
	in := &oippb.ModelInferRequest{ModelName: model, Inputs: []*oippb.ModelInferRequest_InferInputTensor{{
		Name: "text", Datatype: "BYTES", Shape: []int64{1}, Contents: &oippb.InferTensorContents{BytesContents: [][]byte{[]byte(text)}},
	}}}
	out := &oippb.ModelInferResponse{}
	if err := c.Invoke(ctx, openInferenceService+"ModelInfer", in, out); err != nil {
		return "", err
	}
	return string(out.GetOutputs()[0].GetContents().GetBytesContents()[0]), nil
}

func TestGRPCHasTheFrontsCertificateTokensAndMetrics(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	dir := t.TempDir()
	ok(t, dir, "", "certs", "localhost")
	first, second := stageAddresses(t, bundle)
	s, url := front(t, bundle, []string{first, second}, "--grpc-port", "0", "--tokens", put(t, dir, "tokens", aToken),
		"--https-cert", filepath.Join(dir, "certs", "localhost", "cert.pem"), "--https-key", filepath.Join(dir, "certs", "localhost", "key.pem"))
	told := s.entry(t, "gRPC listening", 1)
	if told["tls"] != true || told["tokens"] != true {
		t.Errorf("the front tells %v", told)
	}
	address, ca := told["listen"].(string), filepath.Join(dir, "certs", "ca.pem")
	data, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(data)
	c := dialled(t, address, authorities)

	for token, want := range map[string]codes.Code{"": codes.Unauthenticated, "another-token-of-some-length": codes.Unauthenticated, aToken: codes.OK} {
		var more []string
		if token != "" {
			more = []string{"authorization", "Bearer " + token}
		}
		if label, err := labelOverGRPC(t, c, "seed-rnn-text", "a lovely film", more...); status.Code(err) != want || (want == codes.OK) != (label != "") {
			t.Errorf("with the token %q: %q, %v; want %s", token, label, err, want)
		}
	}
	for what, other := range map[string]*grpc.ClientConn{"without TLS": dialled(t, address, nil), "with another authority": dialled(t, address, x509.NewCertPool())} {
		if _, err := labelOverGRPC(t, other, "seed-rnn-text", "good", "authorization", "Bearer "+aToken); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v", what, err)
		}
	}

	// Load balancers have no token, over either.
	checked := &grpc_health_v1.HealthCheckResponse{}
	if err := c.Invoke(t.Context(), "/grpc.health.v1.Health/Check", &grpc_health_v1.HealthCheckRequest{}, checked); err != nil || checked.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("the health service: %v, %v", checked, err)
	}
	client := trusting(t, ca)
	for path, want := range map[string]int{"/v2/health/live": 200, "/v2/health/ready": 200, "/healthz": 200, "/v2": 401, "/v2/models/seed-rnn/ready": 401, "/v2/health/": 401} {
		if status, body := bearing(t, client, url+path, ""); status != want {
			t.Errorf("%s without a token: %d %s", path, status, body)
		}
	}

	_, told2 := bearing(t, client, url+"/metrics", aToken)
	for _, line := range []string{
		`distinfer_grpc_requests_total{code="OK",method="ModelInfer"} 1`,
		`distinfer_grpc_requests_total{code="Unauthenticated",method="ModelInfer"} 2`,
		`distinfer_grpc_request_duration_seconds_count{method="ModelInfer"} 3`,
		`distinfer_grpc_requests_in_flight 0`,
	} {
		if !strings.Contains(told2, "\n"+line+"\n") {
			t.Errorf("the metrics do not have %s", line)
		}
	}
}

func TestGRPCListensWhereTheFrontDoes(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 1)
	for listen, loopback := range map[string]bool{"127.0.0.1:0": true, "0.0.0.0:0": false} {
		s := start(t, bundle, "front", "--bundle", bundle, "--stages", "localhost:1", "--listen", listen, "--grpc-port", "0", "--insecure")
		host, _, err := net.SplitHostPort(s.entry(t, "gRPC listening", 1)["listen"].(string))
		if err != nil || net.ParseIP(host).IsLoopback() != loopback {
			t.Errorf("--listen %s: gRPC listens on %s, %v", listen, host, err)
		}
	}
}

func TestARequestOverGRPCIsOneTraceToo(t *testing.T) {
	t.Parallel()
	b := split(t, "seed-rnn", 1)
	r := newReceiver(t, "grpc", nil)
	s := r.traced(t, b, "serve-stage", "--bundle", b, "--rank", "0", "--listen", "localhost:0")
	f := r.traced(t, b, "front", "--bundle", b, "--port", "0", "--grpc-port", "0", "--stages", s.entry(t, "stage ready", 1)["listen"].(string))
	c := dialled(t, f.entry(t, "gRPC listening", 1)["listen"].(string), nil)

	const trace, client = aTrace, aClient
	if _, err := labelOverGRPC(t, c, "seed-rnn-text", "a lovely film", "traceparent", "00-"+trace+"-"+client+"-01"); err != nil {
		t.Fatal(err)
	}
	if got := f.entry(t, "gRPC request", 1)["trace_id"]; got != trace {
		t.Errorf("the log line has trace_id %v, want %s", got, trace)
	}
	const call = "distinfer.stage.v1.Stage/Run"
	parent := client
	for _, want := range []struct {
		name string
		kind spans.Span_SpanKind
	}{
		{strings.TrimPrefix(openInferenceService, "/") + "ModelInfer", spans.Span_SPAN_KIND_SERVER},
		{"batch", spans.Span_SPAN_KIND_INTERNAL},
		{call, spans.Span_SPAN_KIND_CLIENT},
		{call, spans.Span_SPAN_KIND_SERVER},
		{"compute", spans.Span_SPAN_KIND_INTERNAL},
	} {
		var found span
		testkit.Eventually(t, "there is a span "+want.name+" under "+parent, func() bool {
			for _, s := range r.all() {
				if s.GetName() == want.name && s.GetKind() == want.kind && hex.EncodeToString(s.GetParentSpanId()) == parent {
					found = s
				}
			}
			return found.Span != nil
		})
		if id := hex.EncodeToString(found.GetTraceId()); id != trace {
			t.Errorf("span %q is of trace %s", want.name, id)
		}
		parent = hex.EncodeToString(found.GetSpanId())
	}
}

func TestPairsOfTextsAreLabelledAsOverHTTP(t *testing.T) {
	t.Parallel()
	_, url := sst2Front(t)
	infer := func(shape, data string) (int, string) {
		t.Helper()
		return fetch(t, http.MethodPost, url+"/v2/models/sst2-minilm-text/infer",
			`{"inputs": [{"name": "text", "datatype": "BYTES", "shape": `+shape+`, "data": `+data+`}], "outputs": [{"name": "label"}, {"name": "score"}]}`)
	}
	var want [][]struct {
		Label string
		Score float64
	}
	post(t, url+"/predict", map[string]any{"inputs": []any{
		map[string]string{"text": "a lovely film", "text_pair": "it is good"}, map[string]string{"text": "a waste of time", "text_pair": "it is bad"},
	}}, &want)
	status, body := infer("[2, 2]", `[["a lovely film", "it is good"], ["a waste of time", "it is bad"]]`)
	var got struct {
		Outputs []struct {
			Shape []int64
			Data  []any
		}
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK || len(got.Outputs) != 2 {
		t.Fatalf("%d %s", status, body)
	}
	for i, w := range want {
		label, score := got.Outputs[0].Data[i].(string), got.Outputs[1].Data[i].(float64)
		if d := score - w[0].Score; label != w[0].Label || !(d < tolerance && d > -tolerance) {
			t.Errorf("pair %d is %s with %g, want %+v", i, label, score, w[0])
		}
	}
	for _, c := range []struct{ shape, data, says string }{
		{"[1, 3]", `["a", "b", "c"]`, "[n, 2] for pairs"},
		{"[]", `"a"`, "[n, 2] for pairs"},
		{"[0, 2]", `[]`, "no text"},
		{"[1, 2]", `["a", ""]`, "element 1"},
	} {
		if status, body := infer(c.shape, c.data); status != http.StatusBadRequest || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s", c.shape, status, body)
		}
	}
}
