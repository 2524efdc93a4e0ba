//! Claims what the rules of one Ingress ask for. Pure.
//!
//! In: an Ingress that is ours. Out: its hosts and paths in [`Claims`], and a condition for each that it does not get.

use tiergate_data_plane::host::HostPattern;
use tiergate_data_plane::table::{BackendName, PathPolicy};

use super::OurIngress;
use super::annotation::OfPaths;
use super::claim::Claims;
use super::condition::{Condition, Reason};
use super::service::Services;
use crate::model::host;
use crate::model::path::{InvalidPath, PathKind, PathPattern};
use crate::model::{RouteKey, RouteTarget};
use crate::objects::ingress::spec::{Backend, Path};

/// Claims everything that the Ingress asks for.
pub(super) fn translate(
    our: &OurIngress<'_>,
    of_paths: &OfPaths,
    claims: &mut Claims,
    services: &mut Services<'_>,
    conditions: &mut Vec<Condition>,
) {
    for (position, rule) in our.ingress.spec.rules.iter().enumerate() {
        let field = format!("spec.rules[{position}]");
        let host = match host::pattern(&rule.host) {
            Ok(host) => host,
            Err(error) => {
                let message = format!("the rule is left out: {error}");
                conditions.push(our.condition(
                    format!("{field}.host"),
                    Reason::InvalidHost,
                    message,
                ));
                continue;
            }
        };
        claims.host(&host, &our.tenant);
        for (position, path) in rule.paths.iter().enumerate() {
            let field = format!("{field}.http.paths[{position}]");
            let asked = (path, of_paths);
            claim_path(our, &host, asked, &field, claims, services, conditions);
        }
    }
    if let Some(backend) = &our.ingress.spec.default_backend {
        claim_default(our, backend, claims, services, conditions);
    }
}

/// Claims more for an Ingress that is closed: its paths may be regular expressions, as ingress-nginx reads them, and what they
/// would match must not fall to a shorter path of another Ingress. Each claims what stands before its first sign of an expression: all
/// of it where an element of the path ends there, else up to the last slash; one that is no path claims all of its host.
pub(super) fn close(our: &OurIngress<'_>, claims: &mut Claims, services: &mut Services<'_>) {
    for rule in our.ingress.spec.rules.iter() {
        let Ok(host) = host::pattern(&rule.host) else {
            continue;
        };
        for path in &rule.paths {
            let text = &*path.path;
            let Some(begin) = begin_of_expression(&path.path_type, text) else {
                continue;
            };
            let pattern = PathPattern::try_from(("Prefix", begin));
            let root = || PathPattern::try_from(("Prefix", "/"));
            let Ok(pattern) = pattern.or_else(|_| root()) else {
                continue;
            };
            // No request gets there: whichever Service the path names does not matter.
            let (backend, _) = services.backend(our.tenant.as_str(), &Backend::None);
            let target = RouteTarget {
                ingress: our.name.name.as_str().into(),
                backend,
                of_path: PathPolicy::default(),
            };
            let key = RouteKey {
                host: host.clone(),
                path: Some(pattern),
            };
            // Somebody may have it already: then its requests are that one's.
            let _ = claims.route(key, &our.tenant, target);
        }
    }
}

/// What every path begins with that this one can match as a regular expression. None: it is none, and a path that is claimed as it
/// stands.
fn begin_of_expression<'p>(kind: &str, path: &'p str) -> Option<&'p str> {
    const SIGNS: [char; 12] = ['(', ')', '[', ']', '{', '}', '*', '+', '?', '|', '^', '$'];
    /// What comes after a whole element in nearly every such path: it ends there, or goes on with a slash.
    const ENDS: [&str; 3] = ["(/", "$", "?"];
    match path.find(SIGNS) {
        Some(sign) => {
            let (before, rest) = path.split_at(sign);
            // In `/a/?(.*)` the slash is what may be missing.
            let before = before
                .strip_suffix('/')
                .filter(|_| rest.starts_with('?'))
                .unwrap_or(before);
            let is_whole = ENDS.iter().any(|end| rest.starts_with(end)) && before.len() > 1;
            let slash = before.rfind('/').map_or(0, |slash| slash + 1);
            Some(if is_whole { before } else { &before[..slash] })
        }
        None if PathPattern::try_from((kind, path)).is_err() => Some("/"),
        None => None,
    }
}

