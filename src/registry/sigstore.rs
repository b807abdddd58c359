//! Signatures of images in cosign's form, with a private key.
//!
//! ```text
//! key file, passphrase ─▶ PrivateKey ─sign(payload)─▶ base64
//! payload: {"critical": {name, digest of the manifest, type}, "optional": {creator}}
//!
//! tag sha256-<hex> .sig of the same repository: a manifest, each layer of which is a payload and has the
//! signature as an annotation
//! dir: signature-<n>: NUL, "sigstore-json", new line, payload and annotations as JSON
//! ```
//!
//! # Source
//!
//! cosign's SIGNATURE_SPEC.md; containers-sigstore-signing-params.yaml(5); go-securesystemslib's
//! `encrypted` (the form of the key file).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::digest::Digest;
use crate::base::image_ref::ImageRef;
use crate::base::manifest::Form;
use crate::registry::policy::pem_block;
use crate::registry::secretbox::{self, Scrypt};

/// The annotation that holds a signature.
pub(crate) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// The media type of a payload.
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// What the key's PEM block may be called.
const LABELS: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];

/// The tag under which the signatures of a manifest lie.
pub(crate) fn tag(digest: &Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

/// A key to sign with.
#[derive(Clone, Debug)]
pub(crate) struct PrivateKey(std::sync::Arc<EcdsaKeyPair>);

/// A sealed key.
#[derive(Deserialize)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Deserialize)]
struct Params {
    #[serde(rename = "N")]
    n: u64,
    r: u64,
    p: u64,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

impl PrivateKey {
    /// Opens a key file of cosign or skopeo.
    ///
    /// # Errors
    ///
    /// Why it is no such key, or that the passphrase is wrong.
    pub(crate) fn open(pem: &[u8], passphrase: &[u8]) -> Result<Self, String> {
        let sealed = sealed(&String::from_utf8_lossy(pem))?;
        let (kdf, cipher) = (&sealed.kdf, &sealed.cipher);
        if kdf.name != "scrypt" || cipher.name != "nacl/secretbox" {
            return Err(format!("a key sealed with {} and {} cannot be read", kdf.name, cipher.name));
        }
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| "the key is damaged".to_owned());
        let nonce: [u8; 24] = decode(&cipher.nonce)?.try_into().map_err(|_| "the key is damaged")?;
        let scrypt = Scrypt { n: kdf.params.n, r: kdf.params.r, p: kdf.params.p };
        let key = scrypt.key(passphrase, &decode(&kdf.salt)?).ok_or("the key's parameters are not sane")?;
        let der = secretbox::open(&key, &nonce, &decode(&sealed.ciphertext)?);
        let der = der.ok_or("the passphrase is wrong, or the key damaged")?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der, &SystemRandom::new());
        let pair = pair.map_err(|_| "only ECDSA keys on the curve P-256 can sign")?;
        Ok(Self(std::sync::Arc::new(pair)))
    }

    /// Signs, and gives the signature as an annotation holds it.
    ///
    /// # Errors
    ///
    /// If the kernel gives no random bytes.
    pub(crate) fn sign(&self, payload: &[u8]) -> Result<String, String> {
        let signature = self.0.sign(&SystemRandom::new(), payload);
        Ok(STANDARD.encode(signature.map_err(|_| "no random bytes for a signature")?))
    }

    /// True if `signature` is one by this key over `payload`.
    pub(crate) fn has_signed(&self, payload: &[u8], signature: &str) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.0.public_key().as_ref());
        STANDARD.decode(signature.trim()).is_ok_and(|signature| key.verify(payload, &signature).is_ok())
    }
}

fn sealed(pem: &str) -> Result<Sealed, String> {
    let Some(text) = LABELS.iter().find_map(|label| pem_block(pem, label)) else {
        return Err("it is not a sealed key of cosign or skopeo generate-sigstore-key".to_owned());
    };
    let json = STANDARD.decode(text).map_err(|_| "the key is not base64")?;
    serde_json::from_slice(&json).map_err(|err| format!("the key is malformed: {err}"))
}

