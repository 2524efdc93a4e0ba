//! Who holds which path and which certificate. Pure.
//!
//! In: claims, the oldest first. Out: whether a claim holds, or who was there before. Nothing is ever taken back.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tiergate_data_plane::host::HostPattern;
use tiergate_data_plane::table::{Certificate, Expression, Policy, Redirect};

use super::OurIngress;
use super::annotation::OfPaths;
use super::condition::Reason;
use crate::model::path::PathPattern;
use crate::model::tenant::Tenant;
use crate::model::{RouteKey, RouteTarget};

/// Regular expressions of one namespace for one host: each request there may be read by all of them.
const EXPRESSIONS_MAX: usize = 100;

/// And bytes of their programs together, by which the time grows that such a request takes.
const EXPRESSION_BYTES_MAX: usize = 128 << 10;

/// Everything that is held.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Who names a host in a rule.
    pub(super) hosts: BTreeMap<HostPattern, BTreeSet<Tenant>>,
    /// Who holds a path.
    pub(super) routes: BTreeMap<RouteKey, (Tenant, RouteTarget)>,
    /// What Ingresses ask for beside; not of those that ask for nothing.
    pub(super) policies: BTreeMap<(Tenant, Arc<str>), Arc<Policy>>,
    /// How many regular expressions each namespace has for a host, and how many bytes of programs; and which of them was the first to have
    /// one below a path.
    expressions: BTreeMap<(HostPattern, Tenant), (usize, usize)>,
    beginnings: BTreeMap<(HostPattern, Box<str>), Tenant>,
    /// Whether Ingresses send requests by http to https, where that is not the tier's default.
    pub(super) redirects: BTreeMap<(Tenant, Arc<str>), Redirect>,
    /// Who says in `spec.tls` that a host is served by https.
    pub(super) secured: BTreeSet<(Tenant, HostPattern)>,
    /// Whose certificate a host has.
    pub(super) certificates: BTreeMap<HostPattern, Certified>,
}

/// The certificate of a host, or several with keys of different kinds.
#[derive(Debug)]
pub(super) struct Certified {
    pub(super) tenant: Tenant,
    pub(super) certificate: Certificate,
    /// Each of them names the host.
    is_named: bool,
}

/// Who was there before. To be read after the name of the host.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CertificateHolder {
    /// Another Secret of the same namespace, with a key of the same kind.
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
    /// Whether the requests by http of a path are sent to https, where `default` is what Ingresses do that say nothing: each tenant
    /// decides that for its own paths of a host.
    pub(super) fn redirect(
        &self,
        host: &HostPattern,
        (tenant, ingress): (&Tenant, &Arc<str>),
        default: Redirect,
    ) -> Redirect {
        let asked = if self.redirects.is_empty() {
            None
        } else {
            self.redirects.get(&(tenant.clone(), ingress.clone()))
        };
        match asked.copied().unwrap_or(default) {
            Redirect::WhereServed if !self.is_secured(host, tenant) => Redirect::Never,
            redirect @ (Redirect::Never | Redirect::WhereServed | Redirect::Always) => redirect,
        }
    }

    fn is_secured(&self, host: &HostPattern, tenant: &Tenant) -> bool {
        !self.secured.is_empty() && self.secured.contains(&(tenant.clone(), host.clone()))
    }

    /// Names a host.
    pub(super) fn host(&mut self, host: &HostPattern, tenant: &Tenant) {
        self.hosts
            .entry(host.clone())
            .or_default()
            .insert(tenant.clone());
    }

    /// Notes what an Ingress asks for beside its rules.
    pub(super) fn asked(
        &mut self,
        our: &OurIngress<'_>,
        policy: Option<Policy>,
        of_paths: &OfPaths,
        redirect: Redirect,
    ) {
        let name: (Tenant, Arc<str>) = (our.tenant.clone(), our.name.name.as_str().into());
        let own = of_paths.redirect(redirect != Redirect::Never);
        if own != redirect {
            self.redirects.insert(name.clone(), own);
        }
        if let Some(policy) = policy {
            self.policies.insert(name, Arc::new(policy));
        }
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

    /// Claims what an expression begins with: it would be asked before the prefix there, so that one of another namespace keeps it away.
    pub(super) fn expression(
        &mut self,
        host: &HostPattern,
        tenant: &Tenant,
        expression: &Expression,
    ) -> Result<(), (Reason, String)> {
        let prefix = RouteKey {
            host: host.clone(),
            path: Some(PathPattern::beginning_of(expression)),
        };
        let of_prefix = self.routes.get(&prefix).map(|(tenant, _)| tenant);
        let beginning = (host.clone(), expression.beginning().into());
        let holder = self.beginnings.get(&beginning).or(of_prefix);
        if holder.is_some_and(|holder| holder != tenant) {
            let message = format!(
                "would have paths below {}/, which an Ingress of another namespace has, which is older or comes first by name; an \
                 expression begins further down when what comes before its first sign ends with a slash, or with (/|$) behind it",
                expression.beginning()
            );
            return Err((Reason::PathConflict, message));
        }
        let held = self.expressions.entry((host.clone(), tenant.clone()));
        let (count, bytes) = held.or_default();
        if *count >= EXPRESSIONS_MAX || *bytes + expression.bytes() > EXPRESSION_BYTES_MAX {
            let message = format!(
                "is left out: with it the namespace would have more than {EXPRESSIONS_MAX} regular expressions for the host, or more than \
                 {EXPRESSION_BYTES_MAX} bytes of them when they are compiled, of which repetitions such as {{100}} need many"
            );
            return Err((Reason::TooManyExpressions, message));
        }
        *count += 1;
        *bytes += expression.bytes();
        let holder = self.beginnings.entry(beginning);
        holder.or_insert_with(|| tenant.clone());
        Ok(())
    }

    /// Claims the certificate of a host. A tenant may not give one to a host that only others have named so far. It may give a second
    /// one with a key of another kind, if both name the host: clients would meet one that does not, and could have had the other.
    pub(super) fn certificate(
        &mut self,
        host: HostPattern,
        tenant: &Tenant,
        certificate: Certificate,
        is_named: bool,
    ) -> Result<(), CertificateHolder> {
        if self
            .hosts
            .get(&host)
            .is_some_and(|tenants| !tenants.contains(tenant))
        {
            return Err(CertificateHolder::Rules);
        }
        let mut holder = match self.certificates.entry(host) {
            Entry::Vacant(place) => {
                place.insert(Certified {
                    tenant: tenant.clone(),
                    certificate,
                    is_named,
                });
                return Ok(());
            }
            Entry::Occupied(holder) => holder,
        };
        let held = holder.get_mut();
        let fingerprint = certificate.fingerprint;
        if held
            .certificate
            .all()
            .any(|one| one.fingerprint == fingerprint)
        {
            return Ok(());
        }
        if held.tenant != *tenant {
            return Err(CertificateHolder::Foreign);
        }
        let secret = |held: &Certificate| CertificateHolder::Secret(held.secret.to_string());
        if !(held.is_named && is_named) {
            return Err(secret(&held.certificate));
        }
        match held.certificate.clone().join(certificate) {
            Ok(joined) => {
                held.certificate = joined;
                Ok(())
            }
            Err(same_kind) => Err(secret(&same_kind)),
        }
    }
}
