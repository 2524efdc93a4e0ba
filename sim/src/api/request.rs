//! What a request asks for: its path, its query, its formats. Pure.
//!
//! In: the parts of an HTTP head. Out: a [`Target`], a [`Query`], a [`Form`]; or a [`Failure`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::resources::{Registry, Resource, Subresource};
use super::status::Failure;

/// What a path below `/api` or `/apis` points at.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The kind.
    pub resource: Arc<Resource>,
    /// The namespace, when the path names one.
    pub namespace: Option<String>,
    /// The object, when the path names one.
    pub name: Option<String>,
    /// The part of the object.
    pub subresource: Option<Subresource>,
    /// Whether the path is one of the old `…/watch/…` ones.
    pub is_watch_path: bool,
}

/// Query parameters; the first value of each name counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(BTreeMap<String, String>);

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The object or list itself.
    Plain,
    /// The object or list itself, as YAML.
    Yaml,
    /// A Table for people, with or without version `v1beta1`.
    Table {
        /// Whether the client asked for `meta.k8s.io/v1beta1`.
        is_beta: bool,
    },
    /// Only the metadata.
    Partial,
    /// Only the metadata of a list.
    PartialList,
}

/// How a path and its elements are read.
pub(crate) enum Route {
    /// A resource.
    Resource(Target),
    /// The lists of what there is: `(group, version)`, either may be absent.
    Discovery(Option<String>, Option<String>),
    /// The groups, or the versions of core.
    Root {
        /// `/api` rather than `/apis`.
        is_core: bool,
    },
}

/// Finds out what a path below `/api` and `/apis` means.
pub(crate) fn route(registry: &Registry, path: &str) -> Result<Route, Failure> {
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    let decode = |part: &str| percent_decode_str(part).decode_utf8().map(Cow::into_owned);
    let parts: Vec<String> = trimmed
        .split('/')
        .skip(1)
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(|_| Failure::no_page())?;
    if parts
        .iter()
        .any(|part| part.is_empty() || part == "." || part == "..")
    {
        return Err(Failure::no_page());
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["api"] => Ok(Route::Root { is_core: true }),
        ["apis"] => Ok(Route::Root { is_core: false }),
        ["api", version] => Ok(Route::Discovery(
            Some(String::new()),
            Some((*version).to_owned()),
        )),
        ["apis", group] => Ok(Route::Discovery(Some((*group).to_owned()), None)),
        ["apis", group, version] => Ok(Route::Discovery(
            Some((*group).to_owned()),
            Some((*version).to_owned()),
        )),
        ["api", version, rest @ ..] => target(registry, "", version, rest).map(Route::Resource),
        ["apis", group, version, rest @ ..] => {
            target(registry, group, version, rest).map(Route::Resource)
        }
        _ => Err(Failure::no_page()),
    }
}

fn target(
    registry: &Registry,
    group: &str,
    version: &str,
    rest: &[&str],
) -> Result<Target, Failure> {
    if !registry.has_group(group) {
        return Err(Failure::no_page());
    }
    let (is_watch_path, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        _ => (false, rest),
    };
    let find = |plural: &str| registry.get(group, version, plural);
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..]
            if !rest.is_empty() && !matches!(rest, ["status" | "finalize"] if group.is_empty()) =>
        {
            (Some((*namespace).to_owned()), rest)
        }
        _ => (None, rest),
    };
    let [plural, rest @ ..] = rest else {
        return Err(Failure::no_resource());
    };
    let resource = find(plural).ok_or_else(Failure::no_resource)?;
    let (name, subresource) = match rest {
        [] => (None, None),
        [name] => (Some((*name).to_owned()), None),
        [name, subresource] => {
            let subresource = Subresource::parse(subresource)
                .filter(|&one| resource.has(one))
                .ok_or_else(|| no_subresource(&resource, subresource))?;
            (Some((*name).to_owned()), Some(subresource))
        }
        _ => return Err(Failure::no_resource()),
    };
    if resource.namespaced != namespace.is_some() {
        if namespace.is_some() {
            return Err(Failure::no_resource());
        }
        if name.is_some() {
            return Err(Failure::no_resource());
        }
    }
    Ok(Target {
        resource,
        namespace,
        name,
        subresource,
        is_watch_path,
    })
}

/// What a real API server fetches from the node's kubelet is refused with a word of where else to look.
fn no_subresource(resource: &Resource, name: &str) -> Failure {
    let is_of_kubelet = matches!(name, "attach" | "exec" | "log" | "portforward" | "proxy");
    if is_of_kubelet && resource.group.is_empty() && resource.plural == "pods" {
        Failure::not_modelled(name)
    } else {
        Failure::no_resource()
    }
}

// === impl Query ===

