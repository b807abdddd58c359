//! From the archive of a new layer to its blob.
//!
//! ```text
//! archive ──1 MiB pieces──┬─▶ SHA-256: diff ID
//!                         ├─▶ compressor 0 ─┐
//!                         ├─▶ compressor 1 ─┼─ in order ──▶ BlobWriter: SHA-256, file
//!                         ╰─▶ …            ─┘
//! ```
//!
//! Each piece becomes a gzip member or a zstd frame of its own, which every reader takes as one stream (RFC
//! 1952, 2.2; RFC 8878, 3.1). So the blob is the same however many processors compress it.

use std::io::{self, Read, Write as _};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sha2::{Digest as _, Sha256};

use crate::base::digest::Digest;
use crate::base::manifest::Compression;
use crate::store::blobs::BlobWriter;
use crate::store::error::StoreError;

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Length of the pieces that are compressed at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Most compressors at once: each has a piece or two in memory.
const THREADS_MAX: usize = 8;

/// How hard gzip tries: twice as fast as its default for 3 % more bytes (measured).
const GZIP_LEVEL: u32 = 3;

/// How to make a blob of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct How {
    pub(crate) compression: Compression,
    /// The compressor's own scale, on which zstd's goes below zero; `None` for ketch's choice.
    pub(crate) level: Option<i32>,
}

impl How {
    /// With ketch's choice of level.
    pub(crate) fn new(compression: Compression) -> Self {
        Self { compression, level: None }
    }
}

/// What an archive turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Archived {
    /// Digest of the archive itself, before compression.
    pub(crate) diff_id: Digest,
    /// Its length.
    pub(crate) archive_bytes: u64,
}

/// Reads `archive` to its end and appends it to `blob`, which the caller then
/// [finishes](BlobWriter::finish).
///
/// The outer error is the archive's, the inner one the store's.
///
/// # Errors
///
/// If the archive cannot be read; if the blob cannot be written.
pub(crate) fn store(archive: impl Read, blob: &mut BlobWriter, how: How) -> io::Result<Result<Archived>> {
    each(archive, how, |piece| blob.append(piece))
}

/// As [`store`], but hands the compressed bytes to `append`, whose failure is the inner error.
///
/// # Errors
///
/// As [`store`].
pub(crate) fn each<E>(
    archive: impl Read,
    how: How,
    append: impl FnMut(&[u8]) -> Result<(), E>,
) -> io::Result<Result<Archived, E>> {
    match how.compression {
        Compression::None => plain(archive, append),
        _ => compressed(archive, append, how),
    }
}

fn plain<E>(
    mut archive: impl Read,
    mut append: impl FnMut(&[u8]) -> Result<(), E>,
) -> io::Result<Result<Archived, E>> {
    let mut buffer = vec![0; PIECE_BYTES];
    let (mut hash, mut length) = (Sha256::new(), 0);
    loop {
        let got = fill(&mut archive, &mut buffer)?;
        if got == 0 {
            break;
        }
        hash.update(&buffer[..got]);
        length += got as u64;
        if let Err(err) = append(&buffer[..got]) {
            return Ok(Err(err));
        }
    }
    Ok(Ok(Archived { diff_id: Digest::from_hash(hash), archive_bytes: length }))
}

/// A compressor in a thread.
struct Compressor {
    raw: SyncSender<Vec<u8>>,
    done: Receiver<io::Result<Vec<u8>>>,
}

fn compressed<E>(
    mut archive: impl Read,
    mut append: impl FnMut(&[u8]) -> Result<(), E>,
    how: How,
) -> io::Result<Result<Archived, E>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let (mut hash, mut length) = (Sha256::new(), 0);
    let written = std::thread::scope(|scope| -> io::Result<Result<(), E>> {
        let mut compressors = Vec::with_capacity(threads);
        for _ in 0..threads {
            let ((raw, pieces), (results, done)) = (sync_channel::<Vec<u8>>(1), sync_channel(1));
            let work = move || {
                for piece in pieces {
                    if results.send(compress(&piece, how)).is_err() {
                        return;
                    }
                }
            };
            std::thread::Builder::new()
                .name("compress".into())
                .stack_size(1 << 20)
                .spawn_scoped(scope, work)?;
            compressors.push(Compressor { raw, done });
        }
        // Piece n goes to compressor n % threads, and comes back from there in the same order.
        let (mut sent, mut taken) = (0_usize, 0_usize);
        let mut take = |taken: &mut usize| -> io::Result<Result<(), E>> {
            let result = compressors[*taken % threads].done.recv().map_err(io::Error::other)??;
            *taken += 1;
            Ok(append(&result))
        };
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let got = fill(&mut archive, &mut piece)?;
            if got == 0 && sent > 0 {
                break;
            }
            piece.truncate(got);
            hash.update(&piece);
            length += got as u64;
            if sent >= threads
                && let Err(err) = take(&mut taken)?
            {
                return Ok(Err(err));
            }
            compressors[sent % threads].raw.send(piece).map_err(io::Error::other)?;
            sent += 1;
            if got < PIECE_BYTES {
                break;
            }
        }
        while taken < sent {
            if let Err(err) = take(&mut taken)? {
                return Ok(Err(err));
            }
        }
        Ok(Ok(()))
    })?;
    Ok(written.map(|()| Archived { diff_id: Digest::from_hash(hash), archive_bytes: length }))
}

