//! Names of images, by Docker's grammar.
//!
//! ```text
//! quay.io:443/team/app:1.2@sha256:…      app                    docker.io/library/app:latest
//! ╰───┬─────╯ ╰──┬───╯ ╰┬╯ ╰──┬───╯      ImageName (typed)  ──▶ ImageRef (normalised)
//!  registry  repository tag  digest      registry: None         registry is always there
//! ```
//!
//! What a user types is an [`ImageName`]: it may lack a registry (a *short name*), and which one is
//! meant is a question of configuration (`registry::config`). An [`ImageRef`] names one registry.
//! Reading an [`ImageRef`] directly from text applies Docker's default, `docker.io/library`.

mod rule;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::digest::{Digest, DigestError};

pub(crate) use rule::{NameRule, Purpose};

/// The registry that Docker means when a name has none.
pub(crate) const DOCKER_HUB: &str = "docker.io";

/// The registry of images that were built or tagged here and have no other home.
pub(crate) const LOCALHOST: &str = "localhost";

/// The tag that is meant when there is neither tag nor digest.
pub(crate) const LATEST: &str = "latest";

/// Longest repository that registries accept, in bytes.
const REPOSITORY_MAX: usize = 255;

/// Longest tag, in bytes.
const TAG_MAX: usize = 128;

/// Why a text is not the name of an image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum RefError {
    /// No text, or nothing before the tag.
    #[error("image name {0:?}: invalid reference format: empty")]
    Empty(String),
    /// Upper case in a repository.
    #[error("image name {0:?}: invalid reference format: repository name must be lowercase")]
    UpperCase(String),
    /// The part before the first `/` looks like a registry but is no host name.
    #[error(
        "image name {name:?}: invalid reference format: {registry:?} is not a host name with an optional port"
    )]
    Registry { name: String, registry: String },
    /// A component between slashes breaks the grammar.
    #[error("image name {name:?}: invalid reference format: invalid component {component:?}")]
    Component { name: String, component: String },
    /// The repository is longer than registries accept.
    #[error("image name {0:?}: invalid reference format: repository longer than {REPOSITORY_MAX} bytes")]
    TooLong(String),
    /// The tag is not one.
    #[error("image name {name:?}: invalid reference format: invalid tag {tag:?}")]
    Tag { name: String, tag: String },
    /// The digest is not one.
    #[error("image name {name:?}: invalid reference format")]
    Digest { name: String, source: DigestError },
    /// 64 hex digits are an ID, never a name.
    #[error("image name {0:?}: 64 hex digits are an image ID, not a name")]
    HexId(String),
}

/// The name of an image as a user types it: the registry may be missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ImageName {
    registry: Option<String>,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// The full name of an image: registry and repository, and usually a tag or a digest or both.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ImageRef {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl ImageName {
    /// The host and port, if they were typed.
    pub(crate) fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    /// The path on the registry, as it was typed: without the `library/` of Docker Hub.
    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was typed.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was typed.
    pub(crate) fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// True if no registry was typed, so that configuration must say which one is meant.
    pub(crate) fn is_short(&self) -> bool {
        self.registry.is_none()
    }

    /// The full name if the image lives on `registry`; a registry that was typed wins.
    pub(crate) fn on(&self, registry: &str) -> ImageRef {
        let registry = self.registry.as_deref().unwrap_or(registry);
        ImageRef::from_parts(registry, &self.repository, self.tag.clone(), self.digest)
    }

    /// The full names to look for among local images, best first, before [`ImageName::is_tail_of`].
    pub(crate) fn local_candidates(&self, rule: NameRule, purpose: Purpose) -> Vec<ImageRef> {
        let homes: &[&str] = if self.is_short() { rule.homes(purpose) } else { &[""] };
        homes.iter().map(|home| self.on(home).with_default_tag()).collect()
    }

    /// True if this short name is the end of `full`'s repository, whatever tags and digests say.
    pub(crate) fn is_repository_of(&self, full: &ImageRef) -> bool {
        let head = full.repository.strip_suffix(self.repository.as_str());
        self.is_short() && head.is_some_and(|head| head.is_empty() || head.ends_with('/'))
    }

    /// True if this short name is the end of `full`'s repository (`app` of `quay.io/team/app`), and
    /// tag and digest do not contradict. No tag means `latest`.
    pub(crate) fn is_tail_of(&self, full: &ImageRef) -> bool {
        let tag = self.tag.as_deref().or(if self.digest.is_none() { Some(LATEST) } else { None });
        self.is_repository_of(full)
            && tag.is_none_or(|tag| full.tag() == Some(tag))
            && self.digest.is_none_or(|digest| full.digest() == Some(&digest))
    }
}

