//! Content addresses: `sha256:` and 64 lower-case hex digits, nothing else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest.
///
/// The only way to one is through [`FromStr`] or hashing, so its hex form is always safe as a file
/// name: text from a registry never reaches a path unchecked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest([u8; 32]);

/// Why a text is not a digest that ketch takes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum DigestError {
    /// Another algorithm, or no algorithm at all.
    #[error("digest {0:?}: only sha256 digests are supported")]
    Algorithm(String),
    /// Not exactly 64 lower-case hex digits after the colon.
    #[error("digest {0:?}: not 64 lower-case hex digits")]
    Hex(String),
}

impl Digest {
    /// The digest of `content`.
    pub(crate) fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// The digest a finished hash yields.
    pub(crate) fn from_hash(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }

    /// A hash that was kept as its bytes.
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash itself.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The 64 hex digits.
    pub(crate) fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.0
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
            .collect()
    }

    /// Reads 64 lower-case hex digits.
    ///
    /// # Errors
    ///
    /// [`DigestError::Hex`] for anything else.
    pub(crate) fn from_hex(hex: &str) -> Result<Self, DigestError> {
        let bad = || DigestError::Hex(hex.chars().take(80).collect());
        let digits: &[u8; 64] = hex.as_bytes().try_into().map_err(|_| bad())?;
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(bad()),
        };
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let hex = text
            .strip_prefix("sha256:")
            .ok_or_else(|| DigestError::Algorithm(text.chars().take(80).collect()))?;
        Self::from_hex(hex)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_exact_sha256() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), format!("sha256:{hex}"));
        assert_eq!(format!("sha256:{hex}").parse::<Digest>(), Ok(Digest::of(b"")));
        for bad in [
            "",
            "sha256:",
            "sha256:../../x",
            &format!("sha512:{hex}"),
            &format!("sha256:{}", hex.to_uppercase()),
            &format!("sha256:{hex}0"),
            &format!("sha256:{}", &hex[1..]),
            hex,
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
