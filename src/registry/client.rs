//! One repository on one registry server.
//!
//! ```text
//! manifest ┐               ┌ 401 ─▶ challenge ─▶ token ─▶ once more
//! tags     ├─ attempt ─────┤ 429, 5xx, reset, silence ─▶ wait ─▶ attempt
//! blobs ×n ┘               └ else ─▶ answer or error
//! ```
//!
//! The caller's side is synchronous: a current-thread runtime lives inside, and nothing of it runs
//! between two calls.

use std::cell::{OnceCell, RefCell};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue, LINK, WWW_AUTHENTICATE};
use reqwest::{Response, Url};
use tokio::runtime::Runtime;

use crate::base::digest::Digest;
use crate::base::image_ref::{DOCKER_HUB, ImageRef};
use crate::registry::auth::{Credential, Stores};
use crate::registry::challenge::{self, Challenge};
use crate::registry::config::Endpoint;
use crate::registry::error::{Error, Result, from_outside};
use crate::registry::retry::{Attempts, Policy};
use crate::registry::token::{self, Authorization};
use crate::registry::transport::{self, Request, Transport, host_of, is_loopback};
use crate::registry::{blob, hang_up, tls};

/// Largest manifest or configuration that is read.
pub(crate) const MAX_MANIFEST: u64 = 4 * 1024 * 1024;

/// Most tags that a repository is believed to have.
const MAX_TAGS: usize = 100_000;

/// Every kind of manifest that ketch understands, and the one it refuses by name.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.1";

/// How to talk to registries; the same for all servers of one command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// `--tls-verify`, if given.
    pub(crate) tls_verify: Option<bool>,
    /// `--cert-dir`: the certificates of whatever registry is asked.
    pub(crate) cert_dir: Option<PathBuf>,
    /// The `certs.d` directories, with a directory per host inside.
    pub(crate) cert_bases: Vec<PathBuf>,
    /// SSL_CERT_FILE.
    pub(crate) ca_bundle: Option<PathBuf>,
    /// `--creds`.
    pub(crate) credential: Option<Credential>,
    /// Stored credentials.
    pub(crate) stores: Stores,
    /// How patient to be.
    pub(crate) policy: Policy,
    /// Whom it is done for, if that is a socket's other end: when that hangs up, nothing more is waited for.
    pub(crate) hang_up: Option<Arc<OwnedFd>>,
}

/// Something that takes time and is no error yet.
#[derive(Debug)]
pub(crate) enum Notice<'a> {
    /// An attempt failed; the next is made after `left` more. Sent each second.
    Waiting { what: &'a str, reason: &'a str, left: Duration, first: bool },
    /// Another process downloads this blob right now.
    Busy { digest: &'a Digest },
}

/// A manifest or an index, as the registry sent it.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    /// The exact bytes.
    pub(crate) bytes: Vec<u8>,
    /// Their digest; the one that was asked for, if it was asked for by digest.
    pub(crate) digest: Digest,
    /// The `Content-Type` header without parameters; may be empty.
    pub(crate) media_type: String,
}

/// A client for the repository of one endpoint.
pub(crate) struct Client<'a> {
    pub(super) runtime: Runtime,
    pub(super) session: Session<'a>,
}

impl std::fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&self.session.image).finish()
    }
}

/// The asynchronous inside of a [`Client`].
pub(super) struct Session<'a> {
    image: ImageRef,
    /// Host and port that are really called.
    authority: String,
    /// `http`, `https`, in the order to try them.
    schemes: &'static [&'static str],
    /// The scheme that works, with the authority.
    base: OnceCell<Url>,
    pub(super) transport: Transport,
    options: &'a Options,
    authorization: RefCell<Option<Authorization>>,
    credential: OnceCell<Option<Credential>>,
    /// What tokens are asked for.
    scopes: Vec<String>,
    notices: &'a dyn Fn(&Notice<'_>),
}

/// What a client is for; tokens are good for that only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose<'a> {
    /// To read the repository.
    Pull,
    /// To write it, and to take blobs over from these repositories.
    Push { from: &'a [String] },
    /// To list the repositories of the registry, and to search them.
    Catalog,
    /// To find out whether a credential is good.
    Login,
}

