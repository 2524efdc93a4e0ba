//! Endpoints that fail are left alone for a while (ADR 0033): what is told of it.
//!
//! In: tries that failed. Out: the log, and the gauge of endpoints that rest. `balance` decides; the worker that sent an endpoint to rest
//! counts it until its time is over, or its last table is gone.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use tokio::time::Instant;

use super::send::Sender;
use crate::account::Account;
use crate::balance::LiveEndpoint;
use crate::error::ProxyError;
use crate::metrics::Metrics;
use crate::net::Net;
use crate::table::Endpoint;

/// The endpoints that this worker sent to rest: each once, for whoever rests is not sent again.
#[derive(Debug, Default)]
pub(crate) struct Resting(RefCell<Vec<Ejected>>);

#[derive(Debug)]
struct Ejected {
    endpoint: Weak<LiveEndpoint>,
    address: SocketAddr,
    until: Instant,
}

// === impl Resting ===

impl Resting {
    fn add(
        &self,
        live: &Arc<LiveEndpoint>,
        address: SocketAddr,
        until: Instant,
        metrics: &Metrics,
    ) {
        metrics.families().endpoints_ejected.inc();
        self.0.borrow_mut().push(Ejected {
            endpoint: Arc::downgrade(live),
            address,
            until,
        });
    }

    /// Counts out those whose time is over.
    pub(super) fn tend(&self, now: Instant, metrics: &Metrics) {
        self.0.borrow_mut().retain(|ejected| {
            let is_gone = ejected.endpoint.strong_count() == 0;
            if !is_gone && ejected.until > now {
                return true;
            }
            metrics.families().endpoints_ejected.dec();
            if !is_gone {
                tracing::info!(endpoint = %ejected.address, reason = "endpoint_returned", "an endpoint gets requests again");
            }
            false
        });
    }
}

// === impl Sender ===

impl<N: Net> Sender<'_, N> {
    /// An endpoint failed, and may have to rest.
    pub(super) fn blame(&self, endpoint: &Endpoint, error: &ProxyError, account: &Account) {
        if is_ours(error) {
            return;
        }
        let (shared, now) = (&self.context.shared, account.busy().now());
        let settings = &shared.config.ejection;
        let Some((rest, live)) = self.choice.failed(now, settings) else {
            return;
        };
        account.ejected();
        let (address, until) = (endpoint.address, now + rest.time);
        self.context
            .resting
            .add(live, address, until, &shared.metrics);
        tracing::warn!(
            endpoint = %address,
            identity = %endpoint.identity,
            backend = %self.choice.backend(),
            failures = settings.failures,
            number = rest.number,
            seconds = rest.time.as_secs_f64(),
            last = error.reason(),
            reason = "endpoint_ejected",
            "an endpoint fails and gets no requests for a while, as long as half of the others of its Service can take them"
        );
    }
}

/// We have no port left to connect from.
fn is_ours(error: &ProxyError) -> bool {
    matches!(error, ProxyError::ConnectFailed { source, .. } if source.kind() == io::ErrorKind::AddrNotAvailable)
}
