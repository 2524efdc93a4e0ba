{{/*
Values that cannot be meant, each with the key, the value and the cure. values.schema.json says the same where a schema can; here stands
what it cannot: older names of values, comparisons, and all of it again for --skip-schema-validation.
*/}}

{{/* All refusals, as a JSON list of sentences. */}}
{{- define "tiergate.refusals" -}}
{{- $found := list -}}
{{- range list "tiergate.refusals.mode" "tiergate.refusals.names" "tiergate.refusals.pods" "tiergate.refusals.network" "tiergate.refusals.service" "tiergate.refusals.settings" "tiergate.refusals.monitoring" -}}
{{- $found = concat $found (include . $ | fromYamlArray) -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* One sentence. Call with (list "key" value "what it must be"). */}}
{{- define "tiergate.refusal" }}
- {{ printf "%s=%s: must be %s" (index . 0) (index . 1 | toJson) (index . 2) | toJson }}
{{- end -}}

{{- define "tiergate.refusals.mode" -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- $older := .Values.deployment.type -}}
{{- if and $older (eq .Values.deployment.kind "DaemonSet") (ne $older "DaemonSet") -}}
{{- include "tiergate.refusal" (list "deployment.type" $older "the same as deployment.kind, which it is the older name of; set one of them") -}}
{{- end -}}
{{- if eq $settings.mode "namespace" -}}
{{- range list "cluster" "namespace" -}}
{{- if (get $.Values.ingressClass .).default -}}
{{- include "tiergate.refusal" (list (printf "ingressClass.%s.default" .) true "false with deployment.mode=namespace: the cluster release makes the IngressClasses") -}}
{{- end -}}
{{- end -}}
{{- with .Values.rbac.secretNamespaces -}}
{{- include "tiergate.refusal" (list "rbac.secretNamespaces" . "empty with deployment.mode=namespace, whose tier reads the Secrets of its own namespace only") -}}
{{- end -}}
{{- else -}}
{{- range $key := list "hosts" "tls" -}}
{{- with get $.Values.delegation $key -}}
{{- include "tiergate.refusal" (list (printf "delegation.%s" $key) . "empty with deployment.mode=cluster: a namespace release delegates its own hosts") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tiergate.refusals.names" -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- $name := include "tiergate.fullname" . -}}
{{- if or (gt (len $name) 54) (not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name)) -}}
{{- include "tiergate.refusal" (list (.Values.fullnameOverride | empty | ternary "release name" "fullnameOverride") $name "the name of a Service: at most 54 characters a-z, 0-9 and -, the first a letter; another release name, or fullnameOverride, makes one") -}}
{{- end -}}
{{- if eq $settings.clusterClass .Values.ingressClass.namespace.name -}}
{{- include "tiergate.refusal" (list "ingressClass.namespace.name" .Values.ingressClass.namespace.name "another name than ingressClass.cluster.name: a tier that serves both would send requests to itself") -}}
{{- end -}}
{{- range $name := include "tiergate.classes" . | fromJsonArray -}}
{{- $other := eq $settings.mode "cluster" | ternary $.Values.ingressClass.namespace.name $settings.clusterClass -}}
{{- if and (eq $name $other) (ne $settings.clusterClass $.Values.ingressClass.namespace.name) -}}
{{- include "tiergate.refusal" (list (printf "ingressClass.%s.aliases" $settings.mode) $name "without the class of the other tier") -}}
{{- end -}}
{{- end -}}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- include "tiergate.refusal" (list "serviceAccount.name" "" "the name of a ServiceAccount with serviceAccount.create=false; or set serviceAccount.create=true") -}}
{{- end -}}
{{- $reserved := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/part-of" "app.kubernetes.io/managed-by" "helm.sh/chart" -}}
{{- range $key := list "commonLabels" "podLabels" -}}
{{- range $label, $value := get $.Values $key -}}
{{- if has $label $reserved -}}
{{- include "tiergate.refusal" (list (printf "%s.%s" $key $label) $value "unset: the chart sets this label") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tiergate.refusals.pods" -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- $scaling := .Values.autoscaling -}}
{{- if $scaling.enabled -}}
{{- if eq $settings.kind "DaemonSet" -}}
{{- include "tiergate.refusal" (list "autoscaling.enabled" true "false with deployment.kind=DaemonSet, which has a pod on each node; or set deployment.kind=Deployment") -}}
{{- end -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- include "tiergate.refusal" (list "autoscaling.minReplicas" $scaling.minReplicas (printf "at most autoscaling.maxReplicas, which is %d" (int $scaling.maxReplicas))) -}}
{{- end -}}
{{- range $resource, $key := dict "cpu" "targetCPUUtilizationPercentage" "memory" "targetMemoryUtilizationPercentage" -}}
{{- if and (get $scaling $key) (not (dig "requests" $resource "" $.Values.resources)) -}}
{{- include "tiergate.refusal" (list (printf "autoscaling.%s" $key) (get $scaling $key) (printf "null without resources.requests.%s, of which it is a percentage; or set that" $resource)) -}}
{{- end -}}
{{- end -}}
{{- if not (or $scaling.targetCPUUtilizationPercentage $scaling.targetMemoryUtilizationPercentage $scaling.metrics) -}}
{{- include "tiergate.refusal" (list "autoscaling.metrics" list "a list of metrics when autoscaling.targetCPUUtilizationPercentage and targetMemoryUtilizationPercentage are null") -}}
{{- end -}}
{{- end -}}
{{- $budget := .Values.podDisruptionBudget -}}
{{- if $budget.enabled -}}
{{- $has := not (kindIs "invalid" $budget.minAvailable) -}}
{{- if and $has (not (kindIs "invalid" $budget.maxUnavailable)) -}}
{{- include "tiergate.refusal" (list "podDisruptionBudget.maxUnavailable" $budget.maxUnavailable "unset with podDisruptionBudget.minAvailable: a budget takes one of the two") -}}
{{- end -}}
{{- if and $has (kindIs "string" $budget.minAvailable) (eq $settings.kind "DaemonSet") -}}
{{- include "tiergate.refusal" (list "podDisruptionBudget.minAvailable" $budget.minAvailable "a number with deployment.kind=DaemonSet, of which no percentage can be taken") -}}
{{- end -}}
{{- if and $has (not (kindIs "string" $budget.minAvailable)) (eq $settings.kind "Deployment") -}}
{{- $key := $scaling.enabled | ternary "autoscaling.minReplicas" "deployment.replicas" -}}
{{- $replicas := $scaling.enabled | ternary $scaling.minReplicas .Values.deployment.replicas | int -}}
{{- if ge (int $budget.minAvailable) $replicas -}}
{{- include "tiergate.refusal" (list "podDisruptionBudget.minAvailable" $budget.minAvailable (printf "below %s, which is %d; otherwise no pod can ever be evicted and no node drained" $key $replicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $drain := .Values.deployment.drain -}}
{{- $least := add $drain.delaySeconds $drain.timeoutSeconds 5 | int -}}
{{- with .Values.deployment.terminationGracePeriodSeconds -}}
{{- if lt (int .) $least -}}
{{- include "tiergate.refusal" (list "deployment.terminationGracePeriodSeconds" . (printf "at least %d: the sum of deployment.drain.delaySeconds and timeoutSeconds, and 5 to end; otherwise open requests are cut" $least)) -}}
{{- end -}}
{{- end -}}
{{- $names := list -}}
{{- range .Values.extraEnv -}}
{{- if has .name $names -}}
{{- include "tiergate.refusal" (list "extraEnv" .name "a list that has each name once") -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}

{{- define "tiergate.refusals.settings" -}}
{{- $owned := include "tiergate.ownedSettings" . | fromJson -}}
{{- range $name, $value := .Values.config -}}
{{- with get $owned $name -}}
{{- include "tiergate.refusal" (list (printf "config.%s" $name) $value .) -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := .Values.extraArgs -}}
{{- with get $owned (replace "-" "_" $name) -}}
{{- include "tiergate.refusal" (list (printf "extraArgs.%s" $name) $value .) -}}
{{- end -}}
{{- if hasKey $.Values.config (replace "-" "_" $name) -}}
{{- include "tiergate.refusal" (list (printf "extraArgs.%s" $name) $value (printf "unset with config.%s" (replace "-" "_" $name))) -}}
{{- end -}}
{{- end -}}
{{- $own := .Release.Namespace -}}
{{- $isTenant := eq .Values.deployment.mode "namespace" -}}
{{- with .Values.defaultBackendService -}}
{{- $object := include "tiergate.objectName" (list $ .) -}}
{{- if and $isTenant (not (hasPrefix (printf "%s/" $own) $object)) -}}
{{- include "tiergate.refusal" (list "defaultBackendService" . (printf "a Service of the namespace %s with deployment.mode=namespace, whose tier sees no other" $own)) -}}
{{- end -}}
{{- end -}}
{{- with .Values.defaultSslCertificate -}}
{{- $namespace := include "tiergate.objectName" (list $ .) | splitList "/" | first -}}
{{- if and $isTenant (ne $namespace $own) -}}
{{- include "tiergate.refusal" (list "defaultSslCertificate" . (printf "a Secret of the namespace %s with deployment.mode=namespace, whose tier reads no other" $own)) -}}
{{- else if and (not $isTenant) (not (has $namespace (include "tiergate.secretNamespaces" $ | fromJsonArray))) -}}
{{- include "tiergate.refusal" (list "defaultSslCertificate" . (printf "a Secret of the namespace %s or one of rbac.secretNamespaces; or add %s there" $own $namespace)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tiergate.refusals.monitoring" -}}
{{- $settings := include "tiergate.settings" . | fromJson -}}
{{- range list "serviceMonitor" "podMonitor" -}}
{{- if and (get $.Values.metrics .).enabled (not $settings.metrics) -}}
{{- include "tiergate.refusal" (list (printf "metrics.%s.enabled" .) true "false with metrics.enabled=false; or set metrics.enabled=true") -}}
{{- end -}}
{{- end -}}
{{- if .Values.metrics.podMonitor.enabled -}}
{{- if .Values.metrics.serviceMonitor.enabled -}}
{{- include "tiergate.refusal" (list "metrics.podMonitor.enabled" true "false with metrics.serviceMonitor.enabled=true: together they would scrape each pod twice") -}}
{{- end -}}
{{- if $settings.hostNetwork -}}
{{- include "tiergate.refusal" (list "metrics.podMonitor.enabled" true "false with network.hostNetwork=true, whose pods declare no ports; set metrics.serviceMonitor.enabled=true instead") -}}
{{- end -}}
{{- end -}}
{{- end -}}
