//! Under which names the parts of a control plane show themselves to its API server.
//!
//! In: which part it is. Out: user, groups, `User-Agent` and field manager, those that a real control plane has whose
//! controller manager runs with `--use-service-account-credentials`. What an account may do is for the server to say.
//!
//! Pure.

/// The version that the parts call themselves: that of the control plane whose behaviour was recorded.
const VERSION: &str = "v1.36.3 (linux/amd64) kubernetes";

/// One part of the control plane, or the kubelet of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// What the controllers share: their watches.
    ControllerManager,
    /// One controller, by the name of its ServiceAccount, such as `deployment-controller`.
    Controller(&'static str),
    /// The scheduler.
    Scheduler,
    /// The kubelet of the node with this name.
    Kubelet(String),
    /// The service proxy of the nodes.
    ServiceProxy,
}

// === impl Account ===

impl Account {
    /// The user's name in the request log.
    #[must_use]
    pub fn user(&self) -> String {
        match self {
            Self::ControllerManager => "system:kube-controller-manager".to_owned(),
            Self::Controller(name) => format!("system:serviceaccount:kube-system:{name}"),
            Self::Scheduler => "system:kube-scheduler".to_owned(),
            Self::Kubelet(node) => format!("system:node:{node}"),
            Self::ServiceProxy => "system:kube-proxy".to_owned(),
        }
    }

    /// The user's groups, without the one of everybody who is known.
    #[must_use]
    pub fn groups(&self) -> &'static [&'static str] {
        match self {
            Self::ControllerManager | Self::Scheduler | Self::ServiceProxy => &[],
            Self::Controller(_) => &[
                "system:serviceaccounts",
                "system:serviceaccounts:kube-system",
            ],
            Self::Kubelet(_) => &["system:nodes"],
        }
    }

    /// The name in `managedFields`.
    #[must_use]
    pub fn field_manager(&self) -> &'static str {
        match self {
            Self::ControllerManager | Self::Controller(_) => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet(_) => "kubelet",
            Self::ServiceProxy => "kube-proxy",
        }
    }

    /// The `User-Agent`.
    #[must_use]
    pub fn agent(&self) -> String {
        let program = self.field_manager();
        match self {
            Self::ControllerManager => format!("{program}/{VERSION}/shared-informers"),
            Self::Controller(_) => format!("{program}/{VERSION}/{}", self.user()),
            Self::Scheduler => format!("{program}/{VERSION}/scheduler"),
            Self::Kubelet(_) | Self::ServiceProxy => format!("{program}/{VERSION}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_told_apart_by_its_user_and_not_by_its_field_manager() {
        let cases = [
            (
                Account::ControllerManager,
                "system:kube-controller-manager",
                "kube-controller-manager",
            ),
            (
                Account::Controller("node-controller"),
                "system:serviceaccount:kube-system:node-controller",
                "kube-controller-manager",
            ),
            (
                Account::Scheduler,
                "system:kube-scheduler",
                "kube-scheduler",
            ),
            (
                Account::Kubelet("node-1".to_owned()),
                "system:node:node-1",
                "kubelet",
            ),
            (Account::ServiceProxy, "system:kube-proxy", "kube-proxy"),
        ];
        for (account, user, manager) in cases {
            assert_eq!(
                (account.user().as_str(), account.field_manager()),
                (user, manager)
            );
            let agent = account.agent();
            assert!(agent.starts_with(&format!("{manager}/v1.36.3 ")), "{agent}");
        }
    }
}
