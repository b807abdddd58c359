//! Credentials that come with a request: they hold for it alone, and are neither kept nor told.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use crate::api::fault::Fault;
use crate::api::http::exchange::Exchange;
use crate::registry::auth::Credential;

/// Docker's `AuthConfig`. It has no `Debug`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct AuthConfig {
    username: String,
    password: String,
    /// `user:password` in base64, instead of the two.
    auth: String,
    identitytoken: String,
    registrytoken: String,
    pub(crate) serveraddress: String,
}

impl AuthConfig {
    /// The credential, if there is one.
    ///
    /// # Errors
    ///
    /// 400 for what cannot be read, 501 for a bearer token.
    pub(crate) fn credential(&self) -> Result<Option<Credential>, Fault> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::IdentityToken(self.identitytoken.clone())));
        }
        if !self.registrytoken.is_empty() {
            return Err(Fault::new(501, "registry tokens are not taken: send a name and a password"));
        }
        if !self.username.is_empty() {
            let (user, password) = (self.username.clone(), self.password.clone());
            return Ok(Some(Credential::Password { user, password }));
        }
        if self.auth.is_empty() {
            return Ok(None);
        }
        let text = decode(&self.auth).and_then(|bytes| String::from_utf8(bytes).ok());
        match text.as_deref().filter(|text| text.contains(':')) {
            Some(text) => Ok(Some(Credential::from_option(text))),
            None => Err(Fault::new(400, "invalid credentials: auth is not the base64 of user:password")),
        }
    }
}

/// The credential of the header `X-Registry-Auth`.
///
/// # Errors
///
/// As [`AuthConfig::credential`].
pub(crate) fn of_request(exchange: &Exchange<'_>) -> Result<Option<Credential>, Fault> {
    exchange.header("x-registry-auth").map_or(Ok(None), read)
}

fn read(header: &str) -> Result<Option<Credential>, Fault> {
    if header.is_empty() {
        return Ok(None);
    }
    let auth: AuthConfig = document(header, "X-Registry-Auth")?;
    auth.credential()
}

/// The credentials of the header `X-Registry-Config`, by registry.
///
/// # Errors
///
/// As [`AuthConfig::credential`].
pub(crate) fn of_build(exchange: &Exchange<'_>) -> Result<BTreeMap<String, Credential>, Fault> {
    exchange.header("x-registry-config").map_or_else(|| Ok(BTreeMap::new()), read_all)
}

fn read_all(header: &str) -> Result<BTreeMap<String, Credential>, Fault> {
    if header.is_empty() {
        return Ok(BTreeMap::new());
    }
    let all: BTreeMap<String, AuthConfig> = document(header, "X-Registry-Config")?;
    let mut found = BTreeMap::new();
    for (registry, auth) in all {
        if let Some(credential) = auth.credential()? {
            found.insert(registry, credential);
        }
    }
    Ok(found)
}

/// The document that a header holds. What is wrong with it is told without any of it.
fn document<T: serde::de::DeserializeOwned>(header: &str, name: &str) -> Result<T, Fault> {
    let decoded = decode(header);
    let read = decoded.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    read.ok_or_else(|| Fault::new(400, format!("invalid {name} header: it is no JSON in base64url")))
}

/// Base64 in either alphabet, padded or not: clients differ.
fn decode(text: &str) -> Option<Vec<u8>> {
    let any = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let (url, standard) = (GeneralPurpose::new(&URL_SAFE, any), GeneralPurpose::new(&STANDARD, any));
    let text = text.trim();
    url.decode(text).or_else(|_| standard.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD as PLAIN, URL_SAFE as URL, URL_SAFE_NO_PAD};

    fn password(user: &str, password: &str) -> Credential {
        Credential::Password { user: user.to_owned(), password: password.to_owned() }
    }

    #[test]
    fn headers() {
        for (text, want) in [
            ("{}", Some(None)),
            (r#"{"username":"u","password":"p:q","serveraddress":"r.io"}"#, Some(Some(password("u", "p:q")))),
            (r#"{"auth":"dTpwOnE="}"#, Some(Some(password("u", "p:q")))),
            (
                r#"{"identitytoken":"T","username":"u"}"#,
                Some(Some(Credential::IdentityToken("T".to_owned()))),
            ),
            (r#"{"registrytoken":"T"}"#, None),
            (r#"{"auth":"dQ=="}"#, None),
            ("7", None),
            ("x", None),
        ] {
            for header in [URL.encode(text), PLAIN.encode(text), URL_SAFE_NO_PAD.encode(text)] {
                assert_eq!(read(&header).ok(), want, "{text}");
            }
        }
        assert_eq!(read("").ok(), Some(None));
        assert!(read("%%%").is_err());
    }

    #[test]
    fn faults_do_not_tell_secrets() {
        let header = URL.encode(r#"{"username":"u","password":"secret","auth":7}"#);
        assert!(!read(&header).unwrap_err().message.contains("secret"));
    }

    #[test]
    fn credentials_of_several_registries() {
        let header = URL
            .encode(r#"{"https://index.docker.io/v1/":{"username":"u"},"r.io":{},"q.io":{"auth":"YTpi"}}"#);
        let found = read_all(&header).unwrap();
        let keys: Vec<_> = found.keys().map(String::as_str).collect();
        assert_eq!(keys, ["https://index.docker.io/v1/", "q.io"]);
        assert_eq!(found["q.io"], password("a", "b"));
        assert!(read_all(&URL.encode("7")).is_err());
    }
}
