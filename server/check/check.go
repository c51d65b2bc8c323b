// Package check looks at the stages of a cluster and says what is wrong with it.
//
// Observe gathers facts: what every replica says of itself, whether it computes,
// and how fast the way from each to the next is. Judge makes a Report of the facts,
// with the problems and their remedies; it does no I/O. WriteText writes a report
// for people; as JSON its field names are stable.
//
// The package needs no bundle on disk. It must not know flags, files or terminals.
package check

import "github.com/distinfer/distinfer/runtime/bundle"

// A Contact is how far one comes in talking to a replica.
type Contact string

// The contacts.
const (
	Answers     Contact = "answers"
	Forbidden   Contact = "forbidden"     // it would be called without encryption, which is not allowed
	Unresolved  Contact = "unresolved"    // its name stands for no address
	Refused     Contact = "refused"       // nothing listens there
	Silent      Contact = "silent"        // not even the connection is answered
	Unreachable Contact = "unreachable"   // the network has no way there
	Hangs       Contact = "hangs"         // the connection is accepted, and then nothing comes
	WantsTLS    Contact = "wants TLS"     // TLS is spoken there, and not here
	NoTLS       Contact = "no TLS"        // TLS is spoken here, and not there
	Certificate Contact = "certificate"   // one side does not accept the other's certificate
	Stranger    Contact = "not a stage"   // something else listens there
	Broken      Contact = "answers error" // a stage, but it does not describe itself
)

// A State is what a replica is good for. It is "ok", or the contact with a replica
// that does not answer, or one of the others below.
type State string

// The states of a replica that answers.
const (
	OK            State = "ok"
	OtherProtocol State = "other protocol"
	WrongRank     State = "wrong rank"
	OtherBundle   State = "other bundle"
	OtherEncoding State = "other encoding" // it cannot send and read tensors as is configured
	NoModel       State = "no model"       // it serves nothing but the self-test
	Miscomputes   State = "wrong result"
	NotComputing  State = "no result"
)

// A Replica is what was observed of one.
type Replica struct {
	Rank    int     `json:"rank"` // that it should have
	Address string  `json:"address"`
	State   State   `json:"state"` // Judge's
	Contact Contact `json:"contact"`
	Error   string  `json:"error,omitempty"` // why it does not answer
	// Transport is "tls" or "plaintext", or empty when that is not known.
	Transport string  `json:"transport,omitempty"`
	Holds     *Holds  `json:"holds,omitempty"`         // what it says of itself
	RoundTrip float64 `json:"round_trip_ms,omitempty"` // median of some calls
	// SelfTest is what it computed by itself.
	SelfTest *Result `json:"self_test,omitempty"`
}

// Holds is what a stage says of itself.
type Holds struct {
	Protocol        int       `json:"protocol"`
	Distinfer       string    `json:"distinfer"`
	ONNXRuntime     string    `json:"onnxruntime"`
	Bundle          bundle.ID `json:"bundle"` // empty when it has none
	Rank            int       `json:"rank"`
	Stages          int       `json:"stages"` // of its bundle
	Model           string    `json:"model"`
	Hostname        string    `json:"hostname"`
	Threads         int       `json:"threads"`
	MemoryUsed      int64     `json:"memory_used"`      // bytes; 0 when unknown
	MemoryAvailable int64     `json:"memory_available"` // bytes; 0 when unknown
	Running         int       `json:"running"`          // runs
	Waiting         int       `json:"waiting"`
	Starved         bool      `json:"starved"` // runs wait for a stage behind it that cannot be used
	// Encodings are the encodings of tensors between stages that it and this machine know.
	Encodings []string `json:"encodings,omitempty"`
}

// A Result is what a self-test gave.
type Result struct {
	Mean  float64 `json:"mean"`
	Error string  `json:"error,omitempty"`
}

// A Place is a replica, or with rank -1 the machine that checks.
type Place struct {
	Rank    int    `json:"rank"`
	Address string `json:"address"`
}

// Here is the machine that checks.
var Here = Place{Rank: -1}

// A Link is the way from one place to a replica of the next rank.
type Link struct {
	From  Place  `json:"from"`
	To    Place  `json:"to"`
	Error string `json:"error,omitempty"` // why nothing passes
	// RoundTrip is the time of a small call, without what the stage takes for it.
	RoundTrip float64 `json:"round_trip_ms,omitempty"`
	// BytesPerSecond is 0 when it was not measured. With AtLeast it is a lower
	// bound: the time of the ballast was too short to measure.
	BytesPerSecond float64 `json:"bytes_per_second,omitempty"`
	AtLeast        bool    `json:"at_least,omitempty"`
	BallastError   string  `json:"ballast_error,omitempty"` // why it was not measured
}

// A Path is a self-test over one replica of each rank.
type Path struct {
	Addresses []string `json:"addresses"`
	Result
}

// An Observation is the facts.
type Observation struct {
	Distinfer string `json:"distinfer"` // the version that checks
	Protocol  int    `json:"protocol"`  // that it speaks
	TLS       bool   `json:"tls"`       // whether it calls stages with TLS
	Ranks     int    `json:"ranks"`
	// ExpectedBundle is the bundle that is here, if there is one.
	ExpectedBundle bundle.ID `json:"expected_bundle,omitempty"`
	// Encoding is the encoding between stages that is configured here, unless float32.
	Encoding string    `json:"encoding,omitempty"`
	Numbers  int       `json:"numbers"` // of the self-test
	Mean     float64   `json:"mean"`    // as computed here
	Replicas []Replica `json:"replicas"`
	Links    []Link    `json:"links"`
	Paths    []Path    `json:"paths"`
}

// A Report is the facts and what follows from them.
type Report struct {
	OK bool `json:"ok"` // there are no problems
	// CanServe says that every rank has a replica that can be used, and that they
	// reach each other.
	CanServe bool      `json:"can_serve"`
	Bundle   bundle.ID `json:"bundle,omitempty"` // that stages should have
	Model    string    `json:"model,omitempty"`
	Observation
	Problems []Problem `json:"problems"`
}

// A Problem is something that is wrong, and what to do about it.
type Problem struct {
	Kind   string `json:"kind"`
	Where  string `json:"where"`
	What   string `json:"what"`
	Remedy string `json:"remedy"`
}
