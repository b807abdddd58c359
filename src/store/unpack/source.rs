//! From the bytes of a blob to those of the archive in it.
//!
//! ```text
//! puller ──append──▶ partial blob ──read──▶ Follow ──▶ gzip | zstd | … | plain ──256 KiB pieces──▶ Pieces
//!    ╰──── one byte, or end of file ────▶ (wakes)     ╰──────── a thread ────────╯     hash, tar, files
//! ```
//!
//! The worker reads the file that the puller appends to, so that the download never waits for the
//! unpacking and a resumed part is just there. The pipe carries no data: any byte means "look again",
//! its end means "complete". What is unpacked meanwhile is not verified yet; it counts only if the
//! blob's digest and the diff ID are right in the end.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sha2::{Digest as _, Sha256};

use crate::base::digest::Digest;

/// Length of the pieces that go from the inflating thread to the writing one.
const PIECE_BYTES: usize = 256 << 10;

/// How many pieces may wait between them.
const PIECES: usize = 6;

/// Bytes that are read from the blob at once.
const READ_BYTES: usize = 128 << 10;

/// Largest window of a zstd stream, as a power of two: 128 MiB, which is what the highest level (22) and
/// `zstd --long` make, and the most that the reference decoder takes unasked. A stream that wants 2 GiB is
/// refused, not given them.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// A file that another process is still appending to.
#[derive(Debug)]
pub(super) struct Follow {
    file: File,
    /// Readable when the file has grown, closed when it is complete. `None`: it is complete.
    wake: Option<OwnedFd>,
}

impl Follow {
    pub(super) fn new(file: File, wake: Option<OwnedFd>) -> Self {
        Self { file, wake }
    }
}

impl Read for Follow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let got = self.file.read(buffer)?;
            let (0, Some(wake)) = (got, &self.wake) else {
                return Ok(got);
            };
            let mut bytes = [0; 4096];
            if rustix::io::retry_on_intr(|| rustix::io::read(wake, &mut bytes))? == 0 {
                // What was appended before the end is read by the next turn.
                self.wake = None;
            }
        }
    }
}

/// How a layer is compressed, as its first bytes tell. Media types are often wrong about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Gzip,
    Zstd,
    Xz,
    Bzip2,
    None,
}

impl Compression {
    fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            _ => Self::None,
        }
    }
}

/// A buffered reader that can look more than one byte ahead. Of any reader, so that there is one copy of each decoder.
struct Lookahead<'a> {
    inner: Box<dyn Read + Send + 'a>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<'a> Lookahead<'a> {
    fn new(inner: impl Read + Send + 'a) -> Self {
        Self { inner: Box::new(inner), buffer: vec![0; READ_BYTES], start: 0, end: 0 }
    }

    /// The next `count` bytes, or fewer at the end of the input.
    fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.start > 0 && self.end - self.start < count {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.end - self.start < count {
            match self.inner.read(&mut self.buffer[self.end..])? {
                0 => break,
                got => self.end += got,
            }
        }
        Ok(&self.buffer[self.start..self.end.min(self.start + count)])
    }
}

impl Read for Lookahead<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end && out.len() >= self.buffer.len() {
            // Nothing to look at first: no way round through the buffer.
            return self.inner.read(out);
        }
        let available = self.fill_buf()?;
        let take = available.len().min(out.len());
        out[..take].copy_from_slice(&available[..take]);
        self.consume(take);
        Ok(take)
    }
}

impl BufRead for Lookahead<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.start = 0;
            self.end = self.inner.read(&mut self.buffer)?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, amount: usize) {
        self.start += amount;
    }
}

/// gzip with any number of members. Bytes behind the last one that do not start another are passed
/// over, as gzip(1) does: whether the archive is the right one is for the diff ID to say.
struct Gzip<'a> {
    /// `None` behind the last one.
    member: Option<flate2::bufread::GzDecoder<Lookahead<'a>>>,
}

