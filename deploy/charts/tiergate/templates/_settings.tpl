{{/* What the values mean: the one place that knows the names which the ingress chart of openstack-helm had. */}}

{{/*
JSON with what is in force, from this chart's names and the older ones:

  deployment.type              -> deployment.kind
  deployment.cluster.class     -> ingressClass.cluster.name
  network.host_namespace       -> network.hostNetwork
  network.vip.manage           -> vip.mode: "routed" for an interface that is a dummy by its name, "l2" for any other
  network.vip.mode             -> "routed" as manage says, "keepalived" is refused
  network.vip.interface, addr  -> vip.interface, vip.addresses
  monitoring.prometheus.enabled -> metrics.enabled

An older name goes before ours where it is set. "tiergate.refusals" refuses values that contradict each other.
*/}}
{{- define "tiergate.settings" -}}
{{- $values := .Values -}}
{{- $kind := dig "type" "" $values.deployment | default $values.deployment.kind -}}
{{- $clusterClass := dig "cluster" "class" "" $values.deployment | default $values.ingressClass.cluster.name -}}
{{- $hostNetwork := $values.network.hostNetwork -}}
{{- if hasKey $values.network "host_namespace" -}}{{- $hostNetwork = $values.network.host_namespace -}}{{- end -}}
{{- $metrics := $values.metrics.enabled -}}
{{- if hasKey (dig "monitoring" "prometheus" dict $values.AsMap) "enabled" -}}{{- $metrics = $values.monitoring.prometheus.enabled -}}{{- end -}}
{{- $vip := dict "mode" $values.vip.mode "interface" $values.vip.interface "addresses" $values.vip.addresses -}}
{{- $older := dig "vip" dict $values.network -}}
{{- if dig "manage" false $older -}}
{{- $interface := dig "interface" "" $older | default $values.vip.interface | default "ingress-vip" -}}
{{- $mode := regexMatch "dummy|vip|^lo$" $interface | ternary "routed" "l2" -}}
{{- if eq (dig "mode" "" $older) "keepalived" -}}{{- $mode = "keepalived" -}}{{- end -}}
{{- $addresses := $values.vip.addresses -}}
{{- with dig "addr" "" $older -}}{{- $addresses = list . -}}{{- end -}}
{{- $vip = dict "mode" $mode "interface" $interface "addresses" $addresses -}}
{{- end -}}
{{- $ours := has $vip.mode (list "routed" "l2") -}}
{{- $type := $values.service.type -}}
{{- if not $type -}}
{{- $outside := or $hostNetwork $values.network.hostPort.enabled -}}
{{- $type = and (eq $values.deployment.mode "cluster") (eq $vip.mode "external") (not $outside) | ternary "LoadBalancer" "ClusterIP" -}}
{{- end -}}
{{- dict "mode" $values.deployment.mode "kind" $kind "clusterClass" $clusterClass "hostNetwork" $hostNetwork "metrics" $metrics "vip" $vip "bindsVip" $ours "serviceType" $type | toJson -}}
{{- end -}}

{{- define "tiergate.component" -}}
{{- .Values.deployment.mode -}}-tier
{{- end -}}

{{/* Classes that the tier serves, as a JSON list. */}}
{{- define "tiergate.classes" -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- if eq $settings.mode "cluster" -}}
{{- prepend .Values.ingressClass.cluster.aliases $settings.clusterClass | uniq | toJson -}}
{{- else -}}
{{- prepend .Values.ingressClass.namespace.aliases .Values.ingressClass.namespace.name | uniq | toJson -}}
{{- end -}}
{{- end -}}

{{/* Namespaces in which the cluster tier reads Secrets by name, as a JSON list. */}}
{{- define "tiergate.secretNamespaces" -}}
{{- prepend .Values.rbac.secretNamespaces .Release.Namespace | uniq | toJson -}}
{{- end -}}

{{/* "true" when a namespace release makes a Role of its own, and when a cluster release makes the ClusterRole for tenants. */}}
{{- define "tiergate.createsNamespaceRole" -}}
{{- $create := .Values.rbac.namespaceRole.create -}}
{{- if kindIs "bool" $create -}}
{{- if $create -}}true{{- end -}}
{{- else -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- if or (eq $settings.mode "cluster") $settings.hostNetwork -}}true{{- end -}}
{{- end -}}
{{- end -}}
