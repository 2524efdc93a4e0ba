//! What a command said, without what differs from run to run: the normal form in which two worlds are compared.
//!
//! In: the output of a command. Out: the same lines, where names that Kubernetes makes up, times, ages and addresses are replaced by
//! words in angle brackets and columns stand two blanks apart. Pure. What is not about chance stays as it is.

use std::collections::BTreeMap;

use regex::{Captures, Regex};

/// Random letters of Kubernetes: no vowels, and nothing that looks like one or like another.
const LETTER: &str = "[bcdfghjklmnpqrstvwxz2456789]";

/// Marks a line whose place among its likes is chance.
const RANDOM: &str = "<random>";

/// Replaces what differs from run to run. Addresses keep their number over all outputs that one value has seen.
pub struct Normal {
    /// Words of this machine, and what stands for them.
    words: Vec<(String, &'static str)>,
    rules: Vec<(Regex, &'static str)>,
    address: Regex,
    columns: Regex,
    addresses: BTreeMap<String, usize>,
}

// === impl Normal ===

impl Normal {
    /// With words that belong to this machine, and what stands for them.
    #[must_use]
    pub fn new(words: Vec<(String, &'static str)>) -> Self {
        let rule = |pattern: &str, word| (regex(&pattern.replace("LETTER", LETTER)), word);
        let time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z";
        Self {
            words,
            rules: vec![
                rule(
                    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
                    "<uid>",
                ),
                rule(time, "<time>"),
                rule(
                    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}",
                    "<time>",
                ),
                // What `diff` says of its two files: their folders and their times.
                rule(r"/\S*/(LIVE|MERGED)-\d+/", "$1/"),
                rule(r"^((?:---|\+\+\+) \S+)\s.*", "$1"),
                // A pod of a ReplicaSet, a ReplicaSet or its label, a pod of anything else, an Event.
                rule(r"-LETTER{6,10}-LETTER{5}\b", "-<hash>-<random>"),
                rule(r"([-=])LETTER{7,10}\b", "$1<hash>"),
                rule(r"-LETTER{5}\b", "-<random>"),
                rule(r"\.[0-9a-f]{15,16}\b", ".<random>"),
                rule(
                    r#"(resourceVersion"?|Resource Version): *"?\d+"?"#,
                    "$1: <version>",
                ),
                rule(r"https://[^\s/:]+:\d+", "https://<server>"),
                // Node ports of the range in which the API server picks them.
                rule(r":3[0-2]\d{3}/", ":<node-port>/"),
                rule(r"(NodePort: .* )3[0-2]\d{3}/", "$1<node-port>/"),
                rule(r"\b\d+\.\d+\.\d+\.\d+/\d+\b", "<network>"),
                rule(
                    r"(^|[\s(])(?:(?:\d{1,2}[ydhm])*\d{1,3}m?s|(?:\d{1,2}[ydhm])+)(  |$|\)| ago| \(x)",
                    "$1<age>$2",
                ),
                rule(r"\(x\d+ over <age>\)", ""),
            ],
            address: regex(r"\b\d{1,3}(?:\.\d{1,3}){3}\b"),
            columns: regex(r"(\S) {2,}"),
            addresses: BTreeMap::new(),
        }
    }

    /// The normal form of an output, line by line.
    pub fn of(&mut self, output: &str) -> Vec<String> {
        let lines = output.lines().filter(|line| !is_progress(line));
        let lines = lines.map(|line| self.without_chance(line)).collect();
        let mut lines = with_an_order(lines);
        for line in &mut lines {
            *line = self.with_numbered_addresses(line);
        }
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    fn without_chance(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (found, word) in &self.words {
            line = line.replace(found, word);
        }
        for (pattern, word) in &self.rules {
            line = pattern.replace_all(&line, *word).into_owned();
        }
        let line = line.replace('\t', "  ");
        let line = self.columns.replace_all(&line, "$1  ");
        line.trim_end().to_owned()
    }

    fn with_numbered_addresses(&mut self, line: &str) -> String {
        let known = &mut self.addresses;
        let number = |found: &Captures<'_>| {
            let next = known.len() + 1;
            let number = known.entry(found[0].to_owned()).or_insert(next);
            format!("<address-{number}>")
        };
        self.address.replace_all(line, number).into_owned()
    }
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the patterns are constant")
}

/// How far a roll-out was when kubectl looked is a matter of time.
fn is_progress(line: &str) -> bool {
    line.starts_with("Waiting for ") && line.ends_with("...")
}

/// Gives an order to what comes in one of chance: neighbours with random names, and Events, which several programs write at once.
/// Events that are alike stand once: how many pods a roll-out made on its way is chance too.
fn with_an_order(mut lines: Vec<String>) -> Vec<String> {
    let mut begin = 0;
    while begin < lines.len() {
        let of_events = events_from(&lines, begin);
        let length = of_events.unwrap_or_else(|| {
            let is_random = |line: &&String| line.contains(RANDOM);
            lines[begin..].iter().take_while(is_random).count()
        });
        let mut ordered: Vec<String> = lines.drain(begin..begin + length).collect();
        ordered.sort();
        if of_events.is_some() {
            ordered.dedup();
        }
        let next = begin + ordered.len().max(1);
        lines.splice(begin..begin, ordered);
        begin = next;
    }
    lines
}

/// How many lines of Events begin here: behind the head of their table.
fn events_from(lines: &[String], begin: usize) -> Option<usize> {
    let head = lines[..begin].last()?.trim_start();
    let is_head = head.starts_with("LAST SEEN") || head == "----  ------  ----  ----  -------";
    let is_row = |line: &&String| !line.is_empty();
    is_head.then(|| lines[begin..].iter().take_while(is_row).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: &str, expected: &[&str]) {
        assert_eq!(Normal::new(Vec::new()).of(output), expected, "{output}");
    }

    #[test]
    fn names_that_kubernetes_makes_up_lose_their_random_parts() {
        check("pod/web-5d4f8c7b9d-x2z4q", &["pod/web-<hash>-<random>"]);
        check(
            "replicaset.apps/web-5d4f8c7b9d",
            &["replicaset.apps/web-<hash>"],
        );
        check(
            "pod-template-hash=5d4f8c7b9d",
            &["pod-template-hash=<hash>"],
        );
        check("agent-x2z4q   1/1", &["agent-<random>  1/1"]);
        check("node-1  web-server", &["node-1  web-server"]);
        check("kube-root-ca.crt   1", &["kube-root-ca.crt  1"]);
    }

    #[test]
    fn ages_and_times_are_replaced_and_settings_stay() {
        check("web   1/1   5m12s", &["web  1/1  <age>"]);
        check("Restarts: 1 (3s ago)", &["Restarts: 1 (<age> ago)"]);
        check(
            "delay=0s timeout=1s period=10s",
            &["delay=0s timeout=1s period=10s"],
        );
        check("cpu  100m (5%)  0 (0%)", &["cpu  100m (5%)  0 (0%)"]);
        check("cpu:     100m", &["cpu:  100m"]);
        check("a   2m   b   110s", &["a  <age>  b  <age>"]);
        check("Sat, 21 Nov 2026 18:26:26 +0000", &["<time>"]);
    }

    #[test]
    fn addresses_are_numbered_in_the_order_of_their_appearance() {
        check(
            "10.244.1.5\n10.96.0.1\n10.244.1.5:80",
            &["<address-1>", "<address-2>", "<address-1>:80"],
        );
        check("PodCIDR:  10.244.0.0/18", &["PodCIDR:  <network>"]);
    }

    #[test]
    fn what_comes_in_an_order_of_chance_is_sorted() {
        check(
            "NAME\nweb-5d4f8c7b9d-zzzzz  b\nweb-5d4f8c7b9d-22222  a\nlast",
            &[
                "NAME",
                "web-<hash>-<random>  a",
                "web-<hash>-<random>  b",
                "last",
            ],
        );
        check(
            "LAST SEEN   TYPE\n3s   b\n5s   a\n7s   b",
            &["LAST SEEN  TYPE", "<age>  a", "<age>  b"],
        );
    }

    #[test]
    fn how_far_a_roll_out_was_is_left_out() {
        check(
            "Waiting for deployment \"a\" rollout to finish: 0 of 2...\ndone",
            &["done"],
        );
    }
}
