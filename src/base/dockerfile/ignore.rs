//! `.dockerignore`: which files of a context are not there for a build.
//!
//! Patterns are Go's `filepath.Match` with `**` for any number of directories; a match of a directory
//! is a match of all below it; `!` takes back; the last pattern that matches decides.

/// The patterns of one file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    /// Components; `**` is [`Part::Any`].
    parts: Vec<Part>,
    takes_back: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Any number of components, none too.
    Any,
    Glob(Glob),
}

/// A pattern for one component of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(Vec<Atom>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Atom {
    Many,
    One,
    Is(u8),
    Class { negated: bool, ranges: Vec<(u8, u8)> },
}

impl Ignore {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// The number of the first line whose pattern is malformed.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, usize> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut patterns = Vec::new();
        for (number, line) in text.split(|&b| b == b'\n').enumerate() {
            if line.starts_with(b"#") {
                continue;
            }
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            patterns.extend(Pattern::parse(line).map_err(|()| number + 1)?);
        }
        Ok(Self { patterns })
    }

    /// Adds patterns in the same language (`COPY --exclude`).
    ///
    /// # Errors
    ///
    /// If it is malformed.
    pub(crate) fn add(&mut self, pattern: &[u8]) -> Result<(), ()> {
        self.patterns.extend(Pattern::parse(pattern.trim_ascii())?);
        Ok(())
    }

    /// True if nothing is left out.
    pub(crate) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// True if some pattern takes back what others leave out.
    pub(crate) fn takes_back(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.takes_back)
    }

    /// Is the file `path`, relative to the context, left out?
    pub(crate) fn excludes(&self, path: &[u8]) -> bool {
        let components: Vec<&[u8]> = components(path).collect();
        let mut excluded = false;
        for pattern in &self.patterns {
            // A pattern that changes nothing need not be tried.
            if pattern.takes_back == excluded && pattern.matches_path_or_parent(&components) {
                excluded = !pattern.takes_back;
            }
        }
        excluded
    }

    /// Must the excluded directory `path` be looked into, because something below it may be taken back?
    pub(crate) fn may_take_back_below(&self, path: &[u8]) -> bool {
        let components: Vec<&[u8]> = components(path).collect();
        self.patterns.iter().any(|pattern| pattern.takes_back && pattern.may_match_below(&components))
    }
}

/// The components of a path that mean something.
fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".")
}

impl Pattern {
    fn parse(line: &[u8]) -> Result<Option<Self>, ()> {
        let (takes_back, line) = match line.strip_prefix(b"!") {
            Some(rest) => (true, rest.trim_ascii()),
            None => (false, line),
        };
        let mut parts: Vec<Part> = Vec::new();
        for part in components(line) {
            match part {
                // What lies outside of the context matches nothing in it.
                b".." if parts.pop().is_none() && !line.starts_with(b"/") => return Ok(None),
                b".." => {}
                b"**" => {
                    if parts.last() != Some(&Part::Any) {
                        parts.push(Part::Any);
                    }
                }
                part => parts.push(Part::Glob(Glob::parse(part)?)),
            }
        }
        // A lone `.` or `/` names the context itself, which is always there.
        Ok((!parts.is_empty()).then_some(Self { parts, takes_back }))
    }

    /// Does it match the path, or a directory above it? The first components that match are enough, so it is
    /// enough to go back to the last `**`.
    fn matches_path_or_parent(&self, path: &[&[u8]]) -> bool {
        let (mut part, mut at) = (0, 0);
        let mut back: Option<(usize, usize)> = None;
        loop {
            match self.parts.get(part) {
                None => return true,
                // At the end it must stand for at least one.
                Some(Part::Any) if part + 1 == self.parts.len() => return at < path.len(),
                Some(Part::Any) => {
                    part += 1;
                    back = Some((part, at));
                }
                Some(Part::Glob(glob)) if at < path.len() && glob.is_match(path[at]) => {
                    (part, at) = (part + 1, at + 1);
                }
                Some(Part::Glob(_)) => match &mut back {
                    Some((after, from)) if *from < path.len() => {
                        *from += 1;
                        (part, at) = (*after, *from);
                    }
                    _ => return false,
                },
            }
        }
    }

    fn may_match_below(&self, dir: &[&[u8]]) -> bool {
        for (index, component) in dir.iter().enumerate() {
            match self.parts.get(index) {
                Some(Part::Any) => return true,
                Some(Part::Glob(glob)) if glob.is_match(component) => {}
                // The pattern names this directory or one above it.
                None => return true,
                Some(Part::Glob(_)) => return false,
            }
        }
        true
    }
}

