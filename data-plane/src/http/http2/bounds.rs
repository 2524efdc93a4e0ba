//! What one HTTP/2 connection of a client may hold of us. Pure.
//!
//! The requests of a client's own connection share its fate: four uploads that stall may stall the others, and resets in a
//! row are an attack. A tier in front of us (a peer in `trusted_proxies`) brings the requests of many clients on one
//! connection: none of them may stall or end those of the others.

/// Bytes of one request's body that are kept for an endpoint that takes none.
pub(super) const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// Streams of a connection whose memory is kept for the next ones.
pub(super) fn spare_seats(is_trusted: bool) -> usize {
    // A tier in front sends up to 32 at a time before it opens a further connection.
    if is_trusted { 32 } else { 4 }
}

/// Bounds of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Bytes of all bodies of the connection together.
    pub(super) window_bytes: u32,
    /// Streams that the client reset and we have not yet let go of; more is an attack (CVE-2023-44487).
    pub(super) reset_streams_max: usize,
    /// Streams that we reset because of the client's errors; more is an attack.
    pub(super) error_streams_max: usize,
}

/// Of a client.
const OF_CLIENT: Bounds = Bounds {
    window_bytes: 1024 * 1024,
    reset_streams_max: 20,
    error_streams_max: 256,
};
/// Of a tier in front of us, beside the window. It has counted the resets of each of its clients already.
const OF_TIER: Bounds = Bounds {
    window_bytes: 0,
    reset_streams_max: 10_000,
    error_streams_max: 1_000_000,
};

// === impl Bounds ===

impl Bounds {
    pub(super) fn new(is_trusted: bool, streams_max: u32) -> Self {
        if !is_trusted {
            return OF_CLIENT;
        }
        // Windows are counted in 31 bits (RFC 9113 §6.9.1).
        let window_bytes = STREAM_WINDOW_BYTES.saturating_mul(streams_max);
        Self {
            window_bytes: window_bytes.clamp(OF_CLIENT.window_bytes, i32::MAX as u32),
            ..OF_TIER
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_of_a_tier_in_front_has_its_window() {
        for (streams_max, window_bytes) in [
            (1, 1024 * 1024),
            (128, 32 * 1024 * 1024),
            (10_000, i32::MAX as u32),
        ] {
            let bounds = Bounds::new(true, streams_max);
            assert_eq!(bounds.window_bytes, window_bytes, "{streams_max}");
            assert_eq!(Bounds::new(false, streams_max), OF_CLIENT);
        }
    }
}
