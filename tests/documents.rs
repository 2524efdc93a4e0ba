//! The documents say what is there: their links, files and tests exist.

use std::collections::BTreeSet;

use tiergate_control_plane::translate::annotation;
use tiergate_control_plane::translate::condition::Reason as Condition;
use tiergate_data_plane::error::{ProxyError, Side};
use tiergate_tests::repository::{self, File, files};

/// Documents that name paths of this repository: all but the recorded texts of others.
fn documents() -> Vec<File> {
    let mut all = repository::files_ending(".md");
    all.retain(|file| !file.path.starts_with("tests/seeds/"));
    all
}

fn paths() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for file in files() {
        let mut end = 0;
        while let Some(slash) = file.path[end..].find('/') {
            end += slash + 1;
            all.insert(file.path[..end - 1].to_owned());
        }
        all.insert(file.path);
    }
    all
}

fn none(problems: &[String]) {
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The path that a link in a file names, from the root: `..` and `.` taken out.
fn resolve(file: &str, link: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// The anchor that a heading gets: lower case, spaces as dashes, no punctuation.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

/// What stands in round brackets behind square ones.
fn links(text: &str) -> Vec<&str> {
    let behind = text.split("](").skip(1);
    behind
        .filter_map(|rest| rest.split_once(')').map(|(link, _)| link))
        .collect()
}

/// What stands between back ticks, outside of blocks.
fn code_words(text: &str) -> Vec<&str> {
    let mut in_block = false;
    let mut words = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            words.extend(line.split('`').skip(1).step_by(2));
        }
    }
    words
}

#[test]
fn every_link_leads_somewhere() {
    let paths = paths();
    let documents = documents();
    let mut problems = Vec::new();
    for file in &documents {
        for link in links(&file.text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (target, wanted) = link.split_once('#').unwrap_or((link, ""));
            let path = if target.is_empty() {
                file.path.clone()
            } else {
                resolve(&file.path, target)
            };
            let linked = documents.iter().find(|other| other.path == path);
            let has_anchor = linked.is_none_or(|other| anchors(&other.text).contains(wanted));
            if !paths.contains(&path) {
                problems.push(format!("{}: {link}: no such file", file.path));
            } else if !wanted.is_empty() && !has_anchor {
                problems.push(format!("{}: {link}: no such heading", file.path));
            }
        }
    }
    none(&problems);
}

#[test]
fn every_path_that_a_document_names_exists() {
    const TOPS: [&str; 11] = [
        "cluster-tier",
        "namespace-tier",
        "control-plane",
        "data-plane",
        "sim",
        "tests",
        "deploy",
        "grafana",
        "docs",
        ".ci",
        ".cargo",
    ];
    let paths = paths();
    let is_plain = |word: &str| {
        word.chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
    };
    let mut problems = Vec::new();
    for file in documents() {
        for word in code_words(&file.text) {
            let word = word.split("::").next().unwrap_or(word);
            let top = word.split('/').next().unwrap_or_default();
            if !word.contains('/') || !TOPS.contains(&top) || !is_plain(word) {
                continue;
            }
            // What is no text is no file of the list.
            if !paths.contains(word.trim_end_matches('/'))
                && !repository::root().join(word).is_file()
            {
                problems.push(format!("{}: {word}: no such file", file.path));
            }
        }
    }
    none(&problems);
}

#[test]
fn every_test_that_a_document_names_exists() {
    let files = files();
    let mut problems = Vec::new();
    let mut seen = 0;
    for document in documents() {
        for word in code_words(&document.text) {
            let Some((path, name)) = word.split_once(".rs::") else {
                continue;
            };
            seen += 1;
            let path = format!("{path}.rs");
            let holds =
                |file: &File| file.path == path && file.text.contains(&format!("fn {name}("));
            if !files.iter().any(holds) {
                problems.push(format!("{}: {word}: no such test", document.path));
            }
        }
    }
    assert!(
        seen > 0,
        "ARCHITECTURE.md names tests: the search is broken"
    );
    none(&problems);
}

#[test]
fn the_search_for_links_paths_and_anchors_finds_them() {
    assert_eq!(links("a [b](c.md) and [d](e#f)."), ["c.md", "e#f"]);
    assert_eq!(
        code_words("`a/b` c `d`\n```\n`e`\n```\n`f`"),
        ["a/b", "d", "f"]
    );
    assert_eq!(anchor(" What is it? `x`"), "what-is-it-x");
    assert_eq!(
        resolve("docs/adr/one.md", "../request.md"),
        "docs/request.md"
    );
}

/// The calls of a function that can end it with an error, in their order.
fn refusing_calls(text: &str, function: &str) -> Vec<String> {
    let start = text.find(&format!("fn {function}<"));
    let body = &text[start.expect("the function is there")..];
    let body = &body[..body.find("\n}\n").expect("it ends")];
    let statements = body.split([';', '{', '}']);
    let fallible = statements.filter(|statement| statement.ends_with('?'));
    let call = |statement: &str| {
        let value = statement.rsplit(" = ").next().unwrap_or(statement);
        value.split('(').next().unwrap_or(value).trim().to_owned()
    };
    fallible.map(call).collect()
}

