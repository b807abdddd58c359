//! Sizes in bytes as people write and read them.

/// Why a text is not a size.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SizeError {
    /// No number, or an unknown unit.
    #[error("invalid size: '{0}'")]
    Syntax(String),
    /// More than 2⁶⁴ − 1 bytes.
    #[error("size '{0}' is too large")]
    TooLarge(String),
}

/// Reads a size with binary units: `512m`, `1g`, `10MiB`, `1.5 GB`, `100`.
///
/// `k m g t p` are powers of 1024 in either case, with or without `b` or `ib` after them; a number
/// alone is bytes. Fractions of a byte are dropped.
///
/// # Source
///
/// Docker's `--memory` and its like.
pub(crate) fn parse(text: &str) -> Result<u64, SizeError> {
    parse_by(1024, text)
}

/// Reads a size with decimal units: `10k` is 10,000 bytes.
///
/// # Source
///
/// `units.FromHumanSize`, by which docker and podman read `--log-opt max-size`.
pub(crate) fn parse_decimal(text: &str) -> Result<u64, SizeError> {
    parse_by(1000, text)
}

fn parse_by(base: u64, text: &str) -> Result<u64, SizeError> {
    let bad = || SizeError::Syntax(text.to_owned());
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        _ => {
            let letter = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
            1 + ["k", "m", "g", "t", "p"].iter().position(|known| *known == letter).ok_or_else(bad)?
        }
    };
    let factor = base.pow(u32::try_from(power).unwrap_or(0));
    let too_large = || SizeError::TooLarge(text.to_owned());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = match whole {
        "" if fraction.is_empty() => return Err(bad()),
        "" => 0,
        _ => whole
            .parse()
            .map_err(|_| if whole.bytes().all(|b| b.is_ascii_digit()) { too_large() } else { bad() })?,
    };
    let whole = whole.checked_mul(factor).ok_or_else(too_large)?;
    // Twelve digits are exact enough for any unit, and their product fits.
    let fraction = match &fraction[..fraction.len().min(12)] {
        "" => 0,
        digits => {
            let value: u128 = digits.parse().map_err(|_| bad())?;
            let scaled = value * u128::from(factor) / 10_u128.pow(u32::try_from(digits.len()).unwrap_or(12));
            u64::try_from(scaled).map_err(|_| too_large())?
        }
    };
    whole.checked_add(fraction).ok_or_else(too_large)
}

/// A size in decimal units with `digits` significant digits: `1.998MB` with four, `2MB` with three.
pub(crate) fn human(bytes: u64, digits: usize) -> String {
    let (number, unit) = parts(bytes, digits);
    format!("{number}{unit}")
}

/// A size as `podman images` shows it: three digits, and a space before the unit.
pub(crate) fn human_spaced(bytes: u64) -> String {
    let (number, unit) = parts(bytes, 3);
    format!("{number} {unit}")
}

/// A size in binary units, as Go's units.BytesSize writes it: `1.5MiB`.
pub(crate) fn binary(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 || unit == "TiB" {
            // Four significant digits, without zeros at the end.
            let digits = if value >= 1000.0 {
                0
            } else if value >= 100.0 {
                1
            } else if value >= 10.0 {
                2
            } else {
                3
            };
            let text = format!("{value:.digits$}");
            let text =
                if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
            return format!("{text}{unit}");
        }
        value /= 1024.0;
    }
    format!("{bytes}B")
}

/// The number, rounded and without zeros at its end, and its unit.
fn parts(bytes: u64, digits: usize) -> (String, &'static str) {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    #[allow(clippy::cast_precision_loss)] // only `digits` of them are shown
    let mut value = bytes as f64;
    let mut unit = 0;
    loop {
        let before_point = if value < 10.0 {
            1
        } else if value < 100.0 {
            2
        } else {
            3
        };
        let number = format!("{value:.*}", digits.saturating_sub(before_point));
        // 999.9 kB with three digits is 1 MB and not 1000 kB.
        let rounded: f64 = number.parse().unwrap_or(value);
        if rounded < 1000.0 || unit + 1 == UNITS.len() {
            let number = match number.contains('.') {
                true => number.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => number,
            };
            return (number, UNITS[unit]);
        }
        value /= 1000.0;
        unit += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_binary_units() {
        for (bytes, want) in
            [(0, "0B"), (1023, "1023B"), (1536, "1.5KiB"), (64 << 20, "64MiB"), (2 << 30, "2GiB")]
        {
            assert_eq!(binary(bytes), want, "{bytes}");
        }
    }

    #[test]
    fn reads_binary_units() {
        for (text, want) in [
            ("0", 0),
            ("100", 100),
            ("100b", 100),
            ("1k", 1024),
            ("1K", 1024),
            ("1kb", 1024),
            ("1KiB", 1024),
            ("512m", 512 << 20),
            ("1g", 1 << 30),
            ("1.5g", 3 << 29),
            (".5k", 512),
            ("10 MiB", 10 << 20),
            ("2t", 2 << 40),
            ("1p", 1 << 50),
            ("1.0000000000000000000000001k", 1024),
        ] {
            assert_eq!(parse(text), Ok(want), "{text}");
        }
        for bad in ["", "m", "-1", "1x", "1.2.3", "1kk", "1  k", "k1", ".", "ib", "٣"] {
            assert_eq!(parse(bad), Err(SizeError::Syntax(bad.into())), "{bad}");
        }
        for huge in ["99999999999999999999", "99999999p", "18446744073709551615.9k"] {
            assert_eq!(parse(huge), Err(SizeError::TooLarge(huge.into())), "{huge}");
        }
    }

    #[test]
    fn prints_decimal_units() {
        for (bytes, four, three, spaced) in [
            (0, "0B", "0B", "0 B"),
            (999, "999B", "999B", "999 B"),
            (1000, "1kB", "1kB", "1 kB"),
            (10_699, "10.7kB", "10.7kB", "10.7 kB"),
            (21_578, "21.58kB", "21.6kB", "21.6 kB"),
            (1_997_979, "1.998MB", "2MB", "2 MB"),
            (2_131_000, "2.131MB", "2.13MB", "2.13 MB"),
            (999_999, "1MB", "1MB", "1 MB"),
            (123_456_789_012, "123.5GB", "123GB", "123 GB"),
            (u64::MAX, "18.45EB", "18.4EB", "18.4 EB"),
        ] {
            assert_eq!((human(bytes, 4).as_str(), human(bytes, 3).as_str()), (four, three));
            assert_eq!(human_spaced(bytes), spaced);
        }
    }
}
