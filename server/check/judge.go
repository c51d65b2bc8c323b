package check

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/server/stage"
)

// The kinds of problems besides the states of replicas.
const (
	kindStages    = "number of stages"
	kindMixed     = "mixed bundles"
	kindLocal     = "other bundle here"
	kindVersions  = "distinfer versions"
	kindRuntimes  = "onnxruntime versions"
	kindMemory    = "memory"
	kindStarved   = "starved"
	kindLink      = "link"
	kindBandwidth = "bandwidth"
	kindPath      = "self-test"
)

// tolerance is how far a mean may be from the one computed here, as a share of it:
// stages add up in another order.
const tolerance = 1e-5

// leastMemory is what a stage should have left, in bytes: runs need some for their
// tensors.
const leastMemory = 64 << 20

// A judge finds the problems of an observation.
type judge struct {
	r *Report
}

// Judge says what follows from the facts.
func Judge(o Observation) Report {
	r := Report{Observation: o, Problems: []Problem{}}
	r.Replicas = slices.Clone(o.Replicas)
	j := judge{&r}
	r.Bundle = j.bundle()
	for i := range r.Replicas {
		p := &r.Replicas[i]
		p.State = j.state(p)
		if p.State == OK && r.Model == "" {
			r.Model = p.Holds.Model
		}
	}
	j.replicas()
	j.order()
	j.bundles()
	j.versions()
	j.links()
	j.paths()
	r.OK = len(r.Problems) == 0
	r.CanServe = j.canServe()
	return r
}

func (j judge) add(kind, where, remedy, what string, args ...any) {
	j.r.Problems = append(j.r.Problems, Problem{Kind: kind, Where: where, What: fmt.Sprintf(what, args...), Remedy: remedy})
}

// name is how problems call a replica.
func name(rank int, address string) string { return fmt.Sprintf("rank %d at %s", rank, address) }

func (p Place) String() string {
	if p == Here {
		return "this machine"
	}
	return name(p.Rank, p.Address)
}

// answering are the replicas that say what they hold, in a language that is
// understood.
func (j judge) answering() (list []Replica) {
	for _, p := range j.r.Replicas {
		if p.Holds != nil && p.Holds.Protocol == j.r.Protocol {
			list = append(list, p)
		}
	}
	return list
}

// holders are who holds what, in the order of the replicas.
func (j judge) holders(what func(*Holds) string) map[string][]string {
	holders := map[string][]string{}
	for _, p := range j.answering() {
		if w := what(p.Holds); w != "" {
			holders[w] = append(holders[w], name(p.Rank, p.Address))
		}
	}
	return holders
}

func bundleOf(h *Holds) string { return string(h.Bundle) }

// bundle is the one that the stages should have: the one that is here, or else the
// one that most of them have. It is empty when there is none or no majority.
func (j judge) bundle() bundle.ID {
	if j.r.ExpectedBundle != "" {
		return j.r.ExpectedBundle
	}
	best, tie := "", false
	holders := j.holders(bundleOf)
	for id, list := range holders {
		switch n := len(list) - len(holders[best]); {
		case n > 0:
			best, tie = id, false
		case n == 0:
			tie = true
		}
	}
	if tie {
		return ""
	}
	return bundle.ID(best)
}

func (j judge) state(p *Replica) State {
	h := p.Holds
	switch {
	case p.Contact != Answers || h == nil:
		return State(p.Contact)
	case h.Protocol != j.r.Protocol:
		return OtherProtocol
	case h.Rank != p.Rank:
		return WrongRank
	case p.SelfTest != nil && p.SelfTest.Error != "":
		return NotComputing
	case p.SelfTest != nil && !j.right(*p.SelfTest):
		return Miscomputes
	case h.Bundle == "":
		return NoModel
	case h.Bundle != j.r.Bundle || h.Stages != j.r.Ranks:
		return OtherBundle
	case j.r.Encoding != "" && !slices.Contains(h.Encodings, j.r.Encoding):
		return OtherEncoding
	}
	return OK
}

