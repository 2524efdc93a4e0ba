//! Which routes there are, and how many paths need each. Pure.
//!
//! In: the table that has them. Out: the number of a route, found by what makes two routes one. That stands in the table: kept here as well,
//! it would be most of what a builder holds.

use std::hash::{Hash as _, Hasher as _};

use hashbrown::HashTable;

use crate::table::{Route, RouteId, Table};

/// The routes.
#[derive(Debug, Default)]
pub(super) struct Routes(HashTable<Used>);

/// A route, and how many paths need it.
#[derive(Clone, Copy, Debug)]
struct Used {
    route: RouteId,
    uses: u32,
}

// === impl Routes ===

impl Routes {
    /// The route that is one with this one, whatever its policy.
    pub(super) fn find(&self, table: &Table, route: &Route) -> Option<RouteId> {
        let is_it = |used: &Used| {
            let known = table.route(used.route);
            known.owner == route.owner
                && known.backend == route.backend
                && known.of_path == route.of_path
        };
        let found = self.0.find(hash(table, route), is_it);
        found.map(|used| used.route)
    }

    /// Adds a route of the table, which nothing needs yet.
    pub(super) fn add(&mut self, table: &Table, id: RouteId) {
        let hash_of = |id| hash(table, table.route(id));
        let used = Used { route: id, uses: 0 };
        self.0
            .insert_unique(hash_of(id), used, |used| hash_of(used.route));
    }

    /// Notes that one path more or less needs it. Gives how many do now; none: it is not one of these.
    pub(super) fn note(&mut self, table: &Table, id: RouteId, is_used: bool) -> Option<u32> {
        let hashed = hash(table, table.route(id));
        let used = self.0.find_mut(hashed, |used| used.route == id)?;
        used.uses = if is_used {
            used.uses + 1
        } else {
            used.uses.saturating_sub(1)
        };
        Some(used.uses)
    }

    /// Takes it out, when nothing needs it. Tells whether it did.
    pub(super) fn remove_unused(&mut self, table: &Table, id: RouteId) -> bool {
        let is_unused = |used: &Used| used.route == id && used.uses == 0;
        let found = self.0.find_entry(hash(table, table.route(id)), is_unused);
        found.map(|unused| unused.remove()).is_ok()
    }
}

/// Of what makes two routes one, as far as an Ingress may have many of it: it may rewrite each of ten thousand paths in another way.
fn hash(table: &Table, route: &Route) -> u64 {
    let mut hasher = table.hash_key().hasher();
    route.owner.hash(&mut hasher);
    route.backend.0.hash(&mut hasher);
    if let Some(rewrite) = &route.of_path.rewrite {
        rewrite.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::table::{BackendId, PathPolicy, Redirect, Rewrite, RouteOwner, Target};

    /// Else each of an Ingress' routes would be compared with all others of it.
    #[test]
    fn routes_that_differ_in_what_is_done_to_their_requests_lie_apart() {
        let table = Table::default();
        let hashed = |of_path: PathPolicy| {
            let route = Route {
                owner: RouteOwner {
                    tenant: "a".into(),
                    ingress: "i".into(),
                },
                backend: BackendId(1),
                policy: None,
                of_path,
            };
            hash(&table, &route)
        };
        let rewritten = (0..1_000).map(|number| {
            let rewrite = Rewrite {
                expression: None,
                target: Target::try_from(format!("/{number}").as_str()).unwrap(),
                prefix: None,
            };
            hashed(PathPolicy {
                redirect: Redirect::Never,
                rewrite: Some(Arc::new(rewrite)),
            })
        });
        let mut hashes: BTreeSet<u64> = rewritten.collect();
        hashes.insert(hashed(PathPolicy::default()));
        assert_eq!(hashes.len(), 1_001);
    }
}
