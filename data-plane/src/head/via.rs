//! `Via`: shows the way a request took, and detects that it goes in circles (RFC 9110 §7.6.3). Pure.
//!
//! The pseudonym is the tier's name. A request may pass a tier of that name more than once on purpose (a tenant that sends
//! to another tenant's host), so only the pass after [`PASSES_MAX`] is refused. Without `Config::via` loops end by the
//! limit on connections instead.

use http::header::VIA;
use http::{HeaderMap, HeaderValue, Version};

use super::present::Present;
use super::tokens;
use crate::error::ProxyError;

/// What begins the names of tiers.
const TIERS: &str = "tiergate-";

/// Passes of tiers with the same name.
const PASSES_MAX: usize = 4;

/// Refuses a request that goes in circles.
pub(crate) fn check(headers: &HeaderMap, present: Present, tier: &str) -> Result<(), ProxyError> {
    if !present.any(Present::VIA) {
        return Ok(());
    }
    let passes = tokens(headers, &VIA).filter(|entry| {
        let mut words = entry.split_ascii_whitespace();
        words.nth(1) == Some(tier)
    });
    if passes.count() >= PASSES_MAX {
        Err(ProxyError::LoopDetected)
    } else {
        Ok(())
    }
}

/// Whether the request says that it has passed a tier.
pub(super) fn names_a_tier(headers: &HeaderMap) -> bool {
    let is_tier = |name: &str| name.starts_with(TIERS);
    tokens(headers, &VIA).any(|entry| {
        let mut words = entry.split_ascii_whitespace();
        words.nth(1).is_some_and(is_tier)
    })
}

/// The entry of this tier, by the version of the request that it received. Made once.
#[derive(Debug)]
pub(crate) struct Entries {
    http10: HeaderValue,
    http11: HeaderValue,
    http2: HeaderValue,
}

// === impl Entries ===

impl Entries {
    pub(crate) fn new(tier: &str) -> Self {
        let entry = |version| {
            HeaderValue::try_from(format!("{version} {tier}"))
                .expect("the name of a tier is a token, as its type is a literal of ours")
        };
        Self {
            http10: entry("1.0"),
            http11: entry("1.1"),
            http2: entry("2.0"),
        }
    }

    /// Adds this tier.
    pub(crate) fn add(&self, headers: &mut HeaderMap, received: Version) {
        let entry = match received {
            Version::HTTP_10 => &self.http10,
            Version::HTTP_2 => &self.http2,
            _ => &self.http11,
        };
        headers.append(VIA, entry.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_pass_of_the_same_tier_is_a_loop() {
        let entries = Entries::new("tiergate-cluster");
        let mut headers = HeaderMap::new();
        headers.append(
            VIA,
            HeaderValue::from_static("1.1 other, 1.0 tiergate-cluster (x)"),
        );
        for pass in 0..3 {
            assert!(
                check(&headers, Present::of(&headers), "tiergate-cluster").is_ok(),
                "{pass}"
            );
            entries.add(&mut headers, Version::HTTP_2);
        }
        assert!(check(&headers, Present::of(&headers), "tiergate-cluster").is_err());
        assert!(check(&headers, Present::of(&headers), "tiergate-namespace").is_ok());
        assert_eq!(
            headers.get_all(VIA).iter().next_back().unwrap(),
            "2.0 tiergate-cluster"
        );
    }
}
