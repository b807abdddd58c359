//! The form of unit files (systemd.syntax(7)), as far as Quadlet reads and writes it.
//!
//! Lines keep their order and their comments, so that what is not Quadlet's own goes to the service untouched.

use crate::base::order;
use crate::quadlet::words::{self, Escapes};

/// One line of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    /// A comment, or an empty line.
    Comment(String),
    /// Continuations are joined.
    Entry { key: String, value: String },
}

/// A section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Group {
    name: String,
    /// What stands before its head.
    comments: Vec<String>,
    lines: Vec<Line>,
}

impl Group {
    fn values<'a>(&'a self, wanted: &str) -> impl DoubleEndedIterator<Item = &'a str> {
        self.lines.iter().filter_map(move |line| match line {
            Line::Entry { key, value } if key == wanted => Some(value.as_str()),
            _ => None,
        })
    }
}

/// A unit file. Sections of one name are one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnitFile {
    groups: Vec<Group>,
}

/// Why a text is no unit file; podman's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ParseError {
    #[error("file contains line {line}: “{text}” which is not a key-value pair, group, or comment")]
    Line { line: usize, text: String },
    #[error("key file does not start with a group")]
    NoGroup,
    #[error("invalid group name: {0}")]
    GroupName(String),
    #[error("line {0} is not UTF-8")]
    NotText(usize),
}

fn is_comment(line: &str) -> bool {
    line.is_empty() || line.starts_with(['#', ';'])
}

/// The name in a section's head, with nothing but blanks behind it.
fn group_name(line: &str) -> Option<&str> {
    let (name, rest) = line.strip_prefix('[')?.split_once(']')?;
    rest.trim_matches([' ', '\t']).is_empty().then_some(name)
}

fn key_and_value(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    (!key.is_empty()).then_some((key.trim_end(), value.trim_start()))
}

/// A file's lines without the blanks around them. Comments may be in any encoding, what counts is UTF-8.
fn lines_of(bytes: &[u8]) -> Result<Vec<String>, ParseError> {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let line = |(at, line): (usize, &[u8])| match std::str::from_utf8(line) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(_) => Some(String::from_utf8_lossy(line).trim().to_owned())
            .filter(|text| is_comment(text))
            .ok_or(ParseError::NotText(at + 1)),
    };
    body.split(|byte| *byte == b'\n').enumerate().map(line).collect()
}

