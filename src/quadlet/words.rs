//! Words within a unit's values (systemd.syntax(7), "Quoting").

/// What a backslash is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escapes {
    /// The beginning of an escape.
    Undone,
    /// A character as any other.
    Kept,
}

/// The words of a value. Nothing where it holds a bad escape, or where a quote is not closed and
/// backslashes are kept.
pub(crate) fn split(value: &str, escapes: Escapes) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (_, '\\') if escapes == Escapes::Undone => {
                let (c, after) = unescape(rest.as_str())?;
                word.get_or_insert_default().push(c);
                rest = after.chars();
            }
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t' | '\n' | '\r') => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    // A quote with nothing behind it is no word.
    words.extend(word.take().filter(|word| quote.is_none() || !word.is_empty()));
    (quote.is_none() || escapes == Escapes::Undone).then_some(words)
}

/// The character that an escape stands for, and what follows it. `text` begins behind the backslash.
fn unescape(text: &str) -> Option<(char, &str)> {
    let first = text.chars().next()?;
    let simple = match first {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        '\\' => '\\',
        '"' => '"',
        '\'' => '\'',
        's' => ' ',
        'x' => return number(&text[1..], 2, 16),
        'u' => return number(&text[1..], 4, 16),
        'U' => return number(&text[1..], 8, 16),
        '0'..='7' => return number(text, 3, 8).filter(|(c, _)| u32::from(*c) < 256),
        _ => return None,
    };
    Some((simple, &text[1..]))
}

/// A character by its number, which is never zero.
fn number(text: &str, digits: usize, radix: u32) -> Option<(char, &str)> {
    let (digits, rest) = text.split_at_checked(digits)?;
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let number = u32::from_str_radix(digits, radix).ok().filter(|number| *number != 0)?;
    Some((char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER), rest))
}

/// A word as it stands in a command line of a unit. Specifiers and variables are left as they are: they are
/// the author's.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '\'' | '\\');
    // A bare semicolon would end the command.
    if !word.is_empty() && word != ";" && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '\x07' => text.push_str("\\a"),
            '\x08' => text.push_str("\\b"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\x0b' => text.push_str("\\v"),
            '\x0c' => text.push_str("\\f"),
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_ascii_control() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// A command line of such words.
pub(crate) fn command_line(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_values() {
        for (value, escapes, want) in [
            (r#"a  'b c' "d\"e" f\x20g"#, Escapes::Undone, Some(vec!["a", "b c", "d\"e", "f g"])),
            (r#"j"k l"m n'o'p"#, Escapes::Undone, Some(vec!["jk lm", "nop"])),
            ("\"open a", Escapes::Undone, Some(vec!["open a"])),
            ("a \"", Escapes::Undone, Some(vec!["a"])),
            ("a '' b", Escapes::Undone, Some(vec!["a", "", "b"])),
            (r"a \q", Escapes::Undone, None),
            (r"a\", Escapes::Undone, None),
            (r"\101\u00e9\U00000042\s\ud800", Escapes::Undone, Some(vec!["Aé\u{42} \u{fffd}"])),
            (r"\000", Escapes::Undone, None),
            (r"\400", Escapes::Undone, None),
            (r"\x4é", Escapes::Undone, None),
            (r"a \q 'b c'", Escapes::Kept, Some(vec!["a", "\\q", "b c"])),
            ("\"open a", Escapes::Kept, None),
            ("  ", Escapes::Kept, Some(vec![])),
        ] {
            let want = want.map(|words| words.into_iter().map(str::to_owned).collect());
            assert_eq!(split(value, escapes), want, "{value}");
        }
    }

    #[test]
    fn words_of_command_lines() {
        for (word, want) in [
            ("%t/%N.cid", "%t/%N.cid"),
            ("$$X;#", "$$X;#"),
            (";", "\";\""),
            (";;", ";;"),
            ("a b", "\"a b\""),
            ("", "\"\""),
            ("it's", "\"it's\""),
            ("a\"\\\t\u{1}", "\"a\\\"\\\\\\t\\x01\""),
            ("\u{80}", "\"\\u0080\""),
        ] {
            assert_eq!(quoted(word), want);
        }
    }
}