impl ImageRef {
    /// Puts a full name together from parts that were checked when they were read.
    fn from_parts(registry: &str, repository: &str, tag: Option<String>, digest: Option<Digest>) -> Self {
        let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
        let repository = if registry == DOCKER_HUB && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        Self { registry: registry.to_owned(), repository, tag, digest }
    }

    /// Host and port: `docker.io`, `localhost:5000`.
    pub(crate) fn registry(&self) -> &str {
        &self.registry
    }

    /// The path on the registry: `library/nginx`.
    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if there is one.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if there is one.
    pub(crate) fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository, without tag and digest: `docker.io/library/nginx`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The last part of a manifest's URL: the digest, else the tag, else `latest`.
    pub(crate) fn manifest_reference(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => LATEST.to_owned(),
        }
    }

    /// The same name, tagged `latest` if it has neither tag nor digest.
    pub(crate) fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(LATEST.to_owned());
        }
        self
    }

    /// The same repository under another tag, without digest.
    ///
    /// # Errors
    ///
    /// [`RefError::Tag`] if `tag` is not one.
    pub(crate) fn with_tag(&self, tag: &str) -> Result<Self, RefError> {
        check_tag(&self.name(), tag)?;
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository by digest alone.
    pub(crate) fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The same path on the same registry, without tag and digest.
    pub(crate) fn without_reference(&self) -> Self {
        Self { tag: None, digest: None, ..self.clone() }
    }

    /// The short form that Docker shows: `nginx:latest` for `docker.io/library/nginx:latest`.
    pub(crate) fn familiar(&self) -> String {
        let full = self.to_string();
        let hub = full.strip_prefix("docker.io/").map(|rest| rest.strip_prefix("library/").unwrap_or(rest));
        hub.map(str::to_owned).unwrap_or(full)
    }
}

/// The shortest text that means an image here: as Docker shows it, and without the registry of what was made here.
pub(crate) fn shortest(name: &str) -> String {
    let short = ["docker.io/library/", "docker.io/", "localhost/"];
    short.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name).to_owned()
}

impl FromStr for ImageName {
    type Err = RefError;

    fn from_str(text: &str) -> Result<Self, RefError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest =
                    digest.parse().map_err(|source| RefError::Digest { name: shown(text), source })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let path_start = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (path, tag) = match rest[path_start..].find(':') {
            Some(colon) => (&rest[..path_start + colon], Some(&rest[path_start + colon + 1..])),
            None => (rest, None),
        };
        let (registry, repository) = split_registry(path);
        if let Some(registry) = registry {
            check_registry(text, registry)?;
        }
        check_repository(text, repository, room(registry, repository))?;
        if registry.is_none() && repository.len() == 64 && repository.bytes().all(is_lower_hex) {
            return Err(RefError::HexId(shown(text)));
        }
        if let Some(tag) = tag {
            check_tag(text, tag)?;
        }
        Ok(Self {
            registry: registry.map(str::to_owned),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl FromStr for ImageRef {
    type Err = RefError;

    fn from_str(text: &str) -> Result<Self, RefError> {
        Ok(text.parse::<ImageName>()?.on(DOCKER_HUB))
    }
}

/// Splits the registry off, by Docker's rule: a first component is a host if it holds a dot, a
/// colon or upper case, or is `localhost`.
fn split_registry(path: &str) -> (Option<&str>, &str) {
    match path.split_once('/') {
        Some((first, rest))
            if first == LOCALHOST
                || first.contains(['.', ':', '['])
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, path),
    }
}

/// Checks `host[:port]`; the host is a domain name, an IPv4 address or `[IPv6]`.
fn check_registry(name: &str, registry: &str) -> Result<(), RefError> {
    let (host, port) = match registry.rfind(':') {
        Some(colon) if !registry[colon..].contains(']') => (&registry[..colon], Some(&registry[colon + 1..])),
        _ => (registry, None),
    };
    let port_ok =
        port.is_none_or(|port| port.parse::<u16>().is_ok() && port.bytes().all(|b| b.is_ascii_digit()));
    let host_ok = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.len() <= 253 && host.split('.').all(is_domain_label),
    };
    if port_ok && host_ok {
        Ok(())
    } else {
        Err(RefError::Registry { name: shown(name), registry: shown(registry) })
    }
}

/// Letters, digits and inner hyphens.
fn is_domain_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// How long a repository may be: on Docker Hub, where a short name may lead, `library/` may come before it.
fn room(registry: Option<&str>, repository: &str) -> usize {
    let on_hub = registry.is_none_or(|registry| registry == DOCKER_HUB || registry == "index.docker.io");
    let prefix = if on_hub && !repository.contains('/') { "library/".len() } else { 0 };
    REPOSITORY_MAX - prefix
}

fn check_repository(name: &str, repository: &str, room: usize) -> Result<(), RefError> {
    if repository.is_empty() {
        return Err(RefError::Empty(shown(name)));
    }
    if repository.len() > room {
        return Err(RefError::TooLong(shown(name)));
    }
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(RefError::UpperCase(shown(name)));
    }
    match repository.split('/').find(|component| !is_path_component(component)) {
        Some(bad) => Err(RefError::Component { name: shown(name), component: shown(bad) }),
        None => Ok(()),
    }
}

