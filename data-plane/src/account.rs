//! What one request adds to metrics and log when it ends, however it ends.
//!
//! In: what the steps of `proxy` learn. Out: counters, histograms and the access-log event, written when the account is
//! dropped. It travels with the response body, so a request ends when its last byte has been handed over, or when the
//! client went away.

use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use crate::access_log::{End, Entry};
use crate::body::Upload;
use crate::error::ProxyError;
use crate::http::pulse::{Busy, Cut};
use crate::metrics::{NoRetry, Owner, Retry};

/// What the log names answers that send a client to https.
const REDIRECTED: &str = "https_redirect";

/// Metric handles of what no route takes, as one worker has them.
pub(crate) struct Unrouted(pub(crate) Owner);

/// The books of one request.
pub(crate) struct Account {
    started: Instant,
    /// Of all requests of a worker, so that none of them touches what workers share.
    unrouted: Rc<Unrouted>,
    owner: Option<Owner>,
    /// 0 until the head of the response is known.
    code: u16,
    reason: Option<&'static str>,
    is_complete: bool,
    response_bytes: u64,
    upload: Option<Rc<Upload>>,
    entry: Option<Box<Entry>>,
    busy: Busy,
}

// === impl Account ===

impl Account {
    /// Opens the books; `unrouted` are those of requests that no route takes.
    ///
    /// Boxed: they go from the request to its answer, and through the codec with that.
    pub(crate) fn open(
        unrouted: &Rc<Unrouted>,
        entry: Option<Box<Entry>>,
        busy: Busy,
    ) -> Box<Self> {
        Box::new(Self {
            started: busy.now(),
            unrouted: unrouted.clone(),
            owner: None,
            code: 0,
            reason: None,
            is_complete: false,
            response_bytes: 0,
            upload: None,
            entry,
            busy,
        })
    }

    /// The request belongs to this Ingress.
    pub(crate) fn routed(&mut self, owner: Owner) {
        owner.began();
        self.owner = Some(owner);
    }

    /// The request has a body, which keeps count of itself.
    pub(crate) fn uploads(&mut self, upload: Rc<Upload>) {
        self.upload = Some(upload);
    }

    /// Whether the body of the request was sent to the endpoint to its end.
    pub(crate) fn has_whole_body(&self) -> bool {
        self.upload
            .as_ref()
            .is_some_and(|upload| upload.is_complete())
    }

    /// What the log is to tell, if this request is one to log.
    pub(crate) fn entry(&mut self) -> Option<&mut Entry> {
        self.entry.as_deref_mut()
    }

    /// A further try begins.
    pub(crate) fn retried(&self, retry: Retry) {
        self.owner().retried(retry);
    }

    /// An endpoint was sent to rest.
    pub(crate) fn ejected(&self) {
        self.owner().ejected();
    }

    /// There is no further try.
    pub(crate) fn not_retried(&self, why: NoRetry) {
        self.owner().not_retried(why);
    }

    /// An endpoint began its answer.
    pub(crate) fn answered(&mut self, code: u16, upstream: Duration) {
        self.code = code;
        self.owner().answered(upstream);
        if let Some(entry) = self.entry() {
            entry.upstream = Some(upstream);
        }
    }

    /// The answer is ours.
    pub(crate) fn refused(&mut self, error: &ProxyError) {
        self.code = error.status().as_u16();
        self.fail(error);
    }

    /// The answer is that the client is to come by https.
    pub(crate) fn redirected(&mut self) {
        self.code = StatusCode::PERMANENT_REDIRECT.as_u16();
        self.reason = Some(REDIRECTED);
        self.owner().redirected();
    }

    /// Something failed after the head of the response was sent.
    pub(crate) fn fail(&mut self, error: &ProxyError) {
        self.reason = Some(error.reason());
        self.owner().failed(error);
    }

    pub(crate) fn handed_over(&mut self, bytes: usize) {
        self.response_bytes += bytes as u64;
    }

    /// The whole answer was handed over.
    pub(crate) fn complete(&mut self) {
        self.is_complete = true;
    }

    /// It was handed over, and not sent.
    pub(crate) fn not_delivered(&mut self) {
        self.is_complete = false;
    }

    /// The connection this request came by.
    pub(crate) fn busy(&self) -> &Busy {
        &self.busy
    }

    /// Metric handles of the Ingress.
    pub(crate) fn owner(&self) -> &Owner {
        self.owner.as_ref().unwrap_or(&self.unrouted.0)
    }

    /// Nobody waits for the rest: the client went away, or the connection was cut.
    fn abandon(&mut self) {
        let error = match self.busy.cut() {
            None => ProxyError::ClientAborted,
            Some(Cut::Stalled) => ProxyError::ClientStalled,
            Some(Cut::Drained) => ProxyError::DrainDeadline,
        };
        if self.code == 0 {
            self.code = error.status().as_u16();
        }
        if matches!(error, ProxyError::ClientAborted) {
            self.owner().aborted();
        }
        self.fail(&error);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // What was handed over whole may still be held by a connection that is cut now.
        let is_delivered = self.is_complete && self.busy.cut().is_none();
        if !is_delivered && self.reason.is_none() {
            self.abandon();
        }
        let duration = self.busy.now() - self.started;
        let owner = self.owner();
        owner.ended(self.code, duration);
        let request_bytes = self.upload.as_ref().map_or(0, |upload| upload.bytes());
        owner.carried(request_bytes, self.response_bytes);
        if self.owner.is_some() {
            owner.is_over();
        }
        if let Some(entry) = &self.entry {
            entry.write(&End {
                code: self.code,
                reason: self.reason,
                duration,
                request_body_bytes: request_bytes,
                response_body_bytes: self.response_bytes,
            });
        }
    }
}
