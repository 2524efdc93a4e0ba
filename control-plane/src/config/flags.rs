//! The command line of both tiers, made from the settings.
//!
//! In: arguments, variables, and the file that they name. Out: what to do and the [`Layers`]. A word that clap does not
//! know is a usage error; values are parsed later, so that a bad one reads alike wherever it comes from.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::key::{About, Arity, Default, Place, Tier};
use super::layers::abouts;
use super::{Invalid, Layers, keys};
use crate::probe::Probe;

mod probe;

/// What the program was asked to do.
#[derive(Debug)]
pub enum Invocation {
    /// Serve until told to stop.
    Serve(Layers),
    /// Say what objects in files mean, and end.
    Explain {
        /// The settings that change what objects mean.
        layers: Layers,
        /// The files, `-` for standard input.
        files: Vec<PathBuf>,
        /// URLs whose way is shown.
        requests: Vec<String>,
    },
    /// Take back what a tier has told of Ingresses, and end.
    ClearStatus(Layers),
    /// Ask a URL once, and end.
    Probe(Probe),
}

/// Why there is nothing to do.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// Help, version, or arguments that make no sense.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// A setting is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Bytes of the settings file. More is no file of settings.
const FILE_BYTES_MAX: u64 = 1 << 20;

const AFTER_HELP: &str = "\
Each flag is also a key of the file (--http-address: http_address) and an environment variable \
(TIERGATE_HTTP_ADDRESS). Flags go before the environment, the environment before the file. Limits, times \
and the access log have no flag: see docs/configuration.md.

Exit codes: 0 good, 1 stopped before all requests had ended, or explain or probe has found a problem, 2 usage, 3 configuration invalid, \
4 cannot reach or bind, 70 internal fault.";

/// Reads arguments (the first is the program), variables and the file. The program calls itself `version`.
///
/// # Errors
/// When there is nothing to do, or a source cannot be read.
pub fn invocation(
    tier: Tier,
    version: &'static str,
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Invocation, Stop> {
    let matches = command(tier, version).try_get_matches_from(arguments)?;
    let variables: Vec<_> = variables.into_iter().collect();
    if let Some(("explain", matches)) = matches.subcommand() {
        return Ok(Invocation::Explain {
            layers: layers(tier, matches, variables)?.of_version(version),
            files: matches
                .get_many("file")
                .map_or_else(Vec::new, |files| files.cloned().collect()),
            requests: matches
                .get_many("request")
                .map_or_else(Vec::new, |requests| requests.cloned().collect()),
        });
    }
    if let Some(("probe", matches)) = matches.subcommand() {
        return Ok(Invocation::Probe(probe::probe(matches)?));
    }
    if let Some(("status", matches)) = matches.subcommand()
        && let Some(("clear", matches)) = matches.subcommand()
    {
        let layers = layers(tier, matches, variables)?.of_version(version);
        return Ok(Invocation::ClearStatus(layers));
    }
    let layers = layers(tier, &matches, variables)?.of_version(version);
    Ok(Invocation::Serve(layers))
}

fn layers(
    tier: Tier,
    matches: &ArgMatches,
    variables: Vec<(String, String)>,
) -> Result<Layers, Invalid> {
    let given: Vec<_> = abouts(tier)
        .filter_map(|about| Some((about, texts(matches, about)?)))
        .collect();
    // Only these two places may say where the file is, so they are looked at before it.
    let outside = Layers::new(tier)
        .environment(variables.clone())
        .flags(given.clone());
    let mut layers = Layers::new(tier);
    if let Some(path) = outside.maybe(&keys::CONFIG)? {
        let text = read(&path).map_err(|error| {
            outside.contradiction(
                &keys::CONFIG.about,
                &format!(
                    "cannot read {}: {error}; name a readable YAML file",
                    path.display()
                ),
            )
        })?;
        layers = layers.file(&path, &text)?;
    }
    Ok(layers.environment(variables).flags(given))
}

/// The texts of a flag, when it was given and the command has it.
fn texts(matches: &ArgMatches, about: &About) -> Option<Vec<String>> {
    let texts = matches.try_get_many::<String>(about.name).ok()??;
    Some(texts.cloned().collect())
}

fn read(path: &std::path::Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read > FILE_BYTES_MAX) {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

/// The command line of a tier.
#[must_use]
pub(super) fn command(tier: Tier, version: &'static str) -> Command {
    let explain = Command::new("explain")
        .about("Says what objects in YAML files mean to this tier: model, table and conditions; reaches no cluster")
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .help("YAML files with objects; - is standard input")
                .num_args(1..)
                .required(true)
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            Arg::new("request")
                .long("request")
                .value_name("URL")
                .help("Show which way a request for this URL takes; may be repeated")
                .action(ArgAction::Append),
        )
        .args(abouts(tier).filter(|about| is_explained(about)).map(|about| arg(about, tier)));
    let clear = Command::new("clear")
        .about("Takes back the addresses and conditions that this tier has written to Ingresses, and deletes its Leases: for an \
                uninstall, when no replica runs any more")
        .args(settings(tier));
    let status = Command::new("status")
        .about("What this tier has told of Ingresses")
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(clear);
    Command::new(tier.program())
        .version(version)
        .about(tier.sentence())
        .after_help(AFTER_HELP)
        .max_term_width(100)
        .args_conflicts_with_subcommands(true)
        .subcommand_precedence_over_arg(true)
        .disable_help_subcommand(true)
        .subcommand(explain)
        .subcommand(probe::command())
        .subcommand(status)
        .args(settings(tier))
}

fn settings(tier: Tier) -> impl Iterator<Item = Arg> {
    abouts(tier)
        .filter(|about| about.place != Place::File)
        .map(move |about| arg(about, tier))
}

fn is_explained(about: &About) -> bool {
    matches!(
        about.place,
        Place::Flag | Place::FlagAndFile { explain: true }
    )
}

fn arg(about: &'static About, tier: Tier) -> Arg {
    let flag = about.flag().expect("only settings with a flag become one");
    let arg = Arg::new(about.name)
        .long(flag)
        .help(help(about, tier))
        .value_name(about.placeholder)
        .allow_negative_numbers(true);
    match about.arity {
        Arity::One => arg.action(ArgAction::Set),
        Arity::List => arg.action(ArgAction::Append).num_args(1..),
        Arity::Switch => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}

/// Meaning, range and default.
fn help(about: &About, tier: Tier) -> String {
    let mut help = about.meaning.to_owned();
    if let Some(range) = about.range {
        help.push_str(&format!(" Range: {range}."));
    }
    let default = match (about.default, about.default_of(tier)) {
        (_, Some(value)) => format!(" [default: {value}]"),
        (Default::Nothing(then), None) => format!(" [without: {then}]"),
        (_, None) => " [required]".to_owned(),
    };
    help + &default
}
