//! `Via`: shows the way a request took, and detects that it goes in circles (RFC 9110 §7.6.3). Pure.
//!
//! The pseudonym is the tier's name. A request may pass a tier of that name more than once on purpose (a tenant that sends
//! to another tenant's host), so only the pass after [`PASSES_MAX`] is refused. Without `Config::via` loops end by the
//! limit on connections instead.

use http::header::VIA;
use http::{HeaderMap, HeaderValue, Version};

use super::tokens;
use crate::error::ProxyError;

/// Passes of tiers with the same name.
const PASSES_MAX: usize = 4;

/// Refuses a request that goes in circles.
pub(crate) fn check(headers: &HeaderMap, tier: &str) -> Result<(), ProxyError> {
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

/// Adds this tier.
pub(crate) fn add(headers: &mut HeaderMap, received: Version, tier: &str) {
    let version = match received {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        _ => "1.1",
    };
    if let Ok(value) = HeaderValue::try_from(format!("{version} {tier}")) {
        headers.append(VIA, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_pass_of_the_same_tier_is_a_loop() {
        let mut headers = HeaderMap::new();
        headers.append(
            VIA,
            HeaderValue::from_static("1.1 other, 1.0 tiergate-cluster (x)"),
        );
        for pass in 0..3 {
            assert!(check(&headers, "tiergate-cluster").is_ok(), "{pass}");
            add(&mut headers, Version::HTTP_2, "tiergate-cluster");
        }
        assert!(check(&headers, "tiergate-cluster").is_err());
        assert!(check(&headers, "tiergate-namespace").is_ok());
        assert_eq!(
            headers.get_all(VIA).iter().next_back().unwrap(),
            "2.0 tiergate-cluster"
        );
    }
}
