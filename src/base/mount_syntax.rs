//! What users write for mounts: `-v SOURCE:TARGET:OPTIONS`, `--mount key=value,…`, `--tmpfs TARGET:OPTIONS`. Pure: nothing is looked up.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::bytes::Bytes;
use crate::base::csv;
use crate::base::idmap_syntax::{self, IdMapError, IdmapRequest};
use crate::base::path;
use crate::base::size;
use crate::base::truth;

/// A mount as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountRequest {
    pub(crate) kind: MountKindRequest,
    /// Path inside, as typed.
    pub(crate) target: Bytes,
    pub(crate) read_only: bool,
    /// Mount flags like `noexec`, in the order given.
    pub(crate) options: Vec<String>,
    pub(crate) propagation: Option<String>,
    /// `:O`: changes go to a directory of their own, above the source.
    pub(crate) overlay: Option<OverlayRequest>,
    /// `:idmap`: show the source's owners as other IDs.
    pub(crate) idmap: Option<IdmapRequest>,
}

impl MountRequest {
    /// The place of the host that is mounted, if it is one alone.
    pub(crate) fn directory_of_host(&self) -> Option<&Path> {
        match &self.kind {
            MountKindRequest::Bind { source, glob: false, .. } => Some(source),
            _ => None,
        }
    }
}

/// Where the changes of a mount with `:O` go; without directories they end with the container's life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OverlayRequest {
    pub(crate) upper: Option<PathBuf>,
    pub(crate) work: Option<PathBuf>,
}

/// What is to be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MountKindRequest {
    Bind {
        source: PathBuf,
        recursive: bool,
        chown: bool,
        /// The source is a pattern; what it matches is mounted below the target or, without one, where it lies on the host.
        glob: bool,
    },
    /// What lies at a path below a directory of the host; links on the way do not lead out of it.
    Below {
        directory: PathBuf,
        path: Bytes,
        chown: bool,
    },
    Volume {
        name: Option<String>,
        copy_up: bool,
        chown: bool,
        subpath: Option<Bytes>,
        /// `volume-opt` and `volume-label`: for a volume that is not there yet.
        driver_options: Vec<String>,
        labels: Vec<String>,
    },
    Tmpfs {
        data: Vec<String>,
        copy_up: bool,
        chown: bool,
        /// A ramfs: never swapped out, without a limit.
        ramfs: bool,
    },
    Devpts {
        data: Vec<String>,
    },
    Mqueue,
    Image {
        reference: String,
        subpath: Option<Bytes>,
        /// Changes are allowed and end with the container's life.
        writable: bool,
    },
}

/// Why a text asks for no mount.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MountSyntaxError {
    #[error("{0:?}: incorrect volume format, should be [host-dir:]ctr-dir[:option]")]
    Volume(String),
    #[error("{0:?}: unknown mount option {1:?}: invalid mount option")]
    Option(String, String),
    #[error("{0:?}: {1}")]
    Mount(String, &'static str),
    #[error("{0:?}: {1}")]
    Idmap(String, IdMapError),
    #[error("{0:?} option not supported for {1:?} mount types")]
    Foreign(String, String),
    #[error("invalid options {0:?}, can only specify 1 {1} option")]
    Twice(String, &'static str),
    #[error("can't use 'O' with other options: {0:?}")]
    OverlayWith(String),
    #[error("invalid container path {0:?}, must be an absolute path")]
    Relative(String),
    #[error(
        "invalid filesystem type {0:?}: known are bind, volume, tmpfs, ramfs, devpts, mqueue, image, glob"
    )]
    Kind(String),
}

type Result<T> = std::result::Result<T, MountSyntaxError>;

/// Flags that go to the mount as they are.
const FLAGS: [&str; 10] =
    ["suid", "nosuid", "dev", "nodev", "exec", "noexec", "noatime", "strictatime", "nodiratime", "relatime"];
const PROPAGATIONS: [&str; 8] =
    ["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"];

