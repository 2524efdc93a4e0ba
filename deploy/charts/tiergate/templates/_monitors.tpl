{{/* What a ServiceMonitor and a PodMonitor have in common. */}}

{{/* The scraped endpoint. Call with .Values.metrics.serviceMonitor or podMonitor. */}}
{{- define "tiergate.scrapedEndpoint" -}}
- port: admin
  path: /metrics
  {{- with .interval }}
  interval: {{ . | quote }}
  {{- end }}
  {{- with .scrapeTimeout }}
  scrapeTimeout: {{ . | quote }}
  {{- end }}
  {{- with .relabelings }}
  relabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .metricRelabelings }}
  metricRelabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* metadata of an object of the Prometheus operator. Call with (list $ namespace additionalLabels). */}}
{{- define "tiergate.monitorMetadata" -}}
{{- $root := index . 0 -}}
name: {{ include "tiergate.fullname" $root | quote }}
namespace: {{ index . 1 | default $root.Release.Namespace | quote }}
labels:
  {{- include "tiergate.labelsWith" (list $root (include "tiergate.component" $root) (index . 2)) | nindent 2 }}
{{- end -}}
