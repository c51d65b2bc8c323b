// Package helm tests the chart: that its table of values, its schema and its copies of files are
// those of what they are made from, and what its templates make of values.
package helm_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/distinfer/distinfer/runtime/testkit"
)

var update = flag.Bool("update", false, "write the files that are made from others")

const chart = "distinfer"

// A value is an entry of values.yaml.
type value struct {
	path, text string
	node       *yaml.Node
}

// read reads values.yaml.
func read(t *testing.T) *yaml.Node {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Content[0]
}

// comment is what values.yaml says of a key, or "" for one that only holds others.
func comment(key *yaml.Node) string {
	_, text, _ := strings.Cut(key.HeadComment, "# -- ")
	return text
}

// walk lists the entries of a map that have a comment.
func walk(node *yaml.Node, path string) (list []value) {
	for i := 0; i < len(node.Content); i += 2 {
		key, of := node.Content[i], node.Content[i+1]
		if text := comment(key); text != "" {
			list = append(list, value{path + key.Value, text, of})
			continue
		}
		list = append(list, walk(of, path+key.Value+".")...)
	}
	return list
}

var parentheses = regexp.MustCompile(` \([^)]*\)`)

// schema is the JSON schema of an entry. A map whose entries have comments has no others.
func schema(key, node *yaml.Node) map[string]any {
	text := ""
	if key != nil {
		text = comment(key)
	}
	s := map[string]any{}
	if text != "" {
		s["description"] = text
	}
	switch node.Tag {
	case "!!str":
		s["type"] = "string"
		if choices, ok := strings.CutPrefix(text, "one of "); ok {
			s["enum"] = strings.Split(parentheses.ReplaceAllString(choices, ""), ", ")
		}
	case "!!int":
		s["type"], s["minimum"] = "integer", 0
	case "!!float":
		s["type"], s["minimum"], s["maximum"] = "number", 0, 1
	case "!!bool":
		s["type"] = "boolean"
	case "!!seq":
		s["type"] = "array"
	case "!!map":
		s["type"] = "object"
		if text != "" {
			break
		}
		properties := map[string]any{}
		for i := 0; i < len(node.Content); i += 2 {
			properties[node.Content[i].Value] = schema(node.Content[i], node.Content[i+1])
		}
		s["properties"], s["additionalProperties"] = properties, false
	}
	return s
}

// holds fails unless a file has the given content, or writes it.
func holds(t *testing.T, path string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what it is made from; run `go test ./deploy/helm -update` (%v)", path, err)
	}
}

func TestTheSchemaIsThatOfTheValues(t *testing.T) {
	t.Parallel()
	s := schema(nil, read(t))
	s["$schema"] = "http://json-schema.org/draft-07/schema#"
	s["properties"].(map[string]any)["global"] = map[string]any{"type": "object"}
	s["properties"].(map[string]any)["model"].(map[string]any)["properties"].(map[string]any)["stages"].(map[string]any)["minimum"] = 1
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	holds(t, filepath.Join(chart, "values.schema.json"), append(text, '\n'))
}

func TestTheTableIsThatOfTheValues(t *testing.T) {
	t.Parallel()
	path := filepath.Join(chart, "README.md")
	readme, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, rest, ok := strings.Cut(string(readme), " -->\n")
	_, end, ok2 := strings.Cut(rest, "<!-- end of")
	if !ok || !ok2 {
		t.Fatal("README.md has no place for the table")
	}
	table := "\n| value | default | |\n| --- | --- | --- |\n"
	for _, v := range walk(read(t), "") {
		var preset any
		if err := v.node.Decode(&preset); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(preset)
		if err != nil {
			t.Fatal(err)
		}
		table += fmt.Sprintf("| `%s` | `%s` | %s |\n", v.path, text, v.text)
	}
	holds(t, path, []byte(begin+" -->\n"+table+"\n<!-- end of"+end))
}

func TestCopiesAreThoseOfTheirOriginals(t *testing.T) {
	t.Parallel()
	for from, to := range map[string]string{"grafana/distinfer.json": "dashboard.json", "prometheus/rules.yml": "rules.yml"} {
		want, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(from)))
		if err != nil {
			t.Fatal(err)
		}
		holds(t, filepath.Join(chart, "files", to), want)
	}
}

