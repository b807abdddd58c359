//! Use case: prove to a registry who asks, and remember the proof.
//!
//! ```text
//! login:  credential ─▶ GET /v2/ (token) ─ accepted ─▶ auth.json, or a helper
//! logout: auth.json, helpers ─▶ without it
//! ```

use std::path::PathBuf;

use crate::base::image_ref::{DOCKER_HUB, ImageRef};
use crate::engine::config::containers_conf::ContainersConf;
use crate::engine::config::registries as files;
use crate::engine::error::{Error, Kind, Result};
use crate::engine::remote::{Remote, RemoteOptions};
use crate::registry::auth::Credential;
use crate::registry::client::{Client, Notice, Purpose};
use crate::registry::error::Error as RegistryError;
use crate::registry::keyring::{Forgotten, Kept, Keyring};

/// Who is spoken to, and where credentials are kept.
#[derive(Debug)]
pub(crate) struct Login {
    /// `REGISTRY[/PATH]`: what the credential is good for.
    key: String,
    registry: String,
    remote: Remote,
    keyring: Keyring,
}

/// Which file is changed.
#[derive(Clone, Debug, Default)]
pub(crate) enum AuthFile {
    /// The usual one, or that of `--authfile`.
    #[default]
    Own,
    /// Docker's own kind of file, which Docker reads too.
    Docker(PathBuf),
}

impl Login {
    /// Prepares for the registry `typed` (or the first of those that short names are looked for in).
    ///
    /// # Errors
    ///
    /// [`Kind::Invalid`] for what is no registry, and for configuration that cannot be read.
    pub(crate) fn new(
        typed: Option<&str>,
        options: &RemoteOptions,
        file: AuthFile,
        conf: &ContainersConf,
    ) -> Result<Self> {
        let mut remote = Remote::new(options, conf)?;
        remote.options.stores = remote.options.stores.lenient();
        let key = match typed {
            Some(typed) => clean(typed),
            None => remote.registries.search().first().cloned().ok_or_else(|| {
                Error::invalid("no registry was named, and registries.conf names none")
                    .hint("login REGISTRY, like quay.io")
            })?,
        };
        let registry = key.split('/').next().unwrap_or_default().to_owned();
        image_on(&registry)?;
        Ok(Self { key, registry, remote, keyring: keyring(options, file, conf)? })
    }

    /// What the credential is good for: a registry, or a path on one.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The file that is changed.
    pub(crate) fn file(&self) -> &std::path::Path {
        self.keyring.path()
    }

    /// The credential that is known already.
    ///
    /// # Errors
    ///
    /// If a file or a helper cannot be used.
    pub(crate) fn stored(&self) -> Result<Option<Credential>> {
        self.remote.options.stores.find_key(&self.key).map_err(|err| self.failed(err))
    }

    /// Asks the registry whether the credential is good.
    ///
    /// # Errors
    ///
    /// [`Kind::Unauthorized`] if it is not; [`Kind::System`] if the registry cannot be reached.
    pub(crate) fn check(&self, credential: &Credential) -> Result<()> {
        let image = image_on(&self.registry)?;
        let endpoint = self.remote.registries.own(&image).map_err(|err| self.failed(err))?;
        let mut options = self.remote.options.clone();
        options.credential = Some(credential.clone());
        let notices = |_: &Notice<'_>| {};
        let client = Client::new(&endpoint, Purpose::Login, &options, &notices);
        client.and_then(|client| client.check_login()).map_err(|err| match err {
            RegistryError::Unauthorized { .. } => {
                let message = format!("log into {}: invalid username/password", self.key);
                Error::new(Kind::Unauthorized, message).because(err)
            }
            err => self.failed(err),
        })
    }

    /// Remembers the credential.
    ///
    /// # Errors
    ///
    /// If the file cannot be written or a helper fails.
    pub(crate) fn store(&self, credential: &Credential) -> Result<Kept> {
        let helpers = self.remote.registries.helpers();
        self.keyring.store(&self.key, credential, helpers).map_err(|err| self.failed(err))
    }