impl Purpose<'_> {
    /// The scopes of a token for it, as the distribution's token servers write them.
    fn scopes(self, repository: &str) -> Vec<String> {
        match self {
            Self::Pull => vec![format!("repository:{repository}:pull")],
            Self::Push { from } => {
                let own = format!("repository:{repository}:pull,push");
                let others = from.iter().map(|other| format!("repository:{other}:pull"));
                std::iter::once(own).chain(others).collect()
            }
            Self::Catalog => vec!["registry:catalog:*".to_owned()],
            Self::Login => Vec::new(),
        }
    }
}

impl<'a> Client<'a> {
    /// A client for `endpoint`. Nothing is sent yet. `notices` hears of waits.
    ///
    /// # Errors
    ///
    /// [`Error::Runtime`] if the kernel has no descriptors left.
    pub(crate) fn new(
        endpoint: &Endpoint,
        purpose: Purpose<'_>,
        options: &'a Options,
        notices: &'a dyn Fn(&Notice<'_>),
    ) -> Result<Self> {
        let runtime = transport::runtime()?;
        let registry = endpoint.image.registry();
        let authority = match (registry, purpose) {
            // Docker Hub is searched on another server than it is pulled from.
            (DOCKER_HUB, Purpose::Catalog) => "index.docker.io",
            (DOCKER_HUB, _) => "registry-1.docker.io",
            _ => registry,
        };
        let cert_dir = options.cert_dir.clone().or_else(|| tls::cert_dir(&options.cert_bases, registry));
        let insecure = options.tls_verify.map_or(endpoint.insecure, |verify| !verify);
        let schemes = schemes(host_of(authority), options.tls_verify, insecure, cert_dir.is_some());
        let bundle = options.ca_bundle.clone();
        let tls = tls::Settings { insecure, cert_dir, bundle, ..tls::Settings::default() };
        let session = Session {
            image: endpoint.image.clone(),
            authority: authority.to_owned(),
            schemes,
            base: OnceCell::new(),
            transport: Transport::new(authority, tls, options.policy.stall),
            options,
            authorization: RefCell::default(),
            credential: OnceCell::new(),
            scopes: purpose.scopes(endpoint.image.repository()),
            notices,
        };
        Ok(Self { runtime, session })
    }

    /// Does `work`, unless whom it is done for leaves meanwhile.
    pub(super) fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let client = self.session.options.hang_up.as_deref();
        let mut work = std::pin::pin!(work);
        self.wait_for(client, work.as_mut())
    }

    /// One copy for every kind of work.
    fn wait_for<T>(
        &self,
        client: Option<&OwnedFd>,
        work: std::pin::Pin<&mut dyn Future<Output = Result<T>>>,
    ) -> Result<T> {
        self.runtime.block_on(async {
            tokio::select! {
                done = work => done,
                () = hang_up::of(client) => Err(Error::Abandoned),
            }
        })
    }

    /// The image as this server knows it.
    pub(crate) fn image(&self) -> &ImageRef {
        &self.session.image
    }

    /// Fetches a manifest or index by tag or digest.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::TooLarge`], [`Error::Digest`], and what a request can fail with.
    pub(crate) fn manifest(&self, reference: &str) -> Result<Fetched> {
        self.wait(self.session.manifest(reference))
    }

    /// Fetches a small blob, like a configuration, into memory.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if it is said to be larger than [`MAX_MANIFEST`]; else as [`Client::blobs`].
    pub(crate) fn small_blob(&self, blob: blob::Blob) -> Result<Vec<u8>> {
        if blob.size > MAX_MANIFEST {
            return Err(Error::TooLarge { what: format!("blob {}", blob.digest), limit: MAX_MANIFEST });
        }
        let mut memory = blob::Memory::default();
        self.wait(self.session.download(blob, &mut memory))?;
        Ok(memory.bytes)
    }

    /// Downloads blobs, up to `lanes` at once, each into its sink; every one is verified before its
    /// sink is told to finish. The first failure ends all; what sinks hold by then stays with them.
    ///
    /// # Errors
    ///
    /// [`Error::Size`], [`Error::Endless`], [`Error::Digest`], [`Error::Sink`], and what a request can
    /// fail with after the retries that [`Policy`] grants.
    pub(crate) fn blobs<S: blob::Sink>(&self, jobs: Vec<(blob::Blob, S)>, lanes: usize) -> Result<()> {
        self.wait(self.session.download_all(jobs, lanes))
    }

    /// Asks whether the registry takes the credential, without wanting anything of it.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthorized`] if it does not, and what a request can fail with.
    pub(crate) fn check_login(&self) -> Result<()> {
        self.wait(self.session.check_login())
    }

    /// All tags of the repository, as the registry sorts them.
    ///
    /// # Errors
    ///
    /// What a request can fail with.
    pub(crate) fn tags(&self) -> Result<Vec<String>> {
        self.wait(self.session.tags())
    }
}

