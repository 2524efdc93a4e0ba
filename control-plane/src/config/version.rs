//! What a program calls itself: in `--version`, the first line of the log, `tiergate_build_info`, and towards the API
//! server. Pure.
//!
//! In: what the build was told, and the version of the package. Out: one of the two. Each tier asks for it in its own
//! `main.rs`, at compile time, so that a build of another version compiles nothing but the two programs again.

/// Bytes of a version: it becomes the value of a label, and those have at most 63.
const BYTES_MAX: usize = 63;

/// `given` (the variable `TIERGATE_VERSION` of the build) unless it is absent or empty, else `package`.
///
/// # Panics
/// When the version could not be an image tag, a label or part of a `User-Agent`. In a constant this ends the build.
#[must_use]
pub const fn version(given: Option<&'static str>, package: &'static str) -> &'static str {
    let version = match given {
        Some(given) if !given.is_empty() => given,
        _ => package,
    };
    let bytes = version.as_bytes();
    assert!(
        !bytes.is_empty() && bytes.len() <= BYTES_MAX,
        "TIERGATE_VERSION has more than 63 bytes"
    );
    let mut at = 0;
    while at < bytes.len() {
        assert!(
            bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'.' | b'-' | b'_' | b'+'),
            "TIERGATE_VERSION has another byte than letters, digits, '.', '-', '_' and '+'"
        );
        at += 1;
    }
    version
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn what_the_build_was_told_goes_before_the_package() {
        for (given, expected) in [
            (None, "0.1.0"),
            (Some(""), "0.1.0"),
            (Some("next"), "next"),
            (Some("1.2.3-rc.1+5f2c_a"), "1.2.3-rc.1+5f2c_a"),
        ] {
            assert_eq!(version(given, "0.1.0"), expected, "{given:?}");
        }
    }

    #[test]
    fn what_could_be_no_tag_label_or_header_ends_the_build() {
        let long: &'static str = "7".repeat(64).leak();
        for given in ["a b", "a\"b", "a/b", "a\nb", "é", long] {
            let refused = std::panic::catch_unwind(|| version(Some(given), "0.1.0"));
            assert!(refused.is_err(), "{given:?}");
        }
    }
}
