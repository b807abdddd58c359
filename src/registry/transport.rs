//! One HTTP exchange, redirects included: the only place where ketch makes HTTP clients.
//!
//! ```text
//! request ─▶ send ─▶ answer
//!    ▲         │ 301 302 303 307 308, at most 10 times (what carries a body: 307 308 only)
//!    └─────────┘ http/https only · never from https to http · never to a link-local address
//!                Authorization and the client certificate stay with the first origin
//! ```

use std::cell::{Cell, OnceCell};
use std::net::IpAddr;
use std::time::Duration;

use nix::errno::Errno;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE,
    RETRY_AFTER,
};
use reqwest::{Client, Method, RequestBuilder, Response, Url};

use crate::registry::error::{Error, Result, from_outside};
use crate::registry::piece::Piece;
use crate::registry::resolver::{Resolver, is_link_local, is_localhost};
use crate::registry::tls;

/// Redirects that are followed for one request.
const MAX_REDIRECTS: usize = 10;

/// How long a TCP connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How many times longer than a transfer a server may be silent before it confirms an upload.
const COMMIT_PATIENCE: u32 = 10;

/// Most bytes of an error's body that are read.
const MAX_ERROR_BODY: u64 = 64 * 1024;

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// Media types to take, or anything.
    pub(crate) accept: Option<&'a str>,
    /// First byte wanted, if not all are.
    pub(crate) from: Option<u64>,
    /// Marked sensitive by who made it.
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) payload: Payload,
}

/// The body of a request.
#[derive(Clone, Debug, Default)]
pub(crate) enum Payload {
    /// None at all, as a GET has.
    #[default]
    None,
    /// One without bytes, as a POST has.
    Empty,
    /// A URL-encoded form with a secret; such a request is not redirected.
    Form(String),
    /// A small document and its media type.
    Document { media_type: String, bytes: Vec<u8> },
    /// A piece of a blob.
    Piece(Piece),
}

impl Request<'_> {
    /// A GET of `url` that takes anything and shows no credentials.
    pub(crate) fn get(url: Url) -> Self {
        Self::new(Method::GET, url, Payload::None)
    }

    /// A request that takes any answer and shows no credentials.
    pub(crate) fn new(method: Method, url: Url, payload: Payload) -> Self {
        Self { method, url, accept: None, from: None, authorization: None, payload }
    }

    /// True if an answer with this status may send the request elsewhere. Other methods than GET and
    /// HEAD are repeated as they are or not at all.
    fn follows(&self, status: u16) -> bool {
        match self.method {
            Method::GET | Method::HEAD => (300..400).contains(&status),
            _ => matches!(status, 307 | 308),
        }
    }
}

/// The HTTP clients for one registry and for where it sends ketch.
#[derive(Debug)]
pub(crate) struct Transport {
    /// Host of the registry, without port.
    host: String,
    /// Host and port of the registry, as a URL has them.
    authority: String,
    tls: tls::Settings,
    stall: Duration,
    /// By [`Transport::kind`], made on first use.
    clients: [OnceCell<Client>; 6],
    /// Some server has answered already, so that a refused connection may be a passing thing.
    reached: Cell<bool>,
}

impl Transport {
    /// Clients for the registry `authority` (host and port); nothing may be silent for longer than
    /// `stall`.
    pub(crate) fn new(authority: &str, tls: tls::Settings, stall: Duration) -> Self {
        let host = host_of(authority).to_owned();
        let clients = [const { OnceCell::new() }; 6];
        Self { host, authority: authority.to_owned(), tls, stall, clients, reached: Cell::new(false) }
    }

