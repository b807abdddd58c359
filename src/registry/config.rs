//! `registries.conf`: which registry a short name means, and which server a registry name leads to.
//!
//! ```text
//! app:1 ──aliases──▶ ┐                    docker.io/library/app:1
//!       ──unqualified-search-registries──▶┘        │ [[registry]] prefix → location, insecure, blocked
//!                                                  ▼
//!                            [mirror₁, mirror₂, …, the registry itself]  = Endpoint list, tried in order
//! ```
//!
//! # Source
//!
//! containers-registries.conf(5), version 2 of the format; containers-registries.conf.d(5).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::image_ref::{DOCKER_HUB, ImageName, ImageRef};
use crate::base::order::InOrder as _;
use crate::base::toml_text::without_comments;
use crate::registry::error::{Error, Result};
use crate::sys::fs::{self, OFlags, Share};

/// What all configuration files together say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registries {
    /// Where short names are looked for, in this order.
    search: Vec<String>,
    /// Short name → full name without tag, and the file that says so.
    aliases: BTreeMap<String, (String, PathBuf)>,
    rules: Vec<Rule>,
    /// What to do where a short name may mean several.
    mode: Mode,
    /// `credential-helpers`: programs that keep passwords, in the order in which they are asked.
    helpers: Vec<String>,
    /// The main file, for messages.
    file: PathBuf,
    /// No file says anything, so short names mean Docker Hub.
    unconfigured: bool,
    /// Docker Hub is all that a short name can mean.
    hub_alone: bool,
}

/// `short-name-mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// Ask the user; without a terminal, refuse.
    Enforcing,
    /// Ask the user; without a terminal, try one after the other.
    #[default]
    Permissive,
    /// Try one after the other.
    Disabled,
}

/// One `[[registry]]` table.
#[derive(Clone, Debug)]
struct Rule {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirrors: Vec<Mirror>,
    file: PathBuf,
}

/// A server to ask for an image, and the name the image has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The image as that server knows it.
    pub(crate) image: ImageRef,
    /// Plain http and unknown certificates are fine.
    pub(crate) insecure: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    unqualified_search_registries: Option<Vec<String>>,
    short_name_mode: Option<String>,
    credential_helpers: Option<Vec<String>>,
    #[serde(default)]
    registry: Vec<RegistryTable>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    /// Only version 1 of the format has this.
    registries: Option<toml::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RegistryTable {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Mirror>,
}

/// One `[[registry.mirror]]` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    /// `all`, `digest-only`, `tag-only`.
    pull_from_mirror: Option<String>,
}

/// Where the configuration may be, in the words of [`Registries::load`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths {
    /// The user's own directory. A main file in it stands in the place of all files of the machine.
    pub(crate) own: Option<PathBuf>,
    /// Main files of the machine; the first that exists is read.
    pub(crate) main: Vec<PathBuf>,
    /// Directories of `*.conf` files of the machine, the weakest first. Those of the user are stronger.
    pub(crate) drop_ins: Vec<PathBuf>,
    /// A file of remembered aliases, stronger than all.
    pub(crate) alias_cache: Option<PathBuf>,
    /// The user has named `main`: it stands in the place of all main files, even if it does not exist.
    pub(crate) named: bool,
}

/// The file of the machine's administrator, which messages name where there is none at all.
const SYSTEM_FILE: &str = "/etc/containers/registries.conf";

impl Paths {
    /// The usual places, from the environment variables that move them.
    pub(crate) fn usual(
        override_file: Option<PathBuf>,
        config_home: Option<&Path>,
        cache_home: Option<&Path>,
    ) -> Self {
        let of_system = || [SYSTEM_FILE, "/usr/share/containers/registries.conf"].map(PathBuf::from).to_vec();
        let drop_ins = ["/usr/share/containers/registries.conf.d", "/etc/containers/registries.conf.d"];
        Self {
            own: config_home.map(|dir| dir.join("containers")),
            named: override_file.is_some(),
            main: override_file.map_or_else(of_system, |file| vec![file]),
            drop_ins: drop_ins.map(PathBuf::from).to_vec(),
            alias_cache: cache_home.map(|dir| dir.join("containers/short-name-aliases.conf")),
        }
    }

    /// The user's main file, where it counts.
    fn own_file(&self) -> Option<PathBuf> {
        self.own.as_ref().filter(|_| !self.named).map(|dir| dir.join("registries.conf"))
    }

    /// The directories of `*.conf` files to read beside the main file `main`, the weakest first.
    fn drop_ins_beside(&self, main: &Path) -> Vec<PathBuf> {
        let of_system = if self.own_file().is_some_and(|own| own == main) { &[][..] } else { &self.drop_ins };
        of_system.iter().cloned().chain(self.own.as_ref().map(|dir| dir.join("registries.conf.d"))).collect()
    }
}

