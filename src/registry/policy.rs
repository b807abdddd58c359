//! `policy.json`: which images may be taken from where, and who must have signed them.
//!
//! ```text
//! r.io/team/app:1 ─▶ transports.docker: "r.io/team/app:1" │ "r.io/team/app" │ "r.io/team" │ "r.io"
//!                                       "*.io" │ "" │ default
//! dir:/a/b        ─▶ transports.dir:    "/a/b" │ "/a" │ "" │ default
//!                    ─▶ requirements, which must all hold:
//!                       insecureAcceptAnything · reject · sigstoreSigned (ECDSA P-256 keys)
//! ```
//!
//! # Source
//!
//! containers-policy.json(5); cosign's "Simple Signing" payloads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::Value;

use crate::base::digest::Digest;
use crate::base::image_ref::ImageRef;
use crate::registry::error::{Error, Result};

/// What stands before the point of a P-256 key in its DER form (RFC 5480, SubjectPublicKeyInfo).
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Length of an uncompressed point on P-256.
const POINT_BYTES: usize = 65;

/// What one file says.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    file: PathBuf,
    document: Document,
}

#[derive(Clone, Debug, Deserialize)]
struct Document {
    default: Vec<Value>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<Value>>>,
}

/// One thing that must hold of an image.
#[derive(Clone, Debug)]
pub(crate) enum Requirement {
    /// Nothing.
    Accept,
    /// It never does.
    Reject,
    /// One of these keys has signed it.
    Signed(Signed),
}

/// Who must have signed an image, and as what.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    keys: Vec<Vec<u8>>,
    identity: Identity,
}

