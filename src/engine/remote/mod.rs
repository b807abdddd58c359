//! What all use cases that talk to registries share: options, configuration, clients.
//!
//! ```text
//! RemoteOptions (flags) ─┐
//! containers.conf ───────┼▶ Remote ──endpoints(image)──▶ [Endpoint] ──client──▶ registry::Client
//! environment, files ────┘            reading: mirrors, then the registry; the first that can
//! ```

pub(in crate::engine) mod error;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::image_ref::{ImageRef, NameRule};
use crate::base::time;
use crate::engine::config::containers_conf::{ContainersConf, EngineConf};
use crate::engine::config::registries as files;
use crate::engine::error::{Error, Kind, Result};
use crate::engine::remote::error::from_registry;
use crate::registry::auth::Credential;
use crate::registry::client::{Client, Notice, Options, Purpose};
use crate::registry::config::{Endpoint, Registries};
use crate::registry::error::Error as RegistryError;
use crate::registry::fetch;
use crate::registry::retry::Policy as Patience;
use crate::registry::tls;

/// How registries are talked to, as far as a command's options say.
#[derive(Clone, Debug, Default)]
pub(crate) struct RemoteOptions {
    pub(crate) tls_verify: Option<bool>,
    pub(crate) cert_dir: Option<PathBuf>,
    pub(crate) credential: Option<Credential>,
    /// Credentials for several registries, by their keys in files of credentials; these go before those that are stored.
    pub(crate) credentials: BTreeMap<String, Credential>,
    pub(crate) auth_file: Option<PathBuf>,
    /// Attempts after the first.
    pub(crate) retries: Option<u32>,
    /// Wait before the second attempt.
    pub(crate) retry_delay: Option<Duration>,
    /// The socket of the client whom it is done for: when that hangs up, it is given up.
    pub(crate) hang_up: Option<Arc<OwnedFd>>,
}

/// Options and configuration of one command.
#[derive(Debug)]
pub(in crate::engine) struct Remote {
    pub(in crate::engine) options: Options,
    pub(in crate::engine) registries: Registries,
}

impl RemoteOptions {
    /// These options, completed by what containers.conf says.
    ///
    /// # Errors
    ///
    /// A delay that is none.
    fn configured(&self, conf: &EngineConf) -> Result<Self> {
        let delay = |text: &String| {
            let unit = if text.bytes().all(|b| b.is_ascii_digit()) { "s" } else { "" };
            time::parse_duration(&format!("{text}{unit}"))
                .ok()
                .and_then(|delay| Duration::try_from(delay).ok())
                .ok_or_else(|| {
                    Error::invalid(format!("containers.conf: retry_delay: {text:?} means nothing"))
                })
        };
        let configured = conf.retry_delay.as_ref().filter(|text| !text.is_empty()).map(delay).transpose()?;
        Ok(Self {
            retries: self.retries.or(conf.retry),
            retry_delay: self.retry_delay.or(configured),
            ..self.clone()
        })
    }

    /// These options and what the environment adds to them.
    fn complete(&self, rule: NameRule) -> Options {
        let mut policy = Patience::default();
        policy.retries = self.retries.unwrap_or(policy.retries);
        policy.delay = self.retry_delay.unwrap_or(policy.delay);
        Options {
            tls_verify: self.tls_verify,
            cert_dir: self.cert_dir.clone(),
            cert_bases: files::certificates(),
            ca_bundle: files::ca_bundle(),
            credential: self.credential.clone(),
            stores: files::credentials(self.auth_file.clone(), rule).behind(self.credentials.clone()),
            policy,
            hang_up: self.hang_up.clone(),
        }
    }
}

/// Downloads what lies at an address (http, https); `out` gets it.
///
/// # Errors
///
/// [`Kind::System`]: network, TLS and HTTP errors; if `out` cannot be written.
pub(crate) fn download(address: &str, out: impl Write) -> Result<()> {
    fetch::fetch(address, files::ca_bundle(), out)
        .map_err(|err| Error::new(Kind::System, format!("download {address}")).because(err))
}

/// What somebody shows to a server that is no registry, and what of it they trust.
#[derive(Default)]
pub(crate) struct Trusted {
    /// Take any certificate.
    pub(crate) insecure: bool,
    /// PEM text of roots; `None` for the system's.
    pub(crate) roots: Option<Vec<u8>>,
    /// PEM texts of their own certificate and its key.
    pub(crate) own: Option<(Vec<u8>, Vec<u8>)>,
    pub(crate) token: Option<String>,
}