impl UnitFile {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// For the first line that is none of such a file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let lines = lines_of(bytes)?;
        let mut file = Self::default();
        let mut current: Option<usize> = None;
        let mut pending: Vec<String> = Vec::new();
        let mut at = 0;
        while at < lines.len() {
            let number = at + 1;
            let mut line = lines[at].clone();
            at += 1;
            if is_comment(&line) {
                pending.push(line);
                continue;
            }
            // Comments and empty lines within a continuation are skipped, the blanks before a line as well.
            while line.ends_with('\\') {
                line.pop();
                let skipped = lines[at..].iter().take_while(|next| is_comment(next)).count();
                at += skipped;
                let Some(next) = lines.get(at) else { break };
                line.push_str(next);
                at += 1;
            }
            if let Some(name) = group_name(&line) {
                if name.is_empty() || name.contains(['[', ']']) || name.contains(char::is_control) {
                    return Err(ParseError::GroupName(name.to_owned()));
                }
                let group = file.ensure(name);
                // The empty line between sections is made anew.
                let from = usize::from(pending.first().is_some_and(String::is_empty));
                file.groups[group].comments.extend(pending.drain(..).skip(from));
                current = Some(group);
            } else if let Some((key, value)) = key_and_value(&line) {
                let group = current.ok_or(ParseError::NoGroup)?;
                let lines = &mut file.groups[group].lines;
                lines.extend(pending.drain(..).map(Line::Comment));
                lines.push(Line::Entry { key: key.to_owned(), value: value.to_owned() });
            } else {
                return Err(ParseError::Line { line: number, text: line });
            }
        }
        if !pending.is_empty() {
            let group = current.unwrap_or_else(|| file.ensure(""));
            file.groups[group].lines.extend(pending.into_iter().map(Line::Comment));
        }
        Ok(file)
    }

    /// The group of that name, made last if it is not there.
    fn ensure(&mut self, name: &str) -> usize {
        self.groups.iter().position(|group| group.name == name).unwrap_or_else(|| {
            self.groups.push(Group { name: name.to_owned(), ..Group::default() });
            self.groups.len() - 1
        })
    }

    fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Appends what another file holds to the sections of the same names.
    pub(crate) fn merge(&mut self, other: &Self) {
        for group in &other.groups {
            let at = self.ensure(&group.name);
            self.groups[at].comments.extend(group.comments.iter().cloned());
            self.groups[at].lines.extend(group.lines.iter().cloned());
        }
    }

    /// Appends a line.
    pub(crate) fn add(&mut self, group: &str, key: &str, value: impl Into<String>) {
        let at = self.ensure(group);
        self.groups[at].lines.push(Line::Entry { key: key.to_owned(), value: value.into() });
    }

    /// Puts a line first.
    pub(crate) fn prepend(&mut self, group: &str, key: &str, value: &str) {
        let at = self.ensure(group);
        self.groups[at].lines.insert(0, Line::Entry { key: key.to_owned(), value: value.to_owned() });
    }

    /// Changes the last line of a key, or appends one.
    pub(crate) fn set(&mut self, group: &str, key: &str, value: &str) {
        let at = self.ensure(group);
        let mut lines = self.groups[at].lines.iter_mut().rev();
        let last = lines.find_map(|line| match line {
            Line::Entry { key: name, value } if name == key => Some(value),
            _ => None,
        });
        match last {
            Some(last) => value.clone_into(last),
            None => self.add(group, key, value),
        }
    }

    /// Gives a section another name, or appends it to the one that has that name.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        let Some(at) = self.groups.iter().position(|group| group.name == from) else { return };
        if self.group(to).is_none() {
            to.clone_into(&mut self.groups[at].name);
            return;
        }
        let mut group = self.groups.remove(at);
        let to = self.ensure(to);
        self.groups[to].comments.append(&mut group.comments);
        self.groups[to].lines.append(&mut group.lines);
    }

    /// The keys of a section, in their order.
    pub(crate) fn keys<'a>(&'a self, group: &str) -> impl Iterator<Item = &'a str> {
        self.group(group).into_iter().flat_map(|group| &group.lines).filter_map(|line| match line {
            Line::Entry { key, .. } => Some(key.as_str()),
            Line::Comment(_) => None,
        })
    }

    /// Whether a key stands there, with whatever value.
    pub(crate) fn has(&self, group: &str, key: &str) -> bool {
        self.keys(group).any(|name| name == key)
    }

    /// The last value of a key, as it is written.
    pub(crate) fn last(&self, group: &str, key: &str) -> Option<&str> {
        self.group(group)?.values(key).next_back()
    }

    /// The last value of a key, without blanks at its end and quotes around it.
    pub(crate) fn value(&self, group: &str, key: &str) -> Option<&str> {
        Some(self.last(group, key)?.trim_end().trim_matches('"'))
    }

    /// The same, if there is anything in it.
    pub(crate) fn filled(&self, group: &str, key: &str) -> Option<&str> {
        self.value(group, key).filter(|value| !value.is_empty())
    }

    /// A truth value; what is none of the words for true is false.
    pub(crate) fn boolean(&self, group: &str, key: &str) -> Option<bool> {
        let value = self.value(group, key)?.to_ascii_lowercase();
        Some(matches!(value.as_str(), "1" | "yes" | "true" | "on"))
    }

    /// All values since the last empty one, as they are written.
    pub(crate) fn all(&self, group: &str, key: &str) -> Vec<&str> {
        let mut all = Vec::new();
        for value in self.group(group).into_iter().flat_map(|group| group.values(key)) {
            if value.is_empty() {
                all.clear();
            } else {
                all.push(value);
            }
        }
        all
    }

    /// The words of all values: quotes are undone, a backslash is a character as any other.
    pub(crate) fn strings(&self, group: &str, key: &str) -> Vec<String> {
        self.words(group, key, Escapes::Kept)
    }

    /// The words of all values, as those of a command line. A line with a bad escape counts for nothing.
    pub(crate) fn arguments(&self, group: &str, key: &str) -> Vec<String> {
        self.words(group, key, Escapes::Undone)
    }

    fn words(&self, group: &str, key: &str, escapes: Escapes) -> Vec<String> {
        self.all(group, key).into_iter().filter_map(|value| words::split(value, escapes)).flatten().collect()
    }

    /// The words of the last value alone.
    pub(crate) fn last_arguments(&self, group: &str, key: &str) -> Vec<String> {
        self.last(group, key).and_then(|value| words::split(value, Escapes::Undone)).unwrap_or_default()
    }

    /// `KEY=VALUE` words, sorted by key, the last one of a key alone.
    pub(crate) fn pairs(&self, group: &str, key: &str) -> Vec<String> {
        let words = self.arguments(group, key);
        let pairs = words.iter().filter_map(|word| word.split_once('='));
        let sorted = order::map(pairs);
        sorted.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
    }
}

impl std::fmt::Display for UnitFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, group) in self.groups.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            for comment in &group.comments {
                writeln!(f, "{comment}")?;
            }
            if !group.name.is_empty() {
                writeln!(f, "[{}]", group.name)?;
            }
            for line in &group.lines {
                match line {
                    Line::Comment(text) => writeln!(f, "{text}")?,
                    Line::Entry { key, value } => writeln!(f, "{key}={value}")?,
                }
            }
        }
        Ok(())
    }
}
