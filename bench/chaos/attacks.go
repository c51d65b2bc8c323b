package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The model of badTokenizer has a table, and its texts are answered beforehand in a while.
const (
	badTokenModel = "models/sst2-minilm/model.onnx"
	badTokenTexts = 1000
)

// badToken is a text that the tokenizer of badTokenizer gives an id for which the model has
// no row in its table.
const badToken = "qqbadqq"

// writeBadTokenizer writes a copy of a model whose tokenizer knows badToken.
func writeBadTokenizer(model, dir string) (file string, err error) {
	from := filepath.Dir(model)
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "tokenizer.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var t map[string]json.RawMessage
	if err := json.Unmarshal(data, &t); err != nil {
		return "", err
	}
	t["added_tokens"] = json.RawMessage(`[{"id": 1000000, "content": "` + badToken + `", "special": false, "normalized": false, "single_word": false, "lstrip": false, "rstrip": false}]`)
	if data, err = json.Marshal(t); err != nil {
		return "", err
	}
	return filepath.Join(dir, filepath.Base(model)), os.WriteFile(path, data, 0o600)
}

// badTexts are computed, if at all, in one batch with those of bystanders.
func badTexts(ctx context.Context, a *adversary, client, time int) error {
	bad := fmt.Sprintf("a film %d of %s", time, badToken)
	inputs := any(bad)
	if time%4 == 3 {
		list := []string{bad}
		for i := range 15 {
			list = append(list, fmt.Sprintf("film %d", i))
		}
		inputs = list
	}
	body, err := json.Marshal(map[string]any{"inputs": inputs})
	if err != nil {
		return err
	}
	return a.post(ctx, "a text with an id out of the table", a.url(client+time)+"/predict", nil, bytes.NewReader(body), refused)
}

// freshPoisons is how many different ones each front is sent, of which a stage survives
// eight.
const freshPoisons = 3

// poison ends processes that do not know better: one input all the time, and now and then
// another one.
func poison(ctx context.Context, a *adversary, client, time int) error {
	variant := int64(0)
	if client == 0 && time%40 == 0 && time/40 < freshPoisons {
		variant = int64(1 + time/40)
	}
	body, err := quotientBody([]int64{variant, math.MinInt64}, []int64{1, -1})
	if err != nil {
		return err
	}
	return a.post(ctx, "an input that has the processor trap", a.url(time/40+client)+quotientPath, nil, bytes.NewReader(body), func(status int) bool {
		return status == http.StatusInternalServerError || status == http.StatusUnprocessableEntity || status == http.StatusTooManyRequests
	})
}

// largeShapes are of tensors that compress to next to nothing.
var largeShapes = [][2]int{{128, 512}, {512, 50}, {1, 65536}, {4096, 16}, {16384, 50}, {2, 1 << 20}}

// shapes sends tensors of a large shape to the text model.
func shapes(ctx context.Context, a *adversary, client, time int) error {
	url := a.url(client + time)
	m, err := a.metadata(ctx, url)
	if err != nil {
		return err
	}
	shape := largeShapes[time%len(largeShapes)]
	body, err := a.body(fmt.Sprint(shape), func(zip io.Writer) {
		_, _ = io.WriteString(zip, `{"inputs":[`)
		for i, in := range m.Inputs {
			if i > 0 {
				_, _ = io.WriteString(zip, ",")
			}
			dims, n := make([]string, len(in.Shape)), 1
			for k := range dims {
				d := shape[min(k, 1)]
				n *= d
				dims[k] = strconv.Itoa(d)
			}
			fmt.Fprintf(zip, `{"name":%q,"datatype":%q,"shape":[%s],"data":[%s1]}`, in.Name, in.Datatype, strings.Join(dims, ","), strings.Repeat("1,", n-1))
		}
		_, _ = io.WriteString(zip, "]}")
	})
	if err != nil {
		return err
	}
	what := fmt.Sprintf("tensors of %d × %d, %d bytes compressed", shape[0], shape[1], len(body))
	return a.post(ctx, what, url+"/v2/models/"+m.Name+"/infer", map[string]string{"Content-Encoding": "gzip"}, bytes.NewReader(body), refusedOrAnswered)
}

type metadata struct {
	Name   string
	Inputs []struct {
		Name, Datatype string
		Shape          []int
	}
}

// metadata asks for the model whose tensors a front takes.
func (a *adversary) metadata(ctx context.Context, url string) (m metadata, err error) {
	var status struct{ Model struct{ Name string } }
	if err = a.get(ctx, url+"/status", &status); err == nil {
		err = a.get(ctx, url+"/v2/models/"+status.Model.Name, &m)
	}
	return m, err
}

func (a *adversary) get(ctx context.Context, url string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(into)
}

