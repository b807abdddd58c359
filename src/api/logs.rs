//! `GET /containers/{}/logs`: what a container has written, and writes.

use std::cell::RefCell;
use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::attach::content_type;
use super::fault::Fault;
use super::http::exchange::{Answer, Exchange};
use super::named;
use crate::attach::relay::frame_header;
use crate::base::time::{parse_when, parse_when_ahead};
use crate::engine::logs::{FollowError, Limits, follow};
use crate::logs::entry::Entry;
use crate::logs::reader::Query;

/// The version of the API from which on streams of frames say so.
pub(super) const SAYS_FRAMES: (u32, u32) = (1, 42);
/// Frames are sent when this much has gathered, in bytes.
const BUFFER: usize = 64 << 10;

/// Answers the request.
pub(crate) fn logs(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let wanted = [exchange.flag("stdout"), exchange.flag("stderr")];
    if wanted == [false, false] {
        return Err(Fault::new(400, "Bad parameters: you must choose at least one stream"));
    }
    let follows = exchange.flag("follow");
    let query = query(exchange, follows)?;
    let (engine, id) = named::container(exchange)?;
    let terminal = engine.container_spec(&id)?.process.terminal;
    let mut log = engine.log(&id, query, follows)?;
    let frames = Frames {
        timestamps: exchange.flag("timestamps"),
        details: exchange.flag("details"),
        ..Frames::new(terminal, wanted)
    };
    let stream = exchange.stream(200, content_type(terminal, exchange.version()), &[])?;
    if follows {
        let client = stream.client().try_clone_to_owned()?;
        let sink = RefCell::new((frames, stream));
        let limits = Limits {
            until: query.until,
            outlet: Some(std::os::fd::AsFd::as_fd(&client)),
            ..Limits::default()
        };
        let followed = follow(
            std::slice::from_mut(&mut log),
            limits,
            |_, entry| {
                let (frames, stream) = &mut *sink.borrow_mut();
                frames.take(entry, stream)
            },
            || {
                let (frames, stream) = &mut *sink.borrow_mut();
                frames.flush(stream)
            },
        );
        followed.map_err(|err| match err {
            FollowError::Io(err) => err.into(),
            FollowError::Engine(err) => Fault::from(err),
        })?;
        let (mut frames, mut stream) = sink.into_inner();
        frames.flush(&mut stream)?;
        stream.finish()?;
    } else {
        let (mut frames, mut stream) = (frames, stream);
        log.read(|entry| frames.take(entry, &mut stream))?;
        frames.flush(&mut stream)?;
        stream.finish()?;
    }
    Ok(Answer::Sent)
}

/// Which part of the log.
fn query(exchange: &Exchange<'_>, follows: bool) -> Result<Query, Fault> {
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    let read_until = if follows { parse_when_ahead } else { parse_when };
    let given = |key| exchange.query(key).filter(|text| !matches!(*text, "" | "0"));
    let invalid = |key: &str, err| Fault::new(400, format!("invalid value for \"{key}\": {err}"));
    let since = given("since").map(|text| parse_when(text, now, &zone)).transpose();
    let until = given("until").map(|text| read_until(text, now, &zone)).transpose();
    let (since, until) =
        (since.map_err(|err| invalid("since", err))?, until.map_err(|err| invalid("until", err))?);
    // As docker has it, what is no number is everything.
    let tail = exchange.query("tail").and_then(|text| text.parse().ok());
    Ok(Query { tail, since, until })
}

/// Turns entries into docker's frames, or for a terminal into bytes.
#[derive(Debug)]
pub(super) struct Frames {
    framed: bool,
    /// Standard output, standard error.
    wanted: [bool; 2],
    timestamps: bool,
    details: bool,
    /// The last entry of a stream was a line without its end.
    unfinished: [bool; 2],
    buffer: Vec<u8>,
}

impl Frames {
    pub(super) fn new(terminal: bool, wanted: [bool; 2]) -> Self {
        // All that a terminal shows is standard output.
        let wanted = if terminal { [wanted[0], wanted[0]] } else { wanted };
        Self {
            framed: !terminal,
            wanted,
            timestamps: false,
            details: false,
            unfinished: [false; 2],
            buffer: Vec::new(),
        }
    }

    /// Takes one entry; sends what has gathered if that is much.
    ///
    /// # Errors
    ///
    /// What `to` answers.
    pub(super) fn take(&mut self, entry: &Entry<'_>, to: &mut impl Write) -> io::Result<()> {
        let stream = entry.stream;
        if !self.wanted[stream as usize] {
            return Ok(());
        }
        let mut line = Vec::new();
        if !std::mem::replace(&mut self.unfinished[stream as usize], !entry.full) {
            if self.timestamps {
                line.extend_from_slice(&time(entry));
                line.push(b' ');
            }
            if self.details && !entry.details.is_empty() {
                line.extend_from_slice(&entry.details);
                line.push(b' ');
            }
        }
        line.extend_from_slice(&entry.text);
        if entry.full {
            line.push(b'\n');
        }
        if self.framed {
            self.buffer.extend_from_slice(&frame_header(stream, line.len()));
        }
        self.buffer.append(&mut line);
        if self.buffer.len() >= BUFFER { self.flush(to) } else { Ok(()) }
    }

    /// Sends what has gathered.
    ///
    /// # Errors
    ///
    /// What `to` answers.
    pub(super) fn flush(&mut self, to: &mut impl Write) -> io::Result<()> {
        if !self.buffer.is_empty() {
            to.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// When an entry was recorded, in UTC.
fn time(entry: &Entry<'_>) -> Vec<u8> {
    match entry.timestamp() {
        Some(time) => format!("{time:.9}").into_bytes(),
        None => entry.time.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::stream::Stream;

    fn shown(frames: Frames) -> Vec<u8> {
        let (mut frames, mut out) = (frames, Vec::new());
        for (stream, full, text) in
            [(Stream::Stdout, true, "a"), (Stream::Stderr, false, "b"), (Stream::Stderr, true, "c")]
        {
            let entry = Entry {
                time: b"2026-01-01T02:00:00.5+02:00".into(),
                stream,
                full,
                text: text.as_bytes().into(),
                details: b"tag=x".into(),
            };
            frames.take(&entry, &mut out).unwrap();
        }
        frames.flush(&mut out).unwrap();
        out
    }

    #[test]
    fn entries_become_frames_or_bytes() {
        assert_eq!(
            shown(Frames::new(false, [true, true])),
            b"\x01\0\0\0\0\0\0\x02a\n\x02\0\0\0\0\0\0\x01b\x02\0\0\0\0\0\0\x02c\n"
        );
        assert_eq!(shown(Frames::new(false, [true, false])), b"\x01\0\0\0\0\0\0\x02a\n");
        assert_eq!(shown(Frames::new(true, [true, false])), b"a\nbc\n");
        let decorated = Frames { timestamps: true, details: true, ..Frames::new(true, [true, true]) };
        let before = "2026-01-01T00:00:00.500000000Z tag=x ";
        assert_eq!(String::from_utf8(shown(decorated)).unwrap(), format!("{before}a\n{before}bc\n"));
    }
}
