//! Who installs our releases: accounts with the rights of `deploy/rbac` and no others.
//!
//! In: a bare cluster. Out: kubeconfigs of an installer of the cluster release, and of installers of namespace releases, with the names
//! that the audit log knows them by.

use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::helm::CLUSTER_NAMESPACE;
use crate::repository;

/// An account that installs.
#[derive(Debug, Clone)]
pub struct Installer {
    /// Its kubeconfig.
    pub kubeconfig: PathBuf,
    /// What the API server calls it.
    pub user: String,
}

/// Name of the ServiceAccount of every installer.
const ACCOUNT: &str = "deployer";

// === impl Cluster ===

impl Cluster {
    /// Somebody who may install the cluster release, with Secrets read in this namespace too, as `deploy/rbac/README.md` says.
    ///
    /// # Panics
    /// When the roles are not taken.
    #[must_use]
    pub fn cluster_installer(&self, secret_namespace: &str) -> Installer {
        let installer = self.account(CLUSTER_NAMESPACE);
        self.apply_roles("cluster-installer.yaml");
        self.kubectl().ok(&format!(
            "create clusterrolebinding tiergate-installer --clusterrole=tiergate-cluster-installer --serviceaccount={CLUSTER_NAMESPACE}:{ACCOUNT}"
        ));
        for (namespace, role) in [
            (CLUSTER_NAMESPACE, "release"),
            (CLUSTER_NAMESPACE, "secrets"),
            (secret_namespace, "secrets"),
        ] {
            self.bind(
                namespace,
                &format!("tiergate-cluster-installer-{role}"),
                CLUSTER_NAMESPACE,
            );
        }
        installer
    }

    /// Somebody who may install a namespace release in this namespace.
    ///
    /// # Panics
    /// When the role is not taken.
    #[must_use]
    pub fn namespace_installer(&self, namespace: &str) -> Installer {
        self.apply_roles("namespace-installer.yaml");
        let installer = self.account(namespace);
        self.bind(namespace, "tiergate-namespace-installer", namespace);
        installer
    }

    /// Somebody with a role of the API server's own in this namespace, such as `admin`.
    ///
    /// # Panics
    /// When it cannot be bound.
    #[must_use]
    pub fn holder_of(&self, role: &str, namespace: &str) -> Installer {
        let installer = self.account(namespace);
        self.bind(namespace, role, namespace);
        installer
    }

    fn account(&self, namespace: &str) -> Installer {
        self.kubectl().ok(&format!(
            "--namespace {namespace} create serviceaccount {ACCOUNT}"
        ));
        Installer {
            kubeconfig: self.kubeconfig_of(namespace, ACCOUNT),
            user: format!("system:serviceaccount:{namespace}:{ACCOUNT}"),
        }
    }

    fn bind(&self, namespace: &str, role: &str, account_namespace: &str) {
        self.kubectl().ok(&format!(
            "--namespace {namespace} create rolebinding {role} --clusterrole={role} --serviceaccount={account_namespace}:{ACCOUNT}"
        ));
    }

    fn apply_roles(&self, file: &str) {
        let path = repository::root().join("deploy/rbac").join(file);
        self.kubectl()
            .ok(&format!("apply --filename {}", path.display()));
    }
}
