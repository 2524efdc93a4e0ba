//! Which Secrets are named, and what is known of them. Pure.
//!
//! In: the names in `spec.tls` and the default certificate, the oldest claim first. Out: a certificate, or why there is none,
//! and for a tier that reads Secrets by their names, which to read. A namespace can name [`PER_NAMESPACE_MAX`] of them, so
//! that one with thousands of Ingresses costs itself, and nobody else.

use std::collections::{BTreeMap, BTreeSet};

use super::condition::Reason;
use crate::objects::Objects;
use crate::objects::certificate::{
    Authorities, Certificate, InvalidCertificate, SECRET_TYPE, Secret,
};
use crate::scope::{ObjectName, Secrets};

/// Secrets of one namespace that are read by their names.
pub const PER_NAMESPACE_MAX: usize = 2000;

/// The Secrets that were named so far.
pub(super) struct Named<'a> {
    objects: &'a Objects,
    secrets: &'a Secrets,
    wanted: Wanted,
    counts: BTreeMap<String, usize>,
}

/// What a tier that reads Secrets by their names wants of the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The Secrets to read.
    pub names: BTreeSet<ObjectName>,
    /// The namespaces whose Secrets are named and may not be read.
    pub not_allowed: BTreeSet<String>,
}

// === impl Named ===

impl<'a> Named<'a> {
    pub(super) fn new(objects: &'a Objects, secrets: &'a Secrets) -> Self {
        Self {
            objects,
            secrets,
            wanted: Wanted::default(),
            counts: BTreeMap::new(),
        }
    }

    /// The certificate in a Secret.
    pub(super) fn find(
        &mut self,
        secret: &ObjectName,
    ) -> Result<&'a Certificate, (Reason, String)> {
        let found = self.secret(secret)?.certificate.as_ref();
        found.map_err(|error| unusable(secret, error))
    }

    /// The authorities in a Secret.
    pub(super) fn authorities(
        &mut self,
        secret: &ObjectName,
    ) -> Result<&'a Authorities, (Reason, String)> {
        let found = self.secret(secret)?.authorities.as_ref();
        found.map_err(|error| unusable(secret, error))
    }

    fn secret(&mut self, secret: &ObjectName) -> Result<&'a Secret, (Reason, String)> {
        self.name(secret)?;
        let found = self.objects.secrets().get(secret);
        found.map(|found| &**found).ok_or_else(|| {
            let message = format!("there is no Secret {secret} of type {SECRET_TYPE}");
            (Reason::SecretNotFound, message)
        })
    }

    pub(super) fn finish(self) -> Wanted {
        self.wanted
    }

    /// Notes that a Secret is to be read, when it may be.
    fn name(&mut self, secret: &ObjectName) -> Result<(), (Reason, String)> {
        let Secrets::ByName { namespaces, .. } = self.secrets else {
            return Ok(());
        };
        let namespace = &secret.namespace;
        if !namespaces.contains(namespace) {
            self.wanted.not_allowed.insert(namespace.clone());
            let message = format!(
                "Secret {secret} is not read: this tier may not read Secrets of the namespace {namespace}; name it in \
                 --secret-namespaces (in the chart: rbac.secretNamespaces)"
            );
            return Err((Reason::SecretNotAllowed, message));
        }
        if !secret.is_possible() {
            let message = format!(
                "there is no Secret {:?} in {namespace}: nothing can be called that",
                secret.name
            );
            return Err((Reason::SecretNotFound, message));
        }
        if self.wanted.names.contains(secret) {
            return Ok(());
        }
        let count = self.counts.entry(namespace.clone()).or_default();
        if *count >= PER_NAMESPACE_MAX {
            let message = format!(
                "Secret {secret} is not read: older Ingresses of its namespace name {PER_NAMESPACE_MAX} others already"
            );
            return Err((Reason::TooManySecrets, message));
        }
        *count += 1;
        self.wanted.names.insert(secret.clone());
        Ok(())
    }
}

/// Why a Secret that is there is of no use.
fn unusable(secret: &ObjectName, error: &InvalidCertificate) -> (Reason, String) {
    let reason = match error {
        InvalidCertificate::Forbidden => Reason::SecretForbidden,
        InvalidCertificate::NotRead => Reason::SecretNotRead,
        InvalidCertificate::Missing(_)
        | InvalidCertificate::NoCertificate
        | InvalidCertificate::CertificatePem
        | InvalidCertificate::CertificateDer
        | InvalidCertificate::ChainTooLong
        | InvalidCertificate::KeyPem
        | InvalidCertificate::KeyUnsupported
        | InvalidCertificate::KeyMismatch
        | InvalidCertificate::Authorities => Reason::CertificateInvalid,
    };
    (reason, format!("Secret {secret} cannot be used: {error}"))
}
