//! Variables in words: `$v`, `${v}` and what braces can do, quotes and escapes.
//!
//! | written | is |
//! |---|---|
//! | `${v:-word}` `${v-word}` | `word` if v is empty or unset / unset |
//! | `${v:+word}` `${v+word}` | `word` if v is set and not empty / set, else nothing |
//! | `${v:?text}` `${v?text}` | an error with `text` if v is empty or unset / unset |
//! | `${v#p}` `${v##p}` | v without the shortest / longest beginning that matches p |
//! | `${v%p}` `${v%%p}` | v without the shortest / longest end that matches p |
//! | `${v/p/r}` `${v//p/r}` | v with the first / every match of p replaced by r |

/// How words are read.
#[derive(Clone, Copy)]
pub(crate) struct Expander<'a> {
    /// The value of a variable, if it has one.
    pub(crate) lookup: &'a dyn Fn(&str) -> Option<String>,
    /// The file's escape character.
    pub(crate) escape: char,
}

impl std::fmt::Debug for Expander<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expander").field("escape", &self.escape).finish_non_exhaustive()
    }
}

/// Why a word cannot be read, and at which character of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExpandError {
    /// Counted in characters from the beginning of the word.
    pub(crate) offset: usize,
    pub(crate) message: String,
}

/// How deep words may stand in words.
const MAX_DEPTH: usize = 64;

impl Expander<'_> {
    /// Puts variables in, takes quotes and escapes away.
    pub(crate) fn word(&self, text: &str) -> Result<String, ExpandError> {
        let mut reader = Reader::new(self, text, false);
        let pieces = reader.until(None, 0)?;
        Ok(pieces.into_iter().map(|(c, _)| c).collect())
    }

    /// Like [`word`](Self::word), then splits at blanks that came from no quotes.
    pub(crate) fn words(&self, text: &str) -> Result<Vec<String>, ExpandError> {
        let mut reader = Reader::new(self, text, false);
        let mut words = Vec::new();
        let mut current: Option<String> = None;
        for (c, quoted) in reader.until(None, 0)? {
            if c.is_whitespace() && !quoted {
                words.extend(current.take());
            } else {
                current.get_or_insert_default().push(c);
            }
        }
        words.extend(current);
        Ok(words)
    }

    /// Puts variables into a document: quotes are ordinary characters, and a backslash is taken off whatever follows
    /// it. As with BuildKit it is a backslash there, whatever the file's escape character is.
    pub(crate) fn document(&self, text: &str) -> Result<String, ExpandError> {
        let how = Expander { escape: '\\', ..*self };
        let mut reader = Reader::new(&how, text, true);
        let pieces = reader.until(None, 0)?;
        Ok(pieces.into_iter().map(|(c, _)| c).collect())
    }
}

/// A word without its quotes, before its variables have values: `$v` and `${v:-word}` stay `$v`. One that cannot be read
/// stays as it is.
pub(crate) fn unquoted(text: &str, escape: char) -> String {
    let lookup = |name: &str| Some(format!("${name}"));
    Expander { lookup: &lookup, escape }.word(text).unwrap_or_else(|_| text.to_owned())
}

struct Reader<'a> {
    how: &'a Expander<'a>,
    text: Vec<char>,
    at: usize,
    /// Quotes mean nothing.
    raw_quotes: bool,
}

type Pieces = Vec<(char, bool)>;

impl<'a> Reader<'a> {
    fn new(how: &'a Expander<'a>, text: &str, raw_quotes: bool) -> Self {
        Self { how, text: text.chars().collect(), at: 0, raw_quotes }
    }

    fn fail<T>(&self, offset: usize, message: impl Into<String>) -> Result<T, ExpandError> {
        Err(ExpandError { offset: offset.min(self.text.len()), message: message.into() })
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += usize::from(c.is_some());
        c
    }

