//! Tells the log which conditions came and went.

use std::collections::BTreeSet;

use crate::translate::condition::Condition;

/// Lines of one publication; the rest is counted, and `/debug/model` has them all.
const LINES_MAX: usize = 100;

/// Logs each condition once when it comes and once when it goes.
pub(super) fn log_difference(gone: &[Condition], came: &[Condition]) {
    for new in came.iter().take(LINES_MAX) {
        tracing::warn!(
            object = %new.object,
            field = %new.field,
            reason = new.reason.as_str(),
            detail = %new.message,
            "condition"
        );
    }
    for gone in gone.iter().take(LINES_MAX) {
        tracing::info!(
            object = %gone.object,
            field = %gone.field,
            reason = gone.reason.as_str(),
            "condition is gone"
        );
    }
    let more = came.len().saturating_sub(LINES_MAX);
    if more > 0 {
        tracing::warn!(
            more,
            reason = "too_many_conditions",
            "further conditions are in /debug/model"
        );
    }
}

/// Says once for each namespace that its Secrets are named and may not be read.
pub(super) fn log_not_allowed(before: &BTreeSet<String>, after: &BTreeSet<String>) {
    for namespace in after.difference(before).take(LINES_MAX) {
        tracing::warn!(
            namespace,
            setting = "secret_namespaces",
            reason = "secret_not_allowed",
            "Secrets of this namespace are named and not read: name it in --secret-namespaces (in the chart: rbac.secretNamespaces)"
        );
    }
}
