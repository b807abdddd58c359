//! seccomp: installing a filter of system calls.

use nix::errno::Errno;

/// One instruction of classic BPF, laid out as the kernel reads it (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct BpfInsn {
    /// What to do: an operation, an addressing mode and a width.
    pub(crate) code: u16,
    /// How many instructions to skip where a comparison holds.
    pub(crate) jt: u8,
    /// How many to skip where it does not.
    pub(crate) jf: u8,
    /// The operand.
    pub(crate) k: u32,
}

/// The longest program the kernel takes (`BPF_MAXINSNS`).
pub(crate) const MAX_INSTRUCTIONS: usize = 4096;

/// Confines the calling thread, for ever and with all it will execute, by `filter`. An empty program
/// is no filter, and success.
///
/// Wraps `seccomp(2)` with `SECCOMP_SET_MODE_FILTER`. The caller needs CAP_SYS_ADMIN in its user
/// namespace or `no_new_privs`. From here on the filter judges the caller's own calls as well, so this
/// comes last before `execve`.
///
/// # Errors
///
/// EACCES without either right, EINVAL for a malformed program or one that is too long.
pub(crate) fn load(filter: &[BpfInsn]) -> Result<(), Errno> {
    if filter.is_empty() {
        return Ok(());
    }
    let len = libc::c_ushort::try_from(filter.len()).map_err(|_| Errno::EINVAL)?;
    // The kernel only reads the instructions, though the C type says otherwise.
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut().cast() };
    // SAFETY: `program` points at `len` instructions in the kernel's layout (`repr(C)` above); both
    // live until the call returns, and the kernel copies them.
    let ret =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    Errno::result(ret).map(drop)
}