/// Options of a mount, gathered from either syntax.
#[derive(Default)]
struct Options {
    /// `ro` or `rw`, once one was given.
    read_only: Option<bool>,
    overlay: Option<OverlayRequest>,
    idmap: Option<IdmapRequest>,
    /// An `idmap=` that means nothing, and why.
    bad_idmap: Option<IdMapError>,
    /// An option that `O` cannot stand beside.
    beside_overlay: bool,
    /// Both of a pair that exclude each other.
    conflict: Option<&'static str>,
    flags: Vec<String>,
    propagation: Option<String>,
    chown: bool,
    no_copy: bool,
    not_recursive: bool,
    data: Vec<String>,
}

impl Options {
    /// Takes one option; false if it is not known.
    fn take(&mut self, option: &str) -> bool {
        let of_overlay = option.starts_with("upperdir=") || option.starts_with("workdir=");
        self.beside_overlay |= !of_overlay && !matches!(option, "O" | "U" | "z" | "Z");
        match option {
            "ro" | "readonly" => self.set_read_only(true),
            "rw" => self.set_read_only(false),
            "U" => self.chown = true,
            "O" => drop(self.overlay.get_or_insert_default()),
            "idmap" => self.idmap = Some(IdmapRequest::default()),
            own if own.starts_with("idmap=") => self.take_idmap(&own["idmap=".len()..]),
            directory if of_overlay => {
                let overlay = self.overlay.get_or_insert_default();
                let path = |prefix| directory.strip_prefix(prefix).map(PathBuf::from);
                overlay.upper = path("upperdir=").or(overlay.upper.take());
                overlay.work = path("workdir=").or(overlay.work.take());
            }
            "nocopy" => self.no_copy = true,
            "copy" => self.no_copy = false,
            "bind" => self.not_recursive = true,
            "rbind" => self.not_recursive = false,
            // Labels for SELinux; without SELinux there is nothing to label.
            "z" | "Z" => {}
            // Consistency of Docker Desktop's file sharing; Linux is always consistent.
            "cached" | "delegated" | "consistent" => {}
            flag if FLAGS.contains(&flag) => {
                self.conflict = self.conflict.or_else(|| beside(&self.flags, flag));
                self.flags.push(flag.to_owned());
            }
            propagation if is_propagation(propagation) => {
                if self.propagation.replace(propagation.to_owned()).is_some() {
                    self.conflict = Some("'[r]shared', '[r]private', '[r]slave' or '[r]unbindable'");
                }
            }
            _ => return false,
        }
        true
    }

    fn take_idmap(&mut self, text: &str) {
        match idmap_syntax::parse_request(text) {
            Ok(request) => self.idmap = Some(request),
            Err(err) => self.bad_idmap = Some(err),
        }
    }

    fn set_read_only(&mut self, read_only: bool) {
        if self.read_only.replace(read_only).is_some() {
            self.conflict = Some("'rw' or 'ro'");
        }
    }

    /// Options that exclude each other are an error, as in podman.
    fn check(&self, text: &str) -> Result<()> {
        if let Some(err) = &self.bad_idmap {
            return Err(MountSyntaxError::Idmap(text.to_owned(), err.clone()));
        }
        if let Some(what) = self.conflict {
            return Err(MountSyntaxError::Twice(text.to_owned(), what));
        }
        if self.overlay.is_some() && self.beside_overlay {
            return Err(MountSyntaxError::OverlayWith(text.to_owned()));
        }
        Ok(())
    }

    /// The request, now that its kind is known.
    fn request(self, kind: MountKindRequest, target: Bytes) -> MountRequest {
        MountRequest {
            kind,
            target,
            read_only: self.read_only.unwrap_or_default(),
            options: self.flags,
            propagation: self.propagation,
            overlay: self.overlay,
            idmap: self.idmap,
        }
    }
}

