{{/* What the Services have in common. */}}

{{/* Ports of a Service. Call with (list $ .Values.service.nodePorts); the node ports may be empty. */}}
{{- define "tiergate.servicePorts" -}}
{{- $root := index . 0 -}}
{{- $nodePorts := index . 1 -}}
{{- range $name := list "http" "https" }}
- name: {{ $name }}
  port: {{ get $root.Values.service.ports $name }}
  targetPort: {{ include "tiergate.targetPort" (list $root $name) }}
  protocol: TCP
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
