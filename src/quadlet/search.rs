//! Where files of Quadlet are: directories in their order, files and drop-ins in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::base::order::InOrder as _;
use crate::quadlet::file::UnitFile;
use crate::quadlet::unit::{Kind, Source};

/// The administrator's directory, below the root.
const ADMIN: &str = "etc/containers/systemd";

/// How many directories below one that is searched count: a link to `/` has no end.
const MOST_DIRECTORIES: usize = 1024;

/// How deep they may lie.
const DEEPEST: usize = 32;

/// The longest file, in bytes.
const LONGEST: u64 = 1 << 20;

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
    within(Path::new("/"), places, user, log)
}

/// The same, with the system's directories below some root.
fn within(root: &Path, places: &Places, user: bool, log: &mut dyn FnMut(String)) -> Vec<PathBuf> {
    let admin = root.join(ADMIN);
    let users = admin.join("users");
    let users = fs::canonicalize(&users).unwrap_or(users);
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
        found.below(&users, &|path| !is_of_one_user(path, &users));
        found.below(&users.join(places.uid.to_string()), &|_| true);
    } else {
        for base in [root.join("run/containers/systemd"), admin, root.join("usr/share/containers/systemd")] {
            found.below(&base, &|path| !path.starts_with(&users));
        }
    }
    if let Some(path) = &found.left_out {
        log(format!(
            "{} is left out: at most {MOST_DIRECTORIES} directories are searched, {DEEPEST} within each other",
            path.display()
        ));
    }
    found.directories
}

/// Whether a path is in a directory of a single user: one of `users` that is named by a number.
fn is_of_one_user(path: &Path, users: &Path) -> bool {
    let inner = path.strip_prefix(users).ok().and_then(|inner| inner.components().next());
    let name = inner.and_then(|first| first.as_os_str().to_str());
    name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

#[derive(Default)]
struct Found {
    directories: Vec<PathBuf>,
    seen: BTreeSet<PathBuf>,
    /// The first one that was too many or too deep.
    left_out: Option<PathBuf>,
}

impl Found {
    /// A directory and those in it that are wanted, links followed, each one once.
    fn below(&mut self, start: &Path, wanted: &dyn Fn(&Path) -> bool) {
        self.descend(start, 0, self.directories.len() + MOST_DIRECTORIES, wanted);
    }

    fn descend(&mut self, path: &Path, depth: usize, most: usize, wanted: &dyn Fn(&Path) -> bool) {
        // One that is not there is named in messages all the same.
        let resolved = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        // A link is refused for its own name as well as for what it leads to.
        if !wanted(path) || !wanted(&resolved) || self.seen.contains(&resolved) {
            return;
        }
        if depth > DEEPEST || self.directories.len() >= most {
            self.left_out.get_or_insert(resolved);
            return;
        }
        self.seen.insert(resolved.clone());
        self.directories.push(resolved.clone());
        for name in names(&resolved) {
            let inner = resolved.join(name);
            if fs::metadata(&inner).is_ok_and(|found| found.is_dir()) {
                self.descend(&inner, depth + 1, most, wanted);
            }
        }
    }
}

/// The names in a directory, sorted. One that cannot be read has none.
fn names(directory: &Path) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.order();
    names
}

/// The files in these directories. Of several with one name the first that can be read counts. What cannot be
/// read is told of as a failure.
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
            if seen.contains(&name) {
                continue;
            }
            log(format!("Loading source unit file {}", path.display()));
            match read(&path) {
                Ok(file) => {
                    seen.insert(name.clone());
                    sources.push(Source { kind, name, path, file });
                }
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
    let failed =
        |doing: &str, err: &io::Error| format!("error loading \"{shown}\", {doing} {shown}: {}", reason(err));
    // A FIFO in its place holds nobody up.
    let mut options = fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(path).map_err(|err| failed("open", &err))?;
    let bytes = content(&file).map_err(|err| failed("read", &err))?;
    UnitFile::parse(&bytes).map_err(|err| format!("error loading \"{shown}\", {err}"))
}

