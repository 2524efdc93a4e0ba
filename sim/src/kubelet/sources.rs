//! Reads the ConfigMaps and Secrets that a container's variables come from.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;

use super::environment::{Needs, Sources};

/// What exists of `needs`. A Secret's bytes that are no UTF-8 become U+FFFD: variables are text.
pub(super) async fn read(
    client: &kube::Client,
    namespace: &str,
    needs: &Needs,
) -> Result<Sources, kube::Error> {
    let mut sources = Sources::default();
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    for name in &needs.config_maps {
        if let Some(found) = config_maps.get_opt(name).await? {
            let data = found.data.unwrap_or_default();
            sources.config_maps.insert(name.clone(), data);
        }
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    for name in &needs.secrets {
        if let Some(found) = secrets.get_opt(name).await? {
            let data: BTreeMap<String, String> = found
                .data
                .unwrap_or_default()
                .into_iter()
                .map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned()))
                .collect();
            sources.secrets.insert(name.clone(), data);
        }
    }
    Ok(sources)
}
