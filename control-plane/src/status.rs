//! Tells the owners of Ingresses what became of them: addresses, conditions, Events. The one writer of the API.
//!
//! In: what a table is published of, and how each Ingress stands. Out: `status.loadBalancer`, the annotation
//! [`crate::objects::ingress::CONDITIONS_ANNOTATION`], and Warning Events. Only the replica that holds the Lease of the tier
//! writes (`lease.rs`), and an address means that requests for the Ingress are served: it is published when **every** replica that lives has the rule in its
//! table. Each tells how far it has come in a Lease of its own (`member.rs`).
//!
//! What is written belongs to a field manager of its own, by server-side apply, and only what differs is written. Nothing is ever
//! taken back because a tier starts, stops or knows too little; `status clear` is for an uninstall.

mod addresses;
pub mod clear;
mod event;
mod leader;
mod member;
mod metrics;
mod plan;
mod roll;
mod write;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::lease::Candidate;
use crate::objects::ingress::Address;
use crate::platform::{Identity, Platform, derive_rng};
use crate::publish::Handle;
use crate::scope::{ObjectName, Scope};
pub(crate) use addresses::address;
use leader::Leader;
use member::Member;
pub(crate) use metrics::Metrics;

/// Names the tier that a replica belongs to: the name of its Lease.
pub const TIER_LABEL: &str = "tiergate.dev/election";

/// Up to which versions a replica serves what it heard of.
pub const PROGRESS_ANNOTATION: &str = "tiergate.dev/programmed";

/// What a tier tells, and who may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The Lease of the replica that writes; with the namespace before it, the field manager of what it writes.
    pub election_id: String,
    /// What the status of each Ingress says.
    pub addresses: Addresses,
}

/// Where a tier can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Addresses {
    /// Nobody said: no status is written.
    #[default]
    None,
    /// There.
    Fixed(Vec<Address>),
    /// Where this Service can be.
    OfService(ObjectName),
}

/// The replicas of a tier, and which of them this is.
#[derive(Clone, Debug)]
struct Roster {
    election: String,
    /// What this replica calls itself.
    identity: String,
    /// The Lease of this replica.
    member: String,
}

/// Tells what became of Ingresses.
pub(crate) struct Reporter {
    client: kube::Client,
    seed: u64,
    /// What the program calls itself.
    program: &'static str,
    /// Where the Leases are.
    namespace: String,
    roster: Roster,
    settings: Settings,
    handle: Handle,
    metrics: Metrics,
    joined: watch::Sender<bool>,
}

// === impl Reporter ===

impl Reporter {
    pub(crate) fn new<N>(
        platform: &Platform<N>,
        program: &'static str,
        scope: &Scope,
        settings: Settings,
        handle: Handle,
        registry: &mut Registry,
    ) -> Self {
        Self {
            client: platform.client.clone(),
            seed: platform.seed,
            program,
            namespace: lease_namespace(platform, scope),
            roster: Roster::new(&settings.election_id, &platform.identity, platform.seed),
            settings,
            handle,
            metrics: Metrics::register(registry),
            joined: watch::Sender::new(false),
        }
    }

    /// The field manager of what it writes.
    fn manager(&self) -> String {
        field_manager(&self.namespace, &self.roster.election)
    }

    /// Whether the others were told of this replica, or the API server does not take it.
    pub(crate) fn joined(&self) -> watch::Receiver<bool> {
        self.joined.subscribe()
    }

    /// Tells until `shutdown` is said, from when everything has been read for the first time.
    pub(crate) async fn run(self, shutdown: watch::Receiver<()>) {
        tokio::select! {
            biased;
            () = said(shutdown.clone()) => return,
            () = self.handle.wait_synced() => {}
        }
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        let (candidate, is_leader) = Candidate::new(
            leases.clone(),
            self.roster.election.clone(),
            self.roster.identity.clone(),
            derive_rng(self.seed, "lease"),
        );
        let member = Member::new(
            leases.clone(),
            self.roster.clone(),
            self.handle.programmed(),
            self.joined.clone(),
        );
        let leader = Leader::new(self, leases, is_leader);
        tokio::join!(
            member.run(said(shutdown.clone())),
            candidate.run(said(shutdown.clone())),
            leader.run(said(shutdown)),
        );
    }
}

/// Where the Leases of a tier are: where it watches, else where it runs.
fn lease_namespace<N>(platform: &Platform<N>, scope: &Scope) -> String {
    let own = platform.identity.namespace.as_deref();
    let namespace = scope.namespace.as_deref().or(own);
    namespace
        .unwrap_or(platform.client.default_namespace())
        .to_owned()
}

/// Whose the fields are that a tier writes: a Lease's name alone may be that of another tier, in another namespace.
fn field_manager(namespace: &str, election_id: &str) -> String {
    format!("{namespace}/{election_id}")
}

/// Resolves when the sender is gone.
async fn said(mut shutdown: watch::Receiver<()>) {
    while shutdown.changed().await.is_ok() {}
}

// === impl Roster ===

impl Roster {
    /// A pod keeps its name when its container is started again; on a host without pods there may be several of us.
    fn new(election: &str, identity: &Identity, seed: u64) -> Self {
        let name = if identity.is_pod {
            identity.name.clone()
        } else {
            format!("{}-{:08x}", identity.name, seed >> 32)
        };
        Self {
            member: member_name(election, &name),
            election: election.to_owned(),
            identity: name,
        }
    }
}

/// The name of a Lease (a DNS subdomain), unlike that of any other replica.
fn member_name(election: &str, replica: &str) -> String {
    let name = format!("{election}-{replica}").to_ascii_lowercase();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let name: String = name
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .collect();
    // From its end, where names differ.
    let start = name.len().saturating_sub(253);
    name[start..].trim_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_has_a_lease_of_its_own() {
        let pod = Identity {
            name: "front-7d9f-x2x4z".to_owned(),
            namespace: Some("edge".to_owned()),
            is_pod: true,
        };
        let roster = Roster::new("front", &pod, 1 << 40);
        assert_eq!(roster.member, "front-front-7d9f-x2x4z");
        assert_eq!(roster.identity, "front-7d9f-x2x4z");
        let host = Identity {
            name: "Node_1.example".to_owned(),
            namespace: None,
            is_pod: false,
        };
        let roster = Roster::new("front", &host, 0xabcd << 32);
        assert_eq!(roster.member, "front-node-1.example-0000abcd");
        assert_eq!(member_name("e", &"x.".repeat(200)).len(), 251);
    }
}
