package check

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files again")

const (
	bundleA = "aaaaaaaaaaaa1111111111111111111111111111111111111111111111111111"
	bundleB = "bbbbbbbbbbbb2222222222222222222222222222222222222222222222222222"
)

// healthy is a cluster of two replicas of each of two ranks.
func healthy() Observation {
	o := Observation{Distinfer: "v1.0.0", Protocol: 1, Ranks: 2, Numbers: 100, Mean: 0.5}
	machine := func(rank int, address, host string) {
		o.Replicas = append(o.Replicas, Replica{
			Rank: rank, Address: address, Contact: Answers, Transport: plaintext, RoundTrip: 0.4, SelfTest: &Result{Mean: 0.5000001},
			Holds: &Holds{
				Protocol: 1, Distinfer: "v1.0.0", ONNXRuntime: "1.24.1", Bundle: bundleA, Rank: rank, Stages: 2, Model: "sentiment",
				Hostname: host, Threads: 4, MemoryUsed: 80e6, MemoryAvailable: 2e9,
			},
		})
	}
	machine(0, "10.0.0.1:2222", "one")
	machine(0, "10.0.0.2:2222", "two")
	machine(1, "10.0.0.3:2222", "three")
	machine(1, "10.0.0.4:2222", "four")
	places := []Place{{0, "10.0.0.1:2222"}, {0, "10.0.0.2:2222"}, {1, "10.0.0.3:2222"}, {1, "10.0.0.4:2222"}}
	o.Links = []Link{
		{From: Here, To: places[0], RoundTrip: 0.3, BytesPerSecond: 117e6},
		{From: Here, To: places[1], RoundTrip: 0.3, BytesPerSecond: 8e9, AtLeast: true},
		{From: places[0], To: places[2], RoundTrip: 0.5, BytesPerSecond: 117e6},
		{From: places[0], To: places[3]},
		{From: places[1], To: places[2]},
		{From: places[1], To: places[3], RoundTrip: 0.6, BytesPerSecond: 11.5e6},
	}
	o.Paths = []Path{
		{[]string{"10.0.0.1:2222", "10.0.0.3:2222"}, Result{Mean: 0.5000001}},
		{[]string{"10.0.0.2:2222", "10.0.0.4:2222"}, Result{Mean: 0.5}},
	}
	return o
}

// silence makes a replica one that does not answer, with its links and paths.
func (o *Observation) silence(i int, c Contact, why string) {
	r := &o.Replicas[i]
	*r = Replica{Rank: r.Rank, Address: r.Address, Contact: c, Error: why}
	o.detach(i)
}

// detach takes a replica out of links and paths.
func (o *Observation) detach(i int) {
	p := Place{o.Replicas[i].Rank, o.Replicas[i].Address}
	o.Links = slices.DeleteFunc(o.Links, func(l Link) bool { return l.From == p || l.To == p })
	o.Paths = slices.DeleteFunc(o.Paths, func(q Path) bool { return slices.Contains(q.Addresses, p.Address) })
}

func (o *Observation) all(change func(*Replica)) {
	for i := range o.Replicas {
		change(&o.Replicas[i])
	}
}

