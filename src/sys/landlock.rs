//! Landlock: a process takes rights to files away from itself, for ever.
//!
//! # Source
//!
//! Linux `Documentation/userspace-api/landlock.rst`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Rights of version 2 of the interface, which is the first that can allow links between directories.
const FILE_RIGHTS_2: u64 = (1 << 14) - 1;
/// Version 3 adds truncating, version 5 calls to devices.
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEVICE: u64 = 1 << 15;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
/// Version 4: binding and connecting TCP sockets.
const TCP: u64 = 3;
/// Version 6: abstract sockets and signals out of the domain.
const SCOPED: u64 = 3;

const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;

/// `struct landlock_ruleset_attr`, whose length tells the kernel which of it is meant.
#[repr(C)]
struct RulesetAttr {
    handled_fs: u64,
    handled_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// Leaves this thread and those it starts with the right to read and write below the directories
/// `writable` and to read below `readable`, and no others. Open descriptors stay usable.
///
/// The thread has no_new_privs. Returns false, and changes nothing, where the kernel has no Landlock
/// that can do this (before 5.19, or switched off).
pub(crate) fn restrict(writable: &[BorrowedFd<'_>], readable: &[BorrowedFd<'_>]) -> io::Result<bool> {
    confine(writable, readable, TCP)
}

/// As [`restrict`], for a thread that goes on making connections.
pub(crate) fn restrict_files(writable: &[BorrowedFd<'_>], readable: &[BorrowedFd<'_>]) -> io::Result<bool> {
    confine(writable, readable, 0)
}

fn confine(writable: &[BorrowedFd<'_>], readable: &[BorrowedFd<'_>], handled_net: u64) -> io::Result<bool> {
    let version = version();
    if version < 2 {
        return Ok(false);
    }
    let mut all = FILE_RIGHTS_2;
    if version >= 3 {
        all |= TRUNCATE;
    }
    if version >= 5 {
        all |= IOCTL_DEVICE;
    }
    let attr = RulesetAttr { handled_fs: all, handled_net, scoped: SCOPED };
    let length = match version {
        2 | 3 => 8_usize,
        4 | 5 => 16,
        _ => 24,
    };
    // SAFETY: the kernel reads the first `length` bytes of `attr`, which has 24 and lives until then.
    let ret = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, length, 0) };
    let number = i32::try_from(checked(ret)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor; nothing else owns it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(number) };
    for dir in writable {
        allow(&ruleset, *dir, all)?;
    }
    for dir in readable {
        allow(&ruleset, *dir, READ_FILE | READ_DIR)?;
    }
    // SAFETY: a descriptor that `ruleset` keeps open, and a number.
    let ret = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    checked(ret).map(|_| true)
}

/// The version of the interface; 0 or less if there is none.
fn version() -> i64 {
    let nothing: *const RulesetAttr = std::ptr::null();
    // SAFETY: with this flag the kernel reads no structure.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, CREATE_RULESET_VERSION) }
}

fn allow(ruleset: &OwnedFd, dir: BorrowedFd<'_>, allowed: u64) -> io::Result<()> {
    let rule = PathBeneath { allowed, parent: dir.as_raw_fd() };
    let (ruleset, rule) = (ruleset.as_raw_fd(), &raw const rule);
    // SAFETY: the kernel reads `rule`, which has the layout it knows and lives until the call returns.
    let ret = unsafe { libc::syscall(libc::SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, rule, 0) };
    checked(ret).map(drop)
}

fn checked(ret: libc::c_long) -> io::Result<libc::c_long> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs;
    use std::os::fd::AsFd as _;

    #[test]
    fn a_restricted_thread_writes_only_where_it_may() {
        let base = tempfile::tempdir().unwrap();
        for name in ["write", "read", "none"] {
            std::fs::create_dir(base.path().join(name)).unwrap();
            std::fs::write(base.path().join(name).join("old"), "x").unwrap();
        }
        let path = base.path().to_owned();
        // Landlock holds for the thread, so that the other tests go on as before.
        let tried = std::thread::spawn(move || {
            let open = |name: &str| fs::open_base(&path.join(name)).unwrap();
            let (write, read) = (open("write"), open("read"));
            rustix::thread::set_no_new_privs(true).unwrap();
            let is_on = restrict(&[write.as_fd()], &[read.as_fd()]).unwrap();
            let writes = ["write", "read", "none"]
                .map(|name| std::fs::write(path.join(name).join("new"), "x").is_ok());
            let reads =
                ["write", "read", "none"].map(|name| std::fs::read(path.join(name).join("old")).is_ok());
            let up = fs::open_at(&write, "..", fs::OFlags::RDONLY, 0).is_ok();
            (is_on, writes, reads, up)
        });
        let (is_on, writes, reads, up) = tried.join().unwrap();
        let want = if is_on {
            ([true, false, false], [true, true, false], false)
        } else {
            ([true, true, true], [true, true, true], true)
        };
        assert_eq!((writes, reads, up), want);
    }
}