    /// Reads up to an unquoted `stop` (which is left) or the end. Each character says if it was quoted.
    fn until(&mut self, stop: Option<&[char]>, depth: usize) -> Result<Pieces, ExpandError> {
        let mut out = Vec::new();
        if depth > MAX_DEPTH {
            return self.fail(self.at, "too many words in words");
        }
        while let Some(c) = self.peek() {
            if stop.is_some_and(|stop| stop.contains(&c)) {
                break;
            }
            let begun = self.at;
            self.at += 1;
            match c {
                '\'' if !self.raw_quotes => self.single_quoted(&mut out, begun)?,
                '"' if !self.raw_quotes => self.double_quoted(&mut out, begun, depth)?,
                '$' => {
                    let value = self.variable(begun, depth)?;
                    out.extend(value.chars().map(|c| (c, false)));
                }
                c if c == self.how.escape => match self.peek() {
                    Some(next) => {
                        self.at += 1;
                        out.push((next, true));
                    }
                    None => out.push((c, true)),
                },
                c => out.push((c, false)),
            }
        }
        Ok(out)
    }

    fn single_quoted(&mut self, out: &mut Pieces, begun: usize) -> Result<(), ExpandError> {
        loop {
            match self.next() {
                Some('\'') => return Ok(()),
                Some(c) => out.push((c, true)),
                None => {
                    return self
                        .fail(begun, "unexpected end of statement while looking for matching single-quote");
                }
            }
        }
    }

    fn double_quoted(&mut self, out: &mut Pieces, begun: usize, depth: usize) -> Result<(), ExpandError> {
        loop {
            let at = self.at;
            match self.next() {
                Some('"') => return Ok(()),
                Some('$') => {
                    let value = self.variable(at, depth)?;
                    out.extend(value.chars().map(|c| (c, true)));
                }
                Some(c) if c == self.how.escape => match self.peek() {
                    Some(next @ ('"' | '$')) => {
                        self.at += 1;
                        out.push((next, true));
                    }
                    Some(next) if next == c => {
                        self.at += 1;
                        out.push((c, true));
                    }
                    _ => out.push((c, true)),
                },
                Some(c) => out.push((c, true)),
                None => {
                    return self
                        .fail(begun, "unexpected end of statement while looking for matching double-quote");
                }
            }
        }
    }