// cases are what may be wrong, each with the kinds of its problems and whether the
// model can be served.
var cases = []struct {
	name   string
	change func(*Observation)
	kinds  []string
	serves bool
}{
	{"healthy", func(*Observation) {}, nil, true},
	{"healthy-tls-and-bundle-here", func(o *Observation) {
		o.TLS, o.ExpectedBundle = true, bundleA
		o.all(func(r *Replica) { r.Transport = encrypted })
	}, nil, true},
	{"no-model-anywhere", func(o *Observation) {
		o.all(func(r *Replica) { r.Holds.Bundle, r.Holds.Model, r.Holds.Stages = "", "", 0 })
	}, nil, false},
	{"no-model-on-one", func(o *Observation) {
		h := o.Replicas[3].Holds
		h.Bundle, h.Model, h.Stages = "", "", 0
	}, []string{"no model"}, true},
	{"refused", func(o *Observation) { o.silence(3, Refused, "connection refused") }, []string{"refused"}, true},
	{"a-rank-refused", func(o *Observation) {
		o.silence(2, Refused, "connection refused")
		o.silence(3, Refused, "connection refused")
	}, []string{"refused", "refused"}, false},
	{"silent", func(o *Observation) { o.silence(0, Silent, "i/o timeout") }, []string{"silent"}, true},
	{"unresolved", func(o *Observation) { o.silence(0, Unresolved, "lookup minipc: no such host") }, []string{"unresolved"}, true},
	{"unreachable", func(o *Observation) { o.silence(0, Unreachable, "no route to host") }, []string{"unreachable"}, true},
	{"forbidden", func(o *Observation) { o.silence(0, Forbidden, "it would not be encrypted: allow it with --insecure") }, []string{"forbidden"}, true},
	{"hangs", func(o *Observation) { o.silence(0, Hangs, "no answer") }, []string{"hangs"}, true},
	{"wants-tls", func(o *Observation) { o.silence(0, WantsTLS, "connection closed") }, []string{"wants TLS"}, true},
	{"no-tls", func(o *Observation) { o.silence(0, NoTLS, "first record does not look like a TLS handshake") }, []string{"no TLS"}, true},
	{"certificate", func(o *Observation) { o.silence(0, Certificate, "x509: certificate has expired") }, []string{"certificate"}, true},
	{"not-a-stage", func(o *Observation) { o.silence(0, Stranger, "it looked like an HTTP/1.1 header") }, []string{"not a stage"}, true},
	{"broken", func(o *Observation) { o.silence(0, Broken, "out of order") }, []string{"answers error"}, true},
	{"other-protocol", func(o *Observation) {
		o.Replicas[0].Holds.Protocol, o.Replicas[0].Holds.Distinfer, o.Replicas[0].SelfTest = 2, "v2.0.0", nil
		o.detach(0)
	}, []string{"other protocol"}, true},
	{"rank-order", func(o *Observation) {
		o.all(func(r *Replica) { r.Holds.Rank, r.SelfTest = 1-r.Rank, nil })
		o.Links, o.Paths = nil, nil
	}, []string{"wrong rank"}, false},
	{"rank-order-of-one", func(o *Observation) {
		o.Replicas[1].Holds.Rank, o.Replicas[1].SelfTest = 1, nil
		o.silence(0, Refused, "connection refused")
		o.detach(1)
	}, []string{"refused", "wrong rank"}, false},
	{"other-bundle", func(o *Observation) { o.Replicas[2].Holds.Bundle = bundleB }, []string{"other bundle"}, true},
	{"other-bundle-than-here", func(o *Observation) {
		o.ExpectedBundle = bundleB
		o.Replicas[2].Holds.Bundle = bundleB
	}, []string{"other bundle", "other bundle", "other bundle"}, false},
	{"all-other-than-here", func(o *Observation) { o.ExpectedBundle = bundleB }, []string{"other bundle here"}, false},
	{"mixed-bundles", func(o *Observation) {
		o.Replicas[2].Holds.Bundle, o.Replicas[3].Holds.Bundle = bundleB, bundleB
	}, []string{"mixed bundles"}, false},
	{"other-encoding", func(o *Observation) {
		o.Encoding = "float16"
		o.all(func(r *Replica) { r.Holds.Encodings = []string{"float32", "float16", "int8"} })
		o.Replicas[2].Holds.Encodings = nil
	}, []string{"other encoding"}, true},
	{"number-of-stages", func(o *Observation) { o.all(func(r *Replica) { r.Holds.Stages = 3 }) },
		[]string{"number of stages", "number of stages", "number of stages", "number of stages"}, false},
	{"versions", func(o *Observation) {
		o.Replicas[0].Holds.Distinfer = "v0.9.0"
		o.Replicas[1].Holds.ONNXRuntime = "1.32.0"
	}, []string{"distinfer versions", "onnxruntime versions"}, true},
	{"memory", func(o *Observation) { o.Replicas[1].Holds.MemoryAvailable = 20e6 }, []string{"memory"}, true},
	{"memory-unknown", func(o *Observation) {
		o.Replicas[1].Holds.MemoryUsed, o.Replicas[1].Holds.MemoryAvailable = 0, 0
	}, nil, true},
	{"starved", func(o *Observation) { o.Replicas[0].Holds.Starved, o.Replicas[0].Holds.Waiting = true, 3 }, []string{"starved"}, true},
	{"link", func(o *Observation) {
		o.Replicas[0].Holds.Starved = true // as its link says
		o.Links[2] = Link{From: o.Links[2].From, To: o.Links[2].To, Error: "stage 1 at 10.0.0.3:2222 is unreachable: dial tcp 10.0.0.3:2222: i/o timeout"}
	}, []string{"link"}, true},
	{"link-of-its-own-stages", func(o *Observation) {
		o.Links[2] = Link{From: o.Links[2].From, To: o.Links[2].To, Error: "stage 1 at 10.0.0.9:2222 is unreachable: connection refused"}
	}, []string{"link"}, true},
	{"link-of-its-own-stages-to-all", func(o *Observation) {
		for i := range o.Links[2:4] {
			o.Links[2+i].Error = "stage 1 at 10.0.0.9:2222 is unreachable: connection refused"
		}
	}, []string{"link"}, true},
	{"link-to-localhost", func(o *Observation) {
		o.Replicas[2].Address, o.Links[2].To.Address = "localhost:2223", "localhost:2223"
		o.Links[2].Error = "stage 1 at localhost:2223 is unreachable: connection refused"
		o.Links[4].To.Address = "localhost:2223"
	}, []string{"link"}, true},
	{"link-certificate", func(o *Observation) {
		o.Links[2].Error = "stage 1 at 10.0.0.3:2222 is unreachable: authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority"
	}, []string{"link"}, true},
	{"no-link", func(o *Observation) {
		for i := range o.Links[2:] {
			l := &o.Links[2+i]
			*l = Link{From: l.From, To: l.To, Error: "stage 1 at " + l.To.Address + " is unreachable: no route to host"}
		}
		o.Paths = nil
	}, []string{"link", "link", "link", "link"}, false},
	{"link-from-here", func(o *Observation) { o.Links[0].Error = "no answer in 5s" }, []string{"link"}, true},
	{"bandwidth", func(o *Observation) {
		o.Links[2].BytesPerSecond, o.Links[2].BallastError = 0, "no answer in 5s"
	}, []string{"bandwidth"}, true},
	{"wrong-result", func(o *Observation) {
		o.Replicas[0].SelfTest.Mean, o.Paths[0].Mean = 0.25, 0.25
	}, []string{"wrong result", "self-test"}, true},
	{"no-result", func(o *Observation) {
		o.Replicas[0].SelfTest = &Result{Error: "stage 0 has no self-test"}
		o.detach(0)
	}, []string{"no result"}, true},
	{"path", func(o *Observation) { o.Paths[1].Error = "no answer in 5s" }, []string{"self-test"}, true},
}

