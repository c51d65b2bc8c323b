package front_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/server/front"
)

func TestAFileIsAnsweredWithItsRows(t *testing.T) {
	t.Parallel()
	f := front.New(front.Config{MaxBody: 1 << 10, Log: slog.New(slog.DiscardHandler)}, front.Model{})
	defer f.Close()
	for _, c := range []struct {
		query, body string
		status      int
		says        []string
	}{
		{"?name=a.csv", "id;text\n7;caf\xe9\n8\n", 200, []string{`"encoding":"windows-1252"`, `"column":1`, `{"line":2,"cells":["7","café"]}`, `{"line":3,"cells":["8"],"error":"there are 1 columns`, `"end":true`}},
		{"?name=a.csv", "a,b\n1,2\n", 200, []string{`"column":-1`}},
		{"?name=a.csv&column=b", "a,b\n1,2\n", 200, []string{`"column":1`}},
		{"?name=a.csv", "a,text\n1,\"b\n", 200, []string{`"error":"line 2: a quoted cell begins here`}},
		{"?name=a.xlsx", "PK\x03\x04", 400, []string{"save the sheet as CSV"}},
		{"?nam=a", "a\n", 400, []string{"nam", "known are"}},
		{"?name=a&name=b", "a\n", 400, []string{"twice"}},
		{"", strings.Repeat("a\n", 8<<9+1), 413, []string{"larger than 8192 bytes"}},
		{"", strings.Repeat("a\n", 8<<9), 200, []string{`"line":4096`}},
	} {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/rows"+c.query, strings.NewReader(c.body)))
		for _, says := range c.says {
			if w.Code != c.status || !strings.Contains(w.Body.String(), says) {
				t.Errorf("%s: %d %.300s, want %d %s", c.query, w.Code, w.Body, c.status, says)
			}
		}
	}
}
