//! The archive that is being written.
//!
//! ```text
//! header A │ … A … │ header B │ … B … │ manifest.json │ end      a regular file: the gaps are filled by
//!              ▲                  ▲                              several threads at once (reserve, fill)
//!              └── inflate ───────┴── inflate
//! ```
//!
//! A pipe takes one part after the other.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::base::digest::Digest;
use crate::base::order::InOrder as _;
use crate::base::tar::{self, Entry, Kind};
use crate::engine::{Error, Result};

/// Most threads that fill reserved files.
const THREADS_MAX: usize = 8;

/// What takes an archive.
pub(crate) struct Output<'a> {
    to: To<'a>,
    /// What is in it already, by name.
    written: HashSet<String>,
}

enum To<'a> {
    /// A file, pipe or device.
    File(File),
    /// Something that carries it on.
    Stream(&'a mut dyn Write),
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.to {
            To::File(file) => f.debug_tuple("Output").field(file).finish(),
            To::Stream(_) => f.write_str("Output(…)"),
        }
    }
}

impl<'a> Output<'a> {
    /// Writes to `file` from where it is.
    pub(crate) fn new(file: File) -> Self {
        Self { to: To::File(file), written: HashSet::new() }
    }

    /// Writes to what takes one piece after the other.
    pub(crate) fn streaming(stream: &'a mut dyn Write) -> Self {
        Self { to: To::Stream(stream), written: HashSet::new() }
    }

    /// True if the archive has no `name` yet; from now on it counts as written.
    pub(in crate::engine) fn is_new(&mut self, name: &str) -> bool {
        self.written.insert(name.to_owned())
    }

    /// Adds a file that is in memory.
    pub(in crate::engine) fn add(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.header(name, content.len() as u64)?;
        self.write_all(content).and_then(|()| self.pad(content.len() as u64)).map_err(written)
    }

    /// Adds a file of a known length.
    ///
    /// # Errors
    ///
    /// Also if `content` has another length.
    pub(super) fn add_from(&mut self, name: &str, length: u64, content: &mut dyn Read) -> Result<()> {
        self.header(name, length)?;
        copy(name, length, content, |_, piece| self.write_all(piece))?;
        self.pad(length).map_err(written)
    }

    /// True if parts can be written in any order: to a regular file, unless all is appended to it.
    pub(super) fn is_seekable(&self) -> bool {
        let To::File(file) = &self.to else { return false };
        let is_file = file.metadata().is_ok_and(|meta| meta.is_file());
        let flags = rustix::fs::fcntl_getfl(file);
        is_file && flags.is_ok_and(|flags| !flags.contains(rustix::fs::OFlags::APPEND))
    }

    /// Adds a file of a known length that is [filled](Self::fill) later; returns where its content goes.
    pub(super) fn reserve(&mut self, name: &str, length: u64) -> Result<u64> {
        self.header(name, length)?;
        let To::File(file) = &mut self.to else { return Err(written(io::ErrorKind::NotSeekable.into())) };
        let at = file.stream_position().map_err(written)?;
        file.seek(SeekFrom::Start(at + length)).map_err(written)?;
        self.pad(length).map_err(written)?;
        Ok(at)
    }

    /// Writes the content of reserved files, several at once, the longest first. `open` gives what is in a
    /// blob.
    ///
    /// # Errors
    ///
    /// The first failure ends all; also if a file has another length than was reserved.
    pub(super) fn fill(
        &self,
        mut gaps: Vec<Gap>,
        open: impl Fn(&Digest) -> Result<Box<dyn Read>> + Sync,
    ) -> Result<()> {
        // Only a file has them.
        let To::File(file) = &self.to else { return Ok(()) };
        gaps.order_by_key(|gap| std::cmp::Reverse(gap.length));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        let work = || {
            while let Some(gap) = gaps.get(next.fetch_add(1, Ordering::Relaxed)) {
                let filled = open(&gap.blob).and_then(|mut content| {
                    copy(&gap.name, gap.length, &mut content, |at, piece| {
                        file.write_all_at(piece, gap.at + at)
                    })
                });
                if let Err(err) = filled {
                    next.store(gaps.len(), Ordering::Relaxed);
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(err);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.min(THREADS_MAX).min(gaps.len()) {
                let thread = std::thread::Builder::new().name("inflate".into()).stack_size(1 << 20);
                // With fewer threads it takes longer.
                if thread.spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Adds a blob as it is: the kernel copies, or shares the blocks.
    pub(in crate::engine) fn add_file(&mut self, name: &str, blob: &File, length: u64) -> Result<()> {
        self.header(name, length)?;
        let mut blob = blob.take(length);
        let copied = match &mut self.to {
            To::File(file) => io::copy(&mut blob, file),
            To::Stream(stream) => io::copy(&mut blob, *stream),
        };
        let copied = copied.map_err(written)?;
        if copied != length {
            return Err(Error::system(format!("read {name}"), "it is shorter than it was"));
        }
        self.pad(length).map_err(written)
    }

    /// Adds a directory.
    pub(in crate::engine) fn add_directory(&mut self, name: &str) -> Result<()> {
        self.write_all(&Entry::new(Kind::Directory, name.as_bytes(), 0o755).header()).map_err(written)
    }

    /// Ends the archive.
    pub(in crate::engine) fn finish(&mut self) -> Result<()> {
        self.write_all(&tar::END).map_err(written)
    }

    fn header(&mut self, name: &str, size: u64) -> Result<()> {
        let entry = Entry { size, ..Entry::new(Kind::Regular, name.as_bytes(), 0o644) };
        self.write_all(&entry.header()).map_err(written)
    }

    fn pad(&mut self, length: u64) -> io::Result<()> {
        self.write_all(tar::padding(length))
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to {
            To::File(file) => file.write(bytes),
            To::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            To::File(file) => file.flush(),
            To::Stream(stream) => stream.flush(),
        }
    }
}

/// A part of an archive that is still to be written.
#[derive(Debug)]
pub(super) struct Gap {
    pub(super) name: String,
    /// Where its content begins.
    pub(super) at: u64,
    pub(super) length: u64,
    /// The blob it is filled from.
    pub(super) blob: Digest,
}

/// Hands all of `content`, which must have this length, to `write`, each piece with its place.
fn copy(
    name: &str,
    length: u64,
    content: &mut dyn Read,
    mut write: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> Result<()> {
    let other_length = || Error::system(format!("read {name}"), "it has another length than it had");
    let mut buffer = vec![0; 256 << 10];
    let mut done = 0;
    loop {
        let got = match content.read(&mut buffer) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(|err| Error::system(format!("read {name}"), err))?,
        };
        match (got as u64).checked_add(done) {
            _ if got == 0 && done == length => return Ok(()),
            Some(now) if got > 0 && now <= length => {
                write(done, &buffer[..got]).map_err(written)?;
                done = now;
            }
            _ => return Err(other_length()),
        }
    }
}

fn written(err: io::Error) -> Error {
    Error::system("write the archive", err)
}
