//! Patterns of filters: shell globs, and the regular expressions people put into `--filter name=`.
//!
//! Both are matched by one small backtracking matcher over a list of atoms. A full regex engine
//! would cost more at start-up than all of `ps`; this one knows `. [] () | * + ? {} ^ $ \`, the classes of Go's
//! regexp but those of Unicode, and `(?i)` at the beginning. What it does not know is an error.

/// A regular expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Regex {
    alternatives: Alternatives,
    /// Small and capital letters are the same: `(?i)`.
    fold: bool,
}

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
    /// `\b`: between a word and what is none; `\B` where it is false.
    Boundary(bool),
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    Group(Alternatives),
}

/// How often something may be asked for, as in Go.
const MAX_REPEAT: usize = 1000;

/// How many steps a match may take; a hostile pattern ends here and matches nothing.
const MAX_STEPS: usize = 200_000;

impl Regex {
    /// Parses a regular expression.
    ///
    /// # Errors
    ///
    /// If a bracket is open at the end, a repetition has nothing to repeat, or something is not known.
    pub(crate) fn new(pattern: &str) -> Result<Self, PatternError> {
        let fail = |reason| PatternError { pattern: pattern.to_owned(), reason };
        let fold = pattern.starts_with("(?i)");
        let chars: Vec<char> = pattern.chars().skip(if fold { 4 } else { 0 }).collect();
        let mut parser = Parser { chars: &chars, at: 0, depth: 0 };
        let alternatives = parser.alternatives().map_err(fail)?;
        if parser.at < chars.len() {
            return Err(fail("unexpected )"));
        }
        Ok(Self { alternatives, fold })
    }

    /// True if the expression matches somewhere in `text`.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let mut steps = MAX_STEPS;
        (0..=text.len()).any(|start| {
            let mut matcher = Matcher { text: &text, steps, fold: self.fold };
            let found = self
                .alternatives
                .0
                .iter()
                .any(|sequence| matcher.sequence(sequence, start, &mut |_, _| true));
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
            Some('[') => self.class(false)?,
            Some('(') => self.group()?,
            Some('{') if self.counts()?.is_some() => return Err("missing argument to repetition operator"),
            Some('*' | '+' | '?') => return Err("missing argument to repetition operator"),
            Some('\\') => self.escape()?,
            Some(c) => Atom::Char(c),
            None => return Err("unexpected end"),
        };
        let counts = match self.next() {
            Some('*') => Some((0, usize::MAX)),
            Some('+') => Some((1, usize::MAX)),
            Some('?') => Some((0, 1)),
            Some('{') => self.counts()?,
            _ => None,
        };
        let Some((min, max)) = counts else {
            // It is the next one's.
            self.at -= 1;
            return Ok(Repeated { atom, min: 1, max: 1 });
        };
        // Whether a repetition is lazy does not change whether there is a match.
        if self.peek() == Some('?') {
            self.at += 1;
        }
        Ok(Repeated { atom, min, max })
    }

