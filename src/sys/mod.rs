//! Row 2: system calls. The only place for unsafe code: each block proves one call.

pub(crate) mod backtrace;
pub(crate) mod caps;
pub(crate) mod clone;
pub(crate) mod datagram;
pub(crate) mod failpoint;
pub(crate) mod fs;
pub(crate) mod inet;
pub(crate) mod inotify;
pub(crate) mod journal;
pub(crate) mod landlock;
pub(crate) mod memory;
pub(crate) mod mount;
pub(crate) mod namespace;
pub(crate) mod netdev;
pub(crate) mod netlink;
pub(crate) mod netns;
pub(crate) mod packet;
pub(crate) mod pidfd;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod rlimit;
pub(crate) mod seccomp;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod tty;
pub(crate) mod userns;
