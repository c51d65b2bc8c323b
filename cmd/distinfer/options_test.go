package main

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/runtime/testkit"
)

// uses are the flags of most commands that each uses, and valid are values of theirs.
var uses = map[string][]string{
	"split":       {"config", "onnxruntime", "output"},
	"verify":      {"bundle", "config", "log-format", "log-level", "onnxruntime", "output"},
	"serve-stage": {"bundle", "config", "log-format", "log-level", "onnxruntime"},
	"front":       {"bundle", "config", "log-format", "log-level"},
	"up":          {"bundle", "config", "log-format", "log-level", "onnxruntime"},
	"check":       {"bundle", "config", "log-format", "log-level", "output"},
	"predict":     {"bundle", "config", "log-format", "log-level", "onnxruntime", "output"},
	"bench":       {"config", "log-format", "log-level", "output"},
	"tokenize":    {"bundle", "config", "output"},
	"certs":       {"config", "output"},
	"version":     {"config", "onnxruntime", "output"},
}

var valid = map[string]string{"bundle": "x", "config": "x", "onnxruntime": "x", "output": "json", "log-level": "warn", "log-format": "json"}

// parsed is a command whose own work is nothing, after a command line.
func parsed(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	for _, c := range root.Commands() {
		c.Args, c.RunE = cobra.ArbitraryArgs, func(*cobra.Command, []string) error { return nil }
	}
	err := root.Execute()
	return out.String(), err
}

func TestEveryCommandRefusesWhatItDoesNotUse(t *testing.T) {
	t.Parallel()
	var commands []string
	for _, c := range newRoot().Commands() {
		if c.Name() != "help" && c.Name() != "completion" {
			commands = append(commands, c.Name())
		}
	}
	for name := range uses {
		if !slices.Contains(commands, name) {
			t.Errorf("there is no command %s", name)
		}
	}
	for _, name := range commands {
		help, err := parsed(t, name, "--help")
		if err != nil {
			t.Fatal(err)
		}
		for flag, x := range valid {
			used := slices.Contains(uses[name], flag)
			if listed := strings.Contains(help, "--"+flag+" "); listed != used {
				t.Errorf("%s --help lists --%s: %v, and it uses it: %v", name, flag, listed, used)
			}
			for _, args := range [][]string{{name, "--" + flag, x}, {name, "--" + flag + "=" + x, "y"}, {"--" + flag, x, name}} {
				_, err := parsed(t, args...)
				var usage *settings.Error
				if used && err != nil || !used && (!errors.As(err, &usage) || !strings.Contains(err.Error(), "--"+flag+" has no effect")) {
					t.Errorf("%v: %v, and it uses the flag: %v", args, err, used)
				}
			}
		}
	}
}

// A new flag is a setting for all machines too, unless OnlyFlags says otherwise.
func TestTheConfigFileKnowsTheseKeys(t *testing.T) {
	t.Parallel()
	want := []string{
		"activation-dtype", "admin", "allowed-hosts", "bundle", "bundle-id", "cors-origins", "cpu-profile", "dead-after", "fetch",
		"grpc-port", "health", "https-cert", "https-key", "insecure", "listen", "log-format", "log-level", "machines", "max-body",
		"max-connections", "max-memory", "max-message", "max-queue", "max-texts", "max-tokens", "max-wait", "nice", "onnxruntime",
		"output", "port", "rank", "share", "shutdown-delay", "stages", "subset", "threads", "timeout", "tls", "tokens", "truncation",
	}
	if got := slices.Sorted(maps.Keys(settings.Of(newRoot()))); !slices.Equal(got, want) {
		t.Errorf("the settings are\n%q, want\n%q", got, want)
	}
}

func TestAFlagIsReadAlikeFromEverySource(t *testing.T) {
	for _, c := range []struct{ flag, good, bad, says string }{
		{"timeout", "5s", "5", "a time needs a unit"},
		{"port", "80", "eighty", "it can be 0 to 65535"},
		{"stages", "a:1,b:2|c:3", "a:1,b", `rank 1: "b" is not host:port`},
		{"cors-origins", "https://a.org, https://b.org", "https://a.org/x", "is not an origin"},
		{"insecure", "true", "very", "it can be true or false"},
		{"log-level", "debug", "loud", "it can be debug, info, warn or error"},
		{"bundle-id", "0123456789ab", "0123", "12 to 64"},
	} {
		t.Run(c.flag, func(t *testing.T) {
			read := func(args []string, env, file string) (string, error) {
				t.Helper()
				path := filepath.Join(t.TempDir(), "c.yaml")
				if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
					t.Fatal(err)
				}
				t.Setenv(settings.Variable(c.flag), env)
				var got string
				root := newRoot()
				front, _, err := root.Find([]string{"front"})
				if err != nil {
					t.Fatal(err)
				}
				front.RunE = func(cmd *cobra.Command, _ []string) error {
					err := settings.Configure(cmd)
					got = cmd.Flags().Lookup(c.flag).Value.String()
					return err
				}
				root.SetArgs(append([]string{"front", "--config", path}, args...))
				return got, root.Execute()
			}
			var values []string
			for name, source := range map[string]func(string) (string, error){
				"--" + c.flag:             func(s string) (string, error) { return read([]string{"--" + c.flag + "=" + s}, "", "") },
				settings.Variable(c.flag): func(s string) (string, error) { return read(nil, s, "") },
				"c.yaml: " + c.flag: func(s string) (string, error) {
					return read(nil, "", c.flag+": "+s)
				},
			} {
				got, err := source(c.good)
				values = append(values, got)
				if err != nil || got == "" {
					t.Errorf("%s of %q: %q, %v", name, c.good, got, err)
				}
				if _, err := source(c.bad); err == nil || !strings.Contains(err.Error(), name+" is ") || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s of %q: %v", name, c.bad, err)
				}
			}
			if values = slices.Compact(values); len(values) != 1 {
				t.Errorf("%s is read as %q", c.flag, values)
			}
		})
	}
}

// Packages below give typed errors or neutral words, which errors.go says flags for. What `check`
// recommends is for the command line.
func TestOnlyCommandsNameFlags(t *testing.T) {
	t.Parallel()
	flag := regexp.MustCompile(`(^|[^-\w])--[a-z][a-z-]+`)
	for _, folder := range []string{"runtime", "server", "split"} {
		err := filepath.WalkDir(filepath.Join(testkit.Root(t), folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/server/check/") {
				return err
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING && flag.MatchString(l.Value) {
					t.Errorf("%s: %s", files.Position(l.Pos()), l.Value)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