    /// Forgets the credential.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] if there is none; if the file cannot be written or a helper fails.
    pub(crate) fn forget(&self, options: &RemoteOptions) -> Result<()> {
        accessible(options)?;
        let helpers = self.remote.registries.helpers();
        match self.keyring.erase(&self.key, helpers).map_err(|err| self.failed(err))? {
            Forgotten::Yes => Ok(()),
            Forgotten::NoneThere if self.stored()?.is_some() => Err(Error::not_found(format!(
                "not logged into {} with ketch: the credentials are in another file, like Docker's",
                self.key
            ))
            .hint("docker logout removes those")),
            Forgotten::NoneThere => Err(Error::not_found(format!("not logged into {}", self.key))),
        }
    }

    fn failed(&self, err: RegistryError) -> Error {
        let kind = match err {
            RegistryError::Unauthorized { .. } | RegistryError::HostileRealm { .. } => Kind::Unauthorized,
            RegistryError::Blocked { .. } => Kind::Invalid,
            _ => Kind::System,
        };
        Error::new(kind, format!("log into {}", self.key)).because(err)
    }
}

/// Forgets all credentials of the file, and those of the helpers it names.
///
/// # Errors
///
/// If the file cannot be written or a helper fails.
pub(crate) fn forget_all(options: &RemoteOptions, file: AuthFile, conf: &ContainersConf) -> Result<()> {
    let remote = Remote::new(options, conf)?;
    accessible(options)?;
    let keyring = keyring(options, file, conf)?;
    let failed = |err| Error::system("forget all credentials", err);
    keyring.erase_all(remote.registries.helpers()).map_err(failed)
}

/// The file that is changed.
fn keyring(options: &RemoteOptions, file: AuthFile, conf: &ContainersConf) -> Result<Keyring> {
    let (path, docker) = match file {
        AuthFile::Docker(path) => (path, true),
        AuthFile::Own => {
            files::credentials_to_write(options.auth_file.clone(), conf.name_rule).ok_or_else(no_place)?
        }
    };
    Ok(Keyring::new(path, docker))
}

/// Refuses a file of credentials that the user has named and that is not there: nothing can be forgotten in it.
fn accessible(options: &RemoteOptions) -> Result<()> {
    let Some(path) = &options.auth_file else { return Ok(()) };
    std::fs::metadata(path)
        .map(drop)
        .map_err(|err| Error::system(format!("credential file is not accessible: {}", path.display()), err))
}

fn no_place() -> Error {
    Error::invalid("there is no place for credentials: neither XDG_RUNTIME_DIR nor HOME is set")
        .hint("name a file with --authfile")
}

/// The registry, or a path on it, without what users put around it.
fn clean(typed: &str) -> String {
    let text = typed.strip_prefix("https://").or_else(|| typed.strip_prefix("http://")).unwrap_or(typed);
    let text = text.trim_end_matches('/');
    match text {
        "index.docker.io" | "index.docker.io/v1" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        _ => text.strip_suffix("/v1").or_else(|| text.strip_suffix("/v2")).unwrap_or(text).to_owned(),
    }
}

/// Some image of a registry: the client is told servers by their images.
fn image_on(registry: &str) -> Result<ImageRef> {
    let parsed = format!("{registry}/login").parse::<ImageRef>();
    parsed.ok().filter(|image| image.registry() == registry).ok_or_else(|| {
        Error::invalid(format!("{registry:?} is not the name of a registry"))
            .hint("like quay.io, docker.io or localhost:5000")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_as_users_write_them() {
        for (typed, want) in [
            ("quay.io", "quay.io"),
            ("https://quay.io/", "quay.io"),
            ("quay.io/team/app", "quay.io/team/app"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("http://localhost:5000/v2/", "localhost:5000"),
        ] {
            assert_eq!(clean(typed), want);
        }
        assert!(image_on("quay.io").is_ok() && image_on("localhost:5000").is_ok());
        for bad in ["quay", "", "a b.io", "-x.io"] {
            assert!(image_on(bad).is_err(), "{bad}");
        }
    }
}
