//! The words of `probe`: no setting of a tier, so none of the other sources is read.
//!
//! In: arguments. Out: a [`Probe`] that can be asked, or a usage error.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use http::{HeaderValue, Uri};

use super::super::value;
use crate::probe::{Probe, Trust, Wanted};

/// The subcommand.
pub(super) fn command() -> Command {
    let text = |name: &'static str| Arg::new(name).long(name).action(ArgAction::Set);
    Command::new("probe")
        .about("Asks a URL once: exit code 0 when the answer is good, else 1 and the reason in one sentence")
        .arg(
            Arg::new("url")
                .value_name("URL")
                .help("What to ask for, http or https; a path such as /readyz is enough with --socket")
                .required(true)
                .value_parser(url),
        )
        .arg(
            text("socket")
                .value_name("PATH")
                .help("Ask this Unix socket (see admin_socket) instead of the host of the URL")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            text("host")
                .value_name("NAME")
                .help("Name for Host and for SNI instead of the URL's")
                .value_parser(host),
        )
        .arg(
            text("status")
                .value_name("STATUS")
                .help("Statuses that are good: one such as 404, or a range such as 200-399")
                .default_value("200-299")
                .value_parser(value_parser!(Wanted)),
        )
        .arg(
            text("timeout")
                .value_name("TIME")
                .help("For everything together, 1ms to 1h")
                .default_value("5s")
                .value_parser(timeout),
        )
        .arg(
            text("ca")
                .value_name("FILE")
                .help("PEM file with the authorities whose certificates are good; https needs this or --insecure")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            Arg::new("insecure")
                .long("insecure")
                .help("Take any certificate")
                .action(ArgAction::SetTrue)
                .conflicts_with("ca"),
        )
}

/// What the arguments ask for.
pub(super) fn probe(matches: &ArgMatches) -> Result<Probe, clap::Error> {
    let wrong = |kind, text: &str| Err(command().error(kind, text));
    let url = matches.get_one::<Uri>("url").expect("it is required");
    let socket = matches.get_one::<PathBuf>("socket").cloned();
    let authorities = matches.get_one::<PathBuf>("ca").cloned();
    let is_insecure = matches.get_flag("insecure");
    if url.host().is_none() && socket.is_none() {
        return wrong(
            ErrorKind::ValueValidation,
            "a path is asked of a socket: add --socket PATH, or give the whole URL",
        );
    }
    if url.scheme_str() == Some("https") && authorities.is_none() && !is_insecure {
        return wrong(
            ErrorKind::MissingRequiredArgument,
            "https needs to know whose certificates are good: add --ca FILE, or --insecure for everybody's",
        );
    }
    Ok(Probe {
        url: url.clone(),
        socket,
        host: matches.get_one::<String>("host").cloned(),
        wanted: matches
            .get_one::<Wanted>("status")
            .cloned()
            .unwrap_or_default(),
        timeout: *matches
            .get_one::<Duration>("timeout")
            .expect("it has a default"),
        trust: authorities.map_or(Trust::Everybody, Trust::Authorities),
    })
}

fn url(text: &str) -> Result<Uri, &'static str> {
    const FORM: &str = "write a URL such as http://10.0.0.7:10254/readyz";
    let url: Uri = text.parse().map_err(|_| FORM)?;
    let is_known = match url.scheme_str() {
        Some("http" | "https") => url.host().is_some_and(|host| !host.is_empty()),
        Some(_) => false,
        None => text.starts_with('/'),
    };
    let is_bare = url
        .authority()
        .is_none_or(|host| !host.as_str().contains('@'));
    // A port that is none is not there afterwards, and another one would be asked.
    let has_its_port = url
        .authority()
        .is_none_or(|host| host.port_u16().is_some() || host.as_str() == host.host());
    if is_known && is_bare && has_its_port {
        Ok(url)
    } else {
        Err(FORM)
    }
}

fn host(text: &str) -> Result<String, &'static str> {
    let is_one = !text.is_empty() && !text.contains(char::is_whitespace);
    if is_one && HeaderValue::from_str(text).is_ok() {
        Ok(text.to_owned())
    } else {
        Err("write a host such as keystone.example")
    }
}

fn timeout(text: &str) -> Result<Duration, &'static str> {
    let range = Duration::from_millis(1)..=Duration::from_secs(3600);
    match value::duration(text) {
        Ok(timeout) if range.contains(&timeout) => Ok(timeout),
        Ok(_) | Err(_) => Err("write a time such as 5s or 500ms, from 1ms to 1h"),
    }
}
