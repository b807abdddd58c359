//! ketch's own profile: what a container may call unless told otherwise.
//!
//! Podman 5.4.2's decisions, and a little less: a call that the profile does not know fails with ENOSYS, so that
//! C libraries fall back to an older one; a call that is known and refused fails with EPERM. Beyond podman:
//!
//! - `ioctl(TIOCSTI)` and `ioctl(TIOCLINUX)` fail: they type into the terminal of whoever watches;
//! - sockets of the families vsock (past every network namespace, to the hypervisor) and alg (kernel
//!   cryptography, many past holes) do not exist;
//! - `modify_ldt` is refused to 32-bit programs;
//! - the x32 ABI does not exist; podman filters it like x86-64;
//! - arguments that the kernel takes as 32-bit numbers are compared as such, so that garbage in the upper half of
//!   a register gets nothing past a rule.
//!
//! What it cannot see: a 32-bit program that makes its sockets through `socketcall`, whose arguments are in memory.

use crate::base::caps;
use crate::runtime::seccomp::calls::{Call, known};
use crate::runtime::seccomp::rules::{Abi, Abis, Action, Condition, Rule, Rules};

/// The rules for a container that has the capabilities `caps`, on a machine with these ABIs.
pub(crate) fn rules(abis: Abis, caps: u64) -> Rules {
    let mut rules = Vec::with_capacity(500);
    rules.extend(exceptions(caps));
    rules.extend(ALLOWED.into_iter().flatten().map(|call| always(call, Action::Allow)));
    rules.extend(REFUSED.iter().map(|call| always(call, EPERM)));
    for (needed, calls) in GUARDED {
        let action = if caps & needed == 0 { EPERM } else { Action::Allow };
        rules.extend(calls.iter().map(|call| always(call, action)));
    }
    let without_x32 = Abis::of(&[Abi::X86_64, Abi::I386, Abi::Aarch64, Abi::Arm]);
    Rules { default: ENOSYS, abis: abis.and(without_x32), foreign: ENOSYS, rules }
}

const ENOSYS: Action = errno(libc::ENOSYS);
const EPERM: Action = errno(libc::EPERM);

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "error numbers are 1 to 133")]
const fn errno(number: i32) -> Action {
    Action::Errno(number as u16)
}

fn always(call: &'static Call, action: Action) -> Rule {
    when(call, action, Vec::new())
}

fn when(call: &'static Call, action: Action, conditions: Vec<Condition>) -> Rule {
    Rule { call, abis: Abis::ALL, action, conditions }
}

/// The calls that are judged by their arguments.
static BY_ARGUMENT: [&Call; 4] = known(["ioctl", "modify_ldt", "personality", "socket"]);

fn exceptions(caps: u64) -> Vec<Rule> {
    let [ioctl, modify_ldt, personality, socket] = BY_ARGUMENT;
    let mut rules = vec![Rule { abis: Abis::of(&[Abi::I386]), ..always(modify_ldt, EPERM) }];
    for request in [TIOCSTI, TIOCLINUX] {
        rules.push(when(ioctl, EPERM, vec![Condition::int(1, request)]));
    }
    for persona in PERSONALITIES {
        rules.push(when(personality, Action::Allow, vec![Condition::int(0, persona)]));
    }
    rules.extend(sockets(socket, caps));
    rules
}

/// `socket(2)`: all but two families, and the audit protocol only for who may write audit records.
fn sockets(socket: &'static Call, caps: u64) -> Vec<Rule> {
    let no_family = errno(libc::EAFNOSUPPORT);
    let mut rules: Vec<Rule> =
        [AF_ALG, AF_VSOCK].map(|family| when(socket, no_family, vec![Condition::int(0, family)])).into();
    if caps & caps::AUDIT_WRITE == 0 {
        // EINVAL is what programs expect of a kernel without auditing; EPERM makes sudo and sshd give up.
        let audit = vec![Condition::int(0, AF_NETLINK), Condition::int(2, NETLINK_AUDIT)];
        rules.push(when(socket, errno(libc::EINVAL), audit));
    }
    rules.push(always(socket, Action::Allow));
    rules
}

/// Types a character into a terminal (`asm-generic/ioctls.h`).
const TIOCSTI: u32 = 0x5412;
/// Selects and pastes on a virtual console, which types as well (`ioctl_console(2)`).
const TIOCLINUX: u32 = 0x541c;
const AF_NETLINK: u32 = 16;
const NETLINK_AUDIT: u32 = 9;
const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;

