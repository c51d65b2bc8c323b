package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
)

// The disks that a replica comes back on: the slice of a stage does not fit the
// first.
const (
	smallDisk = "96k"
	largeDisk = "512m"
)

// fullDisk kills a replica, loses what it had on its disk, and starts it with a full
// one, to fetch its slice from the other replica of its rank: it has to say so and
// end. Then it gets a larger disk, and has to come back.
func fullDisk(ctx context.Context, in *injector) error {
	folder, err := os.MkdirTemp("", "distinfer-chaos-disk-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }() // the disks are gone with the processes that mounted them
	// The first stage has nearly all the weights of the default model.
	replicas := in.cluster.Stages[0]
	return every(ctx, 6*time.Second, func() error {
		turn := in.random.IntN(len(replicas))
		p, peer := replicas[turn], replicas[1-turn]
		if p.ReadyFor() < settled || peer.ReadyFor() < settled {
			return nil
		}
		end := in.begin(fault{what: "full disk of " + p.Name})
		defer end()
		from := argument(p.Command, "--bundle")
		p.Kill()
		fetching := withArgument(withArgument(p.Command, "--bundle", filepath.Join(folder, "stages")), "--fetch", argument(peer.Command, "--listen"))
		if err := in.failsOn(ctx, mounted(fetching, folder, smallDisk)); err != nil {
			return fmt.Errorf("%s on a full disk: %w", p.Name, err)
		}
		usual := p.Command
		p.Command = mounted(fetching, folder, largeDisk)
		err := p.Start()
		p.Command = usual // the next time it has its bundle again
		if err != nil {
			return err
		}
		if err := p.AwaitReady(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
			return errors.Join(err, fmt.Errorf("%d files were written beside the disk", len(left)))
		}
		_, err = os.Stat(filepath.Join(from, "manifest.json"))
		return err
	})
}

// failsOn runs a command that has to fail since the disk is full, and to say so.
func (in *injector) failsOn(ctx context.Context, command []string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cluster.Patience)
	defer cancel()
	code, output, err := in.cluster.Run(ctx, command...)
	if err != nil {
		return err
	}
	if code != 1 || !strings.Contains(output, "no room") && !strings.Contains(output, "no space left") {
		return fmt.Errorf("it ended with code %d, and said: %s", code, output)
	}
	return nil
}

// mounted is a command with a disk of the given size mounted on folder, which
// nobody else sees (on Linux). The process keeps its ID.
func mounted(command []string, folder, size string) []string {
	unshare := []string{"unshare", "--mount", "--propagation", "private"}
	if os.Getuid() != 0 {
		unshare = append(unshare, "--user", "--map-root-user")
	}
	return append(append(unshare, "sh", "-c", `mount -t tmpfs -o size="$1" tmpfs "$0" && shift && exec "$@"`, folder, size), command...)
}

// argument is the value of a flag on a command line, or "".
func argument(command []string, flag string) string {
	if i := slices.Index(command, flag); i >= 0 && i+1 < len(command) {
		return command[i+1]
	}
	return ""
}

// withArgument is a command line with a flag set.
func withArgument(command []string, flag, value string) []string {
	changed := slices.Clone(command)
	if i := slices.Index(changed, flag); i >= 0 {
		changed[i+1] = value
		return changed
	}
	return append(changed, flag, value)
}
