//! Writes `docs/metrics.md` from what a registry says of itself. Pure.
//!
//! In: OpenMetrics text in which every family has a series. Out: a page that names each with type, unit and labels.

use std::collections::BTreeSet;
use std::fmt::Write as _;

const HEAD: &str = "\
# Metrics

<!-- Written from a scrape of a running tier by `UPDATE_EXPECT=1 cargo test -p tiergate-control-plane`. -->

Both tiers serve these at `/metrics` of the admin port, as OpenMetrics text. Every series has the label `tier` (`cluster`
or `namespace`) as well. Values of `tenant` (the namespace of an Ingress; beside `secret`, of the Secret), `ingress` and `secret` come from objects that are served;
`_none` stands for requests that nothing matched, `_overflow` for what is beyond the limit of series. All other labels have
closed sets of values. A series goes when its Ingress goes.

| name | type | unit | labels | meaning |
| --- | --- | --- | --- | --- |
";

/// One family of metrics.
#[derive(Debug, Default)]
struct Family<'a> {
    name: &'a str,
    kind: &'a str,
    unit: &'a str,
    help: &'a str,
    labels: BTreeSet<&'a str>,
}

/// The whole page.
#[must_use]
pub fn metrics(open_metrics: &str) -> String {
    let mut page = HEAD.to_owned();
    let mut families = families(open_metrics);
    families.sort_by_key(|family| (family.name.starts_with("process_"), family.name));
    for family in families {
        let suffix = match family.kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels: Vec<_> = family
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        writeln!(
            page,
            "| `{}{suffix}` | {} | {} | {} | {} |",
            family.name,
            family.kind,
            family.unit,
            labels.join(", "),
            family.help.replace('|', "\\|"),
        )
        .expect("a text takes everything");
    }
    page
}

fn families(text: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(help)) => families.push(Family {
                name,
                help,
                ..Family::default()
            }),
            (Some("#"), Some("TYPE"), _, Some(kind)) => {
                families
                    .last_mut()
                    .into_iter()
                    .for_each(|family| family.kind = kind);
            }
            (Some("#"), Some("UNIT"), _, Some(unit)) => {
                families
                    .last_mut()
                    .into_iter()
                    .for_each(|family| family.unit = unit);
            }
            (Some("#"), ..) => {}
            _ => families
                .last_mut()
                .into_iter()
                .for_each(|family| family.labels.extend(labels(line))),
        }
    }
    families
}

/// The names of the labels of a sample, but for those that every series or every histogram has.
fn labels(sample: &str) -> impl Iterator<Item = &str> {
    let inner = sample
        .split_once('{')
        .and_then(|(_, rest)| rest.rsplit_once('}'))
        .map_or("", |(inner, _)| inner);
    // No value of ours holds a quote or a comma, so a plain cut will do.
    inner
        .split(',')
        .filter_map(|pair| Some(pair.split_once("=\"")?.0))
        .filter(|name| !matches!(*name, "tier" | "le"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_becomes_a_row() {
        let text = "\
# HELP a_requests Requests | all.
# TYPE a_requests counter
a_requests_total{tier=\"cluster\",code=\"200\"} 1
# HELP a_wait_seconds Waits.
# TYPE a_wait_seconds histogram
# UNIT a_wait_seconds seconds
a_wait_seconds_bucket{le=\"0.5\",tier=\"cluster\"} 1
# EOF
";
        let page = metrics(text);
        expect_test::expect![[r"
            | `a_requests_total` | counter |  | `code` | Requests \| all. |
            | `a_wait_seconds` | histogram | seconds |  | Waits. |
        "]]
        .assert_eq(page.strip_prefix(HEAD).unwrap());
    }
}
