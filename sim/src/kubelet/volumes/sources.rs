//! Reads the ConfigMaps and Secrets that volumes are made of.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;

use super::payload::{Kind, TokenRequest};
use crate::kubelet::context::Context;

/// The files of a ConfigMap or Secret.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// What volumes are made of, as far as it exists.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) objects: BTreeMap<(Kind, String), Files>,
    pub(super) tokens: BTreeMap<TokenRequest, String>,
}

// === impl Sources ===

impl Sources {
    pub(super) async fn read<N>(
        context: &Context<N>,
        needs: &[(Kind, String)],
    ) -> Result<Self, kube::Error> {
        let mut sources = Self::default();
        for (kind, name) in needs {
            let client = context.client.clone();
            let files = match kind {
                Kind::ConfigMap => {
                    let api: Api<ConfigMap> = Api::namespaced(client, context.namespace());
                    api.get_opt(name).await?.map(of_config_map)
                }
                Kind::Secret => {
                    let api: Api<Secret> = Api::namespaced(client, context.namespace());
                    api.get_opt(name).await?.map(of_secret)
                }
            };
            if let Some(files) = files {
                sources.objects.insert((*kind, name.clone()), files);
            }
        }
        Ok(sources)
    }
}

fn of_config_map(object: ConfigMap) -> Files {
    let texts = object.data.unwrap_or_default().into_iter();
    let texts = texts.map(|(key, text)| (key, text.into_bytes()));
    let bytes = object.binary_data.unwrap_or_default().into_iter();
    texts
        .chain(bytes.map(|(key, bytes)| (key, bytes.0)))
        .collect()
}

fn of_secret(object: Secret) -> Files {
    let bytes = object.data.unwrap_or_default().into_iter();
    bytes.map(|(key, bytes)| (key, bytes.0)).collect()
}
