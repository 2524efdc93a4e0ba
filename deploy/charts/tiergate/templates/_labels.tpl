{{/* Labels of objects, and what selectors go by. */}}

{{/* Selectors are immutable: these three never change for a release. */}}
{{- define "tiergate.selectorLabels" -}}
app.kubernetes.io/name: {{ include "tiergate.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: {{ include "tiergate.component" . | quote }}
{{- end -}}

{{/* What every object has beside them. */}}
{{- define "tiergate.furtherLabels" -}}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/part-of: tiergate
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tiergate.labels" -}}
{{ include "tiergate.selectorLabels" . }}
{{ include "tiergate.furtherLabels" . }}
{{- end -}}

{{/* Labels of an object that is not of the tier itself. Call with (list $ "component"). */}}
{{- define "tiergate.labelsOf" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "tiergate.name" $root | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 | quote }}
{{ include "tiergate.furtherLabels" $root }}
{{- end -}}

{{/* Labels of pods. No version of the chart in them, so that a new chart alone rolls no pod. */}}
{{- define "tiergate.podLabels" -}}
{{ include "tiergate.selectorLabels" . }}
app.kubernetes.io/part-of: tiergate
{{- with mustMergeOverwrite (dict) .Values.commonLabels .Values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}
