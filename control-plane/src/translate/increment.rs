//! Makes the next table of the last one. Pure.
//!
//! In: objects, and what of them has changed. Out: a table that shares everything else with the last one, and the conditions that
//! came and went. What it gives is what [`super::translate`] and `compile` make of all objects: it only does not look at those
//! whose part cannot differ. Ingresses have to do with each other by the hosts that they name, so a part is a set of Ingresses
//! that share no host with the others; endpoints change the backends of their Service, and no host.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use tiergate_data_plane::host::HostPattern;
use tiergate_data_plane::table::{BackendName, HashKey, Table, TableBuilder};

use super::condition::Condition;
use super::secret::Wanted;
use super::service::{self, EXTERNAL_NAME, Resolved};
use super::{Part, is_ours, part};
use crate::compile::{add, table_backend};
use crate::model::host;
use crate::model::path::PathPattern;
use crate::model::tenant::Tenant;
use crate::objects::ingress::Ingress;
use crate::objects::{Changes, Kind, Objects};
use crate::scope::{ObjectName, Scope, Secrets};

/// Ingresses that are ours, and the table that was made of them.
#[derive(Debug)]
pub struct Increment {
    builder: TableBuilder,
    ours: BTreeMap<Arc<ObjectName>, Arc<Ingress>>,
    /// How many of them each namespace has.
    namespaces: BTreeMap<String, usize>,
    /// Who names a host.
    hosts: BTreeSet<(HostPattern, Arc<ObjectName>)>,
    /// Who names a Service port.
    backends: BTreeSet<(BackendName, Arc<ObjectName>)>,
    /// Who names a Secret.
    secrets: BTreeSet<(ObjectName, Arc<ObjectName>)>,
    default_backend: Option<BackendName>,
    /// What is wrong, by where it was found.
    found: BTreeMap<Source, Vec<Condition>>,
    /// The same, with how often it was found.
    conditions: BTreeMap<Condition, usize>,
    wanted: Wanted,
    is_first: bool,
}

/// What differs from the last time.
#[derive(Debug, Default)]
pub struct Outcome {
    /// None: it is equal.
    pub table: Option<Table>,
    /// Conditions that were not there, in order.
    pub came: Vec<Condition>,
    /// Conditions that are not there any more, in order.
    pub gone: Vec<Condition>,
    /// Some host has another certificate.
    pub certificates_changed: bool,
    /// Some Ingress was looked at.
    pub ingresses_changed: bool,
}

/// Where a condition was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Ingress(Arc<ObjectName>),
    Backend(BackendName),
    Scope,
}

/// What an Ingress names.
struct Names {
    hosts: BTreeSet<HostPattern>,
    backends: BTreeSet<BackendName>,
    secrets: BTreeSet<ObjectName>,
}

/// What must be made anew.
#[derive(Default)]
struct Dirty {
    ingresses: BTreeSet<Arc<ObjectName>>,
    hosts: BTreeSet<HostPattern>,
    services: BTreeSet<ObjectName>,
    is_all: bool,
}

// === impl Increment ===

impl Increment {
    /// Nothing yet. Tables find what is in them by hashes under `key`.
    #[must_use]
    pub fn new(key: HashKey) -> Self {
        Self {
            builder: TableBuilder::keyed(key),
            ours: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            hosts: BTreeSet::new(),
            backends: BTreeSet::new(),
            secrets: BTreeSet::new(),
            default_backend: None,
            found: BTreeMap::new(),
            conditions: BTreeMap::new(),
            wanted: Wanted::default(),
            is_first: true,
        }
    }

    /// Follows the objects. `changes` names at least all that differ from the last time; the first time, all are looked at.
    pub fn follow(&mut self, objects: &Objects, scope: &Scope, changes: &Changes) -> Outcome {
        let mut dirty = self.dirty(objects, changes);
        self.close(objects, scope, &mut dirty);
        if !dirty.is_all && self.counts_secrets(objects, scope, changes, &dirty) {
            dirty = self.all(objects);
            self.close(objects, scope, &mut dirty);
        }
        let mut seen = BTreeMap::new();
        self.index(objects, scope, &dirty, &mut seen);
        let names = dirty.ingresses.iter().map(|name| &**name);
        let part = part(objects, scope, names);
        let certificates_changed = self.replace(&dirty.hosts, &part);
        self.judge(objects, &dirty, part, &mut seen);
        self.builder.sweep();
        self.is_first = false;
        let (came, gone) = self.difference(seen);
        Outcome {
            table: self.builder.next_table(),
            came,
            gone,
            certificates_changed,
            ingresses_changed: !dirty.ingresses.is_empty(),
        }
    }

