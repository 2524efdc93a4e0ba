{{/* What the Services have in common. */}}

{{/* Ports of a Service. Call with (list $ .Values.service.nodePorts); the node ports may be empty. */}}
{{- define "tiergate.servicePorts" -}}
{{- $root := index . 0 -}}
{{- $nodePorts := index . 1 -}}
{{- $h2c := $root.Values.service.h2c -}}
{{- if not (kindIs "bool" $h2c) }}{{- $h2c = eq $root.Values.deployment.mode "namespace" -}}{{- end -}}
{{- range $name := list "http" "https" }}
- name: {{ $name }}
  port: {{ get $root.Values.service.ports $name }}
  targetPort: {{ include "tiergate.targetPort" (list $root $name) }}
  protocol: TCP
  {{- if and $h2c (eq $name "http") }}
  appProtocol: kubernetes.io/h2c
  {{- end }}
  {{- with get $nodePorts $name }}
  nodePort: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "tiergate.serviceFamilies" -}}
{{- with .Values.service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.service.ipFamilies }}
ipFamilies:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
