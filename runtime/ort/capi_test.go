package ort

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// headerAPI is struct OrtApi as the header of the binding's module has it: the place of
// each function, and its type.
func headerAPI(t *testing.T) (places map[string]int, types map[string]string) {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/yalue/onnxruntime_go").Output()
	if err != nil {
		t.Fatal(err)
	}
	header, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "onnxruntime_c_api.h"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(header), "\nstruct OrtApi {")
	body, _, ended := strings.Cut(rest, "\n};")
	if !found || !ended {
		t.Fatal("the header has no struct OrtApi")
	}
	body = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*|(?m:^\s*#.*$)`).ReplaceAllString(body, "")
	places, types = map[string]int{}, map[string]string{}
	member := regexp.MustCompile(`(?s)^(?:ORT_API2_STATUS\(\s*(\w+),?(.*)\)|ORT_CLASS_RELEASE\((\w+)\)|ORT_API_T\((.*?), (\w+),(.*)\)|(.*)\(\s*ORT_API_CALL\s*\*\s*(\w+)\)\s*\((.*)\)[^)]*)$`)
	for place, declared := range strings.Split(strings.TrimRight(body, "; \n"), ";") {
		m := member.FindStringSubmatch(strings.TrimSpace(declared))
		switch {
		case m == nil:
			t.Fatalf("member %d of struct OrtApi is not understood: %s", place, declared)
		case m[1] != "":
			places[m[1]], types[m[1]] = place, signature("OrtStatus *", m[2])
		case m[3] != "":
			places["Release"+m[3]] = place
		case m[4] != "":
			places[m[5]], types[m[5]] = place, signature(m[4], m[6])
		default:
			places[m[8]], types[m[8]] = place, signature(m[7], m[9])
		}
	}
	return places, types
}

var (
	annotation = regexp.MustCompile(`\b_(?:In|Out|Frees)\w*_(?:\([^)]*\))?|\benum\b`)
	function   = regexp.MustCompile(`\(\*\w+\)`)
	star       = regexp.MustCompile(` ?\* ?`)
	parameter  = regexp.MustCompile(`([*\w])\s*\b(\w+)$`)
)

// signature is a function's type without the names of its parameters.
func signature(result, parameters string) string {
	tidy := func(s string) string {
		return star.ReplaceAllString(strings.Join(strings.Fields(annotation.ReplaceAllString(s, "")), " "), "*")
	}
	var list []string
	depth, from := 0, 0
	add := func(p string) {
		p = tidy(p)
		if at := function.FindStringIndex(p); at != nil {
			p = p[:at[0]] + "(*)" + p[at[1]:]
		} else if m := parameter.FindStringSubmatchIndex(p); m != nil {
			p = p[:m[3]]
		}
		list = append(list, p)
	}
	for i, c := range parameters {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			add(parameters[from:i])
			from = i + 1
		}
	}
	add(parameters[from:])
	return tidy(result) + "(" + strings.Join(list, ", ") + ")"
}

func TestTheTableOfCallsIsThatOfTheHeader(t *testing.T) {
	t.Parallel()
	places, types := headerAPI(t)
	table, err := os.ReadFile("capi.h")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^(CALL|RELEASE)\((\d+), (.*)$`).FindAllStringSubmatch(string(table), -1)
	if len(rows) < 40 {
		t.Fatalf("the table has %d calls", len(rows))
	}
	call := regexp.MustCompile(`^(.*?), (\w+), \((.*)\), \([^()]*\)\)$`)
	for _, row := range rows {
		name, kind := "Release"+strings.TrimSuffix(row[3], ")"), ""
		if row[1] == "CALL" {
			m := call.FindStringSubmatch(row[3])
			if m == nil {
				t.Fatalf("not understood: %s", row[0])
			}
			name, kind = m[2], signature(m[1], m[3])
		}
		want, known := places[name]
		if place, err := strconv.Atoi(row[2]); err != nil || !known || place != want {
			t.Errorf("%s is at %s, and at %d in the header (%t)", name, row[2], want, known)
		}
		if kind != types[name] {
			t.Errorf("%s is\n%s, in the header\n%s", name, kind, types[name])
		}
	}
}
