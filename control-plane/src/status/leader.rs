//! What the replica does that holds the Lease: it writes.
//!
//! In: news of how Ingresses stand, the Leases of the other replicas, addresses. Out: writes and Events, a bounded number at a time.
//! What is written, and when, is decided in [`super::plan`]; who lives, in [`super::roll`]. It ends with the Lease.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Preconditions};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::addresses::{self, Known};
use super::event::{self, Schedule};
use super::metrics::WriteResult;
use super::plan::Plan;
use super::roll::{Reached, Roll};
use super::write::Written;
use super::{Reporter, TIER_LABEL};
use crate::failure::with_causes;
use crate::publish::Programmed;
use crate::translate::condition::Condition;

/// Writes to Ingresses that are under way at a time.
const WRITES_MAX: usize = 8;

/// Leases of replicas that are gone that are deleted at a time.
const DELETIONS_MAX: usize = 8;

/// Ingresses that are looked at in one go.
const LOOKED_AT_MAX: usize = 256;

/// How often the other replicas are asked while an address waits for them: at first, and after long.
const ROLL_CALL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// An address that waits for longer is worth a line of the log, once in so long.
const PATIENCE: Duration = Duration::from_secs(15);

/// The same trouble is said once in so long.
const SAY_AGAIN: Duration = Duration::from_secs(600);

/// A condition that is gone this soon is told nobody: objects that belong together do not come together.
const EVENT_DELAY: Duration = Duration::from_secs(2);

/// One request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes whenever this replica holds the Lease.
pub(super) struct Leader {
    reporter: Reporter,
    leases: Api<Lease>,
    is_leader: watch::Receiver<bool>,
}

type Told = (Condition, WriteResult, String);

/// From when the Lease is held until it is not any more.
struct Term<'l> {
    reporter: &'l Reporter,
    leases: &'l Api<Lease>,
    programmed: watch::Receiver<Programmed>,
    /// None: the addresses are not known yet, and nothing is written before.
    plan: Option<Plan>,
    events: Schedule,
    roll: Roll,
    /// When the roll is called next.
    roll_call: Instant,
    /// Since when some address waits for others.
    waits_since: Option<Instant>,
    writes: FuturesUnordered<BoxFuture<'static, Written>>,
    telling: FuturesUnordered<BoxFuture<'static, Told>>,
    /// Of Leases of the dead.
    deletions: FuturesUnordered<BoxFuture<'static, ()>>,
    /// When each trouble was said last.
    said: BTreeMap<&'static str, Instant>,
}

/// Deletes the Lease of a replica that is gone, unless it was renewed since. What fails is tried again with the next roll call.
async fn delete(leases: Api<Lease>, name: String, version: String) {
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            resource_version: Some(version),
            uid: None,
        }),
        ..DeleteParams::default()
    };
    let deleted = timeout(REQUEST_TIMEOUT, leases.delete(&name, &parameters)).await;
    if matches!(deleted, Ok(Ok(_))) {
        tracing::info!(lease = name, "a replica is gone; its Lease is deleted");
    }
}

// === impl Leader ===

impl Leader {
    pub(super) fn new(
        reporter: Reporter,
        leases: Api<Lease>,
        is_leader: watch::Receiver<bool>,
    ) -> Self {
        Self {
            reporter,
            leases,
            is_leader,
        }
    }

    /// Until `shutdown` resolves. What is under way then is cut: whoever leads next sees what is missing.
    pub(super) async fn run(self, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = shutdown => {}
            () = self.lead() => {}
        }
    }

    async fn lead(&self) {
        let Reporter {
            handle, metrics, ..
        } = &self.reporter;
        let mut is_leader = self.is_leader.clone();
        while is_leader.wait_for(|is_leader| *is_leader).await.is_ok() {
            metrics.leads(true);
            handle.begin_report();
            let mut term = Term::new(&self.reporter, &self.leases);
            tokio::select! {
                biased;
                _ = is_leader.wait_for(|is_leader| !*is_leader) => {}
                () = term.run() => {}
            }
            handle.end_report();
            metrics.leads(false);
            metrics.waiting(0);
        }
    }
}

// === impl Term ===

impl<'l> Term<'l> {
    fn new(reporter: &'l Reporter, leases: &'l Api<Lease>) -> Self {
        Self {
            reporter,
            leases,
            programmed: reporter.handle.programmed(),
            plan: None,
            events: Schedule::default(),
            roll: Roll::default(),
            roll_call: Instant::now(),
            waits_since: None,
            writes: FuturesUnordered::new(),
            telling: FuturesUnordered::new(),
            deletions: FuturesUnordered::new(),
            said: BTreeMap::new(),
        }
    }

    async fn run(&mut self) {
        let (sender, mut known) = watch::channel(Known::NotYet);
        // Ends with this function.
        let mut tasks = JoinSet::new();
        let client = self.reporter.client.clone();
        let addresses = self.reporter.settings.addresses.clone();
        tasks.spawn(addresses::find(client, addresses, sender));
        known.mark_changed();
        loop {
            if known.has_changed().unwrap_or_default() {
                let now = known.borrow_and_update().clone();
                self.publish(now);
            }
            let has_more = self.take_news();
            self.call_the_roll().await;
            self.begin_writes();
            let wake = self.wake(has_more);
            tokio::select! {
                biased;
                Some(written) = self.writes.next() => self.written(&written),
                Some(told) = self.telling.next() => self.told(told),
                Some(()) = self.deletions.next() => {}
                Ok(()) = known.changed() => known.mark_changed(),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
                Ok(()) = self.programmed.changed() => {}
            }
        }
    }