#[test]
fn the_page_of_a_request_tells_the_steps_of_the_code() {
    let files = files();
    let text = |path: &str| {
        let file = files.iter().find(|file| file.path == path);
        &file.expect("the file is there").text
    };
    let steps = refusing_calls(text("data-plane/src/proxy.rs"), "forward");
    let told: Vec<_> = steps.iter().map(|step| format!("`{step}`")).collect();
    let told = told.join(" → ");
    let page = text("docs/request.md");
    assert!(
        steps.len() > 3 && page.contains(&format!("\n{told}.\n")),
        "proxy.rs goes {told}: tell so in docs/request.md, with what can fail at each step"
    );
}

/// Words that name a metric of ours.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let is_other = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let words = text.split(is_other);
    words
        .filter(|word| word.starts_with("tiergate_") || word.starts_with("process_"))
        .collect()
}

#[test]
fn what_dashboards_show_is_on_the_page_of_metrics() {
    let files = files();
    let page = files.iter().find(|file| file.path == "docs/metrics.md");
    let known = metrics_in(&page.expect("there is a page of metrics").text);
    let is_known = |name: &str| {
        let of_histogram = ["_bucket", "_sum", "_count"];
        let family = of_histogram.iter().find_map(|end| name.strip_suffix(end));
        known.contains(name) || family.is_some_and(|family| known.contains(family))
    };
    let mut problems = Vec::new();
    let mut shown = 0;
    let is_dashboard =
        |file: &&File| file.path.starts_with("grafana/") && file.path.ends_with(".json");
    for file in files.iter().filter(is_dashboard) {
        let names = metrics_in(&file.text);
        shown += names.len();
        for name in names.into_iter().filter(|name| !is_known(name)) {
            problems.push(format!("{}: there is no metric {name}", file.path));
        }
    }
    none(&problems);
    assert!(shown > 30, "the dashboards show {shown} metrics");
}

/// What `docs/reasons.md` must be.
fn reasons_page() -> String {
    let mut page = String::from(
        "# Why a request failed\n\
         \n\
         Made from the code by `UPDATE_EXPECT=1 cargo test -p tiergate-tests --test documents`; do not edit.\n\
         \n\
         The reason stands in the body of the answer, in the access log (`reason`), and in the metric\n\
         `tiergate_proxy_errors_total{reason}`. \"Side\" says whose fault it is. A status in brackets is counted and logged but not\n\
         sent: the connection or the body ends early instead.\n\
         \n\
         | reason | status | side | what happened | what to do |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for reason in ProxyError::reasons() {
        let status = reason.status.as_u16();
        let status = if reason.is_answered {
            status.to_string()
        } else {
            format!("({status})")
        };
        let side = match reason.side {
            Side::Downstream => "client",
            Side::Upstream => "upstream",
            Side::Internal => "Tiergate",
        };
        page += &format!(
            "| `{}` | {status} | {side} | {}. | {} |\n",
            reason.name,
            sentence(reason.meaning),
            reason.cure
        );
    }
    page + &conditions_section()
}

/// Reasons of conditions: what is wrong with objects, and not with a request.
fn conditions_section() -> String {
    let mut section = String::from(
        "\n# Why an object is not served as it asks\n\
         \n\
         The reason stands in the log (`reason`, when it comes and when it goes), in `conditions` of `/debug/model`, in the metric\n\
         `tiergate_config_conditions{reason}`, and in what `explain` prints, each with the object, the field and a sentence. It costs only\n\
         what the sentence names: every other rule of the object, and every other object, is served.\n\
         \n\
         | reason | what is wrong |\n\
         | --- | --- |\n",
    );
    for reason in Condition::ALL {
        section += &format!("| `{reason}` | {} |\n", reason.meaning());
    }
    section
        + "\nAn Ingress of a class that nobody serves has no reason: it is not ours. What the API server refuses (a host that is no DNS name, a\n\
           relative path, a port beyond 65535, annotations of more than 256 KiB) never gets here; it is judged all the same, for documents that\n\
           `explain` reads. `tests/end_to_end_bad_input.rs` applies bad objects one by one, and asks a good neighbour after each.\n"
}

/// Annotations, a row each.
fn table<T>(annotations: &[annotation::Served<T>]) -> String {
    let row = |one: &annotation::Served<T>| {
        format!("| `{}` | {} | {} |\n", one.name, one.values, one.meaning)
    };
    let rows: String = annotations.iter().map(row).collect();
    format!("| annotation | values | what it does |\n| --- | --- | --- |\n{rows}")
}

