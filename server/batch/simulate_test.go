package batch

import (
	"bufio"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

// lengths are those of the sentences of SST-2 dev, in tokens of the default model.
func lengths(t testing.TB) []int {
	t.Helper()
	file, err := os.Open("../../models/sst2-minilm/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	tokenizer, err := text.LoadTokenizer(file)
	if err != nil {
		t.Fatal(err)
	}
	dev, err := os.Open("../../models/testdata/sst2/dev.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dev.Close() }()
	var all []int
	lines := bufio.NewScanner(dev)
	for lines.Scan() {
		_, sentence, _ := strings.Cut(lines.Text(), "\t")
		e, err := tokenizer.Encode(sentence)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, len(e.IDs))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all[1:] // without the header
}

// A shop computes batches in virtual time for clients that send the next text when
// they have their answer.
type shop struct {
	lengths    []int
	clients    int
	processors int     // batches that are computed at once
	overhead   float64 // of a batch, in positions
	choose     func(q *queue, free int) []*item
}

// A till is what a shop counts.
type till struct {
	rate    float64 // texts in the time of a thousand positions on one processor
	batch   float64 // texts in a batch
	padding float64 // positions a token
	longest float64 // stay of a text, in positions, in relation to the mean
}

// serve runs the shop until 3,000 texts were answered.
func (s shop) serve() till {
	const answers = 3_000
	random := rand.New(rand.NewPCG(1, 2))
	q := newQueue(limits{rows: maxRows, tokens: maxTokens}, newCost())
	q.cost.overhead = s.overhead
	type job struct {
		end   float64
		items []*item
	}
	came := map[*call]float64{}
	var busy []job
	var now, stay, longest float64
	var batches, tokens, positions, done int
	enter := func() {
		c := &call{}
		came[c] = now
		q.add(c, 0, textmodel.Text{Length: s.lengths[random.IntN(len(s.lengths))]}, time.Time{})
	}
	for range s.clients {
		enter()
	}
	for done < answers {
		for len(busy) < s.processors && q.len() > 0 {
			items := s.choose(q, s.processors-len(busy))
			area := len(items) * items[len(items)-1].text.Length
			for _, it := range items {
				tokens += it.text.Length
			}
			positions += area
			batches++
			busy = append(busy, job{now + s.overhead + float64(area), items})
		}
		first := slices.MinFunc(busy, func(a, b job) int {
			if a.end < b.end {
				return -1
			}
			return 1
		})
		busy = slices.DeleteFunc(busy, func(j job) bool { return &j.items[0] == &first.items[0] })
		now = first.end
		for _, it := range first.items {
			took := now - came[it.call]
			delete(came, it.call)
			stay, longest = stay+took, max(longest, took)
			enter()
		}
		done += len(first.items)
	}
	return till{1000 * float64(done) / now, float64(done) / float64(batches), float64(positions) / float64(tokens), longest / (stay / float64(done))}
}

// inOrder takes the texts in the order in which they came, n at a time.
func inOrder(n int) func(*queue, int) []*item {
	return func(q *queue, _ int) []*item {
		byTurn := slices.SortedFunc(slices.Values(q.items), func(a, b *item) int { return int(a.seq) - int(b.seq) })
		chosen := map[*item]bool{}
		for _, it := range byTurn[:min(n, len(byTurn))] {
			chosen[it] = true
		}
		return q.take(func(it *item) bool { return chosen[it] })
	}
}

// greedy takes the best batch there is, whoever came first.
func greedy(q *queue, free int) []*item {
	most := min(q.rows, (len(q.items)+free-1)/free)
	from, to, best := 0, 0, 0.0
	for first := range q.items {
		f, t := q.window(q.items, first, most)
		value := 0.0
		for _, it := range q.items[f:t] {
			value += q.cost.alone(it.text.Length)
		}
		if gain := value / q.price(q.items[f:t]); gain > best {
			from, to, best = f, t, gain
		}
	}
	chosen := map[*item]bool{}
	for _, it := range q.items[from:to] {
		chosen[it] = true
	}
	return q.take(func(it *item) bool { return chosen[it] })
}

// Those who take the best first are left with the lengths that go with nothing.
func TestTheBestBatchFirstIsNotBetter(t *testing.T) {
	t.Parallel()
	for _, clients := range []int{32, 128} {
		s := shop{lengths: lengths(t), clients: clients, processors: 2, overhead: 13, choose: (*queue).next}
		ours := s.serve()
		s.choose = greedy
		theirs := s.serve()
		t.Logf("%3d clients: %.1f texts in 1,000 positions, longest stay %.1f of the mean; the best batch first %.1f, %.1f", clients, ours.rate, ours.longest, theirs.rate, theirs.longest)
		if theirs.rate > ours.rate || theirs.longest < ours.longest {
			t.Errorf("%d clients: %+v, with the best batch first %+v", clients, ours, theirs)
		}
	}
}

// What is chosen has to be better than what is usual, on real lengths, and nobody may
// pay for it with a wait without end. All is computed, so it is the same everywhere.
func TestChoosingByLengthAndCostBeatsOtherBatches(t *testing.T) {
	t.Parallel()
	real := lengths(t)
	for _, c := range []struct {
		clients  int
		overhead float64
	}{{32, 13}, {128, 13}, {128, 200}, {32, 0}, {4, 13}} {
		s := shop{lengths: real, clients: c.clients, processors: 2, overhead: c.overhead}
		s.choose = (*queue).next
		ours := s.serve()
		t.Logf("%3d clients, overhead %3.0f: %.1f texts in 1,000 positions, %.1f in a batch, %.3f positions a token, longest stay %.1f of the mean",
			c.clients, c.overhead, ours.rate, ours.batch, ours.padding, ours.longest)
		for _, n := range []int{1, 2, 4, 8, 16, 32} {
			s.choose = inOrder(n)
			if other := s.serve(); ours.rate < other.rate {
				t.Errorf("%d clients, overhead %.0f: batches of %d in order give %.1f, more than the %.1f of those chosen", c.clients, c.overhead, n, other.rate, ours.rate)
			}
		}
		if ours.longest > 4 {
			t.Errorf("%d clients, overhead %.0f: a text stays %.1f times as long as the mean", c.clients, c.overhead, ours.longest)
		}
	}
}
