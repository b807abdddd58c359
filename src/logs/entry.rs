//! One entry of a log, as text and back.
//!
//! ```text
//! k8s-file   2026-11-21T00:26:45.014480638+01:00 stdout F the line
//! json-file  {"log":"the line\n","stream":"stdout","time":"2026-11-20T23:26:45.014480638Z"}
//! ```
//!
//! `P` instead of `F`, or a `log` without the newline at its end, is a part of a line.
//!
//! # Source
//!
//! Kubernetes design proposal "CRI: Dockershim logging"; Docker's `json-file` driver.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

use crate::base::stream::Stream;
use crate::logs::Format;

/// An entry, borrowed from the buffer it was read into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// When it was recorded, RFC 3339; empty for a damaged line.
    pub(crate) time: Cow<'a, [u8]>,
    /// Which stream it came from.
    pub(crate) stream: Stream,
    /// A newline follows the text.
    pub(crate) full: bool,
    /// The bytes, without the newline.
    pub(crate) text: Cow<'a, [u8]>,
    /// What the entry says beside its text (`--log-opt tag`, `labels`, `env`): `key=value`, by commas.
    pub(crate) details: Cow<'a, [u8]>,
}

impl Entry<'_> {
    /// When it was recorded; `None` for a damaged line.
    pub(crate) fn timestamp(&self) -> Option<Timestamp> {
        std::str::from_utf8(&self.time).ok()?.parse().ok()
    }
}

/// Reads one line of a log file, without its newline. A line in no known format is shown as it is:
/// better than hiding it.
pub(crate) fn parse(format: Format, line: &[u8]) -> Entry<'_> {
    let entry = match format {
        Format::K8s => parse_k8s(line),
        Format::Json => parse_json(line),
    };
    entry.unwrap_or(Entry {
        time: Cow::Borrowed(b""),
        stream: Stream::Stdout,
        full: true,
        text: Cow::Borrowed(line),
        details: Cow::Borrowed(b""),
    })
}

fn parse_k8s(line: &[u8]) -> Option<Entry<'_>> {
    let space = memchr::memchr(b' ', line)?;
    let (time, rest) = (&line[..space], &line[space + 1..]);
    let (stream, rest) = match rest.split_at_checked(7)? {
        (b"stdout ", rest) => (Stream::Stdout, rest),
        (b"stderr ", rest) => (Stream::Stderr, rest),
        _ => return None,
    };
    let (full, text) = match rest {
        [b'F', b' ', text @ ..] => (true, text),
        [b'P', b' ', text @ ..] => (false, text),
        [b'F'] => (true, &[][..]),
        [b'P'] => (false, &[][..]),
        _ => return None,
    };
    let details = Cow::Borrowed(&b""[..]);
    Some(Entry { time: Cow::Borrowed(time), stream, full, text: Cow::Borrowed(text), details })
}

#[derive(Deserialize)]
struct JsonEntry<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(default)]
    attrs: std::collections::BTreeMap<String, String>,
}

fn parse_json(line: &[u8]) -> Option<Entry<'_>> {
    let found: JsonEntry<'_> = serde_json::from_slice(line).ok()?;
    let stream = if found.stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
    let mut text = into_bytes(found.log);
    let full = text.last() == Some(&b'\n');
    if full {
        match &mut text {
            Cow::Borrowed(text) => *text = &text[..text.len() - 1],
            Cow::Owned(text) => text.truncate(text.len() - 1),
        }
    }
    let details: Vec<_> = found.attrs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let details = Cow::Owned(details.join(",").into_bytes());
    Some(Entry { time: into_bytes(found.time), stream, full, text, details })
}

fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(format: Format, line: &[u8]) -> (String, Stream, bool, Vec<u8>) {
        let entry = parse(format, line);
        (String::from_utf8(entry.time.to_vec()).unwrap(), entry.stream, entry.full, entry.text.into_owned())
    }

    #[test]
    fn k8s_lines() {
        use Stream::{Stderr, Stdout};
        for (line, time, stream, full, text) in [
            (&b"T1 stdout F hello world"[..], "T1", Stdout, true, &b"hello world"[..]),
            (b"T1 stderr P \xff\0", "T1", Stderr, false, b"\xff\0"),
            (b"T1 stdout F ", "T1", Stdout, true, b""),
            (b"T1 stdout F", "T1", Stdout, true, b""),
            (b"T1 stdout F  two", "T1", Stdout, true, b" two"),
            (b"T1 stdin F x", "", Stdout, true, b"T1 stdin F x"),
            (b"torn", "", Stdout, true, b"torn"),
            (b"", "", Stdout, true, b""),
            (b"T1 stdout X x", "", Stdout, true, b"T1 stdout X x"),
        ] {
            assert_eq!(show(Format::K8s, line), (time.to_owned(), stream, full, text.to_vec()));
        }
    }

    #[test]
    fn json_lines() {
        use Stream::{Stderr, Stdout};
        for (line, time, stream, full, text) in [
            (r#"{"log":"a b\n","stream":"stdout","time":"T"}"#, "T", Stdout, true, "a b"),
            (r#"{"log":"part","stream":"stderr","time":"T","attrs":{"x":"y"}}"#, "T", Stderr, false, "part"),
            (r#"{"log":"\u001b[1m\"\n","stream":"stdout","time":"T"}"#, "T", Stdout, true, "\u{1b}[1m\""),
            ("{\"log", "", Stdout, true, "{\"log"),
        ] {
            let want = (time.to_owned(), stream, full, text.as_bytes().to_vec());
            assert_eq!(show(Format::Json, line.as_bytes()), want);
        }
    }
}
