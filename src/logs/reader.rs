//! Reading a log: all of it, its end, a span of time, and what is added while one watches.
//!
//! ```text
//! log.2  log.1  log          oldest → newest
//!        ├──▶ start          --tail: counted backwards from the end, block by block
//!   ├──▶ start               --since: halving, entries are in order of time
//! ```
//!
//! So the cost of a start is that of a few blocks, whatever the size of the log.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use jiff::Timestamp;

use crate::logs::entry::{Entry, parse};
use crate::logs::files::Identity;
use crate::logs::{Format, LogFiles};

/// How much is read at once.
const BLOCK: usize = 256 * 1024;
/// How much is read at once on the way back from the end, and where halving stops.
const SEARCH_BLOCK: u64 = 64 * 1024;
/// A line longer than this is shown in pieces: no writer makes one.
const MAX_LINE: usize = 16 * 1024 * 1024;

/// Which entries are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    /// Only this many lines from the end.
    pub(crate) tail: Option<u64>,
    /// Nothing recorded before this.
    pub(crate) since: Option<Timestamp>,
    /// Nothing recorded after this.
    pub(crate) until: Option<Timestamp>,
}

/// A place in a log, and what is wanted from there on.
#[derive(Debug)]
pub(crate) struct Reader {
    files: LogFiles,
    format: Format,
    query: Query,
    /// The file being read; `None` until the log exists.
    file: Option<File>,
    /// Files after `file`, the next one last.
    younger: Vec<File>,
    /// Where `file` is read next.
    position: u64,
    buffer: Vec<u8>,
    /// How much of `buffer` holds bytes from before `position`, the beginning of a line.
    filled: usize,
    /// The answer for the last time that was compared: many entries share one.
    last_time: (Vec<u8>, Place),
    finished: bool,
}

/// Where an entry is in relation to the wanted span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Before,
    Within,
    After,
}

impl Reader {
    /// Finds the first wanted entry.
    ///
    /// # Errors
    ///
    /// Opening or reading the files. That there is no log yet is not an error.
    pub(crate) fn open(files: LogFiles, format: Format, query: Query) -> io::Result<Self> {
        let mut all = files.open_all()?;
        let (index, position) = find_start(&all, format, &query)?;
        let mut younger: Vec<File> = all.drain(index.min(all.len())..).collect();
        younger.reverse();
        let file = younger.pop();
        Ok(Self {
            files,
            format,
            query,
            file,
            younger,
            position,
            buffer: Vec::new(),
            filled: 0,
            last_time: (Vec::new(), Place::Within),
            finished: false,
        })
    }

