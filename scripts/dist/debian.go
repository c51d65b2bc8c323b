package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// debianSuite is the release of Debian that the image's C and C++ libraries are of, and debianName
// its number.
const (
	debianSuite  = "trixie"
	debianNumber = "13"
)

// debianPackages are what the image takes from Debian.
var debianPackages = []string{"base-files", "ca-certificates", "gcc-14-base", "libc6", "libgcc-s1", "libstdc++6", "tzdata"}

// pinsFile holds the packages' versions and hashes, a line each.
const pinsFile = "debian.txt"

// A pin is one package of Debian, exactly.
type pin struct {
	name, version, arch, sha256 string
}

func (p pin) file() string { return p.name + "_" + p.version + "_" + p.arch + ".deb" }

// debian is a client of Debian's packages for one architecture. It is apt with a configuration of
// its own, so that it needs neither that architecture nor that release on this machine.
type debian struct {
	arch   string
	mirror string // empty for the one that this machine's apt uses
	folder string // where packages and indexes are kept
}

// packages are the files of the pinned packages; those that are kept already are not fetched.
func (d *debian) packages(ctx context.Context) ([]pin, error) {
	pins, err := readPins(d.arch)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, p := range pins {
		if d.check(p) != nil {
			missing = append(missing, p.name+"="+p.version)
		}
	}
	if len(missing) == 0 {
		return pins, nil
	}
	if err := d.update(ctx); err != nil {
		return nil, err
	}
	if _, err := d.apt(ctx, append([]string{"download"}, missing...)...); err != nil {
		return nil, fmt.Errorf("%w\nWhen Debian has newer packages, `make dist ARGS=-update-base` pins those", err)
	}
	for _, p := range pins {
		if err := d.check(p); err != nil {
			return nil, err
		}
	}
	return pins, nil
}

// check compares a kept package with its pin.
func (d *debian) check(p pin) error {
	content, err := os.ReadFile(filepath.Join(d.folder, p.file()))
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != p.sha256 {
		return fmt.Errorf("%s is not the package that %s pins", p.file(), pinsFile)
	}
	return nil
}

// newest pins the packages that Debian has now.
func (d *debian) newest(ctx context.Context) ([]pin, error) {
	if err := d.update(ctx); err != nil {
		return nil, err
	}
	out, err := d.apt(ctx, append([]string{"--print-uris", "download"}, debianPackages...)...)
	if err != nil {
		return nil, err
	}
	var pins []pin
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) != 4 || !strings.HasPrefix(fields[3], "SHA256:") {
			continue
		}
		parts := strings.Split(strings.TrimSuffix(fields[1], ".deb"), "_")
		if len(parts) != 3 {
			return nil, fmt.Errorf("apt names a package %s", fields[1])
		}
		pins = append(pins, pin{parts[0], parts[1], parts[2], strings.TrimPrefix(fields[3], "SHA256:")})
	}
	if len(pins) != len(debianPackages) {
		return nil, fmt.Errorf("apt knows %d of %d packages", len(pins), len(debianPackages))
	}
	return pins, nil
}

// update fetches the indexes of Debian's packages, whose signatures apt checks.
func (d *debian) update(ctx context.Context) error {
	for _, folder := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(d.state(), folder), 0o755); err != nil {
			return err
		}
	}
	mirror := d.mirror
	if mirror == "" {
		sites, err := command(ctx, d.folder, nil, "apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages")
		if err != nil {
			return fmt.Errorf("the image is made of Debian's packages, with apt: %w", err)
		}
		for site := range strings.Lines(string(sites)) {
			if site = strings.TrimSpace(site); strings.HasSuffix(site, "/debian") {
				mirror = site
				break
			}
		}
		if mirror == "" {
			return errors.New("this machine's apt has no mirror of Debian; name one with -debian URL")
		}
	}
	sources := fmt.Sprintf("deb %[1]s %[2]s main\ndeb %[1]s-security %[2]s-security main\n", mirror, debianSuite)
	err := errors.Join(
		os.WriteFile(filepath.Join(d.state(), "sources.list"), []byte(sources), 0o644),
		os.WriteFile(filepath.Join(d.state(), "status"), nil, 0o644),
	)
	if err != nil {
		return err
	}
	_, err = d.apt(ctx, "update")
	return err
}

func (d *debian) state() string { return filepath.Join(d.folder, "apt-"+d.arch) }

// apt runs apt-get for this architecture.
func (d *debian) apt(ctx context.Context, args ...string) ([]byte, error) {
	var options []string
	for _, o := range []string{
		"APT::Architecture=" + d.arch, "APT::Architectures=" + d.arch, "APT::Sandbox::User=",
		"Dir::State=" + d.state(), "Dir::State::lists=" + d.state() + "/lists", "Dir::State::status=" + d.state() + "/status",
		"Dir::Cache=" + d.state() + "/cache", "Dir::Etc::SourceList=" + d.state() + "/sources.list",
		"Dir::Etc::SourceParts=/dev/null", "Dir::Etc::Preferences=/dev/null", "Dir::Etc::PreferencesParts=/dev/null",
	} {
		options = append(options, "-o", o)
	}
	return command(ctx, d.folder, nil, "apt-get", append(options, args...)...)
}

// readPins reads the pins of an architecture.
func readPins(arch string) ([]pin, error) {
	content, err := os.ReadFile(pinsFile)
	if err != nil {
		return nil, err
	}
	var pins []pin
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		if len(fields) != 4 {
			return nil, fmt.Errorf("%s: %q is not a name, a version, an architecture and a hash", pinsFile, lines.Text())
		}
		if p := (pin{fields[0], fields[1], fields[2], fields[3]}); p.arch == arch || p.arch == "all" {
			pins = append(pins, p)
		}
	}
	return pins, nil
}

// writePins pins the newest packages of all architectures.
func writePins(ctx context.Context, mirror, folder string) error {
	lines := []string{}
	for _, arch := range sortedArches() {
		d := debian{arch: arch, mirror: mirror, folder: folder}
		pins, err := d.newest(ctx)
		if err != nil {
			return err
		}
		for _, p := range pins {
			lines = append(lines, strings.Join([]string{p.name, p.version, p.arch, p.sha256}, " ")+"\n")
		}
	}
	slices.Sort(lines)
	head := "# What the image takes of Debian " + debianNumber + ", written by `make dist ARGS=-update-base`.\n"
	return os.WriteFile(pinsFile, []byte(head+strings.Join(slices.Compact(lines), "")), 0o644)
}
