//! From text to logical lines: directives read, comments dropped, continuations joined, heredocs
//! attached. Each keeps where in the file its text comes from.

use crate::base::dockerfile::Directives;
use crate::base::dockerfile::error::{DockerfileError, Position};
use crate::base::dockerfile::instruction::Heredoc;

type Result<T> = std::result::Result<T, DockerfileError>;

/// Most bytes that a Dockerfile may have.
const MAX_BYTES: usize = 16 << 20;

/// One instruction's text.
#[derive(Clone, Debug, Default)]
pub(super) struct Logical {
    /// Without comments and continuation characters.
    pub(super) text: String,
    /// Where pieces of `text` come from: offset of the piece, line and column of its first character.
    pieces: Vec<(usize, Position)>,
    pub(super) heredocs: Vec<Heredoc>,
    pub(super) first_line: usize,
    pub(super) last_line: usize,
}

impl Logical {
    /// A line that stands by itself, like the trigger of an ONBUILD.
    pub(super) fn of(text: &str) -> Self {
        let start = Position { line: 1, column: 1 };
        Self {
            text: text.to_owned(),
            pieces: vec![(0, start)],
            heredocs: vec![],
            first_line: 1,
            last_line: 1,
        }
    }

    /// Where the character at byte `offset` of the text stands in the file.
    pub(super) fn position(&self, offset: usize) -> Position {
        let after = self.pieces.partition_point(|(start, _)| *start <= offset);
        let Some((start, at)) = self.pieces.get(after.saturating_sub(1)) else {
            return Position { line: self.first_line, column: 1 };
        };
        let offset = offset.min(self.text.len());
        let within = self.text.get(*start..offset).map_or(0, |text| text.chars().count());
        Position { line: at.line, column: at.column + within }
    }

    fn push(&mut self, text: &str, line: usize, column: usize) {
        self.pieces.push((self.text.len(), Position { line, column }));
        self.text.push_str(text);
    }
}

/// Reads the whole file.
pub(super) fn lex(text: &str) -> Result<(Directives, Vec<Logical>)> {
    if text.len() > MAX_BYTES {
        let at = Position { line: 1, column: 1 };
        return Err(DockerfileError::new(at, format!("the file is larger than {MAX_BYTES} bytes")));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.lines().collect();
    let directives = directives(&lines)?;
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim_start();
        if line.is_empty() || line.starts_with('#') {
            at += 1;
            continue;
        }
        let (mut logical, next) = join(&lines, at, directives.escape);
        at = attach_heredocs(&mut logical, &lines, next, directives.escape)?;
        // A lone continuation character makes no instruction.
        if !logical.text.trim().is_empty() {
            found.push(logical);
        }
    }
    Ok((directives, found))
}

/// The directives, which stand before everything else.
fn directives(lines: &[&str]) -> Result<Directives> {
    let mut found = Directives { syntax: None, escape: '\\', check: None };
    let mut seen = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(rest) = line.trim_start().strip_prefix('#') else { break };
        let Some((key, value)) = rest.split_once('=') else { break };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        let column = line.find('=').map_or(1, |at| line[..at].chars().count() + 2);
        let at = Position { line: number + 1, column };
        match key.as_str() {
            "syntax" => found.syntax = Some(value.to_owned()),
            "check" => found.check = Some(value.to_owned()),
            "escape" => {
                found.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => {
                        return Err(DockerfileError::new(
                            at,
                            format!("invalid escape token '{value}' does not match ` or \\"),
                        )
                        .hint("write # escape=\\ or # escape=`"));
                    }
                }
            }
            // Any other comment: what follows is no directive any more.
            _ => break,
        }
        if seen.contains(&key) {
            return Err(DockerfileError::new(at, format!("only one {key} parser directive can be used")));
        }
        seen.push(key);
    }
    Ok(found)
}

