//! Byte strings from outside: arguments, environment, paths, names.
//!
//! Linux promises no encoding for any of them, so ketch never converts them lossily. In JSON a
//! [`Bytes`] is a plain string where it is UTF-8 and `{"base64": "…"}` where it is not, so records
//! stay readable and exact.

use std::ffi::{CString, NulError, OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A string of bytes that is usually, but not necessarily, UTF-8.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Bytes(Vec<u8>);

impl Bytes {
    /// The bytes as an operating system string.
    pub(crate) fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    /// The bytes as a path.
    pub(crate) fn as_path(&self) -> &Path {
        Path::new(self.as_os_str())
    }

    /// The bytes themselves.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if it is UTF-8.
    pub(crate) fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The text for showing to a person; bytes that are not UTF-8 become U+FFFD.
    pub(crate) fn to_string_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The bytes as a C string.
    ///
    /// # Errors
    ///
    /// If a NUL byte is inside: no system call can take such a string.
    pub(crate) fn to_c_string(&self) -> Result<CString, NulError> {
        CString::new(self.0.clone())
    }

    /// True if there is not one byte.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_os_str(), f)
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<String> for Bytes {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<OsString> for Bytes {
    fn from(text: OsString) -> Self {
        Self(text.into_vec())
    }
}

impl From<&OsStr> for Bytes {
    fn from(text: &OsStr) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<PathBuf> for Bytes {
    fn from(path: PathBuf) -> Self {
        Self(path.into_os_string().into_vec())
    }
}

impl From<&Path> for Bytes {
    fn from(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }
}

impl From<Bytes> for OsString {
    fn from(bytes: Bytes) -> Self {
        OsString::from_vec(bytes.0)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Wire {
    Text(String),
    Binary { base64: String },
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_str() {
            Some(text) => serializer.serialize_str(text),
            None => Wire::Binary { base64: STANDARD.encode(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Wire::deserialize(deserializer)? {
            Wire::Text(text) => Ok(Self(text.into_bytes())),
            Wire::Binary { base64 } => STANDARD.decode(base64).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

/// Paths in JSON, by the same rule: `#[serde(with = "path")]`.
pub(crate) mod path {
    use super::{Bytes, Deserialize, Deserializer, OsString, Path, PathBuf, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        Bytes::from(path).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Bytes::deserialize(deserializer).map(|bytes| PathBuf::from(OsString::from(bytes)))
    }
}

/// The same for several: `#[serde(with = "paths")]`.
pub(crate) mod paths {
    use super::{Bytes, Deserialize, Deserializer, OsString, PathBuf, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
        paths.iter().map(|path| Bytes::from(path.as_path())).collect::<Vec<_>>().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
        let all = Vec::<Bytes>::deserialize(deserializer)?;
        Ok(all.into_iter().map(|bytes| PathBuf::from(OsString::from(bytes))).collect())
    }
}

/// The same where there may be no path: `#[serde(with = "optional_path")]`.
pub(crate) mod optional_path {
    use super::{Bytes, Deserialize, Deserializer, OsString, PathBuf, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_deref().map(Bytes::from).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        let bytes = Option::<Bytes>::deserialize(deserializer)?;
        Ok(bytes.map(|bytes| PathBuf::from(OsString::from(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Place {
        #[serde(with = "path")]
        at: PathBuf,
        #[serde(with = "optional_path")]
        or: Option<PathBuf>,
    }

    #[test]
    fn json_keeps_every_byte() {
        for (bytes, json) in
            [(&b"plain"[..], r#""plain""#), (&b""[..], r#""""#), (&b"nu\xff"[..], r#"{"base64":"bnX/"}"#)]
        {
            let value = Bytes::from(bytes);
            assert_eq!(serde_json::to_string(&value).unwrap(), json);
            assert_eq!(serde_json::from_str::<Bytes>(json).unwrap(), value);
            let place =
                Place { at: OsString::from(value.clone()).into(), or: Some(OsString::from(value).into()) };
            let json = format!(r#"{{"at":{json},"or":{json}}}"#);
            assert_eq!(serde_json::to_string(&place).unwrap(), json);
            assert_eq!(serde_json::from_str::<Place>(&json).unwrap(), place);
        }
    }
}
