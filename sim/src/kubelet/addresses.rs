//! The pod network: which slice each node has, and which address each pod. Pure.
//!
//! A freed address is given out again only after all others of its node, so that late packets for a dead pod rarely
//! meet a new one.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Fewest addresses a node's slice may have: network, node, broadcast, and room for pods.
const SLICE_PREFIX_MAX: u8 = 27;

/// Largest slice a node gets, however large the pod network is.
const SLICE_PREFIX_MIN: u8 = 24;

/// Why a pod network cannot be cut into slices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{network} has no room for {nodes} nodes; use a prefix of at most /{prefix_max}, or fewer nodes"
)]
pub struct TooSmall {
    network: Ipv4Net,
    nodes: u16,
    prefix_max: u8,
}

/// Cuts the pod network into one slice per node: /24, or as large as fits.
///
/// # Errors
/// When a slice would be smaller than a /27.
pub fn slices(network: Ipv4Net, nodes: u16) -> Result<Vec<Ipv4Net>, TooSmall> {
    let bits = u8::try_from(u32::from(nodes.max(1)).next_power_of_two().trailing_zeros())
        .expect("a u16 has at most 16 bits");
    let prefix = (network.prefix_len() + bits).max(SLICE_PREFIX_MIN);
    if prefix > SLICE_PREFIX_MAX {
        return Err(TooSmall {
            network,
            nodes,
            prefix_max: SLICE_PREFIX_MAX.saturating_sub(bits),
        });
    }
    let subnets = network.subnets(prefix).expect("the prefix is longer");
    Ok(subnets.take(usize::from(nodes)).collect())
}

/// The addresses of one node.
#[derive(Debug, Clone)]
pub struct Pool {
    slice: Ipv4Net,
    taken: BTreeSet<Ipv4Addr>,
    last: Ipv4Addr,
}

// === impl Pool ===

impl Pool {
    /// The pool of a node's slice. Its first host address is the node's own.
    #[must_use]
    pub fn new(slice: Ipv4Net) -> Self {
        let node = first_host(slice);
        Self {
            slice,
            taken: BTreeSet::from([slice.network(), node, slice.broadcast()]),
            last: node,
        }
    }

    /// The node's slice.
    #[must_use]
    pub fn slice(&self) -> Ipv4Net {
        self.slice
    }

    /// The node's own address.
    #[must_use]
    pub fn node_address(&self) -> Ipv4Addr {
        first_host(self.slice)
    }

    /// How many pods have room.
    #[must_use]
    pub fn capacity(&self) -> usize {
        (1 << (32 - usize::from(self.slice.prefix_len()))) - 3
    }

    /// The next free address. None when all are taken.
    pub fn take(&mut self) -> Option<Ipv4Addr> {
        let in_turn = || {
            self.slice
                .hosts()
                .filter(|address| !self.taken.contains(address))
        };
        let address = in_turn()
            .find(|address| *address > self.last)
            .or_else(|| in_turn().next())?;
        self.taken.insert(address);
        self.last = address;
        Some(address)
    }

    /// Takes this very address, which a pod had before the kubelet began. False when it is not free.
    pub fn reserve(&mut self, address: Ipv4Addr) -> bool {
        self.slice.contains(&address) && self.taken.insert(address)
    }

    /// Makes an address free again.
    pub fn release(&mut self, address: Ipv4Addr) {
        if address != self.node_address() {
            self.taken.remove(&address);
        }
    }
}

fn first_host(slice: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(slice.network()) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn every_node_has_a_slice_of_its_own() {
        let cases = [
            (
                "127.10.0.0/16",
                3,
                "127.10.0.0/24 127.10.1.0/24 127.10.2.0/24",
            ),
            (
                "127.10.0.0/24",
                3,
                "127.10.0.0/26 127.10.0.64/26 127.10.0.128/26",
            ),
            ("127.10.4.0/22", 1, "127.10.4.0/24"),
            ("127.10.4.32/27", 1, "127.10.4.32/27"),
        ];
        for (of, nodes, expected) in cases {
            let slices = slices(network(of), nodes).unwrap();
            let texts: Vec<_> = slices.iter().map(ToString::to_string).collect();
            assert_eq!(texts.join(" "), expected, "{of} for {nodes}");
        }
    }

    #[test]
    fn a_network_that_is_too_small_is_refused_with_the_cure() {
        let error = slices(network("127.10.0.0/26"), 3).unwrap_err();
        assert_eq!(
            error.to_string(),
            "127.10.0.0/26 has no room for 3 nodes; use a prefix of at most /25, or fewer nodes"
        );
    }

    #[test]
    fn a_freed_address_comes_back_last() {
        let mut pool = Pool::new(network("127.10.4.32/29"));
        assert_eq!(pool.node_address(), Ipv4Addr::new(127, 10, 4, 33));
        let first = pool.take().unwrap();
        assert_eq!(first, Ipv4Addr::new(127, 10, 4, 34));
        pool.release(first);
        let mut others: Vec<_> = (0..4).map(|_| pool.take().unwrap()).collect();
        assert!(!others.contains(&first));
        others.extend(pool.take());
        assert_eq!(others.last(), Some(&first));
        assert_eq!(others.len(), pool.capacity());
        assert_eq!(pool.take(), None);
    }

    #[test]
    fn only_a_free_address_of_the_slice_can_be_reserved() {
        let mut pool = Pool::new(network("127.10.4.32/29"));
        assert!(pool.reserve(Ipv4Addr::new(127, 10, 4, 35)));
        assert!(!pool.reserve(Ipv4Addr::new(127, 10, 4, 35)));
        assert!(!pool.reserve(pool.node_address()));
        assert!(!pool.reserve(Ipv4Addr::new(127, 10, 5, 35)));
    }
}