    /// Sends a request and follows redirects. An answer of any status is a success.
    ///
    /// # Errors
    ///
    /// [`Error::Transport`], [`Error::Stalled`], [`Error::Redirect`], [`Error::Tls`].
    pub(crate) async fn send(&self, request: &Request<'_>) -> Result<Response> {
        let mut url = request.url.clone();
        let mut authorization = request.authorization.as_ref();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(&url, request, authorization).await?;
            let follows = request.follows(response.status().as_u16());
            let location = response.headers().get(LOCATION).filter(|_| follows);
            let Some(location) = location else {
                return Ok(response);
            };
            let location = String::from_utf8_lossy(location.as_bytes());
            let refused =
                |reason| Error::Redirect { from: shown(&request.url), to: from_outside(&location), reason };
            if matches!(request.payload, Payload::Form(_)) {
                return Err(refused("a request that carries a secret is not redirected"));
            }
            let target = redirect_target(&url, &location).map_err(refused)?;
            if target.origin() != url.origin() {
                authorization = None;
            }
            url = target;
        }
        let reason = "more than 10 redirects";
        Err(Error::Redirect { from: shown(&request.url), to: shown(&url), reason })
    }

    async fn send_once(
        &self,
        url: &Url,
        request: &Request<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response> {
        let mut builder = self.client(url)?.request(request.method.clone(), url.clone());
        if let Some(accept) = request.accept {
            builder = builder.header(ACCEPT, accept);
        }
        if let Some(from) = request.from {
            builder = builder.header(RANGE, format!("bytes={from}-"));
        }
        if let Some(authorization) = authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        let builder = with_payload(builder, &request.payload);
        match self.answer(builder.send(), &request.payload).await {
            Some(Ok(response)) => {
                self.reached.set(true);
                Ok(response)
            }
            Some(Err(err)) => Err(self.broken(url, &err)),
            None => Err(Error::Stalled { url: shown(url), after: self.stall }),
        }
    }

    /// Waits for an answer; `None` if nothing moves for too long. As long as a piece is being sent,
    /// what counts is that bytes of it leave.
    async fn answer<T>(&self, sending: impl Future<Output = T>, payload: &Payload) -> Option<T> {
        let (progress, patience) = match payload {
            Payload::Piece(piece) => (Some(piece), self.stall),
            // The server may have to copy a whole blob before it answers.
            Payload::Empty => (None, self.stall * COMMIT_PATIENCE),
            _ => (None, self.stall),
        };
        let mut sending = std::pin::pin!(sending);
        let mut sent = 0;
        loop {
            if let Ok(answer) = tokio::time::timeout(patience, &mut sending).await {
                return Some(answer);
            }
            let now = progress.map_or(0, Piece::sent);
            if now == sent {
                return None;
            }
            sent = now;
        }
    }

    /// The next piece of an answer's body; `None` at its end.
    ///
    /// # Errors
    ///
    /// As [`Transport::send`].
    pub(crate) async fn chunk(&self, response: &mut Response) -> Result<Option<impl AsRef<[u8]> + use<>>> {
        match tokio::time::timeout(self.stall, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(err)) => Err(self.broken(response.url(), &err)),
            Err(_) => Err(Error::Stalled { url: shown(response.url()), after: self.stall }),
        }
    }

    /// Reads a whole body of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], and as [`Transport::send`].
    pub(crate) async fn body(&self, mut response: Response, what: &str, limit: u64) -> Result<Vec<u8>> {
        let too_large = || Error::TooLarge { what: what.to_owned(), limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            body.extend_from_slice(chunk.as_ref());
            if body.len() as u64 > limit {
                return Err(too_large());
            }
        }
        Ok(body)
    }

    /// Turns an answer that is not a success into an error with what the server says.
    pub(crate) async fn status_error(&self, response: Response) -> Error {
        let (status, url) = (response.status().as_u16(), shown(response.url()));
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
        let body = self.body(response, "error message", MAX_ERROR_BODY).await.unwrap_or_default();
        Error::Status { url, status, message: registry_message(&body), retry_after }
    }

    /// The error for an exchange that broke.
    fn broken(&self, url: &Url, err: &reqwest::Error) -> Error {
        let mut cause: &dyn std::error::Error = err;
        let mut is_tls = false;
        while let Some(source) = cause.source() {
            cause = source;
            is_tls |= tls_of(cause).is_some();
        }
        let errno = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        let reason = match errno {
            Some(errno) => Errno::from_raw(errno).desc().to_lowercase(),
            None => tls_of(cause).map_or_else(|| cause.to_string(), tls::reason),
        };
        // No connection at the first attempt is a wrong name or a server that is not there.
        let transient = !is_tls && !err.is_builder() && (!err.is_connect() || self.reached.get());
        Error::Transport { url: shown(url), reason: from_outside(&reason), transient }
    }

    /// The client for a URL.
    fn client(&self, url: &Url) -> Result<&Client> {
        let https = url.scheme() == "https";
        let own = url_authority(url) == self.authority;
        let direct = url.host_str().is_some_and(is_loopback);
        let cell = &self.clients[Self::kind(https, own, direct)];
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let tls = if https { tls::client_config(&self.tls, own)? } else { tls::no_config()? };
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("ketch/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT.min(self.stall))
            .dns_resolver(Resolver::new(&self.host));
        if direct {
            // Nobody's proxy is meant for this machine itself.
            builder = builder.no_proxy();
        }
        let made = builder.build().map_err(|err| self.broken(url, &err))?;
        Ok(cell.get_or_init(|| made))
    }

    /// The place of a client that differs in TLS, in showing its certificate, and in using proxies.
    const fn kind(https: bool, own: bool, direct: bool) -> usize {
        let trust = match (https, own) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        };
        trust * 2 + direct as usize
    }
}

/// The failure of TLS that `err` is. An io::Error passes over what it holds when it is asked for its source,
/// and holds another one here.
fn tls_of<'a>(err: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let held = || err.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    err.downcast_ref().or_else(|| tls_of(held()?))
}

/// Adds the body and what describes it.
fn with_payload(builder: RequestBuilder, payload: &Payload) -> RequestBuilder {
    match payload {
        Payload::None => builder,
        Payload::Empty => builder.header(CONTENT_LENGTH, 0),
        Payload::Form(form) => {
            builder.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.clone())
        }
        Payload::Document { media_type, bytes } => {
            builder.header(CONTENT_TYPE, media_type).body(bytes.clone())
        }
        Payload::Piece(piece) => builder
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, piece.length())
            .header(CONTENT_RANGE, piece.range())
            .body(piece.body()),
    }
}

