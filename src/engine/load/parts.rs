//! The files of an archive or directory that images are in.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::base::digest::Digest;
use crate::engine::load::shown;
use crate::engine::register::MAX_DOCUMENT;
use crate::engine::unpack::Source;
use crate::engine::{Engine, Error, Kind, Result};
use crate::store::StoreError;
use crate::store::blobs::BlobWriter;
use crate::store::staging::{self, Staged};
use crate::store::unpack::archive::{Archive, Entry, Kind as EntryKind};
use crate::store::unpack::decoder;
use crate::sys::fs::{self, OFlags, Within};

/// Files up to this length stay in memory: documents. What is longer becomes a blob at once.
const SMALL: u64 = 1 << 20;

/// Most bytes that stay in memory in all.
const SMALL_IN_ALL: u64 = 64 << 20;

/// Most parts of an archive.
const PARTS_MAX: usize = 100_000;

/// Most blobs that wait for the disk.
const UNSETTLED_MAX: usize = 100;

/// Most links that lead from one part to the next.
const LINKS_MAX: usize = 16;

/// One file.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Memory(Vec<u8>),
    /// A blob of the store and its length.
    Blob(Digest, u64),
}

/// All of them, by path.
#[derive(Debug)]
pub(super) struct Parts<'e> {
    engine: &'e Engine,
    known: HashMap<Vec<u8>, Part>,
    links: HashMap<Vec<u8>, Vec<u8>>,
    directory: Option<OwnedFd>,
    /// Blobs that are written, but not on the disk for certain and not named yet.
    unsettled: Vec<(Digest, BlobWriter)>,
    pins: Staged,
}

impl<'e> Parts<'e> {
    fn new(engine: &'e Engine) -> Result<Self> {
        Ok(Self {
            engine,
            known: HashMap::new(),
            links: HashMap::new(),
            directory: None,
            unsettled: Vec::new(),
            pins: staging::dir(engine.store())?,
        })
    }

    /// The files below a directory, read when they are asked for.
    pub(super) fn of_directory(engine: &'e Engine, path: &Path) -> Result<Self> {
        let directory =
            fs::open_base(path).map_err(|err| Error::system(format!("open {}", path.display()), err))?;
        Ok(Self { directory: Some(directory), ..Self::new(engine)? })
    }

    /// The files of a tar archive, which is read to its end.
    pub(super) fn of_archive(engine: &'e Engine, archive: Box<dyn Read + Send + '_>) -> Result<Self> {
        let mut parts = Self::new(engine)?;
        let system = |err| Error::system("read the archive", err);
        let input = BufReader::with_capacity(256 << 10, decoder(archive).map_err(system)?);
        let mut archive = Archive::new(input);
        let mut in_memory = 0;
        let unreadable = |err: crate::store::unpack::Failure, first: bool| {
            let message = "payload does not match any of the supported image formats";
            let error = Error::invalid(if first { message } else { "read the archive" });
            error.because(err)
        };
        while let Some(entry) = archive.next().map_err(|err| unreadable(err, parts.is_empty()))? {
            if parts.known.len() + parts.links.len() >= PARTS_MAX {
                return Err(Error::invalid(format!("the archive has more than {PARTS_MAX} files")));
            }
            parts.add(&entry, &mut archive, &mut in_memory).map_err(|err| match err {
                Trouble::Archive(failure) => unreadable(failure, false),
                Trouble::Other(err) => err,
            })?;
        }
        Ok(parts)
    }

    fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn add<R: std::io::BufRead>(
        &mut self,
        entry: &Entry,
        archive: &mut Archive<R>,
        in_memory: &mut u64,
    ) -> std::result::Result<(), Trouble> {
        let path = clean(&entry.path);
        match entry.kind {
            EntryKind::Symlink => {
                let dir = path.iter().rposition(|&b| b == b'/').map_or(&b""[..], |at| &path[..=at]);
                self.links.insert(path.clone(), clean(&[dir, &entry.link[..]].concat()));
                return Ok(());
            }
            EntryKind::Hardlink => {
                self.links.insert(path, clean(&entry.link));
                return Ok(());
            }
            EntryKind::Regular if entry.pieces.is_none() => {}
            // Directories, and what no image archive has.
            _ => return Ok(()),
        }
        if let Some(part) = self.present(&path, entry.size)? {
            self.known.insert(path, part);
            return Ok(());
        }
        if entry.size <= SMALL && *in_memory + entry.size <= SMALL_IN_ALL {
            let mut content = Vec::with_capacity(usize::try_from(entry.size).unwrap_or(0));
            copy(archive, |piece| {
                content.extend_from_slice(piece);
                Ok(())
            })?;
            *in_memory += entry.size;
            self.known.insert(path, Part::Memory(content));
            return Ok(());
        }
        let mut blob = self.engine.store().blobs().writer().map_err(Error::from)?;
        blob.append_all(|buffer| fill(archive, buffer))?;
        Ok(self.written(path, blob)?)
    }

