//! A bare cluster with two tenants, and the releases of our chart in it: one for the cluster, one for each tenant.
//!
//! The cluster release is the administrator's. Each namespace release is made by somebody who is bound to the ClusterRole `admin` in
//! that namespace and to nothing else. The applications are those of the story.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::{Request, fetch};
use crate::cluster::Cluster;
use crate::helm::{
    CLUSTER_NAMESPACE, CLUSTER_RELEASE, Helm, RELEASE, cluster_values, tenant_values,
};
use crate::load::Target;
use crate::objects::applications_of;
use crate::wait;

/// Tenants, each with its applications.
pub const TENANTS: [(&str, [&str; 2]); 2] = [
    ("openstack", ["keystone", "horizon"]),
    ("ceph", ["rgw", "dashboard"]),
];

/// A cluster with both tenants, their admins and their applications, and no release.
pub struct Site {
    /// The cluster.
    pub cluster: Cluster,
    admins: Vec<(&'static str, PathBuf)>,
}

/// All releases, in the hands of one major of helm.
pub struct Releases<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Who may do everything.
    pub administrator: Helm,
    /// Who may administer a namespace.
    pub tenants: Vec<(&'static str, Helm)>,
}

/// One of them.
pub struct Release<'a> {
    /// Where it is.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Who makes it.
    pub helm: &'a Helm,
    /// What it is made with.
    pub values: String,
}

/// A host that an application of the story has.
#[must_use]
pub fn host(tenant: &str, application: &str) -> String {
    format!("{application}.{tenant}.svc.cluster.local")
}

// === impl Site ===

impl Site {
    /// Starts the cluster, makes the tenants and runs their applications.
    ///
    /// # Panics
    /// When it is not ready in time.
    #[must_use]
    pub fn start(name: &str, images: &[String]) -> Self {
        let cluster = Cluster::bare(name, images);
        let admins = TENANTS.map(|(tenant, _)| (tenant, cluster.tenant_admin(tenant)));
        let kubectl = cluster.kubectl();
        for (tenant, _) in TENANTS {
            kubectl.apply(tenant, &applications_of(tenant));
        }
        for (tenant, _) in TENANTS {
            let deployments = kubectl.ok(&format!("--namespace {tenant} get deployments -o name"));
            for deployment in deployments.lines() {
                let name = deployment.rsplit('/').next().unwrap_or_default();
                kubectl.rolled_out(tenant, name);
            }
        }
        Self {
            cluster,
            admins: admins.to_vec(),
        }
    }

    /// The releases as this major makes them.
    #[must_use]
    pub fn releases(&self, major: &str) -> Releases<'_> {
        let tenants = self.admins.iter();
        Releases {
            cluster: &self.cluster,
            administrator: Helm::of_administrator(major, &self.cluster),
            tenants: tenants
                .map(|(tenant, kubeconfig)| (*tenant, Helm::new(major, kubeconfig)))
                .collect(),
        }
    }
}

// === impl Releases ===

impl Releases<'_> {
    /// Each of them, the cluster release first.
    #[must_use]
    pub fn all(&self) -> Vec<Release<'_>> {
        let cluster = Release {
            namespace: CLUSTER_NAMESPACE,
            name: CLUSTER_RELEASE,
            helm: &self.administrator,
            values: cluster_values(),
        };
        let of_tenant = |(namespace, helm)| Release {
            namespace,
            name: RELEASE,
            helm,
            values: tenant_values(self.cluster),
        };
        let tenants = self.tenants.iter().map(|(tenant, helm)| (*tenant, helm));
        std::iter::once(cluster)
            .chain(tenants.map(of_tenant))
            .collect()
    }

    /// Where the world outside comes in.
    #[must_use]
    pub fn front(&self) -> SocketAddr {
        let address = self
            .cluster
            .load_balancer(CLUSTER_NAMESPACE, CLUSTER_RELEASE);
        (address, 80).into()
    }

    /// Waits until an application answers at the front door.
    ///
    /// # Panics
    /// When it does not in time, or somebody else does.
    pub fn until_answered(&self, tenant: &str, application: &str) {
        until_answered_at(
            self.front(),
            &host(tenant, application),
            tenant,
            application,
        );
    }

    /// Names of all ready pods of all tiers.
    #[must_use]
    pub fn pods(&self) -> Vec<String> {
        let all = self.all().into_iter();
        let pods = all.flat_map(|release| {
            let selector = format!("app.kubernetes.io/instance={}", release.name);
            self.cluster.ready_pods(release.namespace, &selector)
        });
        pods.map(|(name, _)| name).collect()
    }

    /// A load on both tiers, through the front door.
    #[must_use]
    pub fn target(&self) -> Target {
        Target {
            address: self.front(),
            host: host("openstack", "keystone"),
            path: "/load".to_owned(),
            is_tls: false,
        }
    }
}

// === impl Release ===

impl Release<'_> {
    /// Runs a command of helm about it.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok(&self, command: &str, arguments: &str) -> String {
        let Self {
            namespace, name, ..
        } = self;
        let line = format!("{command} {name} --namespace {namespace} {arguments}");
        self.helm.ok(&line, "")
    }

    /// Installs it, with further values, and waits until all of it is ready.
    ///
    /// # Panics
    /// When it fails.
    pub fn install(&self, further: &str) -> String {
        let values = format!("{}{further}\n", self.values);
        self.helm.install(self.name, self.namespace, "", &values)
    }

    /// Upgrades it to its values and further ones, and waits until all of it is ready.
    ///
    /// # Panics
    /// When it fails.
    pub fn upgrade(&self, further: &str) -> String {
        let values = format!("{}{further}\n", self.values);
        self.helm.upgrade(self.name, self.namespace, "", &values)
    }
}

/// Waits until an application answers for a host at an address.
///
/// # Panics
/// When it does not in time, or somebody else does.
pub fn until_answered_at(at: SocketAddr, host: &str, tenant: &str, application: &str) {
    wait::until(
        &format!("{host} answers at {at}"),
        wait::CHANGE_SECONDS,
        || {
            let response =
                fetch(at, &Request::get(host, "/v3")).map_err(|error| error.to_string())?;
            let seen = format!("{} {}", response.status, response.text());
            wait::seen(response.status == 200, seen)?;
            assert_eq!(response.echo("namespace"), tenant, "{host}");
            let pod = response.echo("pod");
            assert!(pod.starts_with(application), "{host}: {pod}");
            Ok(())
        },
    );
}

/// Kills the process of a tier that listens at an address of a pod, as a fault would.
///
/// # Panics
/// When there is none, or more than one.
pub fn kill_tier_at(address: &str) {
    let mark = format!("={address}:");
    // Another cluster of this machine may use the same addresses, in a network of its own.
    let network = |process: &Path| std::fs::read_link(process.join("ns/net")).ok();
    let ours = network(Path::new("/proc/self"));
    let processes = std::fs::read_dir("/proc").expect("Linux has it");
    let ids = processes.flatten().filter_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let words = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words = String::from_utf8_lossy(&words).into_owned();
        let program = words.split('\0').next()?.rsplit('/').next()?;
        let is_it = program.starts_with("tiergate-") && words.contains(&mark);
        (is_it && network(&entry.path()) == ours).then_some(id)
    });
    let ids: Vec<u32> = ids.collect();
    let [id] = ids[..] else {
        panic!("not one tier at {address}: {ids:?}");
    };
    let killed = Command::new("kill")
        .args(["-KILL", &id.to_string()])
        .status();
    assert!(killed.expect("kill runs").success(), "process {id}");
}
