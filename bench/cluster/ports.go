package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
)

// Ports gives out ports of the loopback interface that nobody listens on.
//
// They are below those that the system takes for outgoing connections. A replica
// that was killed needs its port again, and one of the others' attempts to reach
// it could otherwise have been given that very port.
type Ports struct {
	least, most int // most is not given out
	given       map[int]bool
}

// NewPorts has given out none yet.
func NewPorts() *Ports {
	p := &Ports{least: 10000, most: 32768, given: map[int]bool{}}
	if data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		var first int
		if _, err := fmt.Sscan(string(data), &first); err == nil && first > p.least+1000 {
			p.most = first
		}
	}
	return p
}

// Address is that of a free port.
func (p *Ports) Address() (string, error) {
	port, err := p.Port()
	return fmt.Sprintf("127.0.0.1:%d", port), err
}

// Port is a free one that was not given out before.
func (p *Ports) Port() (int, error) {
	for range 1000 {
		port := p.least + rand.IntN(p.most-p.least)
		address := fmt.Sprintf("127.0.0.1:%d", port)
		if p.given[port] {
			continue
		}
		l, err := net.Listen("tcp", address) //nolint:noctx // it is closed at once
		if err != nil {
			continue // somebody has it
		}
		if err := l.Close(); err != nil {
			return 0, err
		}
		p.given[port] = true
		return port, nil
	}
	return 0, errors.New("no free port was found on 127.0.0.1")
}
