//! The file `/etc/hosts` of a pod, which here also stands in for the cluster's DNS.
//!
//! In: the pod's name and address, and the Services of the moment. Out: the text, and a file that follows the Services. A real
//! kubelet writes the first lines; names of Services come from CoreDNS there. Only names with an address are known: no headless
//! Service, no SRV, no pod. Without mount namespaces a program reads the machine's file instead.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;

use super::context::Context;

/// Where a pod finds it.
pub(super) const PLACE: &str = "/etc/hosts";

/// Where names of Services end.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// The text. A name without its namespace means the pod's own.
#[must_use]
fn text<'a>(
    pod: &str,
    address: Ipv4Addr,
    namespace: &str,
    services: impl IntoIterator<Item = &'a Service>,
) -> String {
    let mut text = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n".to_owned();
    let mut line = |address: &str, names: &str| {
        writeln!(text, "{address}\t{names}").expect("a String takes every text");
    };
    line(&address.to_string(), pod);
    for service in services {
        let metadata = &service.metadata;
        let (Some(name), Some(of)) = (&metadata.name, &metadata.namespace) else {
            continue;
        };
        let address = service
            .spec
            .as_ref()
            .and_then(|spec| spec.cluster_ip.as_deref());
        let Some(address) = address.filter(|address| !matches!(*address, "" | "None")) else {
            continue;
        };
        let own = if of == namespace {
            format!(" {name}")
        } else {
            String::new()
        };
        line(
            address,
            &format!("{name}.{of}.svc.{CLUSTER_DOMAIN} {name}.{of}.svc {name}.{of}{own}"),
        );
    }
    text
}

/// The file of a pod, in its folder.
pub(super) fn path<N>(context: &Context<N>) -> PathBuf {
    context.folder.join("hosts")
}

/// Writes the file as the Services are.
pub(super) fn write<N>(context: &Context<N>) -> io::Result<()> {
    let services = context.services.borrow().clone();
    let services = services.values().map(Arc::as_ref);
    let text = text(
        context.name(),
        context.address,
        context.namespace(),
        services,
    );
    // In place: containers have this very file mounted.
    put(&path(context), &text)
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|before| before == text) {
        return Ok(());
    }
    fs::write(path, text)
}

/// Writes it again whenever Services change, for as long as it is driven.
pub(super) async fn keep<N>(context: Arc<Context<N>>) {
    let mut services = context.services.clone();
    while services.changed().await.is_ok() {
        if let Err(error) = write(&context) {
            tracing::debug!(pod = context.title(), reason = "hosts", "{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn services_with_an_address_have_their_names() {
        let service = |namespace: &str, name: &str, address: Value| -> Service {
            serde_json::from_value(json!({
                "metadata": {"namespace": namespace, "name": name},
                "spec": {"clusterIP": address},
            }))
            .unwrap()
        };
        let services = [
            service("ceph", "ingress", json!("10.96.0.3")),
            service("openstack", "ingress", json!("10.96.0.4")),
            service("openstack", "headless", json!("None")),
            service("openstack", "outside", Value::Null),
        ];
        let text = text(
            "pod-1",
            Ipv4Addr::new(10, 244, 0, 5),
            "openstack",
            &services,
        );
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "127.0.0.1\tlocalhost",
                "10.244.0.5\tpod-1",
                "10.96.0.3\tingress.ceph.svc.cluster.local ingress.ceph.svc ingress.ceph",
                "10.96.0.4\tingress.openstack.svc.cluster.local ingress.openstack.svc ingress.openstack ingress",
            ]
        );
    }
}
