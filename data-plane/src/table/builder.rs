//! Makes a [`Table`], and from it the next one. Pure.
//!
//! In: hosts, paths, routes, backends and certificates, and what of them is gone. Out: tables that share what did not change
//! from one to the next. A route or a backend keeps its number as long as something needs it.

mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::slots::Numbers;
use super::{
    Backend, BackendId, BackendName, Certificate, Certificates, Expression, HashKey, HostPaths,
    Hosts, PathMatch, PathPolicy, Policy, Route, RouteId, RouteOwner, Table, number,
};
use crate::host::HostPattern;
use routes::Routes;

/// Builds [`Table`]s. The first claim of a host and path wins; the caller sorts.
#[derive(Debug, Default)]
pub struct TableBuilder {
    table: Table,
    backends: BTreeMap<BackendName, (BackendId, usize)>,
    backend_numbers: Numbers,
    routes: Routes,
    route_numbers: Numbers,
    /// Routes that may have no path.
    loose: BTreeSet<RouteId>,
    /// Hosts that may have changed since the last table, as they were.
    before: BTreeMap<HostPattern, Option<Arc<HostPaths>>>,
    /// Whether something else has changed since.
    is_changed: bool,
    /// Whether a table was taken.
    is_taken: bool,
}

// === impl TableBuilder ===

impl TableBuilder {
    /// An empty table to fill, for names and paths that are trusted.
    #[must_use]
    pub fn new() -> Self {
        <Self as Default>::default()
    }

    /// An empty table to fill. What is in it is found by hashes under this key.
    #[must_use]
    pub fn keyed(key: HashKey) -> Self {
        Self {
            table: Table {
                hosts: Hosts::new(key),
                wildcards: Hosts::new(key),
                certificates: Certificates {
                    exact: Hosts::new(key),
                    wildcard: Hosts::new(key),
                    default: None,
                },
                ..Table::default()
            },
            ..Self::new()
        }
    }

    /// Adds a backend, or finds the one that has its name already.
    pub fn backend(&mut self, backend: Backend) -> BackendId {
        if let Some(&(id, _)) = self.backends.get(&backend.name) {
            return id;
        }
        self.is_changed = true;
        let id = BackendId(number(self.backend_numbers.take()));
        self.backends.insert(backend.name.clone(), (id, 0));
        self.table.backends.set(id.index(), Some(Arc::new(backend)));
        id
    }

    /// Gives the backend of this name other endpoints or another protocol, if there is such a backend. Tells whether that
    /// changed anything.
    pub fn replace_backend(&mut self, backend: Backend) -> bool {
        let Some(&(id, _)) = self.backends.get(&backend.name) else {
            return false;
        };
        if *self.table.backend(id) == backend {
            return false;
        }
        self.is_changed = true;
        self.table.backends.set(id.index(), Some(Arc::new(backend)));
        true
    }

    /// The backend that has this name.
    #[must_use]
    pub fn find_backend(&self, name: &BackendName) -> Option<BackendId> {
        self.backends.get(name).map(|&(id, _)| id)
    }

    /// Adds a route whose requests go as they are, or finds the one of the same owner and backend.
    pub fn route(&mut self, owner: RouteOwner, backend: BackendId) -> RouteId {
        self.route_of_path(owner, backend, PathPolicy::default())
    }

    /// Adds a route, or finds the one of the same owner and backend to whose requests the same is done.
    pub fn route_of_path(
        &mut self,
        owner: RouteOwner,
        backend: BackendId,
        of_path: PathPolicy,
    ) -> RouteId {
        let route = Route {
            owner,
            backend,
            policy: None,
            of_path,
        };
        if let Some(id) = self.routes.find(&self.table, &route) {
            return id;
        }
        self.is_changed = true;
        let id = RouteId::new(self.route_numbers.take());
        self.table.routes.set(id.index(), Some(Arc::new(route)));
        self.use_backend(backend, true);
        self.routes.add(&self.table, id);
        self.loose.insert(id);
        id
    }

