//! What is wrong with an object, in words for its owner. Pure.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

use crate::objects::Kind;
use crate::scope::ObjectName;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// The object whose owner can put it right.
    pub object: ObjectReference,
    /// The field, as a path into the manifest; a flag when the tier's own setting is meant.
    pub field: String,
    /// What kind of trouble it is.
    pub reason: Reason,
    /// What is wrong and what is done instead.
    pub message: String,
}

/// Names an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectReference {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: ObjectName,
}

/// Kinds of trouble. The list is closed: conditions, logs and metrics use these words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The value of an annotation makes no sense.
    AnnotationInvalid,
    /// An annotation has no effect.
    AnnotationUnsupported,
    /// A rule names a resource in place of a Service.
    BackendResourceUnsupported,
    /// A host has a certificate from elsewhere.
    CertificateConflict,
    /// A Secret holds no certificate that can be used.
    CertificateInvalid,
    /// A certificate does not name a host that it is given for.
    CertificateNameMismatch,
    /// An older Ingress has the default backend of a host.
    DefaultBackendConflict,
    /// An Ingress names one path of one host twice.
    DuplicatePath,
    /// A Service stands for a name that it must not lead to.
    ExternalNameRefused,
    /// The name that a Service stands for has no address that is known.
    ExternalNameUnresolved,
    /// The endpoints of a Service have addresses of a family that this tier cannot reach.
    FamilyUnreachable,
    /// What an annotation asks for is not there, and must not be left out.
    GuardUnsupported,
    /// A rule names neither a Service with a port nor anything else.
    InvalidBackend,
    /// A slice holds an address or a port that cannot be connected to.
    InvalidEndpoint,
    /// A path is no regular expression that is served.
    InvalidExpression,
    /// A host is no DNS name.
    InvalidHost,
    /// A namespace is no DNS label.
    InvalidNamespace,
    /// A path or its type is wrong.
    InvalidPath,
    /// An older Ingress has this path of this host.
    PathConflict,
    /// The API server does not let this tier read a Secret.
    SecretForbidden,
    /// A Secret is in a namespace whose Secrets this tier may not read.
    SecretNotAllowed,
    /// There is no such Secret of type `kubernetes.io/tls`.
    SecretNotFound,
    /// The API server has not given a Secret yet.
    SecretNotRead,
    /// There is no such Service.
    ServiceNotFound,
    /// The Service has no such port.
    ServicePortNotFound,
    /// The Service is of a type that has no endpoints.
    ServiceTypeUnsupported,
    /// A namespace has more regular expressions for a host than are served.
    TooManyExpressions,
    /// A namespace names more Secrets than are read for one.
    TooManySecrets,
}

// === impl Reason ===

impl Reason {
    /// All reasons, in alphabetical order.
    pub const ALL: [Self; 28] = [
        Self::AnnotationInvalid,
        Self::AnnotationUnsupported,
        Self::BackendResourceUnsupported,
        Self::CertificateConflict,
        Self::CertificateInvalid,
        Self::CertificateNameMismatch,
        Self::DefaultBackendConflict,
        Self::DuplicatePath,
        Self::ExternalNameRefused,
        Self::ExternalNameUnresolved,
        Self::FamilyUnreachable,
        Self::GuardUnsupported,
        Self::InvalidBackend,
        Self::InvalidEndpoint,
        Self::InvalidExpression,
        Self::InvalidHost,
        Self::InvalidNamespace,
        Self::InvalidPath,
        Self::PathConflict,
        Self::SecretForbidden,
        Self::SecretNotAllowed,
        Self::SecretNotFound,
        Self::SecretNotRead,
        Self::ServiceNotFound,
        Self::ServicePortNotFound,
        Self::ServiceTypeUnsupported,
        Self::TooManyExpressions,
        Self::TooManySecrets,
    ];

