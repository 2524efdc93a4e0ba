{{/* The image, and the credentials for it. */}}

{{- define "tiergate.image" -}}
{{- $registry := .Values.global.imageRegistry | default .Values.image.registry -}}
{{- $repository := .Values.image.repository -}}
{{- if $registry -}}{{- $repository = printf "%s/%s" (trimSuffix "/" $registry) $repository -}}{{- end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* A JSON list of {name}; entries may be given as names or as objects. */}}
{{- define "tiergate.imagePullSecrets" -}}
{{- $secrets := list -}}
{{- range concat (.Values.global.imagePullSecrets | default list) .Values.imagePullSecrets -}}
{{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) -}}
{{- end -}}
{{- toJson $secrets -}}
{{- end -}}

{{/* Path of the tier's program in the image. */}}
{{- define "tiergate.program" -}}
{{- if eq .Values.deployment.mode "cluster" -}}/usr/local/bin/tiergate-cluster{{- else -}}/usr/local/bin/tiergate-namespace{{- end -}}
{{- end -}}