    /// Sets what the Ingress of a route asks for beside.
    pub fn policy(&mut self, route: RouteId, policy: Option<Arc<Policy>>) {
        let before = self.table.route(route);
        if before.policy == policy {
            return;
        }
        self.is_changed = true;
        let after = Route {
            policy,
            ..before.clone()
        };
        self.table.routes.set(route.index(), Some(Arc::new(after)));
    }

    /// Names a host. Its requests do not fall to rules without a host, even when none of its paths is served.
    pub fn host(&mut self, host: &HostPattern) {
        self.note(host);
        self.paths_mut(host);
    }

    /// Sends a path of a host to a route. Returns the route that holds it already, and changes nothing, when it is taken.
    pub fn path(
        &mut self,
        host: &HostPattern,
        kind: PathMatch,
        path: &str,
        route: RouteId,
    ) -> Option<RouteId> {
        self.note(host);
        let key = self.table.hash_key();
        let holder = self.paths_mut(host).insert(key, kind, path, route);
        self.use_route_unless(holder, route)
    }

    /// Sends the paths of a host that an expression matches to a route. Returns the route that holds it already, and changes nothing, when the
    /// tenant of the route has it.
    pub fn expression(
        &mut self,
        host: &HostPattern,
        expression: Arc<Expression>,
        route: RouteId,
    ) -> Option<RouteId> {
        self.note(host);
        let tenant = self.table.route(route).owner.tenant.clone();
        let paths = self.paths_mut(host);
        let holder = paths.insert_expression(&tenant, expression, route);
        self.use_route_unless(holder, route)
    }

    /// Sets the route for paths of a host that match nothing else. Returns the holder when there is one already.
    pub fn default(&mut self, host: &HostPattern, route: RouteId) -> Option<RouteId> {
        self.note(host);
        let holder = self.paths_mut(host).set_default(route);
        self.use_route_unless(holder, route)
    }

    /// Takes a host out with all of its paths. Routes that nothing needs any more go with [`Self::sweep`].
    pub fn clear_host(&mut self, host: &HostPattern) {
        self.note(host);
        let Some(paths) = self.take_paths(host) else {
            return;
        };
        for route in paths.routes() {
            self.use_route(route, false);
        }
    }

    /// Sets the tier's own default backend.
    pub fn default_backend(&mut self, route: Option<RouteId>) {
        let before = std::mem::replace(&mut self.table.default_backend, route);
        if before == route {
            return;
        }
        self.is_changed = true;
        for (route, is_used) in [(route, true), (before, false)] {
            if let Some(route) = route {
                self.use_route(route, is_used);
            }
        }
    }

    /// Sets the certificates.
    pub fn certificates(&mut self, certificates: Certificates) {
        self.is_changed |= self.table.certificates != certificates;
        self.table.certificates = certificates;
    }

    /// Sets the certificate of a host, or takes it away. For [`HostPattern::Any`], the one for every other name. Tells whether
    /// that changed anything.
    pub fn certificate(&mut self, host: &HostPattern, certificate: Option<Certificate>) -> bool {
        let Certificates {
            exact,
            wildcard,
            default,
        } = &mut self.table.certificates;
        let (hosts, name) = match host {
            HostPattern::Exact(name) => (exact, name),
            HostPattern::Wildcard(parent) => (wildcard, parent),
            HostPattern::Any => {
                let is_changed = *default != certificate;
                self.is_changed |= is_changed;
                *default = certificate;
                return is_changed;
            }
        };
        if hosts.get(name.as_str()) == certificate.as_ref() {
            return false;
        }
        self.is_changed = true;
        match certificate {
            Some(certificate) => hosts.insert(name, certificate),
            None => hosts.remove(name),
        };
        true
    }

