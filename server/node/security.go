package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/distinfer/distinfer/server/cluster"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/mtls"
	"github.com/distinfer/distinfer/server/stage"
)

// A Party is whom this process talks to.
type Party string

// The parties. Each is secured in its own way.
const (
	Machines Party = "machines" // of the cluster: by Options.TLS
	Clients  Party = "clients"  // of a front: by FrontOptions.HTTPSCert and HTTPSKey
	Watchers Party = "watchers" // of metrics: by an address of this machine only
	Fronts   Party = "fronts"   // that a client calls: by an https URL
)

// Traffic is what this process sends or takes at an address.
type Traffic struct {
	Doing   string // such as "calling stage 1 at"
	Address string // host:port
	With    Party
	Secure  bool // whether it is encrypted
}

// An InsecureError refuses traffic with other machines that is not encrypted.
type InsecureError struct{ Traffic }

func (e *InsecureError) Error() string {
	return fmt.Sprintf("%s %s without encryption: others on the network could read it, change it and use it", e.Doing, e.Address)
}

// Permit refuses traffic with other machines that is not encrypted with an *InsecureError,
// unless insecure allows it; then it is logged.
func Permit(log *slog.Logger, insecure bool, t Traffic) error {
	switch {
	case t.Secure || stage.IsLoopback(t.Address):
		return nil
	case insecure:
		log.Warn(t.Doing+" an address beyond this machine without encryption: whoever is on the network can read it, change it and use it", "address", t.Address)
		return nil
	}
	return &InsecureError{t}
}

// PermitStages is Permit for calls of the stages from the given rank on.
func PermitStages(log *slog.Logger, insecure bool, stages [][]string, from int, secure bool) error {
	for rank := from; rank < len(stages); rank++ {
		for _, address := range stages[rank] {
			if err := Permit(log, insecure, Traffic{fmt.Sprintf("calling stage %d at", rank), strings.TrimPrefix(address, stage.ManyReplicas), Machines, secure}); err != nil {
				return err
			}
		}
	}
	return nil
}

// warnOfName logs that callers will not accept a machine's certificate by the address that it
// listens at, as far as can be known here.
func warnOfName(ctx context.Context, log *slog.Logger, machine *mtls.Credentials, listen string) {
	if machine == nil {
		return
	}
	i := machine.Identity()
	if lacks := i.Lacks(ctx, listen, cluster.Own()); lacks != "" {
		log.Warn("callers by this address will refuse the certificate, which is not for it; `distinfer certs` with the machine's first name and the address, joined by a comma, adds it", "address", lacks, "names", i.Names)
	}
}

func (o *Options) permit(doing, address string, with Party, secure bool) error {
	return Permit(o.Log, o.Insecure, Traffic{doing, address, with, secure})
}

// MachineTLS is this machine's part in the TLS between front and stages, of certificates in a
// folder; nil without a folder.
func MachineTLS(folder string, log *slog.Logger) (*mtls.Credentials, error) {
	if folder == "" {
		return nil, nil
	}
	c, err := mtls.Load(folder, log)
	if err != nil {
		return nil, fmt.Errorf("TLS between machines: %w", err)
	}
	logIdentity(log, "TLS between front and stages", c.Identity())
	return c, nil
}

// A PairError says that there is only a certificate, or only a key.
type PairError struct{ Certificate, Key string }

func (e *PairError) Error() string { return "a certificate and its key belong together" }

// httpsTLS is the TLS of the front, or nil for plain HTTP.
func (o *FrontOptions) httpsTLS() (*tls.Config, error) {
	switch {
	case o.HTTPSCert == "" && o.HTTPSKey == "":
		return nil, nil
	case o.HTTPSCert == "" || o.HTTPSKey == "":
		return nil, &PairError{o.HTTPSCert, o.HTTPSKey}
	}
	c, err := mtls.LoadCertificate(o.HTTPSCert, o.HTTPSKey, o.Log)
	if err != nil {
		return nil, fmt.Errorf("HTTPS: %w", err)
	}
	logIdentity(o.Log, "HTTPS", c.Identity())
	return c.Server(), nil
}

func logIdentity(log *slog.Logger, what string, i mtls.Identity) {
	log.Info(what, "names", strings.Join(i.Names, ","), "until", i.NotAfter.UTC().Format(time.RFC3339))
}

// tokens are the tokens that the front accepts; nil means no authentication.
func (o *FrontOptions) tokens() (*front.Tokens, error) {
	if o.Tokens == "" {
		return nil, nil
	}
	t, err := front.LoadTokens(o.Tokens, o.Log)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	return t, nil
}
