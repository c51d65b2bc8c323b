package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/server/mtls/authority"
)

// maxDays is what an authority of ten years can sign on its first day.
const maxDays = 3650

type certsOptions struct {
	outputOptions
	Out   string
	Days  int
	Renew bool
}

func (o *certsOptions) AddFlags(f *pflag.FlagSet) {
	o.outputOptions.AddFlags(f)
	settings.String(f, &o.Out, "out", "", "certs", "`folder` of the authority and of the machines' folders", func(s string) error {
		if s == "" {
			return errors.New("name a folder")
		}
		return nil
	})
	settings.Number(f, &o.Days, "days", 365, 1, maxDays, "`number` of days that a machine's certificate is valid")
	f.BoolVar(&o.Renew, "renew", false, "replace what is there of these machines")
	settings.OnlyFlags(f, "out", "days", "renew")
}

func newCerts() *cobra.Command {
	var o certsOptions
	return settings.Command(&o, &cobra.Command{
		Use:   "certs HOST...",
		Short: "Make the certificates with which machines know each other",
		Long: `Make an authority, and for each machine a folder with a certificate of it, to be
copied there and named with --tls. Machines with certificates of one authority
talk to each other, encrypted, and to nobody else.

HOST is what the machine is called by in --stages: a DNS name or an IP address, or
several parted by commas. The folder is named after the first.

An authority that is there is used again, so that a machine is added later with
the same command. So is a name of a machine: given the first name and new ones, its
folder is made again with all, and the other machines keep theirs. Keep ca-key.pem
where it is, and secret: who has it can make certificates. --renew replaces the
certificate of a machine; when it is given only the first name, it keeps the names
it had. Stages and fronts that run take the new files as soon as these are copied.`,
		Example: `  distinfer certs 192.168.0.101 192.168.0.104        # makes certs/192.168.0.101 and certs/192.168.0.104
  distinfer certs stage-2.example.org,192.168.0.105   # one machine with two names, added later
  distinfer certs 192.168.0.101,10.0.0.1              # one more address of a machine
  distinfer certs --renew 192.168.0.101               # before it ends
  distinfer certs --out /srv/certs --days 90 stage-0 stage-1`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("HOST is missing; name the machines as --stages names them")}
			}
			return nil
		},
	}, func(cmd *cobra.Command, args []string) error {
		return o.run(cmd.OutOrStdout(), args)
	})
}

func (o *certsOptions) run(out io.Writer, args []string) error {
	machines, err := authority.ParseMachines(args)
	if err != nil {
		return usageError{err}
	}
	made, err := authority.Make(o.Out, machines, time.Duration(o.Days)*24*time.Hour, o.Renew)
	if err != nil {
		return err
	}
	if o.Output == "json" {
		return json.NewEncoder(out).Encode(made)
	}
	if err := made.WriteText(out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, `
  distinfer serve-stage --rank R --listen HOST:2222 --tls tls
  distinfer front --stages HOST:2222,HOST:2222 --tls tls

Keep %s here and secret: who has it can make certificates.
`, made.Authority.Key)
	return err
}