/// Linux, Linux of 32 bits, both with `UNAME26`, and the question which one it is.
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// What every container may call, by subject.
static ALLOWED: [&[&Call]; 12] =
    [FILES, PROCESSES, IDENTITY, MEMORY, SIGNALS, SOCKETS, POLLING, TIME, SCHEDULING, IPC, MOUNTS, SYSTEM];

/// Files, directories, attributes, pipes.
#[rustfmt::skip]
static FILES: &[&Call] = &known([
    "_llseek", "access", "arm_fadvise64_64", "arm_sync_file_range", "chdir", "chmod", "chown", "chown32",
    "close", "close_range", "copy_file_range", "creat", "dup", "dup2", "dup3", "faccessat", "faccessat2",
    "fadvise64", "fadvise64_64", "fallocate", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown",
    "fchown32", "fchownat", "fcntl", "fcntl64", "fdatasync", "fgetxattr", "flistxattr", "flock",
    "fremovexattr", "fsetxattr", "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64", "fsync",
    "ftruncate", "ftruncate64", "futimesat", "getcwd", "getdents", "getdents64", "getxattr", "ioctl",
    "lchown", "lchown32", "lgetxattr", "link", "linkat", "listxattr", "llistxattr", "lremovexattr", "lseek",
    "lsetxattr", "lstat", "lstat64", "mkdir", "mkdirat", "mknod", "mknodat", "name_to_handle_at",
    "newfstatat", "open", "openat", "openat2", "pipe", "pipe2", "pread64", "preadv", "preadv2", "pwrite64",
    "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "removexattr", "rename",
    "renameat", "renameat2", "rmdir", "sendfile", "sendfile64", "setxattr", "splice", "stat", "stat64",
    "statfs", "statfs64", "statx", "symlink", "symlinkat", "sync_file_range", "sync_file_range2", "syncfs",
    "tee", "truncate", "truncate64", "umask", "unlink", "unlinkat", "utime", "utimensat",
    "utimensat_time64", "utimes", "write", "writev",
]);

/// Processes and what they may know of each other.
#[rustfmt::skip]
static PROCESSES: &[&Call] = &known([
    "arch_prctl", "breakpoint", "cacheflush", "clone", "clone3", "execve", "execveat", "exit", "exit_group",
    "fork", "get_thread_area", "getpgid", "getpgrp", "getpid", "getppid", "getrlimit", "getrusage",
    "getsid", "gettid", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self",
    "modify_ldt", "pidfd_getfd", "pidfd_open", "prctl", "prlimit64", "process_vm_readv",
    "process_vm_writev", "ptrace", "restart_syscall", "seccomp", "set_thread_area", "set_tid_address",
    "set_tls", "setpgid", "setrlimit", "setsid", "ugetrlimit", "vfork", "wait4", "waitid", "waitpid",
]);

/// Users, groups, capabilities.
#[rustfmt::skip]
static IDENTITY: &[&Call] = &known([
    "capget", "capset", "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups",
    "getgroups32", "getresgid", "getresgid32", "getresuid", "getresuid32", "getuid", "getuid32", "setfsgid",
    "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups", "setgroups32", "setregid",
    "setregid32", "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid", "setreuid32",
    "setuid", "setuid32",
]);

/// Memory.
#[rustfmt::skip]
static MEMORY: &[&Call] = &known([
    "brk", "madvise", "memfd_create", "memfd_secret", "mincore", "mlock", "mlock2", "mlockall", "mmap",
    "mmap2", "mprotect", "mremap", "msync", "munlock", "munlockall", "munmap", "pkey_alloc", "pkey_free",
    "pkey_mprotect", "process_mrelease", "remap_file_pages",
]);

/// Signals.
#[rustfmt::skip]
static SIGNALS: &[&Call] = &known([
    "kill", "pause", "pidfd_send_signal", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
    "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64",
    "rt_tgsigqueueinfo", "sigaltstack", "signal", "signalfd", "signalfd4", "sigprocmask", "sigreturn",
    "tgkill", "tkill",
]);

/// Sockets but for making one, which [`sockets`] rules.
#[rustfmt::skip]
static SOCKETS: &[&Call] = &known([
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recv",
    "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg", "send", "sendmmsg", "sendmsg", "sendto",
    "setsockopt", "shutdown", "socketcall", "socketpair",
]);

