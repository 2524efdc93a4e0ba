//! The paths of one host: a tree by path elements. Pure.
//!
//! In: paths with their routes. Out: the route for a path, at a cost that grows with the length of that path and not with the
//! number of routes: one step of the tree per element, each found by its hash, until nothing longer is known.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use hashbrown::HashTable;

use super::expression::{Expression, Expressions, PATH_BYTES_MAX};
use super::shards::HashKey;
use super::{PathMatch, RouteId};

/// The paths of one host. Small, and in one place what nearly every request reads: of thousands of hosts none is in the cache.
#[derive(Clone, Debug, Default)]
pub struct HostPaths {
    root: Ends,
    /// For paths that match nothing else: the `defaultBackend` of an Ingress that names this host.
    default: Option<RouteId>,
    /// Nearly every host has none.
    expressions: Option<Box<Expressions>>,
    /// What is below the root: nothing for most hosts.
    tree: Option<Box<Tree>>,
}

/// The paths below the root.
#[derive(Clone, Debug, Default)]
struct Tree {
    nodes: Vec<Node>,
    /// Positions in `nodes`, by parent and element.
    children: HashTable<u32>,
}

/// What of a host a path meets.
#[derive(Clone, Copy, Debug)]
pub enum Met<'t> {
    /// The rule for this path alone.
    Exact,
    /// The prefix of so many bytes of the path: none is the root.
    Prefix(usize),
    /// A regular expression.
    Expression(&'t Expression),
    /// What is for paths that meet nothing else, if there is anything.
    Default,
}

/// The routes of the paths that end at a node.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    exact: Option<RouteId>,
    prefix: Option<RouteId>,
}

/// The end of an element of some path.
#[derive(Clone, Debug)]
struct Node {
    parent: u32,
    element: Box<str>,
    ends: Ends,
}

/// The parent of first elements.
const ROOT: u32 = u32::MAX;

// === impl HostPaths ===

impl HostPaths {
    /// The route for paths that match nothing else.
    #[must_use]
    pub fn default_route(&self) -> Option<RouteId> {
        self.default
    }

    /// All paths in order; a prefix stands without its trailing slash, so that `/` is the empty text.
    #[must_use]
    pub fn in_order(&self) -> BTreeMap<(PathMatch, String), RouteId> {
        let mut all = BTreeMap::new();
        let mut add = |path: String, ends: Ends| {
            let exact = ends.exact.map(|route| (PathMatch::Exact, route));
            let prefix = ends.prefix.map(|route| (PathMatch::Prefix, route));
            all.extend(
                exact
                    .into_iter()
                    .chain(prefix)
                    .map(|(kind, route)| ((kind, path.clone()), route)),
            );
        };
        add(String::new(), self.root);
        if let Some(tree) = &self.tree {
            for node in &tree.nodes {
                add(tree.path_of(node), node.ends);
            }
        }
        all
    }

    /// The route for a path: the one that is equal, else the longest prefix by elements, else the default of the host. An expression
    /// stands before the prefix at which it begins.
    pub(crate) fn find(&self, key: HashKey, path: &str) -> Option<RouteId> {
        if self.expressions.is_some() {
            if path.len() > PATH_BYTES_MAX && self.is_too_long(key, path) {
                return None;
            }
            if let Some((_, route)) = self.expression(key, path) {
                return Some(route);
            }
        }
        let mut best = self.default;
        let Some(elements) = elements(path) else {
            return best;
        };
        best = self.root.prefix.or(best);
        let Some(tree) = &self.tree else {
            return best;
        };
        let mut at = ROOT;
        for element in elements {
            let Some(node) = tree.child(key, at, element) else {
                return best;
            };
            at = node;
            best = tree.nodes[at as usize].ends.prefix.or(best);
        }
        self.ends(at).exact.or(best)
    }

    /// The expression that has a path.
    pub(crate) fn expression(
        &self,
        key: HashKey,
        path: &str,
    ) -> Option<(&Arc<Expression>, RouteId)> {
        let expressions = self.expressions.as_ref()?;
        let (bytes, is_exact) = self.literal(key, path);
        if is_exact || path.len() > PATH_BYTES_MAX {
            return None;
        }
        expressions.find(path, bytes)
    }

    /// Whether a path that is too long to be read may be that of an expression. It must not fall to a shorter prefix then, which may be
    /// another tenant's, or stand open where the expression does not.
    #[cold]
    fn is_too_long(&self, key: HashKey, path: &str) -> bool {
        let (bytes, is_exact) = self.literal(key, path);
        let mut expressions = self.expressions.iter();
        !is_exact && expressions.any(|all| all.may_have(path, bytes))
    }

    /// All expressions, in the order of tenants and of being asked.
    pub fn expressions(&self) -> impl Iterator<Item = (&Arc<Expression>, RouteId)> {
        let expressions = self.expressions.iter();
        expressions.flat_map(|expressions| expressions.iter())
    }

    /// How many bytes of a path belong to the rule that [`Self::find`] finds for it: none of an expression, of which nobody can say it.
    pub(crate) fn rule_bytes(&self, key: HashKey, path: &str) -> usize {
        match self.expression(key, path) {
            Some(_) => 0,
            None => self.literal(key, path).0,
        }
    }

