package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/testkit"
)

// A lab is machines with the addresses that a page shows: network namespaces behind a bridge in a
// namespace of its own, so that nothing of it is seen outside.
type lab struct {
	t        *testing.T
	prefix   string
	dir      string // of the machines' folders, by address, and of bin
	env      []string
	machines map[string]*machine
}

// A machine keeps the folder that its last block ended in.
type machine struct {
	namespace string
	folder    string
}

// onMachine is a marker such as "run on 192.168.0.101, serves".
var onMachine = regexp.MustCompile(`^run on ([\w.:]+)(, serves)?$`)

// copier stands in for scp: it copies into the folder of the other machine.
const copier = `#!/bin/bash
set -eu
files=()
for a; do [[ $a == -* ]] || files+=("$a"); done
to=${files[-1]}
unset 'files[-1]'
cp -r "${files[@]}" "$LAB/${to%%:*}/${to#*:}"
`

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, prefix: fmt.Sprintf("docs-%d-%s", os.Getpid(), strings.ToLower(t.Name()[max(0, len(t.Name())-8):])), dir: t.TempDir(), machines: map[string]*machine{}}
	l.prefix = regexp.MustCompile(`[^a-z0-9-]`).ReplaceAllString(l.prefix, "-")
	lay(t, l.dir, "bin/scp", copier)
	if err := os.Chmod(filepath.Join(l.dir, "bin", "scp"), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	l.env = command(t, l.dir).Env
	l.env = append(l.env, "LAB="+l.dir, "PATH="+filepath.Join(l.dir, "bin")+":"+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	l.namespace("switch")
	l.ip("-n", l.prefix+"-switch", "link", "add", "br0", "type", "bridge")
	l.ip("-n", l.prefix+"-switch", "link", "set", "br0", "up")
	return l
}

func (l *lab) ip(args ...string) {
	l.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		l.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func (l *lab) namespace(name string) string {
	l.t.Helper()
	name = l.prefix + "-" + name
	l.ip("netns", "add", name)
	l.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	return name
}

// machine returns the one with an address, or localhost, which no other reaches.
func (l *lab) machine(address string) *machine {
	l.t.Helper()
	if m := l.machines[address]; m != nil {
		return m
	}
	n := len(l.machines)
	m := &machine{namespace: l.namespace(fmt.Sprint(n)), folder: filepath.Join(l.dir, address)}
	if err := os.MkdirAll(m.folder, 0o700); err != nil {
		l.t.Fatal(err)
	}
	l.ip("-n", m.namespace, "link", "set", "lo", "up")
	if address != "localhost" {
		end := fmt.Sprintf("e%d", n)
		l.ip("-n", m.namespace, "link", "add", "eth0", "type", "veth", "peer", "name", end, "netns", l.prefix+"-switch")
		l.ip("-n", l.prefix+"-switch", "link", "set", end, "master", "br0", "up")
		l.ip("-n", m.namespace, "addr", "add", address+"/24", "dev", "eth0")
		l.ip("-n", m.namespace, "link", "set", "eth0", "up")
	}
	l.machines[address] = m
	return m
}

// run runs a block as it is written. One that serves stays, and is awaited until it is ready.
func (l *lab) run(where string, m *machine, code string, serves bool) {
	l.t.Helper()
	cwd := filepath.Join(l.dir, "cwd")
	script := "cd " + m.folder + "\n" + code + "\npwd > " + cwd + "\n"
	log, err := os.CreateTemp(l.dir, "log-")
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", m.namespace, "bash", "-euo", "pipefail", "-c", script)
	cmd.Env = l.env
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	l.t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	output := func() string {
		data, err := os.ReadFile(log.Name())
		if err != nil {
			l.t.Fatal(err)
		}
		return string(data)
	}
	ready := strings.Count(code, "serve-stage") + strings.Count(code, "distinfer front")
	for late := time.After(2 * time.Minute); ; {
		select {
		case err := <-ended:
			if err != nil || serves {
				l.t.Fatalf("%s: %v\n%s", where, err, output())
			}
			if next, err := os.ReadFile(cwd); err == nil {
				m.folder = strings.TrimSpace(string(next))
			}
			return
		case <-late:
			l.t.Fatalf("%s has not ended, or is not ready, after two minutes:\n%s", where, output())
		case <-time.After(100 * time.Millisecond):
			if out := output(); serves && strings.Count(out, "stage ready")+strings.Count(out, "front listening") >= ready {
				return
			}
		}
	}
}

// archive puts a release's archive, as far as the page needs it, into a folder.
func archive(t *testing.T, into string) {
	t.Helper()
	name, root := "distinfer-0.0.0-linux-amd64", testkit.Root(t)
	dir := filepath.Join(t.TempDir(), name)
	lay(t, dir, "lib/.keep", "")
	for _, c := range [][]string{
		{"cp", binary, filepath.Join(dir, "distinfer")},
		{"cp", "-rL", filepath.Join(root, ".setup", "onnxruntime") + "/.", filepath.Join(dir, "lib")},
		{"cp", "-rL", filepath.Join(root, "models"), dir},
		{"tar", "czf", filepath.Join(into, name+".tar.gz"), "-C", filepath.Dir(dir), name},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", c, err, out)
		}
	}
}

// prepare gives machines what the reader of a page has: nothing but the archive where the page
// unpacks it, else the program, the models and, unless the page lets it be fetched, the bundle.
func (l *lab) prepare(p page, addresses []string) {
	l.t.Helper()
	for _, address := range addresses {
		l.machine(address)
	}
	if strings.Contains(p.text, "tar xzf distinfer-") {
		archive(l.t, l.machine(addresses[0]).folder)
		l.env = slices.DeleteFunc(l.env, func(e string) bool { return strings.HasPrefix(e, "DISTINFER_") })
		l.env = append(l.env, "PATH="+filepath.Join(l.dir, "bin")+":"+os.Getenv("PATH"))
		return
	}
	bundle := split(l.t, "sst2-minilm", 2)
	for i, address := range addresses {
		m := l.machine(address)
		if err := os.Symlink(filepath.Join(testkit.Root(l.t), "models"), filepath.Join(m.folder, "models")); err != nil {
			l.t.Fatal(err)
		}
		if splits := strings.Contains(p.text, "distinfer split models"); splits || i > 0 && strings.Contains(p.text, "--fetch") {
			continue
		}
		if err := os.CopyFS(filepath.Join(m.folder, "stages"), os.DirFS(bundle)); err != nil {
			l.t.Fatal(err)
		}
	}
}

// Blocks that name a machine run on one with that address, in order, as they are written.
// It needs root, for network namespaces: make conformance WITH=docs.
func TestCommandsForSeveralMachinesRun(t *testing.T) {
	if os.Getenv("DISTINFER_DOCS") == "" {
		t.Skip("make conformance WITH=docs runs it")
	}
	ran := 0
	for _, p := range pages(t) {
		var addresses []string
		for _, b := range p.blocks {
			if m := onMachine.FindStringSubmatch(b.marker); m != nil && !slices.Contains(addresses, m[1]) {
				addresses = append(addresses, m[1])
			}
		}
		if len(addresses) == 0 {
			continue
		}
		t.Run(strings.ReplaceAll(p.path, "/", "-"), func(t *testing.T) {
			l := newLab(t)
			l.prepare(p, addresses)
			for _, b := range p.blocks {
				if m := onMachine.FindStringSubmatch(b.marker); m != nil {
					code := strings.ReplaceAll(b.code, "curl ", "curl -sSf ")
					l.run(fmt.Sprintf("%s:%d", p.path, b.line), l.machine(m[1]), code, m[2] != "")
					ran++
				}
			}
		})
	}
	if ran < 10 {
		t.Errorf("only %d blocks ran", ran)
	}
}

// What begins with a program's name is fenced as sh, so that it runs or says why not.
func TestCommandsOfTheDocumentationAreFencedAsShell(t *testing.T) {
	t.Parallel()
	programs := regexp.MustCompile(`(?m)^(\$ |# )?(sudo )?(distinfer|\./distinfer|make|curl|tar|apt|pip|docker|podman|kubectl|helm|systemctl|scp|go|python3?) `)
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.language == "" && programs.MatchString(b.code) {
				t.Errorf("%s:%d: commands in a block that is not fenced as sh", p.path, b.line)
			}
		}
	}
}