/// What `flag` excludes or repeats among `flags`.
fn beside(flags: &[String], flag: &str) -> Option<&'static str> {
    let pairs = [("exec", "'noexec' or 'exec'"), ("suid", "'nosuid' or 'suid'"), ("dev", "'nodev' or 'dev'")];
    let bare = |flag: &str| flag.strip_prefix("no").unwrap_or(flag).to_owned();
    let (_, words) = pairs.iter().find(|(name, _)| *name == bare(flag))?;
    flags.iter().any(|known| bare(known) == bare(flag)).then_some(words)
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Reads the value of `-v`: `[SOURCE:]TARGET[:OPTIONS]`.
///
/// A source with `/`, `.` or `~` in front is a path of the host, anything else the name of
/// a volume; without a source an anonymous volume is meant.
///
/// # Errors
///
/// [`MountSyntaxError`] with the text in it.
pub(crate) fn parse_volume(text: &OsStr) -> Result<MountRequest> {
    let bytes = text.as_bytes();
    let bad = || MountSyntaxError::Volume(shown(bytes));
    let parts: Vec<&[u8]> = bytes.split(|&b| b == b':').collect();
    let (source, target, options) = match parts[..] {
        [target] => (None, target, &b""[..]),
        [source, target] => (Some(source), target, &b""[..]),
        [source, target, options] => (Some(source), target, options),
        _ => return Err(bad()),
    };
    if target.is_empty() || source.is_some_and(<[u8]>::is_empty) {
        return Err(bad());
    }
    require_absolute(target)?;
    let mut taken = Options::default();
    for option in options.split(|&b| b == b',').filter(|option| !option.is_empty()) {
        let option = shown(option);
        if !taken.take(&option) {
            return Err(MountSyntaxError::Option(shown(bytes), option));
        }
    }
    taken.check(&shown(options).replace(',', ", "))?;
    let kind = match source {
        Some(source) if is_path(source) => MountKindRequest::Bind {
            source: PathBuf::from(OsStr::from_bytes(source)),
            recursive: !taken.not_recursive,
            chown: taken.chown,
            glob: false,
        },
        source => MountKindRequest::Volume {
            name: source.map(|name| String::from_utf8(name.to_vec()).map_err(|_| bad())).transpose()?,
            copy_up: !taken.no_copy,
            chown: taken.chown,
            subpath: None,
            driver_options: Vec::new(),
            labels: Vec::new(),
        },
    };
    Ok(taken.request(kind, target.into()))
}

fn is_path(source: &[u8]) -> bool {
    matches!(source.first(), Some(b'/' | b'.' | b'~'))
}

/// True for a word that says how mounts spread.
pub(crate) fn is_propagation(word: &str) -> bool {
    PROPAGATIONS.contains(&word)
}

/// A target as the container has it: from `/` on, without `.`, `..` and superfluous slashes.
pub(crate) fn clean_target(target: &[u8]) -> PathBuf {
    path::clean(&Path::new("/").join(OsStr::from_bytes(target)))
}

fn require_absolute(target: &[u8]) -> Result<()> {
    if target.first() == Some(&b'/') { Ok(()) } else { Err(MountSyntaxError::Relative(shown(target))) }
}

/// Target and options of the value of `--tmpfs`.
pub(crate) fn split_tmpfs(text: &str) -> (&str, &str) {
    text.split_once(':').unwrap_or((text, ""))
}

/// Reads the value of `--tmpfs`: `TARGET[:OPTIONS]`.
///
/// # Errors
///
/// [`MountSyntaxError`].
pub(crate) fn parse_tmpfs(text: &str) -> Result<MountRequest> {
    let (target, options) = split_tmpfs(text);
    tmpfs_at(target, options)
}

/// A tmpfs on `target` with the options that stand behind the colon.
///
/// # Errors
///
/// [`MountSyntaxError`].
pub(crate) fn tmpfs_at(target: &str, options: &str) -> Result<MountRequest> {
    require_absolute(target.as_bytes())?;
    let mut taken = Options::default();
    let mut copy_up = true;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "tmpcopyup" => copy_up = true,
            "notmpcopyup" => copy_up = false,
            option if is_tmpfs_data(option) => taken.data.push(option.to_owned()),
            option if taken.take(option) => {}
            option => {
                return Err(MountSyntaxError::Option(format!("{target}:{options}"), option.to_owned()));
            }
        }
    }
    taken.check(options)?;
    Ok(tmpfs(target.as_bytes().into(), taken, copy_up, false))
}

