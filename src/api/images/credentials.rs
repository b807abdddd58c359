//! Credentials that come with a request: they hold for it alone, and are neither kept nor told.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::Value;

use crate::api::fault::Fault;
use crate::api::http::exchange::Exchange;
use crate::engine::remote::RemoteOptions;
use crate::registry::auth::Credential;

/// Docker's `AuthConfig`. It has no `Debug`.
#[derive(Default, Deserialize)]
#[serde(try_from = "BTreeMap<String, Value>")]
pub(crate) struct AuthConfig {
    username: String,
    password: String,
    /// `user:password` in base64, instead of the two.
    auth: String,
    identitytoken: String,
    registrytoken: String,
    pub(crate) serveraddress: String,
}

/// As Go reads it, by which clients go: names of fields in any case, and null is a field that is not there.
impl TryFrom<BTreeMap<String, Value>> for AuthConfig {
    type Error = &'static str;

    fn try_from(fields: BTreeMap<String, Value>) -> Result<Self, Self::Error> {
        let mut auth = Self::default();
        for (name, value) in fields {
            let field = match name.to_ascii_lowercase().as_str() {
                "username" => &mut auth.username,
                "password" => &mut auth.password,
                "auth" => &mut auth.auth,
                "identitytoken" => &mut auth.identitytoken,
                "registrytoken" => &mut auth.registrytoken,
                "serveraddress" => &mut auth.serveraddress,
                _ => continue,
            };
            match value {
                Value::Null => {}
                Value::String(text) => *field = text,
                _ => return Err("a field of the credential is no text"),
            }
        }
        Ok(auth)
    }
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

/// How a request has registries talked to: with its credential, and for as long as its client is there.
///
/// # Errors
///
/// As [`of_request`].
pub(crate) fn remote(exchange: &Exchange<'_>) -> Result<RemoteOptions, Fault> {
    let client = exchange.client().try_clone_to_owned()?;
    Ok(RemoteOptions {
        credential: of_request(exchange)?,
        hang_up: Some(Arc::new(client)),
        ..RemoteOptions::default()
    })
}

/// The credential of the header `X-Registry-Auth`. As with docker, one that cannot be read is none.
///
/// # Errors
///
/// 501 for a bearer token.
fn of_request(exchange: &Exchange<'_>) -> Result<Option<Credential>, Fault> {
    exchange.header("x-registry-auth").map_or(Ok(None), read)
}

fn read(header: &str) -> Result<Option<Credential>, Fault> {
    let auth: Option<AuthConfig> = document(header);
    match auth.unwrap_or_default().credential() {
        Err(fault) if fault.status == 400 => Ok(None),
        read => read,
    }
}

/// The credentials of the header `X-Registry-Config`, by registry. As with docker, those that cannot be used are none.
pub(crate) fn of_build(exchange: &Exchange<'_>) -> BTreeMap<String, Credential> {
    exchange.header("x-registry-config").map(read_all).unwrap_or_default()
}

fn read_all(header: &str) -> BTreeMap<String, Credential> {
    let all: BTreeMap<String, Value> = document(header).unwrap_or_default();
    let usable = |auth| serde_json::from_value::<AuthConfig>(auth).ok()?.credential().ok()?;
    all.into_iter().filter_map(|(registry, auth)| Some((registry, usable(auth)?))).collect()
}

/// The document that a header holds, if it can be read.
fn document<T: serde::de::DeserializeOwned>(header: &str) -> Option<T> {
    serde_json::from_slice(&decode(header)?).ok()
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
            (
                r#"{"username":"u","password":"p","email":null,"serveraddress":"r.io","auth":null,"registrytoken":null,"identitytoken":null,"stackOrchestrator":null}"#,
                Some(Some(password("u", "p"))),
            ),
            (r#"{"ServerAddress":"r.io","Username":"u","Password":"p"}"#, Some(Some(password("u", "p")))),
            (r#"{"IdentityToken":"T"}"#, Some(Some(Credential::IdentityToken("T".to_owned())))),
            (r#"{"registrytoken":"T"}"#, None),
            (r#"{"auth":"dQ=="}"#, Some(None)),
            (r#"{"username":"u","auth":7}"#, Some(None)),
            ("null", Some(None)),
            ("7", Some(None)),
            ("x", Some(None)),
        ] {
            for header in [URL.encode(text), PLAIN.encode(text), URL_SAFE_NO_PAD.encode(text)] {
                assert_eq!(read(&header).ok(), want, "{text}");
            }
        }
        for header in ["", "%%%"] {
            assert_eq!(read(header).ok(), Some(None), "{header}");
        }
    }

    #[test]
    fn faults_do_not_tell_secrets() {
        let wrong: Result<AuthConfig, _> =
            serde_json::from_str(r#"{"username":"u","password":"secret","auth":7}"#);
        assert!(!wrong.err().unwrap().to_string().contains("secret"));
    }

    #[test]
    fn credentials_of_several_registries() {
        let header = URL.encode(
            r#"{"https://index.docker.io/v1/":{"Username":"u"},"r.io":{},"q.io":{"auth":"YTpi"},"null.io":null,
                "token.io":{"registrytoken":"t"},"bad.io":{"auth":"dQ=="},"7.io":7}"#,
        );
        let found = read_all(&header);
        let keys: Vec<_> = found.keys().map(String::as_str).collect();
        assert_eq!(keys, ["https://index.docker.io/v1/", "q.io"]);
        assert_eq!(found["q.io"], password("a", "b"));
        for text in ["7", "null", "x"] {
            assert!(read_all(&URL.encode(text)).is_empty(), "{text}");
        }
    }
}