    /// What [`Self::find`] finds for a path, as the rule has it.
    pub(crate) fn met(&self, key: HashKey, path: &str) -> Met<'_> {
        if self.expressions.is_some() && path.len() > PATH_BYTES_MAX && self.is_too_long(key, path)
        {
            return Met::Default;
        }
        if let Some((expression, _)) = self.expression(key, path) {
            return Met::Expression(expression);
        }
        match self.literal(key, path) {
            (_, true) => Met::Exact,
            (0, false) if self.root.prefix.is_none() => Met::Default,
            (bytes, false) => Met::Prefix(bytes),
        }
    }

    /// How many bytes of a path belong to the rule for it that is no expression, and whether that is for this path alone.
    fn literal(&self, key: HashKey, path: &str) -> (usize, bool) {
        let (mut best, mut bytes, mut at) = (0, 0, ROOT);
        for element in elements(path).into_iter().flatten() {
            let Some(node) = self.child(key, at, element) else {
                return (best, false);
            };
            at = node;
            bytes += "/".len() + element.len();
            if self.ends(at).prefix.is_some() {
                best = bytes;
            }
        }
        if self.ends(at).exact.is_some() {
            (bytes, true)
        } else {
            (best, false)
        }
    }

    /// Sends what an expression matches to a route, unless the tenant has the same one already: then that route.
    pub(super) fn insert_expression(
        &mut self,
        tenant: &Arc<str>,
        expression: Arc<Expression>,
        route: RouteId,
    ) -> Option<RouteId> {
        let expressions = self.expressions.get_or_insert_default();
        expressions.insert(tenant, expression, route)
    }

    /// Sends a path to a route, unless another has it: then that one. A path that does not begin with `/` meets no request.
    pub(super) fn insert(
        &mut self,
        key: HashKey,
        kind: PathMatch,
        path: &str,
        route: RouteId,
    ) -> Option<RouteId> {
        let path = match kind {
            PathMatch::Exact => path,
            PathMatch::Prefix => path.trim_end_matches('/'),
        };
        let mut at = ROOT;
        for element in elements(path)? {
            let tree = self.tree.get_or_insert_default();
            at = match tree.child(key, at, element) {
                Some(child) => child,
                None => tree.add(key, at, element),
            };
        }
        let ends = match (at, &mut self.tree) {
            (ROOT, _) | (_, None) => &mut self.root,
            (node, Some(tree)) => &mut tree.nodes[node as usize].ends,
        };
        let place = match kind {
            PathMatch::Exact => &mut ends.exact,
            PathMatch::Prefix => &mut ends.prefix,
        };
        if place.is_some() {
            return *place;
        }
        *place = Some(route);
        None
    }

    /// Sets the route for paths that match nothing else, unless there is one: then that one.
    pub(super) fn set_default(&mut self, route: RouteId) -> Option<RouteId> {
        if self.default.is_some() {
            return self.default;
        }
        self.default = Some(route);
        None
    }

    /// Every route that is named, as often as it is.
    pub(super) fn routes(&self) -> impl Iterator<Item = RouteId> {
        let nodes = self.tree.iter().flat_map(|tree| &tree.nodes);
        let ends = nodes.map(|node| node.ends).chain([self.root]);
        ends.flat_map(|ends| [ends.exact, ends.prefix])
            .chain([self.default])
            .flatten()
            .chain(self.expressions().map(|(_, route)| route))
    }

    fn child(&self, key: HashKey, parent: u32, element: &str) -> Option<u32> {
        self.tree.as_ref()?.child(key, parent, element)
    }

    fn ends(&self, node: u32) -> Ends {
        match (node, &self.tree) {
            (ROOT, _) | (_, None) => self.root,
            (node, Some(tree)) => tree.nodes[node as usize].ends,
        }
    }
}

// === impl Tree ===

impl Tree {
    fn child(&self, key: HashKey, parent: u32, element: &str) -> Option<u32> {
        let is_it = |&number: &u32| {
            let node = &self.nodes[number as usize];
            node.parent == parent && *node.element == *element
        };
        self.children
            .find(hash(key, parent, element), is_it)
            .copied()
    }

    fn add(&mut self, key: HashKey, parent: u32, element: &str) -> u32 {
        let number = super::number(self.nodes.len());
        self.nodes.push(Node {
            parent,
            element: element.into(),
            ends: Ends::default(),
        });
        let nodes = &self.nodes;
        let hash_of = |&number: &u32| {
            let node = &nodes[number as usize];
            hash(key, node.parent, &node.element)
        };
        self.children
            .insert_unique(hash(key, parent, element), number, hash_of);
        number
    }

    fn path_of(&self, node: &Node) -> String {
        let mut elements = vec![&*node.element];
        let mut parent = node.parent;
        while let Some(node) = self.nodes.get(parent as usize) {
            elements.push(&node.element);
            parent = node.parent;
        }
        elements
            .iter()
            .rev()
            .flat_map(|element| ["/", element])
            .collect()
    }
}

/// What stands behind each slash; none when the path does not begin with one. The empty path is the root as a prefix.
fn elements(path: &str) -> Option<impl Iterator<Item = &str>> {
    let behind_root = match path.strip_prefix('/') {
        Some(rest) => Some(rest.split('/')),
        None if path.is_empty() => None,
        None => return None,
    };
    Some(behind_root.into_iter().flatten())
}

fn hash(key: HashKey, parent: u32, element: &str) -> u64 {
    let mut hasher = key.hasher();
    parent.hash(&mut hasher);
    element.hash(&mut hasher);
    hasher.finish()
}

/// Which paths have which routes: how they were added does not matter.
impl PartialEq for HostPaths {
    fn eq(&self, other: &Self) -> bool {
        self.default == other.default
            && self.expressions == other.expressions
            && self.in_order() == other.in_order()
    }
}
