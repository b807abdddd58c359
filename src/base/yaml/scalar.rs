//! What a plain scalar means: YAML 1.2's core schema with what Go's yaml.v3 keeps of YAML 1.1, because
//! Compose files are written for that.

use crate::base::yaml::node::Kind;

/// The value of an unquoted word.
pub(crate) fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Kind::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Kind::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Kind::Float(f64::NAN),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Kind::Text(text.to_owned());
    }
    // Larger than any number here, but not in Go: it is its digits.
    if text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<i64>().is_err() && text.parse::<u64>().is_ok()
    {
        return Kind::Text(text.to_owned());
    }
    integer(text)
        .map(Kind::Int)
        .or_else(|| float(text).map(Kind::Float))
        .unwrap_or_else(|| Kind::Text(text.to_owned()))
}

/// `12`, `0x1f`, `0o17`, `017`, `0b11`, with underscores between digits.
fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = digits.replace('_', "");
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(hex) = lower.strip_prefix("0x") {
        (16, hex)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        (8, octal)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (2, binary)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    if digits.is_empty() || digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

/// `1.5`, `.5`, `1e3`; nothing that merely begins so.
fn float(text: &str) -> Option<f64> {
    let text = text.replace('_', "");
    let bytes = text.as_bytes();
    let allowed = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    if !bytes.iter().all(allowed) || !bytes.iter().any(u8::is_ascii_digit) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_mean_what_go_makes_of_them() {
        for (text, kind) in [
            ("", Kind::Null),
            ("~", Kind::Null),
            ("true", Kind::Bool(true)),
            ("yes", Kind::Text("yes".into())),
            ("on", Kind::Text("on".into())),
            ("12", Kind::Int(12)),
            ("-12", Kind::Int(-12)),
            ("0440", Kind::Int(288)),
            ("0o17", Kind::Int(15)),
            ("089", Kind::Float(89.0)),
            ("0x1F", Kind::Int(31)),
            ("1_000", Kind::Int(1000)),
            ("12345678901234567890", Kind::Text("12345678901234567890".into())),
            ("1.10", Kind::Float(1.1)),
            ("1e3", Kind::Float(1000.0)),
            ("1.2.3", Kind::Text("1.2.3".into())),
            ("22:22", Kind::Text("22:22".into())),
            ("-", Kind::Text("-".into())),
            (".", Kind::Text(".".into())),
            ("8080:80", Kind::Text("8080:80".into())),
            ("10m", Kind::Text("10m".into())),
        ] {
            assert_eq!(resolve(text), kind, "{text}");
        }
    }
}
