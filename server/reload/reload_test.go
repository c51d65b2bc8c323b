package reload_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/reload"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// join refuses files that do not begin alike, as a key and a certificate may not
// belong together.
func join(files [][]byte) (string, error) {
	if len(files[0]) == 0 || files[0][0] != files[1][0] {
		return "", fmt.Errorf("%q and %q do not fit", files[0], files[1])
	}
	return string(files[0]) + "+" + string(files[1]), nil
}

func TestAValueFollowsItsFilesAndOutlivesBrokenOnes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	write(t, one, "a1")
	write(t, two, "a2")
	var log testkit.Log
	v, err := reload.Open(log.Logger(), 100, join, one, two)
	if err != nil {
		t.Fatal(err)
	}
	if got := v.Get(); got != "a1+a2" {
		t.Fatalf("%q", got)
	}
	// One of two is replaced: the old value stays until the other is there too.
	write(t, one, "b1")
	testkit.Eventually(t, "the mismatch is logged", func() bool { _ = v.Get(); return strings.Contains(log.String(), "do not fit") })
	if got := v.Get(); got != "a1+a2" {
		t.Errorf("%q of a mismatching set", got)
	}
	write(t, two, "b2")
	testkit.Eventually(t, "both are read", func() bool { return v.Get() == "b1+b2" })
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, log.String())
	}

	// Gone, and then there again with the same size and times.
	info, err := os.Stat(one)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(one); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the loss is logged", func() bool { _ = v.Get(); return strings.Contains(log.String(), "no such file") })
	if got := v.Get(); got != "b1+b2" {
		t.Errorf("%q without the file", got)
	}
	write(t, one, "b3")
	if err := os.Chtimes(one, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the new file is read", func() bool { return v.Get() == "b3+b2" })

	write(t, two, "b"+strings.Repeat("x", 100))
	testkit.Eventually(t, "the size is refused", func() bool { _ = v.Get(); return strings.Contains(log.String(), "more than the 100 bytes") })
	if got := v.Get(); got != "b3+b2" {
		t.Errorf("%q of a file too large", got)
	}
}

func TestOpenFailsOfWhatCannotBeUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	write(t, one, "a")
	open := func() error {
		_, err := reload.Open(slog.New(slog.DiscardHandler), 100, join, one, two)
		return err
	}
	if err := open(); !errors.Is(err, os.ErrNotExist) || strings.Count(err.Error(), two) != 1 {
		t.Errorf("%v", err)
	}
	write(t, two, "b")
	if err := open(); err == nil || !strings.Contains(err.Error(), "do not fit") {
		t.Errorf("%v", err)
	}
}

func TestManyMayAskAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	write(t, path, "0")
	v, err := reload.Open(slog.New(slog.DiscardHandler), 100, func(files [][]byte) (string, error) { return string(files[0]), nil }, path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for end := time.Now().Add(testkit.Patience); v.Get() != "1"; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Error("the change was not noticed")
					return
				}
			}
		})
	}
	write(t, path, "1")
	wg.Wait()
}

func TestASecretThatOthersCanReadIsExposed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	write(t, path, "x")
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true, 0o604: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if got := reload.Exposed(path); got != want {
			t.Errorf("%o: %v", mode, got)
		}
	}
}