/// What is in a regular file. The null device is an empty one: a link to it hides a file of the same name.
fn content(file: &fs::File) -> io::Result<Vec<u8>> {
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let is_null = found.file_type().is_char_device() && found.rdev() == rustix::fs::makedev(1, 3);
    if !found.is_file() && !is_null {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other("it is longer than 1048576 bytes"));
    }
    Ok(bytes)
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
    use std::os::unix::fs::symlink;

    use super::*;

    /// A root with these directories and links, and what is searched for root and for user 1000, without the
    /// root's own path.
    fn searched(directories: &[impl AsRef<Path>], links: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let root = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(root.path()).unwrap();
        for directory in directories {
            fs::create_dir_all(top.join(directory)).unwrap();
        }
        for (path, target) in links {
            fs::create_dir_all(top.join(path).parent().unwrap()).unwrap();
            symlink(target, top.join(path)).unwrap();
        }
        let of = |user| {
            let places = Places { uid: 1000, ..Places::default() };
            let found = within(&top, &places, user, &mut |words| panic!("{words}"));
            let found = found.iter().filter(|path| path.exists());
            found.map(|path| path.strip_prefix(&top).unwrap().display().to_string()).collect()
        };
        (of(false), of(true))
    }

    #[test]
    fn users_directories_are_not_those_of_root_nor_of_other_users() {
        let inner = ["users/1000/a", "users/1001/b", "users/all", "own"];
        let admin = "etc/containers/systemd";
        let plain = inner.map(|path| format!("{admin}/{path}"));
        let under = |top: &str, names: &[&str]| -> Vec<String> {
            names.iter().map(|name| format!("{top}{name}")).collect()
        };
        let of_user = ["/users", "/users/all", "/users/1000", "/users/1000/a"];

        let (root, user) = searched(&plain, &[]);
        assert_eq!((root, user), (under(admin, &["", "/own"]), under(admin, &of_user)));

        // All of it is elsewhere.
        let elsewhere = inner.map(|path| format!("srv/{path}"));
        let (root, user) = searched(&elsewhere, &[(admin, "../../srv")]);
        assert_eq!((root, user), (under("srv", &["", "/own"]), under("srv", &of_user)));

        // Another name for the users' directory, and for one in it.
        let link = format!("{admin}/link");
        for target in ["users", "users/1001", "users/all"] {
            let (root, _) = searched(&plain, &[(&link, target)]);
            assert_eq!(root, under(admin, &["", "/own"]), "{target}");
        }
        let link = format!("{admin}/users/link");
        let (_, user) = searched(&plain, &[(&link, "1001/b")]);
        assert_eq!(user, under(admin, &of_user));

        // The users' directory is elsewhere, or that of one user.
        let srv = ["etc/containers/systemd/own", "etc/containers/srv/1000", "etc/containers/srv/1001"];
        let (root, user) = searched(&srv, &[("etc/containers/systemd/users", "../srv")]);
        assert_eq!(root, under(admin, &["", "/own"]));
        assert_eq!(user, ["etc/containers/srv", "etc/containers/srv/1000"]);
        let link = format!("{admin}/users/1001");
        let (_, user) =
            searched(&["srv/1001", "etc/containers/systemd/users/1000"], &[(&link, "../../../../srv/1001")]);
        assert_eq!(user, under(admin, &["/users", "/users/1000"]));
    }

    #[test]
    fn directories_have_an_end() {
        let root = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(root.path()).unwrap();
        let deep = "d/".repeat(DEEPEST + 2);
        fs::create_dir_all(top.join("deep").join(deep)).unwrap();
        for number in 0..=MOST_DIRECTORIES {
            fs::create_dir_all(top.join(format!("wide/{number}"))).unwrap();
        }
        fs::create_dir_all(top.join("other")).unwrap();
        let count = |names: &[&str]| {
            let only = names.iter().map(|name| top.join(name)).collect();
            let mut told = Vec::new();
            let places = Places { only, ..Places::default() };
            let found = directories(&places, true, &mut |words| told.push(words));
            (found.len(), told.len())
        };
        assert_eq!(count(&["deep"]), (DEEPEST + 1, 1));
        assert_eq!(count(&["wide", "other"]), (MOST_DIRECTORIES + 1, 1));
        assert_eq!(count(&["other"]), (1, 0));
    }

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
