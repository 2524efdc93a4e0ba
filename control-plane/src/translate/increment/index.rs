//! Which Ingresses are ours, and who names what. Pure.
//!
//! In: Ingresses that came, went or differ. Out: for a host, a Service or a Secret, those that name it, without looking at others.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use tiergate_data_plane::host::HostPattern;
use tiergate_data_plane::table::BackendName;

use crate::model::host;
use crate::model::path::PathPattern;
use crate::model::tenant::Tenant;
use crate::objects::ingress::Ingress;
use crate::scope::ObjectName;
use crate::translate::service;

/// Who names what.
#[derive(Debug, Default)]
pub(super) struct Index {
    ours: BTreeMap<Arc<ObjectName>, Arc<Ingress>>,
    /// How many of them each namespace has.
    namespaces: BTreeMap<String, usize>,
    hosts: BTreeSet<(HostPattern, Arc<ObjectName>)>,
    backends: BTreeSet<(BackendName, Arc<ObjectName>)>,
    secrets: BTreeSet<(ObjectName, Arc<ObjectName>)>,
}

/// What an Ingress names.
pub(super) struct Names {
    pub(super) hosts: BTreeSet<HostPattern>,
    backends: BTreeSet<BackendName>,
    secrets: BTreeSet<ObjectName>,
}

// === impl Index ===

impl Index {
    /// The Ingress of this name, when it is ours.
    pub(super) fn get(&self, name: &ObjectName) -> Option<&Arc<Ingress>> {
        self.ours.get(name)
    }

    /// The name as it is held.
    pub(super) fn name(&self, name: &ObjectName) -> Option<&Arc<ObjectName>> {
        self.ours.get_key_value(name).map(|(name, _)| name)
    }

    pub(super) fn ingresses(&self) -> impl ExactSizeIterator<Item = &Arc<ObjectName>> {
        self.ours.keys()
    }

    pub(super) fn namespaces(&self) -> &BTreeMap<String, usize> {
        &self.namespaces
    }

    /// Notes what an Ingress names now; none: it is not ours. Gives the Service ports that it named before.
    pub(super) fn set(
        &mut self,
        id: &Arc<ObjectName>,
        now: Option<&Arc<Ingress>>,
    ) -> BTreeSet<BackendName> {
        let before = self.ours.get(id);
        if let (Some(now), Some(before)) = (now, before)
            && Arc::ptr_eq(now, before)
        {
            return BTreeSet::new();
        }
        let unnamed = self.remove(id);
        let Some(now) = now else { return unnamed };
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
        unnamed
    }

    fn remove(&mut self, id: &Arc<ObjectName>) -> BTreeSet<BackendName> {
        let Some(before) = self.ours.remove(id) else {
            return BTreeSet::new();
        };
        if let Some(count) = self.namespaces.get_mut(&id.namespace) {
            *count -= 1;
            if *count == 0 {
                self.namespaces.remove(&id.namespace);
            }
        }
        let names = names(id, &before);
        for host in names.hosts {
            self.hosts.remove(&(host, Arc::clone(id)));
        }
        for secret in names.secrets {
            self.secrets.remove(&(secret, Arc::clone(id)));
        }
        for backend in &names.backends {
            self.backends.remove(&(backend.clone(), Arc::clone(id)));
        }
        names.backends
    }

    pub(super) fn is_named(&self, backend: &BackendName) -> bool {
        following(&self.backends, backend).next().is_some()
    }

    pub(super) fn who_names_host(
        &self,
        host: &HostPattern,
    ) -> impl Iterator<Item = &Arc<ObjectName>> {
        following(&self.hosts, host)
    }

    pub(super) fn who_names_service(&self, service: &ObjectName) -> Vec<Arc<ObjectName>> {
        let first = backend_of(service, "");
        self.backends
            .range((first, Arc::default())..)
            .take_while(|(name, _)| is_of(name, service))
            .map(|(_, ingress)| Arc::clone(ingress))
            .collect()
    }

    pub(super) fn who_names_secret(&self, secret: &ObjectName) -> Vec<Arc<ObjectName>> {
        following(&self.secrets, secret).cloned().collect()
    }

    /// The names of a Service's ports, each once, however many Ingresses name it.
    pub(super) fn names_of(&self, service: &ObjectName) -> Vec<BackendName> {
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

/// Who stands in a set of pairs beside this.
fn following<'s, K: Ord + Clone>(
    set: &'s BTreeSet<(K, Arc<ObjectName>)>,
    wanted: &K,
) -> impl Iterator<Item = &'s Arc<ObjectName>> {
    let wanted = wanted.clone();
    set.range((wanted.clone(), Arc::default())..)
        .take_while(move |entry| entry.0 == wanted)
        .map(|(_, ingress)| ingress)
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

/// What an Ingress names, as far as the translation of it gets there.
pub(super) fn names(name: &ObjectName, ingress: &Ingress) -> Names {
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