/// What `docs/annotations.md` must be.
fn annotations_page() -> String {
    let mut page = String::from(
        "# Annotations\n\
         \n\
         Made from the code by `UPDATE_EXPECT=1 cargo test -p tiergate-tests --test documents`; do not edit.\n\
         \n\
         For whoever comes from ingress-nginx: both tiers follow these annotations of an Ingress, whose names begin with\n\
         `nginx.ingress.kubernetes.io/`. They are for the requests of that Ingress alone, whatever other Ingresses of the host say. With two\n\
         tiers in a row each follows its own Ingress: what a namespace tier allows, the Ingress that leads there must allow as well.\n\n",
    );
    page += &table(&annotation::SERVED);
    page += "\n## Which pod gets a request\n\n\
             Affinity goes before the hash, the hash before the algorithm. A tier decides for the Service that its own Ingress names: for a session to\n\
             stay with a pod through two tiers, both Ingresses say so. In `balanced` mode both read the same cookie. ADR 0032 says how it is done.\n\n";
    page += &table(&annotation::BALANCING);
    page += "\nThose with `tiergate.dev/` are whole names, for they are ours.\n\n## What is done to requests\n\n\
             Here a tier decides for its own rules, too.\n\n";
    page += &table(&annotation::OF_PATHS);
    page += "\n## TLS to pods\n\n\
             `backend-protocol`, or the Service port (`appProtocol`: `https`, `kubernetes.io/wss`, `wss` and `tls` are HTTP/1.1 within TLS, `grpcs` is HTTP/2), says that pods are\n\
             spoken to within TLS, 1.2 or 1.3. **By default nobody's certificate is looked at**, as in ingress-nginx: what is sent is encrypted, but whoever answers at the pod's\n\
             address is believed. These say more. They also go for the ports of Services that say `https` themselves; where no TLS is spoken they have no effect.\n\n";
    page += &table(&annotation::TO_PODS);
    page += "\nWho asks for verification and does not say whole whom to believe, or names a Secret that cannot be used, gets 503 (`route_closed`) where TLS is spoken, and a\n\
             condition: to go on unverified would be worse. What differs from ingress-nginx: `proxy-ssl-name`, `proxy-ssl-server-name` and `proxy-ssl-verify` mean something without\n\
             `proxy-ssl-secret` too; verification needs `proxy-ssl-name`, in whose place ingress-nginx compares with a name that no certificate has; a Secret of another type than\n\
             `kubernetes.io/tls` is not read. A tier that reads Secrets by their names (`--secret-namespaces`) reads these likewise. `proxy-ssl-ciphers`, `proxy-ssl-protocols` and\n\
             `proxy-ssl-verify-depth` have no effect. Two Ingresses that ask for different things share neither connections nor sessions. ADR 0037 says more.\n\n\
             ## Regular expressions\n\n\
             With `use-regex: \"true\"` or a `rewrite-target` those paths of the Ingress are regular expressions that have the type `ImplementationSpecific`, or a sign that\n\
             no other path has: `( ) [ ] { } * + ? | ^ $`. They match from the beginning of the path and do not have to reach its end; capitals do not count. `Exact` and\n\
             `Prefix` keep what Kubernetes says of them. ingress-nginx reads all paths of the host so, whoever has them: here no Ingress changes another's.\n\n\
             An `Exact` path goes before expressions, and so does a longer `Prefix` than the part of the expression before its first sign, up to its last slash (all of it before `(/|$)`). Of the expressions of\n\
             a namespace the longest text is asked first. Where another namespace has that part of the path, it is kept away (`PathConflict`).\n\n\
             There is no look-around and no back-reference, so that no expression takes long: `InvalidExpression`, also for one that is larger than 64 KiB when compiled. A namespace\n\
             has 100 of them for a host, and 128 KiB (`TooManyExpressions`). A path of more than 2 KiB, without its query, is read with none: where one begins it gets 404. ADR 0035 says more.\n\n## What is not followed\n\n";
    let guards: Vec<String> = annotation::GUARDS
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    page += &format!(
        "Annotations that guard access close the rules of their Ingress: requests are answered with 503 (`route_closed`), because an\n\
         application that stands open without its guard is worse. These are {} and all that begin with `auth-`. So do\n\
         `AUTO_HTTP` and `FCGI` as `backend-protocol`, and `ssl-passthrough: \"true\"`. With `auth-tls-*` every Ingress of the namespace that names one of its hosts is\n\
         closed, because ingress-nginx asks for client certificates on the whole host. A closed Ingress also has the paths below the part of its own\n\
         paths that is no regular expression. The condition is `GuardUnsupported` (ADR 0030).\n\
         \n\
         Every other annotation with that prefix or ours has no effect (condition `AnnotationUnsupported`), nor has one whose value makes no sense\n\
         (`AnnotationInvalid`). Conditions are in the log, in `/debug/model`, in the metric `tiergate_config_conditions`, and in what `explain` prints.\n",
        guards.join(", ")
    );
    page
}

#[test]
fn the_page_of_annotations_says_what_the_code_says() {
    expect_test::expect_file!["../docs/annotations.md"].assert_eq(&annotations_page());
}

/// With a capital at its start.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[test]
fn the_page_of_reasons_says_what_the_code_says() {
    expect_test::expect_file!["../docs/reasons.md"].assert_eq(&reasons_page());
}
