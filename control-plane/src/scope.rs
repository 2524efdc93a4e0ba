//! What a tier looks at. Pure.
//!
//! In: the tier's settings. Out: which objects are watched, and which Ingresses are ours. A scope never widens: what is
//! outside is neither watched nor served.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use tiergate_data_plane::net::Families;

/// The controller that an IngressClass must name for its Ingresses to be ours.
pub const CONTROLLER: &str = "tiergate.dev/ingress";

/// What a tier looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The only namespace that is watched, with namespaced requests only. None: all of them.
    pub namespace: Option<String>,
    /// The classes that are served.
    pub classes: Vec<String>,
    /// Whether Ingresses that name no class are served as well.
    pub without_class: bool,
    /// Whether objects of the cluster are watched: IngressClasses, so that a class of another controller is left alone, and
    /// Namespaces, so that what one asks for that is being deleted lapses. A namespace tier goes by the names of
    /// [`Self::classes`] alone, and goes with its namespace.
    pub reads_cluster_objects: bool,
    /// The Service that gets the requests that no rule matches. Its first port is used.
    pub default_backend: Option<ObjectName>,
    /// The TLS Secret for names that no other certificate covers.
    pub default_certificate: Option<ObjectName>,
    /// Which Secrets are read, and how.
    pub secrets: Secrets,
    /// The families of addresses that endpoints may have.
    pub families: Families,
    /// Whether requests by http to a host with a certificate are sent to https, where their Ingress does not say.
    pub ssl_redirect: bool,
    /// Whether Services may stand for names in DNS. None: they may not.
    pub external_names: Option<ExternalNames>,
}

/// Where Services of type ExternalName may lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalNames {
    /// Networks beside the public ones.
    pub networks: Vec<IpNet>,
}

/// Which Secrets a tier reads, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Secrets {
    /// All TLS Secrets of the namespaces that are watched, by list and watch.
    #[default]
    Watched,
    /// Those that our Ingresses and the default certificate name, each by its name.
    ByName {
        /// The only namespaces they are read from.
        namespaces: BTreeSet<String>,
        /// How long one that was read is taken as it is.
        refresh: Duration,
    },
}

/// Namespace and name of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its namespace; empty for an object of the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Why a text is no [`ObjectName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form NAMESPACE/NAME")]
pub struct InvalidObjectName(String);

// === impl Scope ===

impl Scope {
    /// Whether objects of this namespace are looked at.
    #[must_use]
    pub fn covers_namespace(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }

    /// Whether this is one of the classes that are served.
    #[must_use]
    pub fn names_class(&self, class: &str) -> bool {
        self.classes.iter().any(|own| own == class)
    }
}

// === impl ObjectName ===

impl ObjectName {
    /// A name from its parts.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// Whether an object of a namespace can be called this: a name may come from a field that nothing has checked, and one such as
    /// `../x` would be another request than the one that is meant.
    #[must_use]
    pub(crate) fn is_possible(&self) -> bool {
        is_dns_name(&self.namespace) && is_dns_name(&self.name)
    }
}

/// What Kubernetes calls a DNS subdomain.
pub(crate) fn is_dns_name(text: &str) -> bool {
    let is_alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(|b| is_alphanumeric(*b))
            && bytes.last().is_some_and(|b| is_alphanumeric(*b))
            && bytes.iter().all(|b| is_alphanumeric(*b) || *b == b'-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

impl FromStr for ObjectName {
    type Err = InvalidObjectName;

    fn from_str(text: &str) -> Result<Self, InvalidObjectName> {
        match text.split_once('/') {
            Some((namespace, name)) if is_dns_name(namespace) && is_dns_name(name) => {
                Ok(Self::new(namespace, name))
            }
            _ => Err(InvalidObjectName(text.to_owned())),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_name_is_a_namespace_a_slash_and_a_name() {
        assert_eq!(
            "kube-system/error-pages".parse(),
            Ok(ObjectName::new("kube-system", "error-pages"))
        );
        for text in [
            "", "a", "a/", "/a", "a/b/c", "A/b", "a b/c", "a/b\n", "a/..", "../a", "a/b.", "a/-b",
            "a/b?c", "a/b%2fc",
        ] {
            let error = text.parse::<ObjectName>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{text:?} is not of the form NAMESPACE/NAME")
            );
        }
    }

    #[test]
    fn a_scope_covers_its_namespace_and_all_of_them_without_one() {
        let mut scope = Scope::default();
        assert!(scope.covers_namespace("a") && scope.covers_namespace("b"));
        scope.namespace = Some("a".to_owned());
        assert!(scope.covers_namespace("a") && !scope.covers_namespace("b"));
    }
}
