package rows

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

// A maker makes the texts and batches of a test.
type maker struct {
	*Test
	model      *textmodel.Model // for texts alone
	special    []int64          // ids that may mean something to the model
	vocabulary int64
	random     *rand.Rand
	rounds     int // more for models that take no time
	places     map[string]int
	turn       int // of the special ids
}

// How large a model may be, in parameters, for a test of several rounds, and from when on
// one has half the texts.
const (
	tiny  = 1 << 20
	small = 8 << 20
	large = 1 << 28
)

func newMaker(t *Test, b *bundle.Bundle, ids []int64) *maker {
	m := &maker{Test: t, model: t.models[alone], rounds: 1, places: map[string]int{}}
	if ids, ok := b.Limits.Of(m.model.IDs()); ok {
		m.vocabulary = ids.Max + 1
	}
	var parameters int64
	for _, s := range b.Stages {
		parameters += s.Parameters
	}
	switch {
	case parameters < tiny:
		m.rounds = 3
	case parameters < small:
		m.rounds = 2
	case parameters > large:
		m.rounds = 0
	}
	if !t.judges {
		m.rounds = 0
	}
	m.special = m.specials(b, ids)
	if m.vocabulary <= 0 {
		m.vocabulary = 1
		for id := range t.models[alone].Tokenizer().Tokens() {
			m.vocabulary = max(m.vocabulary, id+1)
		}
	}
	return m
}

var (
	tokenIDs = regexp.MustCompile(`"[a-z_]+_token_id"\s*:\s*(\[[^\]]{0,200}\]|\d{1,10})`)
	digits   = regexp.MustCompile(`\d{1,10}`)
)

// mostSpecial bounds the ids that are tried by name.
const mostSpecial = 12

// specials are the given ids, ids that config.json names (eos_token_id, …), the padding id, ids that
// the tokenizer puts around a text, and the first and last of its added tokens.
func (m *maker) specials(b *bundle.Bundle, ids []int64) []int64 {
	given := len(ids)
	if config, err := b.ReadFile(bundle.ConfigName); err == nil {
		for _, found := range tokenIDs.FindAllSubmatch(config, -1) {
			for _, id := range digits.FindAll(found[1], -1) {
				n, _ := strconv.ParseInt(string(id), 10, 64) // ten digits always fit
				ids = append(ids, n)
			}
		}
	}
	slices.Sort(ids[given:])
	tokenizer := m.model.Tokenizer()
	for i, in := range []textmodel.Input{{Text: "a"}, {Text: "a", Pair: new("b")}} {
		if framed, err := m.model.Encode(in); err == nil {
			e := framed.Encoding()
			for k, id := range e.IDs {
				if e.SpecialTokensMask[k] == 1 {
					ids = append(ids, id)
				}
			}
		} else if i == 0 {
			break
		}
	}
	if id, ok := tokenizer.PadID(); ok {
		ids = append(ids, id)
	}
	added := tokenizer.AddedIDs()
	ids = append(ids, added[:min(5, len(added))]...)
	ids = append(ids, added[max(0, len(added)-2):]...)
	var once []int64
	for _, id := range ids {
		if !slices.Contains(once, id) && (m.vocabulary <= 0 || id < m.vocabulary) {
			once = append(once, id)
		}
	}
	return once[:min(mostSpecial, len(once))]
}

// sentences are texts as people write them.
var sentences = []string{
	"a lovely film", "Ok", "It was not what we had hoped for.", "so bad and then so good",
	"The story begins slowly, but once the two brothers meet again nobody in the room moved.",
	"Très bien, 42 € !", "no",
}

// scripts are texts in other scripts, of signs alone and with what tokens are written as.
var scripts = []string{
	"这部电影很好看，我们都喜欢。", "👍🏽 great film 🎉", "Фильм был очень хорошим", "فيلم رائع", ".",
	"[CLS] </s> <|endoftext|> [MASK]",
}

// words are put together to texts of many lengths.
var words = strings.Fields("we saw the film in may and it was very good but too long so our friends went home before the end of it all")

// The lengths of texts, in tokens, that are used unless the model fixes one.
const (
	longRow  = 28
	perGroup = 6
)

