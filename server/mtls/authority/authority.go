// Package authority makes the certificates with which machines prove that they
// belong together: an authority in a folder, and for each machine a folder with
// what package mtls loads.
//
// It knows files and certificates. It must not know who uses them, nor what for.
package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/distinfer/distinfer/server/mtls"
	"github.com/distinfer/distinfer/server/reload"
)

// The files of an authority, beside which the machines' folders are.
const (
	CertificateFile = "ca.pem"
	KeyFile         = "ca-key.pem"
)

const (
	years   = 10              // that an authority is valid
	skew    = 5 * time.Minute // that clocks may differ
	maxFile = 1 << 20
)

// An Authority signs the certificates of machines.
type Authority struct {
	dir         string
	certificate *x509.Certificate
	pem         []byte
	key         *ecdsa.PrivateKey
}

// Open reads the authority of a folder, or makes one if there is none.
func Open(dir string) (a *Authority, made bool, err error) {
	a = &Authority{dir: dir}
	switch err := a.read(); {
	case err == nil:
		return a, false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, false, err
	}
	for _, path := range []string{a.CertificatePath(), a.KeyPath()} {
		if _, err := os.Lstat(path); err == nil {
			return nil, false, fmt.Errorf("there is %s, but of the two files %s and %s the other is missing; put it back, or make a new authority in another folder", path, CertificateFile, KeyFile)
		}
	}
	return a, true, a.create()
}

// CertificatePath is where the authority's certificate is.
func (a *Authority) CertificatePath() string { return filepath.Join(a.dir, CertificateFile) }

// KeyPath is where the authority's key is.
func (a *Authority) KeyPath() string { return filepath.Join(a.dir, KeyFile) }

// NotAfter is when the authority ends, and all its certificates with it.
func (a *Authority) NotAfter() time.Time { return a.certificate.NotAfter }

func (a *Authority) read() error {
	var err error
	if a.pem, err = reload.Read(a.CertificatePath(), maxFile); err != nil {
		return err
	}
	key, err := reload.Read(a.KeyPath(), maxFile)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(a.pem, key)
	if err != nil {
		return fmt.Errorf("%s and %s are not an authority's certificate and its key: %s", a.CertificatePath(), a.KeyPath(), strings.TrimPrefix(err.Error(), "tls: "))
	}
	a.certificate = pair.Leaf
	var known bool
	a.key, known = pair.PrivateKey.(*ecdsa.PrivateKey)
	switch now := time.Now(); {
	case !known || !a.certificate.IsCA:
		return fmt.Errorf("%s is not an authority's that distinfer made; make one in another folder", a.CertificatePath())
	case now.After(a.certificate.NotAfter):
		return fmt.Errorf("%s: the authority was valid until %s; make a new one in another folder", a.CertificatePath(), day(a.certificate.NotAfter))
	}
	return nil
}

