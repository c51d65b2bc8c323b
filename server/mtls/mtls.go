// Package mtls makes TLS configurations from certificates in files. Each machine of a pipeline has
// a certificate of the same authority, and talks to no other machine.
//
// It knows files, certificates and crypto/tls. It must not know gRPC, HTTP or stages, nor where
// the folder's name came from.
//
// New connections use changed files without a restart; open connections stay. gRPC's own file
// watcher, credentials/tls/certprovider/pemfile, is not used: it reads the authority and the
// certificate separately, so a half-replaced set comes into use; it logs a key that does not
// fit; and it brings modules that nothing else here needs.
package mtls

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/distinfer/distinfer/server/reload"
)

// The files of a machine's folder.
const (
	AuthorityFile   = "ca.pem"
	CertificateFile = "cert.pem"
	KeyFile         = "key.pem"
)

// maxFile bounds a file of certificates: some hundred of them.
const maxFile = 1 << 20

// Soon is how long before its end a certificate is warned of, once a day.
const Soon = 30 * 24 * time.Hour

// An Identity is what a certificate says of its owner.
type Identity struct {
	Names     []string // DNS names, then IP addresses
	Authority string   // the name of who signed it
	NotAfter  time.Time
}

// EndsSoon reports whether the certificate ends within the time that is warned of.
func (i Identity) EndsSoon(now time.Time) bool { return now.Add(Soon).After(i.NotAfter) }

// material is what one set of files gives.
type material struct {
	certificate *tls.Certificate
	authorities *x509.CertPool // nil without a ca.pem
	identity    Identity
}

// source is the material of files as they are now.
type source struct {
	log    *slog.Logger
	files  *reload.Value[*material]
	warned atomic.Int64 // when, in Unix seconds
}

func (s *source) now() *material {
	m := s.files.Get()
	s.warn(m)
	return m
}

// warn logs once a day that a certificate ends soon.
func (s *source) warn(m *material) {
	now := time.Now()
	if !m.identity.EndsSoon(now) {
		return
	}
	last := s.warned.Load()
	if now.Unix()-last < int64(24*time.Hour/time.Second) || !s.warned.CompareAndSwap(last, now.Unix()) {
		return
	}
	s.log.Warn("the certificate ends soon; replace it", "names", m.identity.Names, "until", m.identity.NotAfter.UTC().Format(time.RFC3339))
}

// Credentials are those of a machine: its certificate, and the authority whose
// certificates it accepts.
type Credentials struct{ source }

// Load reads a folder with ca.pem, cert.pem and key.pem, as `distinfer certs`
// makes them. ca.pem may hold several authorities, so that one can be replaced by
// another; cert.pem may hold intermediate certificates behind the machine's own.
func Load(dir string, log *slog.Logger) (*Credentials, error) {
	authority, certificate, key := filepath.Join(dir, AuthorityFile), filepath.Join(dir, CertificateFile), filepath.Join(dir, KeyFile)
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("%s is a file; name the folder that holds %s, %s and %s", dir, AuthorityFile, CertificateFile, KeyFile)
	}
	c := &Credentials{source{log: log}}
	var err error
	c.files, err = reload.Open(log, maxFile, func(files [][]byte) (*material, error) {
		m, err := read(certificate, files[1], key, files[2], log)
		if err != nil {
			return nil, err
		}
		return m, m.trust(authority, files[0], certificate)
	}, authority, certificate, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; a TLS folder holds %s, %s and %s: `distinfer certs` makes one for each machine", err, AuthorityFile, CertificateFile, KeyFile)
	}
	if err != nil {
		return nil, err
	}
	c.now()
	return c, nil
}

// Identity is what the certificate in use says.
func (c *Credentials) Identity() Identity { return c.now().identity }

// Server is for listeners: clients need a certificate of the authority that is
// for clients. It follows the files for as long as it is used.
func (c *Credentials) Server() *tls.Config {
	config := func(m *material) *tls.Config {
		return &tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: []tls.Certificate{*m.certificate},
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    m.authorities,
			// A session that is resumed would outlive the authority it began with.
			SessionTicketsDisabled: true,
		}
	}
	outer := config(c.now())
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return config(c.now()), nil }
	return outer
}