    /// What stands behind `{`: `n}`, `n,}` or `n,m}`. Anything else is nothing special, as in Go.
    fn counts(&mut self) -> Result<Option<(usize, usize)>, &'static str> {
        let rest = &self.chars[self.at..];
        let Some(end) = rest.iter().position(|c| *c == '}') else { return Ok(None) };
        let text: String = rest[..end].iter().collect();
        let (min, max) = text.split_once(',').unwrap_or((&text, &text));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(min) || !(is_number(max) || max.is_empty()) {
            return Ok(None);
        }
        self.at += end + 1;
        let number = |text: &str| text.parse().ok().filter(|count| *count <= MAX_REPEAT);
        let bad = "invalid repeat count";
        let min: usize = number(min).ok_or(bad)?;
        let max = if max.is_empty() { usize::MAX } else { number(max).ok_or(bad)? };
        if max < min { Err(bad) } else { Ok(Some((min, max))) }
    }

    fn group(&mut self) -> Result<Atom, &'static str> {
        self.depth += 1;
        if self.depth > 50 {
            return Err("nested too deeply");
        }
        if self.chars[self.at..].starts_with(&['?', ':']) {
            self.at += 2;
        } else if self.peek() == Some('?') {
            return Err("invalid or unsupported Perl syntax");
        }
        let inner = self.alternatives()?;
        self.depth -= 1;
        if self.next() == Some(')') { Ok(Atom::Group(inner)) } else { Err("missing closing )") }
    }

    fn escape(&mut self) -> Result<Atom, &'static str> {
        let c = self.next().ok_or("trailing backslash at end of expression")?;
        Ok(match c {
            'b' | 'B' => Atom::Boundary(c == 'b'),
            'A' => Atom::Start,
            'z' => Atom::End,
            _ => match perl_class(c) {
                Some((negated, ranges)) => Atom::Class { negated, ranges: ranges.to_vec() },
                None => Atom::Char(escaped(c)?),
            },
        })
    }

    /// What stands behind `[`. Those of globs are plainer: they know `!` besides `^`, and no names of classes.
    fn class(&mut self, of_glob: bool) -> Result<Atom, &'static str> {
        let negated = self.peek() == Some('^') || of_glob && self.peek() == Some('!');
        if negated {
            self.at += 1;
        }
        let mut ranges = Vec::new();
        loop {
            let low = match self.next() {
                None => return Err("missing closing ]"),
                Some(']') if !ranges.is_empty() => return Ok(Atom::Class { negated, ranges }),
                Some('[') if !of_glob && self.peek() == Some(':') => {
                    if self.posix_class(&mut ranges)? {
                        continue;
                    }
                    '['
                }
                Some('\\') => {
                    let c = self.next().ok_or("missing closing ]")?;
                    if let (false, Some((negated, class))) = (of_glob, perl_class(c)) {
                        push_class(&mut ranges, class, negated);
                        continue;
                    }
                    if of_glob { c } else { escaped(c)? }
                }
                Some(c) => c,
            };
            let is_range = self.peek() == Some('-') && self.chars.get(self.at + 1).is_some_and(|c| *c != ']');
            if is_range {
                self.at += 1;
            }
            let high = match is_range.then(|| self.next()).flatten() {
                None => low,
                Some('\\') if !of_glob => escaped(self.next().ok_or("missing closing ]")?)?,
                Some(c) => c,
            };
            if high < low {
                return Err("invalid character class range");
            }
            ranges.push((low, high));
        }
    }

    /// Takes `:alpha:]` or `:^alpha:]`; false if it is nothing of the kind.
    fn posix_class(&mut self, ranges: &mut Vec<(char, char)>) -> Result<bool, &'static str> {
        let rest: String = self.chars[self.at + 1..].iter().take(12).collect();
        let Some((name, _)) = rest.split_once(":]") else { return Ok(false) };
        let plain = name.strip_prefix('^').unwrap_or(name);
        let (_, class) =
            POSIX.iter().find(|(known, _)| *known == plain).ok_or("invalid character class range")?;
        push_class(ranges, class, plain != name);
        self.at += name.chars().count() + 3;
        Ok(true)
    }
}

/// Ranges of characters, in their order.
type Ranges = &'static [(char, char)];

const WORD: Ranges = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];

/// The classes that have names, of ASCII as in Go.
const POSIX: &[(&str, Ranges)] = &[
    ("alnum", &[('0', '9'), ('A', 'Z'), ('a', 'z')]),
    ("alpha", &[('A', 'Z'), ('a', 'z')]),
    ("ascii", &[('\0', '\x7f')]),
    ("blank", &[('\t', '\t'), (' ', ' ')]),
    ("cntrl", &[('\0', '\x1f'), ('\x7f', '\x7f')]),
    ("digit", &[('0', '9')]),
    ("graph", &[('!', '~')]),
    ("lower", &[('a', 'z')]),
    ("print", &[(' ', '~')]),
    ("punct", &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')]),
    ("space", &[('\t', '\r'), (' ', ' ')]),
    ("upper", &[('A', 'Z')]),
    ("word", WORD),
    ("xdigit", &[('0', '9'), ('A', 'F'), ('a', 'f')]),
];

/// The class that `\c` stands for, and whether what is not in it is meant.
fn perl_class(c: char) -> Option<(bool, Ranges)> {
    let ranges: Ranges = match c.to_ascii_lowercase() {
        'd' => &[('0', '9')],
        'w' => WORD,
        's' => &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')],
        _ => return None,
    };
    Some((c.is_ascii_uppercase(), ranges))
}

/// The character that `\c` stands for.
fn escaped(c: char) -> Result<char, &'static str> {
    Ok(match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'f' => '\x0c',
        'v' => '\x0b',
        'a' => '\x07',
        _ if c.is_ascii_alphanumeric() => return Err("invalid escape sequence"),
        _ => c,
    })
}