impl Read for Gzip<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let got = member.read(out)?;
            if got > 0 || out.is_empty() {
                return Ok(got);
            }
            let Some(mut input) = self.member.take().map(flate2::bufread::GzDecoder::into_inner) else {
                break;
            };
            if input.peek(2)? == [0x1f, 0x8b] {
                self.member = Some(flate2::bufread::GzDecoder::new(input));
            } else {
                io::copy(&mut input, &mut io::sink())?;
            }
        }
        Ok(0)
    }
}

/// True if the blob is the archive itself.
pub(super) fn is_plain(blob: &File) -> io::Result<bool> {
    let mut start = [0; 6];
    let got = std::os::unix::fs::FileExt::read_at(blob, &mut start, 0)?;
    Ok(Compression::of(&start[..got]) == Compression::None)
}

/// Most memory that an xz stream may ask for, in KiB: its dictionary. `xz -9` needs 64 MiB.
const XZ_MEMORY_KIB: u32 = 128 << 10;

/// A decompressing reader for whatever `input` holds. The image specifications know gzip and zstd; docker and podman take
/// layers and archives of images that are compressed with xz and bzip2, too.
pub(crate) fn decoder<'a>(input: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut input = Lookahead::new(input);
    Ok(match Compression::of(input.peek(6)?) {
        Compression::Gzip => Box::new(Gzip { member: Some(flate2::bufread::GzDecoder::new(input)) }),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(input, true, XZ_MEMORY_KIB)),
        Compression::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(input)),
        Compression::None => Box::new(input),
    })
}

/// The uncompressed archive, inflated by a thread of its own and hashed on the way.
pub(super) struct Pieces {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
    used: usize,
    /// `None` if nobody wants to know.
    hash: Option<Sha256>,
    /// Bytes received.
    length: u64,
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pieces").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Pieces {
    /// Starts inflating `blob`, and hashing what comes out if `hashed`.
    ///
    /// The thread ends when the input does, at an error, or when this is dropped; it is not waited for,
    /// because it may itself be waiting for a download.
    pub(super) fn start(blob: Follow, hashed: bool) -> io::Result<Self> {
        let (full_in, full) = sync_channel(PIECES);
        let (empty, empty_out) = sync_channel::<Vec<u8>>(PIECES + 2);
        std::thread::Builder::new()
            .name("inflate".into())
            .stack_size(256 << 10)
            .spawn(move || inflate(blob, &full_in, &empty_out))?;
        Ok(Self { full, empty, piece: Vec::new(), used: 0, hash: hashed.then(Sha256::new), length: 0 })
    }

    /// How many bytes of the archive have been seen.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The digest of everything, once everything was read, if it was hashed.
    pub(super) fn digest(self) -> Option<Digest> {
        self.hash.map(Digest::from_hash)
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.piece.len() {
            let spent = std::mem::take(&mut self.piece);
            self.used = 0;
            if spent.capacity() > 0 {
                // A thread that has ended needs no more room.
                self.empty.try_send(spent).ok();
            }
            // A closed channel is the end; errors come through it.
            self.piece = self.full.recv().unwrap_or_else(|_| Ok(Vec::new()))?;
            if let Some(hash) = &mut self.hash {
                hash.update(&self.piece);
            }
            self.length += self.piece.len() as u64;
        }
        Ok(&self.piece[self.used..])
    }

