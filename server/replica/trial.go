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
	Again  Verdict = iota // it is made again; alone if it is a Suspect
	GiveUp                // it fails, and nothing is proven
	Guilty                // it ended the replica, and would end the next one
)

// maxCuts is how many replicas may be cut off while they compute a suspect.
const maxCuts = 3

// A Trial finds out whether a call ends replicas. Of those that were with a replica when
// it ended any may have done it, so each is made again, on one replica that computes
// nothing else. If that one ends too it is proven: an input ends two replicas at most, and
// the others, who only were there, are answered. The zero value is a call that nothing is
// known of.
type Trial struct {
	// Suspect says that the call is to be made alone.
	Suspect bool
	// Died are the addresses of the replicas that it was lost with.
	Died []string

	cuts int
}

// Lost notes that a replica left the call without an answer.
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