    /// The directory of the log, to watch it.
    pub(crate) fn dir(&self) -> std::os::fd::BorrowedFd<'_> {
        self.files.dir()
    }

    /// True once an entry after `until` was met: there is nothing more to come.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Gives each wanted entry that was recorded before this call to `sink`; what is written
    /// meanwhile may or may not be among them, but an endless writer does not make this endless.
    ///
    /// # Errors
    ///
    /// Reading, and what `sink` answers.
    pub(crate) fn read_present(
        &mut self,
        mut sink: impl FnMut(&Entry<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        while let Some(file) = &self.file {
            // The younger files are complete but for the last.
            let end = file.metadata()?.len();
            self.read_file(end, &mut sink)?;
            let Some(next) = self.younger.pop() else { break };
            self.read_rest(&mut sink)?;
            self.enter(next);
        }
        self.read_unfinished(&mut sink)
    }

    /// As [`Self::read_present`], but also crosses to files that rotation has made since, and leaves
    /// an unfinished line for the next call. For following.
    ///
    /// # Errors
    ///
    /// Reading, and what `sink` answers.
    pub(crate) fn read_new(&mut self, mut sink: impl FnMut(&Entry<'_>) -> io::Result<()>) -> io::Result<()> {
        while !self.finished {
            if let Some(file) = &self.file {
                let end = file.metadata()?.len();
                self.read_file(end, &mut sink)?;
            }
            let next = match self.younger.pop() {
                Some(next) => Some(next),
                None => self.files.successor(self.file.as_ref().map(Identity::of).transpose()?)?,
            };
            let Some(next) = next else { break };
            // It was the newest when its length was asked for; now its writer has left it for good.
            self.read_rest(&mut sink)?;
            self.enter(next);
        }
        Ok(())
    }

    fn enter(&mut self, next: File) {
        self.file = Some(next);
        self.position = 0;
        self.filled = 0;
    }

    /// Reads to the end of a file that nobody writes to any more.
    fn read_rest(&mut self, sink: &mut impl FnMut(&Entry<'_>) -> io::Result<()>) -> io::Result<()> {
        if let Some(file) = &self.file {
            let end = file.metadata()?.len();
            self.read_file(end, sink)?;
        }
        self.read_unfinished(sink)
    }

    /// Shows what is left of a torn line.
    fn read_unfinished(&mut self, sink: &mut impl FnMut(&Entry<'_>) -> io::Result<()>) -> io::Result<()> {
        let line = std::mem::take(&mut self.buffer);
        let length = std::mem::take(&mut self.filled);
        if length > 0 && !self.finished {
            self.offer(&line[..length], sink)?;
        }
        self.buffer = line;
        Ok(())
    }

    /// Reads the current file up to `end`, line by line.
    fn read_file(&mut self, end: u64, sink: &mut impl FnMut(&Entry<'_>) -> io::Result<()>) -> io::Result<()> {
        // Taken out, so that lines in it and the rest of `self` can be used together.
        let mut buffer = std::mem::take(&mut self.buffer);
        while self.position < end && !self.finished {
            if buffer.len() < self.filled + BLOCK / 2 {
                buffer.resize((self.filled * 2).max(BLOCK), 0);
            }
            let Some(file) = &self.file else { break };
            let read = file.read_at(&mut buffer[self.filled..], self.position)?;
            if read == 0 {
                break;
            }
            self.position += read as u64;
            let filled = self.filled + read;
            let mut start = 0;
            for newline in memchr::memchr_iter(b'\n', &buffer[..filled]) {
                self.offer(&buffer[start..newline], sink)?;
                start = newline + 1;
                if self.finished {
                    break;
                }
            }
            if start == 0 && filled > MAX_LINE {
                self.offer(&buffer[..filled], sink)?;
                start = filled;
            }
            buffer.copy_within(start..filled, 0);
            self.filled = filled - start;
        }
        self.buffer = buffer;
        Ok(())
    }

    /// Gives a line to the sink if it is wanted.
    fn offer(&mut self, line: &[u8], sink: &mut impl FnMut(&Entry<'_>) -> io::Result<()>) -> io::Result<()> {
        let entry = parse(self.format, line);
        match self.place(&entry) {
            Place::Within => sink(&entry),
            Place::Before => Ok(()),
            Place::After => {
                self.finished = true;
                Ok(())
            }
        }
    }

    fn place(&mut self, entry: &Entry<'_>) -> Place {
        if self.query.since.is_none() && self.query.until.is_none() {
            return Place::Within;
        }
        if self.last_time.0 == *entry.time {
            return self.last_time.1;
        }
        let Some(time) = entry.timestamp() else { return self.last_time.1 };
        let place = match (self.query.since, self.query.until) {
            (Some(since), _) if time < since => Place::Before,
            (_, Some(until)) if time > until => Place::After,
            _ => Place::Within,
        };
        self.last_time = (entry.time.to_vec(), place);
        place
    }
}

/// The file, and the place in it, where the first wanted entry is or nearly is.
fn find_start(files: &[File], format: Format, query: &Query) -> io::Result<(usize, u64)> {
    let by_tail = match query.tail {
        Some(count) => start_of_tail(files, format, count)?,
        None => (0, 0),
    };
    let by_time = match query.since {
        Some(since) => start_of_time(files, format, since)?,
        None => (0, 0),
    };
    Ok(by_tail.max(by_time))
}

/// Where the last `count` lines begin. A line without its end counts as one.
fn start_of_tail(files: &[File], format: Format, count: u64) -> io::Result<(usize, u64)> {
    let mut found = 0;
    let mut newest = true;
    for (index, file) in files.iter().enumerate().rev() {
        let mut lines = LinesBackward::new(file)?;
        if count == 0 {
            return Ok((index, lines.end));
        }
        while let Some((start, line)) = lines.previous()? {
            let length = line.len() as u64;
            let full = parse(format, line).full;
            if full && found == count {
                return Ok((index, start + length + 1));
            }
            found += u64::from(full || newest);
            newest = false;
        }
    }
    Ok((0, 0))
}

/// Where to begin to meet every entry since `since`: in the last file that begins before it, near it.
fn start_of_time(files: &[File], format: Format, since: Timestamp) -> io::Result<(usize, u64)> {
    for (index, file) in files.iter().enumerate().rev() {
        let mut low = 0;
        let mut high = file.metadata()?.len();
        match time_after(file, format, 0)? {
            Some((time, _)) if time < since => {}
            _ => continue,
        }
        while high - low > SEARCH_BLOCK {
            let middle = low + (high - low) / 2;
            match time_after(file, format, middle)? {
                Some((time, start)) if time < since && start < high => low = start,
                _ => high = middle,
            }
        }
        return Ok((index, low));
    }
    Ok((0, 0))
}

/// The time of the first entry that begins at or after `offset` (0: at the very beginning), and where
/// that is; `None` if a block holds none.
fn time_after(file: &File, format: Format, offset: u64) -> io::Result<Option<(Timestamp, u64)>> {
    let mut block = vec![0; usize::try_from(SEARCH_BLOCK * 2).expect("a small constant")];
    let read = file.read_at(&mut block, offset)?;
    let block = &block[..read];
    let mut start = match offset {
        0 => 0,
        _ => match memchr::memchr(b'\n', block) {
            Some(newline) => newline + 1,
            None => return Ok(None),
        },
    };
    while start < block.len() {
        let end = memchr::memchr(b'\n', &block[start..]).map_or(block.len(), |length| start + length);
        if let Some(time) = parse(format, &block[start..end]).timestamp() {
            return Ok(Some((time, offset + start as u64)));
        }
        start = end + 1;
    }
    Ok(None)
}

/// The lines of a file, the last one first.
struct LinesBackward<'a> {
    file: &'a File,
    /// Length of the file.
    end: u64,
    /// Where `buffer` begins in the file.
    offset: u64,
    /// Bytes of the file from `offset` on.
    buffer: Vec<u8>,
    /// How much of `buffer` has not been given out, its last newline left off.
    left: usize,
    /// The first line was given out.
    done: bool,
}

impl<'a> LinesBackward<'a> {
    fn new(file: &'a File) -> io::Result<Self> {
        let end = file.metadata()?.len();
        let mut lines = Self { file, end, offset: end, buffer: Vec::new(), left: 0, done: end == 0 };
        lines.grow()?;
        if lines.buffer.last() == Some(&b'\n') {
            lines.left -= 1;
        }
        Ok(lines)
    }

    /// Puts the block before `buffer` in front of what is left.
    fn grow(&mut self) -> io::Result<()> {
        let length = self.offset.min(SEARCH_BLOCK);
        self.offset -= length;
        let mut block = vec![0; usize::try_from(length).expect("at most a block")];
        self.file.read_exact_at(&mut block, self.offset)?;
        block.extend_from_slice(&self.buffer[..self.left]);
        self.buffer = block;
        self.left = self.buffer.len();
        Ok(())
    }

    /// The line before, without its newline, and where it begins.
    fn previous(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        if self.done {
            return Ok(None);
        }
        loop {
            if let Some(newline) = memchr::memrchr(b'\n', &self.buffer[..self.left]) {
                let line = newline + 1..self.left;
                self.left = newline;
                return Ok(Some((self.offset + line.start as u64, &self.buffer[line])));
            }
            if self.offset == 0 {
                self.done = true;
                return Ok(Some((0, &self.buffer[..self.left])));
            }
            self.grow()?;
        }
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
