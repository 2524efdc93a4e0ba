//! Takes back what a tier has told, when it is removed for good: `… status clear`.
//!
//! In: the tier's settings. Out: no Ingress has an address or a condition of this tier any more, and its Leases are gone. It goes by the field
//! manager, so what others wrote stays, also the same address. A tier that still runs would write it again.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{DeleteParams, ListParams};

use tokio::time::sleep;

use super::metrics::WriteResult;
use super::write::Write;
use super::{TIER_LABEL, field_manager, lease_namespace};
use crate::objects::ingress::Told;
use crate::platform::Platform;
use crate::scope::{ObjectName, Scope};

/// Ingresses of one page.
const PAGE_SIZE: u32 = 500;

/// Writes that are under way at a time.
const WRITES_MAX: usize = 8;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Ingresses that told something of this tier.
    pub ingresses: usize,
    /// Leases that were deleted.
    pub leases: usize,
}

/// Tries of [`clear_with_patience`].
const TRIES: u32 = 5;

/// From one of them to the next.
const PAUSE: Duration = Duration::from_secs(2);

/// As [`clear`], which is tried again unless a right is missing: a pod that has just begun may not reach the API server yet.
///
/// # Errors
/// As [`clear`], by the last try.
pub async fn clear_with_patience<N>(
    platform: &Platform<N>,
    scope: &Scope,
    election_id: &str,
) -> anyhow::Result<Cleared> {
    let mut left = TRIES;
    loop {
        left -= 1;
        let error = match clear(platform, scope, election_id).await {
            Ok(cleared) => return Ok(cleared),
            Err(error) => error,
        };
        let is_forbidden = matches!(
            error.downcast_ref(),
            Some(kube::Error::Api(status)) if status.code == 403
        );
        if is_forbidden || left == 0 {
            return Err(error);
        }
        sleep(PAUSE).await;
    }
}

/// Takes back what the tier of this name has told of the objects that the scope covers.
///
/// # Errors
/// When the API server does not answer, or refuses. What was done by then stays done, so it can be tried again.
pub async fn clear<N>(
    platform: &Platform<N>,
    scope: &Scope,
    election_id: &str,
) -> anyhow::Result<Cleared> {
    let client = &platform.client;
    let manager = field_manager(&lease_namespace(platform, scope), election_id);
    let api: Api<Ingress> = match &scope.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut cleared = Cleared::default();
    let mut parameters = ListParams::default().limit(PAGE_SIZE);
    loop {
        let page = api.list(&parameters).await?;
        let ours = page.items.iter().filter(|ingress| tells(ingress, &manager));
        let writes = ours.map(|ingress| {
            let metadata = &ingress.metadata;
            let name = ObjectName::new(
                metadata.namespace.clone().unwrap_or_default(),
                metadata.name.clone().unwrap_or_default(),
            );
            let write = Write {
                name,
                told: Told::default(),
                addresses: Vec::new(),
                conditions: None,
            };
            write.run(client.clone(), manager.clone())
        });
        let mut writes = stream::iter(writes.collect::<Vec<_>>()).buffer_unordered(WRITES_MAX);
        while let Some(written) = writes.next().await {
            match written.result {
                WriteResult::Written => cleared.ingresses += 1,
                WriteResult::Gone => {}
                WriteResult::Forbidden | WriteResult::Failed => {
                    anyhow::bail!("Ingress {}: {}", written.name, written.detail)
                }
            }
        }
        parameters.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if parameters.continue_token.is_none() {
            break;
        }
    }
    cleared.leases = delete_leases(platform, scope, election_id).await?;
    Ok(cleared)
}

/// Whether some field of it is one of this tier's.
fn tells(ingress: &Ingress, manager: &str) -> bool {
    let fields = ingress.metadata.managed_fields.iter().flatten();
    fields
        .filter(|fields| fields.operation.as_deref() == Some("Apply"))
        .any(|fields| fields.manager.as_deref() == Some(manager))
}

async fn delete_leases<N>(
    platform: &Platform<N>,
    scope: &Scope,
    election_id: &str,
) -> anyhow::Result<usize> {
    let namespace = lease_namespace(platform, scope);
    let api: Api<Lease> = Api::namespaced(platform.client.clone(), &namespace);
    let label = format!("{TIER_LABEL}={election_id}");
    let members = api.list(&ListParams::default().labels(&label)).await?;
    let members = members
        .items
        .into_iter()
        .filter_map(|one| one.metadata.name);
    let mut deleted = 0;
    for name in members.chain([election_id.to_owned()]) {
        match api.delete(&name, &DeleteParams::default()).await {
            Ok(_) => deleted += 1,
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(deleted)
}
