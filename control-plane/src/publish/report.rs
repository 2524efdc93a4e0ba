//! Tells the log which conditions came and went.

use crate::translate::condition::Condition;

/// Lines of one publication; the rest is counted, and `/debug/model` has them all.
const LINES_MAX: usize = 100;

/// Logs each condition once when it comes and once when it goes. Both lists are sorted.
pub(super) fn log_difference(before: &[Condition], after: &[Condition]) {
    let is_new = |condition: &&Condition| before.binary_search(condition).is_err();
    let is_gone = |condition: &&Condition| after.binary_search(condition).is_err();
    for new in after.iter().filter(is_new).take(LINES_MAX) {
        tracing::warn!(
            object = %new.object,
            field = %new.field,
            reason = new.reason.as_str(),
            detail = %new.message,
            "condition"
        );
    }
    for gone in before.iter().filter(is_gone).take(LINES_MAX) {
        tracing::info!(
            object = %gone.object,
            field = %gone.field,
            reason = gone.reason.as_str(),
            "condition is gone"
        );
    }
    let more = after
        .iter()
        .filter(is_new)
        .count()
        .saturating_sub(LINES_MAX);
    if more > 0 {
        tracing::warn!(
            more,
            reason = "too_many_conditions",
            "further conditions are in /debug/model"
        );
    }
}
