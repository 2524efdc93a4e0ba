//! Gives Services of type LoadBalancer an address of the pool, as MetalLB does in a cluster without a cloud.
//!
//! In: the Services as last seen. Out: `status.loadBalancer`, and an Event about each address given or refused. What is to be
//! done decides `pool`; this is its driver. A status is read before anything is given, so a restart changes nothing.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::LoadBalancers;
use super::pool::{Pool, Step};
use crate::actors::event::{Draft, Recorder};
use crate::actors::write::{WriteError, timed};
use crate::kubelet::watching::Objects;

/// The name under which it reports Events and writes, that of what it stands for.
pub(super) const COMPONENT: &str = "metallb-controller";

const RETRY_DELAY_FIRST: Duration = Duration::from_secs(1);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);

/// The address that an Event named, by the UID of the Service.
type Told = BTreeMap<String, Ipv4Addr>;

/// Works without end.
pub(super) async fn run(
    options: LoadBalancers,
    mut services: watch::Receiver<Objects<Service>>,
    recorder: Recorder,
) {
    let LoadBalancers { pool, client } = options;
    let mut pool = Pool::new(pool);
    let mut told = Told::new();
    let mut retry_delay = None;
    loop {
        let changed = async {
            if services.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        match retry_delay {
            None => changed.await,
            Some(delay) => tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(delay) => {}
            },
        }
        let seen = services.borrow_and_update().clone();
        told.retain(|uid, _| {
            seen.values()
                .any(|one| one.metadata.uid.as_ref() == Some(uid))
        });
        let steps = pool.step(seen.values().map(AsRef::as_ref));
        let mut has_failed = false;
        for (key, step) in steps {
            let Some(service) = seen.get(&(key.namespace.clone(), key.name.clone())) else {
                continue;
            };
            match carry_out(&client, service, &step).await {
                Ok(()) => tell(&recorder, &mut told, service, step),
                // The Service has changed or is gone: what is seen next decides.
                Err(WriteError::NotFound | WriteError::Conflict) => {}
                Err(error) => {
                    has_failed = true;
                    tracing::warn!(service = %key, %error, reason = error.reason(), "cannot write the address of a load balancer; trying again");
                }
            }
        }
        retry_delay = has_failed.then(|| {
            retry_delay.map_or(RETRY_DELAY_FIRST, |delay| (delay * 2).min(RETRY_DELAY_MAX))
        });
    }
}

async fn carry_out(client: &Client, service: &Service, step: &Step) -> Result<(), WriteError> {
    let points = match step {
        Step::Assign(ip) => json!([{"ip": ip, "ipMode": "VIP"}]),
        Step::Clear | Step::Fail { clears: true, .. } => Value::Null,
        Step::Fail { clears: false, .. } => return Ok(()),
    };
    let metadata = &service.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    // With the UID: a Service of the same name that came later is another one.
    let patch = json!({
        "metadata": {"uid": metadata.uid},
        "status": {"loadBalancer": {"ingress": points}},
    });
    let params = PatchParams {
        field_manager: Some(COMPONENT.to_owned()),
        ..PatchParams::default()
    };
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    timed(services.patch_status(name, &params, &Patch::Merge(patch))).await?;
    Ok(())
}

fn tell(recorder: &Recorder, told: &mut Told, service: &Service, step: Step) {
    match step {
        Step::Assign(ip) => {
            let uid = service.metadata.uid.clone().unwrap_or_default();
            // What was seen may be older than the write: the same step comes again then.
            if told.insert(uid, ip) != Some(ip) {
                let message = format!("Assigned IP [\"{ip}\"]");
                recorder.record(Draft::normal(service, "IPAllocated", message));
            }
        }
        Step::Fail { message, .. } => {
            tracing::warn!(
                message,
                reason = "allocation_failed",
                "a load balancer gets no address"
            );
            recorder.record(Draft::warning(service, "AllocationFailed", message));
        }
        Step::Clear => {}
    }
}
