//! Rolling update and re-creation: how far the new set may grow and the old ones must shrink.
//!
//! The rule of the real controller: never more than `replicas + surge_max` pods wanted, and old pods go only as far as
//! enough pods are available; unhealthy old pods go first, because they serve nobody. Pure.

use super::super::{owner, pod};
use super::bounds;
use super::template;
use super::work::{Set, Work};

/// One step of a rolling update: grows the new set, or else shrinks the old ones.
pub(crate) fn rolling(work: &mut Work<'_>) {
    if work.new.is_none() {
        template::create_new(work, size_of_new);
    }
    let Some(new) = work.new else { return };
    let size = size_of_new(work);
    if work.resize(new, size) {
        return;
    }
    shrink_old(work);
}

/// One step of a re-creation: all old pods go, and only when none of them runs any more the new ones come.
pub(crate) fn recreate(work: &mut Work<'_>) {
    let mut has_shrunk = false;
    for old in work.old() {
        if work.sets[old].wanted() != 0 {
            has_shrunk |= work.resize(old, 0);
        }
    }
    if has_shrunk || old_pods_run(work) {
        return;
    }
    match work.new {
        None => template::create_new(work, size_of_new),
        Some(new) => {
            work.resize(new, work.replicas);
        }
    }
}

/// How many pods the new set may have.
pub(crate) fn size_of_new(work: &Work<'_>) -> i32 {
    let Some(new) = work.new else { return 0 };
    let present = work.sets[new].wanted();
    if !bounds::is_rolling(&work.deployment) || present >= work.replicas {
        return work.replicas;
    }
    let room = work.replicas + work.bounds.surge_max - work.sum(Set::wanted);
    present + room.clamp(0, work.replicas - present)
}

fn shrink_old(work: &mut Work<'_>) {
    let old = work.old();
    if old.iter().all(|index| work.sets[*index].wanted() == 0) {
        return;
    }
    let Some(new) = work.new else { return };
    let least = work.replicas - work.bounds.unavailable_max;
    let new_unavailable = work.sets[new].wanted() - work.sets[new].safe();
    let spare = work.sum(Set::wanted) - least - new_unavailable;
    if spare <= 0 {
        return;
    }
    let mut left = spare;
    for index in &old {
        let set = &work.sets[*index];
        let unhealthy = (set.wanted() - set.safe()).min(left);
        if unhealthy > 0 {
            left -= unhealthy;
            let size = set.wanted() - unhealthy;
            work.resize(*index, size);
        }
    }
    let mut left = work.sum(Set::safe) - least;
    for index in &old {
        let gone = work.sets[*index].wanted().min(left);
        if gone <= 0 {
            continue;
        }
        left -= gone;
        let size = work.sets[*index].wanted() - gone;
        work.resize(*index, size);
    }
}

fn old_pods_run(work: &Work<'_>) -> bool {
    let old = work.old();
    if old.iter().any(|index| work.sets[*index].actual() > 0) {
        return true;
    }
    let is_old = |uid: &str| {
        old.iter()
            .any(|index| work.sets[*index].object.metadata.uid.as_deref() == Some(uid))
    };
    work.pods.iter().any(|pod| {
        !pod::is_finished(pod)
            && owner::controller_of(&pod.metadata).is_some_and(|owner| is_old(&owner.uid))
    })
}
