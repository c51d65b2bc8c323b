// Package stagelog reads what a stage that a benchmark started logs.
package stagelog

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// Address reads a stage's log until it says where it listens, and drops the
// rest.
func Address(log io.Reader) (string, error) {
	lines := bufio.NewScanner(log)
	var last string
	for lines.Scan() {
		last = lines.Text()
		var entry struct{ Msg, Listen string }
		if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "stage ready" {
			go func() { _, _ = io.Copy(io.Discard, log) }()
			return entry.Listen, nil
		}
	}
	return "", fmt.Errorf("the stage ended: %s", last)
}
