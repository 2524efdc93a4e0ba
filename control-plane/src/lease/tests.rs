use proptest::prelude::*;

use super::*;

fn election(identity: &str) -> Election {
    Election {
        identity: identity.to_owned(),
        seen: None,
        held_until: None,
    }
}

fn held_by(holder: &str, version: u64) -> Record {
    Record {
        holder: holder.to_owned(),
        version: version.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_claimed_when_it_is_free_or_ours_or_was_not_renewed() {
    let now = Instant::now();
    let mut b = election("b");
    assert!(b.may_claim(held_by("", 1), now));
    assert!(b.may_claim(held_by("b", 1), now));
    assert!(!b.may_claim(held_by("a", 1), now));
    let almost = now + DURATION - Duration::from_millis(1);
    assert!(!b.may_claim(held_by("a", 1), almost));
    // Renewed: the time begins anew.
    assert!(!b.may_claim(held_by("a", 2), almost));
    assert!(!b.may_claim(held_by("a", 2), now + DURATION));
    assert!(b.may_claim(held_by("a", 2), almost + DURATION));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_renew_gives_up_before_others_may_claim() {
    let now = Instant::now();
    let mut a = election("a");
    assert!(!a.holds(now));
    a.claimed(now);
    assert!(a.holds(now + DEADLINE - Duration::from_millis(1)));
    assert!(!a.holds(now + DEADLINE));
    a.lost();
    assert!(!a.holds(now));
}

/// A turn of one of the replicas: how long after the last one, how long its request takes to get to the API server, and how long
/// the answer takes back. None: it is lost.
fn turns() -> impl Strategy<Value = Vec<(usize, u64, u64, Option<u64>)>> {
    let answer = proptest::option::weighted(0.8, 0..3_000_u64);
    proptest::collection::vec((0..3_usize, 1..9_000_u64, 0..3_000_u64, answer), 1..200)
}

proptest! {
    /// Requests are delayed and lost as it happens; the API server keeps one Lease and refuses a write of an old version.
    #[test]
    fn no_two_replicas_hold_a_lease_at_a_time(turns in turns()) {
        let start = Instant::now();
        let names = ["a", "b", "c"];
        let mut replicas = names.map(election);
        let mut lease = held_by("", 0);
        let mut held: Vec<(usize, Instant, Instant)> = Vec::new();
        let mut now = start;
        for (turn, (who, pause, there, back)) in turns.into_iter().enumerate() {
            now += Duration::from_millis(pause);
            let seen = lease.clone();
            if !replicas[who].may_claim(seen, now) {
                replicas[who].lost();
                continue;
            }
            let begun = now;
            now += Duration::from_millis(there);
            lease = held_by(names[who], turn as u64 + 1);
            let Some(back) = back else { continue };
            replicas[who].claimed(begun);
            // From the answer on it believes to hold it.
            let from = now + Duration::from_millis(back);
            now = from;
            let until = begun + DEADLINE;
            if from < until {
                for (other, other_from, other_until) in &held {
                    prop_assert!(*other == who || from >= *other_until || until <= *other_from);
                }
                held.push((who, from, until));
            }
        }
    }
}