    /// The table as it is now.
    #[must_use]
    pub fn table(&self) -> Table {
        self.builder.table()
    }

    /// Everything that is wrong, in order, each once.
    pub fn conditions(&self) -> impl ExactSizeIterator<Item = &Condition> {
        self.conditions.keys()
    }

    /// The Ingresses that are ours, served or not.
    pub fn ingresses(&self) -> impl ExactSizeIterator<Item = &ObjectName> {
        self.ours.keys().map(|name| &**name)
    }

    /// How many of them each namespace has.
    #[must_use]
    pub fn namespaces(&self) -> &BTreeMap<String, usize> {
        &self.namespaces
    }

    /// The Secrets that a tier which reads them by their names wants.
    #[must_use]
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// What has changed itself, and what stands on it.
    fn dirty(&self, objects: &Objects, changes: &Changes) -> Dirty {
        let mut dirty = Dirty::default();
        let classes_changed = |(kind, _): &(Kind, ObjectName)| *kind == Kind::IngressClass;
        if self.is_first || changes.objects.iter().any(classes_changed) {
            return self.all(objects);
        }
        for (kind, name) in &changes.objects {
            match kind {
                Kind::Ingress => {
                    dirty.ingresses.insert(Arc::new(name.clone()));
                }
                Kind::Service => {
                    dirty.services.insert(name.clone());
                    dirty.ingresses.extend(self.who_names_service(name));
                }
                Kind::Secret => dirty.ingresses.extend(self.who_names_secret(name)),
                Kind::IngressClass | Kind::EndpointSlice => {}
            }
        }
        for name in &changes.services {
            dirty.services.insert(name.clone());
            let service = objects.services().get(name);
            if service.is_some_and(|service| service.service_type == EXTERNAL_NAME) {
                // Whether there are slices decides what is wrong with the rules.
                dirty.ingresses.extend(self.who_names_service(name));
            }
        }
        dirty
    }

    /// Whether it must be judged in the order of all claims which Secrets are read.
    fn counts_secrets(
        &self,
        objects: &Objects,
        scope: &Scope,
        changes: &Changes,
        dirty: &Dirty,
    ) -> bool {
        let Secrets::ByName { .. } = scope.secrets else {
            return false;
        };
        let has_tls = |name: &Arc<ObjectName>| {
            let (before, now) = (self.ours.get(name), objects.ingresses().get(&**name));
            before
                .into_iter()
                .chain(now)
                .any(|ingress| ingress.spec.tls.is_some())
        };
        let is_secret = |(kind, _): &(Kind, ObjectName)| *kind == Kind::Secret;
        changes.objects.iter().any(is_secret) || dirty.ingresses.iter().any(has_tls)
    }