/// `[a-z0-9]+` words joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let is_word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    let separators_ok = bytes
        .split(is_word)
        .filter(|run| !run.is_empty())
        .all(|run| matches!(run, b"." | b"_" | b"__") || run.iter().all(|&b| b == b'-'));
    is_word(first) && is_word(last) && separators_ok
}

/// `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
fn check_tag(name: &str, tag: &str) -> Result<(), RefError> {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let good = tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || b == b'.' || b == b'-');
    if good { Ok(()) } else { Err(RefError::Tag { name: shown(name), tag: shown(tag) }) }
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// As much of a bad text as an error message should hold.
fn shown(text: &str) -> String {
    text.chars().take(300).collect()
}

/// Writes `:tag@digest`, as far as there are any.
fn write_reference(f: &mut fmt::Formatter<'_>, tag: Option<&str>, digest: Option<&Digest>) -> fmt::Result {
    if let Some(tag) = tag {
        write!(f, ":{tag}")?;
    }
    match digest {
        Some(digest) => write!(f, "@{digest}"),
        None => Ok(()),
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(registry) = &self.registry {
            write!(f, "{registry}/")?;
        }
        f.write_str(&self.repository)?;
        write_reference(f, self.tag(), self.digest())
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        write_reference(f, self.tag(), self.digest())
    }
}