impl Query {
    /// Reads the part of a URL behind the question mark.
    pub(crate) fn parse(text: &str) -> Self {
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            parameters
                .entry(name.into_owned())
                .or_insert_with(|| value.into_owned());
        }
        Self(parameters)
    }

    /// A parameter; empty when it is not there.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Whether the parameter is there at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A truth value: everything except `0` and `false` is true, also the empty text.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.0
            .get(name)
            .is_some_and(|value| value != "0" && value != "false")
    }

    /// A whole number, or a refusal.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Failure::bad_request(format!(
                    "strconv.ParseInt: parsing {text:?}: invalid syntax"
                ))
            }),
        }
    }

    /// Whether nothing shall be stored.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.text("dryRun") == "All"
    }
}

// === impl Form ===

impl Form {
    /// Chooses the first form that an `Accept` header names and we have; `None` when there is none.
    pub(crate) fn choose(accept: &str) -> Option<Self> {
        if accept.trim().is_empty() {
            return Some(Self::Plain);
        }
        accept.split(',').find_map(Self::of_range)
    }

    /// Whether an `Accept` header names a media type that we have, though in a form that we have not.
    pub(crate) fn is_known_media_type(accept: &str) -> bool {
        let media_types = accept
            .split(',')
            .map(|range| range.split(';').next().unwrap_or_default().trim());
        media_types
            .into_iter()
            .any(|one| matches!(one, "application/json" | "application/yaml" | "*/*"))
    }

    fn of_range(range: &str) -> Option<Self> {
        let mut pieces = range.split(';').map(str::trim);
        let media_type = pieces.next()?;
        let parameters: BTreeMap<&str, &str> =
            pieces.filter_map(|piece| piece.split_once('=')).collect();
        let is_json = match media_type {
            "application/json" | "*/*" => true,
            "application/yaml" => false,
            _ => return None,
        };
        let version = parameters.get("v").copied().unwrap_or_default();
        let is_meta = parameters
            .get("g")
            .is_some_and(|group| *group == "meta.k8s.io");
        match (parameters.get("as").copied(), version) {
            (None, _) => Some(if is_json { Self::Plain } else { Self::Yaml }),
            (Some("Table"), "v1") if is_meta => Some(Self::Table { is_beta: false }),
            (Some("Table"), "v1beta1") if is_meta => Some(Self::Table { is_beta: true }),
            (Some("PartialObjectMetadata"), "v1" | "v1beta1") if is_meta => Some(Self::Partial),
            (Some("PartialObjectMetadataList"), "v1" | "v1beta1") if is_meta => {
                Some(Self::PartialList)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_resources() {
        let registry = Registry::built_in();
        for (path, wanted) in [
            ("/api/v1/pods", "pods - - -"),
            ("/api/v1/namespaces/n/pods/p/status", "pods n p status"),
            ("/api/v1/namespaces/n", "namespaces - n -"),
            ("/api/v1/namespaces/n/finalize", "namespaces - n finalize"),
            (
                "/apis/apps/v1/namespaces/n/deployments/",
                "deployments n - -",
            ),
            ("/api/v1/watch/namespaces/n/pods", "pods n - -"),
        ] {
            let Ok(Route::Resource(target)) = route(&registry, path) else {
                panic!("{path} is no resource")
            };
            let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            let subresource = target.subresource.map(|one| one.name().to_owned());
            let shown = format!(
                "{} {} {} {}",
                target.resource.plural,
                or(target.namespace),
                or(target.name),
                or(subresource)
            );
            assert_eq!(shown, wanted, "{path}");
        }
        for path in [
            "/api/v1/nopes",
            "/apis/nope/v1/x",
            "/api/v1//pods",
            "/api/v1/namespaces/n/services/s/scale",
            "/api/v1/pods/x",
        ] {
            assert!(route(&registry, path).is_err(), "{path}");
        }
    }

    #[test]
    fn what_a_kubelet_would_answer_is_refused_with_where_else_to_look() {
        let registry = Registry::built_in();
        for name in ["log", "exec", "attach", "portforward", "proxy"] {
            let path = format!("/api/v1/namespaces/n/pods/p/{name}");
            let Err(failure) = route(&registry, &path) else {
                panic!("{path} is served")
            };
            let status = failure.to_value();
            assert_eq!(status["code"], 501, "{path}");
            let message = status["message"].as_str().unwrap();
            assert!(message.contains(&format!("pods/{name} ")), "{message}");
        }
    }

    #[test]
    fn the_first_form_that_we_have_is_taken() {
        for (accept, wanted) in [
            ("", Some(Form::Plain)),
            ("*/*", Some(Form::Plain)),
            ("application/*", None),
            ("text/html", None),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Some(Form::Plain),
            ),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                Some(Form::Table { is_beta: false }),
            ),
            (
                "application/json;as=Table;v=v9;g=meta.k8s.io, application/json",
                Some(Form::Plain),
            ),
            (
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                Some(Form::Partial),
            ),
        ] {
            assert_eq!(Form::choose(accept), wanted, "{accept}");
        }
    }

    #[test]
    fn flags_are_true_unless_they_say_no() {
        let query = Query::parse("watch&a=0&b=false&c=maybe");
        let flags = ["watch", "a", "b", "c", "d"].map(|name| query.flag(name));
        assert_eq!(flags, [true, false, false, true, false]);
    }
}
