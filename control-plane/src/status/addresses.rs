//! Where a tier can be reached, for the status of Ingresses.
//!
//! In: what the settings say. Out: addresses, anew when they change. A Service is asked every [`REFRESH`]; until it has an address
//! every [`RETRY`]. What was known of it stays when it cannot be read.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Addresses;
use crate::failure::with_causes;
use crate::objects::ingress::Address;
use crate::scope::{ObjectName, is_dns_name};

/// How often a Service is read.
const REFRESH: Duration = Duration::from_secs(30);

/// How often it is read until it has an address.
const RETRY: Duration = Duration::from_secs(2);

/// One request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Addresses of one Service that are read.
const ADDRESSES_MAX: usize = 16;

/// What is known of where a tier can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It shall not be published.
    Unpublished,
    /// Not yet.
    NotYet,
    /// There.
    At(Vec<Address>),
}

/// Finds out, until it is dropped.
pub(super) async fn find(client: kube::Client, addresses: Addresses, known: watch::Sender<Known>) {
    match addresses {
        Addresses::None => known.send_replace(Known::Unpublished),
        Addresses::Fixed(addresses) => known.send_replace(Known::At(addresses)),
        Addresses::OfService(name) => return follow(client, &name, &known).await,
    };
    // Without a sender the receiver would see no change.
    std::future::pending().await
}

async fn follow(client: kube::Client, name: &ObjectName, known: &watch::Sender<Known>) {
    let api: Api<Service> = Api::namespaced(client, &name.namespace);
    let mut is_told = false;
    loop {
        let trouble = match timeout(REQUEST_TIMEOUT, api.get(&name.name)).await {
            Ok(Ok(service)) => match of_service(&service) {
                addresses if addresses.is_empty() => Some("it has no address".to_owned()),
                addresses => {
                    let now = Known::At(addresses);
                    known.send_if_modified(|before| {
                        let is_new = *before != now;
                        *before = now;
                        is_new
                    });
                    None
                }
            },
            Ok(Err(error)) => Some(with_causes(&error)),
            Err(_) => Some("no answer in time".to_owned()),
        };
        match trouble {
            None => is_told = false,
            Some(detail) if !std::mem::replace(&mut is_told, true) => tracing::warn!(
                service = %name,
                detail,
                setting = "publish_service",
                reason = "no_publish_address",
                "the address of this tier is not known; the status of Ingresses stays as it is"
            ),
            Some(_) => {}
        }
        let is_known = matches!(*known.borrow(), Known::At(_));
        sleep(if is_known { REFRESH } else { RETRY }).await;
    }
}

/// As clients reach a Service: what its load balancer says, else its external addresses, else that of the cluster.
fn of_service(service: &Service) -> Vec<Address> {
    let spec = service.spec.as_ref();
    let of_type = spec.and_then(|spec| spec.type_.as_deref());
    let external = spec.and_then(|spec| spec.external_ips.as_deref());
    let external = external.unwrap_or_default().iter().map(String::as_str);
    if of_type == Some("ExternalName") {
        let name = spec.and_then(|spec| spec.external_name.as_deref());
        return parse(name.into_iter());
    }
    if of_type == Some("LoadBalancer") {
        let status = service.status.as_ref();
        let balancer = status.and_then(|status| status.load_balancer.as_ref());
        let ingress = balancer.and_then(|balancer| balancer.ingress.as_deref());
        let given = ingress.unwrap_or_default().iter();
        let given = given.filter_map(|one| one.ip.as_deref().or(one.hostname.as_deref()));
        return parse(given.chain(external));
    }
    let found = parse(external);
    if !found.is_empty() {
        return found;
    }
    let of_cluster = spec.and_then(|spec| spec.cluster_ips.as_deref());
    parse(of_cluster.unwrap_or_default().iter().map(String::as_str))
}

fn parse<'t>(texts: impl Iterator<Item = &'t str>) -> Vec<Address> {
    let mut addresses: Vec<_> = texts.filter_map(address).take(ADDRESSES_MAX).collect();
    // In one order, however they are told.
    addresses.sort();
    addresses.dedup();
    addresses
}

/// An IP address or a DNS name.
pub(crate) fn address(text: &str) -> Option<Address> {
    match text.parse::<IpAddr>() {
        Ok(ip) => Some(Address::Ip(ip)),
        Err(_) if is_dns_name(text) => Some(Address::Name(text.to_owned())),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn published(service: Value) -> Vec<String> {
        let service: Service = serde_json::from_value(service).unwrap();
        of_service(&service)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_service_is_published_as_clients_reach_it() {
        let given = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}, {"hostname": "lb.example"}, {"ip": "192.0.2.1"}]}});
        let spec = json!({"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"], "externalIPs": ["198.51.100.1"]});
        assert_eq!(
            published(json!({"spec": spec, "status": given})),
            ["192.0.2.1", "192.0.2.9", "198.51.100.1", "lb.example"]
        );
        // Its load balancer is not there yet.
        let spec = json!({"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"]});
        assert!(published(json!({"spec": spec})).is_empty());
        for kind in ["ClusterIP", "NodePort"] {
            let spec = json!({"type": kind, "clusterIPs": ["10.0.0.1", "2001:db8::1"]});
            assert_eq!(
                published(json!({"spec": spec})),
                ["10.0.0.1", "2001:db8::1"]
            );
        }
        let spec = json!({"type": "NodePort", "clusterIPs": ["10.0.0.1"], "externalIPs": ["198.51.100.1"]});
        assert_eq!(published(json!({"spec": spec})), ["198.51.100.1"]);
        assert!(published(json!({"spec": {"clusterIPs": ["None"]}})).is_empty());
        assert_eq!(
            published(json!({"spec": {"type": "ExternalName", "externalName": "front.example"}})),
            ["front.example"]
        );
    }
}
