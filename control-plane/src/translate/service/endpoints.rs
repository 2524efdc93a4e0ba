//! Which endpoints of a Service get requests. Pure.
//!
//! In: the slices of a Service, and the families of addresses that can be reached from here. Out: endpoints that are ready; when there is
//! none, those that still serve while they end. Of a pod in slices of both families one address counts.

use std::collections::BTreeSet;

use tiergate_data_plane::net::Families;
use tiergate_data_plane::table::Endpoint;

use crate::model::backend::{self, Endpoints};
use crate::objects::endpoint_slice::{Readiness, SliceEndpoint};
use crate::objects::service::{ServicePort, Target};
use crate::objects::{Kind, Objects};
use crate::scope::ObjectName;
use crate::translate::condition::{Condition, ObjectReference, Reason};

/// The ready endpoints of all slices; when there is none, those that still serve while they end.
pub(super) fn endpoints(
    objects: &Objects,
    families: Families,
    service: &ObjectName,
    port: &ServicePort,
    conditions: &mut Vec<Condition>,
) -> Endpoints {
    let mut found: Vec<(Readiness, &SliceEndpoint, Endpoint)> = Vec::new();
    let mut has_unreachable = false;
    for (name, slice) in objects.slices_of(service) {
        let Some(slice_port) = slice.ports.iter().find(|other| other.name == port.name) else {
            continue;
        };
        let number = slice_port.number.unwrap_or(match port.target {
            Target::Number(number) => number,
            Target::Name(_) => port.number,
        });
        let mut problem = None;
        for (position, endpoint) in slice.endpoints.iter().enumerate() {
            let identity = endpoint.pod_uid.as_deref().unwrap_or(&name.name);
            match backend::endpoint(&endpoint.address, number, identity) {
                Ok(usable) if families.reach(usable.address.ip()) => {
                    found.push((endpoint.readiness, endpoint, usable));
                }
                Ok(_) => has_unreachable |= endpoint.readiness != Readiness::NotReady,
                Err(error) => problem = problem.or(Some((position, error))),
            }
        }
        // One condition for each slice: its addresses are made by one hand.
        conditions.extend(problem.map(|(position, error)| Condition {
            object: ObjectReference {
                kind: Kind::EndpointSlice,
                name: name.clone(),
            },
            field: format!("endpoints[{position}].addresses[0]"),
            reason: Reason::InvalidEndpoint,
            message: format!("the endpoint is left out: {error}"),
        }));
    }
    let has = |wanted| found.iter().any(|(readiness, ..)| *readiness == wanted);
    let wanted = if has(Readiness::Ready) {
        Readiness::Ready
    } else {
        Readiness::Draining
    };
    // Of a Service of both families the other one is left out in silence: the tier reaches its pods.
    if has_unreachable && !has(wanted) {
        conditions.push(Condition {
            object: ObjectReference {
                kind: Kind::Service,
                name: service.clone(),
            },
            field: "spec.ipFamilies".to_owned(),
            reason: Reason::FamilyUnreachable,
            message: format!(
                "Service {service} has no endpoint with an address of {families}, and this tier reaches no other; its requests are answered with 503"
            ),
        });
    }
    found.retain(|(readiness, ..)| *readiness == wanted);
    one_family_for_each_pod(found)
}

/// A pod of a dual-stack Service stands in a slice of each family. It counts once, by IPv4.
fn one_family_for_each_pod(found: Vec<(Readiness, &SliceEndpoint, Endpoint)>) -> Endpoints {
    let with_ipv4: BTreeSet<&str> = found
        .iter()
        .filter(|(_, _, endpoint)| endpoint.address.is_ipv4())
        .filter_map(|(_, slice_endpoint, _)| slice_endpoint.pod_uid.as_deref())
        .collect();
    let is_second = |slice_endpoint: &SliceEndpoint, endpoint: &Endpoint| {
        endpoint.address.is_ipv6()
            && slice_endpoint
                .pod_uid
                .as_deref()
                .is_some_and(|pod| with_ipv4.contains(pod))
    };
    found
        .iter()
        .filter(|(_, slice_endpoint, endpoint)| !is_second(slice_endpoint, endpoint))
        .map(|(_, _, endpoint)| endpoint.clone())
        .collect()
}
