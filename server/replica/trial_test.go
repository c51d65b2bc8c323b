package replica_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/distinfer/distinfer/server/replica"
)

func TestTrials(t *testing.T) {
	t.Parallel()
	type loss = replica.Loss
	for name, c := range map[string]struct {
		suspect bool // from the beginning
		losses  []loss
		want    []replica.Verdict
		alone   bool // at the end
	}{
		"never there":                      {losses: []loss{replica.Unsent, replica.Unsent, replica.Unsent}, want: []replica.Verdict{replica.Again, replica.Again, replica.Again}},
		"was there":                        {losses: []loss{replica.Together}, want: []replica.Verdict{replica.Again}, alone: true},
		"was there, then waited":           {losses: []loss{replica.Together, replica.Together, replica.Unsent, replica.Together}, want: make([]replica.Verdict, 4), alone: true},
		"did it":                           {losses: []loss{replica.Together, replica.AloneDied}, want: []replica.Verdict{replica.Again, replica.Guilty}, alone: true},
		"did it before":                    {suspect: true, losses: []loss{replica.AloneDied}, want: []replica.Verdict{replica.Guilty}, alone: true},
		"a bad network":                    {losses: []loss{replica.Together, replica.AloneCut, replica.AloneCut, replica.AloneCut}, want: []replica.Verdict{replica.Again, replica.Again, replica.Again, replica.GiveUp}, alone: true},
		"a bad network, and yet it did it": {losses: []loss{replica.Together, replica.AloneCut, replica.AloneDied}, want: []replica.Verdict{replica.Again, replica.Again, replica.Guilty}, alone: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trial := replica.Trial{Suspect: c.suspect}
			var got []replica.Verdict
			var died []string
			for i, l := range c.losses {
				a := fmt.Sprint("r", i)
				if l != replica.Unsent {
					died = append(died, a)
				}
				got = append(got, trial.Lost(a, l))
			}
			if !slices.Equal(got, c.want) || trial.Suspect != c.alone || !slices.Equal(trial.Died, died) {
				t.Errorf("verdicts %v, suspect %v, died %v; want %v, %v, %v", got, trial.Suspect, trial.Died, c.want, c.alone, died)
			}
		})
	}
}

func TestASuspectHasItsReplicaToItself(t *testing.T) {
	t.Parallel()
	s := set("a", "b")
	suspect, ok := s.PickAlone(start, none)
	if !ok || !s.Held() {
		t.Fatal("the suspect has none")
	}
	if other, ok := s.PickAlone(start, none); ok {
		t.Errorf("another suspect has %s at the same time", other)
	}
	for range 4 {
		if a := pick(t, s, start); a == suspect {
			t.Errorf("a call goes to %s, where the suspect is", a)
		}
	}
	s.Done(start, suspect, -1)
	s.Lost(start, suspect, replica.Down, errBoom)
	s.DoneAlone()
	next, ok := s.PickAlone(start, none)
	if !ok || next == suspect {
		t.Fatalf("then it has %q", next)
	}
	if a, ok := s.Pick(start, none); ok {
		t.Errorf("a call goes to %s, and it can only be where the suspect is", a)
	}
	s.Done(start, next, 1)
	s.DoneAlone()
	if a := pick(t, s, start); a != next || s.Held() {
		t.Errorf("afterwards a call goes to %s", a)
	}
	// With none that is ready nothing is held.
	if _, ok := set().PickAlone(start, none); ok {
		t.Error("one of none is picked")
	}
}
