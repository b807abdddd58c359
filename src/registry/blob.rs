//! Blobs: downloaded several at once, continued where they broke off, verified as they come.
//!
//! ```text
//!            ┌──── Range: bytes=at- (none any more after a 416) ◀┐
//! open(at) ─▶ GET ─▶ 206: append │ 200: skip `at` bytes, append ─┤ broke off: wait
//!                                   │ at = size                  │
//!                                   ▼                            │
//!                        digest right? ─no─▶ restart ────────────┘ once, if bytes of an
//!                                   │ yes                          earlier command were there
//!                                   ▼
//!                                 finish
//! ```

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use reqwest::Response;
use reqwest::header::{CONTENT_RANGE, TRANSFER_ENCODING};
use sha2::{Digest as _, Sha256};

use crate::base::digest::Digest;
use crate::registry::client::Session;
use crate::registry::error::{Error, Result};
use crate::registry::transport::shown;

/// An attempt that brought this many bytes was worth it: failures before it no longer count.
const PROGRESS: u64 = 1024 * 1024;

/// A blob that somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    /// Length in bytes.
    pub(crate) size: u64,
}

/// What [`Sink::open`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// The whole blob is there; nothing is to be done.
    Complete,
    /// This many bytes are there, from an earlier attempt.
    At(u64),
    /// Another process is writing it; ask again soon.
    Busy,
}

/// Where the bytes of one blob go.
pub(crate) trait Sink {
    /// Begins. Called again while it says [`Opened::Busy`].
    fn open(&mut self) -> io::Result<Opened>;
    /// Appends.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// The digest of all that is there.
    fn digest(&self) -> Digest;
    /// Throws all away: it was wrong.
    fn restart(&mut self) -> io::Result<()>;
    /// Takes note that length and digest are right.
    fn finish(&mut self) -> io::Result<()>;
}

/// A sink in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) bytes: Vec<u8>,
    hash: Sha256,
}

