//! Stored credentials: `auth.json` and its relatives, and the helper programs they name.
//!
//! ```text
//! for reg/ns/repo, in each file:   credHelpers[reg]          docker-credential-X get
//!                                  auths[reg/ns/repo]        most specific first
//!                                  auths[reg/ns], auths[reg]
//!                                  credsStore                docker-credential-X get
//! ```
//!
//! Only reading is here; [`keyring`](crate::registry::keyring) writes.
//!
//! # Source
//!
//! containers-auth.json(5).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::base::image_ref::{DOCKER_HUB, ImageRef};
use crate::base::manifest::or_default;
use crate::registry::error::{Error, Result};
use crate::registry::helper::{self, server_name};

/// How registries.conf calls the files themselves in its list of credential helpers.
const FILES: &str = "containers-auth.json";

/// What proves who is asking. Its `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// Name and password.
    Password { user: String, password: String },
    /// A token that the token server gives access tokens for (OAuth2's refresh token).
    IdentityToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password({user:?}, …)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(…)"),
        }
    }
}

impl Credential {
    /// Reads `user[:password]`, as `--creds` takes it; without a password it is empty.
    pub(crate) fn from_option(text: &str) -> Self {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Self::Password { user: user.to_owned(), password: password.to_owned() }
    }
}

/// Where credentials may be stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stores {
    /// Files to look into, in order.
    files: Vec<PathBuf>,
    /// The only file was named by the user, so it has to exist.
    named: bool,
    /// `credential-helpers` of registries.conf: programs to ask, and when the files' turn is.
    helpers: Vec<String>,
    /// Given with a request, by the keys of such files; they go before what is stored.
    given: BTreeMap<String, Credential>,
}

impl Stores {
    /// Just this file, which has to exist: `--authfile`; with [`Stores::lenient`] REGISTRY_AUTH_FILE and DOCKER_CONFIG.
    pub(crate) fn only(file: PathBuf) -> Self {
        Self { files: vec![file], named: true, ..Self::default() }
    }

    /// The usual places.
    pub(crate) fn usual(runtime_dir: Option<&Path>, config_home: Option<&Path>, home: Option<&Path>) -> Self {
        let files = [
            runtime_dir.map(|dir| dir.join("containers/auth.json")),
            config_home.map(|dir| dir.join("containers/auth.json")),
            home.map(|dir| dir.join(".docker/config.json")),
            home.map(|dir| dir.join(".dockercfg")),
        ];
        Self { files: files.into_iter().flatten().collect(), ..Self::default() }
    }

    /// The same, but Docker's files go before the others.
    pub(crate) fn with_dockers_first(mut self) -> Self {
        let own = self.files.iter().filter(|file| file.ends_with("containers/auth.json")).count();
        self.files.rotate_left(own);
        self
    }

    /// The same with the programs of registries.conf before, behind or instead of the files.
    pub(crate) fn with_helpers(self, helpers: &[String]) -> Self {
        Self { helpers: helpers.to_vec(), ..self }
    }

    /// The same, behind credentials that hold for one request alone, each for `REGISTRY[/PATH]` or an address of it.
    pub(crate) fn behind(self, given: BTreeMap<String, Credential>) -> Self {
        Self { given, ..self }
    }

    /// The same, where a file that the user has named need not be there yet.
    pub(crate) fn lenient(self) -> Self {
        Self { named: false, ..self }
    }

    /// The credential for an image, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a file that cannot be read or understood, [`Error::Helper`] for a helper
    /// that fails in another way than not knowing the server.
    pub(crate) fn find(&self, image: &ImageRef) -> Result<Option<Credential>> {
        self.find_key(&image.name())
    }

