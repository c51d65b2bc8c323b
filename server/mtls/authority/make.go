package authority

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
)

// Made is what Make found and made. Its JSON is for scripts.
type Made struct {
	Authority struct {
		Certificate string    `json:"certificate"`
		Key         string    `json:"key"`
		Made        bool      `json:"made"` // false when it was there before
		Until       time.Time `json:"until"`
	} `json:"authority"`
	Machines []Machine `json:"machines"`
}

// An ExistsError says that there is a machine's folder already, with all of the names. Make does
// not replace it without renew.
type ExistsError struct{ Folder string }

func (e *ExistsError) Error() string { return e.Folder + " is there already" }

// ParseMachines reads the names of machines: of each its names with commas, which must be other
// ones than the names of the others.
func ParseMachines(list []string) ([][]string, error) {
	machines := make([][]string, len(list))
	seen := map[string]bool{}
	for i, names := range list {
		for name := range strings.SplitSeq(names, ",") {
			name = strings.TrimSpace(name)
			if err := CheckName(name); err != nil {
				return nil, err
			}
			machines[i] = append(machines[i], name)
		}
		if first := machines[i][0]; seen[first] {
			return nil, fmt.Errorf("%s is given twice; names of one machine are joined by commas", first)
		}
		seen[machines[i][0]] = true
	}
	return machines, nil
}

// Make opens or makes the authority of a folder, and issues the folders of machines beside it.
// It checks all machines before it makes anything.
func Make(dir string, machines [][]string, valid time.Duration, renew bool) (*Made, error) {
	for _, names := range machines {
		if renew || !Exists(dir, names[0]) {
			continue
		}
		folder := filepath.Join(dir, names[0])
		if had, err := namesOf(folder, names[0]); err != nil || len(missing(names[1:], had)) == 0 {
			return nil, &ExistsError{folder}
		}
	}
	a, isNew, err := Open(dir)
	if err != nil {
		return nil, err
	}
	made := &Made{}
	made.Authority.Certificate, made.Authority.Key, made.Authority.Made, made.Authority.Until = a.CertificatePath(), a.KeyPath(), isNew, a.NotAfter()
	for _, names := range machines {
		m, err := a.Issue(names, valid, renew)
		if err != nil {
			return nil, err
		}
		made.Machines = append(made.Machines, m)
	}
	return made, nil
}

// WriteText says what was made, and how it is copied to the machines.
func (m *Made) WriteText(w io.Writer) error {
	how := "used again"
	if m.Authority.Made {
		how = "made"
	}
	fmt.Fprintf(w, "authority %s, until %s, %s\n", m.Authority.Certificate, m.Authority.Until.Format(time.DateOnly), how)
	for _, machine := range m.Machines {
		how := "made"
		switch {
		case len(machine.Added) > 0:
			how = "with " + strings.Join(machine.Added, ", ") + " added"
		case machine.Renewed:
			how = "renewed"
		}
		fmt.Fprintf(w, "folder    %s for %s, until %s, %s\n", machine.Folder, strings.Join(machine.Names, ", "), machine.NotAfter.Format(time.DateOnly), how)
	}
	_, err := fmt.Fprintf(w, "\nCopy each folder to its machine, and name it there:\n\n")
	for _, machine := range m.Machines {
		host := machine.Names[0]
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		if machine.Renewed { // the folder is there, and would get another one inside
			_, err = fmt.Fprintf(w, "  scp %s/*.pem %s:tls/\n", machine.Folder, host)
		} else {
			_, err = fmt.Fprintf(w, "  scp -r %s %s:tls\n", machine.Folder, host)
		}
	}
	return err
}
