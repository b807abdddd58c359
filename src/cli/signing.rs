//! Flags for signatures and encryption, which ketch does not make: a command that asks for them fails rather than
//! going on without.

use std::path::PathBuf;

use clap::Args;

use crate::engine::{Error, Kind, Result};

/// Flags of pushing that sign.
#[derive(Args, Debug)]
pub(crate) struct SigningArgs {
    /// Sign with this GPG key; not supported, so it fails
    #[arg(long, value_name = "KEY")]
    sign_by: Option<String>,

    /// Sign as this sigstore parameter file says; not supported, so it fails
    #[arg(long, value_name = "FILE")]
    sign_by_sigstore: Option<PathBuf>,

    /// Sign with this sigstore key; not supported, so it fails
    #[arg(long, value_name = "FILE")]
    sign_by_sigstore_private_key: Option<PathBuf>,

    /// Read the passphrase of the signing key from this file; not supported, so it fails
    #[arg(long, value_name = "FILE")]
    sign_passphrase_file: Option<PathBuf>,
}

impl SigningArgs {
    /// Refuses to sign.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] if a signature was asked for.
    pub(crate) fn refuse(&self) -> Result<()> {
        let asked = [
            ("--sign-by", self.sign_by.is_some()),
            ("--sign-by-sigstore", self.sign_by_sigstore.is_some()),
            ("--sign-by-sigstore-private-key", self.sign_by_sigstore_private_key.is_some()),
            ("--sign-passphrase-file", self.sign_passphrase_file.is_some()),
        ];
        match asked.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => {
                Err(Error::new(Kind::Unsupported, format!("{flag}: signing is not supported"))
                    .hint("push without it, then sign with cosign or skopeo"))
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
        Err(Error::new(Kind::Unsupported, "--decryption-key: encrypted images are not supported"))
    }
}
