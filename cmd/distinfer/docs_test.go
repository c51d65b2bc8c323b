package main_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/distinfer/distinfer/runtime/testkit"
)

// A page is a Markdown file of the repository.
type page struct {
	path    string // from the root
	text    string
	prose   string // without fenced blocks
	anchors map[string]bool
	blocks  []block
}

// A block is a fenced piece of a page.
type block struct {
	language, code string
	line           int
	marker         string // of the comment before it: "", "not run: why", "run with a front", or "run on ADDRESS[, serves]"
}

var (
	fence    = regexp.MustCompile("^( *)```(\\w*)$")
	marker   = regexp.MustCompile(`^ *<!-- (not run: .+|run with a front|run on .+) -->$`)
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	codeSpan = regexp.MustCompile("`([^`\n]+)`")
)

// pages reads all Markdown of the repository.
func pages(t *testing.T) []page {
	t.Helper()
	root := testkit.Root(t)
	var all []page
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "models/*/README.md", "scripts/*/README.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, parsePage(t, name, string(data)))
		}
	}
	if len(all) < 60 {
		t.Fatalf("only %d pages were found", len(all))
	}
	return all
}

func parsePage(t *testing.T, path, text string) page {
	t.Helper()
	p := page{path: path, text: text, anchors: map[string]bool{}}
	var prose strings.Builder
	var open *block
	var indent, last string
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		m := fence.FindStringSubmatch(line)
		switch {
		case open != nil && m != nil && m[2] == "" && m[1] == indent:
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.code += strings.TrimPrefix(line, indent) + "\n"
		case m != nil:
			open, indent = &block{language: m[2], line: n}, m[1]
			if k := marker.FindStringSubmatch(last); k != nil {
				open.marker = k[1]
			}
		default:
			prose.WriteString(line + "\n")
		}
		last = line
	}
	if open != nil {
		t.Fatalf("%s:%d: the block has no end", path, open.line)
	}
	p.prose = prose.String()
	for _, h := range heading.FindAllStringSubmatch(p.prose, -1) {
		p.anchors[anchor(h[1])] = true
	}
	return p
}

// anchor is the fragment that GitHub gives a heading.
func anchor(heading string) string {
	heading = link.ReplaceAllString(heading, "]")
	kept := strings.Map(func(r rune) rune {
		if strings.ContainsRune("`*[]().,:;?!'\"/+…’", r) {
			return -1
		}
		return r
	}, strings.ToLower(heading))
	return strings.ReplaceAll(kept, " ", "-")
}

func TestLinksOfTheDocumentationLeadSomewhere(t *testing.T) {
	t.Parallel()
	root := testkit.Root(t)
	all := pages(t)
	byPath := map[string]page{}
	for _, p := range all {
		byPath[p.path] = p
	}
	for _, p := range all {
		for _, m := range link.FindAllStringSubmatch(p.prose, -1) {
			target := m[1]
			if strings.Contains(target, "://") {
				continue
			}
			file, fragment, _ := strings.Cut(target, "#")
			path := p.path
			if file != "" {
				path = filepath.Join(filepath.Dir(p.path), file)
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s: there is no %s", p.path, target)
				continue
			}
			if linked, isPage := byPath[path]; fragment != "" && isPage && !linked.anchors[fragment] {
				t.Errorf("%s: %s has no heading #%s", p.path, path, fragment)
			}
		}
	}
}

// What code, scripts and the other files say of the documentation has to exist.
func TestPagesThatCodeNamesExist(t *testing.T) {
	t.Parallel()
	root := testkit.Root(t)
	list, err := exec.Command("git", "-C", root, "grep", "-ohE", `(^|[ "(@\x60])docs/[A-Za-z0-9/_-]+\.(md|png)`, "--", "*.go", "*.sh", "*.yml", "*.proto", "Makefile").Output()
	if err != nil {
		t.Skipf("no git checkout: %v", err)
	}
	for name := range strings.Lines(string(list)) {
		name = strings.Trim(name, " \n\"(@`")
		if name == "docs/protocol/extension_binary_data.md" {
			continue // of Triton's repository
		}
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Errorf("somewhere %s is named, which does not exist", name)
		}
	}
}

func TestLinesOfTheDocumentationFitTheScreen(t *testing.T) {
	t.Parallel()
	for _, p := range pages(t) {
		for line := range strings.Lines(p.prose) {
			line = strings.TrimRight(line, "\n")
			if n := utf8.RuneCountInString(line); n > 100 && line[0] != '|' && line[0] != '>' && strings.Contains(strings.TrimLeft(line, " -"), " ") {
				t.Errorf("%s: a line of %d characters: %s", p.path, n, line)
			}
		}
	}
}

