package simulate

import (
	"fmt"
	"io"
	"math"
)

// What a plan aims at. With three zones, losing one makes 0.6 of the time busy 0.9.
const (
	targetBusy  = 0.6
	fronted     = 0.5 // of a front's processors
	leastFronts = 2
	// fewEnough replicas of a rank are connected to by all of their callers.
	fewEnough = 100
	// callersEach is how many callers each replica has at least on average, so that chance does
	// not leave some without work, and leastSeen how many replicas each caller connects to.
	callersEach, leastSeen = 10, 20
)

// A Need is what a rate of texts takes, of machines of one size.
type Need struct {
	Rate                   float64
	Processors             int // of a machine
	Replicas               int // of each rank
	Fronts                 int
	FrontSees, ReplicaSees int     // --subset of a front, and of a replica; 0 is all
	FrontConnections       int     // of one
	ReplicaConnections     int     // of one of rank 0
	Probes                 float64 // share of its processors that probes of rank 0 take
	Lookups                float64 // of names a second, of all processes
}

// need computes what a rate takes in a number of ranks.
func (c Costs) need(rate float64, ranks, processors int) Need {
	of := Config{Costs: c, Ranks: 1, Replicas: 1, Runs: 1}
	n := Need{
		Rate: rate, Processors: processors,
		Replicas: atLeast(rate*of.perText().Seconds()/targetBusy/float64(ranks*processors), 1),
		Fronts:   atLeast(rate*c.Text.Seconds()/fronted/float64(processors), leastFronts),
	}
	fromFront, fromReplica := n.Replicas, n.Replicas
	if n.Replicas > fewEnough {
		fromFront = min(n.Replicas, max(leastSeen, atLeast(callersEach*float64(n.Replicas)/float64(n.Fronts), 1)))
		fromReplica = leastSeen
		n.FrontSees, n.ReplicaSees = fromFront, fromReplica
	}
	// Each replica has as many callers as the callers see, shared among all replicas.
	callers := float64(n.Fronts*fromFront) / float64(n.Replicas)
	n.FrontConnections = fromFront * (ranks + 1)
	n.ReplicaConnections = int(math.Ceil(2*callers)) + 2*fromReplica*min(ranks-1, 1)
	n.Probes = callers * beats / deadAfter.Seconds() * c.Probe.Seconds() / float64(processors)
	n.Lookups = float64(n.Fronts*ranks+n.Replicas*(ranks-1)) / 5
	return n
}

func atLeast(x float64, least int) int { return max(least, int(math.Ceil(x-1e-9))) }

// printCapacity writes the table of docs/capacity.md.
func printCapacity(w io.Writer) error {
	fmt.Fprintln(w, "| texts/s | vCPUs of a machine | stage machines | fronts | `--subset` of fronts / stages | connections of a front / of a stage | probes | name lookups/s |")
	_, err := fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- | --- | --- |")
	see := func(n int) string {
		if n == 0 {
			return "all"
		}
		return fmt.Sprint(n)
	}
	for _, rate := range []float64{1e2, 1e4, 1e6} {
		for _, processors := range []int{2, 8, 32} {
			n := Small.need(rate, 2, processors)
			_, err = fmt.Fprintf(w, "| %.0f | %d | 2 × %d | %d | %s / %s | %d / %d | %.1f %% | %.1f |\n", n.Rate, n.Processors, n.Replicas, n.Fronts,
				see(n.FrontSees), see(n.ReplicaSees), n.FrontConnections, n.ReplicaConnections, 100*n.Probes, n.Lookups)
		}
	}
	return err
}