/// The hosts that the valid rules of an Ingress name, each once.
pub(super) fn hosts(our: &OurIngress<'_>) -> Vec<HostPattern> {
    let mut hosts: Vec<HostPattern> = our
        .ingress
        .spec
        .rules
        .iter()
        .filter_map(|rule| host::pattern(&rule.host).ok())
        .collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

fn claim_path(
    our: &OurIngress<'_>,
    host: &HostPattern,
    (path, of_paths): (&Path, &OfPaths),
    field: &str,
    claims: &mut Claims,
    services: &mut Services<'_>,
    conditions: &mut Vec<Condition>,
) {
    let text = &*path.path;
    let backend_field = format!("{field}.backend");
    let pattern = if of_paths.reads_expressions {
        PathPattern::expression(&path.path_type, text)
    } else {
        PathPattern::try_from((&*path.path_type, text))
    };
    let pattern = match pattern {
        Ok(pattern) => pattern,
        Err(error) => {
            if of_paths.reads_expressions {
                // Whoever asks what an Ingress names need not compile its expressions: it names all of its Services.
                target(our, &path.backend, &backend_field, services, conditions);
            }
            conditions.push(left_out(our, field, &error));
            return;
        }
    };
    let mut target = target(our, &path.backend, &backend_field, services, conditions);
    target.of_path.rewrite = of_paths.rewrite(text, &pattern);
    if let PathKind::Expression(expression) = pattern.kind()
        && let Err((reason, message)) = claims.expression(host, &our.tenant, expression)
    {
        let message = format!("{pattern} of host {host} {message}");
        conditions.push(our.condition(format!("{field}.path"), reason, message));
        return;
    }
    let shown = format!("{pattern} of host {host}");
    let key = RouteKey {
        host: host.clone(),
        path: Some(pattern),
    };
    let Err((tenant, holder)) = claims.route(key, &our.tenant, target) else {
        return;
    };
    let is_own = tenant == our.tenant && *holder.ingress == *our.name.name;
    let (reason, message) = if is_own {
        let message = format!("{shown} stands twice in this Ingress; the first is served");
        (Reason::DuplicatePath, message)
    } else {
        let holder = our.holder(&tenant, &holder.ingress);
        let message = format!("{shown} is held by {holder}");
        (Reason::PathConflict, message)
    };
    conditions.push(our.condition(format!("{field}.path"), reason, message));
}

fn left_out(our: &OurIngress<'_>, field: &str, error: &InvalidPath) -> Condition {
    let message = format!("the path is left out: {error}");
    let (part, reason) = match error {
        InvalidPath::Type(_) => ("pathType", Reason::InvalidPath),
        InvalidPath::Expression { .. } => ("path", Reason::InvalidExpression),
        InvalidPath::Relative(_)
        | InvalidPath::Refused { .. }
        | InvalidPath::Unmatchable { .. }
        | InvalidPath::TooLong => ("path", Reason::InvalidPath),
    };
    our.condition(format!("{field}.{part}"), reason, message)
}

/// The default backend gets what the Ingress leaves over of its hosts, and the hosts that no rule names.
fn claim_default(
    our: &OurIngress<'_>,
    backend: &Backend,
    claims: &mut Claims,
    services: &mut Services<'_>,
    conditions: &mut Vec<Condition>,
) {
    let target = target(our, backend, "spec.defaultBackend", services, conditions);
    let mut hosts = hosts(our);
    if !hosts.contains(&HostPattern::Any) {
        hosts.push(HostPattern::Any);
    }
    for host in hosts {
        let shown = match &host {
            HostPattern::Any => "hosts that no rule names".to_owned(),
            named @ (HostPattern::Exact(_) | HostPattern::Wildcard(_)) => format!("host {named}"),
        };
        let key = RouteKey { host, path: None };
        if let Err((tenant, holder)) = claims.route(key, &our.tenant, target.clone()) {
            let holder = our.holder(&tenant, &holder.ingress);
            let message = format!("the default backend for {shown} is that of {holder}");
            conditions.push(our.condition(
                "spec.defaultBackend",
                Reason::DefaultBackendConflict,
                message,
            ));
        }
    }
}

fn target(
    our: &OurIngress<'_>,
    backend: &Backend,
    field: &str,
    services: &mut Services<'_>,
    conditions: &mut Vec<Condition>,
) -> RouteTarget {
    let (name, problem): (BackendName, _) = services.backend(our.tenant.as_str(), backend);
    if let Some(problem) = problem {
        let message = format!("{}; its requests are answered with 503", problem.message);
        conditions.push(our.condition(
            format!("{field}.{}", problem.field),
            problem.reason,
            message,
        ));
    }
    RouteTarget {
        ingress: our.name.name.as_str().into(),
        backend: name,
        of_path: PathPolicy::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_expression_begins_with_what_it_always_has() {
        for (kind, path, begin) in [
            ("Prefix", "/admin", None),
            ("Exact", "/admin/", None),
            ("ImplementationSpecific", "/admin(/|$)(.*)", Some("/admin")),
            ("ImplementationSpecific", "/admin/?(.*)", Some("/admin")),
            ("ImplementationSpecific", "/a/b/(.*)", Some("/a/b/")),
            ("ImplementationSpecific", "/int(.*)", Some("/")),
            ("ImplementationSpecific", "/a/v[0-9]+/b", Some("/a/")),
            ("ImplementationSpecific", "/(.*)", Some("/")),
            ("ImplementationSpecific", "(.*)", Some("")),
            ("Prefix", "relative", Some("/")),
            ("Prefix", "/a b", Some("/")),
            ("ImplementationSpecific", "", None),
        ] {
            assert_eq!(begin_of_expression(kind, path), begin, "{kind} {path:?}");
        }
    }
}
