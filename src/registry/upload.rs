//! Blobs and manifests to a registry: what it has is not sent, what broke off goes on.
//!
//! ```text
//! HEAD ─ 200 ─▶ Present
//!  │ 404
//!  ▼
//! POST ?mount=&from= ─ 201 ─▶ Mounted                        (once per repository that has it)
//!  │ 202 Location
//!  ▼
//! PATCH Content-Range ─ 202 ─▶ … ─▶ PUT ?digest= ─ 201 ─▶ Sent
//!  ▲      │ broke off                   a Location may be relative and lead to another server,
//!  ╰ GET ◀╯ Range: how far it came      which then sees no credentials
//! ```
//!
//! # Source
//!
//! OCI distribution-spec, "Pushing blobs" and "Pushing manifests".

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{LOCATION, RANGE};
use reqwest::{Method, Response, Url};

use crate::base::digest::Digest;
use crate::registry::blob::{Blob, in_lanes};
use crate::registry::client::{Client, Session};
use crate::registry::error::{Error, Result, from_outside};
use crate::registry::piece::Piece;
use crate::registry::transport::{Payload, Request, redirect_target, shown};

/// How often the progress of a transfer is told.
const TICK: Duration = Duration::from_millis(100);

/// Lengths of pieces, tried in this order: whole blobs first, and for servers that say a request is
/// too large, less.
const PIECES: [u64; 4] = [u64::MAX, 64 << 20, 16 << 20, 4 << 20];

/// Repositories that are asked for a blob before it is sent.
const MAX_MOUNTS: usize = 2;

/// A blob that is to be on the registry.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    pub(crate) blob: Blob,
    /// All of its bytes.
    pub(crate) file: Arc<File>,
    /// Repositories of the same registry that may have it, the likeliest first.
    pub(crate) mount_from: Vec<String>,
    /// Where an earlier command had begun to send it.
    pub(crate) resume: Option<String>,
}

/// How a blob came to be on the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was there.
    Present,
    /// The registry took it over from this repository.
    Mounted(String),
    /// It was sent.
    Sent,
}

/// What happens to one blob.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// It has to be sent.
    Begins,
    /// The registry takes the rest of it here: what [`Upload::resume`] wants to know later.
    At(&'a str),
    /// This many of its bytes have left.
    Progress(u64),
    /// It is there.
    Done(&'a Outcome),
}

/// Hears of uploads.
pub(crate) type Listener<'a> = dyn Fn(&Digest, &Event<'_>) + 'a;

impl Client<'_> {
    /// Sees to it that the registry has all blobs, up to `lanes` at once. The first failure ends all.
    ///
    /// # Errors
    ///
    /// What a request can fail with after the retries that the policy grants.
    pub(crate) fn upload(&self, jobs: Vec<Upload>, lanes: usize, listener: &Listener<'_>) -> Result<()> {
        let work = async |job: Upload| {
            let outcome = self.session.upload(&job, listener).await?;
            listener(&job.blob.digest, &Event::Done(&outcome));
            Ok(())
        };
        self.wait(in_lanes(jobs, lanes, work))
    }

    /// Stores a manifest or an index under a tag or its digest. All it points to must be there.
    ///
    /// # Errors
    ///
    /// [`Error::Digest`] if the registry has understood something else, and what a request can fail
    /// with.
    pub(crate) fn put_manifest(&self, reference: &str, media_type: &str, bytes: &[u8]) -> Result<()> {
        self.wait(self.session.put_manifest(reference, media_type, bytes))
    }
}

/// An upload that the registry has begun to take.
struct Open {
    /// Where its next request goes; each answer may change that.
    location: Url,
    /// How many bytes the registry has.
    at: u64,
}

