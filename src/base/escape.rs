//! Makes text from images, registries and containers safe to show on a terminal.
//!
//! A label or an error message of a registry may hold sequences that move the cursor, retitle the
//! window or reorder what is read. On a terminal they are shown as `\x1b` and the like; into files
//! and pipes, and in JSON, the bytes go out unchanged.

use std::fmt;

/// Text with everything that a terminal would act on escaped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some((at, bad)) = rest.char_indices().find(|(_, c)| acts_on_terminal(*c)) {
            f.write_str(&rest[..at])?;
            match bad {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                _ if bad.is_ascii() => write!(f, "\\x{:02x}", u32::from(bad))?,
                _ => write!(f, "\\u{{{:x}}}", u32::from(bad))?,
            }
            rest = &rest[at + bad.len_utf8()..];
        }
        f.write_str(rest)
    }
}

/// True for control characters (C0, DEL, C1), line separators and marks that change the direction
/// of writing.
pub(crate) fn acts_on_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_a_terminal_would_obey() {
        for (text, want) in [
            ("plain äöü 漢字 🐳", "plain äöü 漢字 🐳"),
            ("", ""),
            ("\x1b[31mred", "\\x1b[31mred"),
            ("a\x07b\nc\r\td\x7f", "a\\x07b\\nc\\r\\td\\x7f"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("x\u{2066}y\u{2028}", "x\\u{2066}y\\u{2028}"),
        ] {
            assert_eq!(Escaped(text).to_string(), want);
        }
    }
}
