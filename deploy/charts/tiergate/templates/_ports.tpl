{{/* Ports and addresses that the tier listens on. */}}

{{/* JSON: container ports by name. */}}
{{- define "tiergate.ports" -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- $http := .Values.network.ports.http | default ($settings.hostNetwork | ternary 80 8080) -}}
{{- $https := .Values.network.ports.https | default ($settings.hostNetwork | ternary 443 8443) -}}
{{- dict "http" (int $http) "https" (int $https) "admin" (int .Values.metrics.port) | toJson -}}
{{- end -}}

{{/* "true" when a port below 1024 is bound. */}}
{{- define "tiergate.bindsPrivilegedPort" -}}
{{- $ports := include "tiergate.ports" . | fromJson -}}
{{- if or (lt (int $ports.http) 1024) (lt (int $ports.https) 1024) (lt (int $ports.admin) 1024) -}}true{{- end -}}
{{- end -}}

{{/* The address for "all addresses", in the families that the Service asks for. */}}
{{- define "tiergate.anyAddress" -}}
{{- $v6 := or (has "IPv6" .Values.service.ipFamilies) (eq .Values.service.ipFamilyPolicy "RequireDualStack") -}}
{{- .Values.network.bindAddress | default ($v6 | ternary "::" "0.0.0.0") -}}
{{- end -}}

{{/* IP:PORT. Call with (list "address" port). */}}
{{- define "tiergate.socketAddress" -}}
{{- $address := index . 0 | splitList "/" | first -}}
{{- if contains ":" $address -}}[{{ $address }}]{{- else -}}{{ $address }}{{- end -}}:{{ index . 1 }}
{{- end -}}

{{/* Addresses for requests, as a JSON list: those of the VIP when it is ours to serve. */}}
{{- define "tiergate.bindAddresses" -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- if $settings.bindsVip -}}{{- $settings.vip.addresses | toJson -}}
{{- else -}}{{- list (include "tiergate.anyAddress" .) | toJson -}}
{{- end -}}
{{- end -}}

{{/* What a Service or a monitor names as target: pods on the host network declare no ports. Call with (list $ "http"). */}}
{{- define "tiergate.targetPort" -}}
{{- $root := index . 0 -}}
{{- $settings := include "tiergate.settings" $root | fromJson -}}
{{- if $settings.hostNetwork -}}{{- get (include "tiergate.ports" $root | fromJson) (index . 1) -}}
{{- else -}}{{- index . 1 -}}
{{- end -}}
{{- end -}}
