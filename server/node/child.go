package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/stage"
	"github.com/distinfer/distinfer/server/supervisor"
)

// A stageProcess is a stage as a child process, one start after the other.
type stageProcess struct {
	rank    int
	address string
	args    []string // program first
	options stage.Options

	instance string       // of the last start
	probe    *stage.Probe // kept, so that a check takes no file descriptor; nil until the first one
}

// command makes the command of a new start.
func (p *stageProcess) command() *exec.Cmd {
	if p.probe != nil {
		_ = p.probe.Close()
		p.probe = nil
	}
	p.instance = rand.Text()
	cmd := exec.Command(p.args[0], p.args[1:]...) //nolint:noctx // the supervisor ends it
	cmd.Env = append(os.Environ(), InstanceVariable+"="+p.instance)
	cmd.Stderr = os.Stderr
	return cmd
}

// ready checks that the process at the address is the one that was started last.
func (p *stageProcess) ready(ctx context.Context) error {
	if p.probe == nil {
		probe, err := stage.Connect(p.rank, p.address, p.address, p.options)
		if err != nil {
			return err
		}
		p.probe = probe
	}
	d, err := p.probe.Describe(ctx)
	switch {
	case errcode.Of(err) == errcode.Unavailable:
		return errors.Join(err, p.reach(ctx))
	case err != nil:
		return err
	case d.GetInstance() != p.instance:
		return fmt.Errorf("%w at %s, with rank %d of bundle %.12s (%s); end it, or choose other addresses", supervisor.ErrOther, p.address, d.GetRank(), d.GetBundle(), d.GetModel())
	}
	return nil
}

// reach is why the process cannot be reached, in the operating system's words, which gRPC does
// not hand on; nil when it can be reached.
func (p *stageProcess) reach(ctx context.Context) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.address)
	if err != nil {
		return err
	}
	return c.Close()
}
