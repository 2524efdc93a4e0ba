//! Which load balancer has which address of the pool.
//!
//! In: all Services, with what their status says, and what was given out and is not in a status yet. Out: what to write.
//! Addresses that a status names are kept; wishes come before free choice; the rules are those of MetalLB. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Service;

use crate::actors::store::Key;

/// Our name in `spec.loadBalancerClass`; a Service without a class is ours too.
pub(super) const CLASS: &str = "tiergate.dev/load-balancer";

/// The name of the only pool.
const POOL_NAME: &str = "default";

/// Both prefixes that MetalLB's annotations have had, the newer first.
const ANNOTATION_PREFIXES: [&str; 2] = ["metallb.io", "metallb.universe.tf"];

/// The addresses of the pool, and who has them.
#[derive(Debug)]
pub(super) struct Pool {
    network: Ipv4Net,
    /// By the UID of the Service: a status may not show it yet.
    given: BTreeMap<String, Ipv4Addr>,
    /// What was said about Services that got nothing, by their UID.
    told: BTreeMap<String, String>,
}

/// What is to be done for one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write this address into the status.
    Assign(Ipv4Addr),
    /// Remove the address from the status.
    Clear,
    /// Tell why it gets none, and remove the address that it has.
    Fail { message: String, clears: bool },
}

/// Who uses an address, and for what.
struct Use {
    service: Key,
    sharing: String,
    backend: String,
    ports: BTreeSet<(String, i32)>,
}

type Uses = BTreeMap<Ipv4Addr, Vec<Use>>;

// === impl Pool ===