/// The schemes to try for a host. Plain http is for this machine and for those the user says it of.
fn schemes(host: &str, verify: Option<bool>, insecure: bool, has_certs: bool) -> &'static [&'static str] {
    match (is_loopback(host), verify) {
        (_, Some(true)) => &["https"],
        (true, None) if has_certs && !insecure => &["https"],
        (true, _) => &["http", "https"],
        (false, _) if insecure => &["https", "http"],
        (false, _) => &["https"],
    }
}

impl Session<'_> {
    /// The image as this server knows it.
    pub(super) fn image(&self) -> &ImageRef {
        &self.image
    }

    async fn manifest(&self, reference: &str) -> Result<Fetched> {
        let what = format!("manifest {reference}");
        let path = format!("v2/{}/manifests/{reference}", self.image.repository());
        let fetched = self
            .retrying(&what, async || {
                let response = self.get(&path, Some(MANIFEST_TYPES), None, &what).await?;
                let media_type = media_type(&response);
                let bytes = self.transport.body(response, &what, MAX_MANIFEST).await?;
                Ok(Fetched { digest: Digest::of(&bytes), bytes, media_type })
            })
            .await?;
        match reference.parse::<Digest>() {
            Ok(want) if want != fetched.digest => {
                Err(Error::Digest { what: "manifest", want, got: fetched.digest })
            }
            _ => Ok(fetched),
        }
    }

    async fn check_login(&self) -> Result<()> {
        let what = "answer to the login";
        self.retrying(what, async || {
            let response = self.get("v2/", None, None, what).await?;
            self.transport.body(response, what, MAX_MANIFEST).await.map(drop)
        })
        .await
    }

    async fn tags(&self) -> Result<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let mut all = Vec::new();
        let mut path = format!("v2/{}/tags/list?n=1000", self.image.repository());
        loop {
            let (page, next) = self.page::<Page>(&path, "list of tags").await?;
            let page = page.tags.unwrap_or_default();
            let done = page.is_empty() || all.len() > MAX_TAGS;
            all.extend(page);
            match next {
                Some(next) if !done => path = next,
                _ => return Ok(all),
            }
        }
    }

    /// Fetches one page of a list, and the path of the next one.
    pub(super) async fn page<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        what: &str,
    ) -> Result<(T, Option<String>)> {
        let (page, next) = self
            .retrying(what, async || {
                let response = self.get(path, None, None, what).await?;
                let link = response.headers().get(LINK).and_then(|link| link.to_str().ok());
                let next = link.and_then(|link| next_page(response.url(), link));
                Ok((self.transport.body(response, what, MAX_MANIFEST).await?, next))
            })
            .await?;
        let page = serde_json::from_slice(&page).map_err(|err| Error::Transport {
            url: format!("{}/{path}", self.authority),
            reason: format!("{what}: {err}"),
            transient: false,
        })?;
        Ok((page, next))
    }

    /// Repeats `attempt` as the policy says.
    pub(super) async fn retrying<T>(
        &self,
        what: &str,
        mut attempt: impl AsyncFnMut() -> Result<T>,
    ) -> Result<T> {
        let mut attempts = self.attempts();
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(err) => self.wait(&mut attempts, what, err).await?,
            }
        }
    }

    /// A fresh count of attempts.
    pub(super) fn attempts(&self) -> Attempts<'_> {
        Attempts::new(&self.options.policy)
    }

    /// Waits before the next attempt after `err`, or gives `err` back if there is to be none.
    pub(super) async fn wait(&self, attempts: &mut Attempts<'_>, what: &str, err: Error) -> Result<()> {
        let reason = err.to_string();
        let mut left = attempts.after(err, self.image.registry())?;
        let mut first = true;
        loop {
            (self.notices)(&Notice::Waiting { what, reason: &reason, left, first });
            let step = left.min(Duration::from_secs(1));
            tokio::time::sleep(step).await;
            left = left.saturating_sub(step);
            first = false;
            if left.is_zero() {
                return Ok(());
            }
        }
    }

    /// Waits a moment for another process that writes the same blob.
    pub(super) async fn wait_for_other(&self, digest: &Digest) {
        (self.notices)(&Notice::Busy { digest });
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    /// One GET below the registry's root, answered with success; authenticates if it has to.
    pub(super) async fn get(
        &self,
        path: &str,
        accept: Option<&str>,
        from: Option<u64>,
        what: &str,
    ) -> Result<Response> {
        let url = self.url(path).await?;
        let response = self.exchange(Request { accept, from, ..Request::get(url) }).await?;
        match response.status().as_u16() {
            200 | 206 => Ok(response),
            _ => Err(self.refusal(response, what).await),
        }
    }

    /// The URL of a path below the registry's root.
    pub(super) async fn url(&self, path: &str) -> Result<Url> {
        let base = self.base().await?;
        base.join(path).map_err(|err| Error::Transport {
            url: format!("{base}{path}"),
            reason: err.to_string(),
            transient: false,
        })
    }

    /// Sends a request; authenticates if it has to, towards the registry itself only. An answer of any
    /// status is a success.
    pub(super) async fn exchange(&self, mut request: Request<'_>) -> Result<Response> {
        let base = self.base().await?;
        let own = request.url.origin() == base.origin();
        request.authorization = if own { self.known_authorization() } else { None };
        let response = self.transport.send(&request).await?;
        if response.status() != 401 || !own || response.url().origin() != base.origin() {
            return Ok(response);
        }
        request.authorization = Some(self.authorize(base, response, request.authorization).await?);
        self.transport.send(&request).await
    }

    /// The error that an unsuccessful answer means.
    pub(super) async fn refusal(&self, response: Response, what: &str) -> Error {
        let registry = self.image.name();
        match self.transport.status_error(response).await {
            Error::Status { status: 404, message, .. } => {
                Error::NotFound { what: what.to_owned(), registry, message }
            }
            Error::Status { status: 401 | 403, message, .. } => Error::Unauthorized { registry, message },
            other => other,
        }
    }

    fn known_authorization(&self) -> Option<HeaderValue> {
        self.authorization.borrow().as_ref().and_then(Authorization::header).cloned()
    }

    /// Answers the challenge in `response`; `sent` is the header that was not good enough.
    async fn authorize(
        &self,
        base: &Url,
        response: Response,
        sent: Option<HeaderValue>,
    ) -> Result<HeaderValue> {
        // While this request was on its way, another may have got a new token.
        if let Some(known) = self.known_authorization().filter(|known| Some(known) != sent.as_ref()) {
            return Ok(known);
        }
        let offers = response.headers().get_all(WWW_AUTHENTICATE);
        let chosen = challenge::choose(offers.iter().filter_map(|offer| offer.to_str().ok()));
        let err = self.refusal(response, "").await;
        let Some(chosen) = chosen else {
            return Err(err);
        };
        if chosen == Challenge::Basic && sent.is_some() {
            return Err(err);
        }
        let credential = self.credential()?;
        let is_confirmed = |host: &str| {
            credential.is_some() && self.options.stores.of_host(host).ok().flatten().as_ref() == credential
        };
        let made =
            token::answer(&self.transport, base, &chosen, credential, &self.scopes, &is_confirmed).await?;
        let header = made.header().cloned();
        *self.authorization.borrow_mut() = Some(made);
        header.ok_or(err)
    }

    /// The credential for this image; stores and helpers are asked when it is first wanted.
    fn credential(&self) -> Result<Option<&Credential>> {
        if let Some(given) = &self.options.credential {
            return Ok(Some(given));
        }
        if self.credential.get().is_none() {
            let found = self.options.stores.find(&self.image)?;
            self.credential.set(found).ok();
        }
        Ok(self.credential.get().and_then(Option::as_ref))
    }

    /// The root URL: found by trying, where both schemes are possible.
    async fn base(&self) -> Result<&Url> {
        if let Some(base) = self.base.get() {
            return Ok(base);
        }
        let mut failure = None;
        for scheme in self.schemes {
            let text = format!("{scheme}://{}/", self.authority);
            let url = Url::parse(&text).map_err(|err| Error::Transport {
                url: text,
                reason: err.to_string(),
                transient: false,
            })?;
            if self.schemes.len() == 1 {
                return Ok(self.base.get_or_init(|| url));
            }
            match self.probe(&url).await {
                Ok(()) => return Ok(self.base.get_or_init(|| url)),
                // "This port speaks TLS" says less than why TLS went wrong.
                Err(err) if matches!(failure, None | Some(Error::Status { .. })) => failure = Some(err),
                Err(_) => {}
            }
        }
        Err(failure.unwrap_or_else(|| Error::Transport {
            url: self.authority.clone(),
            reason: "no scheme to try".to_owned(),
            transient: false,
        }))
    }

    /// Finds out if `base` speaks its scheme: TLS servers answer plain http with 400 or a reset.
    async fn probe(&self, base: &Url) -> Result<()> {
        let url = base.join("v2/").map_err(|err| Error::Transport {
            url: base.to_string(),
            reason: err.to_string(),
            transient: false,
        })?;
        let response = self.transport.send(&Request::get(url)).await?;
        if base.scheme() == "http" && response.status() == 400 {
            return Err(self.transport.status_error(response).await);
        }
        // Reading the answer to its end keeps the connection for the next request.
        self.transport.body(response, "answer to the first request", 64 * 1024).await.map(drop)
    }
}

