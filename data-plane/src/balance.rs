//! Picks the endpoint of a backend for the next try: round robin over what has not been tried.
//!
//! In: the endpoints, the position that all workers share, and what this request has tried. Out: an endpoint, or nothing
//! when all have been tried. The position belongs to the backend's name, so a new table does not begin at the first
//! endpoint again.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::table::Endpoint;

/// The endpoints that one request has tried, by position; few, so a list.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    first: Option<usize>,
    /// Empty for nearly every request, so that it costs no allocation.
    more: Vec<usize>,
}

/// The next endpoint that has not been tried.
pub(crate) fn pick<'e>(
    endpoints: &'e [Endpoint],
    position: &AtomicUsize,
    tried: &mut Tried,
) -> Option<&'e Endpoint> {
    if endpoints.is_empty() {
        return None;
    }
    let first = position.fetch_add(1, Ordering::Relaxed) % endpoints.len();
    let found = (first..endpoints.len())
        .chain(0..first)
        .find(|candidate| !tried.has(*candidate))?;
    tried.add(found);
    Some(&endpoints[found])
}

// === impl Tried ===

impl Tried {
    fn has(&self, position: usize) -> bool {
        self.first == Some(position) || self.more.contains(&position)
    }

    fn add(&mut self, position: usize) {
        if self.first.is_none() {
            self.first = Some(position);
        } else {
            self.more.push(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(count: u8) -> Vec<Endpoint> {
        let endpoint = |n: u8| Endpoint {
            address: ([127, 0, 0, n], 80).into(),
            identity: "pod".into(),
        };
        (0..count).map(endpoint).collect()
    }

    fn picks(endpoints: &[Endpoint], position: &AtomicUsize, requests: usize) -> Vec<u8> {
        let pick_one = |_| {
            let endpoint = pick(endpoints, position, &mut Tried::default()).unwrap();
            match endpoint.address.ip() {
                std::net::IpAddr::V4(ip) => ip.octets()[3],
                std::net::IpAddr::V6(_) => unreachable!(),
            }
        };
        (0..requests).map(pick_one).collect()
    }

    #[test]
    fn requests_go_round_the_endpoints() {
        let position = AtomicUsize::new(0);
        assert_eq!(picks(&endpoints(3), &position, 5), [0, 1, 2, 0, 1]);
        assert_eq!(picks(&endpoints(2), &position, 2), [1, 0]);
    }

    #[test]
    fn the_position_may_wrap() {
        let position = AtomicUsize::new(usize::MAX);
        let picked = picks(&endpoints(4), &position, 2);
        assert_eq!(picked, [3, 0]);
    }

    #[test]
    fn a_request_tries_every_endpoint_once() {
        let (endpoints, position) = (endpoints(3), AtomicUsize::new(1));
        let mut tried = Tried::default();
        let mut seen: Vec<_> = std::iter::from_fn(|| pick(&endpoints, &position, &mut tried))
            .cloned()
            .collect();
        seen.sort();
        assert_eq!(seen, endpoints);
        assert_eq!(pick(&[], &position, &mut Tried::default()), None);
    }
}
