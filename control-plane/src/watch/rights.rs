//! What a refused request to the API server lacks, and the command that grants it. Pure.
//!
//! In: what was asked, and the words of the refusal. Out: one sentence with the verb, the resource, where, for whom, and a
//! command that can be pasted into a shell. It does not judge whether the right should be given.

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

use crate::objects::Kind;

/// A request that the API server may refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked<'a> {
    /// What is done.
    pub(crate) verb: Verb,
    /// To which kind of object.
    pub(crate) kind: Kind,
    /// In which namespace; none: in all of them, or to objects of the cluster.
    pub(crate) namespace: Option<&'a str>,
}

/// What is done to objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Verb {
    /// One object is read by its name.
    Get,
    /// All objects are read.
    List,
    /// Changes are heard of.
    Watch,
}

/// Whom the API server takes us for.
enum Account<'a> {
    Service { namespace: &'a str, name: &'a str },
    User(&'a str),
    Unknown,
}

/// One sentence: what is lacking, and the command that grants it.
pub(crate) fn sentence(asked: Asked<'_>, refusal: &str) -> String {
    let account = account_in(refusal);
    let place = match asked.namespace {
        Some(namespace) => format!("in the namespace {namespace}"),
        None => "in the whole cluster".to_owned(),
    };
    format!(
        "{} may not {} {} {place}; grant it with: {}{}",
        shown(&account),
        asked.verb.as_str(),
        resource(asked.kind),
        command(asked, &account),
        chart(asked),
    )
}

/// Makes a role and binds it, in a namespace or in the whole cluster.
fn command(asked: Asked<'_>, account: &Account<'_>) -> String {
    let resource = resource(asked.kind);
    // Who lacks the one verb of a watch lacks the other as well: nobody gives them singly.
    let verbs = match asked.verb {
        Verb::Get => "get",
        Verb::List | Verb::Watch => "list,watch",
    };
    let (prefix, subject) = match account {
        Account::Service { namespace, name } => {
            (*name, format!("--serviceaccount={namespace}:{name}"))
        }
        Account::User(name) => ("tiergate", format!("--user={name}")),
        Account::Unknown => ("tiergate", "--user=USER".to_owned()),
    };
    let plural = resource.split('.').next().unwrap_or_default();
    let name = format!("{prefix}-{plural}");
    let (role, binding, place) = match asked.namespace {
        Some(namespace) => ("role", "rolebinding", format!(" -n {namespace}")),
        None => ("clusterrole", "clusterrolebinding", String::new()),
    };
    format!(
        "kubectl create {role} {name} --verb={verbs} --resource={resource}{place} && \
         kubectl create {binding} {name} --{role}={name} {subject}{place}"
    )
}

/// The other way to grant it, where the chart has a value for it.
fn chart(asked: Asked<'_>) -> String {
    match (asked.verb, asked.namespace) {
        (Verb::Get, Some(namespace)) => {
            format!(" (in the chart: add {namespace} to rbac.secretNamespaces)")
        }
        (Verb::Get | Verb::List | Verb::Watch, _) => String::new(),
    }
}

/// The resource as `kubectl create role --resource` takes it.
fn resource(kind: Kind) -> &'static str {
    match kind {
        Kind::Ingress => "ingresses.networking.k8s.io",
        Kind::IngressClass => "ingressclasses.networking.k8s.io",
        Kind::Namespace => "namespaces",
        Kind::Service => "services",
        Kind::EndpointSlice => "endpointslices.discovery.k8s.io",
        Kind::Secret => "secrets",
    }
}

fn shown(account: &Account<'_>) -> String {
    match account {
        Account::Service { namespace, name } => format!("the ServiceAccount {namespace}/{name}"),
        Account::User(name) => format!("the user {name}"),
        Account::Unknown => "the account of this tier".to_owned(),
    }
}