/// The `Content-Type` without parameters.
fn media_type(response: &Response) -> String {
    let value =
        response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    from_outside(value.split(';').next().unwrap_or_default().trim())
}

/// The path and query of `<URL>; rel="next"` on the page `at`, if it stays on the server. The URL may be absolute
/// or relative to the page's; a registry behind a proxy may name its own scheme and port.
fn next_page(at: &Url, link: &str) -> Option<String> {
    let (target, params) = link.strip_prefix('<')?.split_once('>')?;
    let next = at.join(target).ok().filter(|next| next.host() == at.host())?;
    let path = next.path().strip_prefix('/').filter(|path| path.starts_with("v2/"))?;
    let query = next.query().map_or_else(String::new, |query| format!("?{query}"));
    params.contains("next").then(|| format!("{path}{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_and_the_insecure() {
        for (host, verify, insecure, certs, want) in [
            ("r.io", None, false, false, &["https"][..]),
            ("r.io", None, true, false, &["https", "http"]),
            ("r.io", Some(false), true, false, &["https", "http"]),
            ("r.io", Some(true), false, false, &["https"]),
            ("localhost", None, false, false, &["http", "https"]),
            ("127.0.0.1", None, false, true, &["https"]),
            ("127.0.0.1", Some(true), false, false, &["https"]),
            ("127.0.0.1", Some(false), true, true, &["http", "https"]),
        ] {
            assert_eq!(schemes(host, verify, insecure, certs), want, "{host} {verify:?} {insecure} {certs}");
        }
    }

    #[test]
    fn pages_of_tags() {
        for (link, want) in [
            (r#"</v2/a/tags/list?last=x&n=2>; rel="next""#, Some("v2/a/tags/list?last=x&n=2")),
            (r#"<https://r.io/v2/a/tags/list?last=x&n=2>; rel="next""#, Some("v2/a/tags/list?last=x&n=2")),
            (r#"<https://r.io:443/v2/_catalog>; rel="next""#, Some("v2/_catalog")),
            (r#"<list?last=y>; rel="next""#, Some("v2/a/tags/list?last=y")),
            (r#"<?last=z>; rel="next""#, Some("v2/a/tags/list?last=z")),
            (r#"<http://r.io:5000/v2/a?n=2>; rel="next""#, Some("v2/a?n=2")),
            (r#"<https://evil/v2/a>; rel="next""#, None),
            (r#"<//evil/v2/a>; rel="next""#, None),
            (r#"</other/a>; rel="next""#, None),
            (r#"</v2/a>; rel="prev""#, None),
            ("nonsense", None),
        ] {
            let at = Url::parse("https://r.io/v2/a/tags/list?n=2").unwrap();
            assert_eq!(next_page(&at, link).as_deref(), want, "{link}");
        }
    }
}
