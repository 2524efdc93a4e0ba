//! How a container is looked after while it runs: its probes and its hooks. Pure.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Probe};

use super::probe::{Check, Schedule, Unusable};

/// The probes and hooks of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Care {
    pub(super) startup: Option<Watch>,
    pub(super) liveness: Option<Watch>,
    pub(super) readiness: Option<Watch>,
    pub(super) post_start: Option<Hook>,
    pub(super) pre_stop: Option<Hook>,
}

/// A probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watch {
    pub(super) check: Check,
    pub(super) schedule: Schedule,
    /// How long the container may take to end when this probe ends it. None: as long as the pod says.
    pub(super) grace: Option<Duration>,
}

/// What is done at the begin or at the end of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hook {
    Sleep(Duration),
    Do(Check),
}

// === impl Care ===

impl Care {
    /// Reads it from the container.
    pub(super) fn of(container: &Container) -> Result<Self, Unusable> {
        let watch = |probe: &Option<Probe>| {
            let watch = |probe: &Probe| Watch::of(probe, container);
            probe.as_ref().map(watch).transpose()
        };
        let lifecycle = container.lifecycle.as_ref();
        let hook = |hook: Option<&LifecycleHandler>| {
            let hook_of = |hook: &LifecycleHandler| Hook::of(hook, container);
            hook.map(hook_of).transpose()
        };
        Ok(Self {
            startup: watch(&container.startup_probe)?,
            liveness: watch(&container.liveness_probe)?,
            readiness: watch(&container.readiness_probe)?,
            post_start: hook(lifecycle.and_then(|lifecycle| lifecycle.post_start.as_ref()))?,
            pre_stop: hook(lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref()))?,
        })
    }
}

// === impl Watch ===

impl Watch {
    fn of(probe: &Probe, container: &Container) -> Result<Self, Unusable> {
        let grace = probe.termination_grace_period_seconds;
        Ok(Self {
            check: Check::of(probe, container)?,
            schedule: Schedule::of(probe),
            grace: grace.map(seconds),
        })
    }
}

// === impl Hook ===

impl Hook {
    fn of(hook: &LifecycleHandler, container: &Container) -> Result<Self, Unusable> {
        match &hook.sleep {
            Some(sleep) => Ok(Self::Sleep(seconds(sleep.seconds))),
            None => Ok(Self::Do(Check::of_hook(hook, container)?)),
        }
    }
}

/// A negative number counts as none.
pub(super) fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn probes_and_hooks_are_read_from_the_container() {
        let container = serde_json::from_value(json!({
            "name": "web",
            "livenessProbe": {
                "exec": {"command": ["true"]},
                "periodSeconds": 2,
                "terminationGracePeriodSeconds": 7,
            },
            "lifecycle": {
                "postStart": {"httpGet": {"port": 80}},
                "preStop": {"sleep": {"seconds": 3}},
            },
        }))
        .unwrap();
        let care = Care::of(&container).unwrap();
        let liveness = care.liveness.unwrap();
        assert_eq!(liveness.check, Check::Exec(vec!["true".to_owned()]));
        assert_eq!(liveness.schedule.period, Duration::from_secs(2));
        assert_eq!(liveness.grace, Some(Duration::from_secs(7)));
        assert_eq!((care.startup, care.readiness), (None, None));
        assert!(matches!(care.post_start, Some(Hook::Do(Check::Http(_)))));
        assert_eq!(care.pre_stop, Some(Hook::Sleep(Duration::from_secs(3))));
    }

    #[test]
    fn a_hook_that_does_nothing_is_refused() {
        let container = serde_json::from_value(json!({
            "name": "web",
            "lifecycle": {"postStart": {}},
        }))
        .unwrap();
        assert_eq!(Care::of(&container), Err(Unusable::Kind));
    }
}