impl Session<'_> {
    async fn put_manifest(&self, reference: &str, media_type: &str, bytes: &[u8]) -> Result<()> {
        let what = format!("manifest {reference}");
        let url = self.url(&format!("v2/{}/manifests/{reference}", self.image().repository())).await?;
        self.retrying(&what, async || {
            let payload = Payload::Document { media_type: media_type.to_owned(), bytes: bytes.to_vec() };
            let response = self.exchange(Request::new(Method::PUT, url.clone(), payload)).await?;
            match response.status().as_u16() {
                200..=204 => check_digest(&response, "manifest", Digest::of(bytes)),
                _ => Err(self.refusal(response, &what).await),
            }
        })
        .await
    }

    async fn upload(&self, job: &Upload, listener: &Listener<'_>) -> Result<Outcome> {
        let what = format!("blob {}", job.blob.digest);
        if self.retrying(&what, async || self.has(&job.blob.digest, &what).await).await? {
            return Ok(Outcome::Present);
        }
        let mut opened = self.resumed(job).await;
        let inherited = opened.is_some();
        let mounts = if inherited { &[] } else { job.mount_from.as_slice() };
        for from in mounts.iter().take(MAX_MOUNTS) {
            match self.retrying(&what, async || self.begin(Some((&job.blob.digest, from)), &what).await).await
            {
                Ok(None) => return Ok(Outcome::Mounted(from.clone())),
                Ok(Some(open)) => opened = Some(open),
                // A registry that does not let us read the other repository may still take the bytes.
                Err(Error::Status { .. } | Error::NotFound { .. } | Error::Unauthorized { .. }) => {}
                Err(err) => return Err(err),
            }
        }
        listener(&job.blob.digest, &Event::Begins);
        self.send_all(job, (opened, inherited), &what, listener).await?;
        Ok(Outcome::Sent)
    }

    /// The upload that an earlier command had begun, if the registry still knows of it.
    async fn resumed(&self, job: &Upload) -> Option<Open> {
        let base = self.url("v2/").await.ok()?;
        let location = redirect_target(&base, job.resume.as_deref()?).ok()?;
        let open = self.position(Open { location, at: 0 }).await?;
        (open.at <= job.blob.size).then_some(open)
    }

    /// Asks whether the repository has a blob.
    async fn has(&self, digest: &Digest, what: &str) -> Result<bool> {
        let url = self.url(&format!("v2/{}/blobs/{digest}", self.image().repository())).await?;
        let response = self.exchange(Request::new(Method::HEAD, url, Payload::None)).await?;
        match response.status().as_u16() {
            200..=299 => Ok(true),
            404 => Ok(false),
            _ => Err(self.refusal(response, what).await),
        }
    }

    /// Begins an upload; `None` if the blob could be taken over from another repository.
    async fn begin(&self, mount: Option<(&Digest, &str)>, what: &str) -> Result<Option<Open>> {
        let mut url = self.url(&format!("v2/{}/blobs/uploads/", self.image().repository())).await?;
        if let Some((digest, from)) = mount {
            url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", from);
        }
        let response = self.exchange(Request::new(Method::POST, url, Payload::Empty)).await?;
        match response.status().as_u16() {
            201 if mount.is_some() => Ok(None),
            202 => Ok(Some(Open { location: next_location(&response)?, at: 0 })),
            _ => Err(self.refusal(response, what).await),
        }
    }

    /// Sends a blob to its end, however often that takes.
    async fn send_all(
        &self,
        job: &Upload,
        (mut opened, mut inherited): (Option<Open>, bool),
        what: &str,
        listener: &Listener<'_>,
    ) -> Result<()> {
        let mut attempts = self.attempts();
        let (mut best, mut pieces) = (0, 0);
        loop {
            let result = self.send_rest(job, &mut opened, PIECES[pieces], what, listener).await;
            let Err(err) = result else { return Ok(()) };
            // What an earlier command had sent may not be what the registry has.
            let is_refused = matches!(err, Error::Status { status: 400..=499, .. } | Error::NotFound { .. });
            if std::mem::take(&mut inherited) && is_refused {
                opened = None;
                continue;
            }
            if matches!(err, Error::Status { status: 413, .. }) {
                pieces += 1;
                if pieces == PIECES.len() {
                    return Err(err);
                }
                // What the server took of a request that it refused is not known.
                opened = None;
                continue;
            }
            let at = opened.as_ref().map_or(0, |open| open.at);
            if at > best {
                attempts.progress();
                best = at;
            }
            // An upload the registry has forgotten begins anew, as a transient failure.
            let forgotten =
                opened.is_some() && matches!(err, Error::NotFound { .. } | Error::Status { status: 416, .. });
            let err = if forgotten { lost(&err, opened.as_ref()) } else { err };
            self.wait(&mut attempts, what, err).await?;
            opened = match opened {
                Some(open) if !forgotten => self.position(open).await,
                _ => None,
            };
        }
    }

    /// Finds out how far an upload came; `None` if it has to begin anew.
    async fn position(&self, open: Open) -> Option<Open> {
        let request = Request::new(Method::GET, open.location.clone(), Payload::None);
        let response = self.exchange(request).await.ok()?;
        if !matches!(response.status().as_u16(), 200..=204) {
            return None;
        }
        let location = next_location(&response).unwrap_or(open.location);
        received(&response).map(|at| Open { location, at })
    }

    /// Sends what is missing and has the registry give it its name.
    async fn send_rest(
        &self,
        job: &Upload,
        opened: &mut Option<Open>,
        most: u64,
        what: &str,
        listener: &Listener<'_>,
    ) -> Result<()> {
        if opened.is_none() {
            *opened = self.begin(None, what).await?;
        }
        let Some(open) = opened else { return Ok(()) };
        listener(&job.blob.digest, &Event::At(open.location.as_str()));
        while open.at < job.blob.size {
            let end = job.blob.size.min(open.at.saturating_add(most));
            self.send_piece(job, open, end, what, listener).await?;
        }
        let mut url = open.location.clone();
        url.query_pairs_mut().append_pair("digest", &job.blob.digest.to_string());
        let response = self.exchange(Request::new(Method::PUT, url, Payload::Empty)).await?;
        match response.status().as_u16() {
            200..=204 => check_digest(&response, "blob", job.blob.digest),
            _ => Err(self.refusal(response, what).await),
        }
    }

    async fn send_piece(
        &self,
        job: &Upload,
        open: &mut Open,
        end: u64,
        what: &str,
        listener: &Listener<'_>,
    ) -> Result<()> {
        let piece = Piece::new(job.file.clone(), open.at, end);
        let payload = Payload::Piece(piece.clone());
        let request = Request::new(Method::PATCH, open.location.clone(), payload);
        let mut sending = std::pin::pin!(self.exchange(request));
        let response = loop {
            tokio::select! {
                answer = &mut sending => break answer?,
                () = tokio::time::sleep(TICK) => {
                    listener(&job.blob.digest, &Event::Progress(open.at + piece.sent()));
                }
            }
        };
        if !matches!(response.status().as_u16(), 200..=204) {
            return Err(self.refusal(response, what).await);
        }
        open.location = next_location(&response)?;
        // A registry may have taken less than it was sent, and says so; more would be a lie.
        let said = response.headers().contains_key(RANGE).then(|| received(&response)).flatten();
        let at = said.filter(|at| *at > open.at && *at <= end).unwrap_or(end);
        open.at = at;
        listener(&job.blob.digest, &Event::Progress(at));
        listener(&job.blob.digest, &Event::At(open.location.as_str()));
        Ok(())
    }
}

