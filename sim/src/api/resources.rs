//! The kinds that the server knows: names, verbs, subresources, and the few habits in which kinds differ.
//!
//! In: a group, version and plural from a URL. Out: an [`Arc<Resource>`]. Custom resources come and go with their
//! definitions; the built-in ones are listed in [`built_in`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::apply;
use super::custom::Custom;
use super::openapi::Document;

mod built_in;

/// One resource of one group version.
#[derive(Debug)]
pub(crate) struct Resource {
    /// API group; empty for core.
    pub group: String,
    /// Version, such as `v1`.
    pub version: String,
    /// Name in URLs.
    pub plural: String,
    /// Name of one.
    pub singular: String,
    /// Kind of the objects.
    pub kind: String,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Abbreviations that kubectl takes.
    pub short_names: Vec<String>,
    /// Groups of resources that kubectl takes, such as `all`.
    pub categories: Vec<String>,
    /// Subresources.
    pub subresources: Vec<Subresource>,
    /// What may be done to the resource itself.
    pub offer: Offer,
    /// The store that keeps the objects; `events.k8s.io` shares that of the core events.
    pub storage: String,
    /// Schema and columns, for custom resources.
    pub custom: Option<Custom>,
}

/// A part of a resource with a URL of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subresource {
    /// `…/status`
    Status,
    /// `…/scale`
    Scale,
    /// `pods/binding`
    Binding,
    /// `pods/eviction`
    Eviction,
    /// `serviceaccounts/token`
    Token,
    /// `namespaces/finalize`
    Finalize,
}

/// Which verbs a resource has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Everything.
    All,
    /// Everything except deleting a collection.
    NoDeleteCollection,
    /// A question that is answered and not stored.
    Create,
}

/// The resources that are served at a moment.
#[derive(Debug)]
pub(crate) struct Registry {
    by_path: BTreeMap<(String, String, String), Arc<Resource>>,
    group_order: Vec<String>,
    /// The OpenAPI documents by group version, written when somebody asks.
    documents: BTreeMap<String, OnceLock<Document>>,
}

use Subresource::{Binding, Eviction, Finalize, Scale, Status, Token};

// === impl Resource ===

impl Resource {
    /// `v1` or `apps/v1`.
    pub(crate) fn group_version(&self) -> String {
        group_version(&self.group, &self.version)
    }

    /// The resource as error messages write it: `deployments.apps`.
    pub(crate) fn qualified(&self) -> String {
        qualify(&self.plural, &self.group)
    }

    /// The kind as error messages write it: `Deployment.apps`.
    pub(crate) fn qualified_kind(&self) -> String {
        qualify(&self.kind, &self.group)
    }

    /// Whether this is a built-in kind; custom kinds of other groups may have the same name.
    pub(crate) fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// The kind as apply sees it.
    pub(crate) fn kind_to_apply(&self) -> apply::Kind<'_> {
        apply::Kind {
            name: &self.kind,
            schema: self.custom.as_ref().map(|custom| &custom.schema),
        }
    }

    /// Whether the kind has this subresource.
    pub(crate) fn has(&self, subresource: Subresource) -> bool {
        self.subresources.contains(&subresource)
    }

    /// Whether the objects come from a definition that somebody installed.
    pub(crate) fn is_custom(&self) -> bool {
        self.custom.is_some()
    }

    /// Whether PUT to a name that is free creates the object.
    pub(crate) fn is_created_by_put(&self) -> bool {
        !self.is_custom()
            && (matches!(
                self.kind.as_str(),
                "Service" | "Endpoints" | "Lease" | "Event" | "LimitRange"
            ) || self.group == "rbac.authorization.k8s.io")
    }

    /// Whether a finished deletion answers with the object; the others answer with a Status.
    pub(crate) fn is_returned_when_deleted(&self) -> bool {
        self.group.is_empty()
            && matches!(
                self.kind.as_str(),
                "Pod" | "Service" | "ServiceAccount" | "PersistentVolume" | "PersistentVolumeClaim"
            )
    }

    /// What raises `metadata.generation`.
    pub(crate) fn generation(&self) -> Generation {
        if self.is_custom() {
            return if self.has(Subresource::Status) {
                Generation::Spec
            } else {
                Generation::AllButMetadata
            };
        }
        match (self.group.as_str(), self.kind.as_str()) {
            ("", "Pod" | "ReplicationController")
            | (_, "Ingress" | "IngressClass" | "NetworkPolicy" | "PodDisruptionBudget")
            | ("apps" | "batch", _)
            | (_, "CustomResourceDefinition" | "PriorityClass") => Generation::Spec,
            (_, "EndpointSlice") => Generation::Everything,
            _ => Generation::Never,
        }
    }

    /// Verbs of the resource itself, in the order that discovery prints.
    pub(crate) fn verbs(&self) -> &'static [&'static str] {
        match self.offer {
            Offer::Create => &["create"],
            Offer::NoDeleteCollection => &[
                "create", "delete", "get", "list", "patch", "update", "watch",
            ],
            // Custom resources are listed in another order by the real server; kubectl does not mind, the record does.
            Offer::All if self.is_custom() => &[
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "create",
                "update",
                "watch",
            ],
            Offer::All => &[
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ],
        }
    }
}

