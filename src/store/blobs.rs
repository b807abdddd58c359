//! Exact bytes as pulled or built, named by their SHA-256.
//!
//! ```text
//! blobs/partial/<hex>   grows by append; its writer holds a flock on it; kept for the next command
//!        │ commit: length and digest are right, bytes are on the disk
//!        ▼
//! blobs/sha256/<hex>    immutable; whoever has the name has the verified whole
//! ```
//!
//! A reader may open the partial file and follow its growth ([`Partial::reader`]): that is how a layer
//! is unpacked while it downloads. After the commit its descriptor refers to the finished blob.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use sha2::{Digest as _, Sha256};

use crate::base::digest::Digest;
use crate::store::error::{Result, StoreError, io_error};
use crate::store::{Store, record, staging};
use crate::sys::failpoint;
use crate::sys::fs::{self, OFlags, Share};

/// Dirty bytes after which the kernel is asked to start writing, so that the commit waits less.
const WRITEBACK_BYTES: u64 = 16 << 20;

/// The blobs of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blobs<'a> {
    store: &'a Store,
}

/// A download that is not complete; this process is its only writer.
#[derive(Debug)]
pub(crate) struct Partial {
    file: File,
    path: PathBuf,
    digest: Digest,
    length: u64,
    hash: Sha256,
    written_back: u64,
}

/// A blob whose digest is not known before its last byte. Dropping it gives it up.
#[derive(Debug)]
pub(crate) struct BlobWriter {
    store_dir: std::os::fd::OwnedFd,
    /// Where it grows; absolute.
    path: PathBuf,
    /// The same, relative to the store.
    staged: PathBuf,
    root: PathBuf,
    file: File,
    length: u64,
    hash: Sha256,
    written_back: u64,
    finished: bool,
}

impl BlobWriter {
    /// Adds bytes at the end.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.write(bytes)?;
        self.hash.update(bytes);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(io_error("write", &self.path))?;
        self.length += bytes.len() as u64;
        if self.length - self.written_back >= WRITEBACK_BYTES {
            fs::start_writeback(&self.file, self.written_back, self.length - self.written_back).ok();
            self.written_back = self.length;
        }
        Ok(())
    }

    /// Adds at the end what `next` gives, piece by piece, until it gives an empty one. A thread hashes each piece while
    /// the next one is read and written.
    ///
    /// # Errors
    ///
    /// What `next` fails with; if the file cannot be written.
    pub(crate) fn append_all<E: From<StoreError>>(
        &mut self,
        mut next: impl FnMut(&mut Vec<u8>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let (full, pieces) = sync_channel::<Vec<u8>>(2);
        let (spent, empty) = sync_channel::<Vec<u8>>(3);
        let mut hash = std::mem::take(&mut self.hash);
        std::thread::scope(|scope| {
            let hashing = std::thread::Builder::new().name("hash".into()).stack_size(256 << 10);
            let hashing = hashing.spawn_scoped(scope, move || {
                for piece in pieces {
                    hash.update(&piece);
                    spent.try_send(piece).ok();
                }
                hash
            });
            let hashing = hashing.map_err(|err| E::from(io_error("hash", &self.path)(err)))?;
            let written = loop {
                let mut piece = empty.try_recv().unwrap_or_default();
                piece.clear();
                match next(&mut piece) {
                    Ok(()) if piece.is_empty() => break Ok(()),
                    Ok(()) => {}
                    Err(err) => break Err(err),
                }
                if let Err(err) = self.write(&piece) {
                    break Err(err.into());
                }
                // It takes all until this end is dropped.
                full.send(piece).ok();
            };
            drop(full);
            self.hash = hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            written
        })
    }

    /// The digest of the bytes that are there.
    pub(crate) fn content_digest(&self) -> Digest {
        Digest::from_hash(self.hash.clone())
    }

    /// Its bytes, to be read before it has its name.
    pub(crate) fn reader(&self) -> Result<File> {
        File::open(&self.path).map_err(io_error("open", &self.path))
    }

    /// How many bytes are there.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Writes its bytes to the disk, so that [`finish`](Self::finish) takes no time.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(io_error("sync", &self.path))
    }

    /// Gives the blob its name, once its bytes are on the disk; returns its digest and length. One that
    /// is there already is a success.
    pub(crate) fn finish(self) -> Result<(Digest, u64)> {
        self.sync()?;
        self.finish_synced()
    }

    /// Like [`finish`](Self::finish), after the caller has synced the whole file system.
    pub(crate) fn finish_synced(mut self) -> Result<(Digest, u64)> {
        let digest = Digest::from_hash(std::mem::replace(&mut self.hash, Sha256::new()));
        let to = Blobs::relative(&digest);
        fs::rename(&self.store_dir, &self.staged, &self.store_dir, &to)
            .map_err(io_error("rename to", self.root.join(&to)))?;
        self.finished = true;
        let dir = PathBuf::from("blobs/sha256");
        let synced = fs::open_dir(&self.store_dir, &dir).and_then(fs::sync);
        synced.map_err(io_error("sync", self.root.join(&dir)))?;
        Ok((digest, self.length))
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed now is swept later.
            fs::unlink(&self.store_dir, &self.staged).ok();
        }
    }
}

