//! What may be sent again, and how often (ADR 0007, ADR 0033).
//!
//! In: a try that brought no response. Out: whether there is another one. `send` makes it.

use std::io;

use http::request::Parts;
use http::{HeaderValue, Method};

use super::send::Sender;
use crate::account::Account;
use crate::error::ProxyError;
use crate::head::forwarded;
use crate::metrics::NoRetry;
use crate::net::Net;

/// Nobody listens there.
pub(super) fn is_refusal(error: &ProxyError) -> bool {
    matches!(error, ProxyError::ConnectFailed { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused)
}

/// RFC 9110 §9.2.2.
pub(super) fn is_idempotent(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::TRACE,
        Method::PUT,
        Method::DELETE,
    ]
    .contains(method)
}

// === impl Sender ===

impl<N: Net> Sender<'_, N> {
    /// Whether a request may be sent again that may have been processed; then it is about to be.
    pub(super) fn retry(&mut self, head: &mut Parts, account: &Account) -> bool {
        if self.is_retried {
            account.not_retried(NoRetry::Repeated);
            return false;
        }
        let retries = &self.context.shared.config.retries;
        if !self.choice.may_retry(account.busy().now(), retries) {
            account.not_retried(NoRetry::Budget);
            return false;
        }
        self.is_retried = true;
        self.tell(head);
        true
    }

    /// Tells the next tier, if there is one, that the request has been sent before.
    pub(super) fn tell(&self, head: &mut Parts) {
        if self.is_retried && self.policy.delegates {
            let yes = HeaderValue::from_static("1");
            head.headers.insert(forwarded::RETRIED.clone(), yes);
        }
    }
}
