//! From a challenge to the header that answers it.
//!
//! ```text
//! 401 Bearer realm=…  ─▶ GET realm?service=…&scope=…   (anonymous, or Basic)   ─▶ token ─▶ Bearer
//!                     ─▶ POST realm, grant_type=refresh_token  (identity token) ─▶ token ─▶ Bearer
//! 401 Basic           ─▶ Basic
//! ```
//!
//! Where a password may go is the business of [`realm`].
//!
//! # Source
//!
//! Distribution's "Token Authentication Specification" and "Oauth2 Token Authentication".

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use reqwest::{Method, Url};
use serde::Deserialize;

use crate::base::manifest::or_default;
use crate::registry::auth::Credential;
use crate::registry::challenge::Challenge;
use crate::registry::error::{Error, Result};
use crate::registry::realm;
use crate::registry::transport::{Payload, Request, Transport};

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
    #[serde(default, deserialize_with = "or_default")]
    token: String,
    #[serde(default, deserialize_with = "or_default")]
    access_token: String,
    /// Seconds; some servers say less than none.
    expires_in: Option<i64>,
}

/// Answers `challenge` of the registry at `base`, for `scopes` (`repository:a/b:pull,push` …). `is_confirmed`
/// tells whether the user gave the same credential to another host themselves.
///
/// # Errors
///
/// [`Error::Unauthorized`] if it takes a password and there is none, [`Error::HostileRealm`],
/// [`Error::ForeignRealm`], [`Error::Challenge`], and what a request can fail with.
pub(crate) async fn answer(
    transport: &Transport,
    base: &Url,
    challenge: &Challenge,
    credential: Option<&Credential>,
    scopes: &[String],
    is_confirmed: &dyn Fn(&str) -> bool,
) -> Result<Authorization> {
    let registry = base.authority();
    match (challenge, credential) {
        (Challenge::Basic, Some(Credential::Password { user, password })) => {
            Authorization::basic(registry, user, password)
        }
        (Challenge::Basic, _) => {
            let message = ": authentication required".to_owned();
            Err(Error::Unauthorized { registry: registry.to_owned(), message })
        }
        (Challenge::Bearer { realm, service }, _) => {
            let realm = realm::check(base, realm, credential.is_some(), is_confirmed)?;
            let ask = Ask { registry, realm, service: service.as_deref(), scopes };
            let request = ask.request(credential)?;
            match fetch(transport, registry, &request).await {
                // Some token servers know the newer form only.
                Err(Error::Status { status: 404 | 405, .. }) if request.authorization.is_some() => {
                    let request = ask.form(credential);
                    fetch(transport, registry, &request).await
                }
                answer => answer,
            }
        }
    }
}

/// What a token is wanted for.
struct Ask<'a> {
    registry: &'a str,
    realm: Url,
    service: Option<&'a str>,
    scopes: &'a [String],
}

impl Ask<'_> {
    /// Who grants what, as both forms of the request say it.
    fn common(&self) -> impl Iterator<Item = (&str, &str)> {
        let scopes = self.scopes.iter().map(|scope| ("scope", scope.as_str()));
        self.service.map(|service| ("service", service)).into_iter().chain(scopes)
    }

    /// The request for a token: GET, or POST with an identity token.
    fn request(&self, credential: Option<&Credential>) -> Result<Request<'static>> {
        if matches!(credential, Some(Credential::IdentityToken(_))) {
            return Ok(self.form(credential));
        }
        let mut url = self.realm.clone();
        url.query_pairs_mut().extend_pairs(self.common()).append_pair("client_id", CLIENT_ID);
        let mut authorization = None;
        if let Some(Credential::Password { user, password }) = credential {
            url.query_pairs_mut().append_pair("account", user);
            authorization = Some(Authorization::basic(self.registry, user, password)?.header);
        }
        Ok(Request { authorization, ..Request::get(url) })
    }

    /// The request as an OAuth2 form, in which a secret is in the body.
    fn form(&self, credential: Option<&Credential>) -> Request<'static> {
        let mut form = self.realm.clone();
        // The form of an empty URL's query is the encoding a form wants.
        form.set_query(None);
        let mut pairs = form.query_pairs_mut();
        match credential {
            Some(Credential::IdentityToken(token)) => {
                pairs.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token);
            }
            Some(Credential::Password { user, password }) => {
                pairs.append_pair("grant_type", "password");
                pairs.append_pair("username", user).append_pair("password", password);
            }
            None => {}
        }
        pairs.append_pair("client_id", CLIENT_ID);
        let service = self.service.map(|service| ("service", service));
        // Several scopes are one value here, divided by spaces (RFC 6749, section 3.3).
        let scopes = self.scopes.join(" ");
        pairs.extend_pairs(service.into_iter().chain((!scopes.is_empty()).then_some(("scope", &*scopes))));
        drop(pairs);
        let form = form.query().unwrap_or_default().to_owned();
        Request::new(Method::POST, self.realm.clone(), Payload::Form(form))
    }
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
    let seconds = answer.expires_in.and_then(|seconds| u64::try_from(seconds).ok());
    let life = seconds.map_or(DEFAULT_LIFE, Duration::from_secs).max(DEFAULT_LIFE);
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
    fn requests_for_tokens() {
        let scopes = ["repository:a/b:pull,push".to_owned(), "repository:c:pull".to_owned()];
        let ask = |service| Ask {
            registry: "r",
            realm: Url::parse("https://a.io/t?x=1").unwrap(),
            service,
            scopes: &scopes,
        };
        let anonymous = ask(Some("s v")).request(None).unwrap();
        assert_eq!(
            anonymous.url.as_str(),
            "https://a.io/t?x=1&service=s+v&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%3Apull&client_id=ketch"
        );
        assert!(anonymous.authorization.is_none() && matches!(anonymous.payload, Payload::None));
        let password = Credential::from_option("u:p");
        let basic = ask(None).request(Some(&password)).unwrap();
        assert!(basic.url.as_str().ends_with("&account=u"));
        assert_eq!(basic.authorization.unwrap(), "Basic dTpw");
        let form = |request: Request<'_>| match request.payload {
            Payload::Form(form) => format!("{} {} {form}", request.method, request.url),
            other => panic!("{other:?}"),
        };
        let identity = Credential::IdentityToken("I".into());
        assert_eq!(
            form(ask(Some("s")).request(Some(&identity)).unwrap()),
            "POST https://a.io/t?x=1 grant_type=refresh_token&refresh_token=I&client_id=ketch&service=s&scope=repository%3Aa%2Fb%3Apull%2Cpush+repository%3Ac%3Apull"
        );
        assert!(form(ask(None).form(Some(&password))).contains("grant_type=password&username=u&password=p"));
    }
}
