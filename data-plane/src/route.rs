//! Chooses the route for a request. Pure.
//!
//! In: the [`Table`], a comparable host and a path in the form of [`crate::head::path`]. Out: a [`RouteId`], or nothing.
//! Does not allocate. The host is found by one hash, the path by a hash per element: what it costs grows with the length of
//! host and path, and not with the number of hosts, of paths of a host, or of routes.
//!
//! Precedence: an exact host, else the wildcard of one label, else the rules without a host; never a second of them, so
//! a host that somebody named cannot fall to another tenant's catch-all. Inside: the exact path, the longest prefix by
//! path elements, the host's own default backend, and then the tier's. A regular expression stands before the prefix at which it
//! begins (`table/expression.rs`).

use crate::host::parent_of;
use crate::table::{HostPaths, Met, RouteId, Table};

/// The route for `host` and `path`. No host: HTTP/1.0 without the field, which meets only rules without a host.
pub(crate) fn route(table: &Table, host: Option<&str>, path: &str) -> Option<RouteId> {
    let host_paths = host.and_then(|host| named(table, host));
    let host_paths = host_paths.unwrap_or(table.any());
    let found = host_paths.find(table.hash_key(), path);
    found.or(table.default_backend())
}

/// What of its host `path` meets.
pub(crate) fn met<'t>(table: &'t Table, host: Option<&str>, path: &str) -> Met<'t> {
    let host_paths = host.and_then(|host| named(table, host));
    let host_paths = host_paths.unwrap_or(table.any());
    host_paths.met(table.hash_key(), path)
}

/// How many bytes of `path` the path of its rule has: none for the root, and for what matches nothing else.
pub(crate) fn rule_bytes(table: &Table, host: Option<&str>, path: &str) -> usize {
    let host_paths = host.and_then(|host| named(table, host));
    let host_paths = host_paths.unwrap_or(table.any());
    host_paths.rule_bytes(table.hash_key(), path)
}

fn named<'t>(table: &'t Table, host: &str) -> Option<&'t HostPaths> {
    let exact = table.hosts().get(host);
    let found = exact.or_else(|| table.wildcards().get(parent_of(host)?))?;
    Some(found)
}

#[cfg(test)]
mod tests;