/// Options of tmpfs(5) itself.
fn is_tmpfs_data(option: &str) -> bool {
    let key = option.split_once('=').map_or("", |(key, _)| key);
    matches!(key, "size" | "mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks" | "huge" | "mpol")
}

fn tmpfs(target: Bytes, mut taken: Options, copy_up: bool, ramfs: bool) -> MountRequest {
    let data = std::mem::take(&mut taken.data);
    let kind = MountKindRequest::Tmpfs { data, copy_up, chown: taken.chown, ramfs };
    taken.request(kind, target)
}

/// What `--mount` collects before its type is known.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    options: Options,
    subpath: Option<String>,
    /// `tmpcopyup`, `notmpcopyup`.
    copy_up: Option<bool>,
    driver_options: Vec<String>,
    labels: Vec<String>,
    /// `rw=true` was written: for images, which are read-only otherwise.
    writable: bool,
    /// The keys as they were written, for [`types_of`].
    keys: Vec<String>,
}

/// Reads the value of `--mount`: `type=bind,source=…,target=…,readonly` and so on. The type is `volume`
/// if none is given.
///
/// # Errors
///
/// [`MountSyntaxError`].
pub(crate) fn parse_mount(text: &str) -> Result<MountRequest> {
    let bad = |why| MountSyntaxError::Mount(text.to_owned(), why);
    let mut fields = Fields::default();
    for field in csv::fields(text) {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field.as_str(), None),
        };
        if !take_field(&mut fields, key, value) {
            return Err(MountSyntaxError::Option(text.to_owned(), field.clone()));
        }
        fields.keys.push(key.to_owned());
    }
    let named = fields.kind.as_deref().unwrap_or("volume");
    // What is no type is told below.
    let elsewhere =
        |key: &&String| TYPES.contains(&named) && types_of(key).is_some_and(|types| !types.contains(&named));
    if let Some(key) = fields.keys.iter().find(elsewhere) {
        return Err(MountSyntaxError::Foreign(key.clone(), named.to_owned()));
    }
    let target = match fields.target {
        None if named == "glob" => String::new(),
        target => target.ok_or_else(|| bad("must set volume destination"))?,
    };
    if !target.is_empty() || named != "glob" {
        require_absolute(target.as_bytes())?;
    }
    let mut options = fields.options;
    options.check(text)?;
    let kind = match named {
        "bind" | "glob" => MountKindRequest::Bind {
            source: PathBuf::from(fields.source.ok_or_else(|| bad("a bind mount needs a source"))?),
            recursive: !options.not_recursive,
            chown: options.chown,
            glob: named == "glob",
        },
        "volume" => MountKindRequest::Volume {
            name: fields.source.filter(|name| !name.is_empty()),
            copy_up: !options.no_copy,
            chown: options.chown,
            subpath: fields.subpath.map(Bytes::from),
            driver_options: fields.driver_options,
            labels: fields.labels,
        },
        "tmpfs" | "ramfs" | "devpts" | "mqueue" if fields.source.is_some() => {
            return Err(MountSyntaxError::Foreign("src".to_owned(), named.to_owned()));
        }
        "tmpfs" | "ramfs" => {
            // As with --tmpfs: it begins with what the image has there, unless it is told not to.
            let copy_up = fields.copy_up.unwrap_or(named == "tmpfs");
            return Ok(tmpfs(target.into(), options, copy_up, named == "ramfs"));
        }
        "devpts" => MountKindRequest::Devpts { data: std::mem::take(&mut options.data) },
        "mqueue" => MountKindRequest::Mqueue,
        "image" => MountKindRequest::Image {
            reference: fields.source.ok_or_else(|| bad("an image mount needs a source"))?,
            subpath: fields.subpath.map(Bytes::from),
            writable: fields.writable,
        },
        other => return Err(MountSyntaxError::Kind(other.to_owned())),
    };
    Ok(options.request(kind, target.into()))
}