impl Registries {
    /// Where short names are looked for, in this order.
    pub(crate) fn search(&self) -> &[String] {
        &self.search
    }

    /// Programs that keep passwords, in the order in which they are asked; empty if only files do.
    pub(crate) fn helpers(&self) -> &[String] {
        &self.helpers
    }

    /// Reads the configuration.
    ///
    /// Where no file exists at all and none was named, short names mean Docker Hub, as Docker's users expect.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a file that exists and cannot be read or understood.
    pub(crate) fn load(paths: &Paths) -> Result<Self> {
        let mut all = Self::default();
        let mut read_any = false;
        for path in paths.own_file().iter().chain(&paths.main) {
            if let Some(text) = read(path)? {
                all.file.clone_from(path);
                all.merge(path, &text)?;
                read_any = true;
                break;
            }
        }
        for path in paths.drop_ins_beside(&all.file).iter().flat_map(|dir| conf_files(dir)) {
            if let Some(text) = read(&path)? {
                all.merge(&path, &text)?;
                read_any = true;
            }
        }
        if let Some((path, text)) =
            paths.alias_cache.as_deref().and_then(|path| Some((path, read(path).ok()??)))
        {
            all.merge(path, &text)?;
        }
        all.unconfigured = !read_any && !paths.named;
        if all.unconfigured {
            all.search = vec![DOCKER_HUB.to_owned()];
        }
        if all.file.as_os_str().is_empty() {
            let named = paths.main.first().filter(|_| paths.named);
            all.file = named.cloned().unwrap_or_else(|| PathBuf::from(SYSTEM_FILE));
        }
        Ok(all)
    }

    /// The same, but short names mean Docker Hub whatever the files say; their mirrors and rules hold.
    pub(crate) fn searching_hub_alone(self) -> Self {
        let search = vec![DOCKER_HUB.to_owned()];
        Self {
            search,
            aliases: BTreeMap::new(),
            mode: Mode::Disabled,
            unconfigured: false,
            hub_alone: true,
            ..self
        }
    }

    /// What one file says, for fuzzing.
    ///
    /// # Errors
    ///
    /// As [`Registries::load`].
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn from_text(text: &str) -> Result<Self> {
        let mut all = Self::default();
        all.merge(Path::new("registries.conf"), text)?;
        Ok(all)
    }

    /// Adds what one file says; a later file wins.
    fn merge(&mut self, path: &Path, text: &str) -> Result<()> {
        let bad = |reason: String| Error::Config { path: path.to_owned(), reason };
        let text = &without_comments(text);
        let file: File = toml::from_str(text).map_err(|err| bad(err.to_string().trim_end().to_owned()))?;
        if file.registries.is_some() {
            return Err(bad(
                "version 1 of the format; write version 2 (containers-registries.conf(5))".into()
            ));
        }
        if let Some(search) = file.unqualified_search_registries {
            self.search = search;
        }
        if let Some(helpers) = file.credential_helpers {
            self.helpers = helpers;
        }
        match file.short_name_mode.as_deref() {
            None | Some("") => {}
            Some("enforcing") => self.mode = Mode::Enforcing,
            Some("permissive") => self.mode = Mode::Permissive,
            Some("disabled") => self.mode = Mode::Disabled,
            Some(other) => return Err(bad(format!("short-name-mode {other:?} is not known"))),
        }
        for table in file.registry {
            let rule = Rule::new(table, path).map_err(bad)?;
            self.rules.retain(|old| old.prefix != rule.prefix);
            self.rules.push(rule);
        }
        let aliases = file.aliases.into_iter();
        self.aliases.extend(aliases.map(|(name, target)| (name, (target, path.to_owned()))));
        Ok(())
    }

    /// The full names that a typed name may mean, to be tried in this order.
    ///
    /// # Errors
    ///
    /// [`Error::ShortName`] if it leads nowhere, [`Error::Ambiguous`] if it leads to several
    /// registries and the configuration forbids to guess (`short-name-mode = "enforcing"`).
    pub(crate) fn resolve(&self, name: &ImageName) -> Result<Vec<ImageRef>> {
        if !name.is_short() {
            return Ok(vec![name.on(DOCKER_HUB).with_default_tag()]);
        }
        if let Some(full) = self.alias(name)? {
            return Ok(vec![full]);
        }
        let candidates = self.searched(name);
        match candidates.len() {
            0 => Err(Error::ShortName { name: name.to_string(), file: self.file.clone() }),
            1 => Ok(candidates),
            _ if self.mode == Mode::Enforcing => Err(Error::Ambiguous {
                name: name.to_string(),
                candidates: candidates.iter().map(ToString::to_string).collect(),
            }),
            _ => Ok(candidates),
        }
    }