    /// The word, in the form that Kubernetes gives to reasons.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AnnotationInvalid => "AnnotationInvalid",
            Self::AnnotationUnsupported => "AnnotationUnsupported",
            Self::BackendResourceUnsupported => "BackendResourceUnsupported",
            Self::CertificateConflict => "CertificateConflict",
            Self::CertificateInvalid => "CertificateInvalid",
            Self::CertificateNameMismatch => "CertificateNameMismatch",
            Self::DefaultBackendConflict => "DefaultBackendConflict",
            Self::DuplicatePath => "DuplicatePath",
            Self::ExternalNameRefused => "ExternalNameRefused",
            Self::ExternalNameUnresolved => "ExternalNameUnresolved",
            Self::FamilyUnreachable => "FamilyUnreachable",
            Self::GuardUnsupported => "GuardUnsupported",
            Self::InvalidBackend => "InvalidBackend",
            Self::InvalidEndpoint => "InvalidEndpoint",
            Self::InvalidExpression => "InvalidExpression",
            Self::InvalidHost => "InvalidHost",
            Self::InvalidNamespace => "InvalidNamespace",
            Self::InvalidPath => "InvalidPath",
            Self::PathConflict => "PathConflict",
            Self::SecretForbidden => "SecretForbidden",
            Self::SecretNotAllowed => "SecretNotAllowed",
            Self::SecretNotFound => "SecretNotFound",
            Self::SecretNotRead => "SecretNotRead",
            Self::ServiceNotFound => "ServiceNotFound",
            Self::ServicePortNotFound => "ServicePortNotFound",
            Self::ServiceTypeUnsupported => "ServiceTypeUnsupported",
            Self::TooManyExpressions => "TooManyExpressions",
            Self::TooManySecrets => "TooManySecrets",
        }
    }

    /// What it means, in a sentence.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::AnnotationInvalid => "The value of an annotation makes no sense.",
            Self::AnnotationUnsupported => "An annotation is not supported and has no effect.",
            Self::BackendResourceUnsupported => "A rule names a resource in place of a Service.",
            Self::CertificateConflict => "A host has a certificate from elsewhere.",
            Self::CertificateInvalid => "A Secret holds no certificate that can be used.",
            Self::CertificateNameMismatch => {
                "A certificate does not name a host that it is given for."
            }
            Self::DefaultBackendConflict => "An older Ingress has the default backend of a host.",
            Self::DuplicatePath => "An Ingress names one path of one host twice.",
            Self::ExternalNameRefused => {
                "A Service of type ExternalName leads to a name or an address that it must not lead to."
            }
            Self::ExternalNameUnresolved => {
                "The name that a Service of type ExternalName stands for cannot be looked up."
            }
            Self::FamilyUnreachable => {
                "The endpoints of a Service have addresses of a family (IPv4, IPv6) that this tier cannot reach."
            }
            Self::GuardUnsupported => {
                "An annotation guards access, or says how pods are spoken to, in a way that is not supported: its rules are closed."
            }
            Self::InvalidBackend => "A rule names neither a Service with a port nor anything else.",
            Self::InvalidEndpoint => {
                "A slice holds an address or a port that cannot be connected to."
            }
            Self::InvalidExpression => {
                "A path is no regular expression that is served: it is broken, too large, or looks around."
            }
            Self::InvalidHost => "A host is no DNS name.",
            Self::InvalidNamespace => "A namespace is no DNS label.",
            Self::InvalidPath => "A path or its type is wrong.",
            Self::PathConflict => "An older Ingress has this path of this host.",
            Self::SecretForbidden => "The API server does not let this tier read a Secret.",
            Self::SecretNotAllowed => {
                "A Secret is in a namespace whose Secrets this tier may not read."
            }
            Self::SecretNotFound => "There is no such Secret of type `kubernetes.io/tls`.",
            Self::SecretNotRead => "The API server has not given a Secret yet.",
            Self::ServiceNotFound => "There is no such Service.",
            Self::ServicePortNotFound => "The Service has no such port.",
            Self::ServiceTypeUnsupported => {
                "The Service is of a type that has no endpoints, or not without a setting."
            }
            Self::TooManyExpressions => {
                "A namespace has more regular expressions for a host than are served."
            }
            Self::TooManySecrets => "A namespace names more Secrets than are read for one.",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.as_str().encode(encoder)
    }
}

// === impl ObjectReference ===

impl fmt::Display for ObjectReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}