/// The URL a redirect leads to, if it may be followed.
pub(super) fn redirect_target(from: &Url, location: &str) -> std::result::Result<Url, &'static str> {
    let mut target = from.join(location).map_err(|_| "not a URL")?;
    match (from.scheme(), target.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err("from https to plain http"),
        _ => return Err("neither http nor https"),
    }
    check_not_link_local(&target)?;
    // A password in the URL would become an Authorization header.
    target.set_username("").ok();
    target.set_password(None).ok();
    Ok(target)
}

/// What requests run on: the calling thread, and no other.
///
/// # Errors
///
/// [`Error::Runtime`] if the kernel has no descriptors left.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)
}

/// Refuses addresses like 169.254.169.254, where clouds keep secrets; names that lead there are
/// caught by [`Resolver`].
pub(crate) fn check_not_link_local(url: &Url) -> std::result::Result<(), &'static str> {
    let host = url.host_str().ok_or("no host")?;
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if address.is_ok_and(is_link_local) { Err("a link-local address") } else { Ok(()) }
}

/// True if a host, as registries and URLs spell it, is this machine by its very name.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    is_localhost(host) || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// The host of `host[:port]`; brackets of IPv6 stay.
pub(crate) fn host_of(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    }
}

/// Host and port as a registry's name has them.
fn url_authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A URL for a message: without the query, which may hold signatures.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_password(None).ok();
    from_outside(url.as_str())
}

/// Seconds, or a date, from now on.
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
    let wait = at.as_second().saturating_sub(jiff::Timestamp::now().as_second());
    Some(Duration::from_secs(u64::try_from(wait).unwrap_or(0)))
}

/// `: CODE: message` of a registry's error document; empty if the body is none.
fn registry_message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Document {
        #[serde(default)]
        errors: Vec<Entry>,
        /// Token servers say it here.
        details: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(document) = serde_json::from_slice::<Document>(body) else {
        return String::new();
    };
    match (document.errors.first(), document.details) {
        (Some(first), _) => format!(": {}: {}", from_outside(&first.code), from_outside(&first.message)),
        (None, Some(details)) => format!(": {}", from_outside(&details)),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_tls_are_known_however_deep() {
        let tls = || rustls::Error::DecryptError;
        let once = std::io::Error::new(std::io::ErrorKind::InvalidData, tls());
        assert!(tls_of(&tls()).is_some() && tls_of(&once).is_some());
        assert!(tls_of(&std::io::Error::other(once)).is_some());
        assert!(tls_of(&std::io::Error::other("reset")).is_none());
    }

    #[test]
    fn redirects_that_are_followed() {
        let from = |text: &str| Url::parse(text).unwrap();
        for (base, location, want) in [
            ("https://r.io/v2/", "https://cdn.io/x", Ok("https://cdn.io/x")),
            ("https://r.io/v2/a", "/b", Ok("https://r.io/b")),
            ("http://r.io/v2/", "https://cdn.io/", Ok("https://cdn.io/")),
            ("http://r.io/v2/", "http://other.io/", Ok("http://other.io/")),
            ("https://r.io/", "https://me:pw@cdn.io/", Ok("https://cdn.io/")),
            ("https://r.io/", "http://r.io/", Err("from https to plain http")),
            ("https://r.io/", "file:///etc/passwd", Err("neither http nor https")),
            ("http://r.io/", "ftp://x/", Err("neither http nor https")),
            ("http://r.io/", "http://169.254.169.254/latest", Err("a link-local address")),
            ("http://r.io/", "http://2852039166/", Err("a link-local address")),
            ("http://r.io/", "http://[::ffff:169.254.169.254]/", Err("a link-local address")),
            ("http://r.io/", "http://[fe80::1]/", Err("a link-local address")),
            ("http://r.io/", "http://[bad/", Err("not a URL")),
        ] {
            let got = redirect_target(&from(base), location);
            assert_eq!(got.as_ref().map(Url::as_str).map_err(|err| *err), want, "{base} -> {location}");
        }
    }

    #[test]
    fn loopback_is_known_by_name() {
        for (authority, want) in [
            ("localhost:5000", true),
            ("127.0.0.1", true),
            ("127.9.9.9:1", true),
            ("[::1]:5000", true),
            ("[::ffff:127.0.0.1]", true),
            ("a.localhost", true),
            ("localhost.evil.io", false),
            ("10.0.0.1:5000", false),
            ("127.0.0.1.evil.io", false),
        ] {
            assert_eq!(is_loopback(host_of(authority)), want, "{authority}");
        }
    }

    #[test]
    fn waits_that_servers_ask_for() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("soon"), None);
        assert_eq!(retry_after("-1"), None);
    }

    #[test]
    fn messages_of_registries() {
        for (body, want) in [
            (r#"{"errors":[{"code":"DENIED","message":"no\u001b"}]}"#, ": DENIED: no\\u{1b}"),
            (r#"{"details":"incorrect username or password"}"#, ": incorrect username or password"),
            ("<html>", ""),
            ("{}", ""),
        ] {
            assert_eq!(registry_message(body.as_bytes()), want);
        }
    }
}
