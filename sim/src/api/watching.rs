//! Watches: what exists, then every change, each as one line of JSON in one chunk.
//!
//! In: a [`Call`] with `watch`. Out: a stream of bytes. The stream pulls changes out of the store's history whenever
//! its client is ready for more, so a slow client holds no memory; when the history has moved past it, it gets an
//! `ERROR` event with code 410 and the stream ends, as the real server does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use rand::Rng as _;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::call::{Answer, Call, Content};
use super::present::Presentation;
use super::read;
use super::resources::Resource;
use super::selector::Selector;
use super::state::{Shared, State};
use super::status::Failure;
use super::store::{self, Change, Stored, to_json};
use super::validate::Cause;

/// How often a client that asked for bookmarks gets one.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);

/// Life of a watch whose client named none: between this and twice this.
const LIFE_MIN_SECONDS: u64 = 1800;

/// Changes that are taken from the history at once.
const BATCH_MAX: usize = 256;

struct Watcher {
    shared: Arc<Shared>,
    resource: Arc<Resource>,
    prefix: String,
    selector: Selector,
    presentation: Presentation,
    /// Everything up to this version has been sent or passed over.
    seen: u64,
    queue: VecDeque<Bytes>,
    news: watch::Receiver<u64>,
    has_bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    is_first: bool,
    is_over: bool,
}

/// Opens a watch.
pub(crate) async fn watch(shared: &Arc<Shared>, call: &Call) -> Result<Answer, Failure> {
    let mut selector = read::selector(call)?;
    if let (true, Some(name)) = (call.target.is_watch_path, &call.target.name) {
        selector.require_name(name);
    }
    check_watch_options(call)?;
    let version = match call.query.text("resourceVersion") {
        "" => 0,
        text => text.parse().map_err(|_| read::bad_version(text))?,
    };
    let wants_initial = call.query.flag("sendInitialEvents");
    let refuses_initial = call.query.has("sendInitialEvents") && !wants_initial;
    let presentation = Presentation::of(call, shared.clock.now())?;
    let seconds = call
        .query
        .number("timeoutSeconds")?
        .and_then(|n| u64::try_from(n).ok())
        .filter(|&n| n > 0);
    let future = if wants_initial {
        read::wait_for(shared, version).await.err()
    } else {
        None
    };

    let mut state = shared.state();
    let life = seconds.unwrap_or_else(|| {
        state
            .random
            .random_range(LIFE_MIN_SECONDS..2 * LIFE_MIN_SECONDS)
    });
    let Some(collection) = state.store.collection(&call.resource().storage) else {
        return Err(Failure::no_resource());
    };
    let now = Instant::now();
    let mut watcher = Watcher {
        shared: shared.clone(),
        resource: call.target.resource.clone(),
        prefix: store::prefix(call.namespace()),
        selector,
        presentation,
        seen: version,
        queue: VecDeque::new(),
        news: collection.news(),
        has_bookmarks: call.query.flag("allowWatchBookmarks"),
        next_bookmark: now + BOOKMARK_PERIOD,
        deadline: now + Duration::from_secs(life),
        is_first: true,
        is_over: false,
    };
    if let Some(failure) = future {
        watcher.fail(&failure);
    } else if wants_initial || (version == 0 && !refuses_initial) {
        watcher.send_what_exists(&state);
    } else if version == 0 {
        watcher.seen = state.store.version();
    }
    drop(state);
    let stream = futures::stream::unfold(watcher, |mut watcher| async move {
        watcher.next().await.map(|line| (line, watcher))
    });
    Ok(Answer {
        code: 200,
        content: Content::Watch(Box::pin(stream)),
        warnings: Vec::new(),
    })
}

fn check_watch_options(call: &Call) -> Result<(), Failure> {
    let query = &call.query;
    let how = query.text("resourceVersionMatch");
    let has_initial = query.has("sendInitialEvents");
    let mut causes = Vec::new();
    let mut forbid = |field: &str, why: &str| {
        causes.push(Cause {
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {why}"),
            field: field.to_owned(),
        });
    };
    if !query.text("continue").is_empty() {
        let why = "resourceVersionMatch is forbidden when continue is provided";
        forbid("resourceVersionMatch", why);
    }
    if has_initial && how != "NotOlderThan" {
        forbid(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        );
    }
    if !has_initial && !how.is_empty() {
        forbid(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        );
    }
    if !matches!(how, "" | "NotOlderThan") {
        causes.push(Cause {
            reason: "FieldValueNotSupported",
            message: format!("Unsupported value: {how:?}: supported values: \"NotOlderThan\""),
            field: "resourceVersionMatch".to_owned(),
        });
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid_kind(
        "meta.k8s.io",
        "ListOptions",
        "",
        &causes,
    ))
}

// === impl Watcher ===

