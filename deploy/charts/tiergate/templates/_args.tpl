{{/* The command line of the tier, one quoted argument a line. */}}

{{- define "tiergate.args" -}}
{{- $root := . -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- $ports := include "tiergate.ports" . | fromJson -}}
{{- $args := list "--config=/etc/tiergate/config.yaml" -}}
{{- if eq $settings.mode "namespace" -}}
{{- $args = append $args (printf "--watch-namespace=%s" .Release.Namespace) -}}
{{- end -}}
{{- range include "tiergate.classes" . | fromJsonArray -}}
{{- $args = append $args (printf "--ingress-class=%s" .) -}}
{{- end -}}
{{- range include "tiergate.bindAddresses" . | fromJsonArray -}}
{{- $args = append $args (printf "--http-address=%s" (include "tiergate.socketAddress" (list . $ports.http))) -}}
{{- $args = append $args (printf "--https-address=%s" (include "tiergate.socketAddress" (list . $ports.https))) -}}
{{- end -}}
{{- $args = append $args (printf "--admin-address=%s" (include "tiergate.socketAddress" (list (include "tiergate.anyAddress" .) $ports.admin))) -}}
{{- with .Values.defaultBackendService -}}
{{- $args = append $args (printf "--default-backend-service=%s" (include "tiergate.objectName" (list $root .))) -}}
{{- end -}}
{{- with .Values.defaultSslCertificate -}}
{{- $args = append $args (printf "--default-ssl-certificate=%s" (include "tiergate.objectName" (list $root .))) -}}
{{- end -}}
{{- range .Values.trustedProxies -}}
{{- $args = append $args (printf "--trusted-proxies=%s" .) -}}
{{- end -}}
{{- if eq $settings.mode "cluster" -}}
{{- $args = append $args (printf "--secret-namespaces=%s" (include "tiergate.secretNamespaces" . | fromJsonArray | join ",")) -}}
{{- end -}}
{{- $args = append $args (printf "--election-id=%s" (include "tiergate.fullname" .)) -}}
{{- $published := dig "addresses" list (.Values.status | default dict) -}}
{{- if and (not $published) (ne $settings.vip.mode "none") -}}
{{- range $settings.vip.addresses -}}{{- $published = append $published (splitList "/" . | first) -}}{{- end -}}
{{- end -}}
{{- range $published -}}
{{- $args = append $args (printf "--publish-address=%s" .) -}}
{{- else -}}
{{- $args = append $args (printf "--publish-service=$(POD_NAMESPACE)/%s" (include "tiergate.fullname" .)) -}}
{{- end -}}
{{- $args = append $args (printf "--drain-timeout=%ds" (int .Values.deployment.drain.timeoutSeconds)) -}}
{{- range $name, $value := .Values.extraArgs -}}
{{- range (kindIs "slice" $value | ternary $value (list $value)) -}}
{{- $args = append $args (printf "--%s=%s" $name (toString .)) -}}
{{- end -}}
{{- end -}}
{{- range $args }}
- {{ quote . }}
{{- end -}}
{{- end -}}
