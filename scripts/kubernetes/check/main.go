// The check command installs the chart on the one-node Kubernetes that it runs in, disturbs it
// while texts are asked, and prints a table of what became of the requests. It is a module of its
// own: the project's tests need no Kubernetes.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

// The release, and the namespace that it is in.
const (
	release   = "nlp"
	fullname  = "nlp-distinfer"
	namespace = "distinfer-check"
)

type options struct {
	chart, image, models, program string
	only                          *regexp.Regexp
}

// A row is a line of the table.
type row struct {
	name string
	counts
	note string
	err  error
}

func main() {
	var o options
	only := flag.String("only", "", "regular expression of the checks to run, after the installation")
	flag.StringVar(&o.chart, "chart", "deploy/helm/distinfer", "folder of the chart")
	flag.StringVar(&o.image, "image", "lab.local/distinfer:test", "image")
	flag.StringVar(&o.models, "models", "", "folder with the bundles a and b")
	flag.StringVar(&o.program, "program", "bin/distinfer", "the program, to compute the right answers with")
	flag.Parse()
	o.only = regexp.MustCompile(*only)
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	c, err := prepare(o)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := c.install(); err != nil {
		return fmt.Errorf("install: %w\n%s", err, c.describe())
	}
	if err := c.load.firstAnswer(); err != nil {
		return err
	}
	fmt.Printf("first right answer %.1f s after helm install\n\n| check | requests | wrong | lost | again | p99 | |\n| --- | --- | --- | --- | --- | --- | --- |\n", time.Since(began).Seconds())
	failed := 0
	for _, k := range c.checks() {
		if !o.only.MatchString(k.name) {
			continue
		}
		r := c.observe(k)
		fmt.Println(r)
		if r.err != nil || r.wrong > 0 || r.lost > 0 {
			failed++
		}
	}
	for _, line := range c.load.losses() {
		fmt.Println("lost:", line)
	}
	if failed > 0 {
		return fmt.Errorf("%d checks failed", failed)
	}
	return nil
}

func (r row) String() string {
	note := r.note
	if r.err != nil {
		note = "FAILED: " + strings.ReplaceAll(r.err.Error(), "\n", " ")
	}
	if r.requests == 0 {
		return fmt.Sprintf("| %s | | | | | | %s |", r.name, note)
	}
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %d ms | %s |", r.name, r.requests, r.wrong, r.lost, r.again, r.p99.Milliseconds(), note)
}
