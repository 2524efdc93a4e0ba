//! Gives the hosts of one Ingress their certificates. Pure.
//!
//! In: `spec.tls` of an Ingress that is ours. Out: certificates by host in [`Claims`]. An entry without hosts serves those hosts of
//! the Ingress' rules that its certificate names. Two Secrets of one namespace may serve one host when their keys are of different kinds. A host for which no certificate can be used gets the tier's default one,
//! so its plain HTTP and its routes are not touched.

use tiergate_data_plane::host::HostPattern;
use tiergate_data_plane::table::Certificate;

use super::claim::Claims;
use super::condition::{Condition, ObjectReference, Reason};
use super::ingress::hosts;
use super::secret::Named;
use super::{OurIngress, table_certificate};
use crate::model::host;
use crate::model::tenant::Tenant;
use crate::objects::Kind;
use crate::objects::ingress::spec::Tls;
use crate::scope::{ObjectName, Scope};

/// Claims the certificates that the Ingress asks for.
pub(super) fn translate(
    our: &OurIngress<'_>,
    secrets: &mut Named<'_>,
    claims: &mut Claims,
    conditions: &mut Vec<Condition>,
) {
    for (position, tls) in our.ingress.spec.tls.iter().enumerate() {
        let field = format!("spec.tls[{position}]");
        claims.secured.extend(secured(our, tls));
        if tls.secret.is_empty() {
            continue;
        }
        let secret = ObjectName::new(&*our.name.namespace, &*tls.secret);
        let found = match secrets.find(&secret) {
            Ok(found) => found,
            Err((reason, message)) => {
                let field = format!("{field}.secretName");
                let message = format!("{message}; the default certificate is used instead");
                conditions.push(our.condition(field, reason, message));
                continue;
            }
        };
        let asked = if tls.hosts.is_empty() {
            let mut hosts = hosts(our);
            hosts.retain(|host| found.covers(host));
            let secured = hosts.iter().map(|host| (our.tenant.clone(), host.clone()));
            claims.secured.extend(secured);
            let hosts = hosts.into_iter();
            hosts.map(|host| (field.clone(), host)).collect()
        } else {
            named_hosts(our, &tls.hosts, &field, conditions)
        };
        for (field, host) in asked {
            let is_named = found.covers(&host);
            let shown = host.to_string();
            let certificate = table_certificate(&secret, found);
            if let Err(holder) = claims.certificate(host, &our.tenant, certificate, is_named) {
                let message = format!("{shown} {holder}");
                conditions.push(our.condition(field, Reason::CertificateConflict, message));
            } else if !is_named {
                let message = format!(
                    "the certificate in Secret {secret} does not name {shown}; it is used all the same"
                );
                conditions.push(our.condition(field, Reason::CertificateNameMismatch, message));
            }
        }
    }
}

/// The hosts that an entry names, and those of the rules that a wildcard in it is for: they are served by https, be it with the
/// default certificate.
fn secured(our: &OurIngress<'_>, tls: &Tls) -> Vec<(Tenant, HostPattern)> {
    let named = tls.hosts.iter();
    let mut secured: Vec<HostPattern> = named.filter_map(|text| host::pattern(text).ok()).collect();
    let is_below = |host: &HostPattern| match host {
        HostPattern::Exact(name) => secured.iter().any(|wildcard| match wildcard {
            HostPattern::Wildcard(parent) => name.parent() == Some(parent.as_str()),
            HostPattern::Exact(_) | HostPattern::Any => false,
        }),
        HostPattern::Wildcard(_) | HostPattern::Any => false,
    };
    let below: Vec<HostPattern> = hosts(our).into_iter().filter(is_below).collect();
    secured.extend(below);
    secured.retain(|host| *host != HostPattern::Any);
    let tenant = &our.tenant;
    let secured = secured.into_iter();
    secured.map(|host| (tenant.clone(), host)).collect()
}

/// The certificate for names that no other covers.
pub(super) fn default(
    scope: &Scope,
    secrets: &mut Named<'_>,
    conditions: &mut Vec<Condition>,
) -> Option<Certificate> {
    let secret = scope.default_certificate.as_ref()?;
    match secrets.find(secret) {
        Ok(found) => Some(table_certificate(secret, found)),
        Err((reason, message)) => {
            conditions.push(Condition {
                object: ObjectReference {
                    kind: Kind::Secret,
                    name: secret.clone(),
                },
                field: "--default-ssl-certificate".to_owned(),
                reason,
                message: format!("{message}; clients that ask for other names are refused"),
            });
            None
        }
    }
}

fn named_hosts(
    our: &OurIngress<'_>,
    named: &[Box<str>],
    field: &str,
    conditions: &mut Vec<Condition>,
) -> Vec<(String, HostPattern)> {
    let mut hosts = Vec::new();
    for (position, text) in named.iter().enumerate() {
        let field = format!("{field}.hosts[{position}]");
        let message = match host::pattern(text) {
            Ok(HostPattern::Any) => "it is empty".to_owned(),
            Ok(host @ (HostPattern::Exact(_) | HostPattern::Wildcard(_))) => {
                hosts.push((field, host));
                continue;
            }
            Err(error) => error.to_string(),
        };
        let message = format!("the host is left out: {message}");
        conditions.push(our.condition(field, Reason::InvalidHost, message));
    }
    hosts
}