impl Sink for Memory {
    fn open(&mut self) -> io::Result<Opened> {
        Ok(Opened::At(0))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn digest(&self) -> Digest {
        Digest::from_hash(self.hash.clone())
    }

    fn restart(&mut self) -> io::Result<()> {
        *self = Self::default();
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Session<'_> {
    /// Downloads all `jobs`, `lanes` at a time, in their order.
    pub(super) async fn download_all<S: Sink>(&self, jobs: Vec<(Blob, S)>, lanes: usize) -> Result<()> {
        in_lanes(jobs, lanes, async |(blob, mut sink)| self.download(blob, &mut sink).await).await
    }

    /// Downloads one blob into `sink`.
    pub(super) async fn download(&self, blob: Blob, sink: &mut impl Sink) -> Result<()> {
        let io = |source| Error::Sink { digest: blob.digest, source };
        let mut at = loop {
            match sink.open().map_err(io)? {
                Opened::Complete => return Ok(()),
                Opened::At(at) => break at,
                Opened::Busy => self.wait_for_other(&blob.digest).await,
            }
        };
        // Bytes of an earlier command may be wrong through no fault of this server.
        let mut inherited = at > 0;
        if at > blob.size {
            sink.restart().map_err(io)?;
            at = 0;
        }
        let mut ranges = true;
        let mut attempts = self.attempts();
        let mut best = at;
        let what = format!("blob {}", blob.digest);
        loop {
            if at < blob.size
                && let Err(err) = self.stream(blob, &what, ranges, &mut at, sink).await
            {
                if at >= best.saturating_add(PROGRESS) {
                    attempts.progress();
                    best = at;
                }
                // Some servers have the whole, and no part of it.
                if matches!(err, Error::Status { status: 416, .. }) && at > 0 && ranges {
                    ranges = false;
                    continue;
                }
                if matches!(err, Error::Size { .. } | Error::Endless { .. }) {
                    sink.restart().map_err(io)?;
                }
                self.wait(&mut attempts, &what, err).await?;
                continue;
            }
            let got = sink.digest();
            if got == blob.digest {
                return sink.finish().map_err(io);
            }
            sink.restart().map_err(io)?;
            if !std::mem::take(&mut inherited) {
                return Err(Error::Digest { what: "blob", want: blob.digest, got });
            }
            (at, best) = (0, 0);
        }
    }

    /// Makes one request for what is missing from byte `at` on, without `ranges` for the whole, and appends
    /// what comes behind that byte.
    async fn stream(
        &self,
        blob: Blob,
        what: &str,
        ranges: bool,
        at: &mut u64,
        sink: &mut impl Sink,
    ) -> Result<()> {
        let path = format!("v2/{}/blobs/{}", self.image().repository(), blob.digest);
        let from = (*at > 0).then_some(*at);
        let mut response = self.get(&path, None, from.filter(|_| ranges), what).await?;
        let mut skip = bytes_to_skip(&response, from)?;
        let missing = blob.size - *at + skip;
        if let Some(length) = response.content_length().filter(|length| *length != missing) {
            let got = (*at - skip).saturating_add(length);
            return Err(Error::Size { digest: blob.digest, want: blob.size, got });
        }
        while let Some(chunk) = self.transport.chunk(&mut response).await? {
            let chunk = chunk.as_ref();
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            let fresh = &chunk[known..];
            skip -= known as u64;
            if fresh.len() as u64 > blob.size - *at {
                return Err(Error::Endless { digest: blob.digest, want: blob.size });
            }
            sink.write(fresh).map_err(|source| Error::Sink { digest: blob.digest, source })?;
            *at += fresh.len() as u64;
        }
        if *at == blob.size { Ok(()) } else { Err(ended_early(&response, blob, *at)) }
    }
}

/// Does `work` to all `jobs`, `lanes` at a time, in their order. The first failure ends all.
pub(super) async fn in_lanes<T>(
    jobs: Vec<T>,
    lanes: usize,
    work: impl AsyncFn(T) -> Result<()>,
) -> Result<()> {
    let lanes = lanes.clamp(1, jobs.len().max(1));
    let queue = RefCell::new(VecDeque::from(jobs));
    let lane = async || {
        loop {
            let next = queue.borrow_mut().pop_front();
            match next {
                Some(job) => work(job).await?,
                None => return Ok(()),
            }
        }
    };
    let mut running: Vec<Pin<Box<_>>> = (0..lanes).map(|_| Box::pin(lane())).collect();
    // All lanes share this one task: a wake-up of one polls the few others for nothing.
    poll_fn(|context| {
        let mut at = 0;
        while at < running.len() {
            match running[at].as_mut().poll(context) {
                Poll::Ready(Ok(())) => drop(running.swap_remove(at)),
                Poll::Ready(Err(err)) => return Poll::Ready(Err(err)),
                Poll::Pending => at += 1,
            }
        }
        if running.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// How many bytes of an answer are there already: none if the server honoured the range.
fn bytes_to_skip(response: &Response, from: Option<u64>) -> Result<u64> {
    let Some(from) = from else {
        return Ok(0);
    };
    if response.status() != 206 {
        return Ok(from);
    }
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let start =
        range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.trim().parse::<u64>().ok());
    match start {
        // An earlier start than asked for is a little waste, a later one is a hole.
        Some(start) if start <= from => Ok(from - start),
        _ => Err(Error::Transport {
            url: shown(response.url()),
            reason: format!("asked for bytes from {from} on, got others"),
            transient: true,
        }),
    }
}

/// A body that ended too early without breaking: final if its framing said so, a cut if the end of
/// the connection was its only end.
fn ended_early(response: &Response, blob: Blob, at: u64) -> Error {
    if response.headers().contains_key(TRANSFER_ENCODING) {
        return Error::Size { digest: blob.digest, want: blob.size, got: at };
    }
    Error::Transport {
        url: shown(response.url()),
        reason: format!("connection ended after {at} of {} bytes", blob.size),
        transient: true,
    }
}
