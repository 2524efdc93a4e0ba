//! "All addresses" in what a program is told: its pod's address. Pure.
//!
//! A real pod has a network of its own, so that `0.0.0.0:8080` is its own port 8080. Here all pods share the network of the
//! machine: two that listen there would take each other's connections. Not touched: what a program reads from files.

use std::net::Ipv4Addr;

/// How programs write "all addresses" in front of a port.
const ANY: [&str; 2] = ["0.0.0.0:", "[::]:"];

/// Replaces "all addresses" in front of a port by the pod's address.
#[must_use]
pub(super) fn at_address(text: &str, address: Ipv4Addr) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, any)) = next(rest) {
        let (before, behind) = (&rest[..at], &rest[at + any.len()..]);
        out.push_str(before);
        let begins = !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '.' || c == ':');
        if begins && behind.starts_with(|c: char| c.is_ascii_digit()) {
            out.push_str(&format!("{address}:"));
        } else {
            out.push_str(any);
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// The first of them, and where it is.
fn next(text: &str) -> Option<(usize, &'static str)> {
    let found = ANY
        .into_iter()
        .filter_map(|any| text.find(any).map(|at| (at, any)));
    found.min_by_key(|(at, _)| *at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_in_front_of_a_port_become_the_pods() {
        for (text, expected) in [
            (
                "--http-address=0.0.0.0:8080",
                "--http-address=10.244.0.5:8080",
            ),
            ("0.0.0.0:80,[::]:81", "10.244.0.5:80,10.244.0.5:81"),
            ("[::]:443", "10.244.0.5:443"),
            ("http://0.0.0.0:80/", "http://10.244.0.5:80/"),
            // Another address, a network, a version, and words.
            ("10.0.0.0:80", "10.0.0.0:80"),
            ("1.0.0.0.0:80", "1.0.0.0.0:80"),
            ("--trusted-proxies=0.0.0.0/0", "--trusted-proxies=0.0.0.0/0"),
            ("0.0.0.0", "0.0.0.0"),
            ("0.0.0.0:$(PORT)", "0.0.0.0:$(PORT)"),
            ("", ""),
        ] {
            assert_eq!(
                at_address(text, Ipv4Addr::new(10, 244, 0, 5)),
                expected,
                "{text}"
            );
        }
    }
}
