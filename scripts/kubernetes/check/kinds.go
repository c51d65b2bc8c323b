package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// variants are values of the chart that together make every kind of resource, by what they show.
// LeaderWorkerSet is left out: its definition is in no public Go module.
var variants = map[string]string{
	"plain":        "",
	"distributed":  "model.distribute=true,model.bundleID=0123456789ab",
	"image volume": "model.claim.name=,model.image.reference=registry.example/model:1",
	"fetching":     "model.claim.name=,model.fetch.from[0]=machine.example:2221,model.fetch.sizeLimit=1Gi",
	"split":        "model.split.enabled=true,model.split.model=sst2",
	"cert-manager": "tls.mode=certManager",
	"monitoring":   "metrics.serviceMonitor=true,metrics.podMonitor=true,metrics.prometheusRule=true,metrics.dashboard=true,tracing.endpoint=http://collector:4318",
	"HPA":          "autoscaling.front.enabled=true,autoscaling.stage.enabled=true",
	"KEDA":         "autoscaling.keda.enabled=true",
	"routes":       "ingress.enabled=true,ingress.hosts[0]=nlp.example.org,gateway.httpRoute=true,gateway.grpcRoute=true,gateway.parentRefs[0].name=gateway",
	"pool":         "gateway.inferencePool=true,gateway.endpointPicker.name=picker,gateway.endpointPicker.port.number=9002",
	"KServe":       "kserve.servingRuntime=true,kserve.storageUri=pvc://models/a",
	"clients":      "front.httpsSecret=https,front.tokensSecret=tokens,front.service.type=LoadBalancer,front.priorityClassName=system-cluster-critical",
	"spread":       "stage.topologySpreadConstraints[0].maxSkew=1,stage.topologySpreadConstraints[0].topologyKey=zone,stage.topologySpreadConstraints[0].whenUnsatisfiable=ScheduleAnyway",
}

// kinds has the API server check every kind of resource that the chart can make, strictly.
func (c *cluster) kinds() (string, error) {
	seen := map[string]bool{}
	var errs []error
	for name, values := range variants {
		out, err := command("", "helm", "template", "dry", c.chart, "-n", namespace, "--set", "model.claim.name=models,model.claim.path=a", "--set", values)
		if err == nil {
			_, err = command(out, "kubectl", "-n", namespace, "apply", "--dry-run=server", "--validate=strict", "-f", "-")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		for line := range strings.Lines(out) {
			if kind, ok := strings.CutPrefix(line, "kind: "); ok {
				seen[strings.TrimSpace(kind)] = true
			}
		}
	}
	var kinds []string
	for k := range seen {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	return strings.Join(kinds, ", "), errors.Join(errs...)
}
