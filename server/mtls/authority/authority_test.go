package authority_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/distinfer/distinfer/server/mtls"
	"github.com/distinfer/distinfer/server/mtls/authority"
)

const days = 24 * time.Hour

func open(t *testing.T, dir string, wantMade bool) *authority.Authority {
	t.Helper()
	a, made, err := authority.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if made != wantMade {
		t.Errorf("made: %v", made)
	}
	return a
}

func certificate(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("%s is not PEM", path)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %o, want %o", path, got, want)
	}
}

func TestAMachinesFolderIsWhatPackageMTLSLoads(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "certs")
	a := open(t, dir, true)
	before := time.Now()
	m, err := a.Issue([]string{"stage-0.example.org", "192.0.2.7", "2001:db8::1"}, 365*days, false)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"stage-0.example.org", "192.0.2.7", "2001:db8::1"}
	if m.Folder != filepath.Join(dir, "stage-0.example.org") || !slices.Equal(m.Names, want) || m.Renewed {
		t.Errorf("%+v", m)
	}
	c, err := mtls.Load(m.Folder, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Identity(); !slices.Equal(got.Names, want) || !got.NotAfter.Equal(m.NotAfter) {
		t.Errorf("%+v", got)
	}

	leaf, root := certificate(t, filepath.Join(m.Folder, "cert.pem")), certificate(t, filepath.Join(dir, "ca.pem"))
	for what, c := range map[string]*x509.Certificate{"machine": leaf, "authority": root} {
		key, ok := c.PublicKey.(*ecdsa.PublicKey)
		if !ok || key.Curve != elliptic.P256() || c.SerialNumber.BitLen() != 127 || c.NotBefore.After(before.Add(-4*time.Minute)) || c.NotBefore.Before(before.Add(-10*time.Minute)) {
			t.Errorf("%s: %T, serial of %d bits, from %v", what, c.PublicKey, c.SerialNumber.BitLen(), c.NotBefore)
		}
	}
	if leaf.IsCA || !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}) {
		t.Errorf("%v %v", leaf.IsCA, leaf.ExtKeyUsage)
	}
	if !root.IsCA || !root.MaxPathLenZero || root.NotAfter.Before(before.AddDate(10, 0, -1)) {
		t.Errorf("%v %v %v", root.IsCA, root.MaxPathLenZero, root.NotAfter)
	}
	wantMode(t, filepath.Join(dir, "ca-key.pem"), 0o600)
	wantMode(t, filepath.Join(dir, "ca.pem"), 0o644)
	wantMode(t, m.Folder, 0o700)
	wantMode(t, filepath.Join(m.Folder, "key.pem"), 0o600)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("%v %v", entries, err)
	}
}