/// Joins the lines from `first` on as long as they are continued; tells where the next one begins.
fn join(lines: &[&str], first: usize, escape: char) -> (Logical, usize) {
    let mut logical = Logical { first_line: first + 1, ..Logical::default() };
    let mut at = first;
    while at < lines.len() {
        let line = lines[at];
        let is_first = at == first;
        let trimmed = line.trim_start();
        at += 1;
        // Within a continued instruction comments and empty lines are passed over.
        if !is_first && (trimmed.is_empty() || trimmed.starts_with('#')) {
            continue;
        }
        let text = if is_first { trimmed } else { line };
        let column = line[..line.len() - text.len()].chars().count() + 1;
        logical.last_line = at;
        match continued(text, escape) {
            Some(kept) => logical.push(kept, at, column),
            None => {
                logical.push(text.trim_end(), at, column);
                break;
            }
        }
    }
    (logical, at)
}

/// What a line has before its continuation character, if it ends with one that is not itself escaped.
pub(super) fn continued(line: &str, escape: char) -> Option<&str> {
    let kept = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    if kept.ends_with(escape) { None } else { Some(kept) }
}

/// Reads the heredocs that the instruction names; tells where the next instruction begins.
fn attach_heredocs(logical: &mut Logical, lines: &[&str], next: usize, escape: char) -> Result<usize> {
    let mut at = next;
    for (name, offset) in heredoc_names(&logical.text, escape) {
        let begun = at;
        let mut content = String::new();
        loop {
            let Some(line) = lines.get(at) else {
                let place = logical.position(offset);
                return Err(DockerfileError::new(place, format!("unterminated heredoc {}", name.name))
                    .hint(format!("a line with nothing but {} ends it", name.name)));
            };
            at += 1;
            let line = if name.strips_tabs { line.trim_start_matches('\t') } else { line };
            if line == name.name {
                break;
            }
            content.push_str(line);
            content.push('\n');
        }
        debug_assert!(at > begun, "the end of a heredoc is a line of its own");
        logical.heredocs.push(Heredoc { content, ..name });
        logical.last_line = at;
    }
    Ok(at)
}

/// The heredocs that RUN, COPY or ADD (possibly after ONBUILD) begin, with their offsets.
fn heredoc_names(text: &str, escape: char) -> Vec<(Heredoc, usize)> {
    let mut words = text.split_ascii_whitespace().map(str::to_ascii_uppercase);
    let takes = |word: Option<String>| matches!(word.as_deref(), Some("RUN" | "COPY" | "ADD"));
    let first = words.next();
    let is_trigger = first.as_deref() == Some("ONBUILD");
    let takes_some = takes(first) || is_trigger && takes(words.next());
    if !takes_some || !text.contains("<<") {
        return vec![];
    }
    split_words(text, escape)
        .into_iter()
        .filter_map(|(offset, word)| Some((heredoc_name(&word)?, offset)))
        .collect()
}

/// Reads `[fd]<<[-]NAME`; quotes around the name mean that variables stay as they are.
fn heredoc_name(word: &str) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (strips_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let quoted = rest.contains(['\'', '"']);
    let name: String = rest.chars().filter(|c| !matches!(c, '\'' | '"')).collect();
    (!name.is_empty()).then_some(Heredoc { name, content: String::new(), expand: !quoted, strips_tabs })
}

