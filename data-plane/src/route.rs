//! Chooses the route for a request. Pure.
//!
//! In: the [`Table`], a comparable host and a path in the form of [`crate::head::path`]. Out: a [`RouteId`], or nothing.
//! Does not allocate, and costs a look-up per path element, however many paths a host has.
//!
//! Precedence: an exact host, else the wildcard of one label, else the rules without a host; never a second of them, so
//! a host that somebody named cannot fall to another tenant's catch-all. Inside: the exact path, the longest prefix by
//! path elements, the host's own default backend, and then the tier's.

use crate::host::parent_of;
use crate::table::{HostPaths, RouteId, Table};

/// The route for `host` and `path`. No host: HTTP/1.0 without the field, which meets only rules without a host.
pub(crate) fn route(table: &Table, host: Option<&str>, path: &str) -> Option<RouteId> {
    let host_paths = host.and_then(|host| named(table, host));
    in_host(host_paths.unwrap_or(table.any()), path).or(table.default_backend())
}

fn named<'t>(table: &'t Table, host: &str) -> Option<&'t HostPaths> {
    table
        .hosts()
        .get(host)
        .or_else(|| table.wildcards().get(parent_of(host)?))
}

fn in_host(host: &HostPaths, path: &str) -> Option<RouteId> {
    if let Some(&found) = host.exact.get(path) {
        return Some(found);
    }
    longest_prefix(host, path).or(host.default)
}

/// Walks up the path: `/a/b/`, `/a/b`, `/a`, and the empty text that stands for `/`.
fn longest_prefix(host: &HostPaths, path: &str) -> Option<RouteId> {
    if host.prefix.is_empty() {
        return None;
    }
    let mut rest = path;
    loop {
        if let Some(&found) = host.prefix.get(rest) {
            return Some(found);
        }
        rest = &rest[..rest.rfind('/')?];
    }
}

#[cfg(test)]
mod tests;
