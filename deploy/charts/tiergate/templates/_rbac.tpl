{{/* What a namespace tier may do in its namespace, and nowhere else: read what it serves, and tell owners what became of it. */}}
{{- define "tiergate.namespaceTierRules" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [services, secrets]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
{{ include "tiergate.tellingRules" . }}
{{ include "tiergate.leaseRules" . }}
{{- end -}}

{{/* Tells owners of Ingresses: addresses and conditions in their status, and Events. */}}
{{- define "tiergate.tellingRules" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/* Where the tier runs: which replica tells, how far each one is, and the address of its own Service. */}}
{{- define "tiergate.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, create, update, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get]
{{- end -}}
