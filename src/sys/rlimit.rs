//! Resource limits, by the kernel's numbers.

use nix::errno::Errno;

/// Soft and hard limit of this process; `u64::MAX` is unlimited.
pub(crate) fn get(resource: u32) -> Result<(u64, u64), Errno> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one `rlimit`, which lives until the call returns.
    let ret = unsafe { libc::getrlimit(resource, &raw mut limit) };
    Errno::result(ret).map(|_| (limit.rlim_cur, limit.rlim_max))
}

/// Sets soft and hard limit of this process. Only CAP_SYS_RESOURCE in the initial user namespace can
/// raise a hard limit (EPERM).
pub(crate) fn set(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel reads one `rlimit`, which lives until the call returns.
    let ret = unsafe { libc::setrlimit(resource, &raw const limit) };
    Errno::result(ret).map(drop)
}

/// Raises the soft limit of open files to the hard one.
pub(crate) fn raise_open_files() -> Result<(), Errno> {
    let (_, hard) = get(libc::RLIMIT_NOFILE)?;
    set(libc::RLIMIT_NOFILE, hard, hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_what_it_reads() {
        let (soft, hard) = get(libc::RLIMIT_CORE).unwrap();
        assert!(soft <= hard);
        assert_eq!(set(libc::RLIMIT_CORE, soft, hard), Ok(()));
        assert_eq!(set(libc::RLIMIT_CORE, 2, 1), Err(Errno::EINVAL));
    }
}