// make makes the texts, and from them the batches.
func (m *maker) make() {
	natural := m.natural()
	for round := range max(m.rounds, 1) {
		m.random = rand.New(rand.NewPCG(7, uint64(round)))
		var groups [][]int
		for _, group := range m.groups(natural) {
			groups = append(groups, m.fill(group))
		}
		var others []int
		for _, t := range m.others(natural) {
			others = append(others, m.place(t))
		}
		for _, group := range groups {
			m.together(equal, group)
		}
		for _, k := range []kind{right, left} {
			m.mixed(k, groups, others)
		}
	}
	written := natural
	if len(m.texts) > 0 {
		written = append(written, m.scripts()...)
	}
	for _, t := range written {
		if at, placed := m.places[key(t)]; placed && !isPair(t) && !slices.Contains(m.written, at) {
			m.written = append(m.written, at)
		}
	}
	for i := range m.texts {
		m.add(alone, i)
	}
	slices.SortStableFunc(m.trials, func(a, b *trial) int { return rank(a) - rank(b) })
}

func rank(t *trial) int {
	if t.kind == alone {
		return 0
	}
	return 1
}

// place is the number of a text among the Test's.
func (m *maker) place(t textmodel.Text) int {
	at, known := m.places[key(t)]
	if !known {
		at = len(m.texts)
		m.places[key(t)] = at
		m.texts = append(m.texts, t)
	}
	return at
}

// key tells a text from others by what the model reads of it.
func key(t textmodel.Text) string { return fmt.Sprint(t.Encoding().IDs, t.Encoding().TypeIDs) }

// natural are texts and pairs of many lengths.
func (m *maker) natural() []textmodel.Text {
	var list []textmodel.Text
	add := func(in textmodel.Input) {
		if t, err := m.model.Encode(in); err == nil {
			list = append(list, t)
		}
	}
	for _, s := range sentences {
		add(textmodel.Input{Text: s})
	}
	for n := 1; n <= len(words); n++ {
		first, second := strings.Join(words[:(n+1)/2], " "), strings.Join(words[len(words)-n/2:], " ")
		add(textmodel.Input{Text: strings.Join(words[:n], " ")})
		if n > 1 {
			add(textmodel.Input{Text: first, Pair: &second})
		}
	}
	return list
}

// scripts adds texts in other scripts, alone and beside a plain one.
func (m *maker) scripts() (texts []textmodel.Text) {
	rows := []int{0}
	for _, s := range scripts {
		t, err := m.model.Encode(textmodel.Input{Text: s, Cut: true})
		if err == nil {
			rows, texts = append(rows, m.place(t)), append(texts, t)
		}
	}
	side := right
	if m.models[right] == nil {
		side = left
	}
	m.add(side, rows...)
	return texts
}

// tooLong tells lengths that are not worth their time, given the shortest there is.
func tooLong(shortest int) func(n int) bool {
	return func(n int) bool { return n > max(longRow, 2*shortest) }
}

// isPair reports whether a text has a second part, as its types tell.
func isPair(t textmodel.Text) bool {
	types := t.Encoding().TypeIDs
	return slices.Contains(types, 1) && slices.Contains(types, 0)
}

// groups are natural texts of three lengths, short, middling and long, if possible with a pair.
func (m *maker) groups(natural []textmodel.Text) [][]textmodel.Text {
	byLength := map[int][]textmodel.Text{}
	for _, t := range natural {
		byLength[t.Length] = append(byLength[t.Length], t)
	}
	lengths := slices.Sorted(maps.Keys(byLength))
	if len(lengths) == 0 {
		return nil
	}
	lengths = slices.DeleteFunc(lengths, tooLong(lengths[0]))
	wanted := []int{6, 11, 18}
	if m.rounds == 0 {
		wanted = wanted[:2]
	}
	var chosen []int
	for _, want := range wanted {
		best, least := 0, 1<<30
		for _, n := range lengths {
			away := max(n-want, want-n)
			if !slices.ContainsFunc(byLength[n], isPair) {
				away += 3
			}
			if away < least && !slices.Contains(chosen, n) {
				best, least = n, away
			}
		}
		if least < 1<<30 {
			chosen = append(chosen, best)
		}
	}
	var groups [][]textmodel.Text
	for _, n := range chosen {
		groups = append(groups, byLength[n])
	}
	return groups
}

