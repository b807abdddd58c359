//! A file at an address, for `ADD` and contexts of builds: the same TLS and the same limits on redirects as
//! for registries, and no credentials.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use crate::registry::error::{Error, Result};
use crate::registry::tls;
use crate::registry::transport::{Request, Transport};

/// How long a server may be silent.
const STALL: Duration = Duration::from_secs(60);

/// Downloads `address` to `out`; `bundle` holds the trusted roots, if not the system's count.
///
/// # Errors
///
/// For an address that is none; network, TLS and HTTP errors; if `out` cannot be written.
pub(crate) fn fetch(address: &str, bundle: Option<PathBuf>, mut out: impl Write) -> Result<()> {
    let url = Url::parse(address).map_err(|_| Error::Transport {
        url: address.to_owned(),
        reason: "not an address".to_owned(),
        transient: false,
    })?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    runtime.block_on(async {
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
