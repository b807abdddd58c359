//! Patterns of filters: shell globs, and the regular expressions people put into `--filter name=`.
//!
//! Both are matched by one small backtracking matcher over a list of atoms. A full regex engine
//! would cost more at start-up than all of `ps`; this one knows `. [] () | * + ? ^ $ \`, without
//! groups to refer back to.

/// A regular expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Regex(Alternatives);

/// A text that is no pattern.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("error parsing regexp {pattern:?}: {reason}")]
pub(crate) struct PatternError {
    pattern: String,
    reason: &'static str,
}

type Sequence = Vec<Repeated>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Alternatives(Vec<Sequence>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Repeated {
    atom: Atom,
    min: usize,
    max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Atom {
    Char(char),
    Any,
    Start,
    End,
    Class { negated: bool, ranges: Vec<(char, char)> },
    Group(Alternatives),
}

/// How many steps a match may take; a hostile pattern ends here and matches nothing.
const MAX_STEPS: usize = 200_000;

impl Regex {
    /// Parses a regular expression.
    ///
    /// # Errors
    ///
    /// If a bracket is open at the end or a repetition has nothing to repeat.
    pub(crate) fn new(pattern: &str) -> Result<Self, PatternError> {
        let fail = |reason| PatternError { pattern: pattern.to_owned(), reason };
        let chars: Vec<char> = pattern.chars().collect();
        let mut parser = Parser { chars: &chars, at: 0, depth: 0 };
        let alternatives = parser.alternatives().map_err(fail)?;
        if parser.at < chars.len() {
            return Err(fail("unexpected )"));
        }
        Ok(Self(alternatives))
    }

    /// True if the expression matches somewhere in `text`.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let mut steps = MAX_STEPS;
        (0..=text.len()).any(|start| {
            let mut matcher = Matcher { text: &text, steps };
            let found = self.0.0.iter().any(|sequence| matcher.sequence(sequence, start, &mut |_, _| true));
            steps = matcher.steps;
            found
        })
    }
}

struct Parser<'a> {
    chars: &'a [char],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.chars.get(self.at).copied();
        self.at += 1;
        next
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn alternatives(&mut self) -> Result<Alternatives, &'static str> {
        let mut all = vec![Sequence::new()];
        while let Some(c) = self.peek() {
            match c {
                ')' => break,
                '|' => {
                    self.at += 1;
                    all.push(Sequence::new());
                }
                _ => {
                    let repeated = self.repeated()?;
                    all.last_mut().expect("begins with one").push(repeated);
                }
            }
        }
        Ok(Alternatives(all))
    }

    fn repeated(&mut self) -> Result<Repeated, &'static str> {
        let atom = match self.next() {
            Some('.') => Atom::Any,
            Some('^') => Atom::Start,
            Some('$') => Atom::End,
            Some('[') => self.class()?,
            Some('(') => self.group()?,
            Some('*' | '+' | '?') => return Err("missing argument to repetition operator"),
            Some('\\') => self.escape()?,
            Some(c) => Atom::Char(c),
            None => return Err("unexpected end"),
        };
        let (min, max) = match self.peek() {
            Some('*') => (0, usize::MAX),
            Some('+') => (1, usize::MAX),
            Some('?') => (0, 1),
            _ => return Ok(Repeated { atom, min: 1, max: 1 }),
        };
        self.at += 1;
        // Whether a repetition is lazy does not change whether there is a match.
        if self.peek() == Some('?') {
            self.at += 1;
        }
        Ok(Repeated { atom, min, max })
    }

    fn group(&mut self) -> Result<Atom, &'static str> {
        self.depth += 1;
        if self.depth > 50 {
            return Err("nested too deeply");
        }
        if self.chars[self.at..].starts_with(&['?', ':']) {
            self.at += 2;
        }
        let inner = self.alternatives()?;
        self.depth -= 1;
        if self.next() == Some(')') { Ok(Atom::Group(inner)) } else { Err("missing closing )") }
    }

    fn escape(&mut self) -> Result<Atom, &'static str> {
        let class = |negated, ranges: &[(char, char)]| Atom::Class { negated, ranges: ranges.to_vec() };
        let word = [('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
        let space = [('\t', '\r'), (' ', ' ')];
        Ok(match self.next() {
            None => return Err("trailing backslash at end of expression"),
            Some(c @ ('d' | 'D')) => class(c == 'D', &[('0', '9')]),
            Some(c @ ('w' | 'W')) => class(c == 'W', &word),
            Some(c @ ('s' | 'S')) => class(c == 'S', &space),
            Some('n') => Atom::Char('\n'),
            Some('t') => Atom::Char('\t'),
            Some(c) if c.is_ascii_alphanumeric() => return Err("invalid escape sequence"),
            Some(c) => Atom::Char(c),
        })
    }

    fn class(&mut self) -> Result<Atom, &'static str> {
        let negated = matches!(self.peek(), Some('^' | '!'));
        if negated {
            self.at += 1;
        }
        let mut ranges = Vec::new();
        loop {
            let low = match self.next() {
                None => return Err("missing closing ]"),
                Some(']') if !ranges.is_empty() => return Ok(Atom::Class { negated, ranges }),
                Some('\\') => self.next().ok_or("missing closing ]")?,
                Some(c) => c,
            };
            let is_range = self.peek() == Some('-') && self.chars.get(self.at + 1).is_some_and(|c| *c != ']');
            if is_range {
                self.at += 1;
            }
            let high = if is_range { self.next().ok_or("missing closing ]")? } else { low };
            if high < low {
                return Err("invalid character class range");
            }
            ranges.push((low, high));
        }
    }
}