/// One piece as a gzip member or a zstd frame.
fn compress(piece: &[u8], how: How) -> io::Result<Vec<u8>> {
    match how.compression {
        Compression::None => Ok(piece.to_vec()),
        Compression::Gzip => {
            // gzip has no levels below zero: there they mean that nobody has chosen.
            let level = how.level.and_then(|level| u32::try_from(level).ok()).unwrap_or(GZIP_LEVEL);
            let level = flate2::Compression::new(level.min(9));
            // No name and no time in the header: the same bytes each time.
            let mut encoder = flate2::GzBuilder::new().write(Vec::with_capacity(piece.len() / 2 + 64), level);
            encoder.write_all(piece)?;
            encoder.finish()
        }
        Compression::Zstd => zstd::bulk::compress(piece, how.level.unwrap_or(0)),
    }
}

/// Reads until `buffer` is full or the input ends.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match input.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(got) => length += got,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn inflate(blob: &[u8], compression: Compression) -> Vec<u8> {
        let mut out = Vec::new();
        match compression {
            Compression::None => out.extend_from_slice(blob),
            Compression::Gzip => drop(flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut out).unwrap()),
            Compression::Zstd => drop(zstd::Decoder::new(blob).unwrap().read_to_end(&mut out).unwrap()),
        }
        out
    }

    #[test]
    fn what_comes_out_is_what_went_in() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let long: Vec<u8> = (0..5 * PIECE_BYTES / 2).map(|n| u8::try_from(n * n % 251).unwrap()).collect();
        for content in [&long[..], &long[..PIECE_BYTES], &long[..PIECE_BYTES + 1], b"x", b""] {
            for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
                let make = || {
                    let mut blob = store.blobs().writer().unwrap();
                    let archived = super::store(content, &mut blob, How::new(compression)).unwrap().unwrap();
                    (archived, blob.finish().unwrap())
                };
                let (archived, (digest, length)) = make();
                assert_eq!((archived, (digest, length)), make(), "the same each time");
                assert_eq!(archived.diff_id, Digest::of(content));
                assert_eq!(archived.archive_bytes, content.len() as u64);
                let blob = std::fs::read(store.blobs().path(&digest)).unwrap();
                assert_eq!((Digest::of(&blob), blob.len() as u64), (digest, length));
                assert!(inflate(&blob, compression) == content, "{compression:?} {}", content.len());
            }
        }
    }

    #[test]
    fn every_level_is_the_compressors_own() {
        let text: Vec<u8> =
            (0..200_000_u32).flat_map(|n| (n % 977 * n % 131).to_string().into_bytes()).collect();
        let made = |compression, level| compress(&text, How { compression, level }).unwrap();
        for level in [-5, -1, 0, 1, 19] {
            assert_eq!(
                made(Compression::Zstd, Some(level)),
                zstd::bulk::compress(&text, level).unwrap(),
                "{level}"
            );
        }
        assert!(made(Compression::Zstd, Some(-5)).len() > made(Compression::Zstd, None).len());
        let gzip = |level| made(Compression::Gzip, level);
        assert!(gzip(Some(1)).len() > gzip(Some(9)).len());
        assert_eq!((gzip(Some(-1)), gzip(Some(20))), (gzip(None), gzip(Some(9))));
    }

    #[test]
    fn an_archive_that_cannot_be_read_leaves_nothing() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let opened = Store::open(dir.path()).unwrap();
        let mut blob = opened.blobs().writer().unwrap();
        assert!(super::store(Broken, &mut blob, How::new(Compression::Gzip)).is_err());
        drop(blob);
        assert_eq!(opened.blobs().list().unwrap().len(), 0);
        assert_eq!(std::fs::read_dir(dir.path().join("staging")).unwrap().count(), 0);
    }
}
