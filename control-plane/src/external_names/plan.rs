//! Which name is looked up next, and when, and what a result means for what is served. Pure.
//!
//! In: the names that are wanted, what came of each look-up, and the time. Out: the name whose turn it is, and a [`Resolution`]. An answer
//! holds for as long as it says, within bounds. What DNS says is so at once, also that there is no such name; while it
//! says nothing, the last good answer is kept for [`STALE_MAX`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use super::message::Answer;
use crate::model::external::ExternalName;
use crate::objects::resolution::{Resolution, Trouble};

/// An answer holds for this long at least, so that a zone with none costs no more than others.
pub(super) const TTL_MIN: Duration = Duration::from_secs(5);

/// And at most, so that an address that is gone is known to be.
pub(super) const TTL_MAX: Duration = Duration::from_secs(300);

/// When a name is not there, or has no address, it is asked for again after this.
pub(super) const NEGATIVE_TTL: Duration = Duration::from_secs(30);

/// While DNS does not answer: waits double from the first to the second.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// How long the last good answer is kept while DNS does not answer (RFC 8767 §5: one to three days).
pub(super) const STALE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Addresses of one name that are used.
pub(super) const ADDRESSES_MAX: usize = 64;

/// Names that are looked up, and of one namespace.
pub(super) const NAMES_MAX: usize = 1000;
pub(super) const PER_NAMESPACE_MAX: usize = 100;

/// The names and their turns.
#[derive(Debug, Default)]
pub(super) struct Plan {
    states: BTreeMap<ExternalName, State>,
}

#[derive(Debug)]
struct State {
    /// None while it is looked up.
    due: Option<Instant>,
    /// Look-ups in a row without an answer.
    failures: u32,
    /// The last good answer, and when it came.
    good: Option<(Instant, Resolution)>,
}

/// Sorts names into those that are looked up and those that are too many, by name within each namespace.
pub(super) fn admit(
    wanted: &BTreeSet<(String, ExternalName)>,
) -> (BTreeSet<ExternalName>, BTreeSet<ExternalName>) {
    let (mut admitted, mut refused) = (BTreeSet::new(), BTreeSet::new());
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (namespace, name) in wanted {
        let count = counts.entry(namespace).or_default();
        *count += 1;
        if admitted.contains(name) {
            continue;
        }
        if *count <= PER_NAMESPACE_MAX && admitted.len() < NAMES_MAX {
            admitted.insert(name.clone());
        } else {
            refused.insert(name.clone());
        }
    }
    refused.retain(|name| !admitted.contains(name));
    (admitted, refused)
}

// === impl Plan ===

impl Plan {
    /// Takes new names in, and gives those that are not wanted any more.
    pub(super) fn want(
        &mut self,
        names: &BTreeSet<ExternalName>,
        now: Instant,
    ) -> Vec<ExternalName> {
        let gone: Vec<ExternalName> = self
            .states
            .keys()
            .filter(|name| !names.contains(*name))
            .cloned()
            .collect();
        for name in &gone {
            self.states.remove(name);
        }
        for name in names {
            self.states.entry(name.clone()).or_insert(State {
                due: Some(now),
                failures: 0,
                good: None,
            });
        }
        gone
    }

    /// When the next name is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.states.values().filter_map(|state| state.due).min()
    }

    /// A name that is due, the one that has waited longest.
    pub(super) fn begin(&mut self, now: Instant) -> Option<ExternalName> {
        let due = self.states.iter().filter_map(|(name, state)| {
            let due = state.due.filter(|due| *due <= now)?;
            Some((due, name.clone()))
        });
        let (_, name) = due.min()?;
        if let Some(state) = self.states.get_mut(&name) {
            state.due = None;
        }
        Some(name)
    }

    /// What is known of a name after a look-up. None: nobody wants it any more.
    pub(super) fn done(
        &mut self,
        name: &ExternalName,
        answer: Option<Answer>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<Resolution> {
        let state = self.states.get_mut(name)?;
        let Some(answer) = answer else {
            let wait = RETRY_MIN.saturating_mul(1 << state.failures.min(6));
            state.failures = state.failures.saturating_add(1);
            state.due = Some(now + jittered(wait.min(RETRY_MAX), rng));
            let is_fresh = |(since, _): &(Instant, Resolution)| now - *since <= STALE_MAX;
            let kept = state.good.take_if(|good| is_fresh(good));
            let resolution = kept.as_ref().map(|(_, good)| good.clone());
            state.good = kept;
            return Some(Resolution {
                trouble: Some(Trouble::Unanswered),
                ..resolution.unwrap_or_default()
            });
        };
        state.failures = 0;
        let resolution = resolution(&answer);
        let holds = if resolution.trouble.is_some() {
            state.good = None;
            NEGATIVE_TTL
        } else {
            state.good = Some((now, resolution.clone()));
            answer.ttl.unwrap_or(TTL_MIN).clamp(TTL_MIN, TTL_MAX)
        };
        state.due = Some(now + jittered(holds, rng));
        Some(resolution)
    }
}

