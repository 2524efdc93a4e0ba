//! How each Ingress stands: for whoever writes statuses. Kept only while somebody does.

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use super::{Handle, Progress, State, lock};
use crate::objects::Kind;
use crate::objects::ingress::Told;
use crate::scope::ObjectName;
use crate::translate::condition::{Condition, ObjectReference};

/// How an Ingress stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) name: ObjectName,
    /// What it tells of itself.
    pub(crate) told: Told,
    /// It is one of those that are served, or would be.
    pub(crate) is_ours: bool,
    /// Some rule of it is in the table.
    pub(crate) is_served: bool,
    /// What is wrong with it.
    pub(crate) conditions: Vec<Condition>,
}

/// What has changed since it was asked for last.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) standings: Vec<Standing>,
    /// Conditions that came, of whatever object.
    pub(crate) came: Vec<Condition>,
    pub(crate) gone: BTreeSet<Condition>,
    /// Who has reached this has all of it in his table.
    pub(crate) needed: Progress,
    /// There is more than was asked for.
    pub(crate) has_more: bool,
}

/// What was not looked at yet. It holds no more than there are objects and conditions.
#[derive(Debug, Default)]
pub(super) struct Unreported {
    pub(super) ingresses: BTreeSet<Arc<ObjectName>>,
    came: BTreeSet<Condition>,
    gone: BTreeSet<Condition>,
}

// === impl Unreported ===

impl Unreported {
    pub(super) fn followed(
        &mut self,
        looked_at: &BTreeSet<Arc<ObjectName>>,
        came: Vec<Condition>,
        gone: &[Condition],
    ) {
        self.ingresses.extend(looked_at.iter().cloned());
        for condition in gone {
            if !self.came.remove(condition) {
                self.gone.insert(condition.clone());
            }
        }
        for condition in came {
            self.gone.remove(&condition);
            self.came.insert(condition);
        }
    }
}

// === impl Handle ===

impl Handle {
    /// From now on it is kept what has changed; at first, that is everything.
    pub(crate) fn begin_report(&self) {
        let mut state = lock(&self.state);
        state.unreported = Some(Unreported {
            ingresses: state.objects.ingresses().keys().cloned().collect(),
            came: state.increment.conditions().cloned().collect(),
            gone: BTreeSet::new(),
        });
    }

    /// Nobody asks any more.
    pub(crate) fn end_report(&self) {
        lock(&self.state).unreported = None;
    }

    /// All Ingresses are to be looked at again.
    pub(crate) fn report_again(&self) {
        let mut state = lock(&self.state);
        let State {
            objects,
            unreported,
            ..
        } = &mut *state;
        if let Some(unreported) = unreported {
            unreported
                .ingresses
                .extend(objects.ingresses().keys().cloned());
        }
    }

    /// This Ingress is to be looked at again.
    pub(crate) fn look_again(&self, name: ObjectName) {
        if let Some(unreported) = &mut lock(&self.state).unreported {
            unreported.ingresses.insert(Arc::new(name));
        }
    }

    /// The `metadata.uid` of an object, as far as it is kept.
    pub(crate) fn uid_of(&self, object: &ObjectReference) -> Option<Uuid> {
        if object.kind != Kind::Ingress {
            return None;
        }
        let state = lock(&self.state);
        state.objects.ingresses().get(&object.name)?.told.uid
    }

    /// What the published table is made of, at this moment.
    pub(crate) fn reached(&self) -> Progress {
        lock(&self.state).programmed.reached
    }

    /// What has changed since, of so many Ingresses at most.
    pub(crate) fn report(&self, ingresses_max: usize) -> News {
        let mut state = lock(&self.state);
        let State {
            objects,
            increment,
            programmed,
            unreported,
            ..
        } = &mut *state;
        let Some(unreported) = unreported else {
            return News::default();
        };
        let mut news = News {
            came: std::mem::take(&mut unreported.came).into_iter().collect(),
            gone: std::mem::take(&mut unreported.gone),
            needed: programmed.needed,
            ..News::default()
        };
        while news.standings.len() < ingresses_max
            && let Some(name) = unreported.ingresses.pop_first()
        {
            // What is gone has no status any more.
            let Some(ingress) = objects.ingresses().get(&name) else {
                continue;
            };
            news.standings.push(Standing {
                told: ingress.told,
                is_ours: increment.is_ours(&name),
                is_served: increment.is_served(&name),
                conditions: increment.conditions_of(&name).to_vec(),
                name: (*name).clone(),
            });
        }
        news.has_more = !unreported.ingresses.is_empty();
        news
    }
}