/// What is there of a blob.
#[derive(Debug)]
pub(crate) enum Claim {
    /// All of it: the blob and its length.
    Present(File, u64),
    /// A part, possibly empty, that this process may now append to.
    Partial(Partial),
    /// Another process is writing it.
    Busy,
}

impl Store {
    /// The blobs.
    pub(crate) fn blobs(&self) -> Blobs<'_> {
        Blobs { store: self }
    }
}

impl Blobs<'_> {
    /// Where a blob lies, relative to the store.
    pub(in crate::store) fn relative(digest: &Digest) -> PathBuf {
        PathBuf::from("blobs/sha256").join(digest.hex())
    }

    fn partial_path(digest: &Digest) -> PathBuf {
        PathBuf::from("blobs/partial").join(digest.hex())
    }

    /// The path of a blob, there or not.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.store.root().join(Self::relative(digest))
    }

    /// The length of a blob in bytes, if it is there.
    pub(crate) fn length(&self, digest: &Digest) -> Result<Option<u64>> {
        match fs::stat_at(self.store.dir(), Self::relative(digest)) {
            Ok(stat) => Ok(Some(u64::try_from(stat.st_size).unwrap_or(0))),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(io_error("inspect", self.path(digest))(err)),
        }
    }

    /// Is the blob there?
    pub(crate) fn has(&self, digest: &Digest) -> Result<bool> {
        Ok(self.length(digest)?.is_some())
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`].
    pub(crate) fn open(&self, digest: &Digest) -> Result<File> {
        match fs::open_at(self.store.dir(), Self::relative(digest), OFlags::RDONLY, 0) {
            Ok(file) => Ok(File::from(file)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::NotFound { what: "blob", name: digest.to_string() })
            }
            Err(err) => Err(io_error("open", self.path(digest))(err)),
        }
    }

    /// Reads a manifest or a configuration, and checks that it still is what its name says.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; [`StoreError::BlobTooLarge`] beyond `max` bytes;
    /// [`StoreError::BlobDigest`] if the disk has changed it.
    pub(crate) fn read_small(&self, digest: &Digest, max: usize) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let file = self.open(digest)?;
        file.take(max as u64 + 1).read_to_end(&mut content).map_err(io_error("read", self.path(digest)))?;
        if content.len() > max {
            return Err(StoreError::BlobTooLarge { digest: digest.to_string(), max });
        }
        verify(digest, Digest::of(&content))?;
        Ok(content)
    }

    /// Stores a blob that is in memory, durably, and returns its digest. One that is there already is
    /// a success.
    pub(crate) fn put(&self, content: &[u8]) -> Result<Digest> {
        let digest = Digest::of(content);
        if self.length(&digest)? == Some(content.len() as u64) {
            return Ok(digest);
        }
        let staged = staging::file(self.store, content, true)?;
        self.publish(&staged, &digest)?;
        Ok(digest)
    }

    /// Begins a blob whose digest is not known yet.
    ///
    /// Nothing refers to it when it is finished: finish it under the store's (shared) lock, and
    /// [pin](staging::Staged::pin_blob) it before that is freed.
    pub(crate) fn writer(&self) -> Result<BlobWriter> {
        let staged = staging::file(self.store, b"", false)?;
        let path = self.store.root().join(&staged);
        let file =
            fs::open_at(self.store.dir(), &staged, OFlags::WRONLY, 0).map_err(io_error("open", &path))?;
        let dir = self.store.dir().try_clone_to_owned().map_err(io_error("open", self.store.root()))?;
        Ok(BlobWriter {
            store_dir: dir,
            path,
            staged,
            root: self.store.root().to_owned(),
            file: File::from(file),
            length: 0,
            hash: Sha256::new(),
            written_back: 0,
            finished: false,
        })
    }

    /// Claims a blob for writing. Never waits: see [`Claim::Busy`].
    ///
    /// A part that an earlier command left is read once, to continue its hash.
    pub(crate) fn claim(&self, digest: &Digest) -> Result<Claim> {
        let relative = Self::partial_path(digest);
        let path = self.store.root().join(&relative);
        loop {
            if let Some(length) = self.length(digest)? {
                return Ok(Claim::Present(self.open(digest)?, length));
            }
            let file = fs::open_at(self.store.dir(), &relative, OFlags::RDWR | OFlags::CREATE, 0o600)
                .map_err(io_error("open", &path))?;
            if !fs::try_lock(&file, Share::Exclusive).map_err(io_error("lock", &path))? {
                return Ok(Claim::Busy);
            }
            // Its last writer may have committed or removed it between our open and our lock.
            let stat = fs::stat(&file).map_err(io_error("inspect", &path))?;
            let named = fs::stat_at(self.store.dir(), &relative).map(|now| now.st_ino);
            if named.is_ok_and(|ino| ino == stat.st_ino) {
                return Ok(Claim::Partial(Partial::resume(File::from(file), path, *digest)?));
            }
        }
    }

    /// Gives a complete part its name. The bytes are on the disk before the name is.
    ///
    /// # Errors
    ///
    /// [`StoreError::BlobSize`], [`StoreError::BlobDigest`]: then the part is removed, it is worthless.
    pub(crate) fn commit(&self, partial: Partial, want_bytes: u64) -> Result<()> {
        let Partial { file, path, digest, length, hash, .. } = partial;
        let right = if length == want_bytes {
            verify(&digest, Digest::from_hash(hash))
        } else {
            Err(StoreError::BlobSize { digest: digest.to_string(), want: want_bytes, got: length })
        };
        if let Err(err) = right {
            fs::unlink(self.store.dir(), Self::partial_path(&digest)).map_err(io_error("remove", &path))?;
            return Err(err);
        }
        file.sync_data().map_err(io_error("sync", &path))?;
        self.publish(&Self::partial_path(&digest), &digest)
    }

    fn publish(&self, staged: &std::path::Path, digest: &Digest) -> Result<()> {
        let dir = self.store.dir();
        failpoint::reach("blob.publish")
            .and_then(|()| fs::rename(dir, staged, dir, Self::relative(digest)))
            .map_err(io_error("rename to", self.path(digest)))?;
        record::sync_dir(self.store, "blobs/sha256".as_ref())
    }

    /// All blobs with their lengths in bytes.
    pub(crate) fn list(&self) -> Result<Vec<(Digest, u64)>> {
        let mut found = Vec::new();
        for name in record::names(self.store, "blobs/sha256")? {
            let Ok(digest) = Digest::from_hex(&name) else { continue };
            found.extend(self.length(&digest)?.map(|length| (digest, length)));
        }
        Ok(found)
    }

    /// How many bytes of a blob are here, whole or not.
    pub(crate) fn length_so_far(&self, digest: &Digest) -> u64 {
        let length = |path| fs::stat_at(self.store.dir(), &path).ok().map(|stat| stat.st_size);
        let found = length(Self::relative(digest)).or_else(|| length(Self::partial_path(digest)));
        found.and_then(|length| u64::try_from(length).ok()).unwrap_or(0)
    }

    /// Removes a blob and returns how many bytes that frees; 0 if it is not there.
    pub(crate) fn remove(&self, digest: &Digest) -> Result<u64> {
        let length = self.length(digest)?.unwrap_or(0);
        match fs::unlink(self.store.dir(), Self::relative(digest)) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", self.path(digest))(err))
            }
            _ => Ok(length),
        }
    }

    /// Removes the downloads that no process is writing, and returns how many bytes that frees.
    pub(crate) fn remove_abandoned(&self) -> Result<u64> {
        let mut freed = 0;
        for name in record::names(self.store, "blobs/partial")? {
            let relative = PathBuf::from("blobs/partial").join(&name);
            let path = self.store.root().join(&relative);
            let file = match fs::open_at(self.store.dir(), &relative, OFlags::RDONLY, 0) {
                Ok(file) => file,
                Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
                Err(err) => return Err(io_error("open", path)(err)),
            };
            if fs::try_lock(&file, Share::Exclusive).map_err(io_error("lock", &path))? {
                let length = fs::stat(&file).map_or(0, |stat| stat.st_size);
                fs::unlink(self.store.dir(), &relative).map_err(io_error("remove", &path))?;
                freed += u64::try_from(length).unwrap_or(0);
            }
        }
        Ok(freed)
    }
}

impl Partial {
    fn resume(file: File, path: PathBuf, digest: Digest) -> Result<Self> {
        let mut partial = Self { file, path, digest, length: 0, hash: Sha256::new(), written_back: 0 };
        let mut buffer = vec![0; 256 << 10];
        loop {
            let read = partial.file.read_at(&mut buffer, partial.length);
            match read.map_err(io_error("read", &partial.path))? {
                0 => return Ok(partial),
                got => {
                    partial.hash.update(&buffer[..got]);
                    partial.length += got as u64;
                }
            }
        }
    }

    /// How many bytes are there: where to resume.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The digest of the bytes that are there.
    pub(crate) fn content_digest(&self) -> Digest {
        Digest::from_hash(self.hash.clone())
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`]; then the part holds a prefix of what was appended, and stays usable.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        failpoint::reach("blob.append")
            .and_then(|()| self.file.write_all_at(bytes, self.length))
            .map_err(io_error("write", &self.path))?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        if self.length - self.written_back >= WRITEBACK_BYTES {
            fs::start_writeback(&self.file, self.written_back, self.length - self.written_back).ok();
            self.written_back = self.length;
        }
        Ok(())
    }

    /// Forgets everything and starts at zero: for a server that cannot resume, or sent wrong bytes.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(io_error("truncate", &self.path))?;
        self.length = 0;
        self.written_back = 0;
        self.hash = Sha256::new();
        Ok(())
    }

    /// A reader of the same file, for following the download.
    pub(crate) fn reader(&self) -> Result<File> {
        let file = fs::open_at(fs::here(), &self.path, OFlags::RDONLY, 0);
        file.map(File::from).map_err(io_error("open", &self.path))
    }
}