// right reports whether a mean is the one computed here.
func (j judge) right(r Result) bool {
	return r.Error == "" && math.Abs(r.Mean-j.r.Mean) <= tolerance*math.Abs(j.r.Mean)
}

// replicas finds what is wrong with each of them by itself.
func (j judge) replicas() {
	models := len(j.holders(bundleOf)) > 0
	for _, p := range j.r.Replicas {
		where := name(p.Rank, p.Address)
		say := func(remedy, what string, args ...any) { j.add(string(p.State), where, remedy, what, args...) }
		start := fmt.Sprintf("`distinfer serve-stage --rank %d --listen %s`", p.Rank, p.Address)
		_, port, _ := net.SplitHostPort(p.Address)
		switch p.State {
		case State(Forbidden):
			say("give certificates with --tls, or allow plain text with --insecure", "it may not be called: %s", p.Error)
		case State(Unresolved):
			say("correct the name in --stages, or use an IP address", "the name stands for no address: %s", p.Error)
		case State(Refused):
			say("start the stage there with "+start+"; if it runs, it listens at another address (without --listen only on localhost)", "the machine is there, but nothing listens at the port")
		case State(Silent):
			say("see whether the machine is on and the address is its own; if so, a firewall drops the packets: let it accept TCP connections to port "+port, "nothing answers, not even that nothing listens there")
		case State(Unreachable):
			say("see whether the address is right and this machine is in a network that leads there", "there is no way there: %s", p.Error)
		case State(Hangs):
			say("look at the process that listens there: it is stopped, or its machine has too much to do; end it, and start the stage again", "the connection is accepted, but nobody answers")
		case State(WantsTLS):
			say("give this command the certificates that the stages have (--tls), or start the stage without", "it speaks TLS, and is called in plain text")
		case State(NoTLS):
			say("start it with certificates (--tls) as the others; if it is no stage, correct --stages", "it is called with TLS, and does not speak it")
		case State(Certificate):
			say("give both sides folders that `distinfer certs` made with the same authority, with certificates that are valid now and name the address in --stages", "the certificates are not accepted: %s", p.Error)
		case State(Stranger):
			say("correct --stages, or end what listens there and start the stage with "+start, "something listens there that is not a stage of distinfer: %s", p.Error)
		case State(Broken):
			say("look at the log of the stage there", "it cannot say what it holds: %s", p.Error)
		case OtherProtocol:
			say("run the same version of distinfer everywhere", "it speaks version %d of the stage protocol (distinfer %s), and this is version %d (distinfer %s)", p.Holds.Protocol, p.Holds.Distinfer, j.r.Protocol, j.r.Distinfer)
		case NotComputing:
			say("look at the log of the stage there; one of another version of distinfer may have no self-test", "it answers, but does not compute the self-test: %s", p.SelfTest.Error)
		case Miscomputes:
			say("do not use this machine before its memory and its ONNX Runtime were examined", "it computes wrongly: the mean is %g there and %g here", p.SelfTest.Mean, j.r.Mean)
		case NoModel:
			if models {
				say("copy the bundle there, and start it without --no-model", "it has no model, and others have")
			}
		case OtherEncoding:
			say("run the same version of distinfer everywhere, or leave out --activation-dtype", "it does not send and read tensors as %s, which is configured here (distinfer %s)", j.r.Encoding, p.Holds.Distinfer)
		case OtherBundle:
			if h := p.Holds; h.Stages != j.r.Ranks {
				j.add(kindStages, where, "name the addresses of every rank in --stages, in rank order", "its bundle has %d stages, and --stages names %d", h.Stages, j.r.Ranks)
			}
		}
		if h := p.Holds; h != nil && h.MemoryAvailable > 0 && h.MemoryAvailable < leastMemory {
			j.add(kindMemory, where, "end something else there, split the model into more stages, or take a machine with more memory",
				"its memory is nearly used up: %s are left, it has %s itself", bytes(h.MemoryAvailable), bytes(h.MemoryUsed))
		}
		if h := p.Holds; h != nil && h.Starved && !j.linkless(p) {
			j.add(kindStarved, where, fmt.Sprintf("see the log of the stage there, which names the addresses that it tries for rank %d", p.Rank+1), "runs wait there for a stage behind it that it cannot use, though the links tried here work")
		}
	}
}

