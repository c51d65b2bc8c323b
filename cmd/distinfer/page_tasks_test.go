package main_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// The entities of a text are marked where they stand in it.
func markingEntities(in stand, t *testing.T) {
	_, url := serveTask(t, taskModel(t, "tokens", nil))
	_, texts := sentences(t, 20)
	var found [][]struct {
		Group      string `json:"entity_group"`
		Score      float64
		Start, End int
	}
	for i := range texts {
		texts[i] = "🎬 " + texts[i] // of one code point, and two units of JavaScript
	}
	post(t, url+"/predict", map[string]any{"inputs": texts, "parameters": map[string]string{"aggregation_strategy": "simple"}}, &found)
	best := 0
	for i := range found {
		if len(found[i]) > len(found[best]) {
			best = i
		}
	}
	text, entities := texts[best], found[best]
	if len(entities) < 2 {
		t.Fatalf("the most entities of a text are %v", entities)
	}
	var want []string
	for _, e := range entities {
		want = append(want, fmt.Sprintf("%s %s %.1f %%", string([]rune(text)[e.Start:e.End]), e.Group, e.Score*100))
	}

	b := in.open(t, url)
	b.paste("text", text)
	b.until(labelled)
	got := eval[[]string](b, `[...document.querySelectorAll("#marked mark")].map((mark) => mark.textContent)`)
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("marked are %q, want %q", got, want)
	}
	whole := eval[string](b, `(() => {
		const copy = document.getElementById("marked").cloneNode(true);
		for (const small of copy.querySelectorAll("small")) small.remove();
		return copy.textContent;
	})()`)
	if whole != text {
		t.Errorf("without what was added the text is %q, want %q", whole, text)
	}
	b.until(`document.getElementById("spoken").textContent.split("; ").length === ` + fmt.Sprint(len(want)))
	b.accessible("entities")
	b.look(320, 800, "dark")
	b.accessible("entities, dark, 320")
	b.shoot("entities-dark-320")

	b.click("tab-many")
	b.paste("lines", strings.Join(texts, "\n"))
	b.click("run")
	b.until(ended)
	download := b.download("download")
	if n := strings.Count(download, "("+entities[0].Group+")"); n < 1 {
		t.Errorf("the download names no %s: %s", entities[0].Group, download)
	}
}

// Texts are compared by the cosine of their embeddings.
func comparing(in stand, t *testing.T) {
	_, url := serveTask(t, taskModel(t, "embed", nil))
	texts := []string{"a moving film", "a dull and lifeless film", "the train is late"}
	var vectors [][]float64
	post(t, url+"/embed", map[string]any{"inputs": texts}, &vectors)
	b := in.open(t, url)
	if !eval[bool](b, `document.getElementById("tab-many").hidden && document.getElementById("tab-one").textContent === "Compare texts"`) {
		t.Error("the tabs are not those of embeddings")
	}
	b.paste("text", texts[0])
	b.until(`document.getElementById("took").textContent.startsWith("Another line")`)
	b.paste("text", "\n"+strings.Join(texts[1:], "\n"))
	b.until(labelled + ` && document.querySelectorAll("#alike tr").length === 3`)
	got := eval[[][]string](b, `[...document.querySelectorAll("#alike tr")].map((row) => [...row.querySelectorAll("td")].map((cell) => cell.textContent))`)
	best := ""
	highest := -1.0
	for i := range texts {
		for j := range texts {
			dot := 0.0
			for k, x := range vectors[i] {
				dot += x * vectors[j][k]
			}
			var shown float64
			if _, err := fmt.Sscan(got[i][j], &shown); err != nil || math.Abs(shown-dot) > 0.0051 {
				t.Errorf("%q and %q: %q, want %.4f", texts[i], texts[j], got[i][j], dot)
			}
			if i < j && dot > highest {
				highest, best = dot, fmt.Sprintf("cosine similarity of %d and %d, the closest two", i+1, j+1)
			}
		}
	}
	if said := b.text("closest-text"); said != best {
		t.Errorf("it says %q, want %q", said, best)
	}
	b.accessible("similarities")
	b.shoot("embeddings-light")
	b.look(320, 800, "dark")
	b.accessible("similarities, dark, 320")
	b.shoot("embeddings-dark-320")
}
