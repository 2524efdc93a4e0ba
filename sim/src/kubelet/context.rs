//! Everything that the containers of one pod share.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::{Api, Resource};
use tokio::sync::watch;

use super::admission::Refusal;
use super::event::{Draft, Severity};
use super::launcher::Launcher;
use super::played::Claims;
use super::recorder::Recorder;
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
    pub(super) launcher: Option<Launcher>,
    pub(super) claims: Claims,
    pub(super) node: String,
    pub(super) node_address: Ipv4Addr,
    pub(super) address: Ipv4Addr,
    pub(super) services: watch::Receiver<Services>,
    /// The pod as it was when it came: its spec does not change in what matters here.
    pub(super) pod: Arc<Pod>,
    /// Folder of this pod's files.
    pub(super) folder: PathBuf,
    /// Why the node does not run it.
    pub(super) refusal: Option<Refusal>,
    pub(super) recorder: Recorder,
    /// Counts the ticks at which the kubelet looks whether others changed what it reported.
    pub(super) ticks: watch::Receiver<u64>,
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

    /// Reports an event about the pod, or about the part of it that `path` names.
    pub(super) fn tell(
        &self,
        path: Option<String>,
        severity: Severity,
        reason: &'static str,
        message: String,
    ) {
        let mut about = self.pod.object_ref(&());
        about.field_path = path;
        self.recorder.record(Draft {
            about,
            severity,
            reason,
            message,
        });
    }

    /// Where a container's output goes.
    pub(super) fn log_of(&self, container: &str) -> PathBuf {
        self.folder.join(format!("{container}.log"))
    }

    pub(super) fn identity(&self) -> Identity {
        Identity {
            pod: self.name().to_owned(),
            namespace: self.namespace().to_owned(),
            node: self.node.clone(),
        }
    }

    /// What a container runtime would add; the container's own values win.
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
