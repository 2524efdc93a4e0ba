//! The built-in kinds. Pure.

use super::Subresource::{Binding, Eviction, Finalize, Scale, Status, Token};
use super::{Offer, Resource, Subresource, qualify};

type Row = (
    &'static str,
    &'static str,
    &'static str,
    bool,
    &'static [&'static str],
    &'static [&'static str],
    &'static [Subresource],
);

const ALL: &[&str] = &["all"];

/// Group and version, plural, kind, namespaced, short names, categories, subresources. In the order of discovery.
#[rustfmt::skip]
const BUILT_IN: &[Row] = &[
    ("v1", "bindings", "Binding", true, &[], &[], &[]),
    ("v1", "configmaps", "ConfigMap", true, &["cm"], &[], &[]),
    ("v1", "endpoints", "Endpoints", true, &["ep"], &[], &[]),
    ("v1", "events", "Event", true, &["ev"], &[], &[]),
    ("v1", "limitranges", "LimitRange", true, &["limits"], &[], &[]),
    ("v1", "namespaces", "Namespace", false, &["ns"], &[], &[Finalize, Status]),
    ("v1", "nodes", "Node", false, &["no"], &[], &[Status]),
    ("v1", "persistentvolumeclaims", "PersistentVolumeClaim", true, &["pvc"], &[], &[Status]),
    ("v1", "persistentvolumes", "PersistentVolume", false, &["pv"], &[], &[Status]),
    ("v1", "pods", "Pod", true, &["po"], ALL, &[Binding, Eviction, Status]),
    ("v1", "podtemplates", "PodTemplate", true, &[], &[], &[]),
    ("v1", "replicationcontrollers", "ReplicationController", true, &["rc"], ALL, &[Scale, Status]),
    ("v1", "resourcequotas", "ResourceQuota", true, &["quota"], &[], &[Status]),
    ("v1", "secrets", "Secret", true, &[], &[], &[]),
    ("v1", "serviceaccounts", "ServiceAccount", true, &["sa"], &[], &[Token]),
    ("v1", "services", "Service", true, &["svc"], ALL, &[Status]),
    ("apps/v1", "controllerrevisions", "ControllerRevision", true, &[], &[], &[]),
    ("apps/v1", "daemonsets", "DaemonSet", true, &["ds"], ALL, &[Status]),
    ("apps/v1", "deployments", "Deployment", true, &["deploy"], ALL, &[Scale, Status]),
    ("apps/v1", "replicasets", "ReplicaSet", true, &["rs"], ALL, &[Scale, Status]),
    ("apps/v1", "statefulsets", "StatefulSet", true, &["sts"], ALL, &[Scale, Status]),
    ("events.k8s.io/v1", "events", "Event", true, &["ev"], &[], &[]),
    ("authentication.k8s.io/v1", "selfsubjectreviews", "SelfSubjectReview", false, &[], &[], &[]),
    ("authentication.k8s.io/v1", "tokenreviews", "TokenReview", false, &[], &[], &[]),
    ("authorization.k8s.io/v1", "localsubjectaccessreviews", "LocalSubjectAccessReview", true, &[], &[], &[]),
    ("authorization.k8s.io/v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", false, &[], &[], &[]),
    ("authorization.k8s.io/v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", false, &[], &[], &[]),
    ("authorization.k8s.io/v1", "subjectaccessreviews", "SubjectAccessReview", false, &[], &[], &[]),
    ("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true, &["hpa"], ALL, &[Status]),
    ("batch/v1", "cronjobs", "CronJob", true, &["cj"], ALL, &[Status]),
    ("batch/v1", "jobs", "Job", true, &[], ALL, &[Status]),
    ("networking.k8s.io/v1", "ingressclasses", "IngressClass", false, &[], &[], &[]),
    ("networking.k8s.io/v1", "ingresses", "Ingress", true, &["ing"], &[], &[Status]),
    ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", true, &["netpol"], &[], &[]),
    ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", true, &["pdb"], &[], &[Status]),
    ("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", false, &[], &[], &[]),
    ("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", false, &[], &[], &[]),
    ("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding", true, &[], &[], &[]),
    ("rbac.authorization.k8s.io/v1", "roles", "Role", true, &[], &[], &[]),
    ("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", false, &["crd", "crds"], &["api-extensions"], &[Status]),
    ("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", false, &["pc"], &[], &[]),
    ("coordination.k8s.io/v1", "leases", "Lease", true, &[], &[], &[]),
    ("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", true, &[], &[], &[]),
];

/// All of them, in the order of discovery.
pub(super) fn resources() -> impl Iterator<Item = Resource> {
    BUILT_IN.iter().map(from_row)
}

fn from_row(row: &Row) -> Resource {
    let (group_version, plural, kind, namespaced, short_names, categories, subresources) = *row;
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let offer = match kind {
        "Namespace" => Offer::NoDeleteCollection,
        "Binding" => Offer::Create,
        _ if kind.ends_with("Review") => Offer::Create,
        _ => Offer::All,
    };
    let storage_group = if group == "events.k8s.io" { "" } else { group };
    Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        singular: if kind == "Endpoints" {
            plural.to_owned()
        } else {
            kind.to_lowercase()
        },
        kind: kind.to_owned(),
        namespaced,
        short_names: owned(short_names),
        categories: owned(categories),
        subresources: subresources.to_vec(),
        offer,
        storage: qualify(plural, storage_group),
        custom: None,
    }
}