    /// Takes note of a blob that is complete.
    fn written(&mut self, path: Vec<u8>, blob: BlobWriter) -> Result<()> {
        let digest = blob.content_digest();
        self.known.insert(path, Part::Blob(digest, blob.length()));
        self.unsettled.push((digest, blob));
        // Each keeps a file open.
        if self.unsettled.len() >= UNSETTLED_MAX { self.settle(false) } else { Ok(()) }
    }

    /// A blob that the store has already, if the path is a digest (`blobs/sha256/<hex>`, `<hex>.tar`).
    fn present(&self, path: &[u8], size: u64) -> Result<Option<Part>> {
        if size <= SMALL {
            return Ok(None);
        }
        let name = path.rsplit(|&b| b == b'/').next().unwrap_or_default();
        let name = name.strip_suffix(b".tar").unwrap_or(name);
        let Some(digest) = std::str::from_utf8(name).ok().and_then(|name| Digest::from_hex(name).ok()) else {
            return Ok(None);
        };
        let store = self.engine.store();
        let _lock = store.lock_shared(&mut |_, _| {})?;
        if store.blobs().length(&digest)? != Some(size) {
            return Ok(None);
        }
        self.pins.pin_blob(&digest)?;
        Ok(Some(Part::Blob(digest, size)))
    }

    /// Gives the blobs that were written their names, as soon as they are on the disk; `on_disk` says that they are.
    pub(super) fn settle(&mut self, on_disk: bool) -> Result<()> {
        if self.unsettled.is_empty() {
            return Ok(());
        }
        let store = self.engine.store();
        if !on_disk {
            fs::sync_filesystem(store.dir())
                .map_err(|err| Error::system("write the blobs to the disk", err))?;
        }
        // Without the lock, a collection could take a blob away before it is pinned.
        let _lock = store.lock_shared(&mut |_, _| {})?;
        for (digest, blob) in self.unsettled.drain(..) {
            self.pins.pin_blob(&digest)?;
            blob.finish_synced()?;
        }
        Ok(())
    }

    fn unsettled(&self, digest: &Digest) -> Option<&BlobWriter> {
        self.unsettled.iter().find(|(known, _)| known == digest).map(|(_, blob)| blob)
    }

    /// Where the bytes of a blob are, which has its name or is to get it.
    pub(super) fn source(&self, digest: &Digest) -> Result<Source> {
        match self.unsettled(digest) {
            Some(blob) => Ok(Source { blob: blob.reader()?, bytes: blob.length(), verified: true }),
            None => Source::stored(self.engine.store(), digest),
        }
    }

    /// Keeps garbage collection off layers that are about to be unpacked.
    pub(super) fn pin_layers(&self, chain: &[Digest]) -> Result<()> {
        let _lock = self.engine.store().lock_shared(&mut |_, _| {})?;
        Ok(chain.iter().try_for_each(|name| self.pins.pin_layer(name))?)
    }

    /// The part at `path`, links followed; `None` if there is none.
    pub(super) fn part(&mut self, path: &[u8]) -> Result<Option<Part>> {
        let mut path = clean(path);
        for _ in 0..LINKS_MAX {
            match self.links.get(&path) {
                Some(target) => path.clone_from(target),
                None => break,
            }
        }
        if !self.known.contains_key(&path) && self.directory.is_some() {
            self.read_file(&path)?;
        }
        Ok(self.known.get(&path).cloned())
    }