const TYPES: [&str; 8] = ["bind", "glob", "volume", "tmpfs", "ramfs", "devpts", "mqueue", "image"];

/// The types of mount that a key is for; `None` for what several have.
fn types_of(key: &str) -> Option<&'static [&'static str]> {
    Some(match key {
        "subpath" => &["volume", "image"],
        "image-subpath" => &["image"],
        "max" | "ptmxmode" => &["devpts"],
        "uid" | "gid" | "mode" => &["tmpfs", "ramfs", "devpts"],
        "tmpfs-mode" | "tmpcopyup" | "notmpcopyup" => &["tmpfs", "ramfs"],
        "tmpfs-size" | "size" | "nr_inodes" | "nr_blocks" | "huge" | "mpol" => &["tmpfs"],
        key if key.starts_with("volume-") || key == "nocopy" => &["volume"],
        key if key.starts_with("bind-") => &["bind", "glob"],
        _ => return None,
    })
}

/// Takes one `key[=value]` of `--mount`; false if it is not known.
fn take_field(fields: &mut Fields, key: &str, value: Option<&str>) -> bool {
    if let Some(truth) = value.map_or(Some(true), truth::parse)
        && take_switch(fields, key, truth)
    {
        return true;
    }
    let text = || value.map(str::to_owned);
    match (key, value) {
        ("type", Some(_)) => fields.kind = text(),
        ("source" | "src", Some(_)) => fields.source = text(),
        ("target" | "destination" | "dst", Some(_)) => fields.target = text(),
        ("bind-propagation", Some(value)) => return fields.options.take(value),
        ("bind-recursive", Some(value @ ("enabled" | "disabled" | "writable" | "readonly"))) => {
            fields.options.not_recursive = value == "disabled";
        }
        ("volume-subpath" | "image-subpath" | "subpath", Some(_)) => fields.subpath = text(),
        ("volume-opt", Some(value)) => fields.driver_options.push(value.to_owned()),
        ("volume-label", Some(value)) => fields.labels.push(value.to_owned()),
        ("volume-driver", Some("local" | "")) => {}
        ("idmap", Some(value)) => match value.parse::<bool>() {
            Ok(truth) => fields.options.idmap = truth.then(IdmapRequest::default),
            Err(_) => fields.options.take_idmap(value),
        },
        // `64mb` is docker's; the kernel's own forms (`10%`) are left to it.
        ("tmpfs-size", Some(value)) => fields.options.data.push(match size::parse(value) {
            Ok(bytes) => format!("size={bytes}"),
            Err(_) => format!("size={value}"),
        }),
        ("tmpfs-mode", Some(value)) => fields.options.data.push(format!("mode={value}")),
        ("relabel", Some("shared" | "private")) => {}
        ("consistency", Some(_)) => {}
        (key @ ("uid" | "gid" | "mode" | "max" | "ptmxmode"), Some(value)) => {
            fields.options.data.push(format!("{key}={value}"));
        }
        (key, Some(value)) if is_tmpfs_data(&format!("{key}={value}")) => {
            fields.options.data.push(format!("{key}={value}"));
        }
        (option, None) => return fields.options.take(option),
        _ => return false,
    }
    true
}

/// Takes a key that is true or false; false if it is none of them.
fn take_switch(fields: &mut Fields, key: &str, truth: bool) -> bool {
    match key {
        "readonly" | "ro" => fields.options.set_read_only(truth),
        "rw" | "readwrite" => {
            fields.options.set_read_only(!truth);
            fields.writable = truth;
        }
        "bind-nonrecursive" => fields.options.not_recursive = truth,
        "volume-nocopy" => fields.options.no_copy = truth,
        "tmpcopyup" => fields.copy_up = Some(truth),
        "notmpcopyup" => fields.copy_up = Some(!truth),
        "chown" | "U" => fields.options.chown = truth,
        _ => return false,
    }
    true
}

#[cfg(test)]
#[path = "mount_syntax_tests.rs"]
mod tests;