/// RBAC names the user in quotation marks. A name that a shell could misread is not repeated.
fn account_in(refusal: &str) -> Account<'_> {
    let Some((_, behind)) = refusal.split_once("User \"") else {
        return Account::Unknown;
    };
    let name = behind.split('"').next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '@' | ':');
    if name.is_empty() || !name.starts_with(char::is_alphanumeric) || !name.chars().all(is_plain) {
        return Account::Unknown;
    }
    let parts: Vec<&str> = name.split(':').collect();
    match parts[..] {
        ["system", "serviceaccount", namespace, name] => Account::Service { namespace, name },
        _ => Account::User(name),
    }
}

// === impl Verb ===

impl EncodeLabelValue for Verb {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        self.as_str().encode(encoder)
    }
}

impl Verb {
    /// The verb as RBAC calls it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn refusal(user: &str) -> String {
        format!(
            "services is forbidden: User \"{user}\" cannot list resource \"services\" in API group \"\" at the cluster scope"
        )
    }

    #[test]
    fn a_refusal_names_verb_resource_place_account_and_the_command_that_grants_it() {
        let service_account = refusal("system:serviceaccount:kube-system:tiergate-cluster");
        let of = |verb, kind, namespace| Asked {
            verb,
            kind,
            namespace,
        };
        let mut said = Vec::new();
        for (asked, refusal) in [
            (of(Verb::List, Kind::Service, None), &*service_account),
            (
                of(Verb::Watch, Kind::EndpointSlice, Some("shop")),
                &*service_account,
            ),
            (of(Verb::Get, Kind::Secret, Some("shop")), &*service_account),
            (of(Verb::List, Kind::IngressClass, None), &*refusal("jane")),
            (of(Verb::List, Kind::Ingress, Some("shop")), "no"),
            (
                of(Verb::List, Kind::Ingress, Some("shop")),
                &*refusal("$(reboot)"),
            ),
        ] {
            said.push(sentence(asked, refusal));
        }
        expect![[r"
            the ServiceAccount kube-system/tiergate-cluster may not list services in the whole cluster; grant it with: kubectl create clusterrole tiergate-cluster-services --verb=list,watch --resource=services && kubectl create clusterrolebinding tiergate-cluster-services --clusterrole=tiergate-cluster-services --serviceaccount=kube-system:tiergate-cluster
            the ServiceAccount kube-system/tiergate-cluster may not watch endpointslices.discovery.k8s.io in the namespace shop; grant it with: kubectl create role tiergate-cluster-endpointslices --verb=list,watch --resource=endpointslices.discovery.k8s.io -n shop && kubectl create rolebinding tiergate-cluster-endpointslices --role=tiergate-cluster-endpointslices --serviceaccount=kube-system:tiergate-cluster -n shop
            the ServiceAccount kube-system/tiergate-cluster may not get secrets in the namespace shop; grant it with: kubectl create role tiergate-cluster-secrets --verb=get --resource=secrets -n shop && kubectl create rolebinding tiergate-cluster-secrets --role=tiergate-cluster-secrets --serviceaccount=kube-system:tiergate-cluster -n shop (in the chart: add shop to rbac.secretNamespaces)
            the user jane may not list ingressclasses.networking.k8s.io in the whole cluster; grant it with: kubectl create clusterrole tiergate-ingressclasses --verb=list,watch --resource=ingressclasses.networking.k8s.io && kubectl create clusterrolebinding tiergate-ingressclasses --clusterrole=tiergate-ingressclasses --user=jane
            the account of this tier may not list ingresses.networking.k8s.io in the namespace shop; grant it with: kubectl create role tiergate-ingresses --verb=list,watch --resource=ingresses.networking.k8s.io -n shop && kubectl create rolebinding tiergate-ingresses --role=tiergate-ingresses --user=USER -n shop
            the account of this tier may not list ingresses.networking.k8s.io in the namespace shop; grant it with: kubectl create role tiergate-ingresses --verb=list,watch --resource=ingresses.networking.k8s.io -n shop && kubectl create rolebinding tiergate-ingresses --role=tiergate-ingresses --user=USER -n shop"]]
        .assert_eq(&said.join("\n"));
    }
}
