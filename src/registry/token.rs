//! From a challenge to the header that answers it.
//!
//! ```text
//! 401 Bearer realm=…  ─▶ GET realm?service=…&scope=…   (anonymous, or Basic)   ─▶ token ─▶ Bearer
//!                     ─▶ POST realm, grant_type=refresh_token  (identity token) ─▶ token ─▶ Bearer
//! 401 Basic           ─▶ Basic
//! ```
//!
//! Where a password may go (SEC-29): over https to the realm the registry names (a registry that
//! wants its own users' password can ask for it directly, so nothing is lost); over plain http to
//! the registry's own origin only.
//!
//! # Source
//!
//! Distribution's "Token Authentication Specification" and "Oauth2 Token Authentication".

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use crate::registry::auth::Credential;
use crate::registry::challenge::Challenge;
use crate::registry::error::{Error, Result, from_outside};
use crate::registry::transport::{Request, Transport, check_not_link_local, shown};

/// What ketch calls itself to token servers.
const CLIENT_ID: &str = "ketch";

/// How long a token is good if its server does not say.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

/// Largest token answer that is read.
const MAX_TOKEN: u64 = 1024 * 1024;

/// A header that proves who asks, and until when it does.
#[derive(Clone, Debug)]
pub(crate) struct Authorization {
    header: HeaderValue,
    until: Option<Instant>,
}

impl Authorization {
    /// The header, unless it has run out.
    pub(crate) fn header(&self) -> Option<&HeaderValue> {
        self.until.is_none_or(|until| Instant::now() < until).then_some(&self.header)
    }

    fn basic(registry: &str, user: &str, password: &str) -> Result<Self> {
        let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        Ok(Self { header: secret_header(registry, &value)?, until: None })
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
}

/// Answers `challenge` of the registry at `base`, to pull from `repository`.
///
/// # Errors
///
/// [`Error::Unauthorized`] if it takes a password and there is none, [`Error::HostileRealm`],
/// [`Error::Challenge`], and what a request can fail with.
pub(crate) async fn answer(
    transport: &Transport,
    base: &Url,
    challenge: &Challenge,
    credential: Option<&Credential>,
    repository: &str,
) -> Result<Authorization> {
    let registry = base.authority();
    match (challenge, credential) {
        (Challenge::Basic, Some(Credential::Password { user, password })) => {
            Authorization::basic(registry, user, password)
        }
        (Challenge::Basic, _) => {
            let message = ": it wants a name and a password".to_owned();
            Err(Error::Unauthorized { registry: registry.to_owned(), message })
        }
        (Challenge::Bearer { realm, service }, _) => {
            let realm = check_realm(base, realm, credential.is_some())?;
            let scope = format!("repository:{repository}:pull");
            let request = token_request(registry, realm, service.as_deref(), &scope, credential)?;
            fetch(transport, registry, &request).await
        }
    }
}

/// Reads the realm's URL, if the credentials may go there.
fn check_realm(base: &Url, realm: &str, secret: bool) -> Result<Url> {
    let registry = base.authority().to_owned();
    let bad = |reason: &str| Error::Challenge {
        registry: registry.clone(),
        reason: format!("realm {:?}: {reason}", from_outside(realm)),
    };
    let url = Url::parse(realm).map_err(|_| bad("not a URL"))?;
    check_not_link_local(&url).map_err(bad)?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if url.origin() == base.origin() => Ok(url),
        "http" if secret => Err(Error::HostileRealm { registry, realm: shown(&url) }),
        "http" if base.scheme() == "http" => Ok(url),
        "http" => Err(bad("plain http, while the registry speaks https")),
        _ => Err(bad("neither http nor https")),
    }
}

/// The request for a token.
fn token_request(
    registry: &str,
    mut realm: Url,
    service: Option<&str>,
    scope: &str,
    credential: Option<&Credential>,
) -> Result<Request<'static>> {
    let common = service.map(|service| ("service", service)).into_iter().chain([("scope", scope)]);
    if let Some(Credential::IdentityToken(token)) = credential {
        let secret = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", CLIENT_ID)];
        // The form of an empty URL's query is the encoding a form wants.
        let mut form = realm.clone();
        form.set_query(None);
        form.query_pairs_mut().extend_pairs(secret.into_iter().chain(common));
        let form = form.query().map(str::to_owned);
        return Ok(Request { form, ..Request::get(realm) });
    }
    realm.query_pairs_mut().extend_pairs(common).append_pair("client_id", CLIENT_ID);
    let mut authorization = None;
    if let Some(Credential::Password { user, password }) = credential {
        realm.query_pairs_mut().append_pair("account", user);
        authorization = Some(Authorization::basic(registry, user, password)?.header);
    }
    Ok(Request { authorization, ..Request::get(realm) })
}

