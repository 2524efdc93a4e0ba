//! GET of one object and of lists: versions, chunks, selectors.
//!
//! In: a [`Call`]. Out: a stored object or a [`List`]; never a change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::call::{Answer, Call, Content, List};
use super::selector::Selector;
use super::state::{Shared, State};
use super::status::Failure;
use super::store::{self, Stored};
use super::validate::Cause;

/// How long a read waits for a version that is not reached yet, as the real server does.
const FUTURE_VERSION_WAIT: Duration = Duration::from_secs(3);

/// How often it looks meanwhile.
const FUTURE_VERSION_POLL: Duration = Duration::from_millis(20);

/// Where a list goes on: the version of its first chunk and the first key that is still due.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    v: String,
    /// -1: the newest version; the token of a list whose version is forgotten.
    rv: i64,
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

/// Which state a list shows.
enum Moment {
    Newest,
    Exactly(u64),
}

/// Objects with their keys, in order.
type Entries<'a> = Box<dyn Iterator<Item = (&'a String, &'a Arc<Stored>)> + 'a>;

/// One object.
pub(crate) async fn get(shared: &Shared, call: &Call) -> Result<Answer, Failure> {
    let version = call.query.text("resourceVersion");
    if !version.is_empty() {
        let version = version.parse().map_err(|_| bad_version(version))?;
        wait_for(shared, version).await?;
    }
    let state = shared.state();
    Ok(Answer::object(200, state.find(call)?))
}

/// The complaint about a version that is no number; the real server blames itself.
pub(crate) fn bad_version(version: &str) -> Failure {
    Failure::plain_internal(format!(
        "resourceVersion: Invalid value: {version:?}: strconv.ParseUint: parsing {version:?}: invalid syntax"
    ))
}

/// Waits until the store has reached a version.
pub(crate) async fn wait_for(shared: &Shared, version: u64) -> Result<(), Failure> {
    let deadline = Instant::now() + FUTURE_VERSION_WAIT;
    loop {
        let current = shared.state().store.version();
        if version <= current {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Failure::too_large_version(version, current));
        }
        tokio::time::sleep(FUTURE_VERSION_POLL).await;
    }
}

/// A list.
pub(crate) async fn list(shared: &Shared, call: &Call) -> Result<Answer, Failure> {
    let selector = selector(call)?;
    check_list_options(call)?;
    // It limits nothing here, but one that is no number is refused.
    call.query.number("timeoutSeconds")?;
    let limit = usize::try_from(call.query.number("limit")?.unwrap_or(0)).unwrap_or(0);
    let version = call.query.text("resourceVersion");
    let token = call.query.text("continue");
    let (moment, start, limit) = if token.is_empty() {
        let (moment, limit) = moment_of(call, version, limit)?;
        (moment, String::new(), limit)
    } else {
        let token = read_token(token)?;
        let moment = u64::try_from(token.rv).map_or(Moment::Newest, Moment::Exactly);
        (
            moment,
            token.start.trim_start_matches('/').to_owned(),
            limit,
        )
    };
    if let Ok(version) = version.parse() {
        wait_for(shared, version).await?;
    }
    let state = shared.state();
    list_at(&state, call, &selector, &moment, &start, limit).map(|list| Answer {
        code: 200,
        content: Content::List(list),
        warnings: Vec::new(),
    })
}

/// The selector of a call.
pub(crate) fn selector(call: &Call) -> Result<Selector, Failure> {
    let (labels, fields) = (
        call.query.text("labelSelector"),
        call.query.text("fieldSelector"),
    );
    Selector::parse(call.resource(), labels, fields).map_err(Failure::bad_request)
}

/// The objects that a selector means, as they are now.
pub(crate) fn selected(state: &State, call: &Call, selector: &Selector) -> List {
    list_at(state, call, selector, &Moment::Newest, "", 0).unwrap_or_else(|_| List {
        resource: call.target.resource.clone(),
        objects: Vec::new(),
        version: state.store.version(),
        token: None,
        remaining: None,
    })
}

fn moment_of(call: &Call, version: &str, limit: usize) -> Result<(Moment, usize), Failure> {
    if version.is_empty() {
        return Ok((Moment::Newest, limit));
    }
    let version: u64 = version.parse().map_err(|_| {
        Failure::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {version:?}: strconv.ParseUint: parsing \
             {version:?}: invalid syntax"
        ))
    })?;
    let how = call.query.text("resourceVersionMatch");
    match (version, how) {
        (0, _) => Ok((Moment::Newest, 0)),
        (_, "Exact") => Ok((Moment::Exactly(version), limit)),
        (_, "") if limit > 0 => Ok((Moment::Exactly(version), limit)),
        _ => Ok((Moment::Newest, limit)),
    }
}

