//! What we read of an Ingress and of an IngressClass. Pure.

pub mod spec;

use std::fmt;
use std::hash::Hasher as _;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::networking::v1;
use k8s_openapi::jiff::Timestamp;
use siphasher::sip::SipHasher13;
use uuid::Uuid;

use super::{Content, Object, name_of};
use spec::Spec;

/// The annotation that named the class before `spec.ingressClassName`.
pub const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// What begins the annotations that are read: ingress-nginx's.
pub const ANNOTATION_PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// What begins our own.
pub const OWN_PREFIX: &str = "tiergate.dev/";

/// Of our own, those that we write.
const OWN_WRITTEN: [&str; 1] = ["tiergate.dev/conditions"];

/// The annotations with these prefixes whose values matter; of the others the names are kept, to tell their owner.
pub(crate) const VALUES_READ: [&str; 29] = [
    "affinity",
    "affinity-mode",
    "backend-protocol",
    "force-ssl-redirect",
    "load-balance",
    "proxy-body-size",
    "proxy-connect-timeout",
    "proxy-read-timeout",
    "proxy-send-timeout",
    "proxy-ssl-name",
    "proxy-ssl-secret",
    "proxy-ssl-server-name",
    "proxy-ssl-verify",
    "rewrite-target",
    "session-cookie-change-on-failure",
    "session-cookie-domain",
    "session-cookie-expires",
    "session-cookie-max-age",
    "session-cookie-name",
    "session-cookie-path",
    "session-cookie-samesite",
    "session-cookie-secure",
    "ssl-passthrough",
    "ssl-redirect",
    "tiergate.dev/delegates",
    "tiergate.dev/load-balance",
    "upstream-hash-by",
    "use-regex",
    "x-forwarded-prefix",
];

/// Bytes of an annotation's value that are read. Of a longer one so much is kept that it is seen to be too long.
pub const ANNOTATION_BYTES_MAX: usize = 4096;

/// The annotation by which an Ingress' owner is told what is wrong with it. Written by us, and read only to see that it is as it
/// should be.
pub const CONDITIONS_ANNOTATION: &str = "tiergate.dev/conditions";

/// An Ingress: its class, its rules, and how old its claim on them is.
#[derive(Clone, Debug, PartialEq)]
pub struct Ingress {
    /// When it was made. None in a document that no API server has stored: younger than all others.
    pub created: Option<Timestamp>,
    /// The class that the annotation [`CLASS_ANNOTATION`] names.
    pub class_annotation: Option<Box<str>>,
    /// The annotations with [`ANNOTATION_PREFIX`], without it, and with [`OWN_PREFIX`], by name; without a value where none is read.
    pub annotations: Box<[(Box<str>, Box<str>)]>,
    /// All of its specification.
    pub spec: Spec,
    /// What others are told of it. No part of what is asked for: a change of it changes no table.
    pub told: Told,
}

/// What an Ingress tells of itself: who it is, and what its status and [`CONDITIONS_ANNOTATION`] say. Only told apart from what
/// they should say, so hashes are kept of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// `metadata.uid`. None where there is none, or one that is no UUID.
    pub uid: Option<Uuid>,
    /// `metadata.generation`: which version of its specification this is.
    pub generation: i64,
    /// [`hash_of`] the addresses in its status; 0 without any.
    pub addresses: u64,
    /// [`hash_of`] the annotation; 0 without it.
    pub conditions: u64,
    /// Its field managers by server-side apply, each one bit of 64.
    pub appliers: u64,
}

/// An address in the status of an Ingress.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// For DNS records of type A and AAAA.
    Ip(IpAddr),
    /// For those of type CNAME.
    Name(String),
}

/// An IngressClass: whose class it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressClass {
    /// `spec.controller`.
    pub controller: String,
}

// === impl Ingress ===

impl Ingress {
    /// The class that the Ingress asks for: the field first, else the annotation.
    #[must_use]
    pub fn class(&self) -> Option<&str> {
        self.spec
            .class
            .as_deref()
            .or(self.class_annotation.as_deref())
            .filter(|class| !class.is_empty())
    }