impl Glob {
    /// Reads a pattern for one component.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, ()> {
        let mut atoms = Vec::new();
        let mut rest = text;
        while let Some((&c, after)) = rest.split_first() {
            rest = after;
            match c {
                b'*' => {
                    if atoms.last() != Some(&Atom::Many) {
                        atoms.push(Atom::Many);
                    }
                }
                b'?' => atoms.push(Atom::One),
                b'\\' => {
                    let (&escaped, after) = rest.split_first().ok_or(())?;
                    atoms.push(Atom::Is(escaped));
                    rest = after;
                }
                b'[' => {
                    let (class, after) = class(rest)?;
                    atoms.push(class);
                    rest = after;
                }
                c => atoms.push(Atom::Is(c)),
            }
        }
        Ok(Self(atoms))
    }

    /// True if it has no wildcard.
    pub(crate) fn literal(&self) -> Option<Vec<u8>> {
        self.0.iter().map(|atom| if let Atom::Is(c) = atom { Some(*c) } else { None }).collect()
    }

    /// Does the component match? (`?` is one character of UTF-8.)
    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        let (mut p, mut t) = (0, 0);
        let mut back: Option<(usize, usize)> = None;
        while t < text.len() {
            let step = match self.0.get(p) {
                Some(Atom::Many) => {
                    back = Some((p, t));
                    p += 1;
                    continue;
                }
                Some(Atom::One) => Some(character_length(&text[t..])),
                Some(Atom::Is(c)) if *c == text[t] => Some(1),
                Some(Atom::Class { negated, ranges })
                    if ranges.iter().any(|(low, high)| (*low..=*high).contains(&text[t])) != *negated =>
                {
                    Some(1)
                }
                _ => None,
            };
            match (step, back) {
                (Some(length), _) => (p, t) = (p + 1, t + length),
                (None, Some((star, from))) => {
                    back = Some((star, from + 1));
                    (p, t) = (star + 1, from + 1);
                }
                (None, None) => return false,
            }
        }
        self.0[p..].iter().all(|atom| *atom == Atom::Many)
    }
}

/// Bytes of the first character; a byte that is not UTF-8 counts as one.
fn character_length(text: &[u8]) -> usize {
    let head = &text[..text.len().min(4)];
    (1..=head.len()).find(|length| std::str::from_utf8(&head[..*length]).is_ok()).unwrap_or(1)
}

/// A class, whose `[` is read.
fn class(text: &[u8]) -> Result<(Atom, &[u8]), ()> {
    let (negated, mut rest) = match text.first() {
        Some(b'^') => (true, &text[1..]),
        _ => (false, text),
    };
    let mut ranges = Vec::new();
    let one = |rest: &mut &[u8]| -> Result<u8, ()> {
        let (&c, after) = rest.split_first().ok_or(())?;
        *rest = after;
        if c != b'\\' {
            return Ok(c);
        }
        let (&c, after) = rest.split_first().ok_or(())?;
        *rest = after;
        Ok(c)
    };
    loop {
        if rest.first() == Some(&b']') && !ranges.is_empty() {
            return Ok((Atom::Class { negated, ranges }, &rest[1..]));
        }
        let low = one(&mut rest)?;
        let high = if rest.first() == Some(&b'-') && rest.get(1) != Some(&b']') {
            rest = &rest[1..];
            one(&mut rest)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_reference() {
        for (file, path, excluded) in [
            ("*/temp*", "somedir/temporary.txt", true),
            ("*/temp*", "somedir/temp/x", true),
            ("*/temp*", "temporary.txt", false),
            ("*/*/temp*", "a/b/temp1", true),
            ("*/*/temp*", "a/temp1", false),
            ("temp?", "tempa", true),
            ("temp?", "temp", false),
            ("temp?", "temp/a", false),
            ("**/*.go", "a.go", true),
            ("**/*.go", "a/b/c.go", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b/z", true),
            ("a/**", "a", false),
            ("a/**", "a/b", true),
            ("**", "a", true),
            ("*.md\n!README.md", "README.md", false),
            ("*.md\n!README.md", "x.md", true),
            ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
            ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false),
            ("# c\n\n  /foo/bar  ", "foo/bar", true),
            ("foo/", "foo/x", true),
            ("./a/../b", "b", true),
            ("../foo", "foo", false),
            ("a/../../foo", "foo", false),
            ("/../foo", "foo", true),
            ("*\n!a", "a/b", false),
            ("*\n!a/b", "a/c", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a*", "a/b", true),
            ("*b", "a/b", false),
            ("?", "ü", true),
            (".", "a", false),
            ("!  a\n", "a", false),
        ] {
            let ignore = Ignore::parse(file.as_bytes()).unwrap();
            assert_eq!(ignore.excludes(path.as_bytes()), excluded, "{file:?} on {path}");
        }
    }

    #[test]
    fn malformed_patterns_have_a_line() {
        for (file, line) in [("a\n[", 2), ("[]", 1), ("a\\", 1), ("\n\n[a-", 3)] {
            assert_eq!(Ignore::parse(file.as_bytes()).map(drop), Err(line), "{file:?}");
        }
    }

    #[test]
    fn directories_that_need_not_be_read() {
        let ignore = Ignore::parse(b"*\n!src/*.rs\n!doc/**/x").unwrap();
        for (dir, look) in
            [("src", true), ("target", false), ("doc", true), ("doc/a/b", true), ("src/a/b", false)]
        {
            assert_eq!(ignore.may_take_back_below(dir.as_bytes()), look, "{dir}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(file in "[a*?!\\[\\]\\\\/^.\n-]{0,30}", path in "[a/.b*-]{0,20}") {
            if let Ok(ignore) = Ignore::parse(file.as_bytes()) {
                // What is not excluded has no excluded-only parent that would be passed over.
                let excluded = ignore.excludes(path.as_bytes());
                if let Some((parent, _)) = path.rsplit_once('/') {
                    let skipped = ignore.excludes(parent.as_bytes()) && !ignore.may_take_back_below(parent.as_bytes());
                    proptest::prop_assert!(excluded || !skipped, "{file:?} {path}");
                }
            }
        }
    }
}
