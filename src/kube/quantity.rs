//! Kubernetes' quantities: `500m`, `128Mi`, `1e3`.

/// An amount, in billionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quantity(i128);

const NANO: i128 = 1_000_000_000;

impl Quantity {
    /// A whole number.
    pub(crate) fn whole(number: i128) -> Self {
        Self(number.saturating_mul(NANO))
    }

    /// Reads a quantity; `None` if it is none.
    ///
    /// # Source
    ///
    /// Kubernetes API, `resource.Quantity`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits_end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits_end);
        let (times, over) = factor(suffix)?;
        let (sign, digits) = match number.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let mut value: i128 = 0;
        let mut scale: i128 = 1;
        // What lies behind 24 places is less than a billionth of the smallest unit.
        let digits = whole.bytes().chain(fraction.bytes().take(24));
        for (place, digit) in digits.enumerate() {
            value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
            if place >= whole.len() {
                scale = scale.checked_mul(10)?;
            }
        }
        let nano = value.checked_mul(times)?.checked_mul(NANO)?;
        // Parts of a billionth count as one.
        let divisor = scale.checked_mul(over)?;
        Some(Self(sign * nano.checked_add(divisor - 1)?.div_euclid(divisor)))
    }

    pub(crate) fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// In thousandths, rounded up.
    pub(crate) fn milli(self) -> i64 {
        up(self.0, NANO / 1000)
    }

    /// As a whole number, rounded up.
    pub(crate) fn value(self) -> i64 {
        up(self.0, NANO)
    }

    /// How often `divisor` is in it, rounded up.
    pub(crate) fn divided_by(self, divisor: Self) -> i64 {
        up(self.0, divisor.0.max(1))
    }
}

fn up(amount: i128, unit: i128) -> i64 {
    let whole = amount.div_euclid(unit) + i128::from(amount.rem_euclid(unit) != 0);
    i64::try_from(whole).unwrap_or(if whole < 0 { i64::MIN } else { i64::MAX })
}

/// What a suffix multiplies by, and what it divides by.
fn factor(suffix: &str) -> Option<(i128, i128)> {
    let decimal = |power: u32| Some((10_i128.checked_pow(power)?, 1));
    let binary = |power: u32| Some((1_i128 << (10 * power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, NANO)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
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
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, milli, value) in [
            ("500m", 500, 1),
            ("0.5", 500, 1),
            (".5", 500, 1),
            ("1", 1000, 1),
            ("1e3", 1_000_000, 1000),
            ("15E-1", 1500, 2),
            ("100Mi", 104_857_600_000, 104_857_600),
            ("1.5Gi", 1_610_612_736_000, 1_610_612_736),
            ("129M", 129_000_000_000, 129_000_000),
            ("1n", 1, 1),
            ("250u", 1, 1),
            ("-2", -2000, -2),
            ("0", 0, 0),
        ] {
            let quantity = Quantity::parse(text).unwrap();
            assert_eq!((quantity.milli(), quantity.value()), (milli, value), "{text}");
        }
        for text in ["", "abc", "1.2.3", "5 Mi", "1KiB", "m", "1ee3", "--1", "1e999"] {
            assert_eq!(Quantity::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn division_rounds_up() {
        let of = |text| Quantity::parse(text).unwrap();
        assert_eq!(of("100Mi").divided_by(of("1Mi")), 100);
        assert_eq!(of("1500m").divided_by(of("1")), 2);
        assert_eq!(of("1500m").divided_by(of("1m")), 1500);
    }
}