    /// Whether it asks for the same, whatever is told of it.
    #[must_use]
    pub fn asks_for_the_same(&self, other: &Self) -> bool {
        let Self {
            created,
            class_annotation,
            annotations,
            spec,
            told: _,
        } = self;
        *created == other.created
            && *class_annotation == other.class_annotation
            && *annotations == other.annotations
            && *spec == other.spec
    }
}

// === impl Told ===

impl Told {
    fn of(ingress: &v1::Ingress) -> Self {
        let annotations = ingress.metadata.annotations.as_ref();
        let conditions = annotations.and_then(|all| all.get(CONDITIONS_ANNOTATION));
        let balancer = ingress.status.as_ref().and_then(|status| {
            let balancer = status.load_balancer.as_ref()?;
            balancer.ingress.as_ref()
        });
        let addresses = balancer.into_iter().flatten().map(|address| {
            let name = address.hostname.as_deref().unwrap_or_default();
            address.ip.as_deref().unwrap_or(name)
        });
        let uid = ingress.metadata.uid.as_deref();
        Self {
            uid: uid.and_then(|uid| Uuid::try_parse(uid).ok()),
            generation: ingress.metadata.generation.unwrap_or_default(),
            addresses: hash_of(addresses),
            conditions: hash_of(conditions.map(String::as_str)),
            appliers: ingress
                .metadata
                .managed_fields
                .iter()
                .flatten()
                .filter(|fields| fields.operation.as_deref() == Some("Apply"))
                .filter_map(|fields| fields.manager.as_deref())
                .fold(0, |all, manager| all | applier(manager)),
        }
    }

    /// Whether some field of it may be this field manager's, by server-side apply. Seldom so although none is.
    #[must_use]
    pub fn may_be_applied_by(&self, manager: &str) -> bool {
        self.appliers & applier(manager) != 0
    }
}

/// A field manager as one bit of 64.
fn applier(manager: &str) -> u64 {
    1 << (hash_of([manager]) % 64)
}

/// The same number for the same texts, in every process; 0 without any.
#[must_use]
pub fn hash_of<'t>(texts: impl IntoIterator<Item = &'t str>) -> u64 {
    let mut hasher = SipHasher13::new();
    let mut is_empty = true;
    for text in texts {
        is_empty = false;
        hasher.write(text.as_bytes());
        hasher.write_u8(0xff);
    }
    if is_empty { 0 } else { hasher.finish().max(1) }
}

// === impl Address ===

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl From<v1::Ingress> for Object {
    fn from(ingress: v1::Ingress) -> Self {
        let name = name_of(&ingress.metadata);
        let told = Told::of(&ingress);
        let mut annotations = ingress.metadata.annotations.unwrap_or_default();
        // What we say is nothing that is asked of us.
        annotations.remove(CONDITIONS_ANNOTATION);
        let read = Ingress {
            created: ingress.metadata.creation_timestamp.map(|time| time.0),
            class_annotation: annotations
                .remove(CLASS_ANNOTATION)
                .map(String::into_boxed_str),
            annotations: annotations
                .iter()
                .filter_map(|(name, value)| {
                    let name = named(name)?;
                    let is_read = VALUES_READ.contains(&name);
                    let value = if is_read { bounded(value) } else { "" };
                    Some((name.into(), value.into()))
                })
                .collect(),
            spec: ingress.spec.unwrap_or_default().into(),
            told,
        };
        Self {
            name,
            content: Content::Ingress(Arc::new(read)),
        }
    }
}

/// The name of an annotation that is read: without its prefix, with it where that is ours.
fn named(name: &str) -> Option<&str> {
    if name.starts_with(OWN_PREFIX) {
        return (!OWN_WRITTEN.contains(&name)).then_some(name);
    }
    name.strip_prefix(ANNOTATION_PREFIX)
}

/// The part of a value that is kept.
fn bounded(value: &str) -> &str {
    // One character more than is allowed, so that it is seen.
    let end = value.ceil_char_boundary(ANNOTATION_BYTES_MAX + 1);
    &value[..end]
}

// === impl IngressClass ===

impl From<v1::IngressClass> for Object {
    fn from(class: v1::IngressClass) -> Self {
        let read = IngressClass {
            controller: class
                .spec
                .and_then(|spec| spec.controller)
                .unwrap_or_default(),
        };
        Self {
            name: name_of(&class.metadata),
            content: Content::IngressClass(Arc::new(read)),
        }
    }
}
