//! Credential helpers: programs named `docker-credential-NAME` that keep passwords.
//!
//! ```text
//! get    ◀ server                      ▶ {"ServerURL", "Username", "Secret"}, or fails
//! store  ◀ the same document
//! erase  ◀ server
//! list                                 ▶ {"server": "user", …}
//! ```
//!
//! # Source
//!
//! docker-credential-helpers' protocol: a word as argument, standard input, standard output.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::base::image_ref::DOCKER_HUB;
use crate::registry::auth::Credential;
use crate::registry::error::{Error, Result, from_outside};

/// The key of Docker Hub in Docker's own files and helpers.
pub(super) const HUB_LEGACY_KEY: &str = "https://index.docker.io/v1/";

/// The user that stands before an identity token.
const TOKEN_USER: &str = "<token>";

/// What helpers and Docker's files call a registry.
pub(super) fn server_name(registry: &str) -> &str {
    if registry == DOCKER_HUB { HUB_LEGACY_KEY } else { registry }
}

#[derive(Deserialize, Serialize)]
struct Document {
    #[serde(default, rename = "ServerURL")]
    server: String,
    #[serde(default, rename = "Username")]
    username: String,
    #[serde(default, rename = "Secret")]
    secret: String,
}

/// Asks for the credential of a server; `None` if the helper has none.
///
/// # Errors
///
/// [`Error::Helper`], as for all functions here.
pub(super) fn get(name: &str, server: &str) -> Result<Option<Credential>> {
    let Some(output) = run(name, "get", server)? else {
        return Ok(None);
    };
    let answer: Document = read(name, &output)?;
    Ok(match answer.username.as_str() {
        "" if answer.secret.is_empty() => None,
        TOKEN_USER => Some(Credential::IdentityToken(answer.secret)),
        _ => Some(Credential::Password { user: answer.username, password: answer.secret }),
    })
}

/// Has the helper keep a credential.
pub(super) fn store(name: &str, server: &str, credential: &Credential) -> Result<()> {
    let (username, secret) = match credential {
        Credential::Password { user, password } => (user.clone(), password.clone()),
        Credential::IdentityToken(token) => (TOKEN_USER.to_owned(), token.clone()),
    };
    let document = Document { server: server.to_owned(), username, secret };
    let input = serde_json::to_string(&document).map_err(|err| fault(name, format!("its input: {err}")))?;
    run(name, "store", &input).map(drop)
}

/// Has the helper forget a credential; false if it had none.
pub(super) fn erase(name: &str, server: &str) -> Result<bool> {
    Ok(run(name, "erase", server)?.is_some())
}

/// The servers that the helper has credentials of.
pub(super) fn list(name: &str) -> Result<Vec<String>> {
    let Some(output) = run(name, "list", "")? else {
        return Ok(Vec::new());
    };
    let known: BTreeMap<String, serde::de::IgnoredAny> = read(name, &output)?;
    Ok(known.into_keys().collect())
}

fn read<'a, T: Deserialize<'a>>(name: &str, output: &'a [u8]) -> Result<T> {
    serde_json::from_slice(output).map_err(|err| fault(name, format!("its answer: {err}")))
}

fn fault(name: &str, reason: String) -> Error {
    Error::Helper { name: from_outside(name), reason }
}

/// Runs a helper; `None` if it says that it knows no such credential.
fn run(name: &str, action: &str, input: &str) -> Result<Option<Vec<u8>>> {
    if name.is_empty() || name.contains('/') {
        return Err(fault(name, "not the name of a program".into()));
    }
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|err| fault(name, format!("start it: {err}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input has its reasons; its answer counts.
        stdin.write_all(input.as_bytes()).ok();
    }
    let output = child.wait_with_output().map_err(|err| fault(name, format!("wait for it: {err}")))?;
    if output.status.success() {
        return Ok(Some(output.stdout));
    }
    let said = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
    let said = String::from_utf8_lossy(said);
    if said.contains("credentials not found") {
        return Ok(None);
    }
    Err(fault(name, format!("{}: {}", output.status, from_outside(said.trim()))))
}
