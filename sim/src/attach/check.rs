//! Whether a cluster can take our nodes: its version, our rights, the names and networks that are in use.
//!
//! In: a client and what we were asked for. Out: nothing, or the one sentence that says what to change. Nothing is written: what an
//! API server takes as the address of an endpoint is asked with a dry run.

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::error::{AttachError, with_causes};
use super::settings::{Settings, overlap};

/// The minors of Kubernetes 1 that our kubelet works with. The first is the oldest that has all it serves (`preStop.sleep` is on since
/// then); it behaves as one of 1.36, and a kubelet may be three minors behind its API server and no more.
const MINOR_OLDEST: u32 = 30;
const MINOR_NEWEST: u32 = 39;

/// Objects of a list that is only looked through.
const PAGE: u32 = 500;

/// Finds out whether the cluster can take the nodes. Returns its version.
pub(super) async fn check(
    client: &kube::Client,
    server: &str,
    settings: &Settings,
) -> Result<String, AttachError> {
    let failed = |error| failure(server, error);
    let version = client.apiserver_version().await.map_err(failed)?;
    check_version(&version)?;
    super::rights::check(client, settings)
        .await
        .map_err(|error| match error {
            Ok(refusal) => refusal,
            Err(error) => failed(error),
        })?;
    let nodes = Api::<Node>::all(client.clone());
    let nodes = nodes.list(&ListParams::default()).await.map_err(failed)?;
    check_nodes(settings, &nodes.items)?;
    check_services(client, settings).await?;
    check_endpoints(client, settings).await?;
    super::services::check(client, settings).await?;
    Ok(version.git_version)
}

/// What a request that failed says about the kubeconfig.
pub(super) fn failure(server: &str, error: kube::Error) -> AttachError {
    let server = server.to_owned();
    if let kube::Error::Api(status) = &error {
        return match status.code {
            401 => AttachError::Unauthorized {
                server,
                reason: status.message.clone(),
            },
            _ => AttachError::Api(error),
        };
    }
    AttachError::Unreachable {
        server,
        reason: with_causes(&error),
    }
}

fn check_version(version: &Info) -> Result<(), AttachError> {
    // Some vendors write "36+".
    let digits = version
        .minor
        .trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let minor: Option<u32> = digits.parse().ok().filter(|_| version.major == "1");
    let cure = match minor {
        Some(minor) if minor < MINOR_OLDEST => "use a newer Kubernetes",
        Some(minor) if minor > MINOR_NEWEST => "use a newer tiergate-sim",
        Some(_) => return Ok(()),
        None => "name a Kubernetes API server with --kubeconfig",
    };
    Err(AttachError::Version {
        found: version.git_version.clone(),
        oldest: format!("1.{MINOR_OLDEST}"),
        newest: format!("1.{MINOR_NEWEST}"),
        cure,
    })
}

fn check_nodes(settings: &Settings, nodes: &[Node]) -> Result<(), AttachError> {
    for node in nodes {
        let name = node.name_any();
        if settings.nodes.iter().any(|place| place.name == name) {
            return Err(AttachError::Conflict(format!(
                "the cluster has a node {name} already; choose other names with --node-prefix, or, when it was left by nodes that were killed, remove it: `kubectl delete node {name}`"
            )));
        }
        let spec = node.spec.as_ref();
        let theirs = spec.and_then(|spec| spec.pod_cidrs.as_ref());
        for theirs in theirs.into_iter().flatten() {
            let Ok(theirs) = theirs.parse::<Ipv4Net>() else {
                continue;
            };
            check_network(settings, theirs, &format!("pods of node {name}"))?;
        }
    }
    Ok(())
}

async fn check_services(client: &kube::Client, settings: &Settings) -> Result<(), AttachError> {
    for range in super::services::ranges(client).await? {
        check_network(settings, range, "Services")?;
    }
    let services: Api<Service> = Api::all(client.clone());
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = services.list(&parameters).await?;
        for service in &page.items {
            let addresses = service
                .spec
                .as_ref()
                .and_then(|spec| spec.cluster_ips.as_ref());
            for address in addresses.into_iter().flatten() {
                if let Ok(address) = address.parse() {
                    let namespace = service.namespace().unwrap_or_default();
                    let whose = format!("Service {namespace}/{}", service.name_any());
                    check_network(settings, Ipv4Net::new_assert(address, 32), &whose)?;
                }
            }
        }
        match page.metadata.continue_ {
            Some(next) if !next.is_empty() => parameters = parameters.continue_token(&next),
            _ => return Ok(()),
        }
    }
}

fn check_network(settings: &Settings, theirs: Ipv4Net, whose: &str) -> Result<(), AttachError> {
    for (flag, ours) in settings.networks() {
        if overlap(ours, theirs) {
            return Err(AttachError::Conflict(format!(
                "{flag} {ours} overlaps {theirs}, which the cluster uses for {whose}; choose another {flag}"
            )));
        }
    }
    Ok(())
}

/// A real API server refuses endpoints on loopback and link-local addresses; ours takes them. Each is asked, and none is known by name.
async fn check_endpoints(client: &kube::Client, settings: &Settings) -> Result<(), AttachError> {
    let Some(place) = settings.nodes.first() else {
        return Ok(());
    };
    let slice = json!({
        "metadata": {"generateName": "tiergate-sim-", "namespace": "default"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [place.address]}],
        "ports": [],
    });
    let slice: EndpointSlice = serde_json::from_value(slice).expect("the object is whole");
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "default");
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match slices.create(&parameters, &slice).await {
        // 422: the object is not valid. Any other refusal is none of the address.
        Err(kube::Error::Api(status)) if status.code == 422 => Err(AttachError::Conflict(format!(
            "this API server takes no endpoints in --pod-cidr {} ({}); use another one, such as 10.244.0.0/16, and make it local: `ip route add local 10.244.0.0/16 dev lo`",
            settings.pod_network, status.message
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_api_servers_that_a_kubelet_of_1_36_works_with_are_taken() {
        for (major, minor, cure) in [
            ("1", "30", None),
            ("1", "36", None),
            ("1", "36+", None),
            ("1", "39", None),
            ("1", "29", Some("use a newer Kubernetes")),
            ("1", "40", Some("use a newer tiergate-sim")),
            ("2", "36", Some("name a Kubernetes API server")),
            ("1", "", Some("name a Kubernetes API server")),
        ] {
            let version = Info {
                major: major.to_owned(),
                minor: minor.to_owned(),
                git_version: format!("v{major}.{minor}.0"),
                ..Info::default()
            };
            let result = check_version(&version);
            match cure {
                None => assert!(result.is_ok(), "{major}.{minor}"),
                Some(cure) => {
                    let error = result.unwrap_err();
                    assert_eq!(error.exit_code(), 3);
                    let sentence = error.to_string();
                    let range = "work with 1.30 to 1.39";
                    assert!(
                        sentence.contains(cure) && sentence.contains(range),
                        "{sentence}"
                    );
                }
            }
        }
    }
}