fn resolution(answer: &Answer) -> Resolution {
    let mut addresses = answer.addresses.clone();
    addresses.sort();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    let trouble = match (addresses.is_empty(), answer.is_missing) {
        (false, _) => None,
        (true, true) => Some(Trouble::NoSuchName),
        (true, false) => Some(Trouble::NoAddress),
    };
    Resolution {
        addresses,
        aliases: answer.aliases.clone(),
        trouble,
    }
}

/// Up to a tenth less, so that names that began together do not stay together.
fn jittered(time: Duration, rng: &mut impl Rng) -> Duration {
    time.mul_f64(1.0 - rng.random_range(0.0..0.1))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    use super::*;

    fn name(text: &str) -> ExternalName {
        ExternalName::parse(text, "shop").unwrap()
    }

    fn answer(address: &str, seconds: u64) -> Answer {
        Answer {
            addresses: vec![address.parse().unwrap()],
            ttl: Some(Duration::from_secs(seconds)),
            ..Answer::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_holds_for_as_long_as_it_says_within_bounds() {
        let mut rng = SmallRng::seed_from_u64(1);
        let (start, db) = (Instant::now(), name("db.example.com"));
        let mut plan = Plan::default();
        for (said, held) in [
            (60, Duration::from_secs(60)),
            (0, TTL_MIN),
            (86_400, TTL_MAX),
        ] {
            plan = Plan::default();
            plan.want(&[db.clone()].into(), start);
            assert_eq!(plan.begin(start), Some(db.clone()));
            assert_eq!((plan.begin(start), plan.next_due()), (None, None));
            let known = plan.done(&db, Some(answer("10.0.0.1", said)), start, &mut rng);
            assert_eq!(known.unwrap().trouble, None);
            let waits = plan.next_due().unwrap() - start;
            assert!(
                waits <= held && waits >= held.mul_f64(0.9),
                "{said}: {waits:?}"
            );
        }
        assert_eq!(
            plan.want(&BTreeSet::new(), start),
            std::slice::from_ref(&db)
        );
        assert_eq!(
            plan.done(&db, Some(answer("10.0.0.1", 1)), start, &mut rng),
            None
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_good_answer_is_kept_while_dns_is_silent_and_not_for_ever() {
        let mut rng = SmallRng::seed_from_u64(1);
        let (start, db) = (Instant::now(), name("db.example.com"));
        let mut plan = Plan::default();
        plan.want(&[db.clone()].into(), start);
        let good = plan.done(&db, Some(answer("10.0.0.1", 60)), start, &mut rng);
        let kept = Resolution {
            trouble: Some(Trouble::Unanswered),
            ..good.unwrap()
        };
        let mut now = start;
        for _ in 0..20 {
            now = plan.next_due().unwrap();
            assert_eq!(plan.begin(now), Some(db.clone()));
            assert_eq!(plan.done(&db, None, now, &mut rng), Some(kept.clone()));
            let waits = plan.next_due().unwrap() - now;
            assert!(waits <= RETRY_MAX, "{waits:?}");
        }
        now += STALE_MAX;
        let nothing = plan.done(&db, None, now, &mut rng).unwrap();
        assert!(nothing.addresses.is_empty());
        // What DNS says is so at once.
        let good = plan.done(&db, Some(answer("10.0.0.2", 60)), now, &mut rng);
        assert_eq!(good.unwrap().addresses.len(), 1);
        let missing = Answer {
            is_missing: true,
            ..Answer::default()
        };
        let gone = plan.done(&db, Some(missing), now, &mut rng).unwrap();
        assert_eq!(gone.trouble, Some(Trouble::NoSuchName));
        assert!(gone.addresses.is_empty());
        let silent = plan.done(&db, None, now, &mut rng).unwrap();
        assert!(silent.addresses.is_empty());
    }

    #[test]
    fn many_names_of_one_namespace_leave_room_for_others() {
        let of = |namespace: &str, count: usize| -> Vec<(String, ExternalName)> {
            let name = |number| name(&format!("n{number:04}.{namespace}.example"));
            (0..count)
                .map(|number| (namespace.to_owned(), name(number)))
                .collect()
        };
        let wanted: BTreeSet<_> = of("a", 500).into_iter().chain(of("b", 2)).collect();
        let (admitted, refused) = admit(&wanted);
        assert_eq!(
            (admitted.len(), refused.len()),
            (PER_NAMESPACE_MAX + 2, 400)
        );
        let many = (0..20).flat_map(|number| of(&format!("n{number:02}"), 100));
        let (admitted, refused) = admit(&many.collect());
        assert_eq!((admitted.len(), refused.len()), (NAMES_MAX, 1000));
    }
}
