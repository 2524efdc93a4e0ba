//! Which API servers these tiers are made for.
//!
//! In: what `/version` of the API server says. Out: one line of the log: its version, and whether it lies outside of what is
//! supported. Nothing ends for it: whether an API server gives what is asked is seen by asking, a newer one nearly always
//! does, and one that is too old may be upgraded while the tier waits with a red `/readyz`.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::SmallRng;
use tokio::time::sleep;

/// The oldest minor version of Kubernetes 1 that is supported, and the newest; `docs/versions.md` says why.
pub const SUPPORTED: (u32, u32) = (29, 37);

/// The oldest that has all kinds which a tier reads: `discovery.k8s.io/v1` came with 1.21.
const NEEDED: u32 = 21;

/// Between two tries.
const RETRY: Duration = Duration::from_secs(30);

/// What to think of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Supported,
    TooNew,
    TooOld,
    Unusable,
    Unknown,
}

/// Asks for the version until there is an answer, and says what to think of it.
pub(crate) async fn announce(client: kube::Client, mut rng: SmallRng) {
    let info = loop {
        match client.apiserver_version().await {
            Ok(info) => break info,
            Err(error) => {
                // The lists fail as well, and say so.
                tracing::debug!(%error, "the version of the API server is not known yet");
                sleep(rng.random_range(RETRY / 2..=RETRY)).await;
            }
        }
    };
    let version = info.git_version;
    let (min, max) = SUPPORTED;
    let range = format!("1.{min} to 1.{max}");
    let told = match judge(&info.major, &info.minor) {
        Judgement::Supported => {
            tracing::info!(version, "version of the API server");
            return;
        }
        Judgement::TooNew => {
            "this API server is newer than what these tiers were tried with; they go on, and an upgrade is due"
        }
        Judgement::TooOld => {
            "this API server is older than what these tiers are tried with; they go on, and it should be upgraded"
        }
        Judgement::Unusable => {
            "this API server is too old: it lacks networking.k8s.io/v1 or discovery.k8s.io/v1, and nothing is served before it is \
             upgraded"
        }
        Judgement::Unknown => "this API server does not tell a version of Kubernetes",
    };
    tracing::warn!(
        version,
        supported = range,
        reason = "version_unsupported",
        "{told}"
    );
}

/// Some distributions write `29+`.
fn judge(major: &str, minor: &str) -> Judgement {
    let minor = minor.trim_end_matches(|c: char| !c.is_ascii_digit());
    let (Ok(major), Ok(minor)) = (major.parse::<u32>(), minor.parse::<u32>()) else {
        return Judgement::Unknown;
    };
    let (min, max) = SUPPORTED;
    match (major, minor) {
        (0, _) => Judgement::Unusable,
        (1, minor) if minor < NEEDED => Judgement::Unusable,
        (1, minor) if minor < min => Judgement::TooOld,
        (1, minor) if minor <= max => Judgement::Supported,
        (1.., _) => Judgement::TooNew,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_judged_by_the_range_that_is_supported() {
        for (major, minor, judgement) in [
            ("1", "29", Judgement::Supported),
            ("1", "37", Judgement::Supported),
            ("1", "31+", Judgement::Supported),
            ("1", "38", Judgement::TooNew),
            ("2", "0", Judgement::TooNew),
            ("1", "28", Judgement::TooOld),
            ("1", "21", Judgement::TooOld),
            ("1", "20", Judgement::Unusable),
            ("0", "9", Judgement::Unusable),
            ("", "", Judgement::Unknown),
            ("one", "29", Judgement::Unknown),
        ] {
            assert_eq!(judge(major, minor), judgement, "{major}.{minor}");
        }
    }
}
