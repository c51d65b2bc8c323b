package peers

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

func TestParentIsReadBehindAnyName(t *testing.T) {
	t.Parallel()
	pid, parent, err := parseStat([]byte("12 (a) R 7 (b)) S 34 12 12 0 -1"))
	if pid != 12 || parent != 34 || err != nil {
		t.Errorf("%d, %d, %v", pid, parent, err)
	}
	for _, bad := range []string{"", "12 a S 1", "12 (a)", "12 (a) S", "x (a) S 1", ") ("} {
		if _, _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestDescendantsAreOfAllGenerations(t *testing.T) {
	t.Parallel()
	got := descendants(map[int]int{2: 1, 3: 2, 4: 3, 5: 1, 6: 9, 7: 6}, 2)
	if slices.Sort(got); !slices.Equal(got, []int{3, 4}) {
		t.Errorf("%v", got)
	}
}

// proc makes a folder as /proc has one for each process.
func proc(t *testing.T, files map[string]string) string {
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestMemoryIsSharedOutWhereTheKernelSaysHow(t *testing.T) {
	t.Parallel()
	dir := proc(t, map[string]string{
		"1/smaps_rollup": "55 ---p [rollup]\nRss:  900 kB\nPss:  300 kB\nPss_Dirty: 7 kB\n",
		"1/status":       "VmRSS:\t900 kB\n",
		"2/status":       "Name:\tx\nVmRSS:\t  50 kB\n", // a kernel without smaps_rollup
		"3/status":       "Name:\tended\nState:\tZ (zombie)\n",
	})
	got, err := resident(dir, []int{1, 2, 3, 4})
	if want := int64(350 << 10); got != want || err != nil {
		t.Errorf("%d, %v; want %d", got, err, want)
	}
}

func TestMemoryOfAProcessThatRuns(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("there is no /proc here")
	}
	all, err := parents("/proc")
	if err != nil || all[os.Getpid()] != os.Getppid() {
		t.Errorf("our parent is %d, not %d: %v", all[os.Getpid()], os.Getppid(), err)
	}
	n, err := resident("/proc", []int{os.Getpid()})
	if err != nil || n < 1<<20 {
		t.Errorf("%s has %d bytes: %v", strconv.Itoa(os.Getpid()), n, err)
	}
}
