//! Writes `docs/configuration.md` from the settings. Pure.

use std::fmt::Write as _;

use super::key::{About, Arity, Default, Place, Tier, Tiers};
use super::keys;

const HEAD: &str = "\
# Configuration

<!-- Written from control-plane/src/config/keys.rs by `UPDATE_EXPECT=1 cargo test -p tiergate-control-plane`. -->

Every setting has one name. It can be set in four places, and a later one goes before an earlier one:

1. its default;
2. the YAML file that `--config` names: `http_address: 0.0.0.0:8080`, and `head_bytes_max: 32Ki` below `limits:`;
3. the environment: `TIERGATE_HTTP_ADDRESS`, `TIERGATE_LIMITS__HEAD_BYTES_MAX` (a dot is two underscores);
4. its flag, where it has one: `--http-address`.

A list is a YAML list in the file, and values with commas between them everywhere; a flag may also be repeated. `none` is
the empty list. A list replaces the one of an earlier place. A null in the file and an empty variable count as not set.
Times have units (`500ms`, `10s`, `1m30s`, `1h`); bytes may have the suffixes `Ki`, `Mi` and `Gi`.

An unknown flag ends the start with exit code 2; an unknown key of the file and a value that does not fit with exit code
3 and one sentence that names the key, the value and the cure. An unknown variable only gives a warning, and the variables
that a kubelet adds for Services (`TIERGATE_PORT=tcp://…`, `TIERGATE_SERVICE_HOST`) give none: names that end in
`_SERVICE_HOST`, `_SERVICE_PORT`, `_PORT` or go on behind them as a kubelet's do are never settings.
";

/// The whole page.
#[must_use]
pub fn configuration() -> String {
    let mut page = HEAD.to_owned();
    for (title, tiers) in [
        ("Both tiers", Tiers::Both),
        ("Namespace tier", Tiers::Only(Tier::Namespace)),
        ("Cluster tier", Tiers::Only(Tier::Cluster)),
    ] {
        section(&mut page, title, &|about| {
            about.tiers == tiers && !about.name.contains('.')
        });
    }
    section(&mut page, "Section `limits`", &|about| {
        about.name.starts_with("limits.")
    });
    section(&mut page, "Section `timeouts`", &|about| {
        about.name.starts_with("timeouts.")
    });
    section(&mut page, "Section `hsts`", &|about| {
        about.name.starts_with("hsts.")
    });
    section(&mut page, "Section `retries`", &|about| {
        about.name.starts_with("retries.")
    });
    section(&mut page, "Section `ejection`", &|about| {
        about.name.starts_with("ejection.")
    });
    page
}

fn section(page: &mut String, title: &str, belongs: &dyn Fn(&About) -> bool) {
    writeln!(
        page,
        "\n## {title}\n\n| key | flag | value | default | range | meaning |\n| --- | --- | --- | --- | --- | --- |"
    )
    .expect("a text takes everything");
    for about in keys::ALL.iter().filter(|about| belongs(about)) {
        writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} |",
            key(about),
            about
                .flag()
                .map_or_else(String::new, |flag| format!("`--{flag}`")),
            value(about),
            default(about),
            about
                .range
                .map_or_else(String::new, |range| range.to_string()),
            about.meaning,
        )
        .expect("a text takes everything");
    }
}

fn key(about: &About) -> String {
    match about.place {
        Place::Flag => format!("`{}` (not in the file)", about.name),
        Place::File | Place::FlagAndFile { .. } => format!("`{}`", about.name),
    }
}

fn value(about: &About) -> String {
    match about.arity {
        Arity::One | Arity::Switch => about.form.to_owned(),
        Arity::List => format!("list: {}", about.form),
    }
}

fn default(about: &About) -> String {
    match about.default {
        Default::Value(value) => format!("`{value}`"),
        Default::PerTier { cluster, namespace } => {
            format!("`{cluster}` (cluster tier), `{namespace}` (namespace tier)")
        }
        Default::Nothing(then) => format!("not set: {then}"),
        Default::Required => "must be set".to_owned(),
    }
}
