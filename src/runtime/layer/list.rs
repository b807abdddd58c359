//! Changes as a list.
//!
//! Through the pipe: for each change one letter (`A`, `C`, `D`), the path with a leading slash, a NUL.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;

use crate::base::bytes::Bytes;
use crate::runtime::layer::walk::{Found, Sink};
use crate::runtime::layer::{Result, written};

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Added,
    Changed,
    Deleted,
}

/// One path that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) kind: ChangeKind,
    /// Absolute.
    pub(crate) path: Bytes,
}

impl ChangeKind {
    /// The letter of `diff`.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }

    fn of_letter(letter: u8) -> Option<Self> {
        match letter {
            b'A' => Some(Self::Added),
            b'C' => Some(Self::Changed),
            b'D' => Some(Self::Deleted),
            _ => None,
        }
    }
}

/// Writes the list.
pub(super) struct List<'a, W> {
    out: &'a mut W,
}

impl<'a, W: Write> List<'a, W> {
    pub(super) fn new(out: &'a mut W) -> Self {
        Self { out }
    }

    fn write(&mut self, letter: u8, path: &[u8]) -> Result<()> {
        self.out.write_all(&[&[letter, b'/'], path, b"\0"].concat()).map_err(written)
    }
}

impl<W: Write> Sink for List<'_, W> {
    fn found(&mut self, found: &Found<'_>) -> Result<()> {
        self.write(if found.is_new { b'A' } else { b'C' }, found.path)
    }

    fn deleted(&mut self, path: &[u8]) -> Result<()> {
        self.write(b'D', path)
    }

    fn opaque(&mut self, path: &[u8], hidden: &[OsString]) -> Result<()> {
        hidden.iter().try_for_each(|name| self.write(b'D', &[path, b"/", name.as_bytes()].concat()))
    }
}

/// Reads the list.
///
/// # Errors
///
/// If the pipe cannot be read, or holds something else.
pub(super) fn read(mut pipe: File) -> io::Result<Vec<Change>> {
    let mut text = Vec::new();
    pipe.read_to_end(&mut text)?;
    let parts = text.split(|&b| b == 0).filter(|part| !part.is_empty());
    let change = |part: &[u8]| {
        let kind = part.first().copied().and_then(ChangeKind::of_letter)?;
        Some(Change { kind, path: Bytes::from(&part[1..]) })
    };
    parts.map(|part| change(part).ok_or_else(|| io::ErrorKind::InvalidData.into())).collect()
}
