//! A piece of a file as the body of a request: read while it is sent, never held in memory whole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Bytes that are read at once. Pages that are in memory come without waiting, others are worth one
/// wait of the whole thread.
const READ_BYTES: usize = 256 << 10;

/// The bytes `start..end` of a file. Clones share the count of what was sent.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    file: Arc<File>,
    start: u64,
    end: u64,
    sent: Arc<AtomicU64>,
}

impl Piece {
    /// The bytes from `start` to before `end`, which must be there.
    pub(super) fn new(file: Arc<File>, start: u64, end: u64) -> Self {
        Self { file, start, end, sent: Arc::default() }
    }

    /// Length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.end - self.start
    }

    /// First and last byte, as the distribution specification writes them in `Content-Range`.
    pub(super) fn range(&self) -> String {
        format!("{}-{}", self.start, self.end.saturating_sub(1))
    }

    /// How many bytes have left, in the attempt that is going on.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The body, from its start; what an earlier attempt sent no longer counts.
    pub(super) fn body(&self) -> reqwest::Body {
        self.sent.store(0, Ordering::Relaxed);
        reqwest::Body::wrap(Reading { piece: self.clone(), at: self.start })
    }
}

/// A body that is being sent.
struct Reading {
    piece: Piece,
    at: u64,
}

impl Reading {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let left = usize::try_from(self.piece.end - self.at).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(None);
        }
        let mut buffer = vec![0; left.min(READ_BYTES)];
        self.piece.file.read_exact_at(&mut buffer, self.at)?;
        self.at += buffer.len() as u64;
        // What is handed over now was asked for because all before it has left.
        self.piece.sent.store(self.at - self.piece.start, Ordering::Relaxed);
        Ok(Some(buffer.into()))
    }
}

impl Body for Reading {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.next().transpose().map(|read| read.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.piece.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.piece.end - self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_read_to_its_end() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"0123456789", 0).unwrap();
        let piece = Piece::new(Arc::new(file), 2, 7);
        assert_eq!((piece.length(), piece.range().as_str()), (5, "2-6"));
        let mut reading = Reading { piece: piece.clone(), at: 2 };
        assert_eq!(reading.size_hint().exact(), Some(5));
        assert_eq!(reading.next().unwrap().unwrap(), &b"23456"[..]);
        assert!(reading.next().unwrap().is_none() && reading.is_end_stream());
        assert_eq!(piece.sent(), 5);
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error() {
        let piece = Piece::new(Arc::new(tempfile::tempfile().unwrap()), 0, 4);
        assert!(Reading { piece, at: 0 }.next().is_err());
    }
}
