//! What one worker has of one endpoint.
//!
//! In: connections that were opened and given back. Out: those that take the next requests. The requests of two Ingresses that ask for
//! different things of TLS have different slots: no connection that one of them would not have opened serves it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Http1;
use super::links::Links;
use super::tls::Tls;
use super::transport::Transport;
use super::waiting::Waiting;
use crate::table::{Endpoint, UpstreamTls};

/// The connections to one endpoint, as far as the same is asked of TLS to it.
pub(super) struct Slot<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    pub(super) endpoint: Endpoint,
    /// It is not in the table: nothing is kept for it.
    pub(super) is_gone: Cell<bool>,
    /// None: it is spoken to without.
    pub(super) tls: Option<Tls>,
    pub(super) waiting: Waiting<Transport<S>>,
    pub(super) links: Rc<Links>,
}

// === impl Slot ===

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Slot<S> {
    pub(super) fn new(endpoint: &Endpoint, tls: Option<&UpstreamTls>, idle_max: usize) -> Self {
        Self {
            endpoint: endpoint.clone(),
            is_gone: Cell::new(false),
            tls: tls.map(|asked| Tls::new(asked, endpoint)),
            waiting: Waiting::new(idle_max),
            links: Links::new(),
        }
    }

    /// Of slots that are in order.
    pub(super) fn find<'s>(
        slots: &'s [Rc<Self>],
        endpoint: &Endpoint,
        tls: Option<&UpstreamTls>,
    ) -> Option<&'s Rc<Self>> {
        if let [only] = slots {
            return (only.is_of(endpoint) && only.asked() == tls).then_some(only);
        }
        let found = slots.binary_search_by(|slot| slot.key().cmp(&(endpoint, tls)));
        found.ok().map(|place| &slots[place])
    }

    /// Where it stands among the slots of its number.
    pub(super) fn key(&self) -> (&Endpoint, Option<&UpstreamTls>) {
        (&self.endpoint, self.asked())
    }

    fn asked(&self) -> Option<&UpstreamTls> {
        self.tls.as_ref().map(Tls::asked)
    }

    fn is_of(&self, endpoint: &Endpoint) -> bool {
        let (own, identity) = (&self.endpoint.identity, &endpoint.identity);
        self.endpoint.address == endpoint.address && (Arc::ptr_eq(own, identity) || own == identity)
    }

    pub(super) fn put(&self, connection: Box<Http1<Transport<S>>>) {
        if !self.is_gone.get() {
            self.waiting.put(connection);
        }
    }

    /// Its endpoint left the table.
    pub(super) fn leave(&self) {
        self.is_gone.set(true);
        self.waiting.clear();
        self.links.close();
    }

    /// Drops what has been idle too long. Tells whether anything is left that is worth keeping.
    pub(super) fn expire(&self, now: Instant, idle_timeout: Duration) -> bool {
        self.waiting.expire(now, idle_timeout);
        self.links.expire(now, idle_timeout);
        let tls = self.tls.as_ref();
        let has_sessions = tls.is_some_and(|tls| tls.is_kept(now, idle_timeout));
        !self.waiting.is_empty() || !self.links.is_unused() || has_sessions
    }
}
