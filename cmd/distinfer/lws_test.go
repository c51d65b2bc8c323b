package main_test

import (
	"strings"
	"testing"
)

// Kubernetes gives the pods of a LeaderWorkerSet their addresses by these variables.
func TestStagesOfALeaderWorkerSet(t *testing.T) {
	b := split(t, "seed-rnn", 1)
	refused := run(t, b, "", "front", "--stages", "lws:2222")
	if refused.code != 2 || !strings.Contains(refused.stderr, "LWS_LEADER_ADDRESS and LWS_GROUP_SIZE are set") {
		t.Errorf("outside of one: %d %s", refused.code, refused.stderr)
	}
	t.Setenv("LWS_LEADER_ADDRESS", "nlp-0.nlp.default")
	t.Setenv("LWS_GROUP_SIZE", "2")
	if r := run(t, b, "", "front", "--bundle", b, "--stages", "lws:2222", "--port", "0", "--insecure"); !strings.Contains(r.stderr, "the bundle has 1 stages, but the list of addresses names 2") {
		t.Errorf("with another number of pods than stages: %d %s", r.code, r.stderr)
	}
}
