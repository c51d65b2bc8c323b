package testkit_test

import (
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/distinfer/distinfer/runtime/testkit"
)

func TestALogIsReadWhileItIsWritten(t *testing.T) {
	t.Parallel()
	var log testkit.Log
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() { log.Logger().Info("written", "by", i) })
	}
	for i := range 4 {
		testkit.Eventually(t, "each line is there", func() bool { return log.Has(fmt.Sprintf("msg=written by=%d\n", i)) })
	}
	writers.Wait()
}

func TestFreePortsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[int]bool{}
	for _, port := range testkit.FreePorts(t, 20) {
		l, err := net.Listen("tcp", fmt.Sprintf("localhost:%d", port))
		if err != nil || seen[port] {
			t.Errorf("port %d: %v", port, err)
			continue
		}
		seen[port] = true
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}