// commandFlags are the commands of the binary, each with its flags, as --help lists them.
var commandFlags = sync.OnceValues(func() (map[string][]string, error) {
	commands := map[string][]string{}
	help, err := exec.Command(binary, "--help").Output()
	if err != nil {
		return nil, err
	}
	_, listed, _ := strings.Cut(string(help), "Available Commands:\n")
	listed, _, _ = strings.Cut(listed, "\n\n")
	flag := regexp.MustCompile(`(?m)^ +(?:(-\w), )?(--[a-z-]+)`)
	for line := range strings.Lines(listed) {
		name := strings.Fields(line)[0]
		if name == "completion" || name == "help" {
			continue
		}
		help, err := exec.Command(binary, name, "--help").Output()
		if err != nil {
			return nil, fmt.Errorf("%s --help: %w", name, err)
		}
		_, flags, _ := strings.Cut(string(help), "\nFlags:\n")
		for _, m := range flag.FindAllStringSubmatch(flags, -1) {
			commands[name] = append(commands[name], m[2])
			if m[1] != "" {
				commands[name] = append(commands[name], m[1])
			}
		}
	}
	if len(commands) < 10 {
		return nil, fmt.Errorf("--help lists %d commands", len(commands))
	}
	return commands, nil
})

func flagsOfCommands(t *testing.T) map[string][]string {
	t.Helper()
	commands, err := commandFlags()
	if err != nil {
		t.Fatal(err)
	}
	return commands
}

var (
	callOf   = regexp.MustCompile(`(?:^|[\s$(|])(?:bin/)?distinfer +([a-z][a-z-]*)((?: +[^\n|#;&]*)?)`)
	flagWord = regexp.MustCompile(`(?:^|\s)(--[a-z][a-z-]*|-o)\b`)
	quoted   = regexp.MustCompile(`'[^']*'|"[^"]*"`)
)

// checkCalls checks that the calls of distinfer in a piece of shell name commands and flags there are.
func checkCalls(commands map[string][]string, shell string) (problems []string) {
	shell = strings.ReplaceAll(shell, "\\\n", " ")
	for line := range strings.Lines(quoted.ReplaceAllString(shell, "X")) {
		for _, m := range callOf.FindAllStringSubmatch(strings.TrimRight(line, "\n"), -1) {
			flags, known := commands[m[1]]
			if !known {
				problems = append(problems, fmt.Sprintf("there is no command %q: %s", m[1], strings.TrimSpace(line)))
				continue
			}
			for _, f := range flagWord.FindAllStringSubmatch(m[2], -1) {
				if !slices.Contains(flags, f[1]) {
					problems = append(problems, fmt.Sprintf("%s has no flag %s: %s", m[1], f[1], strings.TrimSpace(line)))
				}
			}
		}
	}
	return problems
}

func TestCallsInTheDocumentationNameFlagsThereAre(t *testing.T) {
	t.Parallel()
	commands := flagsOfCommands(t)
	calls := 0
	for _, p := range pages(t) {
		if p.path == "CHANGELOG.md" {
			continue // it names what is gone, too
		}
		var pieces []string
		for _, b := range p.blocks {
			if b.language != "python" {
				pieces = append(pieces, b.code)
			}
		}
		for _, m := range codeSpan.FindAllStringSubmatch(p.prose, -1) {
			pieces = append(pieces, m[1])
		}
		for _, piece := range pieces {
			calls += len(callOf.FindAllString(piece, -1))
			if piece == "distinfer versions" {
				continue // a kind of problem that check finds
			}
			for _, problem := range checkCalls(commands, piece) {
				t.Errorf("%s: %s", p.path, problem)
			}
		}
	}
	if calls < 40 {
		t.Errorf("only %d calls were found", calls)
	}
}

// Flags of other programs that the documentation names.
var otherFlags = []string{"--library", "--cacert", "--data-binary", "--local-dir", "--model", "--models", "--only", "--task", "--user", "--scope"}