    /// Reads a file of the directory.
    fn read_file(&mut self, path: &[u8]) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let system = |err| Error::system(format!("read {}", shown(path)), err);
        let opened = fs::open_within(directory, path, Within::Root, OFlags::RDONLY | OFlags::NONBLOCK, 0);
        let file = match opened {
            Ok(file) => file,
            Err(err) if matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(()),
            Err(err) => return Err(system(err)),
        };
        let stat = fs::stat(&file).map_err(system)?;
        if fs::kind(&stat) != fs::FileType::RegularFile {
            return Ok(());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if let Some(part) = self.present(path, size)? {
            self.known.insert(path.to_vec(), part);
            return Ok(());
        }
        let mut file = File::from(file);
        if size <= SMALL {
            let mut content = Vec::new();
            file.take(SMALL + 1).read_to_end(&mut content).map_err(system)?;
            self.known.insert(path.to_vec(), Part::Memory(content));
            return Ok(());
        }
        let mut blob = self.engine.store().blobs().writer()?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer).map_err(system)? {
                0 => break,
                got => blob.append(&buffer[..got])?,
            }
        }
        self.written(path.to_vec(), blob)
    }

    /// The bytes of a document; `None` if there is none.
    pub(super) fn document(&mut self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.part(path)? {
            None => Ok(None),
            Some(Part::Memory(bytes)) => Ok(Some(bytes)),
            Some(Part::Blob(digest, _)) => {
                if self.unsettled(&digest).is_some() {
                    self.settle(false)?;
                }
                Ok(Some(self.engine.store().blobs().read_small(&digest, MAX_DOCUMENT)?))
            }
        }
    }

    /// The first bytes of a part.
    pub(super) fn start(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        match self.part(path)? {
            None => Err(missing(path)),
            Some(Part::Memory(bytes)) => Ok(bytes[..bytes.len().min(8)].to_vec()),
            Some(Part::Blob(digest, _)) => {
                let mut start = Vec::new();
                let read = self.source(&digest)?.blob.take(8).read_to_end(&mut start);
                read.map_err(|err| Error::system("read a blob", err))?;
                Ok(start)
            }
        }
    }

    /// Makes a part a blob of the store; returns digest and length.
    pub(super) fn blob(&mut self, path: &[u8]) -> Result<(Digest, u64)> {
        match self.part(path)? {
            None => Err(missing(path)),
            Some(Part::Blob(digest, size)) => Ok((digest, size)),
            Some(Part::Memory(bytes)) => {
                let store = self.engine.store();
                let _lock = store.lock_shared(&mut |_, _| {})?;
                self.pins.pin_blob(&Digest::of(&bytes))?;
                Ok((store.blobs().put(&bytes)?, bytes.len() as u64))
            }
        }
    }

    /// Digest and length of a part.
    pub(super) fn digest(&mut self, path: &[u8]) -> Result<(Digest, u64)> {
        match self.part(path)? {
            None => Err(missing(path)),
            Some(Part::Blob(digest, size)) => Ok((digest, size)),
            Some(Part::Memory(bytes)) => Ok((Digest::of(&bytes), bytes.len() as u64)),
        }
    }
}

fn missing(path: &[u8]) -> Error {
    Error::new(Kind::Invalid, format!("the archive lacks {:?}", shown(path)))
}

enum Trouble {
    Archive(crate::store::unpack::Failure),
    Other(Error),
}

impl From<crate::store::unpack::Failure> for Trouble {
    fn from(failure: crate::store::unpack::Failure) -> Self {
        Self::Archive(failure)
    }
}

impl From<StoreError> for Trouble {
    fn from(err: StoreError) -> Self {
        Self::Other(err.into())
    }
}

impl From<Error> for Trouble {
    fn from(err: Error) -> Self {
        Self::Other(err)
    }
}

/// Bytes of a blob that are written at once.
const PIECE_BYTES: usize = 1 << 20;

/// Puts the next bytes of the current entry into `buffer`, which is empty; none at the entry's end.
fn fill<R: std::io::BufRead>(
    archive: &mut Archive<R>,
    buffer: &mut Vec<u8>,
) -> std::result::Result<(), Trouble> {
    buffer.reserve(PIECE_BYTES);
    while buffer.len() < PIECE_BYTES {
        let piece = archive.data()?;
        let length = piece.len().min(PIECE_BYTES - buffer.len());
        if length == 0 {
            break;
        }
        buffer.extend_from_slice(&piece[..length]);
        archive.consume(length);
    }
    Ok(())
}

/// Gives the data of the current entry to `take`.
fn copy<R: std::io::BufRead>(
    archive: &mut Archive<R>,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> std::result::Result<(), Trouble> {
    loop {
        let piece = archive.data()?;
        if piece.is_empty() {
            return Ok(());
        }
        take(piece)?;
        let length = piece.len();
        archive.consume(length);
    }
}

/// A path without `.`, `..`, leading and doubled slashes. What leads above the top stays there.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|&b| b == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for (path, want) in
            [("./a//b/", "a/b"), ("/../x", "x"), ("a/../../b", "b"), ("d/../e.tar", "e.tar"), ("", "")]
        {
            assert_eq!(clean(path.as_bytes()), want.as_bytes(), "{path}");
        }
    }
}