// template is what the templates make of values; failed is how Helm refuses them.
func template(t *testing.T, values ...string) (objects []map[string]any, failed string) {
	t.Helper()
	helm := filepath.Join(testkit.Root(t), ".setup", "kubernetes", "bin", "helm")
	if _, err := os.Stat(helm); err != nil {
		t.Skip("there is no Helm here; make test-kubernetes installs it")
	}
	args := []string{"template", "nlp", chart, "--namespace", "here"}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	cmd := exec.Command(helm, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, stderr.String()
	}
	for documents := yaml.NewDecoder(bytes.NewReader(out)); ; {
		var o map[string]any
		if err := documents.Decode(&o); err != nil {
			break
		}
		if o != nil {
			objects = append(objects, o)
		}
	}
	return objects, ""
}

const claim = "model.claim.name=models,model.claim.path=a"

func TestValuesThatAreRefused(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		"":                            "name where the bundle is",
		claim + ",model.stagez=2":     "additional properties 'stagez' not allowed",
		claim + ",replicas=2":         "additional properties 'replicas' not allowed",
		claim + ",layout=statefulSet": "value must be one of 'deployments', 'leaderWorkerSet'",
		claim + ",model.stages=0":     "minimum: got 0, want 1",
		claim + ",front.replicas=two": "got string, want integer",
		claim + ",tls.mode=existing,tls.stageSecrets[0]=s,tls.stageSecrets[1]=s": "name the Secret in tls.frontSecret",
		claim + ",model.distribute=true":                                         "model.distribute needs model.bundleID",
		claim + ",ingress.enabled=true":                                          "ingress.enabled needs ingress.hosts",
		claim + ",gateway.httpRoute=true":                                        "routes need gateway.parentRefs",
		claim + ",model.split.enabled=true":                                      "model.split needs model.split.model",
		claim + ",tls.mode=existing,tls.frontSecret=f,tls.stageSecrets[0]=s":     "rank 1 has none",
	} {
		var set []string
		if values != "" {
			set = []string{values}
		}
		if _, failed := template(t, set...); !strings.Contains(failed, want) {
			t.Errorf("%s: %q, want %q", values, failed, want)
		}
	}
}

// at is what an object holds at a path of keys and numbers.
func at(o any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := o.(map[string]any)
			o = m[p]
		case int:
			l, _ := o.([]any)
			if p >= len(l) {
				return nil
			}
			o = l[p]
		}
	}
	return o
}

// find are the objects of a kind whose name begins as given.
func find(objects []map[string]any, kind, name string) (list []map[string]any) {
	for _, o := range objects {
		if n, _ := at(o, "metadata", "name").(string); o["kind"] == kind && strings.HasPrefix(n, name) {
			list = append(list, o)
		}
	}
	return list
}

func args(o map[string]any) string {
	return fmt.Sprint(at(o, "spec", "template", "spec", "containers", 0, "args"))
}

func TestEveryPodIsRestricted(t *testing.T) {
	t.Parallel()
	for _, layout := range []string{"deployments", "leaderWorkerSet"} {
		objects, failed := template(t, claim+",layout="+layout, "model.split.enabled=true,model.split.model=m")
		if failed != "" {
			t.Fatal(failed)
		}
		pods := 0
		for _, o := range objects {
			specs := []any{at(o, "spec", "template", "spec"), at(o, "spec", "leaderWorkerTemplate", "leaderTemplate", "spec"), at(o, "spec", "leaderWorkerTemplate", "workerTemplate", "spec")}
			if o["kind"] == "Pod" {
				specs = append(specs, o["spec"])
			}
			for _, s := range specs {
				if s == nil {
					continue
				}
				pods++
				c := at(s, "containers", 0, "securityContext")
				if at(s, "securityContext", "runAsNonRoot") != true || at(s, "securityContext", "seccompProfile", "type") != "RuntimeDefault" ||
					at(c, "readOnlyRootFilesystem") != true || at(c, "allowPrivilegeEscalation") != false || fmt.Sprint(at(c, "capabilities", "drop")) != "[ALL]" ||
					at(s, "automountServiceAccountToken") != false {
					t.Errorf("%s %v may too much", o["kind"], at(o, "metadata", "name"))
				}
			}
		}
		if pods < 4 {
			t.Errorf("%s: %d pods", layout, pods)
		}
	}
}