/// The failure of an upload that the registry no longer knows: trying again from the start may help.
fn lost(err: &Error, open: Option<&Open>) -> Error {
    Error::Transport {
        url: open.map(|open| shown(&open.location)).unwrap_or_default(),
        reason: format!("the upload is lost: {err}"),
        transient: true,
    }
}

/// How many bytes a registry says it has: `Range: 0-<last>`. `None` if it does not say, and for
/// `0-0`, which some say of one byte and some of none.
fn received(response: &Response) -> Option<u64> {
    let range = response.headers().get(RANGE)?.to_str().ok()?;
    let last = range.trim_start_matches("bytes=").strip_prefix("0-")?.trim().parse::<u64>().ok()?;
    (last > 0).then(|| last.saturating_add(1))
}

/// Where an upload goes on.
fn next_location(response: &Response) -> Result<Url> {
    let from = response.url();
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let refused = |to: &str, reason| Error::Redirect { from: shown(from), to: from_outside(to), reason };
    let location = location.ok_or_else(|| refused("nowhere", "an upload needs a location"))?;
    upload_location(from, location).map_err(|reason| refused(location, reason))
}

/// Resolves the location of an upload. A registry behind something that speaks TLS for it often names
/// itself with http; what was https stays so.
fn upload_location(from: &Url, location: &str) -> std::result::Result<Url, &'static str> {
    let same_host = |to: &Url| to.host_str() == from.host_str() && from.scheme() == "https";
    match from.join(location) {
        Ok(mut to) if to.scheme() == "http" && same_host(&to) => {
            let port = from.port();
            let moved = to.set_scheme("https").is_ok() && to.set_port(port).is_ok();
            if moved { redirect_target(from, to.as_str()) } else { Err("not a URL") }
        }
        _ => redirect_target(from, location),
    }
}

/// Holds what the registry says it has stored against what was meant.
fn check_digest(response: &Response, what: &'static str, want: Digest) -> Result<()> {
    let said = response.headers().get("docker-content-digest").and_then(|said| said.to_str().ok());
    match said.and_then(|said| said.parse::<Digest>().ok()) {
        Some(got) if got != want => Err(Error::Digest { what, want, got }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_of_uploads() {
        for (from, location, want) in [
            (
                "https://r.io/v2/a/blobs/uploads/",
                "/v2/a/blobs/uploads/1?s=x",
                Ok("https://r.io/v2/a/blobs/uploads/1?s=x"),
            ),
            ("https://r.io/v2/a/blobs/uploads/", "https://up.io/1", Ok("https://up.io/1")),
            ("https://r.io:5000/v2/", "http://r.io:5000/1", Ok("https://r.io:5000/1")),
            ("https://r.io/v2/", "http://r.io/1", Ok("https://r.io/1")),
            ("https://r.io/v2/", "http://other.io/1", Err("from https to plain http")),
            ("http://r.io/v2/", "http://r.io/1", Ok("http://r.io/1")),
            ("http://r.io/v2/", "file:///etc/passwd", Err("neither http nor https")),
            ("http://r.io/v2/", "http://169.254.169.254/1", Err("a link-local address")),
        ] {
            let from = Url::parse(from).unwrap();
            let got = upload_location(&from, location);
            assert_eq!(got.as_ref().map(Url::as_str).map_err(|err| *err), want, "{from} -> {location}");
        }
    }
}
