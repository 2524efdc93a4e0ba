//! Which Ingresses are ours, and who names what. Pure.
//!
//! In: Ingresses that came, went or differ. Out: for a host, a Service or a Secret, those that name it, without looking at others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tiergate_data_plane::host::HostPattern;
use tiergate_data_plane::table::BackendName;

use crate::model::host;
use crate::model::path::PathPattern;
use crate::model::tenant::Tenant;
use crate::objects::ingress::Ingress;
use crate::scope::ObjectName;
use crate::translate::{annotation, service};

/// Who names what.
#[derive(Debug, Default)]
pub(super) struct Index {
    ours: BTreeMap<Arc<ObjectName>, Arc<Ingress>>,
    /// How many of them each namespace has.
    namespaces: BTreeMap<String, usize>,
    hosts: BTreeSet<(HostPattern, Arc<ObjectName>)>,
    /// A port of a Service is named by many, and its name is kept once.
    backends: BTreeMap<BackendName, BTreeSet<Arc<ObjectName>>>,
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
        for backend in names.backends {
            self.backends
                .entry(backend)
                .or_default()
                .insert(Arc::clone(id));
        }
        let with_id = |secret: ObjectName| (secret, Arc::clone(id));
        self.secrets.extend(names.secrets.into_iter().map(with_id));
        self.ours.insert(Arc::clone(id), Arc::clone(now));
        unnamed
    }

    /// Holds an Ingress that asks for the same in the place of the one that is held, so that not both are kept.
    pub(super) fn hold(&mut self, name: &ObjectName, ingress: &Arc<Ingress>) {
        let held = self.ours.get_mut(name);
        if let Some(held) = held.filter(|held| held.asks_for_the_same(ingress)) {
            *held = Arc::clone(ingress);
        }
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
            if let Some(ingresses) = self.backends.get_mut(backend) {
                ingresses.remove(id);
                if ingresses.is_empty() {
                    self.backends.remove(backend);
                }
            }
        }
        names.backends
    }

    pub(super) fn is_named(&self, backend: &BackendName) -> bool {
        self.backends.contains_key(backend)
    }

    pub(super) fn who_names_host(
        &self,
        host: &HostPattern,
    ) -> impl Iterator<Item = &Arc<ObjectName>> {
        following(&self.hosts, host)
    }

    pub(super) fn who_names_service(&self, service: &ObjectName) -> Vec<Arc<ObjectName>> {
        let ports = self.ports_of(service);
        ports
            .flat_map(|(_, ingresses)| ingresses)
            .cloned()
            .collect()
    }

    pub(super) fn who_names_secret(&self, secret: &ObjectName) -> Vec<Arc<ObjectName>> {
        following(&self.secrets, secret).cloned().collect()
    }

    /// The names of a Service's ports, each once, however many Ingresses name it.
    pub(super) fn names_of(&self, service: &ObjectName) -> Vec<BackendName> {
        let ports = self.ports_of(service);
        ports.map(|(name, _)| name.clone()).collect()
    }

    fn ports_of(
        &self,
        service: &ObjectName,
    ) -> impl Iterator<Item = (&BackendName, &BTreeSet<Arc<ObjectName>>)> {
        let first = backend_of(service, "");
        let ports = self.backends.range(first.clone()..);
        ports.take_while(move |(name, _)| {
            (&name.namespace, &name.service) == (&first.namespace, &first.service)
        })
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

/// Whether an Ingress may name Secrets.
pub(super) fn may_name_secrets(name: &ObjectName, ingress: &Ingress) -> bool {
    !ingress.spec.tls.is_empty()
        || annotation::secret(&name.namespace, &ingress.annotations).is_some()
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
    // Such an Ingress names the Services of its broken paths as well.
    let reads_expressions = annotation::reads_expressions(&ingress.annotations);
    for rule in &spec.rules {
        let Ok(host) = host::pattern(&rule.host) else {
            continue;
        };
        names.hosts.insert(host);
        for path in &rule.paths {
            if reads_expressions || PathPattern::try_from((&*path.path_type, &*path.path)).is_ok() {
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
    for tls in &spec.tls {
        let hosts = tls.hosts.iter();
        names
            .hosts
            .extend(hosts.filter_map(|host| host::pattern(host).ok()));
        if !tls.secret.is_empty() {
            let secret = ObjectName::new(namespace, &*tls.secret);
            names.secrets.insert(secret);
        }
    }
    let to_pods = annotation::secret(namespace, &ingress.annotations);
    names.secrets.extend(to_pods);
    names
}