func (a *Authority) create() error {
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	serial, err := newSerial()
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		// Two authorities that a machine trusts for a while must not be taken for one.
		Subject:               pkix.Name{CommonName: "distinfer " + hex.EncodeToString(serial.Bytes()[:4])},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.AddDate(years, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("make the authority's certificate: %w", err)
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key, err := keyPEM(a.key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return err
	}
	// A link fails where a file is: another run's authority is not replaced.
	if err := install(a.dir, KeyFile, key, 0o600, os.Link); err != nil {
		return err
	}
	return install(a.dir, CertificateFile, a.pem, 0o644, os.Link)
}

// A Machine is what was made for one.
type Machine struct {
	Folder   string    `json:"folder"`
	Names    []string  `json:"names"`
	NotAfter time.Time `json:"until"`
	Renewed  bool      `json:"renewed"`         // there was one before
	Added    []string  `json:"added,omitempty"` // names that the one before did not have
}

// Exists reports whether there is something where the folder of a machine with the
// given first name would be, beside an authority in dir.
func Exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// Issue makes the folder of a machine: its key, its certificate for the names and the authority's
// certificate. Names are DNS names or IP addresses; the first one names the folder. Names
// that an existing folder lacks are added to those it has. renew replaces it, and it keeps its names
// if only the first is given.
func (a *Authority) Issue(names []string, valid time.Duration, renew bool) (Machine, error) {
	for _, name := range names {
		if err := CheckName(name); err != nil {
			return Machine{}, err
		}
	}
	m := Machine{Folder: filepath.Join(a.dir, names[0]), Names: names, Renewed: Exists(a.dir, names[0])}
	if m.Renewed && (!renew || len(names) == 1) {
		had, err := namesOf(m.Folder, names[0])
		if err != nil && (renew || len(names) > 1) {
			return Machine{}, err
		}
		m.Added = missing(names[1:], had)
		if len(m.Added) == 0 && !renew {
			return Machine{}, &ExistsError{m.Folder}
		}
		m.Names = slices.Concat(had, m.Added)
	}
	certificate, key, err := a.sign(&m, valid)
	if err != nil {
		return Machine{}, err
	}
	// Made beside its place, so that no half of a folder is ever found there.
	temp, err := os.MkdirTemp(a.dir, ".new-")
	if err != nil {
		return Machine{}, err
	}
	defer func() { _ = os.RemoveAll(temp) }()
	for _, f := range []struct {
		name string
		data []byte
		mode fs.FileMode
	}{{mtls.AuthorityFile, a.pem, 0o644}, {mtls.CertificateFile, certificate, 0o644}, {mtls.KeyFile, key, 0o600}} {
		// Files that are replaced one by one are a mismatching set for a moment, which
		// package mtls does not use.
		to := temp
		if m.Renewed {
			to = m.Folder
		}
		if err := install(to, f.name, f.data, f.mode, os.Rename); err != nil {
			return Machine{}, err
		}
	}
	if !m.Renewed {
		err = os.Rename(temp, m.Folder)
	}
	return m, err
}

// sign makes a certificate and its key, and says until when it is valid.
func (a *Authority) sign(m *Machine, valid time.Duration) (certificate, key []byte, err error) {
	now := time.Now()
	m.NotAfter = now.Add(valid).UTC().Truncate(time.Second)
	if m.NotAfter.After(a.certificate.NotAfter) {
		return nil, nil, fmt.Errorf("the certificate would be valid longer than its authority, which ends on %s; ask for fewer days, or make a new authority in another folder", day(a.certificate.NotAfter))
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    now.Add(-skew),
		NotAfter:     m.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		// A machine is called by some and calls others.
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if len(m.Names[0]) <= 64 { // what a common name may have
		template.Subject.CommonName = m.Names[0]
	}
	for _, name := range m.Names {
		if ip, err := netip.ParseAddr(name); err == nil {
			template.IPAddresses = append(template.IPAddresses, ip.AsSlice())
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, private.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("make the certificate of %s: %w", m.Names[0], err)
	}
	key, err = keyPEM(private)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key, err
}

// missing are the names that a machine does not have yet.
func missing(names, had []string) []string {
	same := func(a, b string) bool {
		x, errX := netip.ParseAddr(a)
		y, errY := netip.ParseAddr(b)
		return strings.EqualFold(a, b) || errX == nil && errY == nil && x == y
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.ContainsFunc(had, func(h string) bool { return same(h, name) })
	})
}

// namesOf are the names that the certificate in a folder has, with the first one
// first.
func namesOf(folder, first string) ([]string, error) {
	path := filepath.Join(folder, mtls.CertificateFile)
	data, err := reload.Read(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("the folder to renew has no certificate: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM; remove the folder and make it again", path)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; remove the folder and make it again", path, err)
	}
	names := append([]string{first}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	kept := map[string]bool{}
	return slices.DeleteFunc(names, func(name string) bool {
		again := kept[name]
		kept[name] = true
		return again
	}), nil
}

// CheckName refuses what is neither a DNS name nor an IP address, and names that
// could not be a folder beside the authority's files.
func CheckName(name string) error {
	if ip, err := netip.ParseAddr(name); err == nil {
		if ip.Zone() != "" || ip.IsUnspecified() || ip.Is4In6() {
			return fmt.Errorf("%q is not an address that a machine is called by", name)
		}
		return nil
	}
	if name == CertificateFile || name == KeyFile {
		return fmt.Errorf("%q is the name of the authority's file", name)
	}
	if strings.Contains(name, "*") {
		return fmt.Errorf("%q stands for many machines, and each could pose as any other; name them one by one, or for dns:///stage-1:2222 the one name that all replicas are called by, stage-1", name)
	}
	bad := fmt.Errorf("%q is neither a DNS name nor an IP address; give it without scheme and port, such as stage-0.example.org or 192.168.0.101", name)
	labels := strings.Split(name, ".")
	// No top-level domain is a number: such a name is a mistyped address.
	if last := labels[len(labels)-1]; len(name) > 253 || strings.Trim(last, "0123456789") == "" {
		return bad
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return bad
		}
		for _, c := range []byte(label) {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
				return bad
			}
		}
	}
	return nil
}

// newSerial returns a random number of 128 bits that begin with 01: all serials are equally long,
// and none is negative.
func newSerial() (*big.Int, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, err
	}
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:]), nil
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// install writes a file beside its place and moves it there.
func install(dir, name string, data []byte, mode fs.FileMode, move func(from, to string) error) error {
	f, err := os.CreateTemp(dir, ".new-") // which only its owner can read
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(dir, name), err)
	}
	return move(f.Name(), filepath.Join(dir, name))
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