// linkless reports whether a link from the replica does not work.
func (j judge) linkless(p Replica) bool {
	return slices.ContainsFunc(j.r.Links, func(l Link) bool { return l.From == Place{p.Rank, p.Address} && l.Error != "" })
}

// order finds stages that are not where --stages has them.
func (j judge) order() {
	var wrong []string
	for _, p := range j.r.Replicas {
		if p.State == WrongRank {
			wrong = append(wrong, fmt.Sprintf("%s is rank %d", p.Address, p.Holds.Rank))
		}
	}
	if len(wrong) == 0 {
		return
	}
	remedy := "name the addresses in --stages in rank order, or start each stage with the --rank that it has there"
	if order := j.rightOrder(); order != "" {
		remedy = "order it by rank: --stages '" + order + "'"
	}
	j.add(string(WrongRank), "--stages", remedy, "the addresses are not in rank order: %s", strings.Join(wrong, ", "))
}

// rightOrder is what --stages should be, or empty when that is not known.
func (j judge) rightOrder() string {
	ranks := make([][]string, j.r.Ranks)
	for _, p := range j.r.Replicas {
		if p.Holds == nil || p.Holds.Rank >= len(ranks) {
			return ""
		}
		ranks[p.Holds.Rank] = append(ranks[p.Holds.Rank], p.Address)
	}
	joined := make([]string, len(ranks))
	for i, r := range ranks {
		if len(r) == 0 {
			return ""
		}
		joined[i] = strings.Join(r, "|")
	}
	return strings.Join(joined, ",")
}

// bundles finds stages that have another bundle than they should.
func (j judge) bundles() {
	holders := j.holders(bundleOf)
	switch want := string(j.r.Bundle); {
	case len(holders) == 0:
	case want == "":
		j.add(kindMixed, "the stages", "copy the same bundle to all machines, and start the stages again", "they have different bundles: %s", list(holders, short))
	case j.r.ExpectedBundle != "" && len(holders) == 1 && holders[want] == nil:
		for id := range holders {
			j.add(kindLocal, "the stages", "if theirs is the right one, copy it here or name it with --bundle; else copy this one to all machines and start the stages again", "all have bundle %s, and the one here is %s", short(id), short(want))
		}
	default:
		delete(holders, want)
		where := "most have"
		if j.r.ExpectedBundle != "" {
			where = "the one here is"
		}
		for _, id := range slices.Sorted(maps.Keys(holders)) {
			for _, who := range holders[id] {
				j.add(string(OtherBundle), who, fmt.Sprintf("copy bundle %s there, and start it again", short(want)), "it has bundle %s, and %s %s", short(id), where, short(want))
			}
		}
	}
}

// versions finds programs and libraries that differ.
func (j judge) versions() {
	if d := j.holders(func(h *Holds) string { return h.Distinfer }); len(d) > 0 {
		d[j.r.Distinfer] = append(d[j.r.Distinfer], "this machine")
		if len(d) > 1 {
			j.add(kindVersions, "distinfer", "run the same version everywhere", "its versions differ: %s", list(d, nil))
		}
	}
	if o := j.holders(func(h *Holds) string { return h.ONNXRuntime }); len(o) > 1 {
		j.add(kindRuntimes, "ONNX Runtime", "install the same version everywhere; results may differ in the last digits until then", "its versions differ: %s", list(o, nil))
	}
}