func TestFlagsInTheDocumentationExist(t *testing.T) {
	t.Parallel()
	known := slices.Clone(otherFlags)
	for _, flags := range flagsOfCommands(t) {
		known = append(known, flags...)
	}
	word := regexp.MustCompile(`(?:^|\s)(--[a-z][a-z-]+)`)
	for _, p := range pages(t) {
		if p.path == "CHANGELOG.md" || !strings.HasPrefix(p.path, "docs/") && p.path != "README.md" {
			continue
		}
		for _, m := range codeSpan.FindAllStringSubmatch(p.prose, -1) {
			for _, f := range word.FindAllStringSubmatch(m[1], -1) {
				if !slices.Contains(known, f[1]) {
					t.Errorf("%s: no command has %s", p.path, f[1])
				}
			}
		}
	}
}

// docs/reference/configuration.md has a row for every flag, with the commands that have it.
func TestTheReferenceListsEveryFlagOfEveryCommand(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join(testkit.Root(t), "docs/reference/configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	commands := flagsOfCommands(t)
	listed := map[string][]string{} // commands by flag
	logging := []string{"verify", "serve-stage", "front", "up", "check", "predict", "bench"}
	_, tables, _ := strings.Cut(string(data), "\n## Settings\n")
	for line := range strings.Lines(tables) {
		cells := strings.Split(line, " | ")
		if !strings.HasPrefix(line, "| `") || len(cells) < 4 {
			continue
		}
		where := cells[1]
		for _, m := range codeSpan.FindAllStringSubmatch(cells[0], -1) {
			name := m[1]
			if !strings.HasPrefix(name, "-") {
				name = "--" + name
			}
			switch where {
			case "all":
				listed[name] = slices.Sorted(maps.Keys(commands))
			case "the same":
				listed[name] = append(listed[name], logging...)
			case "split (file only)": // no flag
			default:
				for c := range strings.SplitSeq(where, ", ") {
					listed[name] = append(listed[name], strings.Fields(c)[0])
				}
			}
		}
	}
	for c, flags := range commands {
		for _, f := range flags {
			if f == "--help" || f == "-h" {
				continue
			}
			if !slices.Contains(listed[f], c) {
				t.Errorf("%s %s is not listed", c, f)
			}
		}
	}
	for f, in := range listed {
		for _, c := range in {
			if !slices.Contains(commands[c], f) {
				t.Errorf("%s %s is listed, and does not exist", c, f)
			}
		}
	}
}

func TestMetricsInTheDocumentationExist(t *testing.T) {
	t.Parallel()
	// Package metrics' own test compares this list with what there is.
	data, err := os.ReadFile(filepath.Join(testkit.Root(t), "docs/reference/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`\bdistinfer_[a-z_]*[a-z]\b`)
	row := regexp.MustCompile("(?m)^\\| `(distinfer_[a-z_]+)`")
	var known []string
	for _, m := range row.FindAllStringSubmatch(string(data), -1) {
		known = append(known, m[1])
	}
	for _, p := range pages(t) {
		for _, m := range name.FindAllString(p.text, -1) {
			if !slices.ContainsFunc(known, func(k string) bool { return k == m || strings.HasPrefix(k, m+"_") }) {
				t.Errorf("%s: there is no metric %s", p.path, m)
			}
		}
	}
}

func TestPathsAndTargetsInTheDocumentationExist(t *testing.T) {
	t.Parallel()
	root := testkit.Root(t)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllStringSubmatch(string(makefile), -1) {
		targets[m[1]] = true
	}
	main, err := os.ReadFile(filepath.Join(root, "bench/main.go"))
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\t\{"([a-z]+)", "`).FindAllStringSubmatch(string(main), -1) {
		programs[m[1]] = true
	}
	program := regexp.MustCompile(`\bmake bench NAME=([a-z]+)`)
	target := regexp.MustCompile(`(?:^|\s)make ([a-z][a-z-]*)\b`)
	path := regexp.MustCompile(`^(?:docs|cmd|split|runtime|server|models|scripts|bench|deploy)/[A-Za-z0-9_./*-]+$`)
	for _, p := range pages(t) {
		if p.path == "CHANGELOG.md" {
			continue
		}
		var pieces []string
		for _, b := range p.blocks {
			if b.language == "sh" || p.path == "README.md" || p.path == "CONTRIBUTING.md" {
				pieces = append(pieces, b.code)
			}
		}
		for _, m := range codeSpan.FindAllStringSubmatch(p.prose, -1) {
			pieces = append(pieces, m[1])
		}
		for _, piece := range pieces {
			for _, m := range program.FindAllStringSubmatch(piece, -1) {
				if !programs[m[1]] {
					t.Errorf("%s: make bench knows no %q", p.path, m[1])
				}
			}
			for _, m := range target.FindAllStringSubmatch(piece, -1) {
				if !targets[m[1]] {
					t.Errorf("%s: there is no target %q", p.path, m[1])
				}
			}
			for word := range strings.FieldsSeq(piece) {
				if !path.MatchString(word) {
					continue
				}
				if found, err := filepath.Glob(filepath.Join(root, word)); err != nil || len(found) == 0 {
					t.Errorf("%s: there is no %s", p.path, word)
				}
			}
		}
	}
}

// docs/architecture.md has a line for every package that is not only for tests or generated.
func TestTheArchitectureListsEveryPackage(t *testing.T) {
	t.Parallel()
	root := testkit.Root(t)
	data, err := os.ReadFile(filepath.Join(root, "docs/architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	helper := regexp.MustCompile(`(test|pb|kit)$`)
	for _, top := range []string{"cmd", "split", "runtime", "server"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, entry os.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return err
			}
			sources, err := filepath.Glob(filepath.Join(path, "*.go"))
			if err != nil {
				return err
			}
			tests, err := filepath.Glob(filepath.Join(path, "*_test.go"))
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err == nil && len(sources) > len(tests) && !helper.MatchString(name) && !strings.Contains(string(data), "\n| `"+name+"` |") {
				t.Errorf("package %s is not listed", name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// What is fenced as sh runs as it is written, page by page and block by block, in a folder that
// has a bundle and the repository's models; ports are those of the test's own front.
func TestCommandsOfTheDocumentationRun(t *testing.T) {
	t.Parallel()
	root := testkit.Root(t)
	bundle := split(t, "sst2-minilm", 2)
	_, first := stage(t, bundle, 0)
	_, second := stage(t, bundle, 1)
	_, url := front(t, bundle, []string{first, second})
	// The address of the first version's example stays answered.
	if status, body := fetch(t, "GET", url+"/?text=piece%20of%20shit", ""); status != 200 || body != "negative\n" {
		t.Errorf("the old example is answered %d %q", status, body)
	}
	splits := regexp.MustCompile(`(?m)^distinfer split \S+ --stages \d+$`) // into stages, which must not be there yet
	ran := 0
	for _, p := range pages(t) {
		var script strings.Builder
		for _, b := range p.blocks {
			if b.language != "sh" || strings.HasPrefix(b.marker, "not run") || strings.HasPrefix(b.marker, "run on ") {
				continue
			}
			if b.marker != "" {
				b.code = strings.ReplaceAll(b.code, "http://localhost:8008", url)
				b.code = strings.ReplaceAll(b.code, "localhost:8008", url)
				b.code = strings.ReplaceAll(b.code, "distinfer bench", "distinfer bench "+url)
			}
			fmt.Fprintf(&script, "echo '%s:%d' >&2\n%s\n", p.path, b.line, strings.ReplaceAll(b.code, "curl ", "curl -sSf "))
			ran++
		}
		if script.Len() == 0 {
			continue
		}
		t.Run(strings.ReplaceAll(p.path, "/", "-"), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, name := range []string{"models", "Makefile"} {
				if err := os.Symlink(filepath.Join(root, name), filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			if !splits.MatchString(script.String()) {
				if err := os.CopyFS(filepath.Join(dir, "stages"), os.DirFS(bundle)); err != nil {
					t.Fatal(err)
				}
			}
			cmd := command(t, dir)
			cmd.Env = append(cmd.Env, "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
			cmd.Path, cmd.Args = "/bin/bash", []string{"bash", "-euo", "pipefail", "-c", script.String()}
			if r := finish(t, cmd, ""); r.code != 0 {
				t.Errorf("exit code %d:\n%s\n%s", r.code, r.stderr, r.stdout)
			}
		})
	}
	if ran < 15 {
		t.Errorf("only %d blocks ran", ran)
	}
}

// A flag or a command that does not exist has to be found.
func TestTheDocumentationsTestFindsWhatDoesNotExist(t *testing.T) {
	t.Parallel()
	commands := flagsOfCommands(t)
	for shell, problems := range map[string]int{
		"distinfer split model.onnx --stages 2\n":                                   0,
		"echo a | distinfer predict -o json\n":                                      0,
		"machine$ distinfer split model.onnx --stagse 2\n":                          1,
		"distinfer spilt model.onnx\n":                                              1,
		"distinfer check --stages a:1,b:2 --column x # --no-such\n":                 1,
		"distinfer front --no-such \\\n  --neither   # comment\ncurl --no-such x\n": 2,
	} {
		if found := checkCalls(commands, shell); len(found) != problems {
			t.Errorf("%q: %v", shell, found)
		}
	}
}
