{{/* Security contexts: restricted, with the one exception that ports below 1024 on the host network need. */}}

{{/*
Kubernetes gives no ambient capabilities, so a process that is not root cannot bind a port below 1024 of the node. Then
the container runs as uid 0 with NET_BIND_SERVICE and nothing else. In a pod's own network a sysctl does the same
for any uid, and the pod stays restricted.
*/}}
{{- define "tiergate.podSecurityContext" -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- $context := deepCopy .Values.podSecurityContext -}}
{{- if include "tiergate.bindsPrivilegedPort" . -}}
{{- if $settings.hostNetwork -}}
{{- $context = mustMergeOverwrite $context (dict "runAsNonRoot" false "runAsUser" 0 "runAsGroup" 0) -}}
{{- else -}}
{{- $sysctl := dict "name" "net.ipv4.ip_unprivileged_port_start" "value" "0" -}}
{{- $_ := set $context "sysctls" (append ($context.sysctls | default list) $sysctl) -}}
{{- end -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{- define "tiergate.containerSecurityContext" -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- $context := deepCopy .Values.containerSecurityContext -}}
{{- if and (include "tiergate.bindsPrivilegedPort" .) $settings.hostNetwork -}}
{{- $capabilities := $context.capabilities | default dict -}}
{{- $_ := set $capabilities "add" (append ($capabilities.add | default list) "NET_BIND_SERVICE" | uniq) -}}
{{- $_ := set $context "capabilities" $capabilities -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}
