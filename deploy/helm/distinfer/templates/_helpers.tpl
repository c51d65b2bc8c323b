{{/* FULLNAME: the release's name, and the chart's unless that is in it. */}}
{{- define "distinfer.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}{{- end -}}
{{- end }}

{{/* Labels by which pods of the release are found. */}}
{{- define "distinfer.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "distinfer.labels" -}}
{{ include "distinfer.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "distinfer.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{- end -}}
{{- end -}}
{{- end }}

{{- define "distinfer.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}{{ default (include "distinfer.fullname" .) .Values.serviceAccount.name }}
{{- else -}}{{ default "default" .Values.serviceAccount.name }}{{- end -}}
{{- end }}

{{/* The generation of a model: a hash of all that says which it is. */}}
{{- define "distinfer.generation" -}}{{ omit . "split" | toJson | sha256sum | trunc 8 }}{{- end }}

{{/* The models whose stages run, the served one first, as {"models": […]}. The one before is in the
ConfigMap that the former upgrade wrote. */}}
{{- define "distinfer.models" -}}
{{- $models := list .Values.model -}}
{{- $former := .Values.previousModel -}}
{{- if not $former -}}
  {{- with lookup "v1" "ConfigMap" .Release.Namespace (printf "%s-model" (include "distinfer.fullname" .)) -}}
    {{- $former = fromJson (index .data "model.json") -}}
  {{- end -}}
{{- end -}}
{{- if and $former (ne (include "distinfer.generation" $former) (include "distinfer.generation" .Values.model)) -}}
  {{- $models = append $models $former -}}
{{- end -}}
{{- toJson (dict "models" $models) -}}
{{- end }}

{{/* The addresses of a model's stages. */}}
{{- define "distinfer.stages" -}}
{{- $addresses := list -}}
{{- range $rank := until (int .model.stages) -}}
  {{- $addresses = append $addresses (printf "dns:///%s-stage-%d:2222" (include "distinfer.fullname" $.root) $rank) -}}
{{- end -}}
{{- join "," $addresses -}}
{{- end }}

{{/* Where a pod has a model's bundle: in an image, in a claim, or fetched into a folder of its own.
Takes root, model and fetches, whether it fetches from the fronts. */}}
{{- define "distinfer.bundleArgs" -}}
{{- $m := .model -}}
{{- $path := "" -}}
{{- if not (or .fetches $m.fetch.from) -}}{{- $path = ternary $m.image.path $m.claim.path (ne $m.image.reference "") -}}{{- end -}}
- --bundle={{ clean (printf "/bundle/%s" $path) }}
{{- with $m.bundleID }}
- --bundle-id={{ . }}
{{- end }}
{{- if .fetches }}
- --fetch={{ include "distinfer.fullname" .root }}-share:2221
{{- else if $m.fetch.from }}
- --fetch={{ join "," $m.fetch.from }}
{{- end }}
{{- end }}

{{- define "distinfer.bundleVolume" -}}
{{- $m := .model -}}
- name: bundle
{{- if or .fetches $m.fetch.from }}
  emptyDir: {{ if $m.fetch.sizeLimit }}{sizeLimit: {{ $m.fetch.sizeLimit }}}{{ else }}{}{{ end }}
{{- else if $m.image.reference }}
  image: {reference: {{ $m.image.reference | quote }}, pullPolicy: {{ $m.image.pullPolicy }}}
{{- else }}
  persistentVolumeClaim: {claimName: {{ required "name where the bundle is: one of model.image.reference, model.claim.name and model.fetch.from" $m.claim.name }}, readOnly: true}
{{- end }}
{{- end }}

{{/* Arguments of fronts and stages alike. Takes root and the ports health and metrics. */}}
{{- define "distinfer.commonArgs" -}}
{{- with .root.Values -}}
- --health={{ .listenAddress }}:{{ $.health }}
- --log-format={{ .logFormat }}
- --log-level={{ .logLevel }}
{{- if ne .tls.mode "none" }}
- --tls=/etc/distinfer/tls
{{- end }}
{{- if .metrics.enabled }}
- --admin={{ .listenAddress }}:{{ $.metrics }}
{{- end }}
{{- end }}
{{- end }}

{{- define "distinfer.env" -}}
{{- with .Values.tracing }}
{{- if .endpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ .endpoint | quote }}}
- {name: OTEL_EXPORTER_OTLP_PROTOCOL, value: {{ .protocol | quote }}}
- {name: OTEL_TRACES_SAMPLER, value: parentbased_traceidratio}
- {name: OTEL_TRACES_SAMPLER_ARG, value: {{ .ratio | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{/* The folder that --tls names, out of a Secret as cert-manager makes them. */}}
{{- define "distinfer.tlsVolume" -}}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items:
      - {key: ca.crt, path: ca.pem}
      - {key: tls.crt, path: cert.pem}
      - {key: tls.key, path: key.pem}
{{- end }}

{{- define "distinfer.frontSecret" -}}
{{- if eq .Values.tls.mode "existing" -}}{{ required "tls.mode is existing: name the Secret in tls.frontSecret" .Values.tls.frontSecret }}
{{- else -}}{{ include "distinfer.fullname" . }}-front-tls{{- end -}}
{{- end }}

{{/* Takes root and rank. */}}
{{- define "distinfer.stageSecret" -}}
{{- $tls := .root.Values.tls -}}
{{- if ne $tls.mode "existing" -}}{{ include "distinfer.fullname" .root }}-stage-{{ .rank }}-tls
{{- else if gt (len $tls.stageSecrets) .rank -}}{{ index $tls.stageSecrets .rank }}
{{- else -}}{{ fail (printf "tls.mode is existing: name a Secret for each of the stages in tls.stageSecrets, rank %d has none" .rank) }}{{- end -}}
{{- end }}

{{/* Takes seconds, how long a start may take, and port. */}}
{{- define "distinfer.probes" -}}
startupProbe: {httpGet: {path: /startupz, port: {{ .port }}}, periodSeconds: 1, timeoutSeconds: 2, failureThreshold: {{ .seconds }}}
livenessProbe: {httpGet: {path: /livez, port: {{ .port }}}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
readinessProbe: {httpGet: {path: /readyz, port: {{ .port }}}, periodSeconds: 2, timeoutSeconds: 2, failureThreshold: 1}
{{- end }}

{{/* What fronts' and stages' pods have in common. Takes root, of (front or stage, values) and
labels, by which pods alike are found. */}}
{{- define "distinfer.podSpec" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
serviceAccountName: {{ include "distinfer.serviceAccount" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{ toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .of.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .of.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .of.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .of.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{ toYaml (mergeOverwrite (dict "labelSelector" (dict "matchLabels" (fromYaml $.labels))) .) | nindent 4 }}
  {{- end }}
{{- end }}
affinity:
{{- if .of.affinity }}
  {{- toYaml .of.affinity | nindent 2 }}
{{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector: {matchLabels: {{ fromYaml .labels | toJson }}}
{{- end }}
{{- end }}

{{- define "distinfer.frontLabels" -}}
{{ include "distinfer.selector" . }}
app.kubernetes.io/component: front
{{- end }}

{{/* Takes root and rank. */}}
{{- define "distinfer.stageLabels" -}}
{{ include "distinfer.selector" .root }}
app.kubernetes.io/component: stage
distinfer/rank: {{ .rank | quote }}
{{- end }}

{{/* The most ranks that any model has. */}}
{{- define "distinfer.ranks" -}}
{{- $n := 0 -}}
{{- range (include "distinfer.models" . | fromJson).models -}}{{- $n = max $n (int .stages) -}}{{- end -}}
{{- $n -}}
{{- end }}
