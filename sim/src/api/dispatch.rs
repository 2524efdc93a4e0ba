//! Sends a request to the one who can answer it, in the order of checks of the real server: who, path, method, form.
//!
//! In: an HTTP head and body. Out: an [`Answer`] or a [`Failure`], and an entry in the request log.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use jiff::Timestamp;

use super::call::{Answer, Call, Content, User};
use super::log::Entry;
use super::request::{Form, Query, Route, Target};
use super::resources::{Offer, Subresource};
use super::state::Shared;
use super::status::Failure;
use super::store::Stored;
use super::{
    deletion, discovery, metadata, openapi, parameters, patching, pods, read, request, review,
    scale, token, watching, write,
};

/// What came of a request.
pub(crate) struct Outcome {
    /// Who asked; empty when that is not known.
    pub user: String,
    /// The call, when the path names a resource and the head is sound.
    pub call: Option<Call>,
    /// What to answer.
    pub answer: Result<Answer, Failure>,
}

/// Who brings no token.
const ANONYMOUS: &str = "system:anonymous";

/// Paths that are open to those who bring no token.
const OPEN: &[&str] = &["/healthz", "/livez", "/readyz", "/version"];

const MEDIA_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// Answers a request.
pub(crate) async fn dispatch(shared: &Arc<Shared>, parts: &Parts, body: Bytes) -> Outcome {
    let path = parts.uri.path();
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let user = match user_of(shared, parts) {
        Err(failure) => {
            return Outcome {
                user: String::new(),
                call: None,
                answer: Err(failure),
            };
        }
        Ok(user) => user,
    };
    let name = user
        .as_ref()
        .map_or(ANONYMOUS, |user| &user.name)
        .to_owned();
    let (call, answer) = match user {
        None if !is_open(path) => (None, Err(anonymous(shared, parts, &query))),
        user if path.starts_with("/api") => {
            resource(shared, parts, query, user.unwrap_or_else(nobody), body).await
        }
        _ => (None, other(shared, parts, &query)),
    };
    Outcome {
        user: name,
        call,
        answer,
    }
}