/// Adds a class, or all that is not in it.
fn push_class(ranges: &mut Vec<(char, char)>, class: Ranges, negated: bool) {
    if !negated {
        return ranges.extend(class);
    }
    let mut next = Some('\0');
    for (low, high) in class {
        let before = char::from_u32(u32::from(*low).wrapping_sub(1));
        if let (Some(first), Some(last)) = (next, before)
            && first <= last
        {
            ranges.push((first, last));
        }
        next = char::from_u32(u32::from(*high) + 1);
    }
    ranges.extend(next.map(|first| (first, char::MAX)));
}

struct Matcher<'a> {
    text: &'a [char],
    steps: usize,
    fold: bool,
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
                match next > at || part.max == 1 {
                    true => matcher.repeat(part, count + 1, next, rest),
                    // An empty match repeated would be repeated for ever; it is as many as there must be.
                    false => count < part.min && rest(matcher, next),
                }
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
            Atom::Boundary(wanted) => {
                let is_word = |c: Option<&char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_');
                let before = at.checked_sub(1).and_then(|at| self.text.get(at));
                (is_word(before) != is_word(self.text.get(at))) == *wanted && rest(self, at)
            }
            Atom::Char(c) => {
                let same = |here: char| here == *c || self.fold && here.to_lowercase().eq(c.to_lowercase());
                here.is_some_and(same) && rest(self, at + 1)
            }
            Atom::Class { negated, ranges } => {
                let within = |c| ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                let inside = |c: char| {
                    let other = || c.to_lowercase().chain(c.to_uppercase()).any(within);
                    within(c) || self.fold && other()
                };
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
            '[' => match parser.class(true) {
                Ok(class) => (class, 1, 1),
                Err(_) => return false,
            },
            _ => (Atom::Char(c), 1, 1),
        };
        sequence.push(Repeated { atom, min, max });
    }
    sequence.push(Repeated { atom: Atom::End, min: 1, max: 1 });
    let text: Vec<char> = text.chars().collect();
    Matcher { text: &text, steps: MAX_STEPS, fold: false }.sequence(&sequence, 0, &mut |_, _| true)
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
            ("^\\w+-\\d{0}$", "a-", true),
            ("^\\w+-\\d{0}$", "a-{0}", false),
            ("^a{2}$", "aa", true),
            ("^a{2}$", "aaa", false),
            ("^a{2,}$", "aaaa", true),
            ("^a{2,}$", "a", false),
            ("^(ab){1,2}?c$", "ababc", true),
            ("^(ab){1,2}c$", "abababc", false),
            ("^(a?){3}$", "a", true),
            ("^(a*)+b$", "b", true),
            ("^a{x}$", "a{x}", true),
            ("^a{,2}$", "a{,2}", true),
            ("^[[:alpha:]_]+$", "aZ_", true),
            ("^[[:^digit:]]$", "7", false),
            ("^[[:^digit:]]$", "ä", true),
            ("^[\\d.]+$", "1.2", true),
            ("^[\\d.]+$", "1d2", false),
            ("^[\\D]$", "1", false),
            ("^[^\\s]+$", "a b", false),
            ("^[!a]+$", "a!", true),
            ("^[\\]a-]+$", "]-a", true),
            ("(?i)^web-[a-c]$", "WEB-B", true),
            ("^web$", "Web", false),
            ("\\bweb\\b", "my-web-1", true),
            ("\\bweb\\b", "webs", false),
            ("web\\B", "webs", true),
            ("\\Aweb\\z", "web", true),
            ("\\Aweb\\z", "web1", false),
            ("\\d+$", "web12", true),
            ("^[]a]$", "]", true),
            ("a|b", "xxb", true),
            ("(a*)*c", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", false),
            ("^äß?$", "ä", true),
        ] {
            assert_eq!(Regex::new(pattern).unwrap().is_match(text), want, "{pattern} {text}");
        }
        for bad in [
            "(",
            "[a",
            "*",
            "a)",
            "\\",
            "(?a",
            "[b-a]",
            "(?P<n>a)",
            "a(?i)b",
            "a{2,1}",
            "a{1001}",
            "{2}",
            "a{2}{3}",
            "\\pL",
            "\\x41",
            "\\1",
            "[\\x]",
            "[[:word2:]]",
            "\\Qa\\E",
        ] {
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
