package node

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/server/cluster"
)

// Tests of server/front hold the document against what it describes; this one holds that nothing
// is mounted that it does not describe.
func TestAFrontDescribesAllItServes(t *testing.T) {
	t.Parallel()
	stages, err := cluster.Parse("localhost:1")
	if err != nil {
		t.Fatal(err)
	}
	f, err := OpenFront(t.Context(), FrontOptions{
		Options: Options{Bundle: classifytest.Usual.Bundle(t).Dir, Stages: stages, Log: slog.New(slog.DiscardHandler)},
		Listen:  "localhost:0",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.live(t.Context())
	w := httptest.NewRecorder()
	f.server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	var document struct{ Paths map[string]any }
	if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d, %v: %s", w.Code, err, w.Body)
	}
	for _, pattern := range slices.Concat(f.server.Patterns(), f.oip.Patterns()) {
		if path := strings.TrimSuffix(pattern, "{$}"); document.Paths[path] == nil && path != "/v2/" {
			t.Errorf("%s is served and not described", path)
		}
	}
}
