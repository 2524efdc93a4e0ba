//! What accounts asked the API server for, judged against what they may: the proof of least privilege.
//!
//! In: the requests of a log, the accounts with their rights. Out: [`findings`], a sentence for each thing that must not be, and
//! [`table`], what was asked for how often. Pure: where the log comes from, and what the run was, is the test's.

use std::collections::{BTreeMap, BTreeSet};

use crate::rights::Right;
use crate::world::Request;

/// What an account is there for, and so what it must never do.
#[derive(Debug, Clone)]
pub enum Task {
    /// A cluster tier: reads no Secret but by name, and only in these namespaces.
    ClusterTier {
        /// Its own namespace and those of `rbac.secretNamespaces`.
        secret_namespaces: BTreeSet<String>,
    },
    /// A namespace tier: asks for nothing outside its namespace.
    NamespaceTier {
        /// Its namespace.
        namespace: String,
    },
    /// Somebody who installs a release in one namespace: asks for nothing outside.
    NamespaceInstaller {
        /// The namespace.
        namespace: String,
    },
    /// Somebody who installs the release of the cluster.
    ClusterInstaller,
}

/// Somebody who asks the API server.
#[derive(Debug, Clone)]
pub struct Account {
    /// How the report calls it.
    pub title: String,
    /// The name that the API server knows it by.
    pub user: String,
    /// What it is there for.
    pub task: Task,
    /// What its roles give it.
    pub rights: BTreeSet<Right>,
    /// What it holds so that it may hand it on, in any namespace: the API server looks at these rights when it makes a role.
    pub handed_on: BTreeSet<Right>,
    /// Whether its roles are ours, so that what it does not use is one right too many. Not so for the built-in role `admin`.
    pub is_exact: bool,
}

/// Requests by pod.
pub type ByPod = BTreeMap<String, OfPod>;

/// Requests of one pod in a window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfPod {
    /// All of them.
    pub requests: u64,
    /// Those for Leases.
    pub leases: u64,
    /// Others that change something.
    pub writes: u64,
    /// How often each other one was made.
    pub reads: BTreeMap<String, u64>,
}

/// How often a pod may make the same request in a minute without changes: a watch is asked for anew every 25 s, a Secret and the
/// tier's Service are read every 30 s, or up to a tenth earlier.
const SAME_AT_REST_MAX: u64 = 3;

/// Requests of one pod for Leases in such a minute, at most: one every 5 s and one every 7 s, each up to a tenth earlier.
const LEASES_AT_REST_MAX: u64 = 14 + 10;

// === impl OfPod ===

impl OfPod {
    /// What is too much for a minute without changes.
    #[must_use]
    pub fn too_much_at_rest(&self) -> Vec<String> {
        let often = |(_, count): &(&String, &u64)| **count > SAME_AT_REST_MAX;
        let often = self.reads.iter().filter(often);
        let mut too_much: Vec<_> = often
            .map(|(what, count)| format!("{what}: {count} times, at most {SAME_AT_REST_MAX}"))
            .collect();
        if self.leases > LEASES_AT_REST_MAX {
            let leases = self.leases;
            too_much.push(format!("{leases} for Leases, at most {LEASES_AT_REST_MAX}"));
        }
        if self.writes > 0 {
            too_much.push(format!("{} other writes", self.writes));
        }
        too_much
    }
}

// === impl Request ===

impl Request {
    /// Whether this line stands for the request: a watch has one when it begins, and one when it ends.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        let is_watch_end = self.verb == "watch" && !self.is_begin && self.code < 400;
        !is_watch_end && (self.verb == "watch" || !self.is_begin)
    }

    /// Whether it asks what the API server is and has, not for an object. Everybody may that.
    #[must_use]
    pub fn is_discovery(&self) -> bool {
        self.verb == "get" && self.resource.starts_with('/')
    }

    fn in_words(&self) -> String {
        let kind = group_and_kind(&self.group, &self.resource);
        let name = match self.name.as_str() {
            "" => String::new(),
            name => format!(" {name}"),
        };
        let place = place(&self.namespace);
        format!("{} {kind}{name} {place}", self.verb)
    }
}

// === impl Account ===

impl Account {
    /// Its requests, each once, oldest first.
    pub fn requests<'a>(&self, requests: &'a [Request]) -> impl Iterator<Item = &'a Request> {
        let of_account = |request: &&Request| request.user == self.user && request.is_counted();
        requests.iter().filter(of_account)
    }

    /// The rights that a request used. The API server asks for two when an apply creates its object: to patch, and to create.
    fn used_by<'a>(&'a self, request: &'a Request) -> impl Iterator<Item = &'a Right> {
        let created = (request.verb == "patch" && request.code == 201).then(|| Request {
            verb: "create".to_owned(),
            ..request.clone()
        });
        self.rights.iter().filter(move |right| {
            right.gives(request) || created.as_ref().is_some_and(|one| right.gives(one))
        })
    }

    /// Whether a right is for the checks of the API server on roles and bindings, not for requests.
    fn is_for_checks(&self, right: &Right) -> bool {
        let is_same = |one: &Right| {
            (&one.group, &one.resource, &one.verb) == (&right.group, &right.resource, &right.verb)
        };
        right.verb == "bind" || self.handed_on.iter().any(is_same)
    }

    /// What this account's task forbids about a request.
    fn forbidden(&self, request: &Request) -> Option<&'static str> {
        match &self.task {
            Task::ClusterTier { secret_namespaces } if request.resource == "secrets" => {
                if request.verb != "get" || request.name.is_empty() {
                    Some("reads Secrets other than by name")
                } else if secret_namespaces.contains(&request.namespace) {
                    None
                } else {
                    Some("reads a Secret where it was not allowed to")
                }
            }
            Task::NamespaceTier { namespace } | Task::NamespaceInstaller { namespace }
                if request.namespace != *namespace =>
            {
                Some("looks beyond its namespace")
            }
            Task::ClusterTier { .. }
            | Task::NamespaceTier { .. }
            | Task::NamespaceInstaller { .. }
            | Task::ClusterInstaller => None,
        }
    }
}

