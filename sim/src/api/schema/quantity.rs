//! Quantities in the one form in which the API server writes them: `0.5` is `500m`, `1024Mi` is `1Gi`.
//!
//! In: text. Out: text, and numbers to compare. Pure.

use thiserror::Error;

/// Nano-units of one: the smallest step that a quantity has.
const NANO: i128 = 1_000_000_000;

/// The text is no quantity.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)]
pub(crate) struct InvalidQuantity;

/// Which family of suffixes the text used; the answer stays in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Suffixes {
    Decimal,
    Binary,
    Exponent,
}

/// The canonical text of a quantity.
pub(crate) fn canonical(text: &str) -> Result<String, InvalidQuantity> {
    let (nano, suffixes) = parse(text)?;
    if nano == 0 {
        return Ok("0".to_owned());
    }
    if suffixes == Suffixes::Binary && nano.abs() >= 1024 * NANO {
        return Ok(binary(nano));
    }
    let mut amount = nano;
    let mut exponent = -9;
    while amount % 1000 == 0 && exponent < 18 {
        amount /= 1000;
        exponent += 3;
    }
    Ok(match (suffixes, exponent) {
        (_, 0) => amount.to_string(),
        (Suffixes::Exponent, exponent) => format!("{amount}e{exponent}"),
        (_, exponent) => format!("{amount}{}", decimal_suffix(exponent)),
    })
}

/// The amount in nano-units, for comparing.
pub(crate) fn nano_units(text: &str) -> Result<i128, InvalidQuantity> {
    parse(text).map(|(nano, _)| nano)
}

fn binary(nano: i128) -> String {
    let up = i128::from(nano % NANO > 0);
    let mut amount = nano / NANO + up;
    let mut power = 0;
    while amount % 1024 == 0 && power < 6 {
        amount /= 1024;
        power += 1;
    }
    format!(
        "{amount}{}",
        ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]
    )
}

fn decimal_suffix(exponent: i32) -> &'static str {
    match exponent {
        -9 => "n",
        -6 => "u",
        -3 => "m",
        3 => "k",
        6 => "M",
        9 => "G",
        12 => "T",
        15 => "P",
        18 => "E",
        _ => "",
    }
}

fn parse(text: &str) -> Result<(i128, Suffixes), InvalidQuantity> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let negative = text.starts_with('-');
    let length = unsigned
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
        .count();
    let (digits, suffix) = unsigned.split_at(length);
    if text.len() - unsigned.len() > 1 || digits.len() > 40 {
        return Err(InvalidQuantity);
    }
    let (scale, suffixes) = scale(suffix)?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(InvalidQuantity);
    }
    let nano = nano_of(whole, fraction, scale).ok_or(InvalidQuantity)?;
    Ok((if negative { -nano } else { nano }, suffixes))
}

/// Digits times scale in nano-units, rounded up; amounts beyond what 64 bits hold are capped as Go caps them.
fn nano_of(whole: &str, fraction: &str, (multiplier, exponent): (i128, i32)) -> Option<i128> {
    const CAP: i128 = i64::MAX as i128 * NANO;
    let mut mantissa: i128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        let digit = byte.is_ascii_digit().then(|| i128::from(byte - b'0'))?;
        mantissa = mantissa.checked_mul(10)?.checked_add(digit)?;
    }
    let power = 9 + exponent - i32::try_from(fraction.len()).ok()?;
    let scaled = mantissa.checked_mul(multiplier);
    let nano = if power >= 0 {
        let factor = 10_i128.checked_pow(power.unsigned_abs());
        scaled
            .zip(factor)
            .and_then(|(scaled, factor)| scaled.checked_mul(factor))
            .unwrap_or(CAP)
    } else {
        let Some(factor) = 10_i128.checked_pow(power.unsigned_abs()) else {
            return Some(i128::from(mantissa > 0));
        };
        let scaled = scaled?;
        scaled / factor + i128::from(scaled % factor > 0)
    };
    Some(nano.min(CAP))
}

/// Multiplier, power of ten and family of a suffix.
fn scale(suffix: &str) -> Result<((i128, i32), Suffixes), InvalidQuantity> {
    let decimal = |exponent| Ok(((1, exponent), Suffixes::Decimal));
    let binary = |power: u32| Ok(((1024_i128.pow(power), 0), Suffixes::Binary));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        exponent => {
            let power = exponent
                .strip_prefix(['e', 'E'])
                .and_then(|power| power.parse::<i8>().ok());
            power
                .map(|power| ((1, i32::from(power)), Suffixes::Exponent))
                .ok_or(InvalidQuantity)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_come_back_as_a_real_server_writes_them() {
        for (given, wanted) in [
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1e3", "1e3"),
            ("2", "2"),
            ("1.5", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("1000m", "1"),
            ("1000", "1k"),
            ("100m", "100m"),
            ("64Mi", "64Mi"),
            ("0", "0"),
            ("1024", "1024"),
            ("0.5Ki", "512"),
            ("-1", "-1"),
            ("1E", "1E"),
            ("0.0000000001", "1n"),
            ("999999999999999999999", "9223372036854775807"),
        ] {
            assert_eq!(canonical(given).as_deref(), Ok(wanted), "{given}");
        }
        for wrong in ["", "m", "1 Gi", "abc", "1.2.3", "--1", "1ki", "1e", "."] {
            assert_eq!(canonical(wrong), Err(InvalidQuantity), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn canonical_text_stays_what_it_is(text in "[+-]?[0-9]{0,12}[.]?[0-9]{0,6}(|n|u|m|k|M|G|Ki|Mi|Gi|e3|E-2)") {
            if let Ok(once) = canonical(&text) {
                // As in Go, 0.57125Mi becomes 599000, whose own suffixes are decimal: 599k.
                let twice = canonical(&once);
                prop_assert_eq!(nano_units(&once), nano_units(twice.as_deref().unwrap()));
                prop_assert_eq!(canonical(twice.as_deref().unwrap()), twice);
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = canonical(&text);
        }
    }
}
