//! The endpoints of a Service that stands for a name in DNS. Pure.
//!
//! In: what DNS said of the name. Out: an endpoint for each of its addresses that requests may go to. Name, aliases and addresses are judged
//! here, whenever one of them differs, and nothing that was not judged gets further (`model/external.rs`).

use std::borrow::Cow;
use std::net::IpAddr;

use super::Found;
use super::port::PortName;
use crate::model::backend::{self, Endpoints};
use crate::model::external::{ExternalName, RefusedAddress, judge};
use crate::objects::resolution::Resolution;
use crate::objects::service::{ServicePort, Target};
use crate::objects::{Kind, Objects};
use crate::scope::{ObjectName, Scope};
use crate::translate::condition::{Condition, ObjectReference, Reason};

/// The port of a number that the Service does not declare.
pub(super) fn port(named: &PortName<'_>) -> Option<Found<'static>> {
    let PortName::Number(number) = *named else {
        return None;
    };
    let port = ServicePort {
        name: String::new(),
        number,
        target: Target::Number(number),
        protocol: "TCP".to_owned(),
        app_protocol: None,
    };
    Some(Found {
        port: Cow::Owned(port),
        external: None,
    })
}

/// An endpoint for each address that requests may go to.
pub(super) fn endpoints(
    objects: &Objects,
    scope: &Scope,
    service: &ObjectName,
    text: &str,
    port: &ServicePort,
    conditions: &mut Vec<Condition>,
) -> Endpoints {
    let mut tell = |(reason, message)| {
        conditions.push(Condition {
            object: ObjectReference {
                kind: Kind::Service,
                name: service.clone(),
            },
            field: "spec.externalName".to_owned(),
            reason,
            message,
        });
    };
    let (name, resolution) = match known(objects, &service.namespace, text) {
        Ok(known) => known,
        Err(trouble) => {
            tell(trouble);
            return Endpoints::default();
        }
    };
    let (usable, refused) = judged(resolution, scope);
    if let Some(first) = refused.first() {
        let others = match refused.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let message = format!("{name} leads to an address that gets no request: {first}{others}");
        tell((Reason::ExternalNameRefused, message));
    }
    let unresolved = match resolution.trouble {
        Some(trouble) if usable.is_empty() => Some(format!("{name}: {trouble}")),
        Some(trouble) => Some(format!(
            "{name}: {trouble}; the addresses of the last answer are kept"
        )),
        None if usable.is_empty() && refused.is_empty() => Some(format!(
            "{name} has no address of {}, and this tier reaches no other",
            scope.families
        )),
        None => None,
    };
    if let Some(message) = unresolved {
        tell((Reason::ExternalNameUnresolved, message));
    }
    let number = match port.target {
        Target::Number(number) => number,
        Target::Name(_) => port.number,
    };
    let endpoints = usable.iter();
    endpoints
        .filter_map(|address| backend::endpoint(&address.to_string(), number, name.as_str()).ok())
        .collect()
}

/// The name as it is looked up, and what DNS said of it; or what is wrong with either.
fn known<'o>(
    objects: &'o Objects,
    namespace: &str,
    text: &str,
) -> Result<(ExternalName, &'o Resolution), (Reason, String)> {
    let name = ExternalName::parse(text, namespace).map_err(|error| {
        let message = format!("{error}; its requests are answered with 503");
        (Reason::ExternalNameRefused, message)
    })?;
    let resolution = objects.resolution(&name).ok_or_else(|| {
        let message = format!("{name} has not been looked up yet");
        (Reason::ExternalNameUnresolved, message)
    })?;
    for alias in &resolution.aliases {
        ExternalName::follows(alias, namespace).map_err(|error| {
            let message =
                format!("{name} is an alias, and {error}; its requests are answered with 503");
            (Reason::ExternalNameRefused, message)
        })?;
    }
    Ok((name, resolution))
}

/// The addresses that requests may go to, and why others get none.
fn judged(resolution: &Resolution, scope: &Scope) -> (Vec<IpAddr>, Vec<RefusedAddress>) {
    let networks = scope.external_names.as_ref();
    let networks = networks.map_or(&[][..], |names| &names.networks);
    let (mut usable, mut refused) = (Vec::new(), Vec::new());
    for address in &resolution.addresses {
        match judge(*address, networks) {
            Ok(address) if scope.families.reach(address) => usable.push(address),
            Ok(_) => {}
            Err(error) => refused.push(error),
        }
    }
    (usable, refused)
}
