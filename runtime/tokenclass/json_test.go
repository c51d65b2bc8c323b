package tokenclass

import (
	"encoding/json"
	"testing"
)

// Which fields an entity has follows from the strategy: an empty kind is one too.
func TestAnEntitysFieldsAreThoseOfItsStrategy(t *testing.T) {
	t.Parallel()
	at := 3
	for want, e := range map[string]Entity{
		`{"entity":"B-","score":0.5,"index":3,"word":"a","start":1,"end":2}`:          {Entity: "B-", Score: 0.5, Index: &at, Word: "a", Start: 1, End: 2},
		`{"entity":"","score":0.5,"index":3,"word":"a","start":1,"end":2}`:            {Score: 0.5, Index: &at, Word: "a", Start: 1, End: 2},
		`{"entity_group":"","score":0.5,"word":"a","start":1,"end":2}`:                {Group: "", Score: 0.5, Word: "a", Start: 1, End: 2},
		`{"entity_group":"PER","score":0.5,"word":"\u003cb\u003e","start":1,"end":2}`: {Group: "PER", Score: 0.5, Word: "<b>", Start: 1, End: 2},
	} {
		if got, err := json.Marshal(e); err != nil || string(got) != want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
		if plain, err := marshal(e); err != nil || json.Valid(plain) == false || e.Word == "<b>" && string(plain) != `{"entity_group":"PER","score":0.5,"word":"<b>","start":1,"end":2}`+"\n" {
			t.Errorf("%s, %v", plain, err)
		}
	}
}
