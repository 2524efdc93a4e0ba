//! Which status codes have series of their own. Pure.

/// How many series an Ingress may have by code.
pub(super) const SERIES: usize = CODES.len() + CLASSES.len();
/// The position of 200.
pub(super) const OK: usize = 1;

/// Codes with a series of their own; others count as their class. Sorted.
const CODES: [(u16, &str); 29] = [
    (101, "101"),
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (204, "204"),
    (206, "206"),
    (301, "301"),
    (302, "302"),
    (303, "303"),
    (304, "304"),
    (307, "307"),
    (308, "308"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (409, "409"),
    (413, "413"),
    (422, "422"),
    (429, "429"),
    (431, "431"),
    (499, "499"),
    (500, "500"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
    (508, "508"),
];
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// Where a code counts, below [`SERIES`].
pub(super) fn position_of(code: u16) -> usize {
    match CODES.binary_search_by_key(&code, |&(known, _)| known) {
        Ok(position) => position,
        Err(_) => {
            let class = usize::from(code / 100).wrapping_sub(1);
            CODES.len() + class.min(CLASSES.len() - 1)
        }
    }
}

/// The value of the label at this position.
pub(super) fn name(position: usize) -> &'static str {
    match CODES.get(position) {
        Some((_, name)) => name,
        None => CLASSES[position - CODES.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_without_a_series_of_its_own_counts_as_its_class() {
        for (code, expected) in [
            (200, "200"),
            (418, "4xx"),
            (299, "2xx"),
            (599, "5xx"),
            (103, "1xx"),
            (700, "other"),
            (0, "other"),
        ] {
            assert_eq!(name(position_of(code)), expected, "{code}");
        }
        assert!(CODES.is_sorted());
        assert_eq!(position_of(200), OK);
    }
}
