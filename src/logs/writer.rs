//! Recording output.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use jiff::Timestamp;

use crate::base::stream::Stream;
use crate::logs::clock::{LocalClock, STAMP_BYTES};
use crate::logs::{Format, LogFiles};
use crate::sys::memory::Scratch;

/// A line longer than this is split into partial entries.
const MAX_TEXT: usize = 16 * 1024;
/// Size of the buffer in which entries gather before they are written: one write for many lines.
const BUFFER: usize = 256 * 1024;
/// Room that any one entry fits in: each byte of text may need six in JSON, and then come the other fields.
const MAX_ENTRY: usize = MAX_TEXT * 6 + 128;
/// Time, stream and tag of a `k8s-file` entry.
const K8S_PREFIX: usize = STAMP_BYTES + " stdout F ".len();

/// How much of a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Rotate rather than let a file grow beyond this; 0 means never.
    pub(crate) max_size_bytes: u64,
    /// Keep this many files, the newest included; 0 counts as 1.
    pub(crate) max_files: u32,
}

/// Appends to a log.
#[derive(Debug)]
pub(crate) struct Writer {
    files: LogFiles,
    file: File,
    /// Length of `file`.
    size: u64,
    format: Format,
    limits: Limits,
    clock: LocalClock,
    buffer: Scratch,
    /// How much of `buffer` waits to be written.
    used: usize,
    /// How much of `buffer` may be used before [`Writer::make_room`] must look again.
    room: usize,
    /// A character of which the rest has not come yet (JSON holds whole characters), per stream.
    carry: [Carry; 2],
    lost_bytes: u64,
    /// Part of each JSON entry, from the comma on; may be empty.
    attributes: String,
}

/// The first bytes of an unfinished UTF-8 sequence.
#[derive(Clone, Copy, Debug, Default)]
struct Carry {
    bytes: [u8; 4],
    length: usize,
}

impl Writer {
    /// Opens the log for appending.
    ///
    /// # Errors
    ///
    /// Opening or examining the file.
    pub(crate) fn open(files: LogFiles, format: Format, limits: Limits) -> io::Result<Self> {
        let file = files.append()?;
        let mut size = file.metadata()?.len();
        // After a power cut the last line may be torn; the next entry must not be glued to it.
        let mut last = [b'\n'];
        if size > 0 {
            file.read_exact_at(&mut last, size - 1)?;
        }
        if last != [b'\n'] {
            rustix::io::write(&file, b"\n")?;
            size += 1;
        }
        Ok(Self {
            files,
            file,
            size,
            format,
            limits,
            clock: LocalClock::new(),
            buffer: Scratch::new(BUFFER)?,
            used: 0,
            room: 0,
            carry: [Carry::default(); 2],
            lost_bytes: 0,
            attributes: String::new(),
        })
    }

    /// Adds a JSON object to each entry (in the format that has room for it); nothing if it is empty.
    pub(crate) fn with_attributes(mut self, object: String) -> Self {
        if !object.is_empty() {
            self.attributes = format!(",\"attrs\":{object}");
        }
        self
    }

    /// Records `chunk`, just read from `stream`. All of it is in the file when this returns.
    ///
    /// # Errors
    ///
    /// If the file cannot be written or rotated: then entries are missing ([`Self::lost_bytes`]), but
    /// never half an entry, and the next call tries again.
    pub(crate) fn write(&mut self, stream: Stream, chunk: &[u8], now: Timestamp) -> io::Result<()> {
        match self.format {
            Format::K8s => self.write_k8s(stream, chunk, now)?,
            Format::Json => self.write_json(stream, chunk, now)?,
        }
        self.flush()
    }

    /// How much formatted output could not be recorded, in bytes.
    pub(crate) fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    /// Gives memory back that only writing needs.
    pub(crate) fn release(&mut self) {
        self.buffer.release();
    }

    fn write_k8s(&mut self, stream: Stream, chunk: &[u8], now: Timestamp) -> io::Result<()> {
        let mut prefix = [b' '; K8S_PREFIX];
        prefix[..STAMP_BYTES].copy_from_slice(self.clock.stamp(now));
        prefix[STAMP_BYTES + 1..STAMP_BYTES + 7].copy_from_slice(stream.name().as_bytes());
        prefix[K8S_PREFIX - 2] = b'F';
        let mut start = 0;
        // One search through the whole chunk: starting anew for each short line would cost as much as copying it.
        for newline in memchr::memchr_iter(b'\n', chunk) {
            let line = &chunk[start..=newline];
            start = newline + 1;
            if line.len() > MAX_TEXT + 1 {
                self.write_pieces(&mut prefix, line)?;
                continue;
            }
            let length = K8S_PREFIX + line.len();
            if self.used + length > self.room {
                self.make_room(length)?;
            }
            let entry = &mut self.buffer[self.used..self.used + length];
            let (head, text) = entry.split_at_mut(K8S_PREFIX);
            head.copy_from_slice(&prefix);
            text.copy_from_slice(line);
            self.used += length;
        }
        self.write_pieces(&mut prefix, &chunk[start..])
    }

