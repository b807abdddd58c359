//! Use case: whether an image may be taken, as policy.json says; showing and changing that.
//!
//! ```text
//! policy ─▶ accept │ reject │ signed ─┬▶ manifest sha256-<hex>.sig of the same repository
//!                                     │    each layer: a payload, its annotation: the signature
//!                                     ╰▶ files signature-<n> of a directory (dir:)
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::base::digest::Digest;
use crate::base::image_ref::ImageRef;
use crate::engine::config::registries as files;
use crate::engine::error::{Error, Kind, Result};
use crate::registry::attachments::Attachments;
use crate::registry::blob::Blob;
use crate::registry::client::Client;
use crate::registry::error::Error as RegistryError;
use crate::registry::policy::{Policy, Requirement, Signed, scopes_of_path};
use crate::registry::sigstore::{SIGNATURE, tag};

/// Most signatures of one image that are looked at.
pub(in crate::engine) const MAX_SIGNATURES: usize = 64;

/// The policy of this command.
#[derive(Debug)]
pub(in crate::engine) struct Trust(Option<Policy>);

#[derive(Deserialize)]
struct Signatures {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: Map<String, Value>,
}

impl Trust {
    /// Reads policy.json; without one everything is accepted.
    ///
    /// # Errors
    ///
    /// [`Kind::Invalid`] for a file that cannot be read or understood.
    pub(in crate::engine) fn load() -> Result<Self> {
        Policy::load(&files::policies()).map(Self).map_err(unusable)
    }

    /// Checks an image of a registry, of which index and manifest have `digests`.
    ///
    /// # Errors
    ///
    /// [`Kind::Invalid`] if the policy forbids it, or cannot be carried out.
    pub(in crate::engine) fn check(
        &self,
        client: &Client<'_>,
        image: &ImageRef,
        digests: &[Digest],
    ) -> Result<()> {
        let Some(policy) = &self.0 else { return Ok(()) };
        let (scope, requirements) = policy.of_image(image).map_err(unusable)?;
        for requirement in &requirements {
            match requirement {
                Requirement::Accept => {}
                Requirement::Reject => {
                    let message = format!(
                        "pull {image}: Source image rejected: images of {scope:?} are rejected by policy"
                    );
                    return Err(forbidden(message, policy));
                }
                Requirement::Signed(by) => signed(client, image, digests, by).map_err(|why| {
                    let message = format!("pull {image}: a signature is required by policy: {why}");
                    forbidden(message, policy)
                })?,
            }
        }
        Ok(())
    }
}

fn forbidden(message: String, policy: &Policy) -> Error {
    Error::new(Kind::Invalid, message).hint(format!("the policy is in {}", policy.file().display()))
}

fn unusable(err: RegistryError) -> Error {
    Error::new(Kind::Invalid, "read the policy for images").because(err)
}

/// An image of an archive or a directory, as far as it is to be trusted.
#[derive(Debug)]
pub(in crate::engine) struct Offered<'a> {
    /// Of its manifest, and of the index it was found through.
    pub(in crate::engine) digests: Vec<Digest>,
    /// Payloads and signatures that lie beside it.
    pub(in crate::engine) signatures: &'a [(Vec<u8>, String)],
}

/// Checks images of an archive or a directory: `transport` is what it is, `path` where it lies (`None` for
/// standard input). Without `offered` nothing is known of them yet, and only what is certain is refused.
///
/// # Errors
///
/// [`Kind::Invalid`] if the policy forbids it.
pub(in crate::engine) fn check_place(
    transport: &str,
    path: Option<&Path>,
    offered: Option<&[Offered<'_>]>,
) -> Result<()> {
    let Trust(Some(policy)) = Trust::load()? else { return Ok(()) };
    let scopes = path.map_or_else(|| vec![String::new()], scopes_of_path);
    let (scope, requirements) = policy.of(transport, &scopes).map_err(unusable)?;
    let what = path.map_or_else(|| transport.to_owned(), |path| format!("{transport}:{}", path.display()));
    for requirement in &requirements {
        match (requirement, offered) {
            (Requirement::Accept, _) | (Requirement::Signed(_), None) => {}
            (Requirement::Reject, _) => {
                let message =
                    format!("{what}: Source image rejected: images of {scope:?} are rejected by policy");
                return Err(forbidden(message, &policy));
            }
            (Requirement::Signed(by), Some(offered)) => {
                for image in offered {
                    good_one(image.signatures, by, None, &image.digests).map_err(|why| {
                        let message = format!("{what}: a signature is required by policy: {why}");
                        forbidden(message, &policy)
                    })?;
                }
            }
        }
    }
    Ok(())
}

/// Finds one good signature among those that are there; says why there is none.
fn good_one(
    signatures: &[(Vec<u8>, String)],
    by: &Signed,
    image: Option<&ImageRef>,
    digests: &[Digest],
) -> std::result::Result<(), String> {
    let mut reasons = Vec::new();
    for (payload, signature) in signatures {
        match by.verify(payload, signature, image, digests) {
            Ok(()) => return Ok(()),
            Err(reason) => reasons.push(reason),
        }
    }
    reasons.dedup();
    Err(if reasons.is_empty() { "there is none".to_owned() } else { reasons.join("; ") })
}

/// Looks for one good signature; says why there is none.
fn signed(
    client: &Client<'_>,
    image: &ImageRef,
    digests: &[Digest],
    by: &Signed,
) -> std::result::Result<(), String> {
    let attachments = Attachments::load(&files::attachments()).map_err(|err| err.to_string())?;
    if !attachments.are_used(image) {
        return Err("registries.d forbids to read signatures beside images (use-sigstore-attachments)".into());
    }
    let (mut all, mut unread) = (Vec::new(), Vec::new());
    for digest in digests {
        match signatures(client, digest) {
            Ok(found) => all.extend(found),
            Err(RegistryError::NotFound { .. }) => {}
            Err(err) => unread.push(err.to_string()),
        }
    }
    good_one(&all, by, Some(image), digests).map_err(|why| match unread.is_empty() {
        true => why,
        false => unread.join("; "),
    })
}

/// The payloads and signatures that lie beside an image.
fn signatures(
    client: &Client<'_>,
    digest: &Digest,
) -> std::result::Result<Vec<(Vec<u8>, String)>, RegistryError> {
    let manifest = client.manifest(&tag(digest))?;
    let Ok(list) = serde_json::from_slice::<Signatures>(&manifest.bytes) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for layer in list.layers.into_iter().take(MAX_SIGNATURES) {
        let Some(signature) = layer.annotations.get(SIGNATURE).and_then(Value::as_str) else { continue };
        let payload = client.small_blob(Blob { digest: layer.digest, size: layer.size })?;
        found.push((payload, signature.to_owned()));
    }
    Ok(found)
}

/// One line of `image trust show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrustRow {
    pub(crate) transport: String,
    pub(crate) name: String,
    /// `accept`, `reject`, `sigstoreSigned` …
    pub(crate) kind: String,
    /// Files with keys.
    pub(crate) keys: Vec<String>,
}

