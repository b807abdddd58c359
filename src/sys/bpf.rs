//! Extended BPF: the kernel asks a program before a process of a control group opens or makes a device.
//!
//! # Source
//!
//! bpf(2), Linux `include/uapi/linux/bpf.h`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One instruction, laid out as the kernel reads it (`struct bpf_insn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    pub(crate) code: u8,
    /// The source's number in the upper half, the target's in the lower one.
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) immediate: i32,
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// Programs of cgroups above and below are asked as well, and all have to agree.
const ALLOW_MULTI: u32 = 2;

/// The part of `union bpf_attr` that is for loading. What follows is zero to the kernel.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
}

/// The part for attaching.
#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Loads a program that is asked about devices: it answers 1 if they may be used and 0 if not. It stays as long as the
/// descriptor does, or a cgroup that it is attached to.
///
/// # Errors
///
/// EPERM without CAP_BPF and CAP_NET_ADMIN in the initial user namespace; before Linux 5.11 also where it is more memory
/// than RLIMIT_MEMLOCK lets the user lock. EINVAL for a program that the kernel does not understand, or without cgroup v2.
pub(crate) fn load_device_program(program: &[Instruction]) -> io::Result<OwnedFd> {
    let insn_cnt = u32::try_from(program.len()).map_err(io::Error::other)?;
    let attr = LoadAttr {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt,
        insns: program.as_ptr() as u64,
        // It calls none of the kernel's functions; the kernel wants to be told all the same.
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
    };
    // SAFETY: the kernel reads `attr`, whose size is given, and through it `insn_cnt` instructions in its own layout
    // (`repr(C)` above) and a text that ends in NUL; all of them live until the call returns, and it keeps copies.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attr, size_of::<LoadAttr>()) };
    let number = i32::try_from(checked(ret)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, close-on-exec; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Has `program` asked about each device that a process of `cgroup`, or of one below it, opens or makes.
///
/// # Errors
///
/// EPERM as for loading; EBADF for what is no cgroup of version 2.
pub(crate) fn attach_device_program(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>) -> io::Result<()> {
    let attr = AttachAttr {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_bpf_fd: program.as_raw_fd().cast_unsigned(),
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI,
    };
    // SAFETY: the kernel reads `attr`, whose size is given and which lives until the call returns; the descriptors in it are
    // borrowed for that long.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attr, size_of::<AttachAttr>()) };
    checked(ret).map(drop)
}

fn checked(ret: libc::c_long) -> io::Result<libc::c_long> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}
