//! Writes to the API: each with a limit of time, under the name of the component that a real cluster would show, and
//! with errors that say what to do next.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::Status;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::request_rate::{Line, RequestRate};
use super::store::Key;

/// The longest that one request may take, with the retries that the client makes by itself.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes as one component.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    manager: &'static str,
    line: Option<Line>,
}

/// Why a write was not done, or not known to be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("the object has changed meanwhile")]
    Conflict,
    #[error("what was seen of the API is older than the last own write")]
    Stale,
    #[error("it exists already")]
    AlreadyExists,
    #[error("it is gone")]
    NotFound,
    #[error("the namespace is being deleted")]
    NamespaceTerminating,
    #[error("the API server refuses it: {}", .0.message)]
    Refused(Box<Status>),
    #[error("no answer within {} s", REQUEST_TIMEOUT.as_secs())]
    TimedOut,
    #[error("the request failed")]
    Failed(#[source] kube::Error),
    #[error("{0}")]
    Incomplete(String),
}

// === impl Writer ===

impl Writer {
    pub(crate) fn new(client: Client, manager: &'static str) -> Self {
        Self {
            client,
            manager,
            line: None,
        }
    }

    /// The same writer, which keeps to a rate. Its clones wait in the same line.
    pub(crate) fn limited(self, rate: RequestRate) -> Self {
        Self {
            line: Some(Line::new(rate)),
            ..self
        }
    }

    /// One request with a limit of time, when it is its turn.
    pub(crate) async fn send<T>(
        &self,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        if let Some(line) = &self.line {
            line.turn().await;
        }
        timed(request).await
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) fn post_params(&self) -> PostParams {
        PostParams {
            field_manager: Some(self.manager.to_owned()),
            ..PostParams::default()
        }
    }

    pub(crate) async fn create<K>(&self, object: &K) -> Result<K, WriteError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let api = self.api::<K>(&Key::of(object));
        self.send(api.create(&self.post_params(), object)).await
    }

    pub(crate) async fn replace<K>(&self, object: &K) -> Result<K, WriteError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let key = Key::of(object);
        let api = self.api::<K>(&key);
        self.send(api.replace(&key.name, &self.post_params(), object))
            .await
    }

    pub(crate) async fn replace_status<K>(&self, object: &K) -> Result<K, WriteError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let key = Key::of(object);
        let api = self.api::<K>(&key);
        self.send(api.replace_status(&key.name, &self.post_params(), object))
            .await
    }

    pub(crate) async fn patch<K>(&self, key: &Key, patch: &Value) -> Result<K, WriteError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api = self.api::<K>(key);
        self.send(api.patch(&key.name, &self.patch_params(), &Patch::Strategic(patch)))
            .await
    }

    pub(crate) async fn patch_status<K>(&self, key: &Key, patch: &Value) -> Result<K, WriteError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api = self.api::<K>(key);
        self.send(api.patch_status(&key.name, &self.patch_params(), &Patch::Strategic(patch)))
            .await
    }

    /// Deletes the object of this name, if it is still the one with this `uid`.
    pub(crate) async fn delete<K>(&self, key: &Key, uid: &str) -> Result<(), WriteError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let params = delete_params(uid, None);
        self.send(self.api::<K>(key).delete(&key.name, &params))
            .await?;
        Ok(())
    }

    pub(crate) fn patch_params(&self) -> PatchParams {
        PatchParams {
            field_manager: Some(self.manager.to_owned()),
            ..PatchParams::default()
        }
    }

    pub(crate) fn api<K>(&self, key: &Key) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &key.namespace)
    }
}

/// Deletes only the object with this `uid`.
pub(crate) fn delete_params(uid: &str, policy: Option<PropagationPolicy>) -> DeleteParams {
    DeleteParams {
        propagation_policy: policy,
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    }
}

/// One request with a limit of time.
pub(crate) async fn timed<T>(
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, WriteError> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(WriteError::from),
        Err(_) => Err(WriteError::TimedOut),
    }
}

// === impl WriteError ===

impl WriteError {
    /// Whether this is part of ordinary life: somebody else was faster, or something is still to be seen.
    pub(crate) fn is_expected(&self) -> bool {
        matches!(self, Self::Conflict | Self::Stale | Self::Incomplete(_))
    }

    /// What users are told, in events and conditions: the API server's own words where it had some.
    pub(crate) fn told(&self) -> String {
        if let Self::Refused(status) = self {
            return status.message.clone();
        }
        self.to_string()
    }

    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Stale => "stale",
            Self::AlreadyExists => "already_exists",
            Self::NotFound => "not_found",
            Self::NamespaceTerminating => "namespace_terminating",
            Self::Refused(_) => "refused",
            Self::TimedOut => "timed_out",
            Self::Failed(_) => "failed",
            Self::Incomplete(_) => "incomplete",
        }
    }
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::Failed(error);
        };
        let is_terminating = status.details.as_ref().is_some_and(|details| {
            details
                .causes
                .iter()
                .any(|cause| cause.reason == "NamespaceTerminating")
        });
        match (status.code, status.reason.as_str()) {
            (409, "AlreadyExists") => Self::AlreadyExists,
            (409, _) => Self::Conflict,
            (404, _) => Self::NotFound,
            (403, _) if is_terminating => Self::NamespaceTerminating,
            _ => Self::Refused(status),
        }
    }
}

/// A write to something that is gone, or already as wanted, needs no second try.
pub(crate) fn unless_gone<T>(result: Result<T, WriteError>) -> Result<Option<T>, WriteError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(WriteError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
