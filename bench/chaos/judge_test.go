package chaos

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

var film = question{label: "positive", scores: map[string]float64{"positive": 0.7, "negative": 0.3}}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   outcome
	}{
		{"as computed", 200, `[[{"label":"positive","score":0.7},{"label":"negative","score":0.3}]]`, right},
		{"within the tolerance", 200, `[[{"label":"positive","score":0.70009},{"label":"negative","score":0.29991}]]`, right},
		{"another score", 200, `[[{"label":"positive","score":0.7002},{"label":"negative","score":0.2998}]]`, wrong},
		{"one other score", 200, `[[{"label":"positive","score":0.7},{"label":"negative","score":0.2998}]]`, wrong},
		{"another label", 200, `[[{"label":"negative","score":0.3},{"label":"positive","score":0.7}]]`, wrong},
		{"a label twice", 200, `[[{"label":"positive","score":0.7},{"label":"positive","score":0.7}]]`, wrong},
		{"an unknown label", 200, `[[{"label":"positive","score":0.7},{"label":"neutral","score":0.3}]]`, wrong},
		{"a label missing", 200, `[[{"label":"positive","score":0.7}]]`, wrong},
		{"a score missing", 200, `[[{"label":"positive"},{"label":"negative","score":0.3}]]`, wrong},
		{"two answers", 200, `[[{"label":"positive","score":0.7},{"label":"negative","score":0.3}],[]]`, wrong},
		{"no answer", 200, `[]`, wrong},
		{"no body", 200, ``, wrong},
		{"an error with 200", 200, `{"error":"stage 1 is gone"}`, wrong},
		{"an error", 503, `{"error":"stage 1 is gone"}`, typed},
		{"the time is up", 504, `{"error":"there was no answer within 10s"}`, typed},
		{"plain text", 503, `stage 1 is gone`, untyped},
		{"without a reason", 500, `{"error":""}`, untyped},
		{"a right answer with 500", 500, `[[{"label":"positive","score":0.7},{"label":"negative","score":0.3}]]`, untyped},
		{"another success", 204, ``, untyped},
		{"a redirect", 302, `{"error":"elsewhere"}`, untyped},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := judge(c.status, []byte(c.body), &film)
			if got.outcome != c.want || got.status != c.status {
				t.Errorf("%d %s is %v with status %d, want %v", c.status, c.body, got.outcome, got.status, c.want)
			}
			if (got.why == "") != (c.want == right) {
				t.Errorf("the reason is %q", got.why)
			}
		})
	}
}

// What two labels have as their scores tells nothing of which text was answered
// unless every text has its own.
func TestJudgeTellsTextsApart(t *testing.T) {
	questions := distinct([]question{
		{label: "p", scores: map[string]float64{"p": 0.9, "n": 0.1}},
		{label: "p", scores: map[string]float64{"p": 0.9001, "n": 0.0999}},
		{label: "p", scores: map[string]float64{"p": 0.90025, "n": 0.09975}},
		{label: "n", scores: map[string]float64{"p": 0.2, "n": 0.8}},
		{label: "p", scores: map[string]float64{"p": 0.50005, "n": 0.49995}}, // either label could be first
	})
	var got []float64
	for _, q := range questions {
		got = append(got, q.scores["p"])
	}
	if len(got) != 3 || got[0] != 0.2 || got[1] != 0.9 || got[2] != 0.90025 {
		t.Fatalf("kept those with %v", got)
	}
	answers := []string{
		`[[{"label":"n","score":0.8},{"label":"p","score":0.2}]]`,
		`[[{"label":"p","score":0.9},{"label":"n","score":0.1}]]`,
		`[[{"label":"p","score":0.90025},{"label":"n","score":0.09975}]]`,
	}
	for i := range questions {
		for j, answer := range answers {
			want := wrong
			if i == j {
				want = right
			}
			if got := judge(200, []byte(answer), &questions[i]).outcome; got != want {
				t.Errorf("the answer of text %d for text %d is %v", j, i, got)
			}
		}
	}
}

func TestDistinctOfNone(t *testing.T) {
	if got := distinct(nil); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestParseAnswers(t *testing.T) {
	const output = `{"line":1,"label":"positive","score":0.7,"scores":{"negative":0.3,"positive":0.7}}
{"line":2,"label":"negative","score":0.6,"scores":{"negative":0.6,"positive":0.4}}
`
	questions, err := parseAnswers([]byte(output), []string{"a film", "a \"bore\""})
	if err != nil {
		t.Fatal(err)
	}
	if q := questions[1]; q.label != "negative" || q.scores["positive"] != 0.4 || string(q.body) != `{"inputs":"a \"bore\""}` {
		t.Errorf("%+v with body %s", q, q.body)
	}
	for name, bad := range map[string]string{
		"too few":   strings.SplitAfter(output, "\n")[0],
		"too many":  output + output,
		"no JSON":   "positive\t0.7\nnegative\t0.6\n",
		"not label": strings.Replace(output, `"label":"negative"`, `"error":"too long"`, 1),
	} {
		if _, err := parseAnswers([]byte(bad), []string{"a film", "a bore"}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSentences(t *testing.T) {
	all, err := sentences("../../models/testdata/sst2", 5000)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 5000 { // dev and test have 2,693 lines, so train is among them
		t.Fatalf("%d sentences", len(all))
	}
	seen := map[string]bool{}
	for _, s := range all {
		if s == "" || s == "content" || s == "sentence" || seen[s] {
			t.Fatalf("%q is empty, a header or there twice", s)
		}
		seen[s] = true
	}
	if all[0] != "one long string of cliches ." {
		t.Errorf("the first is %q", all[0])
	}
	if _, err := sentences(t.TempDir(), 10); err == nil {
		t.Error("no error without the files")
	}
}

func TestJudgeNumbers(t *testing.T) {
	q := &question{path: quotientPath, numbers: []int64{1, -2}}
	for body, want := range map[string]outcome{
		`{"outputs":[{"name":"z","data":[1,-2]}]}`: right,
		`{"outputs":[{"name":"z","data":[1,2]}]}`:  wrong,
		`{"outputs":[{"name":"z","data":[1]}]}`:    wrong,
		`{"outputs":[]}`:                           wrong,
		`no JSON`:                                  wrong,
	} {
		if got := judge(200, []byte(body), q); got.outcome != want {
			t.Errorf("%s is %v", body, got)
		}
	}
}

func TestQuotientsDifferAndAreRight(t *testing.T) {
	questions, err := quotients(100, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, q := range questions {
		var asked struct{ Inputs []struct{ Data []int64 } }
		if err := json.Unmarshal(q.body, &asked); err != nil {
			t.Fatal(err)
		}
		for i, z := range q.numbers {
			if a, b := asked.Inputs[0].Data[i], asked.Inputs[1].Data[i]; z != -a/b {
				t.Errorf("-%d / %d is %d", a, b, z)
			}
		}
		seen[fmt.Sprint(q.numbers)] = true
	}
	if len(seen) != len(questions) {
		t.Errorf("%d of %d differ", len(seen), len(questions))
	}
}
