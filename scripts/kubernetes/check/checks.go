package main

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// A check does something to the cluster, and returns what there is to say of it.
type check struct {
	name   string
	quiet  bool // without load
	action func() (note string, err error)
}

var parts = []string{"front", "stage-0", "stage-1"}

func (c *cluster) checks() []check {
	list := []check{{name: "nothing happens, 10 s", action: func() (string, error) { time.Sleep(10 * time.Second); return "", nil }}}
	each := func(what string, do func(part string) error) {
		for _, part := range parts {
			list = append(list, check{name: what + " " + part, action: func() (string, error) {
				return "", errors.Join(do(part), settle())
			}})
		}
	}
	first := func(do func(pod string) error) func(string) error {
		return func(part string) error {
			names, err := pods(part)
			if err != nil || len(names) == 0 {
				return fmt.Errorf("no pods of %s: %w", part, err)
			}
			return do(names[0])
		}
	}
	each("kill -9 a", first(func(pod string) error {
		err := kill(pod)
		time.Sleep(3 * time.Second) // until Kubernetes has noticed
		return err
	}))
	each("delete --force a", first(func(pod string) error {
		_, err := kubectl("delete", "pod", pod, "--force", "--grace-period=0")
		return err
	}))
	each("evict a", first(evict))
	each("rolling restart of", func(part string) error {
		name, err := deployment(part)
		if err == nil {
			_, err = kubectl("rollout", "restart", "deployment/"+name)
		}
		return err
	})
	return append(list,
		check{name: "drain the node, 5 s", action: c.drain},
		check{name: "scale stage-1 1, 3, 1", action: func() (string, error) { return "", scale("stage-1", 1, 3, 1, 2) }},
		check{name: "upgrade to another bundle", action: c.toOther},
		check{name: "upgrade again, without the former stages", action: c.again},
		check{name: "rollback to the former bundle", action: c.rollback},
		check{name: "autoscaling, 1 to n and back", action: c.autoscale},
		check{name: "every kind passes the API server", quiet: true, action: c.kinds},
		check{name: "network policy", quiet: true, action: c.strangers},
		check{name: "TLS between pods", quiet: true, action: c.plaintext},
		check{name: "restricted pods", quiet: true, action: c.restricted},
		check{name: "memory", quiet: true, action: c.memory},
		check{name: "helm test", quiet: true, action: func() (string, error) {
			_, err := command("", "helm", "test", release, "-n", namespace)
			return "answered", err
		}},
	)
}

// observe runs a check, and counts what became of the requests meanwhile.
func (c *cluster) observe(k check) row {
	if !k.quiet {
		c.load.stop = make(chan struct{})
		c.load.start(8)
		time.Sleep(time.Second)
	}
	began := time.Now()
	note, err := k.action()
	if note == "" {
		note = fmt.Sprintf("%.0f s", time.Since(began).Seconds())
	}
	r := row{name: k.name, note: note, err: err}
	if !k.quiet {
		close(c.load.stop)
		c.load.workers.Wait()
		r.counts = c.load.take()
	}
	return r
}

// drain evicts all pods of the node. There is no other node to go to, so that they start again
// once this one may be used again.
func (c *cluster) drain() (string, error) {
	done := make(chan error, 1)
	go func() {
		_, err := kubectl("drain", "lab", "--ignore-daemonsets", "--delete-emptydir-data", "--pod-selector=app.kubernetes.io/instance="+release, "--timeout=100s")
		done <- err
	}()
	time.Sleep(5 * time.Second)
	_, err := kubectl("uncordon", "lab")
	return "", errors.Join(err, <-done, settle())
}

func scale(part string, replicas ...int) error {
	name, err := deployment(part)
	for _, n := range replicas {
		if err == nil {
			_, err = kubectl("scale", "deployment/"+name, fmt.Sprintf("--replicas=%d", n))
		}
		err = errors.Join(err, settle())
	}
	return err
}

func (c *cluster) toOther() (string, error) {
	c.load.allow("a", "b")
	if err := errors.Join(c.upgrade("b"), settle()); err != nil {
		return "", err
	}
	time.Sleep(8 * time.Second) // until the former fronts have ended
	return "", c.onlyFrom("b")
}

// onlyFrom fails unless answers come from one bundle by now.
func (c *cluster) onlyFrom(b string) error {
	c.load.allow(b)
	err := c.load.firstAnswer()
	c.load.allow("a", "b")
	return err
}

func (c *cluster) again() (string, error) {
	if err := errors.Join(c.upgrade("b"), settle()); err != nil {
		return "", err
	}
	names, err := kubectl("get", "deployments", "-o", "name")
	if n := len(strings.Fields(names)); err == nil && n != 3 {
		err = fmt.Errorf("there are %d deployments: %s", n, names)
	}
	return "", err
}

func (c *cluster) rollback() (string, error) {
	_, err := command("", "helm", "rollback", release, "1", "-n", namespace, "--wait", "--timeout", "180s")
	if err := errors.Join(err, settle()); err != nil {
		return "", err
	}
	time.Sleep(8 * time.Second)
	err = c.onlyFrom("a")
	c.load.allow("a")
	return "", err
}

// autoscale has a HorizontalPodAutoscaler scale rank 1 under load, and back.
func (c *cluster) autoscale() (string, error) {
	err := c.upgrade("a", "autoscaling.stage.enabled=true,autoscaling.stage.max=3,autoscaling.stage.cpu=80", "stage.resources.requests.cpu=100m")
	if err != nil {
		return "", err
	}
	name, err := deployment("stage-1")
	if err != nil {
		return "", err
	}
	replicas := func() string {
		n, _ := kubectl("get", "deployment/"+name, "-o", "jsonpath={.spec.replicas}")
		return n
	}
	until := func(done func(n string) bool, limit time.Duration) (string, error) {
		for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Second) {
			if n := replicas(); done(n) {
				return n, nil
			}
		}
		state, _ := kubectl("get", "hpa")
		return "", fmt.Errorf("it stays at %s replicas: %s", replicas(), state)
	}
	c.load.press(8)
	defer c.load.press(0)
	most, err := until(func(n string) bool { return n > "1" }, 2*time.Minute)
	if err != nil {
		return "", err
	}
	time.Sleep(10 * time.Second)
	most = max(most, replicas())
	close(c.load.stop) // nothing to do
	c.load.workers.Wait()
	least, err := until(func(n string) bool { return n == "1" }, 3*time.Minute)
	c.load.stop = make(chan struct{})
	return fmt.Sprintf("to %s and back to %s pods", most, least), err
}