/// Splits at blanks that are neither quoted nor escaped; quotes and escapes stay in the words.
pub(super) fn split_words(text: &str, escape: char) -> Vec<(usize, String)> {
    let mut words: Vec<(usize, String)> = Vec::new();
    let mut current: Option<(usize, String)> = None;
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(current.take());
            continue;
        }
        let word = &mut current.get_or_insert_with(|| (at, String::new())).1;
        word.push(c);
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => quote = Some(c),
            // Nothing is special between single quotes, not even the escape character.
            (c, open) if c == escape && open != Some('\'') => {
                word.extend(characters.next().map(|(_, next)| next));
            }
            _ => {}
        }
    }
    words.extend(current);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(file: &str) -> Vec<String> {
        lex(file).unwrap().1.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn comments_and_continuations() {
        for (file, want) in [
            ("# a comment\n\nFROM a\n  # indented\n  RUN b\n", vec!["FROM a", "RUN b"]),
            ("RUN a \\\n  && b \\\n\n  # between\n  && c", vec!["RUN a   && b   && c"]),
            ("RUN echo \\\\\nFROM x", vec!["RUN echo \\\\", "FROM x"]),
            ("RUN a \\ \t\n b", vec!["RUN a  b"]),
            ("RUN a\r\nRUN b\r\n", vec!["RUN a", "RUN b"]),
            ("# escape=`\nRUN a `\n b\nRUN c:\\\nFROM d", vec!["RUN a  b", "RUN c:\\", "FROM d"]),
            ("\u{feff}FROM a", vec!["FROM a"]),
            ("RUN echo hello \\\n# comment\nworld", vec!["RUN echo hello world"]),
            ("FROM a \\", vec!["FROM a "]),
            ("\\\n", vec![]),
        ] {
            assert_eq!(texts(file), want, "{file:?}");
        }
    }

    #[test]
    fn directives_stand_first() {
        let read = |file| lex(file).map(|(directives, _)| directives);
        let found = read("# syntax=docker/dockerfile:1\n# escape = `\n#check=skip=all\nFROM a").unwrap();
        assert_eq!(found.syntax.as_deref(), Some("docker/dockerfile:1"));
        assert_eq!((found.escape, found.check.as_deref()), ('`', Some("skip=all")));
        assert_eq!(read("# About\n# escape=`\nFROM a").unwrap().escape, '\\', "after a comment");
        assert_eq!(read("FROM a\n# escape=`").unwrap().escape, '\\', "after an instruction");
        assert_eq!(read("# unknown=1\n# escape=`").unwrap().escape, '\\', "after an unknown one");
        assert_eq!(read("# escape=x").unwrap_err().at, Position { line: 1, column: 10 });
        assert!(read("# escape=`\n# escape=\\").is_err());
    }

    #[test]
    fn heredocs_are_read_in_order() {
        let file =
            "RUN <<EOF\n  a $b\nEOF\nCOPY <<\"one\" <<-two /x/\n1\none\n\t\t2\n\ttwo\nRUN echo 1<2 <<<x";
        let (_, lines) = lex(file).unwrap();
        let docs = |at: usize| -> Vec<(&str, &str, bool)> {
            lines[at].heredocs.iter().map(|d| (d.name.as_str(), d.content.as_str(), d.expand)).collect()
        };
        assert_eq!(docs(0), [("EOF", "  a $b\n", true)]);
        assert_eq!(docs(1), [("one", "1\n", false), ("two", "2\n", true)]);
        assert_eq!(docs(2), []);
        assert_eq!((lines[1].first_line, lines[1].last_line), (4, 8));
        let err = lex("FROM x\nRUN a <<EOF\nb").unwrap_err();
        assert_eq!(err.at, Position { line: 2, column: 7 });
        assert_eq!(texts("ENV a=<<EOF\nRUN b"), ["ENV a=<<EOF", "RUN b"]);
        assert_eq!(lex("ONBUILD RUN <<E\nx\nE").unwrap().1[0].heredocs.len(), 1);
    }

    #[test]
    fn places_are_those_of_the_file() {
        let (_, lines) = lex("FROM a\n  RUN b \\\n   c").unwrap();
        let at = |text: &str| lines[1].position(lines[1].text.find(text).unwrap());
        assert_eq!(at("RUN"), Position { line: 2, column: 3 });
        assert_eq!(at("b"), Position { line: 2, column: 7 });
        assert_eq!(at("c"), Position { line: 3, column: 4 });
    }

    #[test]
    fn words_keep_their_quotes() {
        let words = |text| split_words(text, '\\').into_iter().map(|(_, word)| word).collect::<Vec<_>>();
        assert_eq!(words(r#"a "b c" d\ e 'f\' g"#), ["a", "\"b c\"", "d\\ e", "'f\\'", "g"]);
        assert_eq!(words("\"open end"), ["\"open end"]);
        assert_eq!(words("end\\"), ["end\\"]);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "(?s)[ \t\n\\\\`#<'\"=a-zA-Z-]{0,80}") {
            if let Ok((_, lines)) = lex(&text) {
                for line in lines {
                    for (offset, _) in line.text.char_indices() {
                        line.position(offset);
                    }
                    split_words(&line.text, '\\');
                }
            }
        }
    }
}
