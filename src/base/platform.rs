//! What an image was built for: operating system, processor, variant.
//!
//! Architectures have Go's names (`amd64`, `arm64`, `386` …), because manifests spell them so. An
//! index lists one image per platform; [`Platform::choose`] picks the best one that a machine runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system and a processor, like `linux/arm64/v8`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Platform {
    /// `linux`.
    pub(crate) os: String,
    /// Go's name of the processor: `amd64`.
    pub(crate) arch: String,
    /// `v7`, or empty where it does not matter.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) variant: String,
}

/// A text that names no platform.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("platform {0:?}: not of the form os/arch or os/arch/variant")]
pub(crate) struct PlatformError(String);

impl Platform {
    /// A platform from the three fields, as manifests or options have them; synonyms are replaced.
    ///
    /// An empty `os` means `linux`, an empty `arch` this machine's.
    pub(crate) fn new(os: &str, arch: &str, variant: &str) -> Self {
        let os = if os.is_empty() { "linux".to_owned() } else { os.to_ascii_lowercase() };
        let arch = if arch.is_empty() { host_arch() } else { arch };
        let (arch, implied) = canonical_arch(&arch.to_ascii_lowercase());
        let variant = match (arch.as_str(), variant) {
            (_, "") => implied.to_owned(),
            ("arm", "5" | "6" | "7" | "8") | ("arm64", "8" | "9") => format!("v{variant}"),
            _ => variant.to_ascii_lowercase(),
        };
        Self { os, arch, variant }
    }

    /// The platform this program was built for.
    pub(crate) fn host() -> Self {
        Self::new("linux", host_arch(), "")
    }

    /// The variants of this platform's architecture that it can run, the best first.
    fn variants(&self) -> Vec<String> {
        let down_to = |last: u32, default: u32| {
            let first =
                self.variant.strip_prefix('v').and_then(|digits| digits.parse().ok()).unwrap_or(default);
            (last..=first.min(16)).rev().map(|n| format!("v{n}"))
        };
        let asked = (!self.variant.is_empty()).then(|| self.variant.clone());
        let mut list: Vec<String> = asked.into_iter().collect();
        match self.arch.as_str() {
            // 64-bit ARM is v8 whether it says so or not.
            "arm64" => list.extend(down_to(8, 8)),
            "arm" => list.extend(down_to(5, 7)),
            "amd64" => {
                if self.variant.is_empty() {
                    list.push(String::new());
                }
                list.extend(down_to(1, 1));
            }
            _ => {}
        }
        list.push(String::new());
        list
    }

    /// Picks the image to run on this platform among those an index lists.
    ///
    /// Returns the position. The first entry with the best variant wins, as in Docker. `None` in
    /// `entries` is an entry that names no platform; it is taken only if it is the single one.
    pub(crate) fn choose(&self, entries: &[Option<Platform>]) -> Option<usize> {
        if let [None] = entries {
            return Some(0);
        }
        self.variants().iter().find_map(|variant| {
            entries.iter().position(|entry| {
                entry.as_ref().is_some_and(|have| {
                    have.os == self.os && have.arch == self.arch && have.variant == *variant
                })
            })
        })
    }

    /// True if an image for `image` runs here (as far as the name tells).
    pub(crate) fn runs(&self, image: &Platform) -> bool {
        self.choose(&[Some(image.clone())]).is_some()
    }
}

/// Go's name of the architecture this program was built for.
const fn host_arch() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "amd64"
    } else if cfg!(target_arch = "aarch64") {
        "arm64"
    } else if cfg!(target_arch = "x86") {
        "386"
    } else if cfg!(target_arch = "riscv64") {
        "riscv64"
    } else if cfg!(target_arch = "s390x") {
        "s390x"
    } else if cfg!(target_arch = "powerpc64") {
        "ppc64le"
    } else if cfg!(target_arch = "loongarch64") {
        "loong64"
    } else {
        "arm"
    }
}

/// Go's name for an architecture, and the variant that a synonym implies.
fn canonical_arch(arch: &str) -> (String, &'static str) {
    match arch {
        "x86_64" | "x86-64" => ("amd64".to_owned(), ""),
        "aarch64" => ("arm64".to_owned(), ""),
        "i386" | "i486" | "i586" | "i686" | "x86" => ("386".to_owned(), ""),
        "armhf" | "armv7" | "armv7l" => ("arm".to_owned(), "v7"),
        "armel" | "armv6" | "armv6l" => ("arm".to_owned(), "v6"),
        "powerpc64le" => ("ppc64le".to_owned(), ""),
        "loongarch64" => ("loong64".to_owned(), ""),
        other => (other.to_owned(), ""),
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Reads `os/arch`, `os/arch/variant`, or one word: `linux` or an architecture.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let is_word = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(is_word) {
            return Err(PlatformError(text.chars().take(100).collect()));
        }
        match parts[..] {
            [os @ ("linux" | "windows" | "freebsd" | "darwin" | "wasi")] => Ok(Self::new(os, "", "")),
            [arch] => Ok(Self::new("", arch, "")),
            [os, arch] => Ok(Self::new(os, arch, "")),
            [os, arch, variant] => Ok(Self::new(os, arch, variant)),
            _ => Err(PlatformError(text.chars().take(100).collect())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_normalises() {
        for (text, want) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64/v8"),
            ("linux/arm64/8", "linux/arm64/v8"),
            ("linux/arm/7", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("armel", "linux/arm/v6"),
            ("arm64", "linux/arm64"),
            ("i686", "linux/386"),
            ("Linux/AMD64/V3", "linux/amd64/v3"),
            ("windows/amd64", "windows/amd64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), want, "{text}");
        }
        assert_eq!("linux".parse::<Platform>().unwrap(), Platform::host());
        for bad in ["", "/", "linux/", "/amd64", "a/b/c/d", "linux/a b", "linux/\0"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn chooses_the_best_variant() {
        let index =
            |list: &[&str]| list.iter().map(|text| text.parse().ok()).collect::<Vec<Option<Platform>>>();
        for (wanted, list, want) in [
            ("linux/amd64", &["linux/arm64", "linux/amd64"][..], Some(1)),
            ("linux/amd64", &["linux/amd64/v3", "linux/amd64"], Some(1)),
            ("linux/amd64", &["linux/amd64/v1"], Some(0)),
            ("linux/amd64", &["linux/amd64/v3"], None),
            ("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2"], Some(1)),
            ("linux/arm64", &["linux/arm64"], Some(0)),
            ("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"], Some(1)),
            ("linux/arm64/v8", &["linux/arm64"], Some(0)),
            ("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm64"], Some(1)),
            ("linux/arm/v6", &["linux/arm/v7"], None),
            ("linux/arm", &["linux/arm/v8", "linux/arm/v7"], Some(1)),
            ("linux/riscv64", &["linux/amd64", "linux/riscv64"], Some(1)),
            ("linux/amd64", &["windows/amd64"], None),
            ("linux/amd64", &["unknown/unknown"], None),
            ("linux/amd64", &["linux/amd64", "linux/amd64"], Some(0)),
        ] {
            let wanted: Platform = wanted.parse().unwrap();
            assert_eq!(wanted.choose(&index(list)), want, "{wanted} of {list:?}");
        }
        assert_eq!(Platform::host().choose(&[None]), Some(0));
        assert_eq!(Platform::host().choose(&[None, None]), None);
        assert_eq!(Platform::host().choose(&[]), None);
    }
}
