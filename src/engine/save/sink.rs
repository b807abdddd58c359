//! The archive that is being written.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};

use crate::base::tar::{self, Entry, Kind};
use crate::engine::{Error, Result};

/// A file, pipe or device that takes an archive.
#[derive(Debug)]
pub(crate) struct Output {
    file: File,
    /// What is in it already, by name.
    written: HashSet<String>,
}

impl Output {
    /// Writes to `file` from where it is.
    pub(crate) fn new(file: File) -> Self {
        Self { file, written: HashSet::new() }
    }

    /// True if the archive has no `name` yet; from now on it counts as written.
    pub(in crate::engine) fn is_new(&mut self, name: &str) -> bool {
        self.written.insert(name.to_owned())
    }

    /// Adds a file that is in memory.
    pub(in crate::engine) fn add(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.header(name, content.len() as u64)?;
        self.file.write_all(content).and_then(|()| self.pad(content.len() as u64)).map_err(written)
    }

    /// Adds a file of a known length.
    ///
    /// # Errors
    ///
    /// Also if `content` has another length.
    pub(super) fn add_from(&mut self, name: &str, length: u64, content: &mut dyn Read) -> Result<()> {
        self.header(name, length)?;
        let mut buffer = vec![0; 256 << 10];
        let mut left = length;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let got = match content.read(&mut buffer[..wanted]) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(|err| Error::system(format!("read {name}"), err))?,
            };
            if got == 0 {
                return Err(Error::system(format!("read {name}"), "it is shorter than it was"));
            }
            self.file.write_all(&buffer[..got]).map_err(written)?;
            left -= got as u64;
        }
        self.pad(length).map_err(written)
    }

    /// Adds a blob as it is: the kernel copies, or shares the blocks.
    pub(in crate::engine) fn add_file(&mut self, name: &str, blob: &File, length: u64) -> Result<()> {
        self.header(name, length)?;
        let copied = io::copy(&mut blob.take(length), &mut self.file).map_err(written)?;
        if copied != length {
            return Err(Error::system(format!("read {name}"), "it is shorter than it was"));
        }
        self.pad(length).map_err(written)
    }

    /// Adds a directory.
    pub(in crate::engine) fn add_directory(&mut self, name: &str) -> Result<()> {
        self.file.write_all(&Entry::new(Kind::Directory, name.as_bytes(), 0o755).header()).map_err(written)
    }

    /// Ends the archive.
    pub(in crate::engine) fn finish(&mut self) -> Result<()> {
        self.file.write_all(&tar::END).map_err(written)
    }

    fn header(&mut self, name: &str, size: u64) -> Result<()> {
        let entry = Entry { size, ..Entry::new(Kind::Regular, name.as_bytes(), 0o644) };
        self.file.write_all(&entry.header()).map_err(written)
    }

    fn pad(&mut self, length: u64) -> io::Result<()> {
        self.file.write_all(tar::padding(length))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn written(err: io::Error) -> Error {
    Error::system("write the archive", err)
}
