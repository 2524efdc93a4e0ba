//! Scaling without a change of template: a change of `replicas`, also in the middle of a roll-out or a pause.
//!
//! In the middle of a rolling update the change is shared out over the sets in proportion to their sizes, so that the
//! state of the roll-out is kept. Pure.

use std::cmp::Reverse;

use super::bounds;
use super::work::{DESIRED_REPLICAS, Fate, MAX_REPLICAS, REVISION, Set, Work};

/// Whether `replicas` changed since the sets were last resized.
pub(crate) fn is_scaling(work: &Work<'_>) -> bool {
    let mut active = work.sets.iter().filter(|set| set.wanted() > 0);
    active.any(|set| {
        set.number(DESIRED_REPLICAS)
            .is_some_and(|desired| desired != i64::from(work.replicas))
    })
}

/// Resizes the sets after a change of `replicas`.
pub(crate) fn scale(work: &mut Work<'_>) {
    if let Some(only) = only_active_or_latest(work) {
        work.resize(only, work.replicas);
        return;
    }
    if is_saturated(work) {
        for old in work.old() {
            if work.sets[old].wanted() > 0 {
                work.resize(old, 0);
            }
        }
        return;
    }
    if bounds::is_rolling(&work.deployment) {
        share_out(work);
    }
}

/// The one set with pods; when none has any, the new one, or else the latest.
fn only_active_or_latest(work: &Work<'_>) -> Option<usize> {
    let active = active(work);
    match active.as_slice() {
        [] => work.new.or_else(|| work.old().last().copied()),
        [only] => Some(*only),
        _ => None,
    }
}

/// Whether the new set has all its pods, so that the old ones need none.
fn is_saturated(work: &Work<'_>) -> bool {
    work.new.map(|new| &work.sets[new]).is_some_and(|new| {
        new.wanted() == work.replicas
            && new.number(DESIRED_REPLICAS) == Some(i64::from(work.replicas))
            && new.available() == work.replicas
    })
}

fn share_out(work: &mut Work<'_>) {
    let mut active = active(work);
    let present: i32 = active.iter().map(|index| work.sets[*index].wanted()).sum();
    let allowed = if work.replicas > 0 {
        work.replicas + work.bounds.surge_max
    } else {
        0
    };
    let to_add = allowed - present;
    // The largest sets first; of equal ones the newest when growing, the oldest when shrinking.
    active.sort_by_key(|index| (Reverse(work.sets[*index].wanted()), *index));
    active.sort_by(|a, b| {
        let (a, b) = (&work.sets[*a], &work.sets[*b]);
        let by_age = if to_add > 0 {
            b.age_order().cmp(&a.age_order())
        } else {
            a.age_order().cmp(&b.age_order())
        };
        b.wanted().cmp(&a.wanted()).then(by_age)
    });
    let mut added = 0;
    let mut sizes = Vec::new();
    for index in &active {
        let set = &work.sets[*index];
        let part = part(work, set, to_add, added);
        added += part;
        sizes.push((*index, set.wanted() + part));
    }
    if let Some((_, size)) = sizes.first_mut() {
        *size = (*size + to_add - added).max(0);
    }
    for (index, size) in sizes {
        work.resize(index, size);
    }
}

/// How many of `to_add` pods one set gets, when `added` are given away already.
fn part(work: &Work<'_>, set: &Set, to_add: i32, added: i32) -> i32 {
    if set.wanted() == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let share = share(work, set);
    let left = to_add - added;
    if to_add > 0 {
        share.min(left)
    } else {
        share.max(left)
    }
}

/// The change that keeps the set's share of the Deployment.
fn share(work: &Work<'_>, set: &Set) -> i32 {
    if work.replicas == 0 {
        return -set.wanted();
    }
    let before = set.number(MAX_REPLICAS).filter(|max| *max > 0).or_else(|| {
        let status = work.before.status.as_ref();
        status.and_then(|status| status.replicas).map(i64::from)
    });
    let Some(before) = before.filter(|before| *before > 0) else {
        return 0;
    };
    let scaled = i64::from(set.wanted()) * i64::from(work.replicas + work.bounds.surge_max);
    let rounded = (2 * scaled + before).div_euclid(2 * before);
    i32::try_from(rounded).unwrap_or(i32::MAX) - set.wanted()
}

/// Deletes the oldest sets without pods above the limit of the history.
pub(crate) fn trim_history(work: &mut Work<'_>) {
    let Some(limit) = work.deployment.spec.revision_history_limit else {
        return;
    };
    let mut old: Vec<usize> = work
        .old()
        .into_iter()
        .filter(|index| {
            work.sets[*index]
                .object
                .metadata
                .deletion_timestamp
                .is_none()
        })
        .collect();
    let surplus = old
        .len()
        .saturating_sub(usize::try_from(limit).unwrap_or(0));
    old.sort_by_key(|index| work.sets[*index].number(REVISION).unwrap_or(0));
    for index in old.into_iter().take(surplus) {
        let set = &mut work.sets[index];
        if set.actual() == 0 && set.wanted() == 0 && is_observed(set) {
            set.fate = Fate::Deleted;
        }
    }
}

fn is_observed(set: &Set) -> bool {
    let observed = set.object.status.as_ref();
    set.object.metadata.generation <= observed.and_then(|status| status.observed_generation)
}

fn active(work: &Work<'_>) -> Vec<usize> {
    (0..work.sets.len())
        .filter(|index| work.sets[*index].wanted() > 0)
        .collect()
}
