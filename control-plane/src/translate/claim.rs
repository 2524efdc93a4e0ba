//! Who holds which path and which certificate. Pure.
//!
//! In: claims, the oldest first. Out: whether a claim holds, or who was there before. Nothing is ever taken back.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tiergate_data_plane::host::HostPattern;
use tiergate_data_plane::table::{Certificate, Policy};

use crate::model::tenant::Tenant;
use crate::model::{RouteKey, RouteTarget};

/// Everything that is held.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Who names a host in a rule.
    pub(super) hosts: BTreeMap<HostPattern, BTreeSet<Tenant>>,
    /// Who holds a path.
    pub(super) routes: BTreeMap<RouteKey, (Tenant, RouteTarget)>,
    /// What Ingresses ask for beside; not of those that ask for nothing.
    pub(super) policies: BTreeMap<(Tenant, Arc<str>), Arc<Policy>>,
    /// Whose certificate a host has.
    pub(super) certificates: BTreeMap<HostPattern, (Tenant, Certificate)>,
}

/// Who was there before. To be read after the name of the host.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CertificateHolder {
    /// Another Secret of the same namespace.
    #[error(
        "has the certificate of Secret {0}, by an Ingress that is older or comes first by name"
    )]
    Secret(String),
    /// A Secret of another namespace, which is not told: it is none of this one's business.
    #[error(
        "has a certificate of another namespace, by an Ingress that is older or comes first by name"
    )]
    Foreign,
    /// Another namespace named the host in its rules, and this one did not.
    #[error("is named by older rules of another namespace and by none of this one")]
    Rules,
}

// === impl Claims ===

impl Claims {
    /// Names a host.
    pub(super) fn host(&mut self, host: &HostPattern, tenant: &Tenant) {
        self.hosts
            .entry(host.clone())
            .or_default()
            .insert(tenant.clone());
    }

    /// Claims a path for an Ingress.
    pub(super) fn route(
        &mut self,
        key: RouteKey,
        tenant: &Tenant,
        target: RouteTarget,
    ) -> Result<(), (Tenant, RouteTarget)> {
        match self.routes.entry(key) {
            Entry::Vacant(place) => {
                place.insert((tenant.clone(), target));
                Ok(())
            }
            Entry::Occupied(holder) => Err(holder.get().clone()),
        }
    }

    /// Claims the certificate of a host. A tenant may not give one to a host that only others have named so far.
    pub(super) fn certificate(
        &mut self,
        host: HostPattern,
        tenant: &Tenant,
        certificate: Certificate,
    ) -> Result<(), CertificateHolder> {
        if self
            .hosts
            .get(&host)
            .is_some_and(|tenants| !tenants.contains(tenant))
        {
            return Err(CertificateHolder::Rules);
        }
        match self.certificates.entry(host) {
            Entry::Vacant(place) => {
                place.insert((tenant.clone(), certificate));
                Ok(())
            }
            Entry::Occupied(holder) if holder.get().1.fingerprint == certificate.fingerprint => {
                Ok(())
            }
            Entry::Occupied(holder) if holder.get().0 == *tenant => {
                Err(CertificateHolder::Secret(holder.get().1.secret.to_string()))
            }
            Entry::Occupied(_) => Err(CertificateHolder::Foreign),
        }
    }
}
