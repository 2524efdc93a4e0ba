//! The ranges of addresses of a local cluster, and whether they stand clear of each other. Pure.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

/// Fewest addresses of a Service range.
const SERVICE_PREFIX_MAX: u8 = 28;

/// Fewest addresses of a pool: one, and what a network and a broadcast address take.
const POOL_PREFIX_MAX: u8 = 30;

/// How many clusters find ranges for themselves.
const CHOICES: u8 = 16;

/// Where Services have their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServiceRanges {
    /// Cluster IPs.
    pub(super) services: Ipv4Net,
    /// Addresses of Services of type LoadBalancer.
    pub(super) load_balancers: Ipv4Net,
}

/// What else has its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    pub(super) pods: Ipv4Net,
    pub(super) vip: Ipv4Addr,
    pub(super) api: Option<Ipv4Addr>,
}

/// The ranges to try, the best first. What was not given is chosen so that it is clear of all else, and there are several
/// because another cluster may have the first.
///
/// # Errors
/// A sentence with the cure, when what was given does not fit.
pub(super) fn choices(
    services: Option<Ipv4Net>,
    load_balancers: Option<Ipv4Net>,
    around: Surroundings,
) -> Result<Vec<ServiceRanges>, String> {
    let services = services.map(|range| range.trunc());
    let load_balancers = load_balancers.map(|range| range.trunc());
    let mut first_problem = None;
    let mut found = Vec::new();
    for choice in 0..CHOICES {
        let second_byte = 96 - 2 * choice;
        let own = |byte, prefix| Ipv4Net::new_assert(Ipv4Addr::new(127, byte, 0, 0), prefix);
        let ranges = ServiceRanges {
            services: services.unwrap_or(own(second_byte, 16)),
            load_balancers: load_balancers.unwrap_or(own(second_byte + 1, 24)),
        };
        match check(ranges, around) {
            Ok(()) if !found.contains(&ranges) => found.push(ranges),
            Ok(()) => {}
            Err(problem) => first_problem = first_problem.or(Some(problem)),
        }
    }
    match first_problem {
        Some(problem) if found.is_empty() => Err(problem),
        Some(_) | None => Ok(found),
    }
}

fn check(ranges: ServiceRanges, around: Surroundings) -> Result<(), String> {
    let named = [
        (
            "--service-cidr",
            ranges.services,
            SERVICE_PREFIX_MAX,
            "127.96.0.0/16",
        ),
        (
            "--load-balancer-pool",
            ranges.load_balancers,
            POOL_PREFIX_MAX,
            "127.97.0.0/24",
        ),
    ];
    for (name, range, prefix_max, example) in named {
        if !LOOPBACK.contains(&range) {
            return Err(format!(
                "{name} {range} is not in 127.0.0.0/8; use a part of it, such as {example}"
            ));
        }
        if range.prefix_len() > prefix_max {
            return Err(format!(
                "{name} {range} is too small; use a prefix of at most /{prefix_max}"
            ));
        }
        if range.contains(&Ipv4Addr::LOCALHOST) {
            return Err(format!(
                "{name} {range} holds 127.0.0.1, which other programs use; use another one, such as {example}"
            ));
        }
        let addresses = [("--vip", Some(around.vip)), ("--api-address", around.api)];
        for (other, address) in addresses {
            if let Some(address) = address.filter(|address| range.contains(address)) {
                return Err(format!(
                    "{other} {address} lies in {name} {range}; change one of them"
                ));
            }
        }
        if overlap(range, around.pods) {
            return Err(overlapping(name, range, "--pod-cidr", around.pods));
        }
    }
    let ServiceRanges {
        services,
        load_balancers,
    } = ranges;
    if overlap(services, load_balancers) {
        let other = "--load-balancer-pool";
        return Err(overlapping(
            "--service-cidr",
            services,
            other,
            load_balancers,
        ));
    }
    Ok(())
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

fn overlapping(name: &str, range: Ipv4Net, other: &str, other_range: Ipv4Net) -> String {
    format!("{name} {range} and {other} {other_range} overlap; change one of them")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(services: &str, pool: &str, pods: &str) -> Result<Vec<ServiceRanges>, String> {
        let parse = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        let around = Surroundings {
            pods: pods.parse().unwrap(),
            vip: Ipv4Addr::new(127, 0, 0, 254),
            api: Some(Ipv4Addr::new(127, 0, 0, 1)),
        };
        choices(parse(services), parse(pool), around)
    }

    fn first(services: &str, pool: &str, pods: &str) -> String {
        let ranges = found(services, pool, pods).unwrap()[0];
        format!("{} {}", ranges.services, ranges.load_balancers)
    }

    #[test]
    fn what_is_not_given_is_chosen_clear_of_the_rest() {
        assert_eq!(
            first("", "", "127.10.0.0/16"),
            "127.96.0.0/16 127.97.0.0/24"
        );
        assert_eq!(
            first("", "", "127.96.0.0/15"),
            "127.94.0.0/16 127.95.0.0/24"
        );
        assert_eq!(
            first("127.20.0.0/20", "", "127.10.0.0/16"),
            "127.20.0.0/20 127.97.0.0/24"
        );
        assert_eq!(
            first("", "127.96.1.0/24", "127.10.0.0/16"),
            "127.94.0.0/16 127.96.1.0/24"
        );
        assert_eq!(found("", "", "127.10.0.0/16").unwrap().len(), 16);
        assert_eq!(
            found("127.20.0.0/20", "127.21.0.0/24", "127.10.0.0/16")
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_cure() {
        let pods = "127.10.0.0/16";
        for (services, pool, expected) in [
            (
                "10.96.0.0/16",
                "",
                "--service-cidr 10.96.0.0/16 is not in 127.0.0.0/8; use a part",
            ),
            (
                "",
                "192.0.2.0/24",
                "--load-balancer-pool 192.0.2.0/24 is not in 127.0.0.0/8",
            ),
            (
                "127.20.0.0/29",
                "",
                "--service-cidr 127.20.0.0/29 is too small",
            ),
            ("", "127.20.0.0/31", "use a prefix of at most /30"),
            ("127.0.0.0/24", "", "holds 127.0.0.1"),
            (
                "",
                "127.0.0.128/25",
                "--vip 127.0.0.254 lies in --load-balancer-pool",
            ),
            (
                "127.10.3.0/24",
                "",
                "--service-cidr 127.10.3.0/24 and --pod-cidr 127.10.0.0/16 overlap",
            ),
            (
                "127.20.0.0/16",
                "127.20.1.0/24",
                "--load-balancer-pool 127.20.1.0/24 overlap; change one",
            ),
        ] {
            let error = found(services, pool, pods).unwrap_err();
            assert!(error.contains(expected), "{services} {pool}: {error}");
        }
    }
}