// Client is for connections to a server, which needs a certificate of the
// authority for the name or address that is called: whoever connects sets
// ServerName.
//
// Ask for it anew for every connection. One that is kept follows the machine's
// own certificate, but not the authority, for which crypto/tls asks nobody: the
// check that it makes itself is the only one that knows the address called, when
// that is an IP address.
func (c *Credentials) Client() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    c.now().authorities,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return c.now().certificate, nil
		},
	}
}

// A Certificate is that of a server whose clients need none.
type Certificate struct{ source }

// LoadCertificate reads a certificate and its key, by whichever authority.
func LoadCertificate(certificate, key string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{source{log: log}}
	var err error
	c.files, err = reload.Open(log, maxFile, func(files [][]byte) (*material, error) {
		return read(certificate, files[0], key, files[1], log)
	}, certificate, key)
	if err != nil {
		return nil, err
	}
	c.now()
	return c, nil
}

// Identity is what the certificate in use says.
func (c *Certificate) Identity() Identity { return c.now().identity }

// Server is for listeners. It follows the files for as long as it is used.
func (c *Certificate) Server() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12, // browsers and tools of any age
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.now().certificate, nil },
	}
}

// read takes a certificate and its key, and refuses what no peer would accept.
func read(certificatePath string, certificate []byte, keyPath string, key []byte, log *slog.Logger) (*material, error) {
	chain, err := certificates(certificatePath, certificate)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(key); block == nil {
		return nil, fmt.Errorf("%s is not PEM: it does not hold a -----BEGIN PRIVATE KEY----- block; give the key that belongs to %s", keyPath, certificatePath)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("%s is not the key of the certificate in %s (%s); give the two files that were made together", keyPath, certificatePath, strings.TrimPrefix(err.Error(), "tls: "))
	}
	leaf := chain[0]
	pair.Leaf = leaf
	now := time.Now()
	switch {
	case now.After(leaf.NotAfter):
		return nil, fmt.Errorf("%s: the certificate was valid until %s, and now it is %s; make a new one", certificatePath, stamp(leaf.NotAfter), stamp(now))
	case now.Before(leaf.NotBefore):
		return nil, fmt.Errorf("%s: the certificate is valid from %s, and now it is %s; check this machine's clock", certificatePath, stamp(leaf.NotBefore), stamp(now))
	}
	if reload.Exposed(keyPath) {
		log.Warn("every user of this machine can read the private key; take the permission away", "file", keyPath, "with", "chmod 600")
	}
	return &material{certificate: &pair, identity: identityOf(leaf)}, nil
}

// trust takes the authorities, and refuses a certificate that is not of theirs.
func (m *material) trust(path string, authority []byte, certificatePath string) error {
	roots, err := certificates(path, authority)
	if err != nil {
		return err
	}
	m.authorities = x509.NewCertPool()
	for _, root := range roots {
		// What is in the pool is trusted as it is: a machine's certificate that got
		// there by mistake would be.
		if !root.BasicConstraintsValid || !root.IsCA {
			return fmt.Errorf("%s: %q is not the certificate of an authority; put there the certificate that %s was signed with", path, root.Subject, certificatePath)
		}
		m.authorities.AddCert(root)
	}
	between := x509.NewCertPool()
	for _, der := range m.certificate.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("%s: %w", certificatePath, err)
		}
		between.AddCert(c)
	}
	// A machine is called by some and calls others, with one certificate.
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err := m.certificate.Leaf.Verify(x509.VerifyOptions{Roots: m.authorities, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}})
		var invalid x509.CertificateInvalidError
		var unknown x509.UnknownAuthorityError
		switch {
		case err == nil:
		case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
			return fmt.Errorf("%s: the certificate is not for both servers and clients, and a machine is both; make one with the extended key usages serverAuth and clientAuth", certificatePath)
		case errors.As(err, &unknown):
			return fmt.Errorf("%s is not signed by an authority in %s; give the files that were made together", certificatePath, path)
		default:
			return fmt.Errorf("%s and %s: %s", certificatePath, path, strings.TrimPrefix(err.Error(), "x509: "))
		}
	}
	return nil
}

// certificates reads the certificates of a PEM file. There must be at least one.
func certificates(path string, data []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d: %s; write the file again", path, len(list)+1, strings.TrimPrefix(err.Error(), "x509: "))
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s is not PEM: it does not hold a -----BEGIN CERTIFICATE----- block; give a certificate in PEM", path)
	}
	return list, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