    /// Why `name` was looked for on Docker Hub, if only because nothing is configured.
    pub(crate) fn assumed(&self, name: &ImageName) -> Option<String> {
        let assumed =
            self.unconfigured && name.is_short() && self.alias(name).is_ok_and(|alias| alias.is_none());
        let undefined = || Error::ShortName { name: name.to_string(), file: self.file.clone() };
        assumed.then(|| format!("{}, so {DOCKER_HUB} was asked", undefined()))
    }

    /// What the user is to choose from, where a terminal is there to ask; `None` if there is nothing to
    /// choose or nobody wants to be asked.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for an alias that names no image.
    pub(crate) fn choices(&self, name: &ImageName) -> Result<Option<Vec<ImageRef>>> {
        let asks = self.mode != Mode::Disabled && name.is_short() && self.alias(name)?.is_none();
        Ok(asks.then(|| self.searched(name)).filter(|candidates| candidates.len() > 1))
    }

    /// A short name on each registry that is searched.
    fn searched(&self, name: &ImageName) -> Vec<ImageRef> {
        self.search.iter().map(|registry| name.on(registry).with_default_tag()).collect()
    }

    /// What a short name means and which file says so, in podman's words; `None` where no file does.
    pub(crate) fn resolution(&self, name: &ImageName) -> Option<String> {
        if !name.is_short() || self.unconfigured || self.hub_alone {
            return None;
        }
        let short = name.repository();
        Some(match self.alias_of(name) {
            Some((_, file)) => format!("Resolved {short:?} as an alias ({})", file.display()),
            None => {
                format!("Resolving {short:?} using unqualified-search registries ({})", self.file.display())
            }
        })
    }

    /// An alias and the file that it is from; an empty one is none.
    fn alias_of(&self, name: &ImageName) -> Option<&(String, PathBuf)> {
        self.aliases.get(name.repository()).filter(|(target, _)| !target.is_empty())
    }

    /// The name an alias stands for, with the tag and digest that were typed.
    fn alias(&self, name: &ImageName) -> Result<Option<ImageRef>> {
        let Some((target, file)) = self.alias_of(name) else {
            return Ok(None);
        };
        let bad = |reason: String| Error::Config {
            path: file.clone(),
            reason: format!("alias {:?}: {reason}", name.repository()),
        };
        let mut text = target.clone();
        if let Some(tag) = name.tag() {
            text = format!("{text}:{tag}");
        }
        if let Some(digest) = name.digest() {
            text = format!("{text}@{digest}");
        }
        let full: ImageName = text.parse().map_err(|err| bad(format!("{err}")))?;
        if full.is_short() {
            return Err(bad(format!("{target:?} names no registry")));
        }
        Ok(Some(full.on(DOCKER_HUB).with_default_tag()))
    }

    /// The servers to ask for `image`, in order: mirrors, then the registry itself.
    ///
    /// # Errors
    ///
    /// [`Error::Blocked`] if the configuration forbids it; [`Error::Config`] if a rule makes a name
    /// that is none.
    pub(crate) fn endpoints(&self, image: &ImageRef) -> Result<Vec<Endpoint>> {
        let name = image.name();
        let Some(rule) = self.rule(&name) else {
            return Ok(vec![Endpoint { image: image.clone(), insecure: false }]);
        };
        if rule.blocked {
            return Err(rule.refusal());
        }
        let mirrors = rule.mirrors.iter().filter(|mirror| rule.uses(mirror, image));
        let own = (rule.location.as_str(), rule.insecure);
        mirrors
            .map(|mirror| (mirror.location.as_str(), mirror.insecure))
            .chain([own])
            .map(|(location, insecure)| {
                Ok(Endpoint { image: rule.rewrite(image, &name, location)?, insecure })
            })
            .collect()
    }

    /// The registry that `image` itself names, to write to or to log into: neither a mirror nor a `location` is in
    /// the way, as with podman.
    ///
    /// # Errors
    ///
    /// [`Error::Blocked`] if the configuration forbids it.
    pub(crate) fn own(&self, image: &ImageRef) -> Result<Endpoint> {
        let rule = self.rule(&image.name());
        match rule {
            Some(rule) if rule.blocked => Err(rule.refusal()),
            _ => Ok(Endpoint { image: image.clone(), insecure: rule.is_some_and(|rule| rule.insecure) }),
        }
    }

    /// The rule with the longest prefix that fits.
    fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules
            .iter()
            .filter(|rule| matched(&rule.prefix, name).is_some())
            .max_by_key(|rule| rule.prefix.len())
    }
}

