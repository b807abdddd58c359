//! The tree of cgroup v2: where it is mounted, where this process is in it, and how much of it is the user's.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::cgroup::{Result, io_error};

/// Where a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where the tree is mounted.
    pub(crate) mount: PathBuf,
    /// The process's cgroup: a path below `mount`, absolute.
    pub(crate) path: PathBuf,
}

/// The mount points at which cgroup v2 is found: alone, and beside version 1.
pub(crate) const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Where cgroup v2 is mounted.
pub(crate) fn mount_point() -> Option<PathBuf> {
    const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
    let is_tree =
        |path: &&str| rustix::fs::statfs(*path).is_ok_and(|found| found.f_type == CGROUP2_SUPER_MAGIC);
    MOUNTS.into_iter().find(is_tree).map(PathBuf::from)
}

/// The place of process `pid` ("self" for this one), if it can be seen.
pub(crate) fn place_of(pid: &str) -> Option<Place> {
    let text = std::fs::read(format!("/proc/{pid}/cgroup")).ok()?;
    Some(Place { mount: mount_point()?, path: parse_own(&text)? })
}

/// The path of the line `0::/…` of /proc/PID/cgroup; `None` if it lies outside what we see.
fn parse_own(text: &[u8]) -> Option<PathBuf> {
    let path = text.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"0::"))?;
    let path = Path::new(OsStr::from_bytes(path));
    let deleted = path.as_os_str().as_bytes().ends_with(b" (deleted)");
    (path.is_absolute() && !deleted && !path.iter().any(|part| part == "..")).then(|| path.to_owned())
}

impl Place {
    /// The directory of the process's cgroup.
    pub(crate) fn directory(&self) -> PathBuf {
        below(&self.mount, &self.path)
    }

    /// The highest cgroup at or above this one that belongs to the caller: processes can be moved between
    /// any two cgroups below it.
    pub(crate) fn own_tree(&self) -> Option<PathBuf> {
        let mut found = None;
        let mut directory = self.directory();
        while directory.starts_with(&self.mount) && is_own(&directory) {
            found = Some(directory.clone());
            if !directory.pop() {
                break;
            }
        }
        found
    }
}

/// `path`, absolute within the tree, as a path of the file system.
pub(crate) fn below(mount: &Path, path: &Path) -> PathBuf {
    mount.join(path.strip_prefix("/").unwrap_or(path))
}

/// May the caller make cgroups in `directory`, and move processes there?
pub(crate) fn is_own(directory: &Path) -> bool {
    [directory.to_owned(), directory.join("cgroup.procs")].iter().all(|path| may_write(path))
}

fn may_write(path: &Path) -> bool {
    rustix::fs::accessat(rustix::fs::CWD, path, Access::WRITE_OK, rustix::fs::AtFlags::EACCESS).is_ok()
}

/// The words of a file like `cgroup.controllers`.
pub(crate) fn words(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Writes an existing file: nothing can be created in this file system, and open(2) with O_CREAT would
/// answer "permission denied" for a file that the kernel does not have.
pub(crate) fn write_file(directory: &Path, file: &str, value: &str) -> io::Result<()> {
    use io::Write as _;
    let path = directory.join(file);
    std::fs::OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

/// The processes directly in `directory`.
pub(crate) fn processes(directory: &Path) -> Vec<i32> {
    words(&directory.join("cgroup.procs")).iter().filter_map(|word| word.parse().ok()).collect()
}

/// Makes the directory of a cgroup; that it is there is no failure.
pub(crate) fn make(directory: &Path) -> Result<()> {
    match std::fs::create_dir(directory) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => {
            Err(io_error("make the cgroup", directory)(err))
        }
        _ => Ok(()),
    }
}

/// Moves a process into a cgroup; 0 is the caller.
pub(crate) fn move_into(directory: &Path, pid: i32) -> io::Result<()> {
    std::fs::write(directory.join("cgroup.procs"), pid.to_string())
}

/// Lets the children of `directory` use every controller that it has itself, as far as the kernel agrees.
pub(crate) fn enable_controllers(directory: &Path) {
    let file = directory.join("cgroup.subtree_control");
    let (has, enabled) = (words(&directory.join("cgroup.controllers")), words(&file));
    let missing: Vec<String> =
        has.iter().filter(|name| !enabled.contains(name)).map(|name| format!("+{name}")).collect();
    if missing.is_empty() || std::fs::write(&file, missing.join(" ")).is_ok() {
        return;
    }
    // One that cannot be enabled (real-time processes keep "cpu" off) must not spare the others.
    for name in missing {
        std::fs::write(&file, name).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_line() {
        for (text, want) in [
            (&b"0::/user.slice/a b\n"[..], Some("/user.slice/a b")),
            (b"9:name=systemd:/\n8:pids:/x\n0::/\n", Some("/")),
            (b"8:pids:/x\n", None),
            (b"0::/../../outside\n", None),
            (b"0::/gone (deleted)\n", None),
            (b"", None),
        ] {
            assert_eq!(parse_own(text), want.map(PathBuf::from), "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn paths_below_the_mount() {
        assert_eq!(below(Path::new("/m"), Path::new("/")), Path::new("/m/"));
        assert_eq!(below(Path::new("/m"), Path::new("/a/b")), Path::new("/m/a/b"));
    }
}
