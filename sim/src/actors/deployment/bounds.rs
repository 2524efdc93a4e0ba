//! How many pods a roll-out may have too many, and too few.
//!
//! Pure.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// What a strategy allows, in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// More pods than asked for.
    pub(crate) surge_max: i32,
    /// Fewer available pods than asked for.
    pub(crate) unavailable_max: i32,
}

#[derive(Clone, Copy)]
enum Round {
    Up,
    Down,
}

// === impl Bounds ===

impl Bounds {
    /// The bounds of a Deployment; `Recreate` allows neither.
    pub(crate) fn of(deployment: &Deployment) -> Self {
        let none = Self {
            surge_max: 0,
            unavailable_max: 0,
        };
        if !is_rolling(deployment) {
            return none;
        }
        let rolling = deployment
            .spec
            .strategy
            .as_ref()
            .and_then(|strategy| strategy.rolling_update.as_ref());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        Self::resolve(surge, unavailable, replicas(deployment))
    }

    /// A share of the replicas is rounded up for the surge and down for the unavailable, and when nothing is left of
    /// either, one pod may be unavailable: otherwise the roll-out could never move.
    fn resolve(
        surge: Option<&IntOrString>,
        unavailable: Option<&IntOrString>,
        replicas: i32,
    ) -> Self {
        let surge_max = pods(surge, replicas, Round::Up);
        let unavailable_max = pods(unavailable, replicas, Round::Down);
        let unavailable_max = if surge_max == 0 && unavailable_max == 0 {
            1
        } else {
            unavailable_max
        };
        Self {
            surge_max,
            unavailable_max: unavailable_max.min(replicas),
        }
    }
}

/// Whether pods are replaced step by step.
pub(crate) fn is_rolling(deployment: &Deployment) -> bool {
    let strategy = deployment
        .spec
        .strategy
        .as_ref()
        .and_then(|strategy| strategy.type_.as_deref());
    strategy != Some("Recreate")
}

/// The replicas that are asked for.
pub(crate) fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1)
}

fn pods(value: Option<&IntOrString>, replicas: i32, round: Round) -> i32 {
    let percent = match value {
        Some(IntOrString::Int(pods)) => return *pods,
        Some(IntOrString::String(text)) => text
            .strip_suffix('%')
            .and_then(|number| number.parse::<i64>().ok())
            .unwrap_or(0),
        None => 25,
    };
    let parts = percent * i64::from(replicas);
    let pods = match round {
        Round::Up => (parts + 99).div_euclid(100),
        Round::Down => parts.div_euclid(100),
    };
    i32::try_from(pods).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_up_for_the_surge_and_down_for_the_unavailable() {
        let percent = |text: &str| IntOrString::String(text.into());
        let cases = [
            (percent("25%"), percent("25%"), 10, (3, 2)),
            (percent("25%"), percent("25%"), 4, (1, 1)),
            (percent("25%"), percent("25%"), 3, (1, 0)),
            (percent("25%"), percent("25%"), 2, (1, 0)),
            (percent("25%"), percent("25%"), 1, (1, 0)),
            (percent("25%"), percent("25%"), 0, (0, 0)),
            (percent("0%"), percent("0%"), 10, (0, 1)),
            (percent("1%"), percent("0%"), 1000, (10, 0)),
            (percent("100%"), percent("100%"), 3, (3, 3)),
            (IntOrString::Int(0), IntOrString::Int(1), 10, (0, 1)),
            (IntOrString::Int(0), IntOrString::Int(5), 3, (0, 3)),
            (IntOrString::Int(2), percent("33%"), 10, (2, 3)),
        ];
        for (surge, unavailable, replicas, (surge_max, unavailable_max)) in cases {
            let bounds = Bounds::resolve(Some(&surge), Some(&unavailable), replicas);
            let expected = Bounds {
                surge_max,
                unavailable_max,
            };
            assert_eq!(bounds, expected, "{surge:?} {unavailable:?} of {replicas}");
        }
    }

    #[test]
    fn a_missing_strategy_is_a_rolling_one_of_a_quarter() {
        let bounds = Bounds::resolve(None, None, 10);
        assert_eq!((bounds.surge_max, bounds.unavailable_max), (3, 2));
    }
}