    /// Writes what is too long for one entry, or has no end.
    fn write_pieces(&mut self, prefix: &mut [u8; K8S_PREFIX], chunk: &[u8]) -> io::Result<()> {
        for (text, full) in Pieces(chunk) {
            prefix[K8S_PREFIX - 2] = if full { b'F' } else { b'P' };
            self.make_room(K8S_PREFIX + text.len() + 1)?;
            self.append(&prefix[..]);
            self.append(text);
            self.append(b"\n");
        }
        prefix[K8S_PREFIX - 2] = b'F';
        Ok(())
    }

    fn write_json(&mut self, stream: Stream, chunk: &[u8], now: Timestamp) -> io::Result<()> {
        let mut carry = std::mem::take(&mut self.carry[stream as usize]);
        let joined;
        let mut chunk = chunk;
        if carry.length > 0 {
            joined = [&carry.bytes[..carry.length], chunk].concat();
            chunk = &joined;
        }
        let unfinished = unfinished_character(chunk);
        carry.length = unfinished;
        carry.bytes[..unfinished].copy_from_slice(&chunk[chunk.len() - unfinished..]);
        self.carry[stream as usize] = carry;
        let time = now.to_string();
        for (text, full) in Pieces(&chunk[..chunk.len() - unfinished]) {
            self.make_room(MAX_ENTRY.min(text.len() * 6 + 128) + self.attributes.len())?;
            let text = String::from_utf8_lossy(text);
            self.append(b"{\"log\":\"");
            self.append_escaped(&text);
            self.append(if full { b"\\n" } else { b"" });
            self.append(b"\",\"stream\":\"");
            self.append(stream.name().as_bytes());
            self.append(b"\"");
            let attributes = std::mem::take(&mut self.attributes);
            self.append(attributes.as_bytes());
            self.attributes = attributes;
            self.append(b",\"time\":\"");
            self.append(time.as_bytes());
            self.append(b"\"}\n");
        }
        Ok(())
    }

    /// Appends text as the inside of a JSON string.
    fn append_escaped(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || matches!(byte, b'"' | b'\\')) {
            self.append(&rest[..at]);
            match rest[at] {
                byte @ (b'"' | b'\\') => self.append(&[b'\\', byte]),
                b'\t' => self.append(b"\\t"),
                b'\r' => self.append(b"\\r"),
                byte => {
                    let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
                    self.append(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
                }
            }
            rest = &rest[at + 1..];
        }
        self.append(rest);
    }

    /// Sees to it that an entry of at most `length` bytes fits both the buffer and the file.
    fn make_room(&mut self, length: usize) -> io::Result<()> {
        let waiting = self.used as u64;
        let after = self.size + waiting + length as u64;
        let limit = self.limits.max_size_bytes;
        if limit > 0 && after > limit && self.size + waiting > 0 {
            self.flush()?;
            self.file = self.files.rotate(self.limits.max_files)?;
            self.size = self.file.metadata()?.len();
        } else if self.used + length > self.buffer.len() {
            self.flush()?;
        }
        let left = if limit == 0 { u64::MAX } else { limit.saturating_sub(self.size) };
        self.room = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) {
        self.buffer[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
    }

    fn flush(&mut self) -> io::Result<()> {
        let waiting = std::mem::take(&mut self.used);
        self.room = 0;
        let mut done = 0;
        while done < waiting {
            match rustix::io::retry_on_intr(|| rustix::io::write(&self.file, &self.buffer[done..waiting])) {
                Ok(written) => done += written,
                Err(errno) => {
                    self.lost_bytes += waiting as u64;
                    // What was written of this batch ends within an entry: take it back. Should that fail
                    // as well, one torn line stays, which readers show as it is.
                    self.file.set_len(self.size).ok();
                    return Err(errno.into());
                }
            }
        }
        self.size += waiting as u64;
        Ok(())
    }
}

/// Cuts a chunk at newlines and at [`MAX_TEXT`]; yields each text and whether a newline ended it.
pub(super) struct Pieces<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = (&'a [u8], bool);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let window = &self.0[..self.0.len().min(MAX_TEXT + 1)];
        match memchr::memchr(b'\n', window) {
            Some(at) => {
                let text = &self.0[..at];
                self.0 = &self.0[at + 1..];
                Some((text, true))
            }
            None => {
                let (text, rest) = self.0.split_at(window.len().min(MAX_TEXT));
                self.0 = rest;
                Some((text, false))
            }
        }
    }
}

