//! What can go wrong between ketch and a registry.
//!
//! Texts from the network end up in messages, so they are cut and their control characters escaped
//! here, where they enter ([`from_outside`]).

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::digest::Digest;

/// A result of this module.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A failure of talking to a registry, or of the configuration that says how to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No connection, or it broke.
    #[error("reach {url}: {reason}")]
    Transport {
        url: String,
        reason: String,
        /// Another attempt may go well.
        transient: bool,
    },
    /// Whom it was done for has left.
    #[error("nobody waits for it any more")]
    Abandoned,
    /// Nothing arrived for this long.
    #[error("{url} sent nothing for {} s", after.as_secs())]
    Stalled { url: String, after: Duration },
    /// The server answered, but not with what was asked for.
    #[error("{url} answered {status}{message}")]
    Status {
        url: String,
        status: u16,
        /// Empty, or `: ` and what the registry says.
        message: String,
        /// What the `Retry-After` header asks for.
        retry_after: Option<Duration>,
    },
    /// The registry has no such manifest, blob or repository.
    #[error("{what} not found on {registry}{message}")]
    NotFound { what: String, registry: String, message: String },
    /// The registry wants other credentials, or any.
    #[error("{registry} denies access{message}")]
    Unauthorized { registry: String, message: String },
    /// 429 until the patience for it was used up.
    #[error("{registry} limits the rate of requests; gave up after {} s of waiting", waited.as_secs())]
    RateLimited { registry: String, waited: Duration },
    /// A challenge that cannot be answered.
    #[error("authentication challenge of {registry}: {reason}")]
    Challenge { registry: String, reason: String },
    /// The password would leave for another server in the clear.
    #[error("{registry} asks to send the password to {realm} over plain http: refused")]
    HostileRealm { registry: String, realm: String },
    /// The password would leave for a server that is not the registry's.
    #[error("{registry} asks to send its password to {realm}, which is of another domain: refused")]
    ForeignRealm { registry: String, realm: String, host: String },
    /// A redirect that is not followed.
    #[error("{from} redirects to {to}: {reason}")]
    Redirect { from: String, to: String, reason: &'static str },
    /// More bytes than ketch reads of this.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge { what: String, limit: u64 },
    /// A blob of another length than its descriptor says.
    #[error("blob {digest} is {got} bytes long, its descriptor says {want}: size mismatch")]
    Size { digest: Digest, want: u64, got: u64 },
    /// A blob that goes on after its end.
    #[error("blob {digest} is longer than the {want} bytes its descriptor says: size mismatch")]
    Endless { digest: Digest, want: u64 },
    /// Content that is not what its digest says.
    #[error("{what} {want} has digest {got}: corrupted in transit or tampered with")]
    Digest { what: &'static str, want: Digest, got: Digest },
    /// The configuration forbids this registry.
    #[error("registry {prefix} is blocked in {file:?}")]
    Blocked { prefix: String, file: PathBuf },
    /// A short name that the configuration leads nowhere.
    #[error(
        "short-name {name:?} did not resolve to an alias and no unqualified-search registries are defined in {file:?}"
    )]
    ShortName { name: String, file: PathBuf },
    /// A short name that several registries may have.
    #[error("short-name resolution enforced but cannot prompt without a TTY: {name:?} may mean {}", candidates.join(" or "))]
    Ambiguous { name: String, candidates: Vec<String> },
    /// The file of credentials that the user has named is not there, or not to be read.
    #[error("credential file is not accessible: {path:?}: {reason}")]
    CredentialFile { path: PathBuf, reason: String },
    /// A configuration file that cannot be used.
    #[error("read {path:?}: {reason}")]
    Config { path: PathBuf, reason: String },
    /// A credential helper that fails.
    #[error("credential helper docker-credential-{name}: {reason}")]
    Helper { name: String, reason: String },
    /// A certificate or key that cannot be used.
    #[error("TLS set-up from {path:?}: {reason}")]
    Tls { path: PathBuf, reason: String },
    /// Writing down what was received went wrong.
    #[error("store blob {digest}")]
    Sink { digest: Digest, source: io::Error },
    /// The machine refused something that is no fault of a registry.
    #[error("start the network runtime")]
    Runtime(#[source] io::Error),
    /// Who wanted a file does not take it.
    #[error("write it")]
    Output(#[source] io::Error),
}

impl Error {
    /// True if the same request may go well a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Transport { transient, .. } => *transient,
            Self::Stalled { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }
}

/// Text from the network, fit for a message: at most 300 characters, control characters escaped.
pub(crate) fn from_outside(text: &str) -> String {
    text.chars()
        .take(300)
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = (!c.is_control()).then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_drive_a_terminal() {
        assert_eq!(from_outside("a\x1b[31mb\r\n"), "a\\u{1b}[31mb\\r\\n");
        assert_eq!(from_outside(&"x".repeat(999)).len(), 300);
    }
}
