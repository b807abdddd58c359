//! What manifests want of the machine itself.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use crate::kube::types::HostKind;

/// The processors and the memory of this machine.
pub(super) fn machine() -> (i128, i128) {
    let cpus = std::thread::available_parallelism().map_or(1, |number| number.get() as i128);
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).and_then(|rest| {
        let kib: i128 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    });
    (cpus, total.unwrap_or_default())
}

/// Sees that a path of the host is what it must be; some are made.
pub(super) fn host_path(path: &Path, kind: HostKind) -> io::Result<()> {
    let found = match std::fs::metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => match kind {
            HostKind::DirectoryOrCreate => {
                std::fs::create_dir_all(path)?;
                std::fs::metadata(path)?
            }
            HostKind::FileOrCreate => {
                File::create_new(path)?.set_permissions(std::fs::Permissions::from_mode(0o644))?;
                std::fs::metadata(path)?
            }
            _ => return Err(named(path, "no such file or directory")),
        },
        other => other.map_err(|err| named(path, &err.to_string()))?,
    };
    let of = found.file_type();
    let (fits, wanted) = match kind {
        HostKind::Any => (true, ""),
        HostKind::Directory | HostKind::DirectoryOrCreate => (of.is_dir(), "directory"),
        HostKind::File | HostKind::FileOrCreate => (of.is_file(), "file"),
        HostKind::Socket => (of.is_socket(), "socket"),
        HostKind::CharDevice => (of.is_char_device(), "character device"),
        HostKind::BlockDevice => (of.is_block_device(), "block device"),
    };
    if fits { Ok(()) } else { Err(named(path, &format!("it is no {wanted}"))) }
}

fn named(path: &Path, why: &str) -> io::Error {
    io::Error::other(format!("hostPath {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let (there, missing) = (dir.path().to_owned(), dir.path().join("no"));
        assert!(host_path(&there, HostKind::Any).is_ok());
        assert!(host_path(&there, HostKind::Directory).is_ok());
        for kind in [HostKind::File, HostKind::Socket, HostKind::CharDevice, HostKind::BlockDevice] {
            assert!(host_path(&there, kind).is_err(), "{kind:?}");
            assert!(host_path(&missing, kind).is_err(), "{kind:?}");
        }
        assert!(host_path(&missing, HostKind::Any).is_err());
        host_path(&dir.path().join("a/b"), HostKind::DirectoryOrCreate).unwrap();
        host_path(&dir.path().join("a/b/f"), HostKind::FileOrCreate).unwrap();
        assert!(dir.path().join("a/b/f").is_file());
        assert!(host_path(Path::new("/dev/null"), HostKind::CharDevice).is_ok());
    }
}
