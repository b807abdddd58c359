//! Reading a container's output from the system's journal, by its own program `journalctl`: the journal's
//! files are made to be read by no other.

use std::borrow::Cow;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdout, Command, Stdio};

use jiff::Timestamp;
use serde_json::Value;

use crate::base::id::ContainerId;
use crate::base::stream::Stream;
use crate::engine::{Error, Kind, Result};
use crate::logs::entry::Entry;
use crate::logs::reader::Query;

/// What `journalctl` prints, while it runs.
#[derive(Debug)]
pub(crate) struct Journal {
    child: Child,
    output: ChildStdout,
    /// A line of which the end has not come.
    buffer: Vec<u8>,
    ended: bool,
}

impl Journal {
    /// Asks for the entries that `what` chooses, one JSON object a line.
    ///
    /// # Errors
    ///
    /// Starting the program; NotFound if there is none.
    pub(crate) fn open(what: &[String]) -> io::Result<Self> {
        let mut command = Command::new("journalctl");
        command.args(["--output=json", "--all", "--quiet"]).args(what);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().expect("its output is a pipe");
        Ok(Self { child, output, buffer: Vec::new(), ended: false })
    }

    /// Readable when there are entries, or will be no more.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    /// True if there will be no more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Reads once, waiting for it, and gives the lines that have come to `sink`.
    ///
    /// # Errors
    ///
    /// Reading, and what `sink` answers.
    pub(crate) fn read_some(&mut self, sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut block = vec![0; 64 << 10];
        let length = self.output.read(&mut block)?;
        self.ended = length == 0;
        self.buffer.extend_from_slice(&block[..length]);
        let Some(end) = memchr::memrchr(b'\n', &self.buffer) else { return Ok(()) };
        let lines: Vec<u8> = self.buffer.drain(..=end).collect();
        lines[..end].split(|&byte| byte == b'\n').try_for_each(sink)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // It goes on for ever when it follows.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The entries of one container.
#[derive(Debug)]
pub(crate) struct JournalLog(Journal);

impl JournalLog {
    /// Asks for the entries of container `id`.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] without `journalctl`.
    pub(crate) fn open(id: &ContainerId, query: &Query, follow: bool) -> Result<Self> {
        let mut what = vec![format!("CONTAINER_ID_FULL={id}")];
        what.extend(times(query.since, query.until, follow));
        what.push(query.tail.map_or("--no-tail".to_owned(), |lines| format!("--lines={lines}")));
        Journal::open(&what).map(Self).map_err(|err| match err.kind() {
            io::ErrorKind::NotFound => Error::new(
                Kind::Unsupported,
                "the container's output is in the journal, and journalctl is not installed to read it",
            ),
            _ => Error::system("read the journal", err),
        })
    }

    /// Readable when there are entries.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// True if there will be no more.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.has_ended()
    }

    /// Reads once, waiting for it, and gives what has come to `sink`.
    ///
    /// # Errors
    ///
    /// Reading, and what `sink` answers.
    pub(crate) fn read_some(&mut self, mut sink: impl FnMut(&Entry<'_>) -> io::Result<()>) -> io::Result<()> {
        self.0.read_some(|line| parse(line).map_or(Ok(()), |entry| sink(&entry)))
    }
}

/// What chooses a time, for [`Journal::open`]. With `follow` what is new comes, too, and the end is for the reader to see:
/// journalctl knows only one of both.
pub(super) fn times(since: Option<Timestamp>, until: Option<Timestamp>, follow: bool) -> Vec<String> {
    // With fractions, in UTC.
    let when = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M:%S.%6f UTC");
    let since = since.map(|since| format!("--since={}", when(since)));
    let until = until.filter(|_| !follow).map(|until| format!("--until={}", when(until)));
    since.into_iter().chain(until).chain(follow.then(|| "--follow".to_owned())).collect()
}

/// The entry in a line of `journalctl -o json`.
fn parse(line: &[u8]) -> Option<Entry<'static>> {
    let entry: Value = serde_json::from_slice(line).ok()?;
    // Text, or its bytes where they are not all printable.
    let text = match &entry["MESSAGE"] {
        Value::String(text) => text.clone().into_bytes(),
        Value::Array(bytes) => bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect(),
        _ => return None,
    };
    let micros: i64 = entry["__REALTIME_TIMESTAMP"].as_str()?.parse().ok()?;
    let time = Timestamp::from_microsecond(micros).ok()?;
    Some(Entry {
        time: Cow::Owned(time.strftime("%Y-%m-%dT%H:%M:%S.%9f+00:00").to_string().into_bytes()),
        stream: if entry["PRIORITY"] == "3" { Stream::Stderr } else { Stream::Stdout },
        full: entry["CONTAINER_PARTIAL_MESSAGE"] != "true",
        text: Cow::Owned(text),
        details: Cow::Borrowed(b""),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_journalctl() {
        let line = br#"{"MESSAGE":"a b","PRIORITY":"6","__REALTIME_TIMESTAMP":"1795251536359537"}"#;
        let entry = parse(line).unwrap();
        assert_eq!((&*entry.text, entry.stream, entry.full), (&b"a b"[..], Stream::Stdout, true));
        assert_eq!(&*entry.time, b"2026-11-21T08:58:56.359537000+00:00");
        let line = br#"{"MESSAGE":[104,255],"PRIORITY":"3","CONTAINER_PARTIAL_MESSAGE":"true","__REALTIME_TIMESTAMP":"1"}"#;
        let entry = parse(line).unwrap();
        assert_eq!((&*entry.text, entry.stream, entry.full), (&b"h\xff"[..], Stream::Stderr, false));
        assert!(parse(b"{}").is_none());
    }
}