/// Lets a part be filled by anything that writes.
impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn verify(want: &Digest, got: Digest) -> Result<()> {
    if *want == got {
        Ok(())
    } else {
        Err(StoreError::BlobDigest { want: want.to_string(), got: got.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    fn partial(store: &Store, digest: &Digest) -> Partial {
        match store.blobs().claim(digest).unwrap() {
            Claim::Partial(partial) => partial,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_download_resumes_across_processes_and_is_verified() {
        let (_guard, store) = store();
        let digest = Digest::of(b"hello world");
        let mut first = partial(&store, &digest);
        first.append(b"hello ").unwrap();
        assert!(matches!(store.blobs().claim(&digest).unwrap(), Claim::Busy));
        let mut reader = first.reader().unwrap();
        drop(first);

        let mut second = partial(&store, &digest);
        assert_eq!(second.length(), 6);
        second.append(b"world").unwrap();
        store.blobs().commit(second, 11).unwrap();
        assert_eq!(store.blobs().read_small(&digest, 100).unwrap(), b"hello world");
        assert!(matches!(store.blobs().claim(&digest).unwrap(), Claim::Present(_, 11)));
        let mut followed = String::new();
        reader.read_to_string(&mut followed).unwrap();
        assert_eq!(followed, "hello world", "a reader of the part reads the whole");
    }

    #[test]
    fn wrong_bytes_never_get_a_name() {
        let (_guard, store) = store();
        let digest = Digest::of(b"right");
        for (content, want, is_size) in [(&b"wrong"[..], 5, false), (b"right", 6, true), (b"right!", 5, true)]
        {
            let mut part = partial(&store, &digest);
            assert_eq!(part.length(), 0, "nothing is left of the one before");
            part.append(content).unwrap();
            let err = store.blobs().commit(part, want).unwrap_err();
            assert_eq!(matches!(err, StoreError::BlobSize { .. }), is_size, "{err}");
            assert_eq!(matches!(err, StoreError::BlobDigest { .. }), !is_size, "{err}");
            assert_eq!(store.blobs().length(&digest).unwrap(), None);
        }
    }

    #[test]
    fn a_changed_or_large_blob_is_noticed() {
        let (_guard, store) = store();
        let digest = store.blobs().put(b"{}").unwrap();
        assert_eq!(store.blobs().put(b"{}").unwrap(), digest, "twice is a success");
        assert!(matches!(store.blobs().read_small(&digest, 1), Err(StoreError::BlobTooLarge { .. })));
        std::fs::write(store.blobs().path(&digest), "[]").unwrap();
        assert!(matches!(store.blobs().read_small(&digest, 9), Err(StoreError::BlobDigest { .. })));
    }

    #[test]
    fn restarting_forgets() {
        let (_guard, store) = store();
        let digest = Digest::of(b"new");
        let mut part = partial(&store, &digest);
        part.append(b"something old").unwrap();
        part.restart().unwrap();
        part.append(b"new").unwrap();
        store.blobs().commit(part, 3).unwrap();
        assert_eq!(store.blobs().list().unwrap(), [(digest, 3)]);
    }

    #[test]
    fn only_downloads_without_a_writer_are_abandoned() {
        let (_guard, store) = store();
        let mut busy = partial(&store, &Digest::of(b"busy"));
        busy.append(b"bu").unwrap();
        partial(&store, &Digest::of(b"left")).append(b"lef").unwrap();
        assert_eq!(store.blobs().remove_abandoned().unwrap(), 3);
        busy.append(b"sy").unwrap();
        store.blobs().commit(busy, 4).unwrap();
    }
}