async fn fetch(transport: &Transport, registry: &str, request: &Request<'_>) -> Result<Authorization> {
    let response = transport.send(request).await?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(match transport.status_error(response).await {
            Error::Status { status: 400 | 401 | 403, message, .. } => {
                Error::Unauthorized { registry: registry.to_owned(), message }
            }
            other => other,
        });
    }
    let body = transport.body(response, "token", MAX_TOKEN).await?;
    let bad = |reason: &str| Error::Challenge { registry: registry.to_owned(), reason: reason.to_owned() };
    let answer: TokenAnswer =
        serde_json::from_slice(&body).map_err(|_| bad("the token server's answer is not a token"))?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if token.is_empty() {
        return Err(bad("the token server's answer holds no token"));
    }
    let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs).max(DEFAULT_LIFE);
    // A tenth is left for clocks and for the way.
    let until = Instant::now().checked_add(life - life / 10);
    Ok(Authorization { header: secret_header(registry, &format!("Bearer {token}"))?, until })
}

/// A header value that is kept out of logs.
fn secret_header(registry: &str, value: &str) -> Result<HeaderValue> {
    let mut header = HeaderValue::from_str(value).map_err(|_| Error::Challenge {
        registry: registry.to_owned(),
        reason: "the token or password cannot stand in a header".to_owned(),
    })?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_passwords_go() {
        for (base, realm, secret, want) in [
            ("https://r.io", "https://auth.io/t", true, "ok"),
            ("https://r.io", "https://auth.io/t", false, "ok"),
            ("http://localhost:5000", "http://localhost:5000/t", true, "ok"),
            ("http://localhost:5000", "http://localhost:5001/t", true, "hostile"),
            ("http://localhost:5000", "http://127.0.0.1:5000/t", true, "hostile"),
            ("http://localhost:5000", "http://localhost:5001/t", false, "ok"),
            ("https://r.io", "http://other/t", true, "hostile"),
            ("https://r.io", "http://r.io/t", true, "hostile"),
            ("https://r.io", "http://other/t", false, "bad"),
            ("https://r.io", "http://169.254.169.254/t", false, "bad"),
            ("https://r.io", "https://169.254.169.254/t", true, "bad"),
            ("https://r.io", "file:///etc/passwd", false, "bad"),
            ("https://r.io", "/t", false, "bad"),
        ] {
            let got = match check_realm(&Url::parse(base).unwrap(), realm, secret) {
                Ok(_) => "ok",
                Err(Error::HostileRealm { .. }) => "hostile",
                Err(_) => "bad",
            };
            assert_eq!(got, want, "{base} -> {realm}, secret {secret}");
        }
    }

    #[test]
    fn requests_for_tokens() {
        let realm = || Url::parse("https://a.io/t?x=1").unwrap();
        let scope = "repository:a/b:pull";
        let anonymous = token_request("r", realm(), Some("s v"), scope, None).unwrap();
        assert_eq!(
            anonymous.url.as_str(),
            "https://a.io/t?x=1&service=s+v&scope=repository%3Aa%2Fb%3Apull&client_id=ketch"
        );
        assert!(anonymous.authorization.is_none() && anonymous.form.is_none());
        let basic = token_request("r", realm(), None, scope, Some(&Credential::from_option("u:p"))).unwrap();
        assert!(basic.url.as_str().ends_with("&account=u"));
        assert_eq!(basic.authorization.unwrap(), "Basic dTpw");
        let identity = Credential::IdentityToken("I".into());
        let post = token_request("r", realm(), Some("s"), scope, Some(&identity)).unwrap();
        assert_eq!(post.url.as_str(), "https://a.io/t?x=1");
        assert!(post.form.unwrap().starts_with("grant_type=refresh_token&refresh_token=I&client_id=ketch"));
    }
}
