//! Everything that the containers of one pod share.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::Api;
use tokio::sync::watch;

use super::played::Claims;
use super::status::Addresses;
use super::{ApiAccess, Services};
use crate::echo::Identity;
use crate::images::Images;

/// Everything that the containers of a pod share.
pub(super) struct Context<N> {
    pub(super) net: N,
    pub(super) client: kube::Client,
    pub(super) access: ApiAccess,
    pub(super) images: Arc<Images>,
    pub(super) launcher: Option<PathBuf>,
    pub(super) claims: Claims,
    pub(super) node: String,
    pub(super) node_address: Ipv4Addr,
    pub(super) address: Ipv4Addr,
    pub(super) services: watch::Receiver<Services>,
    /// The pod as it was when it came: its spec does not change in what matters here.
    pub(super) pod: Arc<Pod>,
    /// Folder of this pod's files.
    pub(super) folder: PathBuf,
    /// Why the node cannot run it.
    pub(super) refusal: Option<String>,
}

// === impl Context ===

impl<N> Context<N> {
    pub(super) fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    /// The pod as messages name it.
    pub(super) fn title(&self) -> String {
        format!("{}_{}({})", self.name(), self.namespace(), self.uid())
    }

    pub(super) fn identity(&self) -> Identity {
        Identity {
            pod: self.name().to_owned(),
            namespace: self.namespace().to_owned(),
            node: self.node.clone(),
        }
    }

    /// What a container runtime and the mounted ServiceAccount would add; the container's own values win.
    pub(super) fn add_runtime_variables(&self, variables: &mut BTreeMap<String, String>) {
        let mut add = |name: &str, value: String| {
            variables.entry(name.to_owned()).or_insert(value);
        };
        add("HOSTNAME", self.name().to_owned());
        add("HOME", self.folder.display().to_string());
        add(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        );
        let kubeconfig = self.folder.join("kubeconfig");
        if kubeconfig.exists() {
            add("KUBECONFIG", kubeconfig.display().to_string());
        }
    }

    pub(super) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), self.namespace())
    }

    pub(super) fn containers(&self) -> &[Container] {
        let spec = self.pod.spec.as_ref();
        spec.map(|spec| spec.containers.as_slice())
            .unwrap_or_default()
    }

    pub(super) fn addresses(&self) -> Addresses {
        Addresses {
            pod: self.address.to_string(),
            node: self.node_address.to_string(),
        }
    }
}