/// The policy as it is in its file; `None` if there is none.
///
/// # Errors
///
/// If it cannot be read or understood.
pub(crate) fn document() -> Result<Option<(PathBuf, Value)>> {
    let Trust(Some(policy)) = Trust::load()? else { return Ok(None) };
    let path = policy.file().to_owned();
    let failed = |err: String| Error::new(Kind::Invalid, format!("read {}: {err}", path.display()));
    let text = std::fs::read(&path).map_err(|err| failed(err.to_string()))?;
    let document = serde_json::from_slice(&text).map_err(|err| failed(err.to_string()))?;
    Ok(Some((path, document)))
}

/// The lines that a policy makes, the default first.
pub(crate) fn rows(policy: &Value) -> Vec<TrustRow> {
    let mut rows = Vec::new();
    let mut add = |transport: &str, name: &str, list: &Value| {
        for requirement in list.as_array().into_iter().flatten() {
            let kind = match requirement["type"].as_str().unwrap_or_default() {
                "insecureAcceptAnything" => "accept",
                other => other,
            };
            let several = requirement["keyPaths"].as_array().into_iter().flatten();
            let keys = [&requirement["keyPath"]].into_iter().chain(several).filter_map(Value::as_str);
            rows.push(TrustRow {
                transport: transport.to_owned(),
                name: name.to_owned(),
                kind: kind.to_owned(),
                keys: keys.map(str::to_owned).collect(),
            });
        }
    };
    add("all", "default", &policy["default"]);
    for (transport, scopes) in policy["transports"].as_object().into_iter().flatten() {
        let shown = if transport == "docker" { "repository" } else { transport };
        for (scope, list) in scopes.as_object().into_iter().flatten() {
            add(shown, if scope.is_empty() { "all" } else { scope }, list);
        }
    }
    rows
}

/// What `image trust set` makes of a scope.
#[derive(Clone, Debug)]
pub(crate) enum TrustChange {
    Accept,
    Reject,
    /// One of these files with public keys must have signed.
    Sigstore(Vec<PathBuf>),
}

/// Changes what holds for `scope` (a registry, a path on one, or `default`); returns the file.
///
/// # Errors
///
/// If a key or the file cannot be used.
pub(crate) fn set(scope: &str, change: &TrustChange) -> Result<PathBuf> {
    let mut policy = match document()? {
        Some((_, policy)) => policy,
        None => json!({"default": [{"type": "insecureAcceptAnything"}]}),
    };
    let requirement = match change {
        TrustChange::Accept => json!([{"type": "insecureAcceptAnything"}]),
        TrustChange::Reject => json!([{"type": "reject"}]),
        TrustChange::Sigstore(keys) => {
            let keys = keys.iter().map(std::fs::canonicalize).collect::<std::io::Result<Vec<_>>>();
            let keys = keys.map_err(|err| Error::system("find the public key", err))?;
            let identity = json!({"type": "matchRepository"});
            json!([{"type": "sigstoreSigned", "keyPaths": keys, "signedIdentity": identity}])
        }
    };
    match scope {
        "default" => policy["default"] = requirement,
        scope => policy["transports"]["docker"][scope] = requirement,
    }
    let path = files::policy_to_write()
        .ok_or_else(|| Error::invalid("there is no place for a policy: HOME is not set"))?;
    let failed = |err| Error::system(format!("write {}", path.display()), err);
    std::fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(failed)?;
    let staged = path.with_extension("json.new");
    let text = serde_json::to_string_pretty(&policy).map_err(|err| Error::system("write the policy", err))?;
    std::fs::write(&staged, text + "\n").and_then(|()| std::fs::rename(&staged, &path)).map_err(failed)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_policy() {
        let policy = json!({
            "default": [{"type": "insecureAcceptAnything"}],
            "transports": {"docker": {
                "r.io": [{"type": "reject"}], "": [{"type": "sigstoreSigned", "keyPath": "/k.pub"}]},
                "dir": {"": [{"type": "reject"}]}},
        });
        let lines: Vec<String> = rows(&policy)
            .into_iter()
            .map(|row| format!("{} {} {} {}", row.transport, row.name, row.kind, row.keys.join(",")))
            .collect();
        assert_eq!(
            lines,
            [
                "all default accept ",
                "repository r.io reject ",
                "repository all sigstoreSigned /k.pub",
                "dir all reject "
            ]
        );
    }
}