impl Watcher {
    /// The next line; none when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.queue.pop_front() {
                return Some(line);
            }
            if self.is_over {
                return None;
            }
            // Mark the news as seen before looking, so that none can slip in between looking and waiting.
            self.news.borrow_and_update();
            self.take_changes();
            if !self.queue.is_empty() || self.is_over {
                continue;
            }
            let wake = if self.has_bookmarks {
                self.deadline.min(self.next_bookmark)
            } else {
                self.deadline
            };
            match tokio::time::timeout_at(wake, self.news.changed()).await {
                Ok(Ok(())) => {}
                // The kind is no longer served, or the server has stopped.
                Ok(Err(_)) => self.is_over = true,
                Err(_) if Instant::now() >= self.deadline => self.is_over = true,
                Err(_) => self.send_bookmark(),
            }
        }
    }

    fn send_what_exists(&mut self, state: &State) {
        let Some(collection) = state.store.collection(&self.resource.storage) else {
            return;
        };
        self.seen = state.store.version();
        let prefix = self.prefix.clone();
        for (_, object) in collection.range(&prefix) {
            if self.selector.matches(&object.value) {
                let line = self.line("ADDED", object);
                self.queue.push_back(line);
            }
        }
        if self.has_bookmarks {
            let body = self
                .presentation
                .bookmark(&self.resource, self.seen, true, self.is_first);
            self.queue.push_back(written("BOOKMARK", &body));
        }
    }

    fn take_changes(&mut self) {
        let shared = self.shared.clone();
        let state = shared.state();
        let Some(collection) = state.store.collection(&self.resource.storage) else {
            self.is_over = true;
            return;
        };
        let changes: Result<Vec<Arc<Change>>, _> = collection
            .since(self.seen)
            .map(|changes| changes.take(BATCH_MAX).cloned().collect());
        let is_closed = collection.is_closed();
        let current = state.store.version();
        // Changes are written out without the lock, so that clients with other forms do not wait.
        drop(state);
        let changes = match changes {
            Ok(changes) => changes,
            Err(too_old) => {
                if !self.is_first {
                    // It was up to date once: its client has read too slowly since.
                    self.shared.watches_cut.fetch_add(1, Ordering::Relaxed);
                    let resource = self.resource.qualified();
                    tracing::warn!(reason = "slow_client", resource, "a watch was ended");
                }
                let message = format!(
                    "too old resource version: {} ({})",
                    self.seen, too_old.floor
                );
                self.fail(&Failure::expired(message));
                return;
            }
        };
        let is_all = changes.len() < BATCH_MAX;
        for change in changes {
            self.seen = change.version;
            self.send_change(&change);
        }
        if is_all {
            // A watch from the future has seen nothing yet; it stays where it is.
            self.seen = self.seen.max(current);
            self.is_over |= is_closed;
        }
    }

    fn send_change(&mut self, change: &Change) {
        if !change.key.starts_with(&self.prefix) {
            return;
        }
        let before = change
            .previous
            .as_ref()
            .filter(|object| self.selector.matches(&object.value));
        let is_whole = self.presentation.is_as_stored(&self.resource);
        let line = if is_whole && self.selector.is_empty() {
            // What most watchers want is written once for all of them.
            self.is_first = false;
            Some(change.line(written))
        } else if change.is_deletion {
            before.map(|_| self.line("DELETED", &change.object))
        } else {
            match (before, self.selector.matches(&change.object.value)) {
                (Some(_), true) => Some(self.line("MODIFIED", &change.object)),
                (None, true) => Some(self.line("ADDED", &change.object)),
                // It leaves the selector: the old body with the new version.
                (Some(before), false) => {
                    let gone = Stored::new(before.value.clone(), change.version);
                    Some(self.line("DELETED", &gone))
                }
                (None, false) => None,
            }
        };
        self.queue.extend(line);
    }

    fn line(&mut self, kind: &str, object: &Stored) -> Bytes {
        let body = self
            .presentation
            .event(&self.resource, object, self.is_first);
        self.is_first = false;
        written(kind, &body)
    }

    fn send_bookmark(&mut self) {
        self.next_bookmark = Instant::now() + BOOKMARK_PERIOD;
        let body = self
            .presentation
            .bookmark(&self.resource, self.seen, false, self.is_first);
        self.queue.push_back(written("BOOKMARK", &body));
    }

    fn fail(&mut self, failure: &Failure) {
        self.queue
            .push_back(written("ERROR", &to_json(&json!(failure.to_value()))));
        self.is_over = true;
    }
}

fn written(kind: &str, body: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(body.len() + 32);
    line.put_slice(b"{\"type\":\"");
    line.put_slice(kind.as_bytes());
    line.put_slice(b"\",\"object\":");
    line.put_slice(body);
    line.put_slice(b"}\n");
    line.freeze()
}