    fn consume(&mut self, amount: usize) {
        self.used += amount;
    }
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let read = available.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

fn inflate(blob: Follow, full: &SyncSender<io::Result<Vec<u8>>>, empty: &Receiver<Vec<u8>>) {
    let mut decoder = match decoder(blob) {
        Ok(decoder) => decoder,
        Err(err) => return drop(full.send(Err(err))),
    };
    loop {
        let mut piece = empty.try_recv().unwrap_or_default();
        piece.resize(PIECE_BYTES, 0);
        let filled = fill(&mut *decoder, &mut piece);
        let (length, failure) = match filled {
            Ok(length) => (length, None),
            Err((length, err)) => (length, Some(err)),
        };
        piece.truncate(length);
        let at_end = length < PIECE_BYTES;
        if (length > 0 && full.send(Ok(piece)).is_err()) || failure.is_none() && at_end {
            return;
        }
        if let Some(err) = failure {
            return drop(full.send(Err(err)));
        }
    }
}

/// Reads until `buffer` is full or the input ends; an error comes with how much was read before it.
fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, (usize, io::Error)> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err((filled, err)),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn read(blob: &[u8]) -> io::Result<(Vec<u8>, Digest)> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(blob).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let mut pieces = Pieces::start(Follow::new(file, None), true)?;
        let mut content = Vec::new();
        pieces.read_to_end(&mut content)?;
        assert_eq!(pieces.length(), content.len() as u64);
        Ok((content, pieces.digest().expect("hashed")))
    }

    #[test]
    fn every_compression_yields_the_same_bytes() {
        let text: Vec<u8> = (0..700_000_u32).flat_map(|n| n.to_le_bytes()).collect();
        let zstd = |content: &[u8]| zstd::encode_all(content, 1).unwrap();
        let (head, tail) = text.split_at(1_000_003);
        for (what, blob) in [
            ("plain", text.clone()),
            ("gzip", gzip(&text)),
            ("gzip members", [gzip(head), gzip(b""), gzip(tail)].concat()),
            ("gzip and garbage", [gzip(&text), b"garbage".to_vec()].concat()),
            ("gzip and zeros", [gzip(&text), vec![0; 300_000]].concat()),
            ("gzip and half a magic", [gzip(&text), vec![0x1f]].concat()),
            ("zstd", zstd(&text)),
            ("zstd frames", [zstd(head), zstd(tail)].concat()),
            ("skippable frame", [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd(&text)].concat()),
        ] {
            let (content, digest) = read(&blob).unwrap();
            assert!(content == text, "{what}");
            assert_eq!(digest, Digest::of(&text), "{what}");
        }
        assert_eq!(read(b"").unwrap().0, b"");
    }

    #[test]
    fn broken_streams_are_errors() {
        let zipped = gzip(&[7; 100_000]);
        let mut flipped = zipped.clone();
        let end = flipped.len() - 8;
        flipped[end] ^= 1;
        let zstd = zstd::encode_all(&[7; 100_000][..], 1).unwrap();
        // A frame header that asks for a window of 2 GiB.
        let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
        for (what, blob) in [
            ("cut gzip", &zipped[..zipped.len() / 2]),
            ("cut trailer", &zipped[..zipped.len() - 1]),
            ("gzip checksum", &flipped),
            ("second member cut", &[&zipped[..], &zipped[..9]].concat()),
            ("cut zstd", &zstd[..zstd.len() - 1]),
            ("zstd garbage", &[&zstd[..], b"garbage"].concat()),
            ("zstd window", &window),
            ("xz", b"\xfd7zXZ\0abc"),
            ("bzip2", b"BZh91AY"),
        ] {
            assert!(read(blob).is_err(), "{what}");
        }
    }

    #[test]
    fn the_windows_of_the_highest_levels_are_taken() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        for log in [25, 26, 27] {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(&text).unwrap();
            assert!(read(&encoder.finish().unwrap()).unwrap().0 == text, "{log}");
        }
    }

    #[test]
    fn follows_a_growing_file() {
        let text: Vec<u8> = (0..300_000_u32).flat_map(|n| n.to_le_bytes()).collect();
        let blob = gzip(&text);
        let path = tempfile::NamedTempFile::new().unwrap();
        let mut writer = path.reopen().unwrap();
        let (wake, waker) = rustix::pipe::pipe().unwrap();
        let mut pieces = Pieces::start(Follow::new(path.reopen().unwrap(), Some(wake)), true).unwrap();
        let appender = std::thread::spawn(move || {
            for chunk in blob.chunks(10_007) {
                writer.write_all(chunk).unwrap();
                rustix::io::write(&waker, b"x").unwrap();
            }
        });
        let mut content = Vec::new();
        pieces.read_to_end(&mut content).unwrap();
        appender.join().unwrap();
        assert!(content == text);
    }
}