func TestStagesOfTwoGenerations(t *testing.T) {
	t.Parallel()
	objects, failed := template(t, claim+",model.stages=2", "previousModel.stages=3,previousModel.claim.name=models,previousModel.claim.path=old",
		"previousModel.image.reference=,previousModel.fetch.sizeLimit=,previousModel.bundleID=,previousModel.distribute=false")
	if failed != "" {
		t.Fatal(failed)
	}
	stages := find(objects, "Deployment", "nlp-distinfer-stage-")
	if len(stages) != 5 || len(find(objects, "Service", "nlp-distinfer-stage-")) != 3 {
		t.Errorf("%d deployments of stages", len(stages))
	}
	old := 0
	for _, s := range stages {
		if strings.Contains(args(s), "--bundle=/bundle/old") {
			old++
			if !strings.Contains(args(s), "nlp-distinfer-stage-2:2222") {
				t.Errorf("a stage of the model before calls others: %s", args(s))
			}
		}
	}
	front := find(objects, "Deployment", "nlp-distinfer-front")
	if old != 3 || len(front) != 1 || !strings.Contains(args(front[0]), "--stages=dns:///nlp-distinfer-stage-0:2222,dns:///nlp-distinfer-stage-1:2222 --bundle=/bundle/a") {
		t.Errorf("%d stages of the model before; front: %v", old, args(front[0]))
	}
}

func TestGroupsOfPods(t *testing.T) {
	t.Parallel()
	objects, failed := template(t, claim+",layout=leaderWorkerSet,model.stages=3")
	if failed != "" {
		t.Fatal(failed)
	}
	sets := find(objects, "LeaderWorkerSet", "nlp-distinfer")
	if len(sets) != 1 || len(find(objects, "Deployment", "")) != 0 {
		t.Fatalf("%d LeaderWorkerSets", len(sets))
	}
	worker := fmt.Sprint(at(sets[0], "spec", "leaderWorkerTemplate", "workerTemplate", "spec", "containers", 0, "args"))
	if at(sets[0], "spec", "leaderWorkerTemplate", "size") != 3 || !strings.Contains(worker, "--rank=$(LWS_WORKER_INDEX)") || !strings.Contains(worker, "--stages=lws:2222") {
		t.Errorf("workers are run with %s", worker)
	}
}

func TestWhoIsScaledHasNoReplicas(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"autoscaling.front.enabled=true,autoscaling.stage.enabled=true", "autoscaling.keda.enabled=true"} {
		objects, failed := template(t, claim, by)
		if failed != "" {
			t.Fatal(failed)
		}
		for _, d := range find(objects, "Deployment", "") {
			if n := at(d, "spec", "replicas"); n != nil {
				t.Errorf("%s: %v has %v replicas", by, at(d, "metadata", "name"), n)
			}
		}
		if n := len(find(objects, "HorizontalPodAutoscaler", "")) + len(find(objects, "ScaledObject", "")); n != 3 {
			t.Errorf("%s: %d are scaled", by, n)
		}
	}
}

func TestSourcesOfTheBundle(t *testing.T) {
	t.Parallel()
	for values, want := range map[string][]string{
		claim:                              {"claimName:models", "--bundle=/bundle/a"},
		"model.image.reference=r/m:1":      {"reference:r/m:1", "--bundle=/bundle "},
		"model.fetch.from[0]=machine:2221": {"emptyDir", "--fetch=machine:2221"},
		claim + ",model.distribute=true,model.bundleID=0123456789ab": {"emptyDir", "--fetch=nlp-distinfer-share:2221", "--bundle-id=0123456789ab"},
	} {
		objects, failed := template(t, values)
		if failed != "" {
			t.Fatal(failed)
		}
		stage := fmt.Sprint(find(objects, "Deployment", "nlp-distinfer-stage-0")[0]["spec"])
		for _, w := range want {
			if !strings.Contains(stage, w) {
				t.Errorf("%s: a stage has no %q: %s", values, w, stage)
			}
		}
	}
}
