{{/* Values of network, vip and service that cannot be meant. See _refusals.tpl. */}}

{{- define "tiergate.refusals.network" -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- $vip := $settings.vip -}}
{{- if and .Values.network.hostNetwork (not $settings.hostNetwork) -}}
{{- include "tiergate.refusal" (list "network.host_namespace" false "the same as network.hostNetwork, which it is the older name of; set one of them") -}}
{{- end -}}
{{- if $settings.hostNetwork -}}
{{- if .Values.network.hostPort.enabled -}}
{{- include "tiergate.refusal" (list "network.hostPort.enabled" true "false with network.hostNetwork=true, which has the ports of the node already") -}}
{{- end -}}
{{- if .Values.networkPolicy.enabled -}}
{{- include "tiergate.refusal" (list "networkPolicy.enabled" true "false with network.hostNetwork=true: a NetworkPolicy does not cover pods on the network of their node") -}}
{{- end -}}
{{- end -}}
{{- $ports := include "tiergate.ports" . | fromJson -}}
{{- range $pair := list (list "network.ports.https" "https" "http" "network.ports.http") (list "metrics.port" "admin" "http" "network.ports.http") (list "metrics.port" "admin" "https" "network.ports.https") -}}
{{- $value := get $ports (index $pair 1) | int -}}
{{- if eq $value (get $ports (index $pair 2) | int) -}}
{{- include "tiergate.refusal" (list (index $pair 0) $value (printf "another port than %s" (index $pair 3))) -}}
{{- end -}}
{{- end -}}
{{- $older := .Values.network.vip | default dict -}}
{{- if and $older.manage (has .Values.vip.mode (list "none" "routed" "l2")) (ne .Values.vip.mode $vip.mode) -}}
{{- include "tiergate.refusal" (list "network.vip.manage" true (printf "unset with vip.mode=%s: by its interface %s it means vip.mode=%s; set one of them" .Values.vip.mode $vip.interface $vip.mode)) -}}
{{- end -}}
{{- if eq $vip.mode "keepalived" -}}
{{- include "tiergate.refusal" (list ($older.manage | default false | ternary "network.vip.mode" "vip.mode") "keepalived" "none, external, routed or l2: this version has no keepalived; run one on the nodes with vip.mode=none, or use l2") -}}
{{- end -}}
{{- if and (eq $vip.mode "none") $vip.addresses -}}
{{- include "tiergate.refusal" (list "vip.addresses" $vip.addresses "empty with vip.mode=none; or set vip.mode") -}}
{{- end -}}
{{- if $settings.bindsVip -}}
{{- if not $settings.hostNetwork -}}
{{- include "tiergate.refusal" (list "vip.mode" $vip.mode "none or external with network.hostNetwork=false: routed and l2 serve an address of the node; or set network.hostNetwork=true") -}}
{{- end -}}
{{- if not $vip.addresses -}}
{{- include "tiergate.refusal" (list "vip.addresses" list "a list of addresses such as 10.10.10.254/32 with vip.mode=routed or l2") -}}
{{- end -}}
{{- if not $vip.interface -}}
{{- include "tiergate.refusal" (list "vip.interface" "" "the name of an interface of the nodes, such as eth0, with vip.mode=routed or l2") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tiergate.refusals.service" -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- $service := .Values.service -}}
{{- $type := $settings.serviceType -}}
{{- if $settings.bindsVip -}}
{{- if ne $type "ClusterIP" -}}
{{- include "tiergate.refusal" (list "service.type" $type "ClusterIP with vip.mode=routed or l2: the address of the cluster is the VIP; or set vip.mode=external") -}}
{{- end -}}
{{- if $service.internal.enabled -}}
{{- include "tiergate.refusal" (list "service.internal.enabled" true "false with vip.mode=routed or l2: the tier listens on the VIP alone") -}}
{{- end -}}
{{- end -}}
{{- if eq $type "ClusterIP" -}}
{{- with $service.externalTrafficPolicy -}}
{{- include "tiergate.refusal" (list "service.externalTrafficPolicy" . "unset with service.type=ClusterIP; it needs NodePort or LoadBalancer") -}}
{{- end -}}
{{- range $name, $port := $service.nodePorts -}}
{{- if $port -}}
{{- include "tiergate.refusal" (list (printf "service.nodePorts.%s" $name) $port "unset with service.type=ClusterIP; it needs NodePort or LoadBalancer") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $service.nodePorts.http $service.nodePorts.https (eq (int $service.nodePorts.http) (int $service.nodePorts.https)) -}}
{{- include "tiergate.refusal" (list "service.nodePorts.https" $service.nodePorts.https "another port than service.nodePorts.http") -}}
{{- end -}}
{{- if eq (int $service.ports.http) (int $service.ports.https) -}}
{{- include "tiergate.refusal" (list "service.ports.https" $service.ports.https "another port than service.ports.http") -}}
{{- end -}}
{{- if ne $type "LoadBalancer" -}}
{{- range $key := list "loadBalancerClass" "loadBalancerSourceRanges" "healthCheckNodePort" -}}
{{- with get $service $key -}}
{{- include "tiergate.refusal" (list (printf "service.%s" $key) . "unset unless service.type=LoadBalancer") -}}
{{- end -}}
{{- end -}}
{{- if kindIs "bool" $service.allocateLoadBalancerNodePorts -}}
{{- include "tiergate.refusal" (list "service.allocateLoadBalancerNodePorts" $service.allocateLoadBalancerNodePorts "unset unless service.type=LoadBalancer") -}}
{{- end -}}
{{- else -}}
{{- if and $service.healthCheckNodePort (ne $service.externalTrafficPolicy "Local") -}}
{{- include "tiergate.refusal" (list "service.healthCheckNodePort" $service.healthCheckNodePort "unset unless service.externalTrafficPolicy=Local") -}}
{{- end -}}
{{- if and (eq $settings.vip.mode "external") (gt (len $settings.vip.addresses) 1) -}}
{{- include "tiergate.refusal" (list "vip.addresses" $settings.vip.addresses "one address with service.type=LoadBalancer; name several by the annotation that your load balancer knows, in service.annotations") -}}
{{- end -}}
{{- end -}}
{{- if and (gt (len $service.ipFamilies) 1) (has $service.ipFamilyPolicy (list "" "SingleStack")) -}}
{{- include "tiergate.refusal" (list "service.ipFamilyPolicy" $service.ipFamilyPolicy "PreferDualStack or RequireDualStack with two service.ipFamilies") -}}
{{- end -}}
{{- if and $service.internal.enabled (eq $service.internal.type "ClusterIP") -}}
{{- range $key := list "externalTrafficPolicy" "loadBalancerClass" "loadBalancerSourceRanges" -}}
{{- with get $service.internal $key -}}
{{- include "tiergate.refusal" (list (printf "service.internal.%s" $key) . "unset unless service.internal.type=LoadBalancer") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
