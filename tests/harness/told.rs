//! What Ingresses say of themselves, who of the replicas writes it, and a replica that hangs.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::wait;

/// The annotation with what is wrong.
const CONDITIONS: &str = "tiergate.dev/conditions";

/// A process of a pod that does nothing until this value is dropped.
#[derive(Debug)]
pub struct Hung(Pid);

/// The address of an Ingress; none without one.
#[must_use]
pub fn address_of(object: &Value) -> Option<&str> {
    object["status"]["loadBalancer"]["ingress"][0]["ip"].as_str()
}

/// What an Ingress says is wrong with it: reasons.
///
/// # Panics
/// When the annotation is no JSON.
#[must_use]
pub fn reasons_of(object: &Value) -> Vec<String> {
    let text = object["metadata"]["annotations"][CONDITIONS].as_str();
    let conditions: Value = text.map_or(Value::Null, |text| {
        serde_json::from_str(text).expect("JSON")
    });
    let conditions = conditions.as_array().cloned().unwrap_or_default();
    conditions
        .iter()
        .map(|one| one["reason"].as_str().unwrap_or_default().to_owned())
        .collect()
}

// === impl Cluster ===

impl Cluster {
    /// An Ingress as the API server has it.
    #[must_use]
    pub fn ingress(&self, namespace: &str, name: &str) -> Value {
        let kubectl = self.kubectl();
        kubectl.json(&format!("--namespace {namespace} get ingress {name}"))
    }

    /// Waits until an Ingress, by its namespace and name, has this address, or none, and says that this is wrong with it.
    ///
    /// # Panics
    /// When it does not within [`wait::CHANGE_SECONDS`].
    pub fn until_told(
        &self,
        (namespace, name): (&str, &str),
        address: Option<&str>,
        reasons: &[&str],
    ) -> Value {
        let what = format!("{namespace}/{name} says {address:?} and {reasons:?}");
        wait::until(&what, wait::CHANGE_SECONDS, || {
            let object = self.ingress(namespace, name);
            let is_so = address_of(&object) == address && reasons_of(&object) == reasons;
            let said = format!("{} {}", object["status"], object["metadata"]["annotations"]);
            wait::seen(is_so, said).map(|()| object)
        })
    }

    /// The ready replicas of a tier, by the names of their pods.
    ///
    /// # Panics
    /// When one has no address.
    #[must_use]
    pub fn replicas(&self, namespace: &str, selector: &str) -> BTreeMap<String, IpAddr> {
        let pods = self.ready_pods(namespace, selector);
        let address = |ip: &str| ip.parse().expect("a ready pod has an address");
        pods.iter()
            .map(|(name, ip)| (name.clone(), address(ip)))
            .collect()
    }

    /// Waits until exactly one of the ready replicas leads, and returns its name.
    ///
    /// # Panics
    /// When two do at a time, or none within [`wait::CHANGE_SECONDS`].
    pub fn until_one_leads(&self, namespace: &str, selector: &str) -> String {
        wait::until("one replica leads", wait::CHANGE_SECONDS, || {
            let replicas = self.replicas(namespace, selector);
            let leads = |ip: &IpAddr| self.metric(*ip, "tiergate_status_leader", "") == Some(1.0);
            let mut leaders = replicas.iter().filter(|(_, ip)| leads(ip));
            match (leaders.next(), leaders.next()) {
                (Some((leader, _)), None) => Ok(leader.clone()),
                (None, _) => Err(format!("nobody of {replicas:?}")),
                (Some(one), Some(other)) => panic!("two lead: {one:?} and {other:?}"),
            }
        })
    }
}

// === impl Hung ===

impl Hung {
    /// Stops the process of the tier that runs in this pod, as a debugger or a frozen cgroup does.
    ///
    /// # Panics
    /// When there is no such process.
    #[must_use]
    pub fn stop(pod: &str) -> Self {
        let variable = format!("POD_NAME={pod}");
        let processes = fs::read_dir("/proc").expect("Linux has it");
        let names = processes.flatten().map(|entry| entry.file_name());
        let mut pids = names.filter_map(|name| name.to_str()?.parse::<i32>().ok());
        let is_its = |pid: &i32| {
            // Of a process of somebody else it cannot be read.
            let variables = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            variables
                .split(|byte| *byte == 0)
                .any(|one| one == variable.as_bytes())
        };
        let pid = Pid::from_raw(pids.find(is_its).expect("a pod is a process"));
        kill(pid, Signal::SIGSTOP).expect("it is ours");
        Self(pid)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        // It may be gone.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}
