//! Phrase books: messages of one program in the words of another.
//!
//! ```text
//! book      ("network {} not there", "no network {0}")
//! message   network "net" not there                      ─▶ no network net
//! ```

/// A message with holes (`{}`), and what is said in its place: `{0}`, `{1}` … are what the holes held, without quotation
/// marks around it; `{*}` is the whole message.
pub(crate) type Phrase = (&'static str, &'static str);

/// What the first phrase of `book` that fits makes of `message`.
pub(crate) fn translated(book: &[Phrase], message: &str) -> Option<String> {
    book.iter().find_map(|(pattern, words)| Some(filled(words, &holes(pattern, message)?, message)))
}

/// What the holes of `pattern` hold in `message`: each reaches to where what follows it first stands, the last one to where
/// that ends the message.
pub(crate) fn holes<'m>(pattern: &str, message: &'m str) -> Option<Vec<&'m str>> {
    let mut literals = pattern.split("{}").peekable();
    let mut rest = message.strip_prefix(literals.next()?)?;
    let mut held = Vec::new();
    while let Some(literal) = literals.next() {
        let at = match literals.peek() {
            Some(_) => rest.find(literal)?,
            None => rest.strip_suffix(literal)?.len(),
        };
        held.push(&rest[..at]);
        rest = &rest[at + literal.len()..];
    }
    rest.is_empty().then_some(held)
}

fn filled(words: &str, held: &[&str], message: &str) -> String {
    let mut text = String::new();
    let mut rest = words;
    while let Some((before, (hole, after))) =
        rest.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    {
        text.push_str(before);
        let held = hole.parse().ok().and_then(|place: usize| held.get(place));
        text.push_str(held.map_or(message, |held| held.trim_matches('"')));
        rest = after;
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_fit_as_a_whole() {
        for (pattern, message, want) in [
            ("a", "a", Some(vec![])),
            ("a", "ab", None),
            ("{}", "", Some(vec![""])),
            ("a {} b", "a x b", Some(vec!["x"])),
            ("a {} b", "a x b b", Some(vec!["x b"])),
            ("a {} b", "a x c", None),
            ("{}: {}", "x: y: z", Some(vec!["x", "y: z"])),
            ("{}: {}!", "x: y", None),
            ("a{}", "a", Some(vec![""])),
        ] {
            assert_eq!(holes(pattern, message), want, "{pattern:?} {message:?}");
        }
    }

    #[test]
    fn the_first_phrase_that_fits_is_said() {
        let book = [("{} is {}", "{1}: {0}"), ("{}!", "<{*}>"), ("x {}", "never {0}{0}")];
        for (message, want) in [
            ("\"a\" is b", Some("b: a")),
            ("x is {0}", Some("{0}: x")),
            ("x!", Some("<x!>")),
            ("x y", Some("never yy")),
            ("y", None),
        ] {
            assert_eq!(translated(&book, message).as_deref(), want, "{message}");
        }
    }
}