/// Waiting for several things; asynchronous I/O but not io_uring.
#[rustfmt::skip]
static POLLING: &[&Call] = &known([
    "_newselect", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait",
    "epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "fanotify_mark",
    "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy",
    "io_getevents", "io_setup", "io_submit", "poll", "ppoll", "ppoll_time64", "pselect6", "pselect6_time64",
    "select",
]);

/// Clocks and timers; setting a clock needs a capability anyway.
#[rustfmt::skip]
static TIME: &[&Call] = &known([
    "adjtimex", "alarm", "clock_adjtime", "clock_adjtime64", "clock_getres", "clock_getres_time64",
    "clock_gettime", "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "getitimer",
    "gettimeofday", "nanosleep", "setitimer", "time", "timer_create", "timer_delete", "timer_getoverrun",
    "timer_gettime", "timer_gettime64", "timer_settime", "timer_settime64", "timerfd_create",
    "timerfd_gettime", "timerfd_gettime64", "timerfd_settime", "timerfd_settime64", "times",
]);

/// Scheduling, priorities, NUMA.
#[rustfmt::skip]
static SCHEDULING: &[&Call] = &known([
    "get_mempolicy", "getcpu", "getpriority", "ioprio_get", "ioprio_set", "mbind", "membarrier", "rseq",
    "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr",
    "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_rr_get_interval_time64",
    "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield",
    "set_mempolicy", "setpriority",
]);

/// Futexes, message queues, semaphores, shared memory.
#[rustfmt::skip]
static IPC: &[&Call] = &known([
    "futex", "futex_time64", "get_robust_list", "ipc", "mq_getsetattr", "mq_notify", "mq_open",
    "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend", "mq_timedsend_time64", "mq_unlink",
    "msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop", "semtimedop_time64",
    "set_robust_list", "shmat", "shmctl", "shmdt", "shmget",
]);

/// Mounts and namespaces: nested containers, bubblewrap and browsers need them, and they work only where the
/// caller is root of a user namespace.
#[rustfmt::skip]
static MOUNTS: &[&Call] = &known([
    "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree",
    "pivot_root", "setns", "umount", "umount2", "unshare",
]);

/// The rest.
#[rustfmt::skip]
static SYSTEM: &[&Call] = &known([
    "getrandom", "keyctl", "reboot", "sync", "sysinfo", "syslog", "uname",
]);

/// What no container may call, whatever its capabilities: programs that try get EPERM and know why.
#[rustfmt::skip]
static REFUSED: &[&Call] = &known([
    "bdflush", "cachestat", "futex_requeue", "futex_wait", "futex_waitv", "futex_wake", "io_pgetevents",
    "io_pgetevents_time64", "kexec_file_load", "kexec_load", "map_shadow_stack", "migrate_pages",
    "move_pages", "nfsservctl", "nice", "oldfstat", "oldlstat", "oldolduname", "oldstat", "olduname",
    "pciconfig_iobase", "pciconfig_read", "pciconfig_write", "sgetmask", "ssetmask", "swapoff", "swapon",
    "sysfs", "uselib", "userfaultfd", "ustat", "vm86", "vm86old", "vmsplice",
]);

/// What a container may call if it has one of these capabilities; EPERM otherwise.
static GUARDED: &[(u64, &[&Call])] = &[
    (caps::DAC_READ_SEARCH, &known(["open_by_handle_at"])),
    (
        caps::SYS_ADMIN,
        &known([
            "fanotify_init",
            "lookup_dcookie",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
        ]),
    ),
    (caps::SYS_ADMIN | caps::BPF, &known(["bpf"])),
    (caps::PERFMON, &known(["perf_event_open"])),
    (caps::SYS_CHROOT, &known(["chroot"])),
    (caps::SYS_MODULE, &known(["delete_module", "finit_module", "init_module", "query_module"])),
    (caps::SYS_PACCT, &known(["acct"])),
    (caps::SYS_PTRACE, &known(["kcmp", "process_madvise"])),
    (caps::SYS_RAWIO, &known(["ioperm", "iopl"])),
    (caps::SYS_TIME, &known(["clock_settime", "clock_settime64", "settimeofday", "stime"])),
    (caps::SYS_TTY_CONFIG, &known(["vhangup"])),
];