func TestReports(t *testing.T) {
	t.Parallel()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := healthy()
			c.change(&o)
			before, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			r := Judge(o)
			var kinds []string
			for _, p := range r.Problems {
				kinds = append(kinds, p.Kind)
				if p.Where == "" || p.What == "" || p.Remedy == "" {
					t.Errorf("%+v", p)
				}
			}
			if !slices.Equal(kinds, c.kinds) || r.CanServe != c.serves || r.OK != (len(c.kinds) == 0) {
				t.Errorf("problems %q, serves %v, ok %v; want %q, %v", kinds, r.CanServe, r.OK, c.kinds, c.serves)
			}
			if after, err := json.Marshal(o); err != nil || string(after) != string(before) {
				t.Errorf("the observation has changed: %v", err)
			}
			var b strings.Builder
			if err := WriteText(&b, r); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", c.name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if b.String() != string(want) {
				t.Errorf("got\n%s\nwant\n%s", &b, want)
			}
		})
	}
}

// The names of the fields are relied upon.
func TestJSONHasItsNames(t *testing.T) {
	t.Parallel()
	o := healthy()
	o.ExpectedBundle = bundleA
	o.silence(3, Refused, "connection refused")
	o.Links[1].BallastError = "no answer in 5s"
	data, err := json.MarshalIndent(Judge(o), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "report.json")
	if *update {
		if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(data)+"\n" != string(want) {
		t.Errorf("got\n%s", data)
	}
}
