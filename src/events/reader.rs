//! Reading events, those of the past and those that come.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::events::{Event, beside};

/// How much is read at once.
const BLOCK: usize = 256 << 10;

/// A place in a file of events, and in the older one beside it.
#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    /// The older file, until it is read.
    older: Option<File>,
    current: Option<File>,
    /// Where in `current` to go on.
    position: u64,
}

impl Reader {
    /// Begins with the oldest event, or with the next to come.
    ///
    /// # Errors
    ///
    /// If the files cannot be read. That there are none yet is no error.
    pub(crate) fn open(path: &Path, only_new: bool) -> io::Result<Self> {
        let (path, current) = (path.to_owned(), open(path)?);
        if only_new {
            let position = current.as_ref().map_or(Ok(0), |file| file.metadata().map(|meta| meta.len()))?;
            return Ok(Self { path, older: None, current, position });
        }
        // After `current`: a file that is renamed meanwhile is met twice, not missed.
        let mut older = open(&beside(&path, ".1"))?;
        if same(older.as_ref(), current.as_ref())? {
            older = None;
        }
        Ok(Self { path, older, current, position: 0 })
    }

    /// Gives each event from here on to `sink`.
    ///
    /// # Errors
    ///
    /// Reading.
    pub(crate) fn read(&mut self, mut sink: impl FnMut(Event)) -> io::Result<()> {
        if let Some(older) = self.older.take() {
            read_from(&older, 0, &mut sink)?;
        }
        loop {
            if let Some(file) = &self.current {
                self.position = read_from(file, self.position, &mut sink)?;
            }
            let newest = open(&self.path)?;
            if newest.is_none() || same(newest.as_ref(), self.current.as_ref())? {
                return Ok(());
            }
            // It was renamed since: what came before that is read now, once more before it is left.
            if let Some(file) = &self.current {
                self.position = read_from(file, self.position, &mut sink)?;
                self.read_between(&mut sink)?;
            }
            (self.current, self.position) = (newest, 0);
        }
    }

    /// Two renames since the last look: there is a whole file between the one known and the newest.
    fn read_between(&self, sink: &mut impl FnMut(Event)) -> io::Result<()> {
        let Some(between) = open(&beside(&self.path, ".1"))? else { return Ok(()) };
        if !same(Some(&between), self.current.as_ref())? {
            read_from(&between, 0, sink)?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

fn same(a: Option<&File>, b: Option<&File>) -> io::Result<bool> {
    let (Some(a), Some(b)) = (a, b) else { return Ok(false) };
    let (a, b) = (a.metadata()?, b.metadata()?);
    Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
}

/// Reads whole lines from `position` on; answers where they end. A line that is no event is left out.
fn read_from(file: &File, mut position: u64, sink: &mut impl FnMut(Event)) -> io::Result<u64> {
    let mut buffer = vec![0; BLOCK];
    loop {
        let length = file.read_at(&mut buffer, position)?;
        let Some(end) = memchr::memrchr(b'\n', &buffer[..length]) else {
            if length < buffer.len() {
                return Ok(position);
            }
            // A line longer than the buffer.
            buffer.resize(buffer.len() * 2, 0);
            continue;
        };
        for line in buffer[..end].split(|&byte| byte == b'\n') {
            if let Ok(event) = serde_json::from_slice(line) {
                sink(event);
            }
        }
        position += end as u64 + 1;
    }
}
