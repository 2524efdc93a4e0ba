{{/* Labels of objects, and what selectors go by. */}}

{{/* Selectors are immutable: these three never change for a release. */}}
{{- define "tiergate.selectorLabels" -}}
app.kubernetes.io/name: {{ include "tiergate.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: {{ include "tiergate.component" . | quote }}
{{- end -}}

{{/* The labels of an object of the tier. */}}
{{- define "tiergate.labels" -}}
{{- include "tiergate.labelsWith" (list . (include "tiergate.component" .) dict) -}}
{{- end -}}

{{/* The labels of an object of another component or with further labels. Call with (list $ "component" further). */}}
{{- define "tiergate.labelsWith" -}}
{{- $root := index . 0 -}}
{{- $ours := dict
  "app.kubernetes.io/name" (include "tiergate.name" $root)
  "app.kubernetes.io/instance" $root.Release.Name
  "app.kubernetes.io/component" (index . 1)
  "app.kubernetes.io/version" ($root.Values.image.tag | default $root.Chart.AppVersion | trunc 63 | trimAll "._-")
  "app.kubernetes.io/part-of" "tiergate"
  "app.kubernetes.io/managed-by" $root.Release.Service
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimAll "._-") -}}
{{- toYaml (mustMergeOverwrite dict $root.Values.commonLabels (index . 2) $ours) -}}
{{- end -}}

{{/* Labels of pods. No version of the chart in them, so that a new chart alone rolls no pod. */}}
{{- define "tiergate.podLabels" -}}
{{- $ours := include "tiergate.selectorLabels" . | fromYaml | mustMerge (dict "app.kubernetes.io/part-of" "tiergate") -}}
{{- toYaml (mustMergeOverwrite dict .Values.commonLabels .Values.podLabels $ours) -}}
{{- end -}}
