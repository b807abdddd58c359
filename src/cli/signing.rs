//! Flags for signatures and encryption. Signatures by sigstore keys are made; for what ketch does not make (GPG
//! signatures, encrypted layers) a command that asks for it fails rather than going on without.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use crate::base::yaml::read as yaml;
use crate::cli::login::prompt_password;
use crate::cli::session::Session;
use crate::engine::{Error, Kind, Result};
use crate::registry::sigstore::PrivateKey;

/// Flags of pushing that sign.
#[derive(Args, Debug)]
pub(crate) struct SigningArgs {
    /// Sign with this GPG key; not supported, so it fails
    #[arg(long, value_name = "KEY")]
    sign_by: Option<String>,

    /// Sign as this file says: YAML with privateKeyFile and privateKeyPassphraseFile
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sign_by_sigstore_private_key", "sign_passphrase_file"])]
    sign_by_sigstore: Option<PathBuf>,

    /// Sign with this private key of cosign or `skopeo generate-sigstore-key`
    ///
    /// The signature lies beside the image, under a tag made of its digest; policy.json checks it with the
    /// public key (sigstoreSigned).
    #[arg(long, value_name = "FILE")]
    sign_by_sigstore_private_key: Option<PathBuf>,

    /// Read the passphrase of the private key from the first line of this file
    #[arg(long, value_name = "FILE", requires = "sign_by_sigstore_private_key")]
    sign_passphrase_file: Option<PathBuf>,
}

/// containers-sigstore-signing-params.yaml(5).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    private_key_file: Option<PathBuf>,
    private_key_passphrase_file: Option<PathBuf>,
    fulcio: Option<serde_json::Value>,
    #[serde(rename = "rekorURL")]
    rekor_url: Option<String>,
}

impl SigningArgs {
    /// The key to sign with, if one was named; asks for its passphrase on a terminal.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] for a signature of another kind; if the key cannot be read or opened.
    pub(crate) fn key(&self, session: &mut Session<'_>) -> anyhow::Result<Option<PrivateKey>> {
        if self.sign_by.is_some() {
            return Err(Error::new(Kind::Unsupported, "--sign-by: signing with GPG keys is not supported")
                .hint("sign with --sign-by-sigstore-private-key FILE")
                .into());
        }
        let (key, passphrase) = match &self.sign_by_sigstore {
            Some(file) => parameters(file)?,
            None => (self.sign_by_sigstore_private_key.clone(), self.sign_passphrase_file.clone()),
        };
        let Some(key) = key else { return Ok(None) };
        let pem = read(&key)?;
        let passphrase = match passphrase {
            Some(file) => first_line(&read(&file)?).to_vec(),
            None => {
                session
                    .note(format!("The key {} needs its passphrase (--sign-passphrase-file)", key.display()));
                prompt_password(session)?.into_bytes()
            }
        };
        let opened = PrivateKey::open(&pem, &passphrase);
        Ok(Some(opened.map_err(|why| Error::invalid(format!("open {}: {why}", key.display())))?))
    }
}

/// The files of key and passphrase that a parameter file names.
fn parameters(file: &Path) -> Result<(Option<PathBuf>, Option<PathBuf>)> {
    let bad = |why: String| Error::invalid(format!("--sign-by-sigstore {}: {why}", file.display()));
    let text = String::from_utf8(read(file)?).map_err(|_| bad("it is not text".into()))?;
    let said: Parameters = yaml::value_of(&text).map_err(bad)?;
    if said.fulcio.is_some() || said.rekor_url.is_some() {
        let message = format!("--sign-by-sigstore {}: fulcio and rekor are not supported", file.display());
        return Err(Error::new(Kind::Unsupported, message).hint("a privateKeyFile can sign"));
    }
    let key = said.private_key_file.ok_or_else(|| bad("it names no privateKeyFile".into()))?;
    Ok((Some(key), said.private_key_passphrase_file))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|err| Error::system(format!("read {}", path.display()), err))
}

fn first_line(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// Flags of pushing that encrypt.
#[derive(Args, Debug)]
pub(crate) struct EncryptionArgs {
    /// Encrypt these layers; not supported, so it fails
    #[arg(long, value_name = "LAYER", allow_hyphen_values = true)]
    encrypt_layer: Vec<String>,

    /// Encrypt the image for this key; not supported, so it fails
    #[arg(long, value_name = "KEY")]
    encryption_key: Vec<String>,
}

impl EncryptionArgs {
    /// Refuses to encrypt.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] if it was asked for.
    pub(crate) fn refuse(&self) -> Result<()> {
        let asked = [("--encryption-key", &self.encryption_key), ("--encrypt-layer", &self.encrypt_layer)];
        match asked.iter().find(|(_, values)| !values.is_empty()) {
            None => Ok(()),
            Some((flag, _)) => {
                Err(Error::new(Kind::Unsupported, format!("{flag}: encrypted images are not supported"))
                    .hint("push to oci-archive:FILE and encrypt with skopeo copy --encryption-key"))
            }
        }
    }
}

/// Flags of pulling that decrypt.
#[derive(Args, Debug)]
pub(crate) struct DecryptionArgs {
    /// Decrypt layers with this key; not supported, so it fails
    #[arg(long, value_name = "KEY")]
    decryption_key: Vec<String>,
}

impl DecryptionArgs {
    /// Refuses to decrypt.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] if a key was given.
    pub(crate) fn refuse(&self) -> Result<()> {
        if self.decryption_key.is_empty() {
            return Ok(());
        }
        Err(Error::new(Kind::Unsupported, "--decryption-key: encrypted images are not supported")
            .hint("skopeo copy --decryption-key makes an archive that can be loaded"))
    }
}