    /// When there is something to do without news.
    fn wake(&self, has_more: bool) -> Option<Instant> {
        if has_more {
            return Some(Instant::now());
        }
        let plan = self.plan.as_ref();
        let waits = plan.is_some_and(|plan| plan.waiting() > 0);
        let roll_call = waits.then_some(self.roll_call);
        let again = plan.and_then(Plan::next_due);
        let event = self.events.next_due().filter(|_| self.telling.is_empty());
        [roll_call, again, event].into_iter().flatten().min()
    }

    /// The addresses are others now.
    fn publish(&mut self, known: Known) {
        let manager = self.reporter.manager();
        self.plan = match known {
            Known::NotYet => None,
            Known::Unpublished => Some(Plan::new(manager, None)),
            Known::At(addresses) => Some(Plan::new(manager, Some(addresses))),
        };
        self.reporter.handle.report_again();
    }

    /// Looks at what has changed. Tells whether there is more.
    fn take_news(&mut self) -> bool {
        let now = Instant::now();
        let looked_at_max = if self.plan.is_some() {
            LOOKED_AT_MAX
        } else {
            0
        };
        if let Some(plan) = &mut self.plan {
            for name in plan.due(now) {
                self.reporter.handle.look_again(name);
            }
        }
        self.programmed.mark_unchanged();
        let news = self.reporter.handle.report(looked_at_max);
        for condition in &news.gone {
            self.events.is_gone(condition);
        }
        for condition in news.came {
            self.events.came(condition, now + EVENT_DELAY);
        }
        let Some(plan) = &mut self.plan else {
            return false;
        };
        for standing in news.standings {
            plan.judge(standing, news.needed);
        }
        news.has_more
    }

    /// Finds out how far the others are, while an address waits for them.
    async fn call_the_roll(&mut self) {
        let Some(plan) = &mut self.plan else { return };
        let now = Instant::now();
        self.reporter.metrics.waiting(plan.waiting());
        if plan.waiting() == 0 {
            self.waits_since = None;
            return;
        }
        if now < self.roll_call {
            return;
        }
        let since = *self.waits_since.get_or_insert(now);
        // The longer it lasts, the less often.
        let pause = (now.duration_since(since) / 10).clamp(ROLL_CALL.0, ROLL_CALL.1);
        self.roll_call = now + pause;
        let label = format!("{TIER_LABEL}={}", self.reporter.roster.election);
        let parameters = ListParams::default().labels(&label);
        let listed = match timeout(REQUEST_TIMEOUT, self.leases.list(&parameters)).await {
            Ok(Ok(listed)) => listed,
            Ok(Err(error)) => return self.say("lease_list_failed", &with_causes(&error)),
            Err(_) => return self.say("lease_list_failed", "no answer in time"),
        };
        let own = self.reporter.handle.reached();
        let member = &self.reporter.roster.member;
        let Reached {
            least,
            behind,
            dead,
        } = self.roll.call(&listed.items, member, own, now);
        // A host whose certificate is still being read is not served as it is asked for.
        if !own.is_reading() {
            plan.programmed(&least, &own);
        }
        if plan.waiting() > 0 && now.duration_since(since) >= PATIENCE {
            let behind = behind.unwrap_or_default();
            self.say("replica_behind", &behind);
        }
        if self.deletions.is_empty() {
            for (name, version) in dead.into_iter().take(DELETIONS_MAX) {
                self.deletions
                    .push(Box::pin(delete(self.leases.clone(), name, version)));
            }
        }
    }

    fn begin_writes(&mut self) {
        let now = Instant::now();
        let Reporter { client, roster, .. } = self.reporter;
        let manager = self.reporter.manager();
        while self.writes.len() < WRITES_MAX
            && let Some(write) = self.plan.as_mut().and_then(|plan| plan.next(now))
        {
            let write = write.run(client.clone(), manager.clone());
            self.writes.push(Box::pin(write));
        }
        if self.telling.is_empty()
            && let Some(condition) = self.events.next(now)
        {
            let uid = self.reporter.handle.uid_of(&condition.object);
            let program = self.reporter.program;
            let instance = roster.identity.clone();
            let told = event::tell(client.clone(), condition, uid, program, instance);
            self.telling.push(Box::pin(told));
        }
    }

    fn written(&mut self, written: &Written) {
        self.reporter.metrics.wrote(written.result);
        if let Some(plan) = &mut self.plan {
            plan.done(written, Instant::now());
        }
        match written.result {
            WriteResult::Written | WriteResult::Gone => {}
            WriteResult::Forbidden => self.say("status_forbidden", &written.detail),
            WriteResult::Failed => self.say("status_failed", &written.detail),
        }
    }

    fn told(&mut self, (condition, result, detail): Told) {
        self.reporter.metrics.event(result);
        match result {
            WriteResult::Written | WriteResult::Gone => return,
            WriteResult::Forbidden => self.say("event_forbidden", &detail),
            WriteResult::Failed => self.say("event_failed", &detail),
        }
        self.events.failed(condition, Instant::now());
    }

    /// Says what is wrong, not each time.
    fn say(&mut self, reason: &'static str, detail: &str) {
        let now = Instant::now();
        let last = self.said.get(reason);
        if last.is_some_and(|last| now.duration_since(*last) < SAY_AGAIN) {
            tracing::debug!(reason, detail, "still so");
            return;
        }
        self.said.insert(reason, now);
        tracing::warn!(
            reason,
            detail,
            "owners of Ingresses are not told everything; trying on"
        );
    }
}