    /// The value of what follows a `$`.
    fn variable(&mut self, begun: usize, depth: usize) -> Result<String, ExpandError> {
        match self.peek() {
            Some('{') => {
                self.at += 1;
                self.braces(begun, depth)
            }
            Some(c) if is_name(c) || is_special(c) => {
                let name = self.name();
                Ok((self.how.lookup)(&name).unwrap_or_default())
            }
            _ => Ok("$".to_owned()),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        if let Some(c) = self.peek().filter(|c| is_special(*c)) {
            self.at += 1;
            name.push(c);
            return name;
        }
        // A name that begins with a digit is a number.
        if self.peek().is_some_and(|c| c.is_ascii_digit()) {
            while let Some(c) = self.peek().filter(char::is_ascii_digit) {
                self.at += 1;
                name.push(c);
            }
            return name;
        }
        while let Some(c) = self.peek().filter(|c| is_name(*c)) {
            self.at += 1;
            name.push(c);
        }
        name
    }

    /// What stands in braces; the `{` is read.
    fn braces(&mut self, begun: usize, depth: usize) -> Result<String, ExpandError> {
        let name = self.name();
        if name.is_empty() {
            return self.fail(begun, "syntax error: bad substitution");
        }
        let value = (self.how.lookup)(&name);
        match self.next() {
            Some('}') => Ok(value.unwrap_or_default()),
            Some(':') => match self.next() {
                Some(modifier @ ('-' | '+' | '?')) => {
                    let what = if value.is_some() { "empty" } else { "unset" };
                    let filled = value.filter(|value| !value.is_empty());
                    self.choose(&name, filled, (modifier, what), begun, depth)
                }
                Some(other) => self.fail(self.at - 1, format!("unsupported modifier (:{other})")),
                None => self.fail(begun, "syntax error: missing '}'"),
            },
            Some(modifier @ ('-' | '+' | '?')) => {
                self.choose(&name, value, (modifier, "unset"), begun, depth)
            }
            Some(c @ ('#' | '%')) => {
                let longest = self.peek() == Some(c);
                self.at += usize::from(longest);
                let pattern = self.operand(&['}'], begun, depth)?;
                Ok(trim(&value.unwrap_or_default(), &Glob::new(&pattern), c == '#', longest))
            }
            Some('/') => {
                let all = self.peek() == Some('/');
                self.at += usize::from(all);
                let mut pattern = self.until(Some(&['/', '}']), depth + 1)?;
                if pattern.is_empty() && self.peek() == Some('/') {
                    // `${v//}`… is no pattern; but a `/` that is escaped is one.
                    pattern = vec![];
                }
                let replacement = match self.next() {
                    Some('/') => self.operand(&['}'], begun, depth)?,
                    Some('}') => vec![],
                    _ => return self.fail(begun, "syntax error: missing '}'"),
                };
                let replacement: String = replacement.into_iter().map(|(c, _)| c).collect();
                Ok(replace(&value.unwrap_or_default(), &Glob::new(&pattern), &replacement, all))
            }
            Some(other) => self.fail(self.at - 1, format!("unsupported modifier ({other}) in substitution")),
            None => self.fail(begun, "syntax error: missing '}'"),
        }
    }

    /// A word up to the closing brace, which is read too.
    fn operand(&mut self, stop: &[char], begun: usize, depth: usize) -> Result<Pieces, ExpandError> {
        let word = self.until(Some(stop), depth + 1)?;
        match self.next() {
            Some(_) => Ok(word),
            None => self.fail(begun, "syntax error: missing '}'"),
        }
    }

    fn choose(
        &mut self,
        name: &str,
        value: Option<String>,
        (modifier, what): (char, &str),
        begun: usize,
        depth: usize,
    ) -> Result<String, ExpandError> {
        let word: String = self.operand(&['}'], begun, depth)?.into_iter().map(|(c, _)| c).collect();
        match (modifier, value) {
            ('-', Some(value)) | ('?', Some(value)) => Ok(value),
            ('-', None) => Ok(word),
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            _ if word.is_empty() => self.fail(begun, format!("{name}: is not allowed to be {what}")),
            _ => self.fail(begun, format!("{name}: {word}")),
        }
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The shell's own variables, which no build has.
fn is_special(c: char) -> bool {
    matches!(c, '@' | '*' | '#' | '?' | '-' | '!' | '$')
}

/// A pattern of the shell: `*` and `?`; quoted characters mean themselves.
struct Glob(Vec<Atom>);

#[derive(Clone, Copy, PartialEq)]
enum Atom {
    Any,
    One,
    Is(char),
}

impl Glob {
    fn new(pieces: &Pieces) -> Self {
        Self(
            pieces
                .iter()
                .map(|&(c, quoted)| match c {
                    '*' if !quoted => Atom::Any,
                    '?' if !quoted => Atom::One,
                    c => Atom::Is(c),
                })
                .collect(),
        )
    }

    /// Does the whole of `text` match? Linear but for backtracking to the last `*`.
    fn is_match(&self, text: &[char]) -> bool {
        let (mut p, mut t) = (0, 0);
        let mut back: Option<(usize, usize)> = None;
        while t < text.len() {
            match self.0.get(p) {
                Some(Atom::Any) => {
                    back = Some((p, t));
                    p += 1;
                    continue;
                }
                Some(Atom::One) => {
                    (p, t) = (p + 1, t + 1);
                    continue;
                }
                Some(Atom::Is(c)) if *c == text[t] => {
                    (p, t) = (p + 1, t + 1);
                    continue;
                }
                _ => {}
            }
            let Some((star, from)) = back else { return false };
            back = Some((star, from + 1));
            (p, t) = (star + 1, from + 1);
        }
        self.0[p..].iter().all(|atom| *atom == Atom::Any)
    }
}

fn trim(value: &str, pattern: &Glob, from_start: bool, longest: bool) -> String {
    let text: Vec<char> = value.chars().collect();
    let mut lengths: Vec<usize> = (0..=text.len()).collect();
    if longest {
        lengths.reverse();
    }
    for length in lengths {
        let (cut, rest) = if from_start {
            text.split_at(length)
        } else {
            let (rest, cut) = text.split_at(text.len() - length);
            (cut, rest)
        };
        if pattern.is_match(cut) {
            return rest.iter().collect();
        }
    }
    value.to_owned()
}

fn replace(value: &str, pattern: &Glob, replacement: &str, all: bool) -> String {
    let text: Vec<char> = value.chars().collect();
    let mut out = String::new();
    let mut at = 0;
    let mut done = pattern.0.is_empty();
    while at < text.len() {
        let end = if done {
            None
        } else {
            (at + 1..=text.len()).rev().find(|end| pattern.is_match(&text[at..*end]))
        };
        match end {
            Some(end) => {
                out.push_str(replacement);
                at = end;
                done = !all;
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "v" => "value",
            "empty" => "",
            "path" => "/usr/local/bin/tool.tar.gz",
            "string" => "foobarbaz",
            "two" => "a b",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn word(text: &str) -> Result<String, ExpandError> {
        Expander { lookup: &lookup, escape: '\\' }.word(text)
    }

    #[test]
    fn every_form_of_the_reference() {
        for (text, want) in [
            ("$v", "value"),
            ("${v}", "value"),
            ("${v}_x$v", "value_xvalue"),
            ("$v_x", ""),
            ("\\$v", "$v"),
            ("\\${v}", "${v}"),
            ("${u:-word}", "word"),
            ("${empty:-word}", "word"),
            ("${empty-word}", ""),
            ("${v:-word}", "value"),
            ("${v:+word}", "word"),
            ("${empty:+word}", ""),
            ("${empty+word}", "word"),
            ("${u:+word}", ""),
            ("${v:?}", "value"),
            ("${u:-${v}/$v}", "value/value"),
            ("${u:-\"a } b\"}", "a } b"),
            ("${string#f*b}", "arbaz"),
            ("${string##f*b}", "az"),
            ("${string%b*}", "foobar"),
            ("${string%%b*}", "foo"),
            ("${path##*/}", "tool.tar.gz"),
            ("${path%/*}", "/usr/local/bin"),
            ("${path%.*}", "/usr/local/bin/tool.tar"),
            ("${string/ba/fo}", "fooforbaz"),
            ("${string//ba/fo}", "fooforfoz"),
            ("${string/ba}", "foorbaz"),
            ("${string//b?/X}", "fooXrXz"),
            ("${path//\\//:}", ":usr:local:bin:tool.tar.gz"),
            ("'$v'", "$v"),
            ("\"$v\"", "value"),
            ("\"\\$v \\\" \\n\"", "$v \" \\n"),
            ("a\\ b", "a b"),
            ("'it''s'", "its"),
            ("$", "$"),
            ("a$ b", "a$ b"),
            ("$1x", "x"),
            ("$@", ""),
            ("end\\", "end\\"),
            ("", ""),
            ("ünï$v", "ünïvalue"),
        ] {
            assert_eq!(word(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, offset) in [
            ("ab'c", 2),
            ("\"abc", 0),
            ("x${v", 1),
            ("${", 0),
            ("${}", 0),
            ("${v:=x}", 4),
            ("${v^}", 3),
            ("${u:?}", 0),
            ("a${u?gone}", 1),
            ("${u:-${v}", 0),
        ] {
            assert_eq!(word(text).unwrap_err().offset, offset, "{text}");
        }
        assert!(word("${u:?gone}").unwrap_err().message.contains("u: gone"));
        assert!(word(&"${u:-".repeat(10_000)).is_err(), "deep, not a full stack");
    }

    #[test]
    fn quotes_go_before_variables_come() {
        for (text, want) in
            [("'a,b=c'", "a,b=c"), ("\"a,b=$c\"", "a,b=$c"), ("a=\\'${c:-x}", "a='$c"), ("'open", "'open")]
        {
            assert_eq!(unquoted(text, '\\'), want, "{text}");
        }
    }

    #[test]
    fn splitting_and_documents() {
        let how = Expander { lookup: &lookup, escape: '\\' };
        assert_eq!(how.words("80 $two \"$two\" 'x y'").unwrap(), ["80", "a", "b", "a b", "x y"]);
        let document = "it's \"$v\" \\$v a\\.b \\\\ `x\\\n\n";
        assert_eq!(how.document(document).unwrap(), "it's \"value\" $v a.b \\ `x\n\n");
        let backtick = Expander { lookup: &lookup, escape: '`' };
        assert_eq!(backtick.document(document).unwrap(), "it's \"value\" $v a.b \\ `x\n\n");
        assert_eq!(backtick.word("c:\\dir`$v").unwrap(), "c:\\dir$v");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[$\\{\\}:/#%?*+'\"\\\\a-cv -]{0,40}") {
            let how = Expander { lookup: &lookup, escape: '\\' };
            how.word(&text).ok();
            how.words(&text).ok();
            how.document(&text).ok();
        }
    }
}
