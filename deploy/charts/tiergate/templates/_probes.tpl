{{/* Probes of the tier's own health addresses. */}}

{{/* The Unix socket by which a pod on the host network is probed: the admin port of the node may be another pod's. */}}
{{- define "tiergate.adminSocket" -}}
/run/tiergate/admin.sock
{{- end -}}

{{/* A probe. Call with (list $ "/readyz" .Values.probes.readiness). */}}
{{- define "tiergate.probe" -}}
{{- $root := index . 0 -}}
{{- $path := index . 1 -}}
{{- $probe := deepCopy (index . 2) -}}
{{- $settings := include "tiergate.settings" $root | fromJson -}}
{{- if $settings.hostNetwork -}}
{{- $command := list (include "tiergate.program" $root) "probe" "--socket" (include "tiergate.adminSocket" $root) $path -}}
{{- $_ := set $probe "exec" (dict "command" $command) -}}
{{- else -}}
{{- $_ := set $probe "httpGet" (dict "path" $path "port" "admin") -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end -}}