/// What is signed: that the manifest `digest` is `image`. The same for the same image, so that a push that is
/// repeated adds nothing.
pub(crate) fn payload(image: &ImageRef, digest: &Digest) -> Vec<u8> {
    let payload = json!({
        "critical": {
            "identity": {"docker-reference": image.to_string()},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": {"creator": "ketch"},
    });
    payload.to_string().into_bytes()
}

/// The two documents that hold signatures: configuration and manifest, as they are now (or null) and with
/// one more payload.
pub(crate) fn attach(
    mut config: Value,
    mut manifest: Value,
    payload: &[u8],
    signature: &str,
) -> (Vec<u8>, Vec<u8>) {
    if config["rootfs"]["diff_ids"].is_null() {
        config =
            json!({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}});
    }
    let digest = Digest::of(payload);
    push(&mut config["rootfs"]["diff_ids"], json!(digest));
    let config = config.to_string().into_bytes();
    if manifest["layers"].is_null() {
        manifest = json!({
            "schemaVersion": 2, "mediaType": Form::Oci.manifest(), "config": {}, "layers": [],
        });
    }
    manifest["config"] = json!({
        "mediaType": Form::Oci.config(), "digest": Digest::of(&config), "size": config.len(),
    });
    push(
        &mut manifest["layers"],
        json!({
            "mediaType": PAYLOAD_TYPE, "digest": digest, "size": payload.len(), "annotations": {SIGNATURE: signature},
        }),
    );
    (config, manifest.to_string().into_bytes())
}

/// What begins a file with a signature of this kind, in `dir:`.
const FILE_START: &[u8] = b"\0sigstore-json\n";

/// The name of the file with the signature of this number, from 1 on, in `dir:`.
pub(crate) fn file_name(number: usize) -> String {
    format!("signature-{number}")
}

/// A payload and its signature as such a file holds them.
pub(crate) fn to_file(payload: &[u8], signature: &str) -> Vec<u8> {
    let document = json!({
        "mimeType": PAYLOAD_TYPE, "payload": STANDARD.encode(payload), "annotations": {SIGNATURE: signature},
    });
    [FILE_START, document.to_string().as_bytes()].concat()
}

/// Payload and signature of such a file; `None` for another kind of signature.
pub(crate) fn from_file(text: &[u8]) -> Option<(Vec<u8>, String)> {
    let document: Value = serde_json::from_slice(text.strip_prefix(FILE_START)?).ok()?;
    let payload = STANDARD.decode(document["payload"].as_str()?).ok()?;
    let signature = document["annotations"][SIGNATURE].as_str()?.to_owned();
    (document["mimeType"] == PAYLOAD_TYPE).then_some((payload, signature))
}

fn push(list: &mut Value, entry: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        let pem = |text: &str| {
            format!("-----BEGIN {}-----\n{}\n-----END X-----\n", LABELS[0], STANDARD.encode(text))
        };
        let key = |kdf: &str, n: u64| {
            pem(&format!(
                r#"{{"kdf":{{"name":"{kdf}","params":{{"N":{n},"r":1,"p":1}},"salt":"AA=="}},"cipher":{{"name":"nacl/secretbox","nonce":"{}"}},"ciphertext":"AAAA"}}"#,
                STANDARD.encode([0; 24])
            ))
        };
        for (text, word) in [
            ("-----BEGIN EC PRIVATE KEY-----", "not a sealed key"),
            (&pem("{}"), "malformed"),
            (&key("argon2", 16), "argon2"),
            (&key("scrypt", 17), "not sane"),
            (&key("scrypt", 16), "passphrase is wrong"),
        ] {
            let err = PrivateKey::open(text.as_bytes(), b"x").unwrap_err();
            assert!(err.contains(word), "{text}: {err}");
        }
    }

    #[test]
    fn signatures_in_files() {
        let file = to_file(b"payload", "AAAA");
        assert_eq!(from_file(&file), Some((b"payload".to_vec(), "AAAA".to_owned())));
        let other = String::from_utf8(file).unwrap().replace("simplesigning", "other").into_bytes();
        for bad in [&other[..], b"", b"\x89\x01gpg", b"\0sigstore-json\n{}", b"\0sigstore-json\nno"] {
            assert_eq!(from_file(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn signatures_are_added_to_those_that_are_there() {
        let (first, second) = (b"one".as_slice(), b"two".as_slice());
        let (config, manifest) = attach(Value::Null, Value::Null, first, "S1");
        let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let (config, manifest) = attach(read(&config), read(&manifest), second, "S2");
        let (digest, (config, manifest)) = (Digest::of(&config), (read(&config), read(&manifest)));
        assert_eq!(config["rootfs"]["diff_ids"], json!([Digest::of(first), Digest::of(second)]));
        assert_eq!(manifest["config"]["digest"], json!(digest));
        assert_eq!(manifest["layers"][1]["annotations"][SIGNATURE], "S2");
        assert_eq!(manifest["layers"][0]["digest"], json!(Digest::of(first)));
    }
}