fn is_open(path: &str) -> bool {
    OPEN.iter().any(|open| {
        path.strip_prefix(open)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn nobody() -> User {
    User {
        name: ANONYMOUS.to_owned(),
        uid: String::new(),
        groups: vec!["system:unauthenticated".to_owned()],
    }
}

fn header(parts: &Parts, name: http::HeaderName) -> &str {
    parts
        .headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// The program that asks, as it names itself.
fn agent(parts: &Parts) -> &str {
    header(parts, USER_AGENT)
        .split('/')
        .next()
        .unwrap_or_default()
}

/// Who asks; nobody when there is no bearer token.
fn user_of(shared: &Shared, parts: &Parts) -> Result<Option<User>, Failure> {
    let Some((scheme, token)) = header(parts, AUTHORIZATION).split_once(' ') else {
        return Ok(None);
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    token::user_of(shared, token.trim())
        .map(Some)
        .ok_or_else(Failure::unauthorized)
}

fn anonymous(shared: &Shared, parts: &Parts, query: &Query) -> Failure {
    let path = parts.uri.path();
    let route = request::route(&shared.state().registry, path);
    match route {
        Ok(Route::Resource(target)) => Failure::not_allowed(
            &target.resource,
            target.name.as_deref().unwrap_or_default(),
            verb(&parts.method, &target, query),
            target.namespace.as_deref(),
        ),
        _ => Failure::anonymous(format!(
            "forbidden: User \"system:anonymous\" cannot get path {path:?}"
        )),
    }
}

/// Paths that are no resources.
fn other(shared: &Shared, parts: &Parts, query: &Query) -> Result<Answer, Failure> {
    let path = parts.uri.path();
    let first = path.split('/').nth(1).unwrap_or_default();
    if !matches!(
        first,
        "healthz" | "livez" | "readyz" | "version" | "openapi"
    ) {
        return Err(Failure::no_page());
    }
    if parts.method != Method::GET {
        return Err(Failure::method_not_allowed());
    }
    match first {
        "version" => Ok(Answer::value(200, discovery::version())),
        "openapi" if path.starts_with("/openapi/v3") => {
            openapi::answer(&shared.state().registry, path)
        }
        "openapi" if path == "/openapi/v2" => Ok(openapi::version_2()),
        "openapi" => Err(Failure::no_page()),
        _ => discovery::health(path, query.has("verbose")),
    }
}

async fn resource(
    shared: &Arc<Shared>,
    parts: &Parts,
    query: Query,
    user: User,
    body: Bytes,
) -> (Option<Call>, Result<Answer, Failure>) {
    let accept = header(parts, ACCEPT);
    let target = {
        let state = shared.state();
        match request::route(&state.registry, parts.uri.path()) {
            Ok(Route::Resource(target)) => target,
            Ok(_) if parts.method != Method::GET => {
                return (None, Err(Failure::method_not_allowed()));
            }
            Ok(route) => return (None, discovery::answer(&state.registry, &route, accept)),
            Err(failure) => return (None, Err(failure)),
        }
    };
    let form = Form::choose(accept);
    let content_type = header(parts, CONTENT_TYPE)
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let agent = agent(parts);
    let call = Call {
        user,
        target,
        method: parts.method.clone(),
        query,
        form: form.unwrap_or(Form::Plain),
        content_type: content_type.to_owned(),
        agent: if agent.is_empty() {
            "unknown".to_owned()
        } else {
            agent.to_owned()
        },
        body,
    };
    if form.is_none() {
        let failure = not_acceptable(&call, accept);
        return (Some(call), Err(failure));
    }
    let answer = run(shared, &call).await;
    (Some(call), answer)
}

fn not_acceptable(call: &Call, accept: &str) -> Failure {
    if Form::is_known_media_type(accept) {
        return Failure::not_acceptable(format!(
            "only the following media types are accepted: {MEDIA_TYPES}"
        ));
    }
    let streams = match verb(&call.method, &call.target, &call.query) {
        "watch" => {
            ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        }
        _ => "",
    };
    Failure::not_acceptable_form(format!(
        "406: Not Acceptable\n\nAvailable representations: {MEDIA_TYPES}{streams}"
    ))
}

/// The verb as the log and RBAC name it.
pub(crate) fn verb(method: &Method, target: &Target, query: &Query) -> &'static str {
    let is_one = target.name.is_some();
    match *method {
        Method::GET if target.is_watch_path || query.flag("watch") && !is_one => "watch",
        Method::GET if is_one => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if is_one => "delete",
        Method::DELETE => "deletecollection",
        _ => "other",
    }
}

async fn run(shared: &Arc<Shared>, call: &Call) -> Result<Answer, Failure> {
    let verb = verb(&call.method, &call.target, &call.query);
    check_verb(call, verb)?;
    parameters::check(verb, &call.query)?;
    match (call.target.subresource, verb) {
        (None | Some(Subresource::Status), "get") => read::get(shared, call).await,
        (None, "list") => read::list(shared, call).await,
        (None, "watch") => watching::watch(shared, call).await,
        (None, "create") if call.resource().is("", "Binding") => pods::bind(shared, call),
        (None, "create") if call.resource().offer == Offer::Create => review::answer(shared, call),
        (None, "create") => write::create(shared, call),
        (None | Some(Subresource::Status | Subresource::Finalize), "update") => {
            write::update(shared, call)
        }
        (_, "patch") => patching::patch(shared, call),
        (None, "delete") => deletion::delete(shared, call),
        (None, "deletecollection") => deletion::delete_collection(shared, call),
        (Some(Subresource::Scale), "get") => scale::get(&shared.state(), call),
        (Some(Subresource::Scale), "update") => scale::update(shared, call),
        (Some(Subresource::Binding), "create") => pods::bind(shared, call),
        (Some(Subresource::Eviction), "create") => pods::evict(shared, call),
        (Some(Subresource::Token), "create") => token::issue(shared, call),
        _ => Err(Failure::method_not_allowed()),
    }
}

fn check_verb(call: &Call, verb: &str) -> Result<(), Failure> {
    let resource = call.resource();
    let is_known = match call.target.subresource {
        Some(subresource) => subresource.verbs().contains(&verb),
        None => resource.verbs().contains(&verb),
    };
    let is_one = call.target.name.is_some();
    let fits = match verb {
        "create" => {
            is_one == call.target.subresource.is_some()
                && (is_one || resource.namespaced == call.namespace().is_some())
        }
        "update" | "patch" => is_one,
        "deletecollection" => resource.namespaced == call.namespace().is_some(),
        _ => true,
    };
    if is_known && fits {
        Ok(())
    } else {
        Err(Failure::method_not_allowed())
    }
}

/// When a request came, and when its answer was known.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub received: Timestamp,
    pub answered: Timestamp,
}

/// The entry of a request in the log.
pub(crate) fn entry(parts: &Parts, times: Times, outcome: &Outcome, code: u16) -> Entry {
    let agent = agent(parts).to_owned();
    let Some(call) = &outcome.call else {
        return Entry {
            received: times.received,
            time: times.answered,
            user: outcome.user.clone(),
            agent,
            verb: parts.method.as_str().to_lowercase(),
            group: String::new(),
            resource: parts.uri.path().to_owned(),
            namespace: String::new(),
            name: String::new(),
            code,
            version: None,
        };
    };
    let resource = call.resource();
    let answered = answered_object(outcome);
    Entry {
        received: times.received,
        time: times.answered,
        user: call.user.name.clone(),
        agent,
        verb: verb(&call.method, &call.target, &call.query).to_owned(),
        group: resource.group.clone(),
        resource: match call.target.subresource {
            Some(subresource) => format!("{}/{}", resource.plural, subresource.name()),
            None => resource.plural.clone(),
        },
        namespace: call.namespace().unwrap_or_default().to_owned(),
        name: match (call.name(), answered) {
            // A create names its object only in the answer.
            ("", Some(object)) => metadata::name_of(&object.value).to_owned(),
            (name, _) => name.to_owned(),
        },
        code,
        version: answered.map(|object| object.version),
    }
}

/// The object of an answer.
fn answered_object(outcome: &Outcome) -> Option<&Stored> {
    match &outcome.answer.as_ref().ok()?.content {
        Content::Object(object) => Some(object),
        Content::Value(_) | Content::List(_) | Content::Bytes(..) | Content::Watch(_) => None,
    }
}