/// What raises `metadata.generation` of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// The kind has none.
    Never,
    /// Changes of anything but metadata and status.
    Spec,
    /// Changes of anything but metadata: custom resources without a status of their own.
    AllButMetadata,
    /// Any change, labels and annotations included.
    Everything,
}

// === impl Subresource ===

impl Subresource {
    /// From the path element.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Status, Scale, Binding, Eviction, Token, Finalize]
            .into_iter()
            .find(|one| one.name() == text)
    }

    /// The path element.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status => "status",
            Scale => "scale",
            Binding => "binding",
            Eviction => "eviction",
            Token => "token",
            Finalize => "finalize",
        }
    }

    /// What may be done to it.
    pub(crate) fn verbs(self) -> &'static [&'static str] {
        match self {
            Status | Scale => &["get", "patch", "update"],
            Binding | Eviction | Token => &["create"],
            Finalize => &["update"],
        }
    }
}

// === impl Registry ===

impl Registry {
    /// The built-in resources.
    pub(crate) fn built_in() -> Self {
        let mut registry = Self {
            by_path: BTreeMap::new(),
            group_order: Vec::new(),
            documents: BTreeMap::new(),
        };
        for resource in built_in::resources() {
            registry.insert(Arc::new(resource));
        }
        registry
    }

    /// Starts to serve a resource, or replaces it.
    pub(crate) fn insert(&mut self, resource: Arc<Resource>) {
        if !self.group_order.contains(&resource.group) {
            self.group_order.push(resource.group.clone());
        }
        let path = (
            resource.group.clone(),
            resource.version.clone(),
            resource.plural.clone(),
        );
        self.documents
            .insert(resource.group_version(), OnceLock::new());
        self.by_path.insert(path, resource);
    }

    /// Stops serving all versions of a custom resource.
    pub(crate) fn remove(&mut self, group: &str, plural: &str) {
        self.by_path
            .retain(|(in_group, _, name), _| in_group != group || name != plural);
        for (name, document) in &mut self.documents {
            if name.split('/').next() == Some(group) {
                *document = OnceLock::new();
            }
        }
        if !self.has_group(group) {
            self.group_order.retain(|known| known != group);
        }
    }

    /// The resource at a path.
    pub(crate) fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.by_path
            .get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
            .cloned()
    }

    /// Whether anything of the group is served.
    pub(crate) fn has_group(&self, group: &str) -> bool {
        self.by_path.keys().any(|(known, _, _)| known == group)
    }

    /// Groups in the order of discovery, core first.
    pub(crate) fn groups(&self) -> &[String] {
        &self.group_order
    }

    /// The versions of a group, newest first.
    pub(crate) fn versions(&self, group: &str) -> Vec<String> {
        let mut versions: Vec<String> = Vec::new();
        for (known, version, _) in self.by_path.keys() {
            if known == group && !versions.contains(version) {
                versions.push(version.clone());
            }
        }
        versions.sort_by_key(|version| std::cmp::Reverse(version_rank(version)));
        versions
    }

    /// The resources of a group version, by name.
    pub(crate) fn resources(&self, group: &str, version: &str) -> Vec<Arc<Resource>> {
        let of_version = |(in_group, in_version, _): &(String, String, String)| {
            in_group == group && in_version == version
        };
        self.by_path
            .iter()
            .filter(|(path, _)| of_version(path))
            .map(|(_, one)| one.clone())
            .collect()
    }

    /// The OpenAPI document of a group version that is served.
    pub(crate) fn document(&self, group: &str, version: &str) -> Cow<'_, Document> {
        match self.documents.get(&group_version(group, version)) {
            Some(kept) => Cow::Borrowed(kept.get_or_init(|| Document::of(self, group, version))),
            None => Cow::Owned(Document::of(self, group, version)),
        }
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.by_path.values()
    }
}

/// `v1` or `apps/v1`.
pub(crate) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// `things.example.com`, or `pods` of the core group.
pub(crate) fn qualify(name: &str, group: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}

/// Orders versions as discovery does: `v2` before `v1` before `v1beta2` before `v1alpha1` before anything else.
fn version_rank(version: &str) -> (u8, u32, u32) {
    let digits = |text: &str| text.parse::<u32>().unwrap_or(0);
    let Some(rest) = version.strip_prefix('v') else {
        return (0, 0, 0);
    };
    let split = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (major, stage) = rest.split_at(split);
    if major.is_empty() {
        return (0, 0, 0);
    }
    match stage {
        "" => (3, digits(major), 0),
        _ if stage.starts_with("beta") => (2, digits(major), digits(&stage[4..])),
        _ if stage.starts_with("alpha") => (1, digits(major), digits(&stage[5..])),
        _ => (0, 0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_come_first() {
        let mut versions = ["v1alpha1", "v1", "other", "v1beta2", "v2", "v1beta10"];
        versions.sort_by_key(|version| std::cmp::Reverse(version_rank(version)));
        assert_eq!(
            versions,
            ["v2", "v1", "v1beta10", "v1beta2", "v1alpha1", "other"]
        );
    }

    #[test]
    fn both_groups_of_events_share_one_store() {
        let registry = Registry::built_in();
        let core = registry.get("", "v1", "events").expect("core events");
        let new = registry
            .get("events.k8s.io", "v1", "events")
            .expect("new events");
        assert_eq!(core.storage, new.storage);
    }
}