/// How many bytes at the end of `chunk` begin a UTF-8 character that is not complete.
fn unfinished_character(chunk: &[u8]) -> usize {
    for back in 1..=chunk.len().min(3) {
        let needs = match chunk[chunk.len() - back] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => 1,
        };
        return if needs > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::entry::parse;
    use std::ffi::OsStr;
    use std::os::fd::OwnedFd;
    use std::path::Path;

    const UNLIMITED: Limits = Limits { max_size_bytes: 0, max_files: 1 };

    fn writer(dir: &Path, format: Format, limits: Limits) -> Writer {
        let dir = OwnedFd::from(File::open(dir).unwrap());
        Writer::open(LogFiles::new(dir, OsStr::new("log")), format, limits).unwrap()
    }

    fn lines(path: &Path) -> Vec<Vec<u8>> {
        let content = std::fs::read(path).unwrap();
        content.split_inclusive(|&b| b == b'\n').map(|line| line[..line.len() - 1].to_vec()).collect()
    }

    /// All bytes of the entries in a file.
    fn rejoined(format: Format, path: &Path) -> Vec<u8> {
        let mut all = Vec::new();
        for line in lines(path) {
            let entry = parse(format, &line);
            assert!(entry.timestamp().is_some(), "{}", String::from_utf8_lossy(&line));
            all.extend_from_slice(&entry.text);
            all.extend_from_slice(if entry.full { b"\n" } else { b"" });
        }
        all
    }

    #[test]
    fn pieces() {
        let long = [b'x'; MAX_TEXT];
        let exact = [&long[..], b"\n"].concat();
        let over = [&long[..], b"y\n"].concat();
        for (chunk, want) in [
            (&b""[..], vec![]),
            (b"a\nb", vec![(&b"a"[..], true), (b"b", false)]),
            (b"\n\n", vec![(b"", true), (b"", true)]),
            (&exact, vec![(&long, true)]),
            (&over, vec![(&long, false), (b"y", true)]),
        ] {
            assert_eq!(Pieces(chunk).collect::<Vec<_>>(), want);
        }
    }

    #[test]
    fn the_format_is_the_one_of_cri() {
        let dir = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-11-21T00:26:45.5Z".parse().unwrap();
        let mut log = writer(dir.path(), Format::K8s, UNLIMITED);
        log.write(Stream::Stdout, b"one\n", now).unwrap();
        log.write(Stream::Stderr, b"two", now).unwrap();

        let lines = lines(&dir.path().join("log"));
        let tail = |line: &[u8]| String::from_utf8(line[STAMP_BYTES..].to_vec()).unwrap();
        assert_eq!((tail(&lines[0]), tail(&lines[1])), (" stdout F one".into(), " stderr P two".into()));
    }

    #[test]
    fn every_byte_comes_back() {
        let mut all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        all.extend_from_slice(&[b'z'; 40_000]);
        all.extend_from_slice(b"\n\nend");
        let dir = tempfile::tempdir().unwrap();
        let mut log = writer(dir.path(), Format::K8s, UNLIMITED);
        for chunk in all.chunks(7_001) {
            log.write(Stream::Stdout, chunk, Timestamp::now()).unwrap();
        }
        assert_eq!(rejoined(Format::K8s, &dir.path().join("log")), all);
    }

    #[test]
    fn json_keeps_characters_that_chunks_split() {
        let text = "grün → 😀 \"quoted\\\" \u{1b}[0m\ttab\n".repeat(50);
        for size in 1..=5 {
            let dir = tempfile::tempdir().unwrap();
            let mut log = writer(dir.path(), Format::Json, UNLIMITED);
            for chunk in text.as_bytes().chunks(size) {
                log.write(Stream::Stdout, chunk, Timestamp::now()).unwrap();
            }
            assert_eq!(rejoined(Format::Json, &dir.path().join("log")), text.as_bytes());
        }
    }

    #[test]
    fn files_stay_within_their_limit_and_number() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { max_size_bytes: 1000, max_files: 3 };
        let mut log = writer(dir.path(), Format::K8s, limits);
        let all: Vec<u8> = (0..200).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        log.write(Stream::Stdout, &all, Timestamp::now()).unwrap();

        let mut names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["log", "log.1", "log.2"]);
        let kept: Vec<u8> = ["log.2", "log.1", "log"]
            .iter()
            .flat_map(|n| rejoined(Format::K8s, &dir.path().join(n)))
            .collect();
        assert!(all.ends_with(&kept), "the newest entries, in order");
        for name in names {
            let length = std::fs::metadata(dir.path().join(&name)).unwrap().len();
            assert!(length <= 1000, "{name:?}: {length}");
        }
    }

    #[test]
    fn one_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = writer(dir.path(), Format::K8s, Limits { max_size_bytes: 200, max_files: 1 });
        for n in 0..20 {
            log.write(Stream::Stdout, format!("line {n}\n").as_bytes(), Timestamp::now()).unwrap();
        }
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        assert!(rejoined(Format::K8s, &dir.path().join("log")).ends_with(b"line 19\n"));
    }

    #[test]
    fn a_torn_line_is_not_continued() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("log"), b"2026-01-01T00:00:0").unwrap();
        let mut log = writer(dir.path(), Format::K8s, UNLIMITED);
        log.write(Stream::Stdout, b"next\n", Timestamp::now()).unwrap();
        let lines = lines(&dir.path().join("log"));
        assert_eq!(lines[0], b"2026-01-01T00:00:0");
        assert_eq!(&*parse(Format::K8s, &lines[1]).text, b"next");
    }
}