impl fmt::Debug for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ImageRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ImageRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// Found by fuzzing: on Docker Hub a name of one part grows by `library/`.
    #[test]
    fn the_longest_names() {
        for (prefix, longest) in
            [("", 247), ("docker.io/", 247), ("a/", 253), ("r.io/", 255), ("docker.io/a/", 253)]
        {
            let text = |length: usize| format!("{prefix}{}", "x".repeat(length));
            let full: ImageRef = text(longest).parse().unwrap();
            assert_eq!(full.to_string().parse(), Ok(full), "{prefix}");
            assert!(matches!(text(longest + 1).parse::<ImageRef>(), Err(RefError::TooLong(_))), "{prefix}");
        }
    }

    #[test]
    fn normalises_as_docker_does() {
        for (text, full, familiar) in [
            ("nginx", "docker.io/library/nginx", "nginx"),
            ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"),
            ("team/app", "docker.io/team/app", "team/app"),
            ("a/b/c", "docker.io/a/b/c", "a/b/c"),
            ("docker.io/nginx", "docker.io/library/nginx", "nginx"),
            ("index.docker.io/nginx", "docker.io/library/nginx", "nginx"),
            ("docker.io/library/nginx:x", "docker.io/library/nginx:x", "nginx:x"),
            ("localhost/app", "localhost/app", "localhost/app"),
            ("localhost:5000/app:t", "localhost:5000/app:t", "localhost:5000/app:t"),
            ("quay.io/a/b:v1.0_x-y", "quay.io/a/b:v1.0_x-y", "quay.io/a/b:v1.0_x-y"),
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x", "127.0.0.1:5000/x"),
            ("[::1]:5000/x:t", "[::1]:5000/x:t", "[::1]:5000/x:t"),
            ("[fe80::1]/x", "[fe80::1]/x", "[fe80::1]/x"),
            ("Host/app", "Host/app", "Host/app"),
            ("a__b/c---d/e.f_g", "docker.io/a__b/c---d/e.f_g", "a__b/c---d/e.f_g"),
        ] {
            let parsed: ImageRef = text.parse().unwrap_or_else(|err| panic!("{text}: {err}"));
            assert_eq!((parsed.to_string().as_str(), parsed.familiar().as_str()), (full, familiar), "{text}");
            assert_eq!(full.parse::<ImageRef>().as_ref(), Ok(&parsed), "{full} is stable");
        }
    }

    #[test]
    fn keeps_tag_and_digest() {
        let both: ImageRef = format!("r.io/a:t@sha256:{HEX}").parse().unwrap();
        assert_eq!(both.to_string(), format!("r.io/a:t@sha256:{HEX}"));
        assert_eq!(both.tag(), Some("t"));
        assert_eq!(both.manifest_reference(), format!("sha256:{HEX}"));
        assert_eq!(both.name(), "r.io/a");
        let none: ImageRef = "r.io/a".parse().unwrap();
        assert_eq!(none.manifest_reference(), "latest");
        assert_eq!(none.with_default_tag().to_string(), "r.io/a:latest");
        let by_digest: ImageRef = format!("r.io/a@sha256:{HEX}").parse().unwrap();
        assert_eq!(by_digest.clone().with_default_tag(), by_digest);
    }

    #[test]
    fn refuses_what_is_not_a_name() {
        use RefError as E;
        let long = "a".repeat(256);
        let long_tag = format!("a:{}", "t".repeat(129));
        type Is = fn(&RefError) -> bool;
        let cases: [(&str, Is); 29] = [
            ("", |e| matches!(e, E::Empty(_))),
            (":tag", |e| matches!(e, E::Empty(_))),
            ("r.io/", |e| matches!(e, E::Empty(_))),
            ("NGINX", |e| matches!(e, E::UpperCase(_))),
            ("docker.io/Nginx", |e| matches!(e, E::UpperCase(_))),
            ("a/B", |e| matches!(e, E::UpperCase(_))),
            ("a//b", |e| matches!(e, E::Component { .. })),
            ("/a", |e| matches!(e, E::Component { .. })),
            ("a/", |e| matches!(e, E::Component { .. })),
            ("-a", |e| matches!(e, E::Component { .. })),
            ("a-", |e| matches!(e, E::Component { .. })),
            ("a..b", |e| matches!(e, E::Component { .. })),
            ("a___b", |e| matches!(e, E::Component { .. })),
            ("a b", |e| matches!(e, E::Component { .. })),
            ("a\0b", |e| matches!(e, E::Component { .. })),
            ("ü", |e| matches!(e, E::Component { .. })),
            ("../x", |e| matches!(e, E::Registry { .. })),
            ("-x.io/a", |e| matches!(e, E::Registry { .. })),
            ("r.io:99999/a", |e| matches!(e, E::Registry { .. })),
            ("r.io:+80/a", |e| matches!(e, E::Registry { .. })),
            ("[::g]/a", |e| matches!(e, E::Registry { .. })),
            ("http://r.io/a", |e| matches!(e, E::Registry { .. } | E::Component { .. })),
            ("a:", |e| matches!(e, E::Tag { .. })),
            ("a:-x", |e| matches!(e, E::Tag { .. })),
            ("a:b:c", |e| matches!(e, E::Tag { .. })),
            (&long_tag, |e| matches!(e, E::Tag { .. })),
            (&long, |e| matches!(e, E::TooLong(_))),
            (HEX, |e| matches!(e, E::HexId(_))),
            ("a@", |e| matches!(e, E::Digest { .. })),
        ];
        for (text, is) in cases {
            let err = text.parse::<ImageRef>().expect_err(text);
            assert!(is(&err), "{text:?}: {err:?}");
        }
    }

    #[test]
    fn refuses_digests_that_are_not_sha256_hex() {
        for bad in [
            "sha256:../../x",
            &format!("sha256:{}", HEX.to_uppercase()),
            "sha256:abc",
            "sha512:00",
            "sha256:",
        ] {
            let err = format!("r.io/a@{bad}").parse::<ImageRef>().expect_err(bad);
            assert!(matches!(err, RefError::Digest { .. }), "{bad}: {err:?}");
        }
    }

    #[test]
    fn short_names_stay_short_until_resolved() {
        let name = |text: &str| text.parse::<ImageName>().unwrap();
        assert!(name("a/b:t").is_short());
        assert!(!name("localhost/a").is_short());
        assert_eq!(name("a").on("quay.io").to_string(), "quay.io/a");
        assert_eq!(name("a").on("docker.io").to_string(), "docker.io/library/a");
        assert_eq!(name("x.io/a").on("quay.io").to_string(), "x.io/a");
        let local = |rule, purpose| -> Vec<String> {
            name("a").local_candidates(rule, purpose).iter().map(ToString::to_string).collect()
        };
        let (here, hub) = ("localhost/a:latest", "docker.io/library/a:latest");
        assert_eq!(local(NameRule::Podman, Purpose::Read), [here, hub]);
        assert_eq!(local(NameRule::Podman, Purpose::Act), [here, hub]);
        assert_eq!(local(NameRule::Docker, Purpose::Read), [hub, here]);
        assert_eq!(local(NameRule::Docker, Purpose::Act), [hub]);
        for (short, full, tail) in [
            ("app", "quay.io/team/app:latest", true),
            ("team/app", "quay.io/team/app:latest", true),
            ("app:1", "quay.io/team/app:1", true),
            ("app", "quay.io/team/app:1", false),
            ("pp", "quay.io/team/app:latest", false),
            ("x.io/app", "quay.io/x.io/app:latest", false),
        ] {
            assert_eq!(name(short).is_tail_of(&full.parse().unwrap()), tail, "{short} of {full}");
        }
    }
}
