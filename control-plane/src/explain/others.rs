//! Which rules could have had a request, and why they do not have it. Pure.
//!
//! In: the model with its conditions, and what the data plane says a request meets. Out: the other rules for its host and path: those that are
//! served, which the order of rules puts behind, and those that are not, with the condition that says why.

use http::Uri;
use serde::Serialize;
use tiergate_data_plane::host::{HostName, HostPattern};
use tiergate_data_plane::lookup::comparable_path;
use tiergate_data_plane::table::{Met, PathMatch};

use crate::model::RouteKey;
use crate::model::host;
use crate::model::path::{PathKind, PathPattern};
use crate::objects::{Kind, Objects};
use crate::translate::Translation;
use crate::translate::condition::{Condition, Reason};

/// A rule that does not have a request.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Other {
    ingress: String,
    /// Path and host of the rule, or the field where it stands.
    rule: String,
    /// That of its condition, when it is not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    why: String,
}

/// All rules.
pub(super) struct Others<'t> {
    pub(super) objects: &'t Objects,
    pub(super) translation: &'t Translation,
}

// === impl Others ===

impl Others<'_> {
    /// Path and host of the rule that is met. None: no rule of an Ingress is.
    pub(super) fn rule(&self, uri: &Uri, host: &HostPattern, met: Met<'_>) -> Option<String> {
        let path = comparable_path(uri.path()).ok()?;
        let mut keys = self.keys();
        let (_, key) = keys.find(|(_, key)| is_met(key, &path, host, met))?;
        Some(shown(key))
    }

    /// The other rules for this URL, by the names of their Ingresses.
    pub(super) fn of(&self, uri: &Uri, host: &HostPattern, met: Met<'_>) -> Vec<Other> {
        let name = uri.host().and_then(|host| HostName::try_from(host).ok());
        let Ok(path) = comparable_path(uri.path()) else {
            return Vec::new();
        };
        let served = self.keys().filter_map(|(ingress, key)| {
            let covers = covers_host(&key.host, name.as_ref())
                && key.path.as_ref().is_none_or(|one| covers_path(one, &path));
            (covers && !is_met(key, &path, host, met)).then(|| Other {
                ingress,
                rule: shown(key),
                reason: None,
                why: why(key, host, met),
            })
        });
        let conditions = self.translation.conditions.iter();
        let refused = conditions.filter_map(|one| self.refused(one, name.as_ref(), &path));
        let mut others: Vec<Other> = served.chain(refused).collect();
        others.sort();
        others
    }

    fn keys(&self) -> impl Iterator<Item = (String, &RouteKey)> {
        let tenants = self.translation.model.tenants.iter();
        tenants.flat_map(|(tenant, model)| {
            let routes = model.routes.iter();
            routes.map(move |(key, target)| (format!("{tenant}/{}", target.ingress), key))
        })
    }

    /// The rule that a condition has left out, if it is for this host and path, or nobody knows for which path.
    fn refused(&self, condition: &Condition, name: Option<&HostName>, path: &str) -> Option<Other> {
        let is_of_rule = matches!(
            condition.reason,
            Reason::PathConflict
                | Reason::DuplicatePath
                | Reason::InvalidPath
                | Reason::InvalidExpression
                | Reason::TooManyExpressions
        );
        if !is_of_rule || condition.object.kind != Kind::Ingress {
            return None;
        }
        let ingress = self.objects.ingresses().get(&condition.object.name)?;
        let rest = condition.field.strip_prefix("spec.rules[")?;
        let (rule, rest) = rest.split_once("].http.paths[")?;
        let (position, _) = rest.split_once(']')?;
        let rule = ingress.spec.rules.get(rule.parse::<usize>().ok()?)?;
        let host = host::pattern(&rule.host).ok()?;
        let asked = rule.paths.get(position.parse::<usize>().ok()?)?;
        let text = &*asked.path;
        let pattern = PathPattern::try_from((&*asked.path_type, text));
        // Of what is no literal path, the condition says what it is.
        let is_literal = matches!(
            condition.reason,
            Reason::PathConflict | Reason::DuplicatePath
        );
        let may_cover = match pattern {
            Ok(pattern) if is_literal => covers_path(&pattern, path),
            Ok(_) | Err(_) => true,
        };
        (covers_host(&host, name) && may_cover).then(|| Other {
            ingress: condition.object.name.to_string(),
            rule: format!("{} {text} of {host}", asked.path_type),
            reason: Some(condition.reason.as_str()),
            why: condition.message.clone(),
        })
    }
}

fn shown(RouteKey { host, path }: &RouteKey) -> String {
    match path {
        Some(path) => format!("{path} of {host}"),
        None => format!("default backend of {host}"),
    }
}

/// Whether this is what the request meets.
fn is_met(key: &RouteKey, path: &str, host: &HostPattern, met: Met<'_>) -> bool {
    if key.host != *host {
        return false;
    }
    match (met, &key.path) {
        (Met::Default, None) => true,
        (Met::Default, Some(_)) | (_, None) => false,
        (Met::Exact, Some(one)) => {
            matches!(one.kind(), PathKind::Literal(PathMatch::Exact)) && one.path() == path
        }
        (Met::Prefix(bytes), Some(one)) => {
            matches!(one.kind(), PathKind::Literal(PathMatch::Prefix))
                && path.get(..bytes) == Some(one.path())
        }
        (Met::Expression(found), Some(one)) => match one.kind() {
            PathKind::Expression(expression) => **expression == *found,
            PathKind::Literal(_) => false,
        },
    }
}

fn covers_host(pattern: &HostPattern, name: Option<&HostName>) -> bool {
    match pattern {
        HostPattern::Exact(exact) => name == Some(exact),
        HostPattern::Wildcard(parent) => name.and_then(HostName::parent) == Some(parent.as_str()),
        HostPattern::Any => true,
    }
}

fn covers_path(pattern: &PathPattern, path: &str) -> bool {
    match pattern.kind() {
        PathKind::Literal(PathMatch::Exact) => pattern.path() == path,
        PathKind::Literal(PathMatch::Prefix) => path
            .strip_prefix(pattern.path())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        PathKind::Expression(expression) => expression.is_match(path),
    }
}

/// Why a rule that is served stands behind the one that is met.
fn why(key: &RouteKey, host: &HostPattern, met: Met<'_>) -> String {
    if key.host != *host {
        return format!(
            "{host} is named, and so no request to it comes to rules of {}",
            key.host
        );
    }
    let is_expression = |path: &PathPattern| matches!(path.kind(), PathKind::Expression(_));
    let why = match (met, &key.path) {
        (_, None) => "a default backend is for paths that meet nothing else",
        (Met::Default, Some(_)) => {
            "a path of so many bytes is not read with expressions, one of which begins there"
        }
        (Met::Exact, Some(_)) => "an Exact path goes first",
        (Met::Expression(_), Some(path)) if is_expression(path) => {
            "another expression has the longer text or, of another namespace, begins further down"
        }
        (Met::Expression(_), Some(_)) => {
            "an expression goes before a Prefix that is not longer than what it begins with"
        }
        (Met::Prefix(_), Some(path)) if is_expression(path) => {
            "the Prefix is longer than what the expression begins with"
        }
        (Met::Prefix(_), Some(_)) => "a longer Prefix goes first",
    };
    why.to_owned()
}
