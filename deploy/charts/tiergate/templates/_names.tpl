{{/* What objects are called. */}}

{{/* Name of the objects of this release: the release's own, so that release "ingress" makes Deployment, Service and ServiceAccount "ingress". */}}
{{- define "tiergate.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Value of app.kubernetes.io/name. Part of every selector, which cannot be changed after the installation. */}}
{{- define "tiergate.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "tiergate.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "tiergate.fullname" .) -}}
{{- end -}}

{{/* Name of the ConfigMap with the file that --config names. */}}
{{- define "tiergate.configMapName" -}}
{{- include "tiergate.fullname" . | trunc 56 | trimSuffix "-" -}}-config
{{- end -}}

{{/* A name of the form NAMESPACE/NAME; a bare name is one of the release's namespace. Call with (list $ "name"). */}}
{{- define "tiergate.objectName" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- if contains "/" $name -}}{{ $name }}{{- else -}}{{ $root.Release.Namespace }}/{{ $name }}{{- end -}}
{{- end -}}
