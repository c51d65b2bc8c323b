package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const strangerPod = `
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: %[2]s, labels: {%[3]s}}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: stranger
      image: %[4]s
      imagePullPolicy: Never
      args: [check, "--stages=%[5]s", --insecure, --timeout=3s, --ballast=0]
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`

// ask has a pod with the given labels call both stages without TLS, and returns what it says.
func (c *cluster) ask(name, labels string) (string, error) {
	_, _ = kubectl("delete", "pod", name, "--ignore-not-found", "--wait")
	stages := fmt.Sprintf("%[1]s-stage-0:2222,%[1]s-stage-1:2222", fullname)
	if _, err := command(fmt.Sprintf(strangerPod, name, namespace, labels, c.image, stages), "kubectl", "apply", "-f", "-"); err != nil {
		return "", err
	}
	defer func() { _, _ = kubectl("delete", "pod", name, "--force", "--grace-period=0") }()
	for range 60 {
		if phase, _ := kubectl("get", "pod", name, "-o", "jsonpath={.status.phase}"); phase == "Failed" || phase == "Succeeded" {
			return kubectl("logs", name)
		}
		time.Sleep(time.Second)
	}
	return "", fmt.Errorf("pod %s does not end", name)
}

// strangers fails unless a pod without the labels of a front reaches no stage, not even to be refused
// by TLS, while the fronts do.
func (c *cluster) strangers() (string, error) {
	says, err := c.ask("stranger", "app: stranger")
	if err != nil {
		return "", err
	}
	if !timesOut(says) {
		return "", fmt.Errorf("a stranger is not kept from the stages: %s", says)
	}
	return "a stranger reaches no stage, and fronts do", c.load.firstAnswer()
}

func timesOut(says string) bool {
	return strings.Contains(says, "timeout") || strings.Contains(says, "deadline") || strings.Contains(says, "no answer") || strings.Contains(says, "refused")
}

// plaintext fails unless stages refuse a caller without a certificate.
func (c *cluster) plaintext() (string, error) {
	ip, err := kubectl("get", "pods", "-l", selector("stage-0"), "-o", "jsonpath={.items[0].status.podIP}")
	if err != nil {
		return "", err
	}
	says, err := command("", c.program, "check", "--stages", ip+":2222", "--insecure", "--timeout", "3s", "--ballast", "0")
	if err == nil || !strings.Contains(says, "it speaks TLS") {
		return "", fmt.Errorf("a stage is not known to refuse a caller without TLS: %s", says)
	}
	return "a caller without a certificate is refused", nil
}

// restricted fails unless the namespace enforces the restricted standard, which pods then meet.
func (c *cluster) restricted() (string, error) {
	level, err := kubectl("get", "namespace", namespace, "-o", `jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}`)
	if err == nil && level != "restricted" {
		err = fmt.Errorf("the namespace enforces %q", level)
	}
	return "the namespace enforces the restricted standard", err
}

// memory fails when a container was ended for its memory, and tells the most that pods took.
func (c *cluster) memory() (string, error) {
	reasons, err := kubectl("get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].lastState.terminated.reason}")
	if err != nil {
		return "", err
	}
	if strings.Contains(reasons, "OOMKilled") {
		return "", fmt.Errorf("containers were ended for their memory: %s", reasons)
	}
	var most []string
	for _, part := range parts {
		names, err := pods(part)
		if err != nil {
			return "", err
		}
		peak, limit := int64(0), int64(0)
		for _, name := range names {
			uid, err := kubectl("get", "pod", name, "-o", "jsonpath={.metadata.uid}")
			if err != nil {
				return "", err
			}
			groups, _ := filepath.Glob("/sys/fs/cgroup/memory/kubepods/*/pod" + uid)
			for _, g := range groups {
				peak = max(peak, number(g+"/memory.max_usage_in_bytes"))
				limit = number(g + "/memory.limit_in_bytes")
			}
		}
		most = append(most, fmt.Sprintf("%s %d of %d MiB", part, peak>>20, limit>>20))
	}
	return strings.Join(most, ", "), nil
}

func number(path string) int64 {
	b, _ := os.ReadFile(path)
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}
