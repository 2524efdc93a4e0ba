//! Picks the endpoint of a backend for the next try.
//!
//! In: the endpoints, what is known of them (`live`), what the Ingress asks for, and what this request has tried. Out: an endpoint, or nothing
//! when all have been tried. What is known belongs to the names of backends and to the identities of endpoints, so that a new table changes
//! nothing for those that stay.
//!
//! `load` compares endpoints by what they have to do, `rank` hashes keys to them, `text` makes the key of a request, `affinity` reads and writes
//! the cookie of a session, `budget` says how many requests may be sent again, `health` which endpoints
//! are left alone for a while. Nothing here waits or locks, and chance comes from the seed of the worker.

mod affinity;
mod budget;
mod health;
mod live;
mod load;
mod rank;
mod text;
mod tried;

use std::cell::Cell;
use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderValue;
use http::request::Parts;
use rand::Rng;
use tokio::time::Instant;

use crate::config::{Ejection, Retries};
use crate::table::{AffinityMode, Algorithm, Backend, BackendName, Endpoint, Policy};

use affinity::Issued;
pub(crate) use affinity::Session;
pub(crate) use health::Rest;
pub(crate) use live::{InFlight, LiveBackend, LiveEndpoint, Traffic};
use tried::Tried;

/// Keys that are drawn for a session before it takes one whose endpoint has failed: as often as ingress-nginx does.
const KEYS_MAX: usize = 20;

/// With fewer endpoints than so many of a hundred that do not rest, all are taken.
const HEALTHY_PERCENT_MIN: usize = 50;

/// The choice for one request.
pub(crate) struct Choice<'r> {
    backend: &'r Backend,
    live: &'r LiveBackend,
    algorithm: Algorithm,
    by: By<'r>,
    tried: Tried,
    /// Of the try that is being chosen.
    now: Instant,
    /// Whether endpoints that rest are taken as well, once that has been asked.
    takes_all: Cell<Option<bool>>,
}

/// What decides.
pub(crate) enum By<'r> {
    Algorithm,
    /// What is hashed of the request.
    Key(u64),
    Session(Box<Session<'r>>),
}

// === impl By ===

impl<'r> By<'r> {
    /// What decides for a request that met a rule of this path. The head is the one for the endpoint.
    pub(crate) fn of(policy: &'r Policy, parts: &Parts, rule_path: &str) -> Self {
        if let Some(affinity) = &policy.affinity {
            let session = Session::new(affinity, &parts.headers, rule_path);
            return Self::Session(Box::new(session));
        }
        let key = policy.hash_by.as_ref();
        let key = key.and_then(|hash_by| text::key(hash_by, parts));
        key.map_or(Self::Algorithm, Self::Key)
    }
}

// === impl Choice ===

impl<'r> Choice<'r> {
    /// A choice of an endpoint of this backend, of which this is known.
    pub(crate) fn new(
        (backend, live): (&'r Backend, &'r LiveBackend),
        algorithm: Algorithm,
        by: By<'r>,
        now: Instant,
    ) -> Self {
        Self {
            backend,
            live,
            algorithm,
            by,
            tried: Tried::default(),
            now,
            takes_all: Cell::new(None),
        }
    }