    fn all(&self, objects: &Objects) -> Dirty {
        let now = objects.ingresses().keys();
        let known = |name: &ObjectName| match self.ours.get_key_value(name) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::new(name.clone()),
        };
        Dirty {
            ingresses: now.map(known).chain(self.ours.keys().cloned()).collect(),
            is_all: true,
            ..Dirty::default()
        }
    }

    /// Adds every Ingress that shares a host with one that is dirty.
    fn close(&self, objects: &Objects, scope: &Scope, dirty: &mut Dirty) {
        let mut unseen: Vec<Arc<ObjectName>> = dirty.ingresses.iter().cloned().collect();
        while let Some(name) = unseen.pop() {
            let before = self.ours.get(&name);
            let now = our(objects, scope, &name);
            let now = now.filter(|now| before.is_none_or(|before| !Arc::ptr_eq(now, before)));
            for ingress in before.into_iter().chain(now) {
                for host in names(&name, ingress).hosts {
                    if !dirty.hosts.insert(host.clone()) {
                        continue;
                    }
                    for other in following(&self.hosts, &host, |entry| &entry.0) {
                        if dirty.ingresses.insert(Arc::clone(&other.1)) {
                            unseen.push(Arc::clone(&other.1));
                        }
                    }
                }
            }
        }
    }

    /// Notes who names what now.
    fn index(
        &mut self,
        objects: &Objects,
        scope: &Scope,
        dirty: &Dirty,
        seen: &mut BTreeMap<Condition, bool>,
    ) {
        for id in &dirty.ingresses {
            let now = our(objects, scope, id);
            let before = self.ours.get(id);
            if let (Some(now), Some(before)) = (now, before)
                && Arc::ptr_eq(now, before)
            {
                continue;
            }
            if let Some(before) = self.ours.remove(id) {
                if let Some(count) = self.namespaces.get_mut(&id.namespace) {
                    *count -= 1;
                }
                let names = names(id, &before);
                for host in names.hosts {
                    self.hosts.remove(&(host, Arc::clone(id)));
                }
                for backend in names.backends {
                    self.backends.remove(&(backend.clone(), Arc::clone(id)));
                    self.forget(&backend, seen);
                }
                for secret in names.secrets {
                    self.secrets.remove(&(secret, Arc::clone(id)));
                }
            }
            let Some(now) = now else { continue };
            *self.namespaces.entry(id.namespace.clone()).or_default() += 1;
            let names = names(id, now);
            let with_id = |host: HostPattern| (host, Arc::clone(id));
            self.hosts.extend(names.hosts.into_iter().map(with_id));
            let with_id = |backend: BackendName| (backend, Arc::clone(id));
            self.backends
                .extend(names.backends.into_iter().map(with_id));
            let with_id = |secret: ObjectName| (secret, Arc::clone(id));
            self.secrets.extend(names.secrets.into_iter().map(with_id));
            self.ours.insert(Arc::clone(id), Arc::clone(now));
        }
        self.namespaces.retain(|_, count| *count > 0);
    }

    /// Puts a part in the place of all that its hosts had. Tells whether that changes a certificate.
    fn replace(&mut self, hosts: &BTreeSet<HostPattern>, part: &Part) -> bool {
        let model = &part.model;
        let of_tenants = model
            .tenants
            .values()
            .flat_map(|tenant| &tenant.certificates);
        let certificates: BTreeMap<_, _> = of_tenants.collect();
        let mut certificates_changed = false;
        for host in hosts {
            self.builder.clear_host(host);
            if *host != HostPattern::Any {
                let certificate = certificates
                    .get(host)
                    .map(|&certificate| certificate.clone());
                certificates_changed |= self.builder.certificate(host, certificate);
            }
        }
        add(model, &mut self.builder);
        let default = model.default_certificate.clone();
        self.builder.certificate(&HostPattern::Any, default) || certificates_changed
    }

    /// Notes what is wrong, and gives backends their endpoints.
    fn judge(
        &mut self,
        objects: &Objects,
        dirty: &Dirty,
        part: Part,
        seen: &mut BTreeMap<Condition, bool>,
    ) {
        let default = part
            .model
            .default_backend
            .as_ref()
            .map(|(name, _)| name.clone());
        if let Some(before) = std::mem::replace(&mut self.default_backend, default) {
            self.forget(&before, seen);
        }
        let mut resolved = part.backends;
        for service in &dirty.services {
            for name in self.names_of(service) {
                resolved
                    .entry(name)
                    .or_insert_with_key(|name| service::find(objects, name));
            }
        }
        for (
            name,
            Resolved {
                backend,
                conditions,
            },
        ) in resolved
        {
            self.builder.replace_backend(table_backend(&name, &backend));
            self.note(Source::Backend(name), conditions, seen);
        }
        let mut of_ingresses: BTreeMap<Arc<ObjectName>, Vec<Condition>> = dirty
            .ingresses
            .iter()
            .map(|name| (Arc::clone(name), Vec::new()))
            .collect();
        let mut of_scope = Vec::new();
        for condition in part.conditions {
            let of_ingress = match condition.object.kind {
                Kind::Ingress => of_ingresses.get_mut(&condition.object.name),
                Kind::IngressClass | Kind::Service | Kind::EndpointSlice | Kind::Secret => None,
            };
            of_ingress.unwrap_or(&mut of_scope).push(condition);
        }
        for (name, conditions) in of_ingresses {
            self.note(Source::Ingress(name), conditions, seen);
        }
        self.note(Source::Scope, of_scope, seen);
        if dirty.is_all {
            self.wanted = part.secrets;
        }
    }

    fn note(
        &mut self,
        source: Source,
        mut conditions: Vec<Condition>,
        seen: &mut BTreeMap<Condition, bool>,
    ) {
        conditions.sort();
        conditions.dedup();
        let before = if conditions.is_empty() {
            self.found.remove(&source)
        } else {
            self.found.insert(source.clone(), conditions)
        };
        for condition in self.found.get(&source).into_iter().flatten() {
            let count = self.conditions.entry(condition.clone()).or_default();
            seen.entry(condition.clone()).or_insert(*count > 0);
            *count += 1;
        }
        for condition in before.into_iter().flatten() {
            if let Some(count) = self.conditions.get_mut(&condition) {
                *count -= 1;
                if *count == 0 {
                    self.conditions.remove(&condition);
                }
                seen.entry(condition).or_insert(true);
            }
        }
    }

    /// Of a Service port that nobody names any more nothing is wrong.
    fn forget(&mut self, backend: &BackendName, seen: &mut BTreeMap<Condition, bool>) {
        let is_named = following(&self.backends, backend, |entry| &entry.0)
            .next()
            .is_some();
        if !is_named && self.default_backend.as_ref() != Some(backend) {
            self.note(Source::Backend(backend.clone()), Vec::new(), seen);
        }
    }

    /// What came and what is gone of the conditions that were touched.
    fn difference(&self, seen: BTreeMap<Condition, bool>) -> (Vec<Condition>, Vec<Condition>) {
        let (mut came, mut gone) = (Vec::new(), Vec::new());
        for (condition, was_there) in seen {
            match (was_there, self.conditions.contains_key(&condition)) {
                (false, true) => came.push(condition),
                (true, false) => gone.push(condition),
                (false, false) | (true, true) => {}
            }
        }
        (came, gone)
    }

    fn who_names_service(&self, service: &ObjectName) -> Vec<Arc<ObjectName>> {
        let first = backend_of(service, "");
        self.backends
            .range((first, Arc::default())..)
            .take_while(|(name, _)| is_of(name, service))
            .map(|(_, ingress)| Arc::clone(ingress))
            .collect()
    }

    fn who_names_secret(&self, secret: &ObjectName) -> Vec<Arc<ObjectName>> {
        let entries = following(&self.secrets, secret, |entry| &entry.0);
        entries.map(|(_, ingress)| Arc::clone(ingress)).collect()
    }

    /// The names of a Service's ports, each once, however many Ingresses name it.
    fn names_of(&self, service: &ObjectName) -> Vec<BackendName> {
        let mut names = Vec::new();
        let mut from = Bound::Included((backend_of(service, ""), Arc::default()));
        while let Some((name, _)) = self.backends.range((from, Bound::Unbounded)).next() {
            if !is_of(name, service) {
                break;
            }
            names.push(name.clone());
            let next = backend_of(service, &format!("{}\0", name.port));
            from = Bound::Included((next, Arc::default()));
        }
        names
    }
}

