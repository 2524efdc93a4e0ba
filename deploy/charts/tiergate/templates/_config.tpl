{{/* The configuration file: what the chart decides, and config as it is given. */}}

{{/* Seconds that a pod gets between SIGTERM and SIGKILL. */}}
{{- define "tiergate.gracePeriodSeconds" -}}
{{- $needed := add .Values.deployment.drain.delaySeconds .Values.deployment.drain.timeoutSeconds 10 -}}
{{- .Values.deployment.terminationGracePeriodSeconds | default $needed | int -}}
{{- end -}}

{{- define "tiergate.config" -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- $config := dict "drain_delay" (printf "%ds" (int .Values.deployment.drain.delaySeconds)) -}}
{{- if $settings.hostNetwork -}}{{- $_ := set $config "admin_socket" (include "tiergate.adminSocket" .) -}}{{- end -}}
{{- if $settings.bindsVip -}}{{- $_ := set $config "free_bind" true -}}{{- end -}}
{{- toYaml (mustMergeOverwrite $config (deepCopy .Values.config)) -}}
{{- end -}}

{{/* Settings that values of the chart make; the same in config or extraArgs would contradict them. JSON: setting -> value. */}}
{{- define "tiergate.ownedSettings" -}}
{{- dict
  "config" "config"
  "watch_namespace" "the namespace of the release"
  "ingress_class" "ingressClass.*.name and aliases"
  "http_address" "network.ports.http and network.bindAddress"
  "https_address" "network.ports.https and network.bindAddress"
  "admin_address" "metrics.port"
  "admin_socket" "network.hostNetwork"
  "free_bind" "vip.mode"
  "default_backend_service" "defaultBackendService"
  "default_ssl_certificate" "defaultSslCertificate"
  "trusted_proxies" "trustedProxies"
  "secret_namespaces" "rbac.secretNamespaces"
  "drain_delay" "deployment.drain.delaySeconds"
  "drain_timeout" "deployment.drain.timeoutSeconds"
  "vip_mode" "vip.mode"
  "vip_address" "vip.addresses"
  "vip_interface" "vip.interface" | toJson -}}
{{- end -}}
