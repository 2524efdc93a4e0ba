//! What all requests share: the objects, the kinds, the seeded randomness; and who may ask.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::Ipv4Net;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use super::Options;
use super::call::Call;
use super::clock::Clock;
use super::log::RequestLog;
use super::resources::Registry;
use super::status::Failure;
use super::store::{self, Store, Stored};

/// Everything that requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// The time.
    pub clock: Clock,
    /// What the server was started with.
    pub options: Options,
    /// Who asked for what.
    pub log: RequestLog,
    /// Watches that were ended because their clients read too slowly.
    pub watches_cut: AtomicU64,
}

/// What changes.
#[derive(Debug)]
pub(crate) struct State {
    /// The objects.
    pub store: Store,
    /// The kinds.
    pub registry: Registry,
    /// For names, uids and addresses.
    pub random: SmallRng,
    /// Where cluster IPs come from.
    pub service_range: Ipv4Net,
    /// Whether addresses of this machine alone may be endpoints.
    pub allows_loopback: bool,
}

/// The letters of generated names: no vowels, so no words; nothing that looks like something else.
const NAME_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

// === impl Shared ===

impl Shared {
    /// A server without objects.
    pub(crate) fn new(options: Options) -> Self {
        let registry = Registry::built_in();
        let mut store = Store::new(options.history_max);
        for resource in registry.iter() {
            store.open(&resource.storage);
        }
        let state = State {
            store,
            registry,
            random: SmallRng::seed_from_u64(options.seed),
            service_range: options.service_range,
            allows_loopback: options.allows_loopback,
        };
        let clock = Clock::starting_at(options.epoch);
        Self {
            state: Mutex::new(state),
            clock,
            log: RequestLog::default(),
            watches_cut: AtomicU64::new(0),
            options,
        }
    }

    /// The state; held only between two awaits, never across one.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held can only have left an object out, which its client was told by a broken connection.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// The object that a call names.
    pub(crate) fn find(&self, call: &Call) -> Result<Arc<Stored>, Failure> {
        let key = store::key(call.namespace(), call.name());
        self.store
            .get(&call.resource().storage, &key)
            .ok_or_else(|| Failure::not_found(call.resource(), call.name()))
    }

    /// One object of a built-in kind.
    pub(crate) fn object(
        &self,
        storage: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Option<Arc<Stored>> {
        self.store.get(storage, &store::key(namespace, name))
    }

    /// A random uid (version 4).
    pub(crate) fn uid(&mut self) -> String {
        let mut bytes: [u8; 16] = self.random.random();
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ]
        .join("-")
    }

    /// Five random letters behind a prefix that is cut to fit.
    pub(crate) fn generated_name(&mut self, prefix: &str) -> String {
        const PREFIX_MAX: usize = 58;
        let mut end = prefix.len().min(PREFIX_MAX);
        while !prefix.is_char_boundary(end) {
            end -= 1;
        }
        let mut name = prefix[..end].to_owned();
        for _ in 0..5 {
            name.push(char::from(
                NAME_LETTERS[self.random.random_range(0..NAME_LETTERS.len())],
            ));
        }
        name
    }
}

/// A text field of an object; empty when it is not there.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
