//! Whether what a pod requests is left on a node.
//!
//! A node that does not say what it has is taken to have enough. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::api::schema::quantity::nano_units;

/// Pods of one node, when it does not say how many it takes.
const PODS_MAX_DEFAULT: i128 = 110;

/// Thousandths, by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts(BTreeMap<String, i128>);

/// Something that a node has not enough of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    Pods,
    Of {
        resource: String,
        /// Whether the node has enough, but others have it.
        is_taken: bool,
    },
}

// === impl Amounts ===

impl Amounts {
    /// What a pod requests: all containers together, or its largest init container if that is more.
    pub(crate) fn of_pod(spec: &PodSpec) -> Self {
        let mut sum = Self::default();
        for container in &spec.containers {
            sum.add(&Self::of_container(container));
        }
        let (mut sidecars, mut at_start) = (Self::default(), Self::default());
        for container in spec.init_containers.iter().flatten() {
            let own = Self::of_container(container);
            if container.restart_policy.as_deref() == Some("Always") {
                sidecars.add(&own);
                at_start.raise_to(&sidecars);
            } else {
                let mut meanwhile = sidecars.clone();
                meanwhile.add(&own);
                at_start.raise_to(&meanwhile);
            }
        }
        sum.add(&sidecars);
        sum.raise_to(&at_start);
        sum.add(&Self::read(spec.overhead.as_ref()));
        sum
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (resource, amount) in &other.0 {
            *self.0.entry(resource.clone()).or_default() += amount;
        }
    }

    /// What a node with `pods` pods, which request `taken`, has not enough of.
    pub(crate) fn shortages(
        &self,
        pods: usize,
        taken: &Self,
        allocatable: Option<&BTreeMap<String, Quantity>>,
    ) -> Vec<Shortage> {
        let has = Self::read(allocatable);
        let mut shortages = Vec::new();
        let pods_max = has.0.get("pods").map_or(PODS_MAX_DEFAULT, |max| max / 1000);
        if i128::try_from(pods).is_ok_and(|pods| pods + 1 > pods_max) {
            shortages.push(Shortage::Pods);
        }
        if allocatable.is_none() {
            return shortages;
        }
        for (resource, wanted) in self.0.iter().filter(|(_, wanted)| **wanted > 0) {
            // Nothing here limits CPU and memory of nodes that do not tell them.
            let is_basic = matches!(resource.as_str(), "cpu" | "memory" | "ephemeral-storage");
            let has = has.0.get(resource).copied();
            if has.is_none() && is_basic {
                continue;
            }
            let has = has.unwrap_or(0);
            let taken = taken.0.get(resource).copied().unwrap_or(0);
            if *wanted > has - taken {
                shortages.push(Shortage::Of {
                    resource: resource.clone(),
                    is_taken: *wanted <= has,
                });
            }
        }
        shortages
    }

    fn of_container(container: &Container) -> Self {
        let resources = container.resources.as_ref();
        Self::read(resources.and_then(|resources| resources.requests.as_ref()))
    }

    fn read(quantities: Option<&BTreeMap<String, Quantity>>) -> Self {
        let amounts = quantities
            .into_iter()
            .flatten()
            .filter_map(|(resource, quantity)| Some((resource.clone(), thousandths(&quantity.0)?)));
        Self(amounts.collect())
    }

    fn raise_to(&mut self, other: &Self) {
        for (resource, amount) in &other.0 {
            let own = self.0.entry(resource.clone()).or_default();
            *own = (*own).max(*amount);
        }
    }
}

// === impl Shortage ===

impl Shortage {
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Pods => "Too many pods".into(),
            Self::Of { resource, .. } => format!("Insufficient {resource}"),
        }
    }

    /// Whether fewer pods on the node would help.
    pub(crate) fn is_for_pods(&self) -> bool {
        match self {
            Self::Pods => true,
            Self::Of { is_taken, .. } => *is_taken,
        }
    }
}

/// In thousandths, rounded up; none when it is no quantity.
fn thousandths(quantity: &str) -> Option<i128> {
    let nano = nano_units(quantity).ok()?;
    Some((nano + 999_999).div_euclid(1_000_000))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn amounts(spec: &Value) -> Amounts {
        Amounts::of_pod(&serde_json::from_value(spec.clone()).unwrap())
    }

    fn cpu(name: &str, cpu: &str) -> Value {
        json!({ "name": name, "resources": { "requests": { "cpu": cpu } } })
    }

    #[test]
    fn a_pod_requests_what_its_containers_need_at_the_same_time() {
        let mut sidecar = cpu("sidecar", "100m");
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({
            "containers": [cpu("a", "200m"), cpu("b", "300m")],
            "initContainers": [cpu("early", "550m"), sidecar, cpu("late", "450m")],
        });
        assert_eq!(amounts(&spec).0["cpu"], 600);
        let spec =
            json!({ "containers": [cpu("a", "200m")], "initContainers": [cpu("early", "550m")] });
        assert_eq!(amounts(&spec).0["cpu"], 550);
    }

    #[test]
    fn what_others_took_is_missing_and_what_a_node_never_had_stays_missing() {
        let has: BTreeMap<String, Quantity> =
            serde_json::from_value(json!({ "cpu": "1", "pods": "2" })).unwrap();
        let wanted = amounts(&json!({ "containers": [cpu("a", "600m")] }));
        let reasons = |pods, taken: &Amounts| {
            let shortages = wanted.shortages(pods, taken, Some(&has));
            let reasons = shortages
                .iter()
                .map(|shortage| (shortage.reason(), shortage.is_for_pods()));
            reasons.collect::<Vec<_>>()
        };
        assert_eq!(reasons(0, &Amounts::default()), []);
        assert_eq!(
            reasons(2, &wanted),
            [
                ("Too many pods".to_owned(), true),
                ("Insufficient cpu".to_owned(), true)
            ]
        );
        let large = amounts(&json!({ "containers": [cpu("a", "2")] }));
        let shortages = large.shortages(0, &Amounts::default(), Some(&has));
        assert!(!shortages[0].is_for_pods());
        let device = json!({ "containers": [{ "name": "a", "resources": { "requests": { "example.com/gpu": "1" } } }] });
        let shortages = amounts(&device).shortages(0, &Amounts::default(), Some(&has));
        assert_eq!(shortages[0].reason(), "Insufficient example.com/gpu");
    }
}
