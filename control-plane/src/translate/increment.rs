//! Makes the next table of the last one. Pure.
//!
//! In: objects, and what of them has changed. Out: a table that shares everything else with the last one, and the conditions that
//! came and went. What it gives is what [`super::translate`] and `compile` make of all objects: it only does not look at those
//! whose part cannot differ. Ingresses have to do with each other by the hosts that they name, so a part is a set of Ingresses
//! that share no host with the others; endpoints change the backends of their Service, and no host.

mod findings;
mod index;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tiergate_data_plane::host::HostPattern;
use tiergate_data_plane::table::{BackendName, HashKey, Table, TableBuilder};

use super::condition::Condition;
use super::secret::Wanted;
use super::service::{self, Resolved};
use super::{Part, is_ours, part};
use crate::compile::{add, table_backend};
use crate::model::TenantModel;
use crate::model::external::ExternalName;
use crate::model::tenant::Tenant;
use crate::objects::ingress::Ingress;
use crate::objects::service::EXTERNAL_NAME;
use crate::objects::{Changes, Kind, Objects};
use crate::scope::{ObjectName, Scope, Secrets};
use findings::{Findings, Source};
use index::{Index, may_name_secrets, names};

/// Ingresses that are ours, and the table that was made of them.
#[derive(Debug)]
pub struct Increment {
    builder: TableBuilder,
    index: Index,
    default_backend: Option<BackendName>,
    findings: Findings,
    wanted: Wanted,
    /// Those of ours of whose rules none is in the table.
    unserved: BTreeSet<Arc<ObjectName>>,
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
    /// The Ingresses that were looked at: ours, and those that were.
    pub looked_at: BTreeSet<Arc<ObjectName>>,
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
            index: Index::default(),
            default_backend: None,
            findings: Findings::default(),
            wanted: Wanted::default(),
            unserved: BTreeSet::new(),
            is_first: true,
        }
    }

    /// Follows the objects. `changes` names at least all that differ from the last time; the first time, all are looked at.
    pub fn follow(&mut self, objects: &Objects, scope: &Scope, changes: &Changes) -> Outcome {
        let mut dirty = self.dirty(objects, changes);
        if !self.is_first {
            self.close(objects, scope, &mut dirty);
        }
        if !dirty.is_all && self.counts_secrets(objects, scope, changes, &dirty) {
            dirty = self.all(objects);
            self.close(objects, scope, &mut dirty);
        }
        let mut unnamed = BTreeSet::new();
        for name in &dirty.ingresses {
            let now = our(objects, scope, name);
            unnamed.extend(self.index.set(name, now));
        }
        let names = dirty.ingresses.iter().map(|name| &**name);
        let part = part(objects, scope, names);
        if self.is_first {
            // All hosts are new: there is nothing to take out of the table.
            let tenants = part.model.tenants.values();
            let certified = tenants.flat_map(|tenant| tenant.certificates.keys());
            dirty.hosts.extend(certified.cloned());
        }
        let certificates_changed = self.replace(&dirty.hosts, &part);
        self.note_unserved(&dirty.ingresses, &part);
        self.judge(objects, scope, &dirty, part, unnamed);
        self.builder.sweep();
        self.is_first = false;
        let (came, gone) = self.findings.difference();
        Outcome {
            table: self.builder.next_table(),
            came,
            gone,
            certificates_changed,
            looked_at: dirty.ingresses,
        }
    }

    /// The table as it is now.
    #[must_use]
    pub fn table(&self) -> Table {
        self.builder.table()
    }

    /// Everything that is wrong, in order, each once.
    pub fn conditions(&self) -> impl ExactSizeIterator<Item = &Condition> {
        self.findings.conditions()
    }

    /// What is wrong with an Ingress itself, in order.
    #[must_use]
    pub fn conditions_of(&self, ingress: &ObjectName) -> &[Condition] {
        match self.index.name(ingress) {
            Some(name) => self.findings.of(&Source::Ingress(Arc::clone(name))),
            None => &[],
        }
    }

    /// Whether an Ingress is ours.
    #[must_use]
    pub fn is_ours(&self, ingress: &ObjectName) -> bool {
        self.index.get(ingress).is_some()
    }

    /// Whether some rule of an Ingress is in the table.
    #[must_use]
    pub fn is_served(&self, ingress: &ObjectName) -> bool {
        self.is_ours(ingress) && !self.unserved.contains(ingress)
    }

    /// Holds an Ingress in the place of the one that was followed, when it asks for the same: then nothing is to follow.
    pub fn hold(&mut self, name: &ObjectName, ingress: &Arc<Ingress>) {
        self.index.hold(name, ingress);
    }

    /// The Ingresses that are ours, served or not.
    pub fn ingresses(&self) -> impl ExactSizeIterator<Item = &ObjectName> {
        self.index.ingresses().map(|name| &**name)
    }

    /// How many of them each namespace has.
    #[must_use]
    pub fn namespaces(&self) -> &BTreeMap<String, usize> {
        self.index.namespaces()
    }

    /// The Secrets that a tier which reads them by their names wants.
    #[must_use]
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// The names in DNS that Services stand for which Ingresses of ours name, by their namespaces.
    #[must_use]
    pub fn external_names(&self, objects: &Objects) -> BTreeSet<(String, ExternalName)> {
        let of_ours = objects.external_services().filter(|(service, _)| {
            let is_default = |name: &BackendName| service::object(name) == **service;
            self.default_backend.as_ref().is_some_and(is_default)
                || !self.index.names_of(service).is_empty()
        });
        of_ours
            .filter_map(|(service, text)| {
                let name = ExternalName::parse(text, &service.namespace).ok()?;
                Some((service.namespace.clone(), name))
            })
            .collect()
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
                    let known = objects.ingresses().get_key_value(name);
                    let known = known.map(|(name, _)| Arc::clone(name));
                    let known = known.unwrap_or_else(|| Arc::new(name.clone()));
                    dirty.ingresses.insert(known);
                }
                Kind::Service => {
                    dirty.services.insert(name.clone());
                    dirty.ingresses.extend(self.index.who_names_service(name));
                }
                Kind::Secret => dirty.ingresses.extend(self.index.who_names_secret(name)),
                Kind::Namespace => {
                    let of_namespace = objects.ingresses_of(&name.name);
                    dirty.ingresses.extend(of_namespace.cloned());
                }
                Kind::IngressClass | Kind::EndpointSlice => {}
            }
        }
        for name in &changes.services {
            dirty.services.insert(name.clone());
            let service = objects.services().get(name);
            if service.is_some_and(|service| service.service_type == EXTERNAL_NAME) {
                // Whether there are slices decides what is wrong with the rules.
                dirty.ingresses.extend(self.index.who_names_service(name));
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
            let (before, now) = (self.index.get(name), objects.ingresses().get(&**name));
            before
                .into_iter()
                .chain(now)
                .any(|ingress| may_name_secrets(name, ingress))
        };
        let is_secret = |(kind, _): &(Kind, ObjectName)| *kind == Kind::Secret;
        changes.objects.iter().any(is_secret) || dirty.ingresses.iter().any(has_tls)
    }

    fn all(&self, objects: &Objects) -> Dirty {
        let now = objects.ingresses().keys();
        Dirty {
            // Of equal names the set keeps the first.
            ingresses: now.chain(self.index.ingresses()).cloned().collect(),
            is_all: true,
            ..Dirty::default()
        }
    }

    /// Adds every Ingress that shares a host with one that is dirty.
    fn close(&self, objects: &Objects, scope: &Scope, dirty: &mut Dirty) {
        let mut unseen: Vec<Arc<ObjectName>> = dirty.ingresses.iter().cloned().collect();
        while let Some(name) = unseen.pop() {
            let before = self.index.get(&name);
            let now = our(objects, scope, &name);
            let now = now.filter(|now| before.is_none_or(|before| !Arc::ptr_eq(now, before)));
            for ingress in before.into_iter().chain(now) {
                for host in names(&name, ingress).hosts {
                    if !dirty.hosts.insert(host.clone()) {
                        continue;
                    }
                    for other in self.index.who_names_host(&host) {
                        if dirty.ingresses.insert(Arc::clone(other)) {
                            unseen.push(Arc::clone(other));
                        }
                    }
                }
            }
        }
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

    fn note_unserved(&mut self, looked_at: &BTreeSet<Arc<ObjectName>>, part: &Part) {
        let of_tenant = |(tenant, model)| {
            let (tenant, model): (&Tenant, &TenantModel) = (tenant, model);
            let routes = model.routes.values();
            routes.map(move |route| (tenant.as_str(), &*route.ingress))
        };
        let served: BTreeSet<(&str, &str)> =
            part.model.tenants.iter().flat_map(of_tenant).collect();
        for name in looked_at {
            let is_served = served.contains(&(&*name.namespace, &*name.name));
            if is_served || self.index.get(name).is_none() {
                self.unserved.remove(name);
            } else {
                self.unserved.insert(Arc::clone(name));
            }
        }
    }

    /// Notes what is wrong, and gives backends their endpoints.
    fn judge(
        &mut self,
        objects: &Objects,
        scope: &Scope,
        dirty: &Dirty,
        part: Part,
        unnamed: BTreeSet<BackendName>,
    ) {
        let default = part
            .model
            .default_backend
            .as_ref()
            .map(|(name, _)| name.clone());
        let before = std::mem::replace(&mut self.default_backend, default);
        for name in unnamed.into_iter().chain(before) {
            // Of a Service port that nobody names any more nothing is wrong.
            if !self.index.is_named(&name) {
                self.findings.note(Source::Backend(name), Vec::new());
            }
        }
        let mut resolved = part.backends;
        for service in &dirty.services {
            for name in self.index.names_of(service) {
                resolved
                    .entry(name)
                    .or_insert_with_key(|name| service::find(objects, scope, name));
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
            self.findings.note(Source::Backend(name), conditions);
        }
        // Most Ingresses have none.
        let mut of_ingresses: BTreeMap<ObjectName, Vec<Condition>> = BTreeMap::new();
        let mut of_scope = Vec::new();
        for condition in part.conditions {
            if condition.object.kind == Kind::Ingress {
                let name = condition.object.name.clone();
                of_ingresses.entry(name).or_default().push(condition);
            } else {
                of_scope.push(condition);
            }
        }
        for name in &dirty.ingresses {
            let conditions = of_ingresses.remove(&**name).unwrap_or_default();
            self.findings
                .note(Source::Ingress(Arc::clone(name)), conditions);
        }
        self.findings.note(Source::Scope, of_scope);
        if dirty.is_all {
            self.wanted = part.secrets;
        }
    }
}

/// The Ingress of this name, when it is ours.
fn our<'o>(objects: &'o Objects, scope: &Scope, name: &ObjectName) -> Option<&'o Arc<Ingress>> {
    let ingress = objects.ingresses().get(name)?;
    is_ours(name, ingress, objects, scope).then_some(ingress)
}

#[cfg(test)]
mod tests;