    /// The next endpoint that has not been tried.
    pub(crate) fn next(&mut self, now: Instant, rng: &mut impl Rng) -> Option<&'r Endpoint> {
        let turn = match self.tried.last() {
            None => self.live.traffic.turn(),
            Some(_) => self.live.traffic.further_turn(),
        };
        self.now = now;
        let found = self.choose(turn, rng).or_else(|| {
            // Rather one that rests than none.
            if self.takes_all.replace(Some(true)) == Some(false) {
                self.choose(turn, rng)
            } else {
                None
            }
        })?;
        self.tried.add(found);
        self.backend.endpoints.get(found)
    }

    fn choose(&mut self, turn: usize, rng: &mut impl Rng) -> Option<usize> {
        match &self.by {
            By::Algorithm => self.by_algorithm(turn, rng),
            By::Key(key) => self.by_rank(*key),
            By::Session(session) => match session.affinity.mode {
                AffinityMode::Balanced => self.of_balanced(rng),
                AffinityMode::Persistent => self.of_persistent(turn, rng),
            },
        }
    }

    /// Who the endpoint is that was found last: the same number for it in every table. 0 before one was found.
    pub(crate) fn token(&self) -> u64 {
        let last = self.tried.last();
        last.map_or(0, |last| self.live.endpoints[last].token)
    }

    /// The name of the backend.
    pub(crate) fn backend(&self) -> &BackendName {
        &self.backend.name
    }

    /// The endpoint that was found last has answered.
    pub(crate) fn succeeded(&self, now: Instant, settings: &Ejection) {
        if let Some(last) = self.tried.last() {
            self.live.endpoints[last].succeeded(now, settings);
        }
    }

    /// It has not, and is to blame. The rest that begins with it, and whose it is.
    pub(crate) fn failed(
        &self,
        now: Instant,
        settings: &Ejection,
    ) -> Option<(Rest, &Arc<LiveEndpoint>)> {
        let endpoint = &self.live.endpoints[self.tried.last()?];
        let rest = endpoint.failed(now, settings)?;
        Some((rest, endpoint))
    }

    /// A request begins at the endpoint that was found last, where that is counted.
    pub(crate) fn begin(&self) -> Option<InFlight> {
        if !self.algorithm.counts() {
            return None;
        }
        self.tried
            .last()
            .map(|position| InFlight::new(&self.live.endpoints[position]))
    }

    /// The cookie that the answer of the endpoint that was found last has to set.
    pub(crate) fn set_cookie(
        &self,
        is_https: bool,
        now: impl FnOnce() -> SystemTime,
    ) -> Option<Box<HeaderValue>> {
        let By::Session(session) = &self.by else {
            return None;
        };
        let token = self.live.endpoints[self.tried.last()?].token;
        session.set_cookie(token, is_https, now).map(Box::new)
    }

    /// Whether the request may be sent again though an endpoint may have had it; then it counts as sent.
    pub(crate) fn may_retry(&self, now: Instant, settings: &Retries) -> bool {
        self.live.traffic.may_retry(now, settings)
    }

    fn is_usable(&self, position: usize) -> bool {
        let rests = || self.live.endpoints[position].rests(self.now);
        !self.tried.has(position) && (!rests() || self.takes_all())
    }

    /// Whether endpoints that rest get requests: when so many do that the others would hardly bear it, or the fault is ours.
    fn takes_all(&self) -> bool {
        if let Some(known) = self.takes_all.get() {
            return known;
        }
        let endpoints = self.live.endpoints.iter();
        let well = endpoints
            .filter(|endpoint| !endpoint.rests(self.now))
            .count();
        let takes_all = well * 100 < HEALTHY_PERCENT_MIN * self.live.endpoints.len();
        self.takes_all.set(Some(takes_all));
        takes_all
    }

    /// The first usable endpoint from here on, round and round.
    fn usable_from(&self, first: usize) -> Option<usize> {
        // As it nearly always is.
        if self.is_usable(first) {
            return Some(first);
        }
        (first + 1..self.live.endpoints.len())
            .chain(0..first)
            .find(|&position| self.is_usable(position))
    }

    fn by_algorithm(&self, turn: usize, rng: &mut impl Rng) -> Option<usize> {
        let count = self.live.endpoints.len();
        if count == 0 {
            return None;
        }
        if self.algorithm == Algorithm::RoundRobin {
            return self.in_turn(turn, count);
        }
        // Two that differ. Where some are not usable, those behind them come more often, which the comparison sets right.
        let one = rng.random_range(0..count);
        let apart = if count > 1 {
            rng.random_range(1..count)
        } else {
            0
        };
        let one = self.usable_from(one)?;
        let another = self.usable_from((one + apart) % count)?;
        let [first, second] = [one, another].map(|position| &self.live.endpoints[position].load);
        let is_first = match self.algorithm {
            Algorithm::RoundRobin | Algorithm::LeastRequest => load::is_idler(first, second),
            Algorithm::Ewma => {
                let millis = self.live.endpoints[one].millis(self.now);
                load::is_quicker(first, second, millis)
            }
        };
        Some(if is_first { one } else { another })
    }

    /// The endpoint whose turn it is. The turns of those that are not usable go to all others, a different one in each round: the next one alone
    /// would get twice as much as the others, or more.
    fn in_turn(&self, turn: usize, count: usize) -> Option<usize> {
        let own = turn % count;
        if self.is_usable(own) {
            return Some(own);
        }
        let usable = || (0..count).filter(|&position| self.is_usable(position));
        let nth = (own + turn / count).checked_rem(usable().count())?;
        usable().nth(nth)
    }

    /// The usable endpoint of the highest rank.
    fn by_rank(&self, key: u64) -> Option<usize> {
        self.highest(key, |position| self.is_usable(position))
    }

    fn highest(&self, key: u64, is_meant: impl Fn(usize) -> bool) -> Option<usize> {
        let endpoints = self.live.endpoints.iter().enumerate();
        endpoints
            .filter(|&(position, _)| is_meant(position))
            .max_by_key(|(_, endpoint)| rank::rank(key, endpoint.token))
            .map(|(position, _)| position)
    }

    fn of_balanced(&mut self, rng: &mut impl Rng) -> Option<usize> {
        let session = self.session()?;
        let is_new = session.said.is_none() || session.issued.is_some();
        let (changes, said) = (session.affinity.changes_on_failure, session.said);
        if let Some(key) = said.filter(|_| !is_new) {
            let holder = self.highest(key, |_| true)?;
            if self.is_usable(holder) {
                return Some(holder);
            }
            if !changes {
                // Until its endpoint is back, or has gone: then it is this one's.
                return self.by_rank(key);
            }
        }
        let mut key = 0;
        for _ in 0..KEYS_MAX {
            key = self.session()?.issue_key(rng.random());
            let holder = self.highest(key, |_| true)?;
            if self.is_usable(holder) {
                return Some(holder);
            }
        }
        self.by_rank(key)
    }

    fn of_persistent(&mut self, turn: usize, rng: &mut impl Rng) -> Option<usize> {
        let session = self.session()?;
        let (changes, said) = (session.affinity.changes_on_failure, session.said);
        if let Some(token) = said {
            let mut endpoints = self.live.endpoints.iter();
            let holder = endpoints.position(|endpoint| endpoint.token == token);
            match holder {
                Some(holder) if self.is_usable(holder) => return Some(holder),
                // All requests of the session meet the same one until its own is back.
                Some(_) if !changes => return self.by_rank(token),
                Some(_) | None => {}
            }
        }
        let found = self.by_algorithm(turn, rng);
        self.session()?.issued = Some(Issued::Endpoint);
        found
    }

    fn session(&mut self) -> Option<&mut Session<'r>> {
        match &mut self.by {
            By::Session(session) => Some(session),
            By::Algorithm | By::Key(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
