//! The text of a TOML file before it is parsed.

use std::borrow::Cow;

/// The same without lines that are a comment as a whole; each line keeps its number. What distributions put into
/// containers.conf and registries.conf is almost nothing else, and parsing it took longer than all the rest of a look at them.
pub(crate) fn without_comments(text: &str) -> Cow<'_, str> {
    // Within a string of several lines `#` is no comment.
    if text.contains("\"\"\"") || text.contains("'''") {
        return Cow::Borrowed(text);
    }
    let mut kept = String::new();
    for line in text.split_inclusive('\n') {
        kept.push_str(if line.trim_start().starts_with('#') { "\n" } else { line });
    }
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::without_comments;

    #[test]
    fn only_whole_lines_are_left_out() {
        for (text, want) in [
            ("", ""),
            ("# a\nb = 1 # c\n  # d\n[e]", "\nb = 1 # c\n\n[e]"),
            ("a = [\n  # b\n  1,\n]\n", "a = [\n\n  1,\n]\n"),
            ("a = \"\"\"\n# b\n\"\"\"", "a = \"\"\"\n# b\n\"\"\""),
            ("a = '''\n# b\n'''", "a = '''\n# b\n'''"),
            ("#", "\n"),
        ] {
            assert_eq!(without_comments(text), want, "{text:?}");
        }
    }
}
