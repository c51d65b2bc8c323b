package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Root is where groups are made: for each controller a folder of the
// hierarchy that has it. With version 2 it is the same for both.
type Root struct {
	cpu, memory place
}

// A place is a group that others can be made in.
type place struct {
	dir string
	v2  bool
}

// Find looks where this process may make groups that limit processors and
// memory. The error says what is missing.
func Find() (*Root, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("control groups need Linux: %w", err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("the kernel has no control groups: %w", err)
	}
	return find(parseMounts(string(mounts)), parseOwn(string(own)))
}

// A mount is one of a hierarchy of groups.
type mount struct {
	root, dir   string
	v2          bool
	controllers []string // of version 1; those of version 2 are in a file
}

// has reports whether the hierarchy has a controller.
func (m mount) has(controller string) bool {
	if m.v2 {
		return holds(filepath.Join(m.dir, "cgroup.controllers"), controller)
	}
	return slices.Contains(m.controllers, controller)
}

// own is the folder of the group at path, or the mount's own where that is not
// to be seen.
func (m mount) own(path string) string {
	rel, err := filepath.Rel(m.root, path)
	if err != nil || !filepath.IsLocal(rel) {
		return m.dir
	}
	dir := filepath.Join(m.dir, rel)
	if _, err := os.Stat(dir); err != nil {
		return m.dir
	}
	return dir
}

// parseMounts reads mountinfo: "36 35 0:31 ROOT DIR rw,… [fields] - TYPE SOURCE OPTIONS".
func parseMounts(mountinfo string) []mount {
	var mounts []mount
	for line := range strings.Lines(mountinfo) {
		before, after, _ := strings.Cut(line, " - ")
		place, kind := strings.Fields(before), strings.Fields(after)
		if len(place) < 5 || len(kind) < 3 || kind[0] != "cgroup" && kind[0] != "cgroup2" {
			continue
		}
		mounts = append(mounts, mount{unescape(place[3]), unescape(place[4]), kind[0] == "cgroup2", strings.Split(kind[2], ",")})
	}
	return mounts
}

// unescape undoes what the kernel writes for spaces and the like: \040.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// parseOwn reads /proc/self/cgroup, "4:memory:/path" and "0::/path": the path of
// this process's group by controller, of version 2 under "".
func parseOwn(cgroup string) map[string]string {
	own := map[string]string{}
	for line := range strings.Lines(cgroup) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) < 3 {
			continue
		}
		for _, controller := range strings.Split(parts[1], ",") {
			own[controller] = parts[2]
		}
	}
	return own
}

func find(mounts []mount, own map[string]string) (*Root, error) {
	at := map[string]mount{}
	var in2 []string // controllers of version 2
	for _, controller := range []string{"cpu", "memory"} {
		i := slices.IndexFunc(mounts, func(m mount) bool { return m.has(controller) })
		if i < 0 {
			return nil, fmt.Errorf("no hierarchy of control groups with the controller %q is mounted: see cgroups(7)", controller)
		}
		at[controller] = mounts[i]
		if mounts[i].v2 {
			in2 = append(in2, controller)
		}
	}
	var dir2 string
	places := map[string]place{}
	for controller, m := range at {
		if !m.v2 {
			dir := m.own(own[controller])
			if err := writable(dir); err != nil {
				return nil, err
			}
			places[controller] = place{dir, false}
			continue
		}
		if dir2 == "" {
			var err error
			if dir2, err = delegated(m.dir, m.own(own[""]), in2); err != nil {
				return nil, err
			}
		}
		places[controller] = place{dir2, true}
	}
	return &Root{places["cpu"], places["memory"]}, nil
}

// delegated is the nearest group above the own one whose children may have the
// controllers. The own group cannot, since it has processes (a rule of version 2).
func delegated(top, own string, controllers []string) (string, error) {
	var why []error
	for dir := own; ; dir = filepath.Dir(dir) {
		err := delegate(dir, controllers)
		if err == nil {
			return dir, nil
		}
		why = append(why, err)
		if dir == top || len(dir) <= len(top) {
			return "", fmt.Errorf("no group above this process may be given children with a limit: be root, or use `systemd-run --user --scope -p Delegate=yes`: %w", errors.Join(why...))
		}
	}
}

func delegate(dir string, controllers []string) error {
	if err := writable(dir); err != nil {
		return err
	}
	control := filepath.Join(dir, "cgroup.subtree_control")
	for _, c := range controllers {
		if holds(control, c) {
			continue
		}
		if err := write(control, "+"+c); err != nil {
			return fmt.Errorf("give the children of %s the controller %q: %w", dir, c, err)
		}
	}
	return nil
}

// writable fails unless this process may make groups and move processes there.
func writable(dir string) error {
	for _, path := range []string{dir, filepath.Join(dir, "cgroup.procs")} {
		if err := unix.Access(path, unix.W_OK); err != nil {
			return fmt.Errorf("no control groups can be made in %s: write to %s: %w; be root, or have that group delegated to you", dir, path, err)
		}
	}
	return nil
}

// holds reports whether a word is in a file.
func holds(file, word string) bool {
	data, err := os.ReadFile(file)
	return err == nil && slices.Contains(strings.Fields(string(data)), word)
}
