package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree makes files below a new folder: each line is "PATH CONTENT".
func tree(t *testing.T, lines ...string) string {
	t.Helper()
	top := t.TempDir()
	for _, line := range lines {
		path, content, _ := strings.Cut(line, " ")
		path = filepath.Join(top, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

func TestFind(t *testing.T) {
	v1 := func(top string) string {
		return "30 1 0:1 / " + top + "/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n" +
			"31 1 0:2 / " + top + "/memory rw - cgroup cgroup rw,memory\n" +
			"32 1 0:3 / " + top + "/unified rw - cgroup2 cgroup2 rw\n"
	}
	v2 := func(top string) string { return "30 1 0:1 / " + top + " rw shared:4 shared:5 - cgroup2 cgroup2 rw\n" }
	contained := func(top string) string {
		return "30 1 0:1 /docker/ab " + top + "/cpu ro - cgroup cgroup rw,cpu\n31 1 0:2 /docker/ab " + top + "/memory ro - cgroup cgroup rw,memory\n"
	}
	for _, c := range []struct {
		name   string
		files  []string
		mounts func(top string) string
		own    string
		cpu    string // below the top
		memory string
		v2     bool
		err    string
	}{
		{name: "version 1", files: []string{"cpu/a/cgroup.procs 1", "memory/b/c/cgroup.procs 1", "unified/cgroup.controllers hugetlb"},
			mounts: v1, own: "4:memory:/b/c\n1:cpu,cpuacct:/a\n0::/\n", cpu: "/cpu/a", memory: "/memory/b/c"},
		{name: "version 1 in a container that sees its own group", files: []string{"cpu/cgroup.procs 1", "memory/x/cgroup.procs 1"},
			mounts: contained, own: "1:cpu:/docker/ab\n4:memory:/docker/ab/x\n", cpu: "/cpu", memory: "/memory/x"},
		{name: "version 1 in a container that does not", files: []string{"cpu/cgroup.procs 1", "memory/cgroup.procs 1"},
			mounts: contained, own: "1:cpu:/elsewhere\n4:memory:/docker/ab/gone\n", cpu: "/cpu", memory: "/memory"},
		{name: "version 2, where the group above may", files: []string{"cgroup.controllers cpu memory", "cgroup.procs 1", "cgroup.subtree_control memory",
			"user/cgroup.procs ", "user/cgroup.subtree_control cpu memory pids", "user/scope/cgroup.procs 7"},
			mounts: v2, own: "0::/user/scope\n", cpu: "/user", memory: "/user", v2: true},
		{name: "both versions", files: []string{"cpu/cgroup.procs 1", "unified/cgroup.procs 1", "unified/cgroup.controllers memory", "unified/cgroup.subtree_control memory"},
			mounts: func(top string) string { return strings.ReplaceAll(v1(top), "rw,memory", "rw,blkio") },
			own:    "1:cpu,cpuacct:/\n0::/\n", cpu: "/cpu", memory: "/unified"},
		{name: "nothing is mounted", mounts: func(string) string { return "" }, err: `with the controller "cpu"`},
		{name: "no controller for memory", files: []string{"cgroup.controllers cpu pids"}, mounts: v2, own: "0::/\n", err: `with the controller "memory"`},
		{name: "nothing that may be written", files: []string{"cgroup.controllers cpu memory"}, mounts: v2, own: "0::/\n", err: "Delegate=yes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := tree(t, c.files...)
			root, err := find(parseMounts(c.mounts(top)), parseOwn(c.own))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, which should name %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if root.cpu.dir != top+c.cpu || root.memory.dir != top+c.memory || root.cpu.v2 != c.v2 {
				t.Errorf("%+v", root)
			}
		})
	}
}

// Controllers that a group's children lack are given to them.
func TestFindGivesControllersOn(t *testing.T) {
	top := tree(t, "cgroup.controllers cpu memory", "cgroup.procs 1", "cgroup.subtree_control pids memory")
	if _, err := find(parseMounts("30 1 0:1 / "+top+" rw - cgroup2 cgroup2 rw\n"), parseOwn("0::/\n")); err != nil {
		t.Fatal(err)
	}
	// The kernel adds to what the file says; a plain one is overwritten at its beginning.
	if data, err := os.ReadFile(filepath.Join(top, "cgroup.subtree_control")); err != nil || string(data) != "+cpu memory" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestMountsWithSpaces(t *testing.T) {
	got := parseMounts(`30 1 0:1 /a\040b /mnt/x\134y\040z rw - cgroup2 cgroup2 rw` + "\n" + `31 1 0:2 / / rw - ext4 /dev/sda rw` + "\nnonsense\n")
	if len(got) != 1 || got[0].root != "/a b" || got[0].dir != `/mnt/x\y z` || !got[0].v2 {
		t.Errorf("%+v", got)
	}
}