// list says who holds what, the most first.
func list(holders map[string][]string, shorten func(string) string) string {
	whats := slices.SortedFunc(maps.Keys(holders), func(a, b string) int {
		return cmp.Or(len(holders[b])-len(holders[a]), strings.Compare(a, b))
	})
	parts := make([]string, len(whats))
	for i, what := range whats {
		who := strings.Join(holders[what], ", ")
		if shorten != nil {
			what = shorten(what)
		}
		parts[i] = fmt.Sprintf("%s (%s)", what, who)
	}
	return strings.Join(parts, ", ")
}

// called finds the address that a stage's error names.
var called = regexp.MustCompile(`stage \d+ at (\S+)`)

// links finds ways that do not lead from one stage to the next.
func (j judge) links() {
	said := map[Link]int{} // who meets with what, by the problem that says so
	for _, l := range j.r.Links {
		where := fmt.Sprintf("%s to %s", l.From, l.To)
		same := Link{From: l.From, Error: l.Error}
		if i, ok := said[same]; ok && l.Error != "" {
			j.r.Problems[i].Where += ", " + l.To.String()
			continue
		}
		said[same] = len(j.r.Problems)
		switch {
		case l.Error != "" && l.From == Here: // it answered before
			j.add(kindLink, where, "look at the log of the stage there, and try again", "the self-test failed: %s", l.Error)
		case l.Error != "":
			j.add(kindLink, where, j.detour(l), "no way, though this machine reaches both: %s", l.Error)
		case l.BallastError != "":
			j.add(kindBandwidth, where, "when the network is slow, give more time with --timeout or a smaller --ballast; when the message is too large, the stages' --max-message is smaller", "the ballast did not get through: %s", l.BallastError)
		}
	}
}

// detour is what to do about a link that does not work between stages that this
// machine reaches.
func (j judge) detour(l Link) string {
	known := func(address string) bool {
		return slices.ContainsFunc(j.r.Replicas, func(p Replica) bool { return p.Rank == l.To.Rank && p.Address == address })
	}
	if m := called.FindStringSubmatch(l.Error); m != nil && !known(strings.TrimRight(m[1], ":,;")) {
		return fmt.Sprintf("it calls %s, since it was started with a --stages of its own: start it with the same --stages as here, or with none", m[1])
	}
	if strings.Contains(l.Error, "tls: ") || strings.Contains(l.Error, "x509: ") || strings.Contains(l.Error, "authentication handshake") {
		return "give both stages certificates of the same authority, or neither"
	}
	if stage.IsLoopback(l.To.Address) {
		host, _, _ := net.SplitHostPort(l.To.Address)
		return fmt.Sprintf("%s means the machine itself: if the two are on different machines, use an address in --stages that is right on all of them", host)
	}
	return fmt.Sprintf("on that machine, try to reach %s; its firewall or the other's, or its routes, are in the way", l.To.Address)
}

// paths finds chains of stages that give another mean, though each stage is right.
func (j judge) paths() {
	for _, p := range j.r.Paths {
		switch {
		case p.Error != "":
			j.add(kindPath, strings.Join(p.Addresses, " → "), "look at the stages' logs and try again", "each link works, but not all of them together: %s", p.Error)
		case !j.right(p.Result):
			j.add(kindPath, strings.Join(p.Addresses, " → "), "see the stages that compute wrongly; if there are none, the network changes what it carries", "the mean is %g there and %g here", p.Mean, j.r.Mean)
		}
	}
}

// canServe reports whether replicas that are well lead from the first rank to the
// last.
func (j judge) canServe() bool {
	well := map[Place]bool{}
	for _, p := range j.r.Replicas {
		well[Place{p.Rank, p.Address}] = p.State == OK
	}
	reached := map[Place]bool{Here: true}
	for range j.r.Ranks { // links are in rank order or not
		for _, l := range j.r.Links {
			if reached[l.From] && l.Error == "" && well[l.To] {
				reached[l.To] = true
			}
		}
	}
	for p := range reached {
		if p.Rank == j.r.Ranks-1 && p != Here {
			return true
		}
	}
	return false
}

func short(id string) string { return bundle.ID(id).Short() }

func bytes(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }
