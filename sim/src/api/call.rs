//! One request on its way through the server, and what comes back.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use serde_json::Value;

use super::request::{Form, Query, Target};
use super::resources::Resource;
use super::status::Failure;
use super::store::Stored;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// Name, such as `system:serviceaccount:kube-system:default`.
    pub name: String,
    /// Unique id, empty for the administrator.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
}

/// A request for a resource.
#[derive(Debug)]
pub(crate) struct Call {
    /// Who asks.
    pub user: User,
    /// What for.
    pub target: Target,
    /// HTTP method.
    pub method: http::Method,
    /// Parameters.
    pub query: Query,
    /// The form of the answer.
    pub form: Form,
    /// `Content-Type` without parameters; empty when there is none.
    pub content_type: String,
    /// First part of the `User-Agent`, which names a manager that names itself no other way.
    pub agent: String,
    /// The body.
    pub body: Bytes,
}

/// A stream of bytes that ends when the watch ends.
pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// What a request gets.
pub(crate) struct Answer {
    /// HTTP status.
    pub code: u16,
    /// Body.
    pub content: Content,
    /// Sentences for `Warning` headers.
    pub warnings: Vec<String>,
}

/// The body of an answer.
pub(crate) enum Content {
    /// A stored object.
    Object(Arc<Stored>),
    /// Any other object.
    Value(Value),
    /// A list.
    List(List),
    /// Text or JSON that is ready: content type and body.
    Bytes(&'static str, Bytes),
    /// A watch: content type and events.
    Watch(ByteStream),
}

/// Some objects of one kind.
pub(crate) struct List {
    /// The kind.
    pub resource: Arc<Resource>,
    /// The objects, in order, as they are stored.
    pub objects: Vec<Arc<Stored>>,
    /// The version that the list shows.
    pub version: u64,
    /// Where to go on.
    pub token: Option<String>,
    /// How many more there are, when that is known.
    pub remaining: Option<usize>,
}

// === impl Call ===

impl Call {
    /// The resource.
    pub(crate) fn resource(&self) -> &Resource {
        &self.target.resource
    }

    /// The namespace in the path.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.target.namespace.as_deref()
    }

    /// The name in the path; empty when there is none.
    pub(crate) fn name(&self) -> &str {
        self.target.name.as_deref().unwrap_or_default()
    }

    /// The name of whoever changes fields.
    pub(crate) fn manager(&self) -> &str {
        match self.query.text("fieldManager") {
            "" => &self.agent,
            manager => manager,
        }
    }

    /// The subresource as managed fields write it.
    pub(crate) fn subresource_name(&self) -> &'static str {
        self.target
            .subresource
            .map_or("", super::resources::Subresource::name)
    }
}

// === impl Answer ===

impl Answer {
    /// A stored object.
    pub(crate) fn object(code: u16, object: Arc<Stored>) -> Self {
        Self {
            code,
            content: Content::Object(object),
            warnings: Vec::new(),
        }
    }

    /// Any other object.
    pub(crate) fn value(code: u16, value: Value) -> Self {
        Self {
            code,
            content: Content::Value(value),
            warnings: Vec::new(),
        }
    }

    /// A stored object or a refusal, with what was found wrong besides.
    pub(crate) fn written(
        result: Result<(u16, Arc<Stored>), Failure>,
        warnings: Vec<String>,
    ) -> Result<Self, Failure> {
        match result {
            Ok((code, object)) => Ok(Self {
                warnings,
                ..Self::object(code, object)
            }),
            Err(failure) => Err(failure.warn(warnings)),
        }
    }

    /// Bytes of a type that is not ours to convert.
    pub(crate) fn bytes(kind: &'static str, bytes: &'static [u8]) -> Self {
        Self::ready(kind, Bytes::from_static(bytes))
    }

    /// Bytes that are sent as they are.
    pub(crate) fn ready(kind: &'static str, bytes: Bytes) -> Self {
        Self {
            code: 200,
            content: Content::Bytes(kind, bytes),
            warnings: Vec::new(),
        }
    }

    /// Plain text.
    pub(crate) fn text(code: u16, text: impl Into<Bytes>) -> Self {
        let content = Content::Bytes("text/plain; charset=utf-8", text.into());
        Self {
            code,
            content,
            warnings: Vec::new(),
        }
    }
}
