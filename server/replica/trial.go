package replica

// A Loss is how a replica left a call without an answer.
type Loss int

// The losses.
const (
	Unsent    Loss = iota // the replica never had the call, or refused it
	Together              // it ended or was cut off while it had the call, and maybe others
	AloneDied             // it ended while it computed nothing but the call
	AloneCut              // it was cut off then, and lives or may live
)

// A Verdict says what becomes of a call that was lost.
type Verdict int

// The verdicts.
const (
	Again  Verdict = iota // it is retried; alone if it is a Suspect
	GiveUp                // it fails, and nothing is proven
	Guilty                // it ended the replica, and would end the next one
)

// maxCuts is how many replicas may be cut off with a suspect before it fails.
const maxCuts = 3

// A Trial finds out whether a call ends replicas. Each call that a replica had when it ended is a
// suspect, and is retried on a replica that computes nothing else. If that one ends too, the call
// is guilty. So an input ends at most two replicas, and innocent calls are answered. The zero
// value is a new call.
type Trial struct {
	// Suspect means that the call must be computed alone.
	Suspect bool
	// Died are the addresses of the replicas that it was lost with.
	Died []string

	cuts int
}

// Lost records that a replica left the call without an answer.
func (t *Trial) Lost(address string, l Loss) Verdict {
	if l == Unsent {
		return Again
	}
	t.Suspect = true
	t.Died = append(t.Died, address)
	switch l {
	case AloneDied:
		return Guilty
	case AloneCut:
		if t.cuts++; t.cuts == maxCuts {
			return GiveUp
		}
	}
	return Again
}
