package cluster

import (
	"fmt"
	"strings"
)

// A CountError says that there are addresses of more or fewer stages than there are stages.
type CountError struct{ Stages, Named int }

func (e *CountError) Error() string {
	return fmt.Sprintf("the bundle has %d stages, but the list of addresses names %d", e.Stages, e.Named)
}

// A RankError says that a rank has no address.
type RankError struct{ Rank, Named int }

func (e *RankError) Error() string {
	return fmt.Sprintf("the list of addresses names %d ranks, so there is none for rank %d", e.Named, e.Rank)
}

// A HereError says that none, or more than one, of a rank's addresses is this machine's.
type HereError struct {
	Rank      int
	Addresses []string
	Several   bool
}

func (e *HereError) Error() string {
	if e.Several {
		return fmt.Sprintf("several addresses of rank %d (%s) are this machine's", e.Rank, strings.Join(e.Addresses, ", "))
	}
	return fmt.Sprintf("none of the addresses of rank %d (%s) is this machine's", e.Rank, strings.Join(e.Addresses, ", "))
}
