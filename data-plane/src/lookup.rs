//! Looks a request up without serving it: for `explain`, which must say what `proxy` and `tls` would do. Pure.
//!
//! In: a [`Table`] and a URL. Out: the route and the certificate, by the code that serves.

use std::borrow::Cow;

use http::{HeaderValue, Uri};

use crate::error::ProxyError;
use crate::head::path::for_matching;
use crate::head::rewrite;
use crate::head::secure::{self, Scheme};
use crate::host::{HostName, HostPattern};
use crate::table::{Certificate, Met, RouteId, Table};
use crate::{route, tls};

/// The route for a request to this URL.
///
/// # Errors
/// When the request would be refused unread.
pub fn route(table: &Table, url: &Uri) -> Result<Option<RouteId>, ProxyError> {
    let host = url.authority().map(|authority| authority.as_str());
    let host = host
        .map(HostName::comparable)
        .transpose()
        .map_err(|error| ProxyError::BadHost(error.into()))?;
    Ok(route::route(
        table,
        host.as_deref(),
        &for_matching(url.path())?,
    ))
}

/// The host of the rule that a request to this URL meets, as the rule names it, and what of it the path meets.
///
/// # Errors
/// When the request would be refused unread.
pub fn met<'t>(table: &'t Table, url: &Uri) -> Result<(HostPattern, Met<'t>), ProxyError> {
    let name = url.host().and_then(|host| HostName::try_from(host).ok());
    let path = for_matching(url.path())?;
    let met = route::met(table, name.as_ref().map(HostName::as_str), &path);
    let host = name.map_or(HostPattern::Any, |name| host_of_rule(table, name));
    Ok((host, met))
}

fn host_of_rule(table: &Table, name: HostName) -> HostPattern {
    if table.hosts().get(name.as_str()).is_some() {
        return HostPattern::Exact(name);
    }
    let parent = name
        .parent()
        .filter(|parent| table.wildcards().get(parent).is_some());
    let parent = parent.and_then(|parent| HostName::try_from(parent).ok());
    parent.map_or(HostPattern::Any, HostPattern::Wildcard)
}

/// The path, with its query, that an endpoint gets for this URL in place of it. None: it gets what the client sent.
///
/// # Errors
/// When it would be none.
pub fn rewritten(table: &Table, route: RouteId, url: &Uri) -> Result<Option<String>, ProxyError> {
    let rewrite = table.route(route).of_path.rewrite.as_ref();
    let rewritten = rewrite.map(|rewrite| rewrite::target(url, rewrite));
    Ok(rewritten.transpose()?.map(|target| target.to_string()))
}

/// Where a client is sent that asks for this URL by http, where https is served and nothing stands in front of us.
#[must_use]
pub fn redirect(table: &Table, route: RouteId, url: &Uri) -> Option<String> {
    let scheme = match url.scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    };
    let host = url.authority().map(|authority| authority.as_str());
    let host = host.and_then(|host| HeaderValue::from_str(host).ok());
    let asked = table.route(route).of_path.redirect;
    let is_served = || certificate(table, url).is_some();
    let location = secure::redirect(asked, scheme, host.as_ref(), url, is_served)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// The certificate for a client that asks for the host of this URL.
#[must_use]
pub fn certificate<'t>(table: &'t Table, url: &Uri) -> Option<&'t Certificate> {
    let name = url.host().and_then(|host| HostName::try_from(host).ok());
    tls::choose(table.certificates(), name.as_ref())
}

/// A path in the form in which requests are compared with it: `%61` is `a`, and hexadecimal digits are upper case.
///
/// # Errors
/// When no request with this path is served.
pub fn comparable_path(path: &str) -> Result<Cow<'_, str>, ProxyError> {
    for_matching(path)
}
