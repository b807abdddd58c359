//! Where a registry's password may go (SEC-29, security.md C16).
//!
//! A registry answers 401 with the address of its token server, and whoever controls the registry chooses that
//! address. The password was given for the registry, not for any server it may name:
//!
//! ```text
//! the registry's own origin                         yes, also over plain http
//! over plain http to anywhere else                  no
//! https, the same host on another port              yes
//! https, the same registrable domain                yes   registry.gitlab.com ─▶ gitlab.com
//! https, a pair of hosts known to belong together   yes   rg.fr-par.scw.cloud ─▶ api.scaleway.com
//! https, the user stored the same password for it   yes   `login` to that host is the confirmation
//! https, anywhere else                              no
//! ```
//!
//! Without a password there is nothing to protect but the way: https stays https.

use reqwest::Url;

use crate::registry::error::{Error, Result, from_outside};
use crate::registry::transport::{check_not_link_local, shown};

/// Token servers of another domain than their registry's: the end of the registry's name, and of the server's.
const KNOWN: [(&str, &str); 2] = [("scw.cloud", "scaleway.com"), ("aliyuncs.com", "aliyuncs.com")];

/// Second-level labels that countries hand names out under, like `co.uk`.
const SECOND_LEVEL: [&str; 9] = ["ac", "co", "com", "edu", "gov", "ne", "net", "or", "org"];

/// Domains whose owners let anybody have a name below them. (The public suffix list has hundreds; these are the
/// ones that somebody could run a server under within minutes.)
#[rustfmt::skip]
const SHARED: [&str; 32] = [
    "amazonaws.com", "appspot.com", "awsapprunner.com", "azurecontainer.io", "azurecr.io", "azurefd.net",
    "azurewebsites.net", "cloudapp.net", "cloudflare.net", "cloudfront.net", "deno.dev", "duckdns.org",
    "firebaseapp.com", "fly.dev", "github.dev", "github.io", "gitlab.io", "herokuapp.com", "netlify.app",
    "ngrok-free.app", "ngrok.app", "ngrok.io", "nip.io", "onrender.com", "pages.dev", "railway.app",
    "run.app", "sslip.io", "trycloudflare.com", "vercel.app", "web.app", "workers.dev",
];

/// Reads the URL of the token server `realm` that the registry at `base` names, if a secret (if there is one)
/// may go there. `is_confirmed` tells whether the user gave the same secret to a host themselves.
///
/// # Errors
///
/// [`Error::HostileRealm`], [`Error::ForeignRealm`]; [`Error::Challenge`] for what is no address of a server.
pub(super) fn check(
    base: &Url,
    realm: &str,
    secret: bool,
    is_confirmed: &dyn Fn(&str) -> bool,
) -> Result<Url> {
    let registry = base.authority().to_owned();
    let bad = |reason: &str| Error::Challenge {
        registry: registry.clone(),
        reason: format!("realm {:?}: {reason}", from_outside(realm)),
    };
    let url = Url::parse(realm).map_err(|_| bad("not a URL"))?;
    check_not_link_local(&url).map_err(bad)?;
    match url.scheme() {
        "https" if !secret => Ok(url),
        "https" => {
            let (own, host) = (base.host_str().unwrap_or_default(), url.host_str().unwrap_or_default());
            if belongs_to(own, host) || is_confirmed(host) {
                return Ok(url);
            }
            Err(Error::ForeignRealm { registry, realm: shown(&url), host: from_outside(host) })
        }
        "http" if url.origin() == base.origin() => Ok(url),
        "http" if secret => Err(Error::HostileRealm { registry, realm: shown(&url) }),
        "http" if base.scheme() == "http" => Ok(url),
        "http" => Err(bad("plain http, while the registry speaks https")),
        _ => Err(bad("neither http nor https")),
    }
}

/// Does the token server `host` belong to the registry `own`?
fn belongs_to(own: &str, host: &str) -> bool {
    let is_below = |name: &str, domain: &str| {
        name.strip_suffix(domain).is_some_and(|front| front.is_empty() || front.ends_with('.'))
    };
    own == host
        || registrable_domain(own).is_some_and(|domain| registrable_domain(host) == Some(domain))
        || KNOWN.iter().any(|(registry, server)| is_below(own, registry) && is_below(host, server))
}

/// The part of a host's name that somebody has registered: `example.co.uk` of `a.b.example.co.uk`. `None` for
/// addresses, and for names that are nobody's.
fn registrable_domain(host: &str) -> Option<&str> {
    let is_address = host.starts_with('[') || host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if is_address {
        return None;
    }
    let labels = |count: usize| {
        let dots: Vec<usize> = host.match_indices('.').map(|(at, _)| at).collect();
        match (dots.len() + 1).checked_sub(count)? {
            0 => Some(host),
            more => Some(&host[dots[more - 1] + 1..]),
        }
    };
    let two = labels(2)?;
    let (second, top) = two.split_once('.')?;
    let is_suffix = (top.len() == 2 && SECOND_LEVEL.contains(&second)) || SHARED.contains(&two);
    if is_suffix { labels(3) } else { Some(two) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_passwords_go() {
        for (base, realm, secret, want) in [
            ("https://r.io", "https://auth.io/t", true, "foreign"),
            ("https://r.io", "https://auth.io/t", false, "ok"),
            ("https://r.io", "https://confirmed.example/t", true, "ok"),
            ("https://r.io", "https://r.io:8443/t", true, "ok"),
            ("https://r.io:5000", "https://auth.r.io/t", true, "ok"),
            ("https://registry-1.docker.io", "https://auth.docker.io/token", true, "ok"),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", true, "ok"),
            ("https://registry.gitlab.com", "https://evilgitlab.com/jwt/auth", true, "foreign"),
            ("https://registry.gitlab.com", "https://gitlab.com.evil.io/jwt/auth", true, "foreign"),
            ("https://rg.fr-par.scw.cloud", "https://api.scaleway.com/token", true, "ok"),
            ("https://rgscw.cloud", "https://api.scaleway.com/token", true, "foreign"),
            ("https://mine.azurecr.io", "https://mine.azurecr.io/oauth2/token", true, "ok"),
            ("https://mine.azurecr.io", "https://other.azurecr.io/oauth2/token", true, "foreign"),
            ("https://r.example.co.uk", "https://auth.example.co.uk/t", true, "ok"),
            ("https://r.example.co.uk", "https://auth.other.co.uk/t", true, "foreign"),
            ("https://10.0.0.1", "https://10.0.0.2/t", true, "foreign"),
            ("https://10.0.0.1", "https://10.0.0.1:444/t", true, "ok"),
            ("https://[::1]", "https://[::2]/t", true, "foreign"),
            ("https://localhost", "https://other/t", true, "foreign"),
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
            let confirmed = |host: &str| host == "confirmed.example";
            let got = match check(&Url::parse(base).unwrap(), realm, secret, &confirmed) {
                Ok(_) => "ok",
                Err(Error::HostileRealm { .. }) => "hostile",
                Err(Error::ForeignRealm { .. }) => "foreign",
                Err(_) => "bad",
            };
            assert_eq!(got, want, "{base} -> {realm}, secret {secret}");
        }
    }
}
