//! What a user is told when the cluster is ready: what runs where, and what to try.

use std::fmt::Write;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::certificates;
use super::error::UpError;
use super::settings::{Content, Settings};
use crate::story;

/// The text, up to the line `ready`.
pub(super) async fn text(
    settings: &Settings,
    client: &kube::Client,
    note: Option<String>,
    folder: &Path,
) -> Result<String, UpError> {
    let mut text = String::new();
    if settings.content.has_nodes() {
        let pods: Api<Pod> = Api::all(client.clone());
        let pods = pods.list(&ListParams::default()).await?;
        text.push_str(&table(&pods.items));
        text.push('\n');
    }
    text.push_str(&hints(settings, note, folder));
    Ok(text)
}

fn table(pods: &[Pod]) -> String {
    let title = ["NAMESPACE", "POD", "ADDRESS", "NODE", "IMAGE"].map(str::to_owned);
    let mut rows: Vec<[String; 5]> = pods.iter().map(row).collect();
    rows.sort();
    rows.insert(0, title);
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn row(pod: &Pod) -> [String; 5] {
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let images = spec.map(|spec| {
        let images = spec
            .containers
            .iter()
            .filter_map(|container| container.image.clone());
        images.collect::<Vec<_>>().join(",")
    });
    [
        pod.namespace().unwrap_or_default(),
        pod.name_any(),
        status
            .and_then(|status| status.pod_ip.clone())
            .unwrap_or_default(),
        spec.and_then(|spec| spec.node_name.clone())
            .unwrap_or_default(),
        images.unwrap_or_default(),
    ]
}

fn hints(settings: &Settings, note: Option<String>, folder: &Path) -> String {
    let kubeconfig = settings.kubeconfig.display();
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes every text");
    match settings.content {
        Content::ApiOnly => line("An API server without controllers and nodes.".to_owned()),
        Content::ControlPlane => {
            line("An API server with its controllers, and no nodes.".to_owned())
        }
        Content::Bare => {
            line("Nodes, and nothing on them: `helm install`, or `kubectl apply`.".to_owned())
        }
        Content::Empty => {
            line(format!(
                "The cluster tier serves the classes tiergate-cluster and nginx at http://{}:{} and https://{}:{}.",
                settings.vip, settings.http_port, settings.vip, settings.https_port
            ));
        }
        Content::Story => {
            let host = story::HOSTS[0];
            let authority = certificates::authority_path(settings);
            let (vip, http, https) = (settings.vip, settings.http_port, settings.https_port);
            line("Try:".to_owned());
            line(format!("  curl -H 'Host: {host}' http://{vip}:{http}/v3"));
            line(format!(
                "  curl --cacert {} --resolve {host}:{https}:{vip} https://{host}:{https}/v3",
                authority.display()
            ));
        }
    }
    line(format!(
        "  kubectl --kubeconfig {kubeconfig} get pods -A -o wide"
    ));
    if settings.content == Content::Story {
        line(format!(
            "  kubectl --kubeconfig {kubeconfig} get ingress -A"
        ));
        line(format!(
            "  kubectl --kubeconfig {kubeconfig} -n openstack scale deployment keystone-api --replicas 5"
        ));
    }
    if let Some(ranges) = settings.ranges.filter(|_| settings.content.has_nodes()) {
        line(format!(
            "Services have addresses in {}, load balancers in {}; node ports are on every node.",
            ranges.services, ranges.load_balancers
        ));
    }
    if settings.content.has_nodes() {
        note.into_iter().for_each(&mut line);
        line(format!("Logs of the pods: {}", folder.display()));
    }
    text
}
