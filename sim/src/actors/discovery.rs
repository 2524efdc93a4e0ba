//! Which resources the API server serves, in their preferred versions.

use kube::Client;
use kube::discovery::{ApiResource, Discovery, Scope};

use super::write::{WriteError, timed};

/// A resource and what can be done with it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) resource: ApiResource,
    pub(crate) is_namespaced: bool,
    verbs: Vec<String>,
}

// === impl Found ===

impl Found {
    pub(crate) fn new(resource: ApiResource, scope: Scope, verbs: Vec<String>) -> Self {
        Self {
            resource,
            is_namespaced: scope == Scope::Namespaced,
            verbs,
        }
    }

    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    /// As `kubectl` and conditions write it: `deployments.apps`, `pods.`.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.resource.plural, self.resource.group)
    }
}

/// All resources, by group and name.
pub(crate) async fn resources(client: &Client) -> Result<Vec<Found>, WriteError> {
    let aggregated = timed(Discovery::new(client.clone()).run_aggregated()).await;
    let discovery = match aggregated {
        Ok(discovery) => discovery,
        Err(error) => {
            tracing::debug!(%error, "no aggregated discovery; asking group by group");
            timed(Discovery::new(client.clone()).run()).await?
        }
    };
    let mut found: Vec<Found> = discovery
        .groups()
        .flat_map(kube::discovery::ApiGroup::recommended_resources)
        .map(|(resource, capabilities)| {
            Found::new(resource, capabilities.scope, capabilities.operations)
        })
        .collect();
    found.sort_by_key(|found| (found.resource.group.clone(), found.resource.plural.clone()));
    Ok(found)
}
