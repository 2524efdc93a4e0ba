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

{{/* Settings that values of the chart make; the same in config or extraArgs would contradict them. JSON: setting -> what it must be. */}}
{{- define "tiergate.ownedSettings" -}}
{{- dict
  "config" "unset: config is the file"
  "watch_namespace" "unset: the namespace of the release is watched"
  "ingress_class" "unset; set ingressClass.cluster or ingressClass.namespace, name and aliases"
  "http_address" "unset; set network.ports.http and network.bindAddress"
  "https_address" "unset; set network.ports.https and network.bindAddress"
  "admin_address" "unset; set metrics.port and network.bindAddress"
  "admin_socket" "unset; network.hostNetwork sets it"
  "free_bind" "unset; vip.mode sets it"
  "default_backend_service" "unset; set defaultBackendService"
  "default_ssl_certificate" "unset; set defaultSslCertificate"
  "trusted_proxies" "unset; set trustedProxies"
  "secret_namespaces" "unset; set rbac.secretNamespaces"
  "drain_delay" "unset; set deployment.drain.delaySeconds"
  "drain_timeout" "unset; set deployment.drain.timeoutSeconds"
  "publish_address" "unset; set status.addresses"
  "publish_service" "unset; set status.addresses"
  "election_id" "unset: the name of the release's objects"
  "vip_mode" "unset; set vip.mode"
  "vip_address" "unset; set vip.addresses"
  "vip_interface" "unset; set vip.interface" | toJson -}}
{{- end -}}
