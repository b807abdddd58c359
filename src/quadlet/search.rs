//! Where files of Quadlet are: directories in their order, files and drop-ins in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::quadlet::file::UnitFile;
use crate::quadlet::unit::{Kind, Source};

/// The administrator's directory.
const ADMIN: &str = "/etc/containers/systemd";

/// What the environment says of directories.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// `QUADLET_UNIT_DIRS`, which stands for all others.
    pub(crate) only: Vec<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub(crate) runtime: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`, or `~/.config`.
    pub(crate) config: Option<PathBuf>,
    /// The user's ID.
    pub(crate) uid: u32,
}

/// All directories below those where a user's files are, or root's: what stands first counts.
/// Paths that are not absolute are told of.
pub(crate) fn directories(places: &Places, user: bool, log: &mut dyn FnMut(String)) -> Vec<PathBuf> {
    let mut found = Found::default();
    if !places.only.is_empty() {
        for path in &places.only {
            match path.is_absolute() {
                true => found.below(path, &|_| true),
                false => log(format!("{} not a valid file path", path.display())),
            }
        }
    } else if user {
        for base in [&places.runtime, &places.config].into_iter().flatten() {
            found.below(&base.join("containers/systemd"), &|_| true);
        }
        let users = Path::new(ADMIN).join("users");
        // Directories named by a number are those of single users.
        found.below(&users, &|path| {
            let of_one = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
            path.parent() != Some(&users)
                || !path.file_name().is_some_and(|name| name.to_str().is_some_and(of_one))
        });
        found.below(&users.join(places.uid.to_string()), &|_| true);
    } else {
        let users = Path::new(ADMIN).join("users");
        for base in ["/run/containers/systemd", ADMIN, "/usr/share/containers/systemd"] {
            found.below(Path::new(base), &|path| path != users);
        }
    }
    found.directories
}

#[derive(Default)]
struct Found {
    directories: Vec<PathBuf>,
    seen: BTreeSet<PathBuf>,
}

impl Found {
    /// A directory and those in it that are wanted, links followed, each one once.
    fn below(&mut self, path: &Path, wanted: &dyn Fn(&Path) -> bool) {
        // One that is not there is named in messages all the same.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if !self.seen.insert(path.clone()) {
            return;
        }
        self.directories.push(path.clone());
        for name in names(&path) {
            let inner = path.join(name);
            if wanted(&inner) && fs::metadata(&inner).is_ok_and(|found| found.is_dir()) {
                self.below(&inner, wanted);
            }
        }
    }
}

/// The names in a directory, sorted. One that cannot be read has none.
fn names(directory: &Path) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort();
    names
}

/// The files in these directories. Of several with one name the first counts. What cannot be read is told
/// of as a failure.
pub(crate) fn sources(
    directories: &[PathBuf],
    log: &mut dyn FnMut(String),
    failed: &mut Vec<String>,
) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut seen = BTreeSet::new();
    for directory in directories {
        for name in names(directory) {
            let path = directory.join(&name);
            let Some(name) = name.to_str().map(str::to_owned) else { continue };
            let Some(kind) = Kind::of(&name) else { continue };
            if !seen.insert(name.clone()) {
                continue;
            }
            log(format!("Loading source unit file {}", path.display()));
            match read(&path) {
                Ok(file) => sources.push(Source { kind, name, path, file }),
                Err(words) => failed.push(words),
            }
        }
    }
    for source in &mut sources {
        for path in drop_ins(source, directories) {
            log(format!("Loading source drop-in file {}", path.display()));
            match read(&path) {
                Ok(file) => source.file.merge(&file),
                Err(words) => failed.push(words),
            }
        }
    }
    sources
}

/// One file, or what is wrong with it.
fn read(path: &Path) -> Result<UnitFile, String> {
    let shown = path.display();
    let bytes = fs::read(path).map_err(|err| {
        let doing = if err.kind() == io::ErrorKind::IsADirectory { "read" } else { "open" };
        format!("error loading \"{shown}\", {doing} {shown}: {}", reason(&err))
    })?;
    UnitFile::parse(&bytes).map_err(|err| format!("error loading \"{shown}\", {err}"))
}

/// The words of the system for a failure.
pub(crate) fn reason(err: &io::Error) -> String {
    let text = err.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// The files that are appended to one, in their order: of those with one name the most particular counts.
fn drop_ins(source: &Source, directories: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = BTreeMap::new();
    for directory in directories {
        for inner in drop_in_directories(source.stem(), source.kind) {
            let inner = directory.join(inner);
            for name in names(&inner) {
                if Path::new(&name).extension().is_some_and(|ending| ending == "conf") {
                    found.entry(name.clone()).or_insert_with(|| inner.join(&name));
                }
            }
        }
    }
    found.into_values().collect()
}

/// The directories of drop-ins of a file, the most particular first.
fn drop_in_directories(stem: &str, kind: Kind) -> Vec<String> {
    let ending = kind.ending();
    let mut names = vec![format!("{stem}.{ending}.d")];
    let (prefix, instance) = stem.split_once('@').map_or((stem, None), |(prefix, rest)| (prefix, Some(rest)));
    if instance.is_some_and(|instance| !instance.is_empty()) {
        names.push(format!("{prefix}@.{ending}.d"));
    }
    let cuts = stem.match_indices('-').map(|(at, _)| &stem[..=at]).filter(|cut| *cut != stem);
    let mut cuts: Vec<_> = cuts.map(|cut| format!("{cut}.{ending}.d")).collect();
    cuts.reverse();
    names.extend(cuts);
    names.push(format!("{ending}.d"));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_drop_ins() {
        let of = |stem| drop_in_directories(stem, Kind::Container);
        assert_eq!(of("a"), ["a.container.d", "container.d"]);
        let foo = ["foo-bar-baz.container.d", "foo-bar-.container.d", "foo-.container.d", "container.d"];
        assert_eq!(of("foo-bar-baz"), foo);
        assert_eq!(of("a@i"), ["a@i.container.d", "a@.container.d", "container.d"]);
        assert_eq!(of("a@"), ["a@.container.d", "container.d"]);
    }
}