struct Matcher<'a> {
    text: &'a [char],
    steps: usize,
}

/// What is to match behind what has matched.
type Rest<'r> = &'r mut dyn FnMut(&mut Matcher<'_>, usize) -> bool;

impl Matcher<'_> {
    fn sequence(&mut self, sequence: &[Repeated], at: usize, rest: Rest<'_>) -> bool {
        match sequence.split_first() {
            None => rest(self, at),
            Some((first, others)) => self.repeat(first, 0, at, &mut |matcher: &mut Matcher<'_>, at| {
                matcher.sequence(others, at, rest)
            }),
        }
    }

    /// Matches one more of `part` after `count` of them, as many as there are, and then `rest`.
    fn repeat(&mut self, part: &Repeated, count: usize, at: usize, rest: Rest<'_>) -> bool {
        if self.steps == 0 {
            return false;
        }
        self.steps -= 1;
        let more = count < part.max
            && self.atom(&part.atom, at, &mut |matcher: &mut Matcher<'_>, next| {
                // An empty match repeated would be repeated for ever.
                (next > at || part.max == 1) && matcher.repeat(part, count + 1, next, rest)
            });
        more || count >= part.min && rest(self, at)
    }

    fn atom(&mut self, atom: &Atom, at: usize, rest: Rest<'_>) -> bool {
        let here = self.text.get(at).copied();
        match atom {
            Atom::Start => at == 0 && rest(self, at),
            Atom::End => here.is_none() && rest(self, at),
            Atom::Group(Alternatives(all)) => all.iter().any(|sequence| self.sequence(sequence, at, rest)),
            Atom::Any => here.is_some() && rest(self, at + 1),
            Atom::Char(c) => here == Some(*c) && rest(self, at + 1),
            Atom::Class { negated, ranges } => {
                let inside = |c| ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                here.is_some_and(|c| inside(c) != *negated) && rest(self, at + 1)
            }
        }
    }
}

/// True if `text` as a whole matches the shell pattern `glob`: `*`, `?`, `[a-z]`, `\` before any.
///
/// With `within_parts`, `*` and `?` stop at `/`, as in Go's `path.Match`.
pub(crate) fn glob(glob: &str, text: &str, within_parts: bool) -> bool {
    let any = || match within_parts {
        true => Atom::Class { negated: true, ranges: vec![('/', '/')] },
        false => Atom::Any,
    };
    let chars: Vec<char> = glob.chars().collect();
    let mut parser = Parser { chars: &chars, at: 0, depth: 0 };
    let mut sequence = vec![Repeated { atom: Atom::Start, min: 1, max: 1 }];
    while let Some(c) = parser.next() {
        let (atom, min, max) = match c {
            '*' => (any(), 0, usize::MAX),
            '?' => (any(), 1, 1),
            '\\' => (Atom::Char(parser.next().unwrap_or('\\')), 1, 1),
            '[' => match parser.class() {
                Ok(class) => (class, 1, 1),
                Err(_) => return false,
            },
            _ => (Atom::Char(c), 1, 1),
        };
        sequence.push(Repeated { atom, min, max });
    }
    sequence.push(Repeated { atom: Atom::End, min: 1, max: 1 });
    let text: Vec<char> = text.chars().collect();
    Matcher { text: &text, steps: MAX_STEPS }.sequence(&sequence, 0, &mut |_, _| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions() {
        for (pattern, text, want) in [
            ("", "x", true),
            ("web", "my-web-1", true),
            ("^web", "my-web-1", false),
            ("^web$", "web", true),
            ("^web$", "web1", false),
            ("^(a|b)c$", "bc", true),
            ("^(a|b)c$", "cc", false),
            ("^(?:a|b)+$", "abba", true),
            ("a.c", "abc", true),
            ("a\\.c", "abc", false),
            ("^a*$", "aaaa", true),
            ("^a*b?$", "aaab", true),
            ("^[a-c]+[^0-9]$", "abcx", true),
            ("^[a-c]+[^0-9]$", "abc1", false),
            ("^\\w+-\\d{0}", "a-{0}", false),
            ("\\d+$", "web12", true),
            ("^[]a]$", "]", true),
            ("a|b", "xxb", true),
            ("(a*)*c", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", false),
            ("^äß?$", "ä", true),
        ] {
            assert_eq!(Regex::new(pattern).unwrap().is_match(text), want, "{pattern} {text}");
        }
        for bad in ["(", "[a", "*", "a)", "\\", "(?a", "[b-a]"] {
            assert!(Regex::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn globs() {
        for (pattern, text, want) in [
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("quay.io/*/app", "quay.io/team/app", true),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("a", "ab", false),
            ("[a", "a", false),
        ] {
            assert_eq!(glob(pattern, text, true), want, "{pattern} {text}");
        }
        assert!(glob("*", "a/b", false));
    }
}
