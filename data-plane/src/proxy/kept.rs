//! What is kept of a request that may have to be sent again, and the request that is made of it. Pure.
//!
//! A second try is rare, and a first one is not to pay for it: of a request by HTTP/1.1 the codec has the fields, as it has
//! just written them, and nothing is copied here. A connection that is shared encodes later than it takes the request,
//! so of one by HTTP/2 the fields are kept as text, which costs a third of a copy of the map.

use http::request::Parts;
use http::{HeaderMap, Method, Request, Uri, Version};

use crate::body::RequestBody;
use crate::head::fields;

/// The head of a request that has been sent.
pub(super) struct Kept {
    method: Method,
    uri: Uri,
    version: Version,
    /// Nothing: the codec has them.
    fields: Option<Vec<u8>>,
}

// === impl Kept ===

impl Kept {
    /// Of a request that goes by a connection that is shared, or by one that is not.
    pub(super) fn of(head: &Parts, is_shared: bool) -> Self {
        Self {
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            fields: is_shared.then(|| fields::write(&head.headers)),
        }
    }

    /// The request again, with this body. `written` are the fields that the codec has written.
    pub(super) fn request(
        self,
        written: Option<HeaderMap>,
        body: RequestBody,
    ) -> Option<(Parts, RequestBody)> {
        let kept = || fields::read(self.fields.as_ref()?);
        let headers = written.or_else(kept)?;
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = self.method;
        head.uri = self.uri;
        head.version = self.version;
        head.headers = headers;
        Some((head, body))
    }
}