impl Pool {
    pub(super) fn new(network: Ipv4Net) -> Self {
        Self {
            network,
            given: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    /// Decides for all Services. What is as it should be has no step.
    pub(super) fn step<'a>(
        &mut self,
        services: impl IntoIterator<Item = &'a Service>,
    ) -> BTreeMap<Key, Step> {
        let mut services: Vec<&Service> = services.into_iter().collect();
        services.sort_by_key(|service| {
            let created = service.metadata.creation_timestamp.as_ref();
            (created.map(|time| time.0), Key::of(*service))
        });
        let uids: BTreeSet<&str> = services.iter().map(|service| uid(service)).collect();
        self.given.retain(|uid, _| uids.contains(uid.as_str()));
        self.told.retain(|uid, _| uids.contains(uid.as_str()));

        let (ours, others): (Vec<_>, Vec<_>) =
            services.into_iter().partition(|service| is_ours(service));
        let mut steps = BTreeMap::new();
        for service in others {
            self.told.remove(uid(service));
            self.given.remove(uid(service));
            // A Service of another class has its address from somebody else.
            let was_ours = !is_load_balancer(service)
                && status_ips(service)
                    .iter()
                    .any(|ip| self.network.contains(ip));
            if was_ours {
                steps.insert(Key::of(service), Step::Clear);
            }
        }
        // Who has an address keeps it, whatever others wish.
        let mut uses = Uses::new();
        let mut without = Vec::new();
        for service in ours {
            match self.kept(service, &uses) {
                Some(ip) => self.settle(service, ip, &mut uses, &mut steps),
                None => without.push(service),
            }
        }
        let (wishing, free): (Vec<_>, Vec<_>) = without
            .into_iter()
            .partition(|service| !matches!(wish(service), Ok(None)));
        for service in wishing.into_iter().chain(free) {
            match self.choose(service, &uses) {
                Ok(ip) => self.settle(service, ip, &mut uses, &mut steps),
                Err(why) => self.fail(service, &why, &mut steps),
            }
        }
        steps
    }

    /// The address that a Service has and may go on having.
    fn kept(&self, service: &Service, uses: &Uses) -> Option<Ipv4Addr> {
        let in_status = status_ips(service).first().copied();
        let ip = self.given.get(uid(service)).copied().or(in_status)?;
        let is_wanted = match wish(service) {
            Ok(wish) => wish.is_none_or(|wish| wish == ip),
            Err(_) => false,
        };
        (is_wanted && self.check(service, ip, uses).is_ok()).then_some(ip)
    }

    fn choose(&self, service: &Service, uses: &Uses) -> Result<Ipv4Addr, String> {
        if let Some(pool) = annotation(service, "address-pool").filter(|pool| *pool != POOL_NAME) {
            return Err(format!("unknown pool {pool:?}"));
        }
        if let Some(ip) = wish(service)? {
            return self.check(service, ip, uses).map(|()| ip);
        }
        self.network
            .hosts()
            .find(|ip| self.check(service, *ip, uses).is_ok())
            .ok_or_else(|| "no available IPs".to_owned())
    }

    /// Whether a Service may have an address beside those who have it.
    fn check(&self, service: &Service, ip: Ipv4Addr, uses: &Uses) -> Result<(), String> {
        if !self.network.contains(&ip) {
            return Err(format!("\"{ip}\" is not allowed in config"));
        }
        let key = Key::of(service);
        let new = Use::of(service);
        for other in uses.get(&ip).into_iter().flatten() {
            let may_share = !new.sharing.is_empty()
                && new.sharing == other.sharing
                && new.backend == other.backend;
            if !may_share {
                return Err(format!(
                    "can't change sharing key for \"{key}\", address also in use by {}",
                    other.service
                ));
            }
            if let Some((protocol, port)) = new.ports.intersection(&other.ports).next() {
                let protocol = protocol.to_lowercase();
                return Err(format!(
                    "port {protocol}/{port} is already in use on \"{ip}\""
                ));
            }
        }
        Ok(())
    }

    fn settle(
        &mut self,
        service: &Service,
        ip: Ipv4Addr,
        uses: &mut Uses,
        steps: &mut BTreeMap<Key, Step>,
    ) {
        uses.entry(ip).or_default().push(Use::of(service));
        self.told.remove(uid(service));
        self.given.insert(uid(service).to_owned(), ip);
        if status_ips(service) != [ip] {
            steps.insert(Key::of(service), Step::Assign(ip));
        }
    }

    fn fail(&mut self, service: &Service, why: &str, steps: &mut BTreeMap<Key, Step>) {
        self.given.remove(uid(service));
        let key = Key::of(service);
        let message = format!("Failed to allocate IP for \"{key}\": {why}");
        let clears = !status_ips(service).is_empty();
        let before = self.told.insert(uid(service).to_owned(), message.clone());
        if clears || before.as_ref() != Some(&message) {
            steps.insert(key, Step::Fail { message, clears });
        }
    }
}

// === impl Use ===

impl Use {
    fn of(service: &Service) -> Self {
        let spec = service.spec.as_ref();
        let ports = spec
            .into_iter()
            .flat_map(|spec| spec.ports.iter().flatten());
        let protocol = |protocol: &Option<String>| protocol.clone().unwrap_or("TCP".to_owned());
        // With local endpoints only, an address leads to nodes that have some: both must have the same.
        let is_local =
            spec.and_then(|spec| spec.external_traffic_policy.as_deref()) == Some("Local");
        let selector = spec.and_then(|spec| spec.selector.as_ref());
        Self {
            service: Key::of(service),
            sharing: annotation(service, "allow-shared-ip")
                .unwrap_or_default()
                .to_owned(),
            backend: if is_local {
                format!("{selector:?}")
            } else {
                String::new()
            },
            ports: ports
                .map(|port| (protocol(&port.protocol), port.port))
                .collect(),
        }
    }
}

fn uid(service: &Service) -> &str {
    service.metadata.uid.as_deref().unwrap_or_default()
}

fn is_load_balancer(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer")
}

fn is_ours(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let class = spec.and_then(|spec| spec.load_balancer_class.as_deref());
    is_load_balancer(service) && class.is_none_or(|class| class == CLASS)
}

fn status_ips(service: &Service) -> Vec<Ipv4Addr> {
    let status = service.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let points = balancer.and_then(|balancer| balancer.ingress.as_ref());
    points
        .into_iter()
        .flatten()
        .filter_map(|point| point.ip.as_ref()?.parse().ok())
        .collect()
}

/// The value of an annotation of MetalLB, under either prefix.
fn annotation<'a>(service: &'a Service, name: &str) -> Option<&'a str> {
    let annotations = service.metadata.annotations.as_ref()?;
    ANNOTATION_PREFIXES
        .iter()
        .find_map(|prefix| annotations.get(&format!("{prefix}/{name}")))
        .map(String::as_str)
        .filter(|value| !value.is_empty())
}

/// The address that a Service asks for.
fn wish(service: &Service) -> Result<Option<Ipv4Addr>, String> {
    let annotated = annotation(service, "loadBalancerIPs");
    let spec = service.spec.as_ref();
    let field = spec.and_then(|spec| spec.load_balancer_ip.as_deref());
    let field = field.filter(|ip| !ip.is_empty());
    let (name, text) = match (annotated, field) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(
                "service can not have both metallb.io/loadBalancerIPs and svc.Spec.LoadBalancerIP"
                    .to_owned(),
            );
        }
        (Some(text), None) => ("metallb.io/loadBalancerIPs", text),
        (None, Some(text)) => ("spec.loadBalancerIP", text),
    };
    let ip = text.trim().parse();
    ip.map(Some)
        .map_err(|_| format!("invalid {name} {text:?}: one IPv4 address is expected"))
}

#[cfg(test)]
mod tests;