/// Everything about these accounts that must not be, each thing once, in words.
#[must_use]
pub fn findings(accounts: &[Account], requests: &[Request]) -> BTreeSet<String> {
    let mut findings = BTreeSet::new();
    for account in accounts {
        let title = &account.title;
        let mut used = BTreeSet::new();
        let mut is_silent = true;
        for request in account.requests(requests) {
            is_silent = false;
            let words = request.in_words();
            if request.is_denied {
                findings.insert(format!("{title} was denied: {words}"));
            }
            if request.is_discovery() {
                continue;
            }
            if let Some(what) = account.forbidden(request) {
                findings.insert(format!("{title} {what}: {words}"));
            }
            let rights: Vec<&Right> = account.used_by(request).collect();
            if rights.is_empty() && account.is_exact {
                findings.insert(format!("{title} has no right to: {words}"));
            }
            used.extend(rights);
        }
        if is_silent {
            findings.insert(format!("{title} asked for nothing, which proves nothing"));
        }
        let is_unused = |one: &&Right| !used.contains(one) && !account.is_for_checks(one);
        let unused = account.rights.iter().filter(is_unused);
        if account.is_exact {
            findings
                .extend(unused.map(|one| format!("{title} never used: {}", right_in_words(one))));
        }
    }
    findings
}

/// What the requests of an account come to, as a row of a Markdown table: all of them, those denied, those that no right gives, and
/// those that its task forbids.
#[must_use]
pub fn summary(account: &Account, requests: &[Request]) -> String {
    let [mut all, mut denied, mut not_given, mut forbidden] = [0_u64; 4];
    for request in account.requests(requests) {
        all += 1;
        denied += u64::from(request.is_denied);
        if !request.is_discovery() {
            not_given += u64::from(account.used_by(request).next().is_none() && account.is_exact);
            forbidden += u64::from(account.forbidden(request).is_some());
        }
    }
    let title = &account.title;
    format!("| {title} | {all} | {denied} | {not_given} | {forbidden} |\n")
}

/// Requests of an account by kind, place and verb, as rows of a Markdown table. Discovery is one row.
#[must_use]
pub fn table(account: &Account, requests: &[Request]) -> String {
    let mut counts: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    let mut discovery = 0_u64;
    for request in account.requests(requests) {
        if request.is_discovery() {
            discovery += 1;
            continue;
        }
        let kind = format!("`{}`", group_and_kind(&request.group, &request.resource));
        let key = (kind, place(&request.namespace), request.verb.clone());
        *counts.entry(key).or_default() += 1;
    }
    let mut text = "| kind | where | verb | requests |\n| --- | --- | --- | ---: |\n".to_owned();
    for ((kind, place, verb), count) in counts {
        text += &format!("| {kind} | {place} | {verb} | {count} |\n");
    }
    if discovery > 0 {
        text +=
            &format!("| what the API server is and has (no object) | – | get | {discovery} |\n");
    }
    text
}

/// Requests of an account in a window of time, and those of them that change something, by pod when the log knows it.
#[must_use]
pub fn requests_by_pod(
    account: &Account,
    requests: &[Request],
    window_ms: std::ops::Range<i64>,
) -> ByPod {
    let mut counts = ByPod::new();
    for request in account.requests(requests) {
        if window_ms.contains(&request.received_ms) {
            let of_pod = counts.entry(request.pod.clone()).or_default();
            of_pod.requests += 1;
            if request.resource == "leases" {
                of_pod.leases += 1;
            } else if ["get", "list", "watch"].contains(&request.verb.as_str()) {
                *of_pod.reads.entry(request.in_words()).or_default() += 1;
            } else {
                of_pod.writes += 1;
            }
        }
    }
    counts
}

/// What the tiers' pods asked for in a minute without changes.
#[must_use]
pub fn rest_table(tiers: &[(String, ByPod)]) -> String {
    let mut text = "\n## At rest\n\nA minute without changes.\n\n\
        | account | pods | requests of a pod in a minute | for Leases | other writes |\n| --- | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    for (title, pods) in tiers {
        let most = |of: fn(&OfPod) -> u64| pods.values().map(of).max().unwrap_or_default();
        text += &format!(
            "| {title} | {} | {} | {} | {} |\n",
            pods.len(),
            most(|pod| pod.requests),
            most(|pod| pod.leases),
            most(|pod| pod.writes),
        );
    }
    text
}

fn place(namespace: &str) -> String {
    match namespace {
        "" => "the cluster".to_owned(),
        name => format!("in {name}"),
    }
}

fn group_and_kind(group: &str, resource: &str) -> String {
    match group {
        "" => resource.to_owned(),
        group => format!("{resource}.{group}"),
    }
}

fn right_in_words(right: &Right) -> String {
    let kind = group_and_kind(&right.group, &right.resource);
    let names: String = right.names.iter().map(|name| format!(" {name}")).collect();
    let place = place(&right.namespace);
    format!("{} {kind}{names} {place}", right.verb)
}

#[cfg(test)]
mod tests;
