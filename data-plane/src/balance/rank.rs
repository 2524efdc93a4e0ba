//! Consistent hashing by rank (rendezvous hashing: Thaler and Ravishankar, 1998). Pure.
//!
//! In: a key, and a number for each endpoint that says who it is. Out: a rank for each pair. The endpoint with the highest rank has the
//! key: when one goes, only its keys move, each to the next by rank; when one comes, it takes its share of all others' and nothing else
//! moves. There is nothing to build when endpoints change; a look-up asks each endpoint, a few instructions for each.
//!
//! The numbers are the same in every process, so that all replicas of a tier send a key to the same endpoint.

use std::hash::Hasher as _;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use crate::table::Endpoint;

/// Who an endpoint is: address, port and pod. It tells nothing about them: the UID of a pod is random.
pub(crate) fn token(endpoint: &Endpoint) -> u64 {
    let mut hasher = SipHasher13::new();
    match endpoint.address.ip() {
        IpAddr::V4(ip) => hasher.write(&ip.octets()),
        IpAddr::V6(ip) => hasher.write(&ip.octets()),
    }
    hasher.write(&endpoint.address.port().to_be_bytes());
    hasher.write(endpoint.identity.as_bytes());
    hasher.finish()
}

/// The key of a text.
pub(crate) fn key(text: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(text);
    hasher.finish()
}

/// The rank of an endpoint for a key.
pub(crate) fn rank(key: u64, token: u64) -> u64 {
    // The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): every bit of both decides on every bit of the rank.
    let mixed = key ^ token;
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn endpoint(number: u16) -> Endpoint {
        let [high, low] = number.to_be_bytes();
        Endpoint {
            address: ([10, 0, high, low], 8080).into(),
            identity: format!("uid-{number}").as_str().into(),
        }
    }

    fn winner(key: u64, endpoints: &[u16]) -> u16 {
        let rank_of = |&&number: &&u16| rank(key, token(&endpoint(number)));
        *endpoints.iter().max_by_key(rank_of).unwrap()
    }

    fn keys() -> impl Iterator<Item = u64> {
        (0..2000_u32).map(|number| key(format!("/page/{number}").as_bytes()))
    }

    #[test]
    fn tokens_are_the_same_in_every_process() {
        assert_eq!(token(&endpoint(1)), 7_370_534_387_963_635_897);
        assert_eq!(key(b"/a"), 15_926_683_300_779_708_665);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn only_the_keys_of_an_endpoint_that_goes_move(
            endpoints in proptest::collection::btree_set(0..500_u16, 2..24),
            gone in any::<prop::sample::Index>(),
        ) {
            let all: Vec<u16> = endpoints.into_iter().collect();
            let gone = all[gone.index(all.len())];
            let left: Vec<u16> = all.iter().copied().filter(|&number| number != gone).collect();
            let mut moved = 0.0_f64;
            for key in keys() {
                let before = winner(key, &all);
                let after = winner(key, &left);
                if before == gone {
                    moved += 1.0;
                } else {
                    prop_assert_eq!(before, after, "a key of another endpoint moved");
                }
            }
            // A share of 1/n, give or take five times its deviation.
            let share = 1.0 / all.len() as f64;
            let deviation = (2000.0 * share * (1.0 - share)).sqrt();
            prop_assert!((moved - 2000.0 * share).abs() < 5.0 * deviation, "{} of {}", moved, all.len());
        }
    }
}
