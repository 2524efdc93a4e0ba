//! The service proxy of attached nodes: what it needs to know of the cluster, and whether this machine can serve it.
//!
//! In: a client and the settings. Out: the proxy's options, or the sentence that says which network has to become local.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::Api;
use kube::api::ListParams;
use rand::rngs::SmallRng;

use super::access::Access;
use super::error::AttachError;
use super::settings::{Place, Settings};
use crate::service_proxy::{self, ExclusiveNet, Limits, LoadBalancers, NodeIdentity};

/// Finds out whether cluster IPs and the addresses of load balancers can be bound here.
pub(super) async fn check(client: &kube::Client, settings: &Settings) -> Result<(), AttachError> {
    if !settings.has_service_proxy {
        return Ok(());
    }
    let ranges = ranges(client).await?;
    for range in ranges.into_iter().chain(settings.load_balancer_pool) {
        // The last address tells whether all of the range is local, and not only one that somebody gave to a device.
        let last = range.hosts().last().unwrap_or(range.addr());
        let address = SocketAddr::from((last, 0));
        TcpListener::bind(address).map_err(|error| {
            if error.kind() == std::io::ErrorKind::AddrNotAvailable {
                AttachError::ServicesNotLocal {
                    address,
                    network: range,
                }
            } else {
                AttachError::Bind { address, error }
            }
        })?;
    }
    Ok(())
}

/// The ranges of cluster IPs. An API server before 1.33 does not name them: then its own Service tells at least one address.
pub(super) async fn ranges(client: &kube::Client) -> Result<Vec<Ipv4Net>, kube::Error> {
    let ranges: Api<ServiceCIDR> = Api::all(client.clone());
    if let Ok(ranges) = ranges.list(&ListParams::default()).await {
        let specs = ranges.items.into_iter().filter_map(|range| range.spec);
        let named: Vec<Ipv4Net> = specs
            .flat_map(|spec| spec.cidrs.unwrap_or_default())
            .filter_map(|range| range.parse().ok())
            .collect();
        if !named.is_empty() {
            return Ok(named);
        }
    }
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    let own = services.get_opt("kubernetes").await?;
    let address = own.and_then(|own| own.spec?.cluster_ip?.parse::<Ipv4Addr>().ok());
    Ok(address.map(Ipv4Net::from).into_iter().collect())
}

/// What the proxy is made of; none when it was not asked for.
pub(super) fn proxy(
    settings: &Settings,
    access: &Access,
    rng: SmallRng,
) -> Result<Option<service_proxy::Options<ExclusiveNet>>, AttachError> {
    if !settings.has_service_proxy {
        return Ok(None);
    }
    let identity = |place: &Place| NodeIdentity {
        name: place.name.clone(),
        address: place.address,
        slice: place.slice,
    };
    let load_balancers = match settings.load_balancer_pool {
        Some(pool) => Some(LoadBalancers {
            pool,
            client: access.client_of("load-balancer")?,
        }),
        None => None,
    };
    Ok(Some(service_proxy::Options {
        net: ExclusiveNet,
        client: access.client_of("kube-proxy")?,
        nodes: settings.nodes.iter().map(identity).collect(),
        load_balancers,
        limits: Limits::of_this_process(),
        rng,
    }))
}
