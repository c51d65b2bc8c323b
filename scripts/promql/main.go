// The promql command reads the dashboard and the alerts of deploy/ as Prometheus does. It is a
// module of its own, so that distinfer does not depend on Prometheus.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: promql DEPLOY")
		os.Exit(2)
	}
	if err := check(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// check looks at all expressions of a folder such as deploy.
func check(deploy string) error {
	p := parser.NewParser(parser.Options{})
	return errors.Join(dashboard(p, filepath.Join(deploy, "grafana", "distinfer.json")), rules(p, filepath.Join(deploy, "prometheus", "rules.yml")))
}

// grafana fills in what Grafana does where the parser would not take its name.
var grafana = strings.NewReplacer("$__rate_interval", "1m")

// dashboard parses the expressions of all panels.
func dashboard(p parser.Parser, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var bad error
	n := 0
	for _, panel := range d.Panels {
		for _, t := range panel.Targets {
			n++
			if _, err := p.ParseExpr(grafana.Replace(t.Expr)); err != nil {
				bad = errors.Join(bad, fmt.Errorf("%s: panel %q: %s: %w", path, panel.Title, t.Expr, err))
			}
		}
	}
	if n == 0 {
		return fmt.Errorf("%s: no panel has an expression", path)
	}
	return bad
}

// rules parses alerts: expressions, times, and the templates of annotations.
func rules(p parser.Parser, path string) error {
	groups, bad := rulefmt.ParseFile(path, false, model.UTF8Validation, p, slog.New(slog.DiscardHandler))
	if len(bad) == 0 && len(groups.Groups) == 0 {
		return fmt.Errorf("%s: there is no rule", path)
	}
	return errors.Join(bad...)
}