// Of halfSent: how many connections each client holds, and for how long.
const (
	heldConnections = 400
	heldFor         = 4 * time.Second
)

// halves are the beginnings of requests whose rest never comes, or comes slowly.
var halves = []string{
	"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\n\r\n{\"inputs\": \"",
	"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
	"POST /v2/models/x/infer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\"a\r\n",
	"POST /predict HTTP/1.1\r\nHost: localhost\r\nX-",
}

// halfSent holds connections with half a request each, to which a byte comes now and then.
func halfSent(ctx context.Context, a *adversary, client, turn int) error {
	address := strings.TrimPrefix(a.url(client), "http://")
	var held []net.Conn
	defer func() {
		for _, c := range held {
			_ = c.Close()
		}
	}()
	for i := range heldConnections {
		c, err := a.dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			a.in.answered("a connection for half a request refused", 0)
			sleep(ctx, 10*time.Millisecond)
			continue
		}
		held = append(held, c)
		_, _ = io.WriteString(c, halves[(i+turn)%len(halves)])
	}
	a.in.answered("connections with half a request held", len(held))
	for until := time.Now().Add(heldFor); time.Now().Before(until) && sleep(ctx, 500*time.Millisecond); {
		for _, c := range held {
			_ = c.SetWriteDeadline(time.Now().Add(time.Millisecond))
			_, _ = io.WriteString(c, "a")
		}
	}
	return nil
}

// blankLines is a stream of lines with nothing on them, of which 64 MB are compressed to
// nothing. Its sender leaves before it is answered every other time.
func blankLines(ctx context.Context, a *adversary, client, turn int) error {
	body, err := a.body("blank lines", func(zip io.Writer) {
		blank := bytes.Repeat([]byte("\n"), 1<<20)
		for range 64 {
			_, _ = zip.Write(blank)
		}
	})
	if err != nil {
		return err
	}
	if turn%2 == 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
	}
	return a.post(ctx, "a stream of blank lines", a.url(client+turn)+"/predict", map[string]string{"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}, bytes.NewReader(body), refusedOrAnswered)
}

// idleHeaders opens calls of gRPC and sends no message. Meanwhile others ask whether the
// server is well, which has to be answered.
func idleHeaders(ctx context.Context, a *adversary, client, turn int) error {
	address := a.in.cluster.GRPC[client%len(a.in.cluster.GRPC)]
	c, err := a.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return nil
	}
	framer := http2.NewFramer(c, c)
	if err := framer.WriteSettings(); err != nil {
		return nil
	}
	var block bytes.Buffer
	fields := hpack.NewEncoder(&block)
	for i := range 32 {
		block.Reset()
		for _, f := range []hpack.HeaderField{
			{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: address},
			{Name: ":path", Value: []string{"/grpc.health.v1.Health/Check", "/inference.GRPCInferenceService/ModelInfer"}[(i+turn)%2]},
			{Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
		} {
			if err := fields.WriteField(f); err != nil {
				return err
			}
		}
		if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: block.Bytes(), EndHeaders: true}); err != nil {
			break // the server's right
		}
	}
	a.in.answered("connections with 32 calls without a message", 0)
	go func() { _, _ = io.Copy(io.Discard, c) }()
	sleep(ctx, 3*time.Second)
	return nil
}

// patience is how long who asks by gRPC waits.
const patience = 2 * time.Second

// askGRPC asks the fronts by gRPC all the time whether they are well, as a bystander of
// idleHeaders, and counts who is not answered as trouble.
func askGRPC(ctx context.Context, in *injector) error {
	var connections []*grpc.ClientConn
	for _, address := range in.cluster.GRPC {
		c, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		connections = append(connections, c)
	}
	var slowest time.Duration
	for k := 0; ctx.Err() == nil; k++ {
		began := time.Now()
		within, cancel := context.WithTimeout(ctx, patience)
		_, err := grpc_health_v1.NewHealthClient(connections[k%len(connections)]).Check(within, &grpc_health_v1.HealthCheckRequest{})
		if err == nil {
			// Its request has no field, and its answer one, a bool.
			err = connections[k%len(connections)].Invoke(within, "/inference.GRPCInferenceService/ServerLive", &emptypb.Empty{}, &wrapperspb.BoolValue{})
		}
		cancel()
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			in.cluster.Trouble("a bystander by gRPC was not answered: " + err.Error())
		}
		slowest = max(slowest, time.Since(began))
		in.answered("a bystander by gRPC answered", 0)
		sleep(ctx, 20*time.Millisecond)
	}
	in.answered(fmt.Sprintf("the slowest of two calls by gRPC took %d ms", slowest.Milliseconds()), 0)
	return nil
}