func TestAnAuthorityIsUsedAgainAndAMachineReplacedWhenAsked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	issue := func(made, renew bool, names ...string) (authority.Machine, error) {
		t.Helper()
		return open(t, dir, made).Issue(names, 30*days, renew)
	}
	first, err := issue(true, false, "a", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	root := certificate(t, filepath.Join(dir, "ca.pem"))
	old := certificate(t, filepath.Join(first.Folder, "cert.pem"))
	if _, err := issue(false, false, "b"); err != nil {
		t.Fatal(err)
	}
	if got := certificate(t, filepath.Join(dir, "b", "ca.pem")); !got.Equal(root) {
		t.Error("the second machine has another authority")
	}

	if _, err := issue(false, false, "a"); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("%v", err)
	}
	if got := certificate(t, filepath.Join(first.Folder, "cert.pem")); !got.Equal(old) {
		t.Error("the refused one was replaced")
	}
	again, err := issue(false, true, "a")
	if err != nil {
		t.Fatal(err)
	}
	if got := certificate(t, filepath.Join(first.Folder, "cert.pem")); got.Equal(old) || !again.Renewed || !slices.Equal(again.Names, []string{"a", "192.0.2.1"}) {
		t.Errorf("%+v", again)
	}
	if again, err = issue(false, true, "a", "c"); err != nil || !slices.Equal(again.Names, []string{"a", "c"}) {
		t.Errorf("%+v %v", again, err)
	}
	if _, err := mtls.Load(first.Folder, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
	wantMode(t, filepath.Join(first.Folder, "key.pem"), 0o600)
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A name is added to one machine; the others, and the names that it has, stay.
func TestANameIsAddedToAMachine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	make := func(names ...string) (*authority.Made, error) {
		return authority.Make(dir, [][]string{names}, 30*days, false)
	}
	for _, name := range []string{"a", "b"} {
		if _, err := make(name, "2001:db8::1"); err != nil {
			t.Fatal(err)
		}
	}
	other := certificate(t, filepath.Join(dir, "b", "cert.pem"))
	made, err := make("a", "192.0.2.1", "A", "2001:db8:0::1")
	if err != nil {
		t.Fatal(err)
	}
	if m := made.Machines[0]; !slices.Equal(m.Names, []string{"a", "2001:db8::1", "192.0.2.1"}) || !slices.Equal(m.Added, []string{"192.0.2.1"}) {
		t.Errorf("%+v", m)
	}
	c := certificate(t, filepath.Join(dir, "a", "cert.pem"))
	for _, name := range []string{"a", "2001:db8::1", "192.0.2.1"} {
		if err := c.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if !certificate(t, filepath.Join(dir, "b", "cert.pem")).Equal(other) {
		t.Error("the other machine has a new certificate")
	}
	var exists *authority.ExistsError
	if _, err := make("a", "192.0.2.1"); !errors.As(err, &exists) {
		t.Errorf("all names are there: %v", err)
	}
}

func TestAnAuthorityThatIsNotWholeIsNotReplaced(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		spoil func(dir string) error
		says  string
	}{
		"no key":         {func(dir string) error { return os.Remove(filepath.Join(dir, "ca-key.pem")) }, "the other is missing"},
		"no certificate": {func(dir string) error { return os.Remove(filepath.Join(dir, "ca.pem")) }, "the other is missing"},
		"a key of text":  {func(dir string) error { return os.WriteFile(filepath.Join(dir, "ca-key.pem"), []byte("x"), 0o600) }, "ca-key.pem are not an authority's"},
		"a machine's": {func(dir string) error {
			return os.Rename(filepath.Join(dir, "a", "cert.pem"), filepath.Join(dir, "ca.pem"))
		}, "are not an authority's"},
		"a machine's, both": {func(dir string) error {
			if err := os.Rename(filepath.Join(dir, "a", "cert.pem"), filepath.Join(dir, "ca.pem")); err != nil {
				return err
			}
			return os.Rename(filepath.Join(dir, "a", "key.pem"), filepath.Join(dir, "ca-key.pem"))
		}, "not an authority's that distinfer made"},
	} {
		dir := t.TempDir()
		if _, err := open(t, dir, true).Issue([]string{"a"}, days, false); err != nil {
			t.Fatal(err)
		}
		if err := c.spoil(dir); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadDir(dir)
		if _, _, err := authority.Open(dir); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
		if after, _ := os.ReadDir(dir); len(after) != len(before) {
			t.Errorf("%s: %v, before %v", what, after, before)
		}
	}
}

func TestACertificateDoesNotOutliveItsAuthority(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := open(t, dir, true).Issue([]string{"a"}, 3700*days, false); err == nil || !strings.Contains(err.Error(), "longer than its authority") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); err == nil {
		t.Error("a folder was made")
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"localhost", "a", "Stage-0.example.org", "xn--gre-6ka8i.example", "a_b", "192.168.0.1", "::1", "fe80::1", "1.example", strings.Repeat("a", 63) + ".b"} {
		if err := authority.CheckName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "..", "../a", "a/b", "a..b", "-a", "a-", "a.", "größe.example", "a b", "host:2222", "https://a", "*.example.org", "300.1.1.1", "192.168.1", "0.0.0.0", "::", "fe80::1%eth0", "::ffff:1.2.3.4", "ca.pem", "ca-key.pem", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a", "a\x00b", "a\nb"} {
		if err := authority.CheckName(bad); err == nil {
			t.Errorf("%q is taken for a name", bad)
		}
	}
	if err := authority.CheckName("*.stage-1"); err == nil || !strings.Contains(err.Error(), "dns:///stage-1:2222") {
		t.Errorf("a name for many machines: %v", err)
	}
}
