//! Writing credentials down, and forgetting them: `auth.json`, and the helpers it names.
//!
//! ```text
//! file credHelpers[registry]  ─▶ docker-credential-X store        the file stays as it is
//!      credsStore             ─▶ docker-credential-X store        auths[key] = {}
//!      neither                ─▶ auths[key] = {"auth": base64}
//! ```
//!
//! The file is replaced by a new one, readable by its owner alone; what ketch does not know in it stays.
//!
//! # Source
//!
//! containers-auth.json(5); Docker's config.json.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::registry::auth::{Credential, bare, registry_of};
use crate::registry::error::{Error, Result};
use crate::registry::helper::{self, server_name};
use crate::sys::fs::{self, OFlags, Share};

/// Largest file of credentials that is read, in bytes.
const MAX_FILE: usize = 16 << 20;

/// A file of credentials that is about to change.
#[derive(Clone, Debug)]
pub(crate) struct Keyring {
    path: PathBuf,
    /// Docker's own file: its key of Docker Hub is another.
    docker: bool,
}

/// Where a credential is kept now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// As it is, in the file.
    Plain,
    ByHelper,
}

/// What became of a credential that was to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgotten {
    Yes,
    /// There was none.
    NoneThere,
}

impl Keyring {
    /// The file `path`, which need not be there; `docker` says that Docker reads it too.
    pub(crate) fn new(path: PathBuf, docker: bool) -> Self {
        Self { path, docker }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps a credential for `REGISTRY[/PATH]`. `helpers` are the programs of registries.conf; the
    /// first of them is used, if it is one.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the file cannot be read, understood or written; [`Error::Helper`].
    pub(crate) fn store(&self, key: &str, credential: &Credential, helpers: &[String]) -> Result<Kept> {
        let mut kept = Kept::Plain;
        self.change(|document| {
            let registry = registry_of(key);
            if let Some(program) = program_for(document, registry, helpers) {
                kept = Kept::ByHelper;
                helper::store(&program, server_name(registry), credential)?;
                if creds_store(document).as_deref() == Some(&program) {
                    set(document, &self.key(key), json!({}));
                }
                return Ok(());
            }
            let entry = match credential {
                Credential::Password { user, password } => {
                    json!({"auth": STANDARD.encode(format!("{user}:{password}"))})
                }
                Credential::IdentityToken(token) => json!({"identitytoken": token}),
            };
            set(document, &self.key(key), entry);
            Ok(())
        })?;
        Ok(kept)
    }

    /// Forgets the credential for `REGISTRY[/PATH]`.
    ///
    /// # Errors
    ///
    /// As [`Keyring::store`].
    pub(crate) fn erase(&self, key: &str, helpers: &[String]) -> Result<Forgotten> {
        let mut forgotten = false;
        self.change(|document| {
            let registry = registry_of(key);
            if let Some(program) = program_for(document, registry, helpers) {
                forgotten = helper::erase(&program, server_name(registry))?;
            }
            if let Some(auths) = document.get_mut("auths").and_then(Value::as_object_mut) {
                let before = auths.len();
                // Older files and Docker's have a scheme before the host.
                auths.retain(|known, _| known != key && bare(known) != key && *known != self.key(key));
                forgotten |= auths.len() < before;
            }
            Ok(())
        })?;
        Ok(if forgotten { Forgotten::Yes } else { Forgotten::NoneThere })
    }

    /// Forgets everything, also what the helpers know.
    ///
    /// # Errors
    ///
    /// As [`Keyring::store`].
    pub(crate) fn erase_all(&self, helpers: &[String]) -> Result<()> {
        self.change(|document| {
            let of_file = document.get("credHelpers").and_then(Value::as_object).cloned().unwrap_or_default();
            for (registry, program) in &of_file {
                helper::erase(program.as_str().unwrap_or_default(), server_name(registry))?;
            }
            let whole =
                creds_store(document).into_iter().chain(helpers.iter().find_map(|name| program(name)));
            for name in whole {
                for server in helper::list(&name)? {
                    helper::erase(&name, &server)?;
                }
            }
            document.shift_remove("auths");
            document.insert("auths".to_owned(), json!({}));
            Ok(())
        })
    }

    /// The key under which this kind of file has a registry.
    fn key(&self, key: &str) -> String {
        if self.docker { server_name(key).to_owned() } else { key.to_owned() }
    }

    /// Reads the file, has it changed, and puts the new one in its place. One at a time does that.
    fn change(&self, work: impl FnOnce(&mut Map<String, Value>) -> Result<()>) -> Result<()> {
        let failed = |reason: String| Error::Config { path: self.path.clone(), reason };
        let io = |err: std::io::Error| failed(err.to_string());
        // A link to the file elsewhere stays a link.
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name =
            path.file_name().and_then(|name| name.to_str()).ok_or_else(|| failed("no file name".into()))?;
        make_private(dir).map_err(io)?;
        let dir = fs::open_at(fs::here(), dir, OFlags::RDONLY | OFlags::DIRECTORY, 0).map_err(io)?;
        fs::lock(&dir, Share::Exclusive).map_err(io)?;
        let text = match fs::read_at(&dir, name, MAX_FILE) {
            Ok(text) => text,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(err) => return Err(io(err)),
        };
        let mut document: Map<String, Value> = match text.trim_ascii() {
            [] => Map::new(),
            text => serde_json::from_slice(text).map_err(|err| failed(err.to_string()))?,
        };
        let before = document.clone();
        work(&mut document)?;
        if document == before {
            return Ok(());
        }
        let mut text = serde_json::to_vec_pretty(&document).map_err(|err| failed(err.to_string()))?;
        text.push(b'\n');
        fs::replace(&dir, name, &text, 0o600, true).map_err(io)
    }
}

/// Makes a directory and those above it, for their owner alone.
fn make_private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// A helper of registries.conf's list; `None` for the entry that means the files.
fn program(name: &str) -> Option<String> {
    (name != "containers-auth.json").then(|| name.to_owned())
}

fn creds_store(document: &Map<String, Value>) -> Option<String> {
    document.get("credsStore").and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// The helper that keeps the credentials of `registry`, if any does.
fn program_for(document: &Map<String, Value>, registry: &str, helpers: &[String]) -> Option<String> {
    let of_file = document.get("credHelpers").and_then(|all| all.get(registry)).and_then(Value::as_str);
    let own = of_file.map(str::to_owned).or_else(|| creds_store(document));
    own.or_else(|| program(helpers.first()?))
}

/// Sets `auths[key]`.
fn set(document: &mut Map<String, Value>, key: &str, entry: Value) {
    let auths = document.entry("auths").or_insert_with(|| json!({}));
    if !auths.is_object() {
        *auths = json!({});
    }
    auths[key] = entry;
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn keyring(text: &str, docker: bool) -> (tempfile::TempDir, Keyring) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("containers/auth.json");
        if !text.is_empty() {
            std::fs::create_dir(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        }
        (dir, Keyring::new(path, docker))
    }

    fn read(keyring: &Keyring) -> Value {
        serde_json::from_slice(&std::fs::read(keyring.path()).unwrap()).unwrap()
    }

    #[test]
    fn credentials_come_and_go_and_the_rest_stays() {
        let (_guard, keyring) = keyring(r#"{"auths":{"a.io":{"auth":"x"}},"HttpHeaders":{"A":"b"}}"#, false);
        keyring.store("r.io/team", &Credential::from_option("u:p"), &[]).unwrap();
        assert_eq!(
            read(&keyring),
            json!({"auths":{"a.io":{"auth":"x"},"r.io/team":{"auth":"dTpw"}},"HttpHeaders":{"A":"b"}})
        );
        let mode = std::fs::metadata(keyring.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(keyring.erase("r.io", &[]).unwrap(), Forgotten::NoneThere);
        assert_eq!(keyring.erase("r.io/team", &[]).unwrap(), Forgotten::Yes);
        keyring.erase_all(&[]).unwrap();
        assert_eq!(read(&keyring), json!({"HttpHeaders":{"A":"b"},"auths":{}}));
    }

    #[test]
    fn a_new_file_is_private_and_dockers_has_dockers_key() {
        let (_guard, keyring) = keyring("", true);
        let token = Credential::IdentityToken("T".into());
        keyring.store("docker.io", &token, &[]).unwrap();
        assert_eq!(read(&keyring), json!({"auths":{"https://index.docker.io/v1/":{"identitytoken":"T"}}}));
        let dir = keyring.path().parent().unwrap();
        assert_eq!(std::fs::metadata(dir).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(keyring.erase("docker.io", &[]).unwrap(), Forgotten::Yes);
    }

    #[test]
    fn a_damaged_file_is_left_alone() {
        let (_guard, keyring) = keyring("{", false);
        assert!(matches!(
            keyring.store("r.io", &Credential::from_option("u:p"), &[]),
            Err(Error::Config { .. })
        ));
        assert_eq!(std::fs::read_to_string(keyring.path()).unwrap(), "{");
    }
}
