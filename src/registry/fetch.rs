//! A file at an address, for `ADD` and contexts of builds: the same TLS and the same limits on redirects as
//! for registries, and no credentials. And a document for one, with such as the caller brings.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Method, Url};

use crate::registry::error::{Error, Result};
use crate::registry::tls;
use crate::registry::transport::{self, Payload, Request, Transport};

/// How long a server may be silent.
const STALL: Duration = Duration::from_secs(60);

/// The longest answer to a document, in bytes.
const MAX_ANSWER: u64 = 1 << 20;

/// Downloads `address` to `out`; `bundle` holds the trusted roots, if not the system's count.
///
/// # Errors
///
/// For an address that is none; network, TLS and HTTP errors; if `out` cannot be written.
pub(crate) fn fetch(address: &str, bundle: Option<PathBuf>, mut out: impl Write) -> Result<()> {
    let url = parsed(address)?;
    transport::runtime()?.block_on(async {
        let transport =
            Transport::new(url.authority(), tls::Settings { bundle, ..tls::Settings::default() }, STALL);
        let mut response = transport.send(&Request::get(url.clone())).await?;
        if !response.status().is_success() {
            return Err(transport.status_error(response).await);
        }
        while let Some(chunk) = transport.chunk(&mut response).await? {
            out.write_all(chunk.as_ref()).map_err(Error::Output)?;
        }
        out.flush().map_err(Error::Output)
    })
}

/// A document that is sent to an address.
#[derive(Debug)]
pub(crate) struct Post<'a> {
    pub(crate) address: &'a str,
    pub(crate) tls: tls::Settings,
    /// Shown to the server.
    pub(crate) token: Option<&'a str>,
    pub(crate) media_type: &'a str,
    pub(crate) body: Vec<u8>,
}

/// Sends a document; the answer's status, whatever it is, and its body.
///
/// # Errors
///
/// For an address that is none, a token that no header can hold; network and TLS errors; a body of more than 1 MiB.
pub(crate) fn post(post: Post<'_>) -> Result<(u16, Vec<u8>)> {
    let url = parsed(post.address)?;
    let payload = Payload::Document { media_type: post.media_type.to_owned(), bytes: post.body };
    let mut request = Request::new(Method::POST, url.clone(), payload);
    if let Some(token) = post.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Error::Transport {
            url: post.address.to_owned(),
            reason: "no header can hold the token".to_owned(),
            transient: false,
        })?;
        value.set_sensitive(true);
        request.authorization = Some(value);
    }
    transport::runtime()?.block_on(async {
        let transport = Transport::new(url.authority(), post.tls, STALL);
        let response = transport.send(&request).await?;
        let status = response.status().as_u16();
        Ok((status, transport.body(response, "answer", MAX_ANSWER).await?))
    })
}

fn parsed(address: &str) -> Result<Url> {
    Url::parse(address).map_err(|_| Error::Transport {
        url: address.to_owned(),
        reason: "not an address".to_owned(),
        transient: false,
    })
}
