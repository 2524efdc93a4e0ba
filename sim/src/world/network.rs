//! Packets between kernels: how long they take, and what happens to them on the way.
//!
//! In: packets that left a kernel. Out: those that are due, in the order in which they arrive. Packets of one pair of hosts never overtake each other
//! unless a rule makes them: turmoil-net's TCP drops what comes out of order, which a real one keeps, so mere jitter would look like loss.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::SmallRng;
use turmoil_net::Packet;

/// Packets on their way at once. A cluster that has more of them has a loop in it.
const IN_FLIGHT_MAX: usize = 100_000;

/// How long a packet takes when nothing is wrong: from, to. A data centre's, with the time that kernels take.
const DELAY: (Duration, Duration) = (Duration::from_micros(200), Duration::from_micros(900));

/// What is to become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next rule decides; after the last one it goes its way.
    Pass,
    /// It is lost.
    Drop,
    /// It takes so much longer.
    Delay(Duration),
    /// It arrives twice.
    Duplicate,
}

/// Something that happens to packets. The seed's randomness is given, so that a rule needs none of its own.
pub trait Rule {
    /// Judges one packet, with the addresses that the network knows.
    fn judge(&mut self, packet: &Packet, rng: &mut SmallRng) -> Verdict;
}

impl<F: FnMut(&Packet, &mut SmallRng) -> Verdict> Rule for F {
    fn judge(&mut self, packet: &Packet, rng: &mut SmallRng) -> Verdict {
        self(packet, rng)
    }
}

/// Names a rule, to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleId(u64);

/// What is on its way, and what is wrong with the way.
pub struct Network {
    in_flight: BTreeMap<(Duration, u64), Packet>,
    sent: u64,
    /// When the last packet of a pair of hosts arrives.
    last: BTreeMap<(IpAddr, IpAddr), Duration>,
    rules: BTreeMap<RuleId, Box<dyn Rule>>,
    next_rule: u64,
    rng: SmallRng,
    lost: u64,
}

// === impl Network ===

impl Network {
    pub(super) fn new(rng: SmallRng) -> Self {
        Self {
            in_flight: BTreeMap::new(),
            sent: 0,
            last: BTreeMap::new(),
            rules: BTreeMap::new(),
            next_rule: 0,
            rng,
            lost: 0,
        }
    }

    /// Adds a rule; it is asked after those that were there before.
    pub fn add(&mut self, rule: impl Rule + 'static) -> RuleId {
        let id = RuleId(self.next_rule);
        self.next_rule += 1;
        self.rules.insert(id, Box::new(rule));
        id
    }

    /// Ends a rule. One that has ended before may be ended again.
    pub fn remove(&mut self, id: RuleId) {
        self.rules.remove(&id);
    }

    /// Whether any packet is on its way.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Packets that were lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes a packet that leaves a host at `now`.
    pub(super) fn send(&mut self, now: Duration, packet: Packet) {
        let mut longer = Duration::ZERO;
        let mut copies = 1;
        for rule in self.rules.values_mut() {
            match rule.judge(&packet, &mut self.rng) {
                Verdict::Pass => {}
                Verdict::Drop => {
                    self.lost += 1;
                    return;
                }
                Verdict::Delay(by) => longer += by,
                Verdict::Duplicate => copies = 2,
            }
        }
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            self.lost += 1;
            return;
        }
        for _ in 0..copies {
            let micros = self
                .rng
                .random_range(DELAY.0.as_micros()..=DELAY.1.as_micros());
            let delay = Duration::from_micros(u64::try_from(micros).unwrap_or_default());
            let last = self.last.entry((packet.src, packet.dst)).or_default();
            *last = (now + delay + longer).max(*last);
            self.sent += 1;
            self.in_flight.insert((*last, self.sent), packet.clone());
        }
    }

    /// The next packet that has arrived by `now`.
    pub(super) fn next_due(&mut self, now: Duration) -> Option<Packet> {
        let first = self.in_flight.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network")
            .field("in_flight", &self.in_flight.len())
            .field("rules", &self.rules.len())
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}