/// The entries of a set of pairs that begin with this.
fn following<'s, K: Ord + Clone>(
    set: &'s BTreeSet<(K, Arc<ObjectName>)>,
    first: &K,
    key: impl Fn(&'s (K, Arc<ObjectName>)) -> &'s K + 's,
) -> impl Iterator<Item = &'s (K, Arc<ObjectName>)> {
    let wanted = first.clone();
    set.range((first.clone(), Arc::default())..)
        .take_while(move |entry| *key(entry) == wanted)
}

fn backend_of(service: &ObjectName, port: &str) -> BackendName {
    BackendName {
        namespace: service.namespace.as_str().into(),
        service: service.name.as_str().into(),
        port: port.into(),
    }
}

fn is_of(name: &BackendName, service: &ObjectName) -> bool {
    *name.namespace == *service.namespace && *name.service == *service.name
}

/// The Ingress of this name, when it is ours.
fn our<'o>(objects: &'o Objects, scope: &Scope, name: &ObjectName) -> Option<&'o Arc<Ingress>> {
    let ingress = objects.ingresses().get(name)?;
    is_ours(name, ingress, objects, scope).then_some(ingress)
}

/// What an Ingress names, as far as the translation of it gets there.
fn names(name: &ObjectName, ingress: &Ingress) -> Names {
    let mut names = Names {
        hosts: BTreeSet::new(),
        backends: BTreeSet::new(),
        secrets: BTreeSet::new(),
    };
    let namespace = &*name.namespace;
    if Tenant::try_from(namespace).is_err() {
        return names;
    }
    let spec = &ingress.spec;
    for rule in spec.rules.iter().flatten() {
        let Ok(host) = host::pattern(rule.host.as_deref().unwrap_or_default()) else {
            continue;
        };
        names.hosts.insert(host);
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            let text = path.path.as_deref().unwrap_or_default();
            if PathPattern::try_from((&*path.path_type, text)).is_ok() {
                names
                    .backends
                    .insert(service::name(namespace, &path.backend));
            }
        }
    }
    if let Some(backend) = &spec.default_backend {
        names.hosts.insert(HostPattern::Any);
        names.backends.insert(service::name(namespace, backend));
    }
    for tls in spec.tls.iter().flatten() {
        let hosts = tls.hosts.iter().flatten();
        names
            .hosts
            .extend(hosts.filter_map(|host| host::pattern(host).ok()));
        let secret = tls.secret_name.iter().filter(|secret| !secret.is_empty());
        names
            .secrets
            .extend(secret.map(|secret| ObjectName::new(namespace, &**secret)));
    }
    names
}

#[cfg(test)]
mod tests;