impl std::fmt::Debug for Trusted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No secrets.
        f.debug_struct("Trusted").field("insecure", &self.insecure).finish_non_exhaustive()
    }
}

/// A document for an address.
#[derive(Debug)]
pub(crate) struct Post<'a> {
    pub(crate) address: &'a str,
    pub(crate) trusted: &'a Trusted,
    pub(crate) media_type: &'a str,
    pub(crate) body: Vec<u8>,
}

/// Sends a document; the answer's status, whatever it is, and its body.
///
/// # Errors
///
/// [`Kind::System`]: network and TLS errors; an address that is none.
pub(crate) fn post(post: Post<'_>) -> Result<(u16, Vec<u8>)> {
    let Post { address, trusted, media_type, body } = post;
    let tls = tls::Settings {
        insecure: trusted.insecure,
        bundle: files::ca_bundle(),
        roots: trusted.roots.clone(),
        own: trusted.own.clone(),
        ..tls::Settings::default()
    };
    fetch::post(fetch::Post { address, tls, token: trusted.token.as_deref(), media_type, body })
        .map_err(|err| Error::new(Kind::System, format!("send to {address}")).because(err))
}

/// Why a server did not give what was asked for.
#[derive(Debug)]
pub(in crate::engine) enum Trouble {
    /// The server: another mirror may do better.
    Server(RegistryError),
    /// The image: it would be the same everywhere.
    Image(Error),
}

impl From<RegistryError> for Trouble {
    fn from(err: RegistryError) -> Self {
        Self::Server(err)
    }
}

impl From<Error> for Trouble {
    fn from(err: Error) -> Self {
        Self::Image(err)
    }
}

impl Remote {
    /// Completes the options of a command by containers.conf, and reads the configuration of registries.
    ///
    /// # Errors
    ///
    /// [`Kind::Invalid`] for a file that cannot be read or understood.
    pub(in crate::engine) fn new(options: &RemoteOptions, conf: &ContainersConf) -> Result<Self> {
        let registries = Registries::load(&files::registries(conf))
            .map_err(|err| Error::new(Kind::Invalid, "read the configuration of registries").because(err))?;
        let registries = match conf.name_rule {
            NameRule::Podman => registries,
            NameRule::Docker => registries.searching_hub_alone(),
        };
        let mut options = options.configured(&conf.engine)?.complete(conf.name_rule);
        options.stores = options.stores.with_helpers(registries.helpers());
        Ok(Self { options, registries })
    }

    /// Does `work` with the first server that can, to read what `verb` says: mirrors, then the registry
    /// itself. The failure that is reported is the last, the registry's own, with those of mirrors in its message. `trying`
    /// hears of the image once.
    ///
    /// # Errors
    ///
    /// Those of `work`; if the configuration forbids the image.
    pub(in crate::engine) fn reading<T>(
        &self,
        verb: &str,
        image: &ImageRef,
        notices: &dyn Fn(&Notice<'_>),
        trying: &dyn Fn(&ImageRef),
        mut work: impl FnMut(&Client<'_>) -> std::result::Result<T, Trouble>,
    ) -> Result<T> {
        let failed = |err| from_registry(verb, image, err);
        let endpoints = self.registries.endpoints(image).map_err(failed)?;
        trying(image);
        let mut failure: Option<RegistryError> = None;
        let mut mirrors = Vec::new();
        for endpoint in endpoints {
            let client = Client::new(&endpoint, Purpose::Pull, &self.options, notices);
            match client.map_err(Trouble::from).and_then(|client| work(&client)) {
                Ok(done) => return Ok(done),
                Err(Trouble::Image(err)) => return Err(err),
                Err(Trouble::Server(err)) => {
                    mirrors.extend(failure.replace(err).map(|err| err.to_string()));
                }
            }
        }
        let Some(failure) = failure else {
            return Err(Error::invalid(format!("no server is configured for {image}")));
        };
        let mut error = failed(failure);
        if !mirrors.is_empty() {
            error.message.push_str(&format!(" (Mirrors also failed: [{}])", mirrors.join("; ")));
        }
        Err(error)
    }

    /// The registry that `image` itself names, to write to: see [`Registries::own`].
    ///
    /// # Errors
    ///
    /// If the configuration forbids it, as a failure of what `verb` says.
    pub(in crate::engine) fn own_endpoint(&self, verb: &str, image: &ImageRef) -> Result<Endpoint> {
        self.registries.own(image).map_err(|err| from_registry(verb, image, err))
    }
}
