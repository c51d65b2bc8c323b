package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A cluster is the release and the load on it.
type cluster struct {
	options
	load *load
	ids  map[string]string // of the bundles
}

// command runs a command and returns what it writes.
func command(stdin string, args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", strings.Join(args[:min(len(args), 5)], " "), err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

func kubectl(args ...string) (string, error) {
	return command("", append([]string{"kubectl", "-n", namespace}, args...)...)
}

const namespaceAndVolume = `
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: %[1]s}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadOnlyMany]
  storageClassName: ""
  hostPath: {path: %[2]s}
  claimRef: {namespace: %[1]s, name: models}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: models, namespace: %[1]s}
spec:
  accessModes: [ReadOnlyMany]
  storageClassName: ""
  volumeName: %[1]s
  resources: {requests: {storage: 1Gi}}
`

// prepare computes the right answers, and makes the namespace and the volume with the bundles.
func prepare(o options) (*cluster, error) {
	c := &cluster{options: o, ids: map[string]string{}}
	for _, b := range []string{"a", "b"} {
		manifest, err := os.ReadFile(filepath.Join(o.models, b, "manifest.json"))
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(manifest)
		c.ids[b] = hex.EncodeToString(sum[:])
	}
	var err error
	if c.load, err = newLoad(o); err != nil {
		return nil, err
	}
	_, err = command(fmt.Sprintf(namespaceAndVolume, namespace, o.models), "kubectl", "apply", "-f", "-")
	return c, err
}

// upgrade installs the release, or upgrades it, with bundle b and more values.
func (c *cluster) upgrade(b string, values ...string) error {
	repository, tag, _ := strings.Cut(c.image, ":")
	args := []string{
		"helm", "upgrade", "--install", release, c.chart, "-n", namespace, "--wait", "--timeout", "180s",
		"--set", "image.repository=" + repository + ",image.tag=" + tag + ",image.pullPolicy=Never",
		"--set", "model.claim.name=models,model.claim.path=" + b + ",model.distribute=true,model.bundleID=" + c.ids[b],
		"--set", "stage.resources.requests.cpu=50m,front.resources.requests.cpu=50m,stage.ranks.1.replicas=2",
		"--set", "front.shutdownDelaySeconds=5,stage.lingerSeconds=15",
	}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	_, err := command("", args...)
	return err
}

func (c *cluster) install() error {
	if err := c.upgrade("a"); err != nil {
		return err
	}
	ip, err := kubectl("get", "service", fullname+"-front", "-o", "jsonpath={.spec.clusterIP}")
	c.load.url = "http://" + ip
	return err
}

// describe is what there is to see of pods that do not get ready.
func (c *cluster) describe() string {
	pods, _ := kubectl("get", "pods", "-o", "wide")
	logs, _ := kubectl("logs", "-l", "app.kubernetes.io/instance="+release, "--tail=3", "--prefix")
	return pods + "\n" + logs
}

// deployment is the deployment of a part, front or stage-R, of the model that is served.
func deployment(part string) (string, error) {
	if part == "front" {
		return fullname + "-front", nil
	}
	generation, err := kubectl("get", "deployment", fullname+"-front", "-o", `jsonpath={.spec.template.metadata.labels.distinfer/generation}`)
	return fullname + "-" + part + "-" + generation, err
}

// selector finds the pods of a part.
func selector(part string) string {
	s := "app.kubernetes.io/instance=" + release + ",app.kubernetes.io/component="
	if rank, ok := strings.CutPrefix(part, "stage-"); ok {
		return s + "stage,distinfer/rank=" + rank
	}
	return s + part
}

// pods are the names of the pods of a part that run.
func pods(part string) ([]string, error) {
	out, err := kubectl("get", "pods", "-l", selector(part), "--field-selector=status.phase=Running", "-o", "go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{end}}{{end}}")
	return strings.Fields(out), err
}

// settle waits until all parts have all their pods.
func settle() error {
	for _, part := range []string{"stage-0", "stage-1", "front"} {
		name, err := deployment(part)
		if err == nil {
			_, err = kubectl("rollout", "status", "deployment/"+name, "--timeout=120s")
		}
		if err != nil {
			return err
		}
	}
	time.Sleep(2 * time.Second)
	return nil
}

// kill ends the process of a pod's container as the kernel does when memory is short.
func kill(pod string) error {
	uid, err := kubectl("get", "pod", pod, "-o", "jsonpath={.metadata.uid}")
	if err != nil {
		return err
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return err
	}
	for _, path := range processes {
		groups, _ := os.ReadFile(path)
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if !strings.Contains(string(groups), uid) || !strings.Contains(string(line), "distinfer") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return err
		}
		return syscall.Kill(pid, syscall.SIGKILL)
	}
	return fmt.Errorf("pod %s has no process", pod)
}

func evict(pod string) error {
	body := fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q,"namespace":%q}}`, pod, namespace)
	_, err := command(body, "kubectl", "create", "--raw", "/api/v1/namespaces/"+namespace+"/pods/"+pod+"/eviction", "-f", "-")
	return err
}