    /// The credential for `REGISTRY[/PATH]`, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Stores::find`].
    pub(crate) fn find_key(&self, key: &str) -> Result<Option<Credential>> {
        let given = keys(key).into_iter().find_map(|key| {
            self.given.iter().find(|(known, _)| bare(known) == key).map(|(_, found)| found.clone())
        });
        if given.is_some() {
            return Ok(given);
        }
        let usual = [FILES.to_owned()];
        let order = if self.helpers.is_empty() { &usual } else { &self.helpers[..] };
        for place in order {
            let found = match place.as_str() {
                FILES => self.look(&|file, path| file.find(path, key))?,
                program => helper::get(program, server_name(registry_of(key)))?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The credential that is stored in a file for a host itself; helpers are not asked.
    ///
    /// # Errors
    ///
    /// As [`Stores::find`].
    pub(crate) fn of_host(&self, host: &str) -> Result<Option<Credential>> {
        self.look(&|file, path| match file.auths.iter().find(|(key, _)| bare(key) == host) {
            Some((key, entry)) => entry.credential(path, key),
            None => Ok(None),
        })
    }

    /// What `ask` finds in the first file where it finds anything.
    fn look(
        &self,
        ask: &dyn Fn(&AuthFile, &Path) -> Result<Option<Credential>>,
    ) -> Result<Option<Credential>> {
        for path in &self.files {
            let text = match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(err) if err.kind() == std::io::ErrorKind::NotFound && !self.named => continue,
                // Docker's directory may belong to somebody else (sudo): that is no reason to stop.
                Err(err) if err.kind() == std::io::ErrorKind::PermissionDenied && !self.named => continue,
                Err(err) => {
                    return Err(Error::CredentialFile { path: path.clone(), reason: err.to_string() });
                }
            };
            let file = AuthFile::parse(path, &text)?;
            if let Some(found) = ask(&file, path)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// The registry of `REGISTRY[/PATH]`.
pub(super) fn registry_of(key: &str) -> &str {
    key.split('/').next().unwrap_or(key)
}

#[derive(Debug, Default, Deserialize)]
struct AuthFile {
    // Programs that write such files leave `null` for an empty table.
    #[serde(default, deserialize_with = "or_default")]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers", deserialize_with = "or_default")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
struct Entry {
    auth: Option<String>,
    identitytoken: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entry(…)")
    }
}

impl AuthFile {
    fn parse(path: &Path, text: &str) -> Result<Self> {
        let bad = |err: serde_json::Error| Error::Config { path: path.to_owned(), reason: err.to_string() };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        if path.file_name().is_some_and(|name| name == ".dockercfg") {
            // The oldest format is the table itself.
            return Ok(Self { auths: serde_json::from_str(text).map_err(bad)?, ..Self::default() });
        }
        serde_json::from_str(text).map_err(bad)
    }

    fn find(&self, path: &Path, name: &str) -> Result<Option<Credential>> {
        let registry = registry_of(name);
        if let Some(helper) = self.cred_helpers.get(registry) {
            return helper::get(helper, server_name(registry));
        }
        for key in keys(name) {
            let entry = self
                .auths
                .get(&key)
                .or_else(|| self.auths.iter().find_map(|(k, e)| (bare(k) == key).then_some(e)));
            if let Some(found) = entry.map(|entry| entry.credential(path, &key)).transpose()?.flatten() {
                return Ok(Some(found));
            }
        }
        match &self.creds_store {
            Some(helper) if !helper.is_empty() => helper::get(helper, server_name(registry)),
            _ => Ok(None),
        }
    }
}

impl Entry {
    /// What the entry holds; `None` for the empty ones that a credential store leaves behind.
    fn credential(&self, path: &Path, key: &str) -> Result<Option<Credential>> {
        let full = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = full(&self.identitytoken) {
            return Ok(Some(Credential::IdentityToken(token)));
        }
        if let Some(encoded) = full(&self.auth) {
            let bad = || Error::Config {
                path: path.to_owned(),
                reason: format!("auth of {key:?} is not the base64 of user:password"),
            };
            let decoded = STANDARD.decode(encoded.trim()).map_err(|_| bad())?;
            let decoded = String::from_utf8(decoded).map_err(|_| bad())?;
            let (user, password) = decoded.split_once(':').ok_or_else(bad)?;
            // Docker pads with NUL bytes.
            let password = password.trim_end_matches('\0').to_owned();
            return Ok(Some(Credential::Password { user: user.to_owned(), password }));
        }
        Ok(full(&self.username)
            .map(|user| Credential::Password { user, password: self.password.clone().unwrap_or_default() }))
    }
}

/// The keys that hold for `REGISTRY[/PATH]`, the most specific first.
fn keys(name: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut key = name.to_owned();
    loop {
        keys.push(key.clone());
        match key.rfind('/') {
            Some(slash) => key.truncate(slash),
            None => break,
        }
    }
    if registry_of(name) == DOCKER_HUB {
        keys.push("index.docker.io".to_owned());
    }
    keys
}

/// A key of Docker's files without scheme and API version: `https://r.io/v1/` is `r.io`.
pub(super) fn bare(key: &str) -> &str {
    let Some(rest) = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")) else {
        return key.trim_end_matches('/');
    };
    let rest = rest.trim_end_matches('/');
    rest.strip_suffix("/v1").or_else(|| rest.strip_suffix("/v2")).unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(json: &str, image: &str) -> Option<String> {
        let path = Path::new("auth.json");
        let file = AuthFile::parse(path, json).unwrap();
        file.find(path, &image.parse::<ImageRef>().unwrap().name()).unwrap().map(|found| match found {
            Credential::Password { user, password } => format!("{user}/{password}"),
            Credential::IdentityToken(token) => format!("token {token}"),
        })
    }

    #[test]
    fn the_most_specific_key_wins() {
        // "dTpw" is u:p, "dTI6cDI=" u2:p2, "dTM6cDM=" u3:p3.
        let json = r#"{"auths":{
            "r.io":{"auth":"dTpw"}, "r.io/ns":{"auth":"dTI6cDI="}, "r.io/ns/repo":{"auth":"dTM6cDM="},
            "https://legacy.io/v1/":{"auth":"dTpw"}, "https://index.docker.io/v1/":{"auth":"dTI6cDI="},
            "tok.io":{"auth":"dTpw","identitytoken":"T"}, "empty.io":{}, "plain.io":{"username":"a","password":"b"},
            "port.io:5000":{"auth":"dTpw"}}}"#;
        for (image, want) in [
            ("r.io/x", Some("u/p")),
            ("r.io/ns/other", Some("u2/p2")),
            ("r.io/ns/repo", Some("u3/p3")),
            ("r.io/nsx/repo", Some("u/p")),
            ("legacy.io/x", Some("u/p")),
            ("nginx", Some("u2/p2")),
            ("tok.io/x", Some("token T")),
            ("empty.io/x", None),
            ("plain.io/x", Some("a/b")),
            ("port.io:5000/x", Some("u/p")),
            ("port.io/x", None),
            ("other.io/x", None),
        ] {
            assert_eq!(find(json, image).as_deref(), want, "{image}");
        }
    }

    #[test]
    fn damaged_files_are_named() {
        let path = Path::new("auth.json");
        assert!(matches!(AuthFile::parse(path, "{"), Err(Error::Config { .. })));
        let file = AuthFile::parse(path, r#"{"auths":{"r.io":{"auth":"%%%"}}}"#).unwrap();
        assert!(matches!(file.find(path, "r.io/x"), Err(Error::Config { .. })));
        assert!(find("", "r.io/x").is_none());
        let empty = r#"{"auths":null,"credHelpers":null,"credsStore":null}"#;
        assert!(find(empty, "r.io/x").is_none());
        assert_eq!(
            find(r#"{"auths":{"r.io":{"auth":"dTpw"}},"credHelpers":null}"#, "r.io/x").as_deref(),
            Some("u/p")
        );
        let old = AuthFile::parse(Path::new(".dockercfg"), r#"{"r.io":{"auth":"dTpw"}}"#).unwrap();
        assert!(old.find(path, "r.io/x").unwrap().is_some());
    }

    #[test]
    fn a_named_file_must_exist() {
        let image: ImageRef = "r.io/x".parse().unwrap();
        let missing = PathBuf::from("/nonexistent/auth.json");
        assert!(Stores::only(missing).find(&image).is_err());
        let usual = Stores::usual(None, Some(Path::new("/nonexistent")), None);
        assert_eq!(usual.find(&image).unwrap(), None);
    }

    #[test]
    fn helpers_are_programs_by_name_only() {
        let err = find_err(r#"{"credHelpers":{"r.io":"../evil"}}"#);
        assert!(matches!(err, Error::Helper { .. }));
        let err = find_err(r#"{"credsStore":"no-such-helper-here"}"#);
        assert!(matches!(err, Error::Helper { .. }));
    }

    #[test]
    fn what_a_request_brings_goes_before_what_is_stored() {
        let given = [("https://index.docker.io/v1/", "hub:p"), ("r.io:5000", "r:p"), ("q.io/team", "q:p")];
        let given = given.map(|(key, text)| (key.to_owned(), Credential::from_option(text)));
        let stores = Stores::usual(None, None, None).behind(BTreeMap::from(given));
        for (image, want) in [
            ("nginx", Some("hub:p")),
            ("r.io:5000/a/b", Some("r:p")),
            ("r.io/a", None),
            ("q.io/team/app", Some("q:p")),
            ("q.io/other", None),
        ] {
            let found = stores.find(&image.parse().unwrap()).unwrap();
            assert_eq!(found, want.map(Credential::from_option), "{image}");
        }
    }

    fn find_err(json: &str) -> Error {
        let path = Path::new("auth.json");
        AuthFile::parse(path, json).unwrap().find(path, "r.io/x").unwrap_err()
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", Credential::from_option("me:secret"));
        assert!(shown.contains("me") && !shown.contains("secret"));
    }
}