/// Which name in a signature is right for an image.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Identity {
    MatchExact,
    /// An exact name, or for an image by digest the same repository.
    #[default]
    MatchRepoDigestOrExact,
    MatchRepository,
    #[serde(rename_all = "camelCase")]
    ExactReference {
        docker_reference: String,
    },
    #[serde(rename_all = "camelCase")]
    ExactRepository {
        docker_repository: String,
    },
    #[serde(rename = "remapIdentity", rename_all = "camelCase")]
    Remap {
        prefix: String,
        signed_prefix: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSigned {
    key_path: Option<PathBuf>,
    key_paths: Option<Vec<PathBuf>>,
    key_data: Option<String>,
    key_datas: Option<Vec<String>>,
    #[serde(default)]
    signed_identity: Identity,
    fulcio: Option<Value>,
    pki: Option<Value>,
    rekor_public_key_path: Option<Value>,
    rekor_public_key_data: Option<Value>,
}

impl Policy {
    /// Reads the first of `files` that is there; `None` if none is: then everything is accepted.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a file that cannot be read or understood.
    pub(crate) fn load(files: &[PathBuf]) -> Result<Option<Self>> {
        for file in files {
            let bad = |reason: String| Error::Config { path: file.clone(), reason };
            match std::fs::read(file) {
                Ok(text) => {
                    let document = serde_json::from_slice(&text).map_err(|err| bad(err.to_string()))?;
                    return Ok(Some(Self { file: file.clone(), document }));
                }
                Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
                Err(err) => return Err(bad(err.to_string())),
            }
        }
        Ok(None)
    }

    /// The file it was read from.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The part of the policy that holds for an image of a registry, and what it requires.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a requirement that ketch cannot check: it must not count as met.
    pub(crate) fn of_image(&self, image: &ImageRef) -> Result<(String, Vec<Requirement>)> {
        self.of("docker", &scopes_of(image))
    }

    /// The part of the policy that holds for one of `scopes` of a transport (`docker`, `oci`, `dir` …), the
    /// most specific first, and what it requires.
    ///
    /// # Errors
    ///
    /// As [`Policy::of_image`].
    pub(crate) fn of(&self, transport: &str, scopes: &[String]) -> Result<(String, Vec<Requirement>)> {
        let known = self.document.transports.get(transport);
        let found = known.and_then(|known| scopes.iter().find_map(|scope| known.get_key_value(scope)));
        let (scope, list) = match found {
            Some((scope, list)) if scope.is_empty() => (transport, list),
            Some((scope, list)) => (scope.as_str(), list),
            None => ("default", &self.document.default),
        };
        Ok((scope.to_owned(), self.read(scope, list)?))
    }

    fn read(&self, scope: &str, list: &[Value]) -> Result<Vec<Requirement>> {
        let bad = |reason: String| Error::Config {
            path: self.file.clone(),
            reason: format!("{scope:?}: {reason}"),
        };
        if list.is_empty() {
            return Err(bad("a list of requirements must not be empty".into()));
        }
        list.iter().map(|value| requirement(value).map_err(bad)).collect()
    }
}

fn requirement(value: &Value) -> std::result::Result<Requirement, String> {
    match value["type"].as_str() {
        Some("insecureAcceptAnything") => Ok(Requirement::Accept),
        Some("reject") => Ok(Requirement::Reject),
        Some("sigstoreSigned") => signed(value).map(Requirement::Signed),
        Some("signedBy") => {
            Err("signatures by GPG keys (signedBy) cannot be checked; sigstoreSigned with keyPath can".into())
        }
        other => Err(format!("requirement of the type {other:?} is not known")),
    }
}

fn signed(value: &Value) -> std::result::Result<Signed, String> {
    let raw: RawSigned = serde_json::from_value(value.clone()).map_err(|err| err.to_string())?;
    let beyond = [&raw.fulcio, &raw.pki, &raw.rekor_public_key_path, &raw.rekor_public_key_data];
    if beyond.iter().any(|field| field.is_some()) {
        return Err(
            "sigstoreSigned is checked with keys (keyPath, keyData) only, not by fulcio, pki or rekor".into(),
        );
    }
    let mut texts = Vec::new();
    for path in raw.key_path.iter().chain(raw.key_paths.iter().flatten()) {
        texts.push(std::fs::read(path).map_err(|err| format!("read {}: {err}", path.display()))?);
    }
    for data in raw.key_data.iter().chain(raw.key_datas.iter().flatten()) {
        texts.push(STANDARD.decode(data.trim()).map_err(|_| "keyData is not base64".to_owned())?);
    }
    if texts.is_empty() {
        return Err("sigstoreSigned needs keyPath or keyData".into());
    }
    let keys = texts.iter().map(|text| public_key(text)).collect::<std::result::Result<_, _>>()?;
    Ok(Signed { keys, identity: raw.signed_identity })
}

/// The point of a key in PEM.
fn public_key(pem: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let text = String::from_utf8_lossy(pem);
    let encoded = pem_block(&text, "PUBLIC KEY").ok_or("not a public key in PEM")?;
    let der = STANDARD.decode(encoded).map_err(|_| "a public key is not base64".to_owned())?;
    match der.strip_prefix(&P256_PREFIX) {
        Some(point) if point.len() == POINT_BYTES => Ok(point.to_vec()),
        _ => Err("only ECDSA keys on the curve P-256 can be checked".into()),
    }
}

/// The base64 in a block of PEM.
pub(super) fn pem_block(text: &str, label: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    Some(rest.split_once("-----END")?.0.split_whitespace().collect())
}

/// The scopes that hold for an image, the most specific first. What a digest is given for is no tag.
///
/// # Source
///
/// containers-policy.json(5), `docker:`: the port does not count for `*.example.com`.
pub(super) fn scopes_of(image: &ImageRef) -> Vec<String> {
    let mut scopes = vec![match image.digest() {
        Some(digest) => image.with_digest(*digest).to_string(),
        None => image.to_string(),
    }];
    let mut name = image.name();
    loop {
        scopes.push(name.clone());
        match name.rfind('/') {
            Some(slash) => name.truncate(slash),
            None => break,
        }
    }
    let mut host = name.split(':').next().unwrap_or_default();
    while let Some(dot) = host.find('.') {
        scopes.push(format!("*{}", &host[dot..]));
        host = &host[dot + 1..];
    }
    scopes.push(String::new());
    scopes
}

/// The scopes that hold for a file or directory, the most specific first: its real path, and those above it.
///
/// # Source
///
/// containers-policy.json(5), `dir:`: paths have no symbolic links in them, and `/` is written `""`.
pub(crate) fn scopes_of_path(path: &Path) -> Vec<String> {
    let real = std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    let real = real.unwrap_or_else(|_| path.to_owned());
    // A path that is no text cannot stand in a policy; those above it can.
    let named = real.ancestors().filter(|above| above.parent().is_some()).filter_map(Path::to_str);
    named.map(str::to_owned).chain([String::new()]).collect()
}

/// What a signature signs.
#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    identity: SignedIdentity,
    image: SignedImage,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SignedIdentity {
    docker_reference: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SignedImage {
    docker_manifest_digest: Digest,
}

impl Signed {
    /// Checks one signature (base64 of its DER form) over `payload` for an image with one of `digests`. One of
    /// no registry has no name of its own (`image`): only what the policy names itself can be right for it.
    ///
    /// # Errors
    ///
    /// Why it does not count.
    pub(crate) fn verify(
        &self,
        payload: &[u8],
        signature: &str,
        image: Option<&ImageRef>,
        digests: &[Digest],
    ) -> std::result::Result<(), String> {
        let signature = STANDARD.decode(signature.trim()).map_err(|_| "a signature that is not base64")?;
        let valid = self.keys.iter().any(|key| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(payload, &signature).is_ok()
        });
        if !valid {
            return Err("a signature by another key".into());
        }
        let payload: Payload =
            serde_json::from_slice(payload).map_err(|err| format!("a signature of something else: {err}"))?;
        let Critical { kind, identity, image: signed } = payload.critical;
        if kind != "cosign container image signature" {
            return Err(format!("a signature of the type {kind:?}"));
        }
        if !digests.contains(&signed.docker_manifest_digest) {
            return Err(format!("a signature of another image, {}", signed.docker_manifest_digest));
        }
        let name = identity.docker_reference;
        if self.identity.accepts(&name, image) {
            Ok(())
        } else {
            Err(format!("a signature for the name {name:?}"))
        }
    }
}

impl Identity {
    /// True if a signature that says `said` is one for `image`.
    fn accepts(&self, said: &str, image: Option<&ImageRef>) -> bool {
        let Ok(said_ref) = said.parse::<ImageRef>() else { return false };
        let exact = |image: &ImageRef| said_ref.tag().is_some() && said_ref.to_string() == image.to_string();
        let repository = |image: &ImageRef| said_ref.name() == image.name();
        match (self, image) {
            (Self::ExactReference { docker_reference }, _) => said == docker_reference,
            (Self::ExactRepository { docker_repository }, _) => said_ref.name() == *docker_repository,
            (_, None) => false,
            (Self::MatchExact, Some(image)) => exact(image),
            (Self::MatchRepoDigestOrExact, Some(image)) if image.digest().is_some() => repository(image),
            (Self::MatchRepoDigestOrExact, Some(image)) => exact(image),
            (Self::MatchRepository, Some(image)) => repository(image),
            (Self::Remap { prefix, signed_prefix }, Some(image)) => {
                let full = image.to_string();
                let fits = |rest: &&str| rest.is_empty() || rest.starts_with(['/', ':', '@']);
                match full.strip_prefix(prefix.as_str()).filter(fits) {
                    Some(rest) => said_ref.to_string() == format!("{signed_prefix}{rest}"),
                    None => exact(image),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        Policy { file: "policy.json".into(), document: serde_json::from_str(text).unwrap() }
    }

    fn kind(policy: &Policy, image: &str) -> String {
        match policy.of_image(&image.parse().unwrap()) {
            Ok((scope, list)) => {
                let kinds: Vec<&str> = list
                    .iter()
                    .map(|requirement| match requirement {
                        Requirement::Accept => "accept",
                        Requirement::Reject => "reject",
                        Requirement::Signed(_) => "signed",
                    })
                    .collect();
                format!("{scope}: {}", kinds.join(" "))
            }
            Err(err) => err.to_string(),
        }
    }

    #[test]
    fn the_most_specific_scope_counts() {
        let policy = policy(
            r#"{"default":[{"type":"reject"}],"transports":{"docker":{
                "r.io/team/app:1":[{"type":"reject"}], "r.io/team":[{"type":"insecureAcceptAnything"}],
                "*.example.com":[{"type":"insecureAcceptAnything"}], "gpg.io":[{"type":"signedBy"}],
                "empty.io":[]},
              "dir":{"":[{"type":"insecureAcceptAnything"}], "/x/y":[{"type":"reject"}]}}}"#,
        );
        for (image, want) in [
            ("r.io/team/app:1", "r.io/team/app:1: reject"),
            ("r.io/team/app:2", "r.io/team: accept"),
            ("r.io/teams/app", "default: reject"),
            ("a.b.example.com/x", "*.example.com: accept"),
            ("a.example.com:5000/x/y:1", "*.example.com: accept"),
            ("example.com:5000/x", "default: reject"),
            (&format!("r.io/team/app:1@{}", Digest::of(b"x")), "r.io/team: accept"),
            ("example.com/x", "default: reject"),
        ] {
            assert_eq!(kind(&policy, image), want, "{image}");
        }
        assert!(kind(&policy, "gpg.io/x").contains("signedBy"));
        assert!(kind(&policy, "empty.io/x").contains("must not be empty"));
        for (transport, path, want, accepted) in [
            ("dir", "/x/z", "dir", true),
            ("dir", "/x/y", "/x/y", false),
            ("dir", "/x/y/z/", "/x/y", false),
            ("dir", "/x/yz", "dir", true),
            ("oci", "/x/y", "default", false),
        ] {
            let (scope, list) = policy.of(transport, &scopes_of_path(Path::new(path))).unwrap();
            assert_eq!(
                (scope.as_str(), matches!(list[..], [Requirement::Accept])),
                (want, accepted),
                "{path}"
            );
        }
    }

    #[test]
    fn names_in_signatures() {
        let digest = Digest::of(b"x");
        let remap = Identity::Remap { prefix: "mirror.io/a".into(), signed_prefix: "r.io/b".into() };
        let by_digest = format!("r.io/a@{digest}");
        for (identity, said, image, want) in [
            (&Identity::MatchRepository, "r.io/a", "r.io/a:1", true),
            (&Identity::MatchRepository, "r.io/b", "r.io/a:1", false),
            (&Identity::MatchExact, "r.io/a:1", "r.io/a:1", true),
            (&Identity::MatchExact, "r.io/a", "r.io/a:1", false),
            (&Identity::MatchRepoDigestOrExact, "r.io/a:2", by_digest.as_str(), true),
            (&Identity::MatchRepoDigestOrExact, "r.io/a", "r.io/a:1", false),
            (&remap, "r.io/b/x:1", "mirror.io/a/x:1", true),
            (&remap, "r.io/b/x:1", "mirror.io/ab/x:1", false),
        ] {
            assert_eq!(identity.accepts(said, Some(&image.parse().unwrap())), want, "{said} {image}");
        }
        // An image in a directory has no name: the policy must say which one is right.
        let named = Identity::ExactRepository { docker_repository: "r.io/a".into() };
        assert!(named.accepts("r.io/a:1", None) && !named.accepts("r.io/b:1", None));
        assert!(!Identity::MatchRepository.accepts("r.io/a", None) && !remap.accepts("r.io/b/x:1", None));
    }

    #[test]
    fn signatures_by_a_key() {
        use ring::rand::SystemRandom;
        use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let der = [&P256_PREFIX[..], pair.public_key().as_ref()].concat();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der));
        let keys = vec![public_key(pem.as_bytes()).unwrap()];
        let signed = Signed { keys, identity: Identity::MatchRepository };
        let digest = Digest::of(b"manifest");
        let payload = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"r.io/a"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
        );
        let signature = STANDARD.encode(pair.sign(&random, payload.as_bytes()).unwrap());
        let image: ImageRef = "r.io/a:1".parse().unwrap();
        let check = |payload: &str, signature: &str, digest| {
            signed.verify(payload.as_bytes(), signature, Some(&image), &[digest])
        };
        check(&payload, &signature, digest).unwrap();
        assert!(check(&payload, &signature, Digest::of(b"other")).is_err());
        assert!(check(&payload.replace("r.io/a", "r.io/b"), &signature, digest).is_err());
        assert!(check(&payload, "AAAA", digest).is_err());
        assert!(public_key(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----").is_err());
    }
}