    /// Takes out the routes that have no path, and the backends that lost their last route.
    pub fn sweep(&mut self) {
        for id in std::mem::take(&mut self.loose) {
            let backend = self.table.route(id).backend;
            if !self.routes.remove_unused(&self.table, id) {
                continue;
            }
            self.is_changed = true;
            self.table.routes.set(id.index(), None);
            self.route_numbers.give_back(id.index());
            if self.use_backend(backend, false) == 0 {
                let name = &self.table.backend(backend).name;
                self.backends.remove(name);
                self.table.backends.set(backend.index(), None);
                self.backend_numbers.give_back(backend.index());
            }
        }
    }

    /// The table as it is now, if it differs from the one that was taken last: what was put back as it had been is no change.
    pub fn next_table(&mut self) -> Option<Table> {
        if !std::mem::replace(&mut self.is_taken, true) {
            self.is_changed |= !(self.table.hosts.is_empty() && self.table.wildcards.is_empty());
        }
        let mut is_changed = std::mem::take(&mut self.is_changed);
        for (host, before) in std::mem::take(&mut self.before) {
            if self.paths(&host) != before.as_deref() {
                is_changed = true;
            } else if let Some(before) = before {
                *self.place(&host) = before;
            }
        }
        is_changed.then(|| self.table.clone())
    }

    /// The table as it is now.
    #[must_use]
    pub fn table(&self) -> Table {
        self.table.clone()
    }

    /// The finished table.
    #[must_use]
    pub fn build(self) -> Table {
        self.table
    }

    fn note(&mut self, host: &HostPattern) {
        // Before the first table all named hosts are new.
        let is_new = !self.is_taken && *host != HostPattern::Any;
        if is_new || self.before.contains_key(host) {
            return;
        }
        let shared = match host {
            HostPattern::Exact(name) => self.table.hosts.get(name.as_str()).cloned(),
            HostPattern::Wildcard(parent) => self.table.wildcards.get(parent.as_str()).cloned(),
            HostPattern::Any => Some(Arc::clone(&self.table.any)),
        };
        self.before.insert(host.clone(), shared);
    }

    fn paths(&self, host: &HostPattern) -> Option<&HostPaths> {
        match host {
            HostPattern::Exact(name) => self.table.hosts.get(name.as_str()).map(|paths| &**paths),
            HostPattern::Wildcard(parent) => {
                let paths = self.table.wildcards.get(parent.as_str());
                paths.map(|paths| &**paths)
            }
            HostPattern::Any => Some(&self.table.any),
        }
    }

    fn take_paths(&mut self, host: &HostPattern) -> Option<Arc<HostPaths>> {
        match host {
            HostPattern::Exact(name) => self.table.hosts.remove(name),
            HostPattern::Wildcard(parent) => self.table.wildcards.remove(parent),
            HostPattern::Any => Some(std::mem::take(&mut self.table.any)),
        }
    }

    fn place(&mut self, host: &HostPattern) -> &mut Arc<HostPaths> {
        match host {
            HostPattern::Exact(name) => self.table.hosts.get_or_insert_with(name, Arc::default),
            HostPattern::Wildcard(parent) => {
                let wildcards = &mut self.table.wildcards;
                wildcards.get_or_insert_with(parent, Arc::default)
            }
            HostPattern::Any => &mut self.table.any,
        }
    }

    fn paths_mut(&mut self, host: &HostPattern) -> &mut HostPaths {
        Arc::make_mut(self.place(host))
    }

    fn use_route_unless(&mut self, holder: Option<RouteId>, route: RouteId) -> Option<RouteId> {
        if holder.is_none() {
            self.use_route(route, true);
        }
        holder
    }

    fn use_route(&mut self, id: RouteId, is_used: bool) {
        if self.routes.note(&self.table, id, is_used) == Some(0) {
            self.loose.insert(id);
        }
    }

    /// Gives how many routes use it now.
    fn use_backend(&mut self, id: BackendId, is_used: bool) -> usize {
        let name = &self.table.backend(id).name;
        let Some((_, uses)) = self.backends.get_mut(name) else {
            return 0;
        };
        *uses = if is_used {
            *uses + 1
        } else {
            uses.saturating_sub(1)
        };
        *uses
    }
}

#[cfg(test)]
mod tests;