impl Rule {
    fn new(table: RegistryTable, file: &Path) -> std::result::Result<Self, String> {
        let clean = |text: String| text.trim_end_matches('/').to_owned();
        let location = table.location.map(clean).unwrap_or_default();
        let prefix = table.prefix.map(clean).filter(|prefix| !prefix.is_empty());
        let prefix = prefix.unwrap_or_else(|| location.clone());
        if prefix.is_empty() {
            return Err("a [[registry]] table needs a prefix or a location".into());
        }
        let wildcard = prefix.starts_with("*.");
        if [&location, &prefix].iter().any(|text| text.contains("://")) {
            return Err(format!("registry {prefix:?} must not have a scheme"));
        }
        let location = if location.is_empty() && !wildcard { prefix.clone() } else { location };
        Ok(Self {
            prefix,
            location,
            insecure: table.insecure,
            blocked: table.blocked,
            mirror_by_digest_only: table.mirror_by_digest_only,
            mirrors: table.mirror,
            file: file.to_owned(),
        })
    }

    /// What is said of a blocked registry.
    fn refusal(&self) -> Error {
        Error::Blocked { prefix: self.prefix.clone(), file: self.file.clone() }
    }

    /// True if `mirror` may serve this kind of name.
    fn uses(&self, mirror: &Mirror, image: &ImageRef) -> bool {
        let by_digest = image.digest().is_some();
        match mirror.pull_from_mirror.as_deref() {
            Some("digest-only") => by_digest,
            Some("tag-only") => !by_digest,
            _ => by_digest || !self.mirror_by_digest_only,
        }
    }

    /// Puts `location` in the place of the prefix.
    fn rewrite(&self, image: &ImageRef, name: &str, location: &str) -> Result<ImageRef> {
        let rest = matched(&self.prefix, name).unwrap_or_default();
        // A wildcard without location changes nothing.
        let renamed = if location.is_empty() { name.to_owned() } else { format!("{location}{rest}") };
        let mut text = renamed;
        if let Some(tag) = image.tag() {
            text = format!("{text}:{tag}");
        }
        if let Some(digest) = image.digest() {
            text = format!("{text}@{digest}");
        }
        text.parse::<ImageName>()
            .map_err(|err| err.to_string())
            .and_then(
                |name| {
                    if name.is_short() { Err(format!("{location:?} is no registry")) } else { Ok(name) }
                },
            )
            .map(|name| name.on(DOCKER_HUB))
            .map_err(|reason| Error::Config { path: self.file.clone(), reason })
    }
}

/// If `prefix` covers `name` (`host/path`), the part of `name` after it.
fn matched<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    if let Some(domain) = prefix.strip_prefix('*') {
        // `*.example.com` stands for hosts, so the rest is the path.
        let host_end = name.find('/').unwrap_or(name.len());
        let (host, rest) = name.split_at(host_end);
        return (host.len() > domain.len() && host.ends_with(domain)).then_some(rest);
    }
    name.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Remembers in `file` that a short name means this repository.
///
/// # Errors
///
/// [`Error::Config`] if the file cannot be read, understood or written.
pub(crate) fn remember_alias(file: &Path, name: &ImageName, image: &ImageRef) -> Result<()> {
    let bad = |reason: String| Error::Config { path: file.to_owned(), reason };
    let io = |err: std::io::Error| bad(err.to_string());
    let (Some(dir), Some(base)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
        return Err(bad("no file name".to_owned()));
    };
    std::fs::create_dir_all(dir).map_err(io)?;
    let dir = fs::open_at(fs::here(), dir, OFlags::RDONLY | OFlags::DIRECTORY, 0).map_err(io)?;
    // Before the file is read: two commands may each have something to remember.
    fs::lock(&dir, Share::Exclusive).map_err(io)?;
    let known: File = toml::from_str(&read(file)?.unwrap_or_default()).map_err(|err| bad(err.to_string()))?;
    let mut aliases = known.aliases;
    aliases.insert(name.repository().to_owned(), image.name());
    // Names of images hold nothing that would have to be escaped between quotes.
    let lines = aliases.iter().map(|(short, full)| format!("  \"{short}\" = \"{full}\"\n"));
    let text = format!("[aliases]\n{}", lines.collect::<String>());
    fs::replace(&dir, base, text.as_bytes(), 0o600, false).map_err(io)
}

/// The text of a file; `None` if there is no such file.
fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(Error::Config { path: path.to_owned(), reason: err.to_string() }),
    }
}

/// The `*.conf` files of a directory by name; none if it cannot be listed.
fn conf_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "conf")).collect();
    files.order();
    files
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
