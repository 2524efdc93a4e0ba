//! Keeps a store equal to the API: kube-runtime's watcher, with its hazards treated.
//!
//! A watch that says nothing for [`WATCH_TIMEOUT_SECONDS`] plus five seconds is dead and is started again. After
//! [`STARTS_FAILED_MAX`] failed starts the watcher is thrown away, because it would keep asking for the same version
//! for ever: the new one lists first. Delays between attempts are those that client-go's reflectors were recorded to have.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::watcher;
use kube::{Api, Resource};
use rand::Rng;
use rand::rngs::SmallRng;
use serde::de::DeserializeOwned;

use super::store::Store;

/// How long one watch request lives; the server ends it then and the watcher opens the next.
const WATCH_TIMEOUT_SECONDS: u32 = 30;

/// Failures in a row after which the watcher is rebuilt, which means a full list.
const STARTS_FAILED_MAX: u32 = 3;

const RETRY_DELAY_FIRST: Duration = Duration::from_millis(800);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);

/// What a watch reports.
pub(crate) enum Seen<K> {
    /// A full list.
    All(Vec<K>),
    /// An object that was added or changed.
    Applied(K),
    /// An object that was deleted, in its last state.
    Deleted(K),
}

/// The settings of every watch of the actors.
pub(crate) fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_TIMEOUT_SECONDS)
}

/// Fills `store` from `api`, without end.
pub(crate) async fn fill<K>(api: Api<K>, config: watcher::Config, store: &Store<K>, rng: SmallRng)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let kind = K::kind(&());
    follow(
        &kind,
        rng,
        || watcher(api.clone(), config.clone()),
        |seen| match seen {
            Seen::All(objects) => store.replace(objects),
            Seen::Applied(object) => store.apply(object),
            Seen::Deleted(object) => store.remove(&object),
        },
    )
    .await;
}

/// Runs the watchers that `start` makes, one after the other, and hands on what they see, without end.
pub(crate) async fn follow<K, S>(
    kind: &str,
    mut rng: SmallRng,
    start: impl Fn() -> S,
    mut see: impl FnMut(Seen<K>),
) where
    S: futures::Stream<Item = watcher::Result<watcher::Event<K>>> + Send,
{
    let mut failures = 0_u32;
    loop {
        let mut events = pin!(start());
        let mut listed = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(object)) => listed.push(object),
                Ok(watcher::Event::InitDone) => {
                    failures = 0;
                    see(Seen::All(std::mem::take(&mut listed)));
                }
                Ok(watcher::Event::Apply(object)) => {
                    failures = 0;
                    see(Seen::Applied(object));
                }
                Ok(watcher::Event::Delete(object)) => {
                    failures = 0;
                    see(Seen::Deleted(object));
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let delay = retry_delay(failures, &mut rng);
                    if failures == 1 {
                        // Once is ordinary life, such as the API server ending before us.
                        tracing::debug!(kind, %error, ?delay, "watch failed; trying again");
                    } else {
                        tracing::warn!(kind, %error, failures, ?delay, reason = "watch_failed", "watch failed; trying again");
                    }
                    tokio::time::sleep(delay).await;
                    if failures.is_multiple_of(STARTS_FAILED_MAX) {
                        break;
                    }
                }
            }
        }
    }
}

/// 0.8 s, doubled with each failure up to 30 s, and up to twice that at random, so that watches do not come back together.
fn retry_delay(failures: u32, rng: &mut SmallRng) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
    let base = RETRY_DELAY_FIRST
        .saturating_mul(doubled)
        .min(RETRY_DELAY_MAX);
    base.mul_f64(1.0 + rng.random::<f64>())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn retries_back_off_to_a_limit_and_are_spread() {
        let mut rng = SmallRng::seed_from_u64(1);
        for (failures, least, most) in [
            (1, 0.8, 1.6),
            (2, 1.6, 3.2),
            (6, 25.6, 51.2),
            (40, 30.0, 60.0),
        ] {
            let delay = retry_delay(failures, &mut rng).as_secs_f64();
            assert!((least..=most).contains(&delay), "{failures}: {delay}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_cannot_start_is_rebuilt_after_three_failures() {
        let starts = std::cell::Cell::new(0);
        let seen = std::cell::RefCell::new(Vec::new());
        let following = follow(
            "Pod",
            SmallRng::seed_from_u64(1),
            || {
                starts.set(starts.get() + 1);
                let broken = starts.get() == 1;
                futures::stream::iter(0..).then(move |step| async move {
                    match (broken, step) {
                        (true, _) => Err(watcher::Error::NoResourceVersion),
                        (false, 0) => Ok(watcher::Event::Init),
                        (false, 1) => Ok(watcher::Event::InitApply("object")),
                        (false, 2) => Ok(watcher::Event::InitDone),
                        (false, _) => std::future::pending().await,
                    }
                })
            },
            |event| {
                if let Seen::All(all) = event {
                    seen.borrow_mut().extend(all);
                }
            },
        );
        tokio::time::timeout(Duration::from_secs(60), following)
            .await
            .expect_err("it never ends");
        assert_eq!((starts.get(), seen.into_inner()), (2, vec!["object"]));
    }
}
