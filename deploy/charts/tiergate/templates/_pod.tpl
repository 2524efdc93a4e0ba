{{/* The pod of a tier, the same for a Deployment and a DaemonSet. */}}

{{- define "tiergate.podTemplate" -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
metadata:
  labels:
    {{- include "tiergate.podLabels" . | nindent 4 }}
    {{- with include "tiergate.hostPortLabels" . | fromYaml }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- include "tiergate.podAnnotations" . | nindent 4 }}
spec:
  serviceAccountName: {{ include "tiergate.serviceAccountName" . | quote }}
  automountServiceAccountToken: {{ .Values.serviceAccount.automountToken }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "tiergate.gracePeriodSeconds" . }}
  {{- with include "tiergate.imagePullSecrets" . | fromJsonArray }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $settings.hostNetwork }}
  hostNetwork: true
  {{- end }}
  dnsPolicy: {{ .Values.network.dnsPolicy | default ($settings.hostNetwork | ternary "ClusterFirstWithHostNet" "ClusterFirst") }}
  {{- with .Values.network.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  securityContext:
    {{- include "tiergate.podSecurityContext" . | nindent 4 }}
  {{- with .Values.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    {{- include "tiergate.container" . | nindent 4 }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "tiergate.configMapName" . | quote }}
    {{- if $settings.hostNetwork }}
    - name: admin
      emptyDir:
        medium: Memory
        sizeLimit: 1Mi
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- include "tiergate.placement" . | trim | nindent 2 }}
{{- end -}}

{{- define "tiergate.container" -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- $ports := include "tiergate.ports" . | fromJson -}}
- name: tiergate
  image: {{ include "tiergate.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command:
    - {{ include "tiergate.program" . }}
  args:
    {{- include "tiergate.args" . | trim | nindent 4 }}
  env:
    {{- include "tiergate.identityEnv" . | nindent 4 }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.extraEnvFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not $settings.hostNetwork }}
  ports:
    {{- range $name := list "http" "https" "admin" }}
    - name: {{ $name }}
      containerPort: {{ get $ports $name }}
      {{- if and $.Values.network.hostPort.enabled (ne $name "admin") }}
      hostPort: {{ get $.Values.network.hostPort $name }}
      {{- end }}
      protocol: TCP
    {{- end }}
  {{- end }}
  startupProbe:
    {{- include "tiergate.probe" (list . "/livez" .Values.probes.startup) | nindent 4 }}
  livenessProbe:
    {{- include "tiergate.probe" (list . "/livez" .Values.probes.liveness) | nindent 4 }}
  readinessProbe:
    {{- include "tiergate.probe" (list . "/readyz" .Values.probes.readiness) | nindent 4 }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    {{- include "tiergate.containerSecurityContext" . | nindent 4 }}
  volumeMounts:
    - name: config
      mountPath: /etc/tiergate
      readOnly: true
    {{- if $settings.hostNetwork }}
    - name: admin
      mountPath: {{ include "tiergate.adminSocket" . | dir }}
    {{- end }}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Which pod it is, for the other replicas. What extraEnv says of it goes before. */}}
{{- define "tiergate.identityEnv" -}}
{{- $given := list -}}
{{- range .Values.extraEnv -}}{{- $given = append $given .name -}}{{- end -}}
{{- $env := list -}}
{{- range $name, $path := dict "POD_NAME" "metadata.name" "POD_NAMESPACE" "metadata.namespace" -}}
{{- if not (has $name $given) -}}
{{- $env = append $env (dict "name" $name "valueFrom" (dict "fieldRef" (dict "apiVersion" "v1" "fieldPath" $path))) -}}
{{- end -}}
{{- end -}}
{{- with $env -}}{{- toYaml . -}}{{- end -}}
{{- end -}}

{{/*
Ports of the node that the pods of this release share among themselves, as labels of the pod: the pod itself declares none, so without
them nobody would notice another release on the same ports, and the kernel would give each of the two half of the requests.
*/}}
{{- define "tiergate.hostPortLabels" -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- $labels := dict -}}
{{- if $settings.hostNetwork -}}
{{- $owner := printf "%s/%s" .Release.Namespace .Release.Name | sha256sum | trunc 12 -}}
{{- range $name, $port := include "tiergate.ports" . | fromJson -}}
{{- /* On addresses of its own a tier is in nobody's way. */ -}}
{{- if or (eq $name "admin") (not $settings.bindsVip) -}}
{{- $_ := set $labels (printf "host-port.tiergate.dev/%d" (int $port)) $owner -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $labels -}}
{{- end -}}

{{/* The affinity that the user asks for, and none to pods of other releases that have a port of the node. */}}
{{- define "tiergate.affinity" -}}
{{- $affinity := deepCopy (.Values.affinity | default dict) -}}
{{- $terms := list -}}
{{- range $key, $owner := include "tiergate.hostPortLabels" . | fromYaml -}}
{{- $expressions := list (dict "key" $key "operator" "Exists") (dict "key" $key "operator" "NotIn" "values" (list $owner)) -}}
{{- $terms = append $terms (dict "labelSelector" (dict "matchExpressions" $expressions) "namespaceSelector" dict "topologyKey" "kubernetes.io/hostname") -}}
{{- end -}}
{{- if $terms -}}
{{- $anti := $affinity.podAntiAffinity | default dict -}}
{{- $_ := set $anti "requiredDuringSchedulingIgnoredDuringExecution" (concat ($anti.requiredDuringSchedulingIgnoredDuringExecution | default list) $terms) -}}
{{- $_ := set $affinity "podAntiAffinity" $anti -}}
{{- end -}}
{{- toYaml $affinity -}}
{{- end -}}

{{/* Which nodes take the pod. */}}
{{- define "tiergate.placement" -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "tiergate.affinity" . | fromYaml }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if kindIs "slice" .Values.topologySpreadConstraints }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- else if eq $settings.kind "Deployment" }}
{{- /* By node only: where nodes have no zone, a constraint on zones makes the scheduler ignore this one too. */}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "tiergate.selectorLabels" $ | nindent 8 }}
    matchLabelKeys:
      - pod-template-hash
{{- end }}
{{- end -}}

{{/*
The checksum rolls the pods when the configuration changes. The others tell a Prometheus that goes by annotations where the
metrics are; they are left out where a monitor object does the same.
*/}}
{{- define "tiergate.podAnnotations" -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- $annotations := dict "checksum/config" (include "tiergate.config" . | sha256sum) -}}
{{- $monitored := or .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
{{- if and $settings.metrics .Values.metrics.scrapeAnnotations (not $monitored) -}}
{{- $_ := set $annotations "prometheus.io/scrape" "true" -}}
{{- $_ := set $annotations "prometheus.io/port" (toString .Values.metrics.port) -}}
{{- $_ := set $annotations "prometheus.io/path" "/metrics" -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite $annotations .Values.podAnnotations) -}}
{{- end -}}

{{/*
How pods are replaced: the new one first. A host port can only be held by one pod of a node, so there the old one goes first.
On the host network both hold the ports for a moment, which is why the pod declares none.
*/}}
{{- define "tiergate.rollingUpdate" -}}
{{- if .Values.network.hostPort.enabled -}}
rollingUpdate:
  maxSurge: 0
  maxUnavailable: 1
{{- else -}}
rollingUpdate:
  maxSurge: 1
  maxUnavailable: 0
{{- end }}
type: RollingUpdate
{{- end -}}