// fill makes texts of one length: two as they are written, a pair, two of random
// ids, and others with special ids in different places and numbers.
func (m *maker) fill(group []textmodel.Text) []int {
	most := perGroup
	if n := group[0].Length; n > longRow { // such as one that the model fixes
		most = max(4, perGroup*longRow/n)
	}
	if m.rounds == 0 {
		most = 4
	}
	single := slices.IndexFunc(group, func(t textmodel.Text) bool { return !isPair(t) })
	base := group[max(single, 0)]
	var rows []int
	if k := len(m.special); k > 0 {
		rows = append(rows, m.place(m.changed(base, 1, m.special)), m.place(m.changed(base, 3, m.special[:min(3, k)])))
	}
	rows = append(rows, m.place(base), m.place(m.changed(base, len(base.Encoding().IDs), nil)))
	if pair := slices.IndexFunc(group, isPair); pair >= 0 {
		rows = append(rows, m.place(group[pair]), m.place(m.changed(group[pair], 2, m.special)))
	}
	for len(rows) < most {
		from := group[m.random.IntN(len(group))]
		ids := m.special
		if len(rows)%2 == 0 {
			ids = nil
		}
		rows = append(rows, m.place(m.changed(from, 1+m.random.IntN(4), ids)))
	}
	return rows[:min(most, len(rows))]
}

// changed is a text with n of its own tokens replaced by some of the ids, or any.
func (m *maker) changed(t textmodel.Text, n int, ids []int64) textmodel.Text {
	e := t.Encoding()
	e.IDs = slices.Clone(e.IDs)
	own := ownTokens(e)
	m.random.Shuffle(len(own), func(i, j int) { own[i], own[j] = own[j], own[i] })
	for _, at := range own[:min(n, len(own))] {
		if len(ids) > 0 {
			e.IDs[at] = ids[m.turn%len(ids)]
			m.turn++
		} else {
			e.IDs[at] = m.random.Int64N(m.vocabulary)
		}
	}
	return m.model.Text(e)
}

// ownTokens are the places of tokens that are not put around the text.
func ownTokens(e text.Encoding) []int {
	var own []int
	for i, special := range e.SpecialTokensMask {
		if special == 0 && e.AttentionMask[i] == 1 {
			own = append(own, i)
		}
	}
	return own
}

// others are texts of other lengths: the shortest, the longest that is not too long, and a
// few in between, one with special ids.
func (m *maker) others(natural []textmodel.Text) []textmodel.Text {
	if m.models[right] == nil && m.models[left] == nil {
		return nil
	}
	sorted := slices.SortedStableFunc(slices.Values(natural), func(a, b textmodel.Text) int { return a.Length - b.Length })
	if len(sorted) == 0 {
		return nil
	}
	long := tooLong(sorted[0].Length)
	sorted = slices.DeleteFunc(sorted, func(t textmodel.Text) bool { return long(t.Length) })
	last := sorted[len(sorted)-1]
	some := sorted[m.random.IntN(len(sorted))]
	return []textmodel.Text{last, sorted[0], m.changed(some, 2, m.special), m.changed(sorted[len(sorted)/3], 3, nil)}
}

// together has texts of one length computed together: all, some in another order, and a
// larger batch where they are short.
func (m *maker) together(k kind, group []int) {
	m.add(k, group...)
	shuffled := slices.Clone(group)
	m.random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	m.add(k, shuffled[:len(shuffled)*2/3]...)
	m.add(k, group[len(group)-1], group[0])
	if m.texts[group[0]].Length <= 10 {
		m.add(k, slices.Repeat(shuffled, 3)...)
	}
}

// mixed has texts of different lengths computed together, in different orders.
func (m *maker) mixed(k kind, groups [][]int, others []int) {
	if len(others) == 0 {
		return
	}
	rows := slices.Clone(others)
	for _, group := range groups {
		rows = append(rows, group[:2]...)
	}
	m.add(k, others[0], others[1])
	m.random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	for part := range slices.Chunk(rows, 5) {
		m.add(k, part...)
	}
	if len(groups) > 1 { // short ones, beside one that is not much longer
		m.add(k, append(slices.Clone(groups[0][2:]), groups[1][len(groups[1])-1])...)
	}
}
