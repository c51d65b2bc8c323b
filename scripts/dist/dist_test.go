package main

import (
	"io"
	"testing"
	"time"
)

func TestVersionsAsOthersWriteThem(t *testing.T) {
	for _, c := range []struct{ version, python, debian string }{
		{"0.1.0", "0.1.0", "0.1.0"},
		{"0.1.0-rc.1", "0.1.0rc1", "0.1.0~rc.1"},
		{"1.2.3-beta.4", "1.2.3b4", "1.2.3~beta.4"},
		{"0.0.0-20261201153725-87030e4ff39a", "0.0.0.dev20261201153725+87030e4ff39a", "0.0.0~20261201153725-87030e4ff39a"},
		{"0.1.1-0.20261201153725-87030e4ff39a", "0.1.1.dev20261201153725+87030e4ff39a", "0.1.1~0.20261201153725-87030e4ff39a"},
		{"0.1.0-rc.1.0.20261201153725-87030e4ff39a.dirty", "0.1.0.dev20261201153725+87030e4ff39a.dirty", "0.1.0~rc.1.0.20261201153725-87030e4ff39a.dirty"},
		{"0.1.0-whatever", "", "0.1.0~whatever"},
	} {
		got, err := pythonVersion(c.version)
		if got != c.python || (err != nil) != (c.python == "") {
			t.Errorf("%s: Python has %q, %v, not %q", c.version, got, err, c.python)
		}
		if got := debianVersion(c.version); got != c.debian {
			t.Errorf("%s: Debian has %q, not %q", c.version, got, c.debian)
		}
	}
}

func TestWhatTheImageTakesOfDebian(t *testing.T) {
	for name, want := range map[string]bool{
		"usr/lib/x86_64-linux-gnu/libc.so.6":              true,
		"usr/lib/aarch64-linux-gnu/libstdc++.so.6.0.33":   true,
		"usr/lib64/ld-linux-x86-64.so.2":                  true,
		"usr/lib/ld-linux-aarch64.so.1":                   true,
		"usr/share/doc/libc6/copyright":                   true,
		"usr/share/zoneinfo/Europe/Berlin":                true,
		"lib":                                             true,
		"usr/share/doc/libc6/changelog.gz":                false,
		"usr/lib/x86_64-linux-gnu/gconv/UTF-16.so":        false,
		"usr/bin/ldd":                                     false,
		"usr/share/gcc/python/libstdcxx/__init__.py":      false,
		"usr/share/lintian/overrides/libc6":               false,
		"usr/share/base-files/profile":                    false,
		"etc/update-motd.d/10-uname":                      false,
		"usr/share/gdb/auto-load/usr/lib/x86_64/a-gdb.py": false,
	} {
		if got := wanted.MatchString(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestALayerIsTheSameWheneverItIsPacked(t *testing.T) {
	digest := func() string {
		files := tree{}
		for _, name := range []string{"b/c", "a", "b/d/e"} {
			files.write(name, name)
		}
		layer, err := files.layer(time.Unix(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		content, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			t.Fatal(err)
		}
		sum, err := layer.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return sum.String()
	}
	if a, b := digest(), digest(); a != b {
		t.Errorf("%s, then %s", a, b)
	}
}