fn check_list_options(call: &Call) -> Result<(), Failure> {
    let query = &call.query;
    let how = query.text("resourceVersionMatch");
    let mut causes = Vec::new();
    let mut forbid = |field: &str, why: &str| {
        causes.push(Cause {
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {why}"),
            field: field.to_owned(),
        });
    };
    if query.flag("sendInitialEvents") {
        forbid(
            "sendInitialEvents",
            "sendInitialEvents is forbidden for list",
        );
    }
    if !how.is_empty() {
        if query.text("resourceVersion").is_empty() {
            forbid(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            );
        }
        if !query.text("continue").is_empty() {
            forbid(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden when continue is provided",
            );
        }
        if how == "Exact" && query.text("resourceVersion") == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            forbid("resourceVersionMatch", why);
        }
        if !matches!(how, "Exact" | "NotOlderThan") {
            causes.push(Cause {
                reason: "FieldValueNotSupported",
                message: format!("Unsupported value: {how:?}: supported values: \"Exact\", \"NotOlderThan\", \"\""),
                field: "resourceVersionMatch".to_owned(),
            });
        }
    }
    if !causes.is_empty() {
        return Err(Failure::invalid_kind(
            "meta.k8s.io",
            "ListOptions",
            "",
            &causes,
        ));
    }
    if !query.text("continue").is_empty() && !matches!(query.text("resourceVersion"), "" | "0") {
        return Err(Failure::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    Ok(())
}

fn list_at(
    state: &State,
    call: &Call,
    selector: &Selector,
    moment: &Moment,
    start: &str,
    limit: usize,
) -> Result<List, Failure> {
    let resource = call.target.resource.clone();
    let prefix = store::prefix(call.namespace());
    let current = state.store.version();
    let Some(collection) = state.store.collection(&resource.storage) else {
        return Err(Failure::no_resource());
    };
    let past: BTreeMap<String, Arc<Stored>>;
    let (version, all): (u64, Entries<'_>) = match *moment {
        Moment::Exactly(version) if version < current => {
            past = collection
                .at(version, &prefix)
                .map_err(|_| Failure::expired("The provided continue parameter is too old to display a consistent list result. \
                    You can start a new list without the continue parameter, or use the continue token in this response to \
                    retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - \
                    objects that were created, modified, or deleted between the time the first chunk was returned and now may \
                    show up in the list."))?;
            (version, Box::new(past.iter()))
        }
        Moment::Exactly(version) => (version, Box::new(collection.range(&prefix))),
        Moment::Newest => (current, Box::new(collection.range(&prefix))),
    };
    let begin = format!("{prefix}{start}");
    let mut due = all
        .filter(|(key, _)| start.is_empty() || key.as_str() >= begin.as_str())
        .filter(|(_, object)| selector.matches(&object.value));
    let mut objects = Vec::new();
    let mut last = "";
    while limit == 0 || objects.len() < limit {
        let Some((key, object)) = due.next() else {
            break;
        };
        last = key;
        objects.push(object.clone());
    }
    let rest = due.count();
    let token = (rest > 0)
        .then(|| write_token(version, last.strip_prefix(prefix.as_str()).unwrap_or(last)));
    let remaining = (rest > 0 && selector.is_empty()).then_some(rest);
    Ok(List {
        resource,
        objects,
        version,
        token,
        remaining,
    })
}

fn write_token(version: u64, last: &str) -> String {
    let token = Token {
        v: TOKEN_VERSION.to_owned(),
        rv: i64::try_from(version).unwrap_or(i64::MAX),
        start: format!("/{last}\0"),
    };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token has only plain fields"))
}

fn read_token(text: &str) -> Result<Token, Failure> {
    let refuse = |why: &str| {
        Failure::bad_request(format!(
            "invalid continue token: continue key is not valid: {why}"
        ))
    };
    let bytes = URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .map_err(|error| refuse(&error.to_string()))?;
    let token: Token =
        serde_json::from_slice(&bytes).map_err(|error| refuse(&error.to_string()))?;
    if token.v != TOKEN_VERSION {
        return Err(refuse("server does not recognize this encoded version"));
    }
    Ok(token)
}
