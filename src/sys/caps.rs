//! The last change of identity: from a namespace's almighty root to what a container's process may be.
//!
//! ```text
//!   all capabilities, uid 0
//!     1  bounding set         needs CAP_SETPCAP, so first
//!     2  groups, then gid     need CAP_SETGID
//!     3  uid                  keeping the permitted set, or a user other than root could not do the rest
//!     4  the three sets       inheritable = ambient; permitted and effective what is wanted (+ CAP_SYS_ADMIN)
//!     5  ambient set          needs permitted and inheritable
//!     6  read back            what the kernel says now is what was asked for, or there is no container
//!     7  no_new_privs
//!     8  seccomp filter       needs CAP_SYS_ADMIN or step 7; from here on the filter judges us too
//!   execve                    CAP_SYS_ADMIN goes, being neither in the bounding nor in the ambient set
//! ```
//!
//! The filter comes after everything else, so a profile needs to allow nothing on ketch's behalf but `execve`.
//! What execve makes of the sets: for root, permitted = effective = the bounding set; for another user,
//! permitted = effective = the ambient set (`capabilities(7)`, "Transformation of capabilities").

use std::io;

use nix::errno::Errno;

use crate::sys::seccomp::{self, BpfInsn};

const CAP_SETGID: u64 = 1 << 6;
const CAP_SYS_ADMIN: u64 = 1 << 21;

/// What a process shall be when it executes the container's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CapPlan {
    /// User, in the container's numbers.
    pub(crate) uid: u32,
    /// Group, in the container's numbers.
    pub(crate) gid: u32,
    /// All supplementary groups; `None` leaves them as they are, for `keep-groups`. In a user namespace
    /// that forbids to set them they stay as well.
    pub(crate) groups: Option<Vec<u32>>,
    /// Capabilities that this process and its descendants can ever have; root gets them all.
    pub(crate) bounding: u64,
    /// Capabilities that a user other than root keeps through execve. Within `bounding`.
    pub(crate) ambient: u64,
    /// Set-user-ID programs gain nothing.
    pub(crate) no_new_privileges: bool,
    /// The seccomp filter; empty for none.
    pub(crate) filter: Vec<BpfInsn>,
}

/// Why a process did not become what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CapError {
    /// A system call said no.
    #[error("{action}")]
    Call { action: &'static str, source: Errno },
    /// The kernel says yes and shows something else.
    #[error("{set} capabilities are {got:#x} and not {want:#x}")]
    Differs { set: &'static str, want: u64, got: u64 },
}

/// Names the call that failed.
fn call(action: &'static str) -> impl Fn(Errno) -> CapError {
    move |source| CapError::Call { action, source }
}

/// Makes the calling thread what `plan` says. execve comes next: only it takes the capability to load a
/// filter away. A process that stays calls [`settle`] instead.
///
/// Acts on one thread only, so the process must have just one. Capabilities that the running kernel does
/// not know are passed over.
///
/// # Errors
///
/// [`CapError`]. The process is then something in between and must end.
pub(crate) fn apply(plan: &CapPlan) -> Result<(), CapError> {
    let known = limit_bounding(plan.bounding).map_err(call("limit the bounding set"))?;
    let (bounding, ambient) = (plan.bounding & known, plan.ambient & known);
    change_user(plan)?;

    let wanted = if plan.uid == 0 { bounding } else { ambient };
    let to_load = !plan.filter.is_empty() && !plan.no_new_privileges;
    let permitted = wanted | ambient | if to_load { CAP_SYS_ADMIN } else { 0 };
    let sets = Sets { effective: permitted, permitted, inheritable: ambient };
    set(&sets).map_err(call("set capabilities"))?;
    raise_ambient(ambient, known).map_err(call("set ambient capabilities"))?;
    verify(&sets, bounding, ambient)?;

    if plan.no_new_privileges {
        prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map_err(call("set no_new_privs"))?;
    }
    seccomp::load(&plan.filter).map_err(call("load the seccomp filter"))
}

/// Gives up what [`apply`] has left for loading the filter, in a process that will not execute anything.
///
/// # Errors
///
/// Also if the filter forbids `capset`; then the process must end.
pub(crate) fn settle(plan: &CapPlan) -> Result<(), CapError> {
    let now = get().map_err(call("read capabilities"))?;
    let kept = if plan.uid == 0 { plan.bounding } else { plan.ambient };
    let sets = Sets { effective: now.effective & kept, permitted: now.permitted & kept, ..now };
    set(&sets).map_err(call("set capabilities"))
}

/// Groups, group and user, in the only order that works.
fn change_user(plan: &CapPlan) -> Result<(), CapError> {
    if let Some(groups) = &plan.groups {
        match set_groups(groups) {
            Err(Errno::EPERM) if may_set_groups()? => {}
            other => other.map_err(call("set supplementary groups"))?,
        }
    }
    let gid = libc::c_ulong::from(plan.gid);
    let uid = libc::c_ulong::from(plan.uid);
    set_ids(libc::SYS_setresgid, gid).map_err(call("set group"))?;
    prctl(libc::PR_SET_KEEPCAPS, 1, 0).map_err(call("keep capabilities"))?;
    set_ids(libc::SYS_setresuid, uid).map_err(call("set user"))
}

/// Has the capability for it: then only the user namespace itself can forbid to set groups, as it does
/// in single-ID mode, where the groups are not mapped either.
///
/// Not read from `/proc/self/setgroups`: in a container, what is mounted there may be anything.
fn may_set_groups() -> Result<bool, CapError> {
    Ok(get().map_err(call("read capabilities"))?.effective & CAP_SETGID != 0)
}

/// Takes everything but `keep` out of the bounding set. Returns the capabilities that the kernel knows.
fn limit_bounding(keep: u64) -> Result<u64, Errno> {
    let mut known = 0;
    for cap in 0..u64::BITS {
        let has = match prctl(libc::PR_CAPBSET_READ, cap, 0) {
            Ok(has) => has == 1,
            Err(Errno::EINVAL) => break,
            Err(errno) => return Err(errno),
        };
        known |= 1 << cap;
        if has && keep & (1 << cap) == 0 {
            prctl(libc::PR_CAPBSET_DROP, cap, 0)?;
        }
    }
    Ok(known)
}

fn raise_ambient(ambient: u64, known: u64) -> Result<(), Errno> {
    ambient_call(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0)?;
    for cap in bits(ambient & known) {
        ambient_call(libc::PR_CAP_AMBIENT_RAISE, cap)?;
    }
    Ok(())
}

/// Asks the kernel for every set and compares.
fn verify(sets: &Sets, bounding: u64, ambient: u64) -> Result<(), CapError> {
    let now = get().map_err(call("read capabilities"))?;
    let in_bounding = |cap| prctl(libc::PR_CAPBSET_READ, cap, 0);
    let in_ambient = |cap| ambient_call(libc::PR_CAP_AMBIENT_IS_SET, cap);
    for (set, want, got) in [
        ("effective", sets.effective, now.effective),
        ("permitted", sets.permitted, now.permitted),
        ("inheritable", sets.inheritable, now.inheritable),
        ("bounding", bounding, collect(in_bounding).map_err(call("read the bounding set"))?),
        ("ambient", ambient, collect(in_ambient).map_err(call("read ambient capabilities"))?),
    ] {
        if want != got {
            return Err(CapError::Differs { set, want, got });
        }
    }
    Ok(())
}

/// The capabilities that this process and its descendants can have at all: root of a machine or of another container
/// need not have them all.
///
/// # Errors
///
/// `prctl(2)`.
pub(crate) fn reachable() -> io::Result<u64> {
    Ok(collect(|cap| prctl(libc::PR_CAPBSET_READ, cap, 0))?)
}

/// The set of the capabilities for which `ask` says 1.
fn collect(ask: impl Fn(u32) -> Result<libc::c_int, Errno>) -> Result<u64, Errno> {
    let mut set = 0;
    for cap in 0..u64::BITS {
        match ask(cap) {
            Ok(answer) => set |= u64::from(answer == 1) << cap,
            Err(Errno::EINVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(set)
}

fn bits(set: u64) -> impl Iterator<Item = u32> {
    (0..u64::BITS).filter(move |cap| set & (1 << cap) != 0)
}

/// The three sets of `capget(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sets {
    effective: u64,
    permitted: u64,
    inheritable: u64,
}

/// `struct __user_cap_header_struct`; `pid` 0 is the calling thread.
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// `struct __user_cap_data_struct`: 32 bits of each set; the kernel takes two of them, the low one first.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`: two words for each set.
const HEADER: Header = Header { version: 0x2008_0522, pid: 0 };

fn set(sets: &Sets) -> Result<(), Errno> {
    #[expect(clippy::cast_possible_truncation, reason = "one word after the other")]
    let word = |shift: u32| Data {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let (mut header, data) = (HEADER, [word(0), word(32)]);
    // SAFETY: the kernel reads a header and, as its version says, two data words; both have its layout and
    // live until the call returns. It may write its own version into the header, which is ours to change.
    let ret = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    Errno::result(ret).map(drop)
}

fn get() -> Result<Sets, Errno> {
    let (mut header, mut data) = (HEADER, [Data::default(); 2]);
    // SAFETY: the kernel reads the header and writes the two data words its version asks for; both have
    // its layout and live until the call returns.
    let ret = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    Errno::result(ret)?;
    let join = |word: fn(&Data) -> u32| u64::from(word(&data[0])) | u64::from(word(&data[1])) << 32;
    Ok(Sets {
        effective: join(|data| data.effective),
        permitted: join(|data| data.permitted),
        inheritable: join(|data| data.inheritable),
    })
}

/// A `prctl` of which all arguments are numbers.
fn prctl(option: libc::c_int, first: u32, second: u32) -> Result<libc::c_int, Errno> {
    let (first, second, none) = (libc::c_ulong::from(first), libc::c_ulong::from(second), 0 as libc::c_ulong);
    // SAFETY: the options used in this file take numbers and touch no memory of ours.
    Errno::result(unsafe { libc::prctl(option, first, second, none, none) })
}

#[expect(clippy::cast_sign_loss, reason = "the options are 1 to 4")]
fn ambient_call(option: libc::c_int, cap: u32) -> Result<libc::c_int, Errno> {
    prctl(libc::PR_CAP_AMBIENT, option as u32, cap)
}

/// Real, effective and saved ID at once. The system call and not glibc's function, which would change
/// other threads as well.
fn set_ids(number: libc::c_long, id: libc::c_ulong) -> Result<(), Errno> {
    // SAFETY: setresuid and setresgid take three numbers.
    let ret = unsafe { libc::syscall(number, id, id, id) };
    Errno::result(ret).map(drop)
}

fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the kernel reads `len` IDs of 32 bits from a slice that lives until the call returns.
    let ret = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    Errno::result(ret).map(drop)
}

impl From<CapError> for io::Error {
    fn from(err: CapError) -> io::Error {
        let kind = match &err {
            CapError::Call { source, .. } => io::Error::from(*source).kind(),
            CapError::Differs { .. } => io::ErrorKind::PermissionDenied,
        };
        io::Error::new(kind, err)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use nix::sched::{CloneFlags, unshare};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork, getuid};

    use super::*;

    const DEFAULT: u64 = 0x8004_05fb;

    fn plan(uid: u32) -> CapPlan {
        // Allows everything; being there is what counts.
        let allow = BpfInsn { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 };
        CapPlan {
            uid,
            gid: uid,
            groups: None,
            bounding: DEFAULT,
            ambient: 0,
            no_new_privileges: false,
            filter: vec![allow],
        }
    }

    /// In a new user namespace where the caller is `inside`: carries out `plan`, executes a shell that
    /// succeeds if each of `lines` is in its `/proc/self/status`. Returns the child's exit code.
    fn status_after(inside: u32, plan: &CapPlan, lines: &[&str]) -> i32 {
        let tests: Vec<String> = lines
            .iter()
            .map(|line| format!("grep -qx '{}' /proc/self/status", line.replace(' ', "[[:space:]]*")))
            .collect();
        let script = std::ffi::CString::new(tests.join(" && ")).unwrap();
        let map = format!("{inside} {} 1\n", getuid());
        // SAFETY: the child uses what it has copied of the memory, and makes system calls until it ends.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
                WaitStatus::Exited(_, code) => code,
                other => panic!("{other:?}"),
            },
            ForkResult::Child => {
                let code = match become_and_run(&map, plan, &script) {
                    Err(err) => {
                        writeln!(io::stderr(), "{err}").ok();
                        99
                    }
                    Ok(never) => match never {},
                };
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(code) }
            }
        }
    }

    /// Executes the script; without lines to look for, settles and succeeds if nothing is kept beyond the plan.
    fn become_and_run(
        map: &str,
        plan: &CapPlan,
        script: &std::ffi::CStr,
    ) -> Result<std::convert::Infallible, Box<dyn std::error::Error>> {
        unshare(CloneFlags::CLONE_NEWUSER)?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", map)?;
        fs::write("/proc/self/gid_map", map)?;
        apply(plan)?;
        if script.is_empty() {
            settle(plan)?;
            let kept = if plan.uid == 0 { plan.bounding } else { plan.ambient };
            let settled = get()? == Sets { effective: kept, permitted: kept, inheritable: plan.ambient };
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(if settled { 0 } else { 1 }) }
        }
        Ok(nix::unistd::execv(c"/bin/sh", &[c"sh", c"-c", script])?)
    }

    #[test]
    fn root_has_the_bounding_set_and_nothing_more() {
        let lines = [
            "CapInh: 0000000000000000",
            "CapPrm: 00000000800405fb",
            "CapEff: 00000000800405fb",
            "CapBnd: 00000000800405fb",
            "CapAmb: 0000000000000000",
            "NoNewPrivs: 0",
            "Seccomp: 2",
        ];
        assert_eq!(status_after(0, &plan(0), &lines), 0);
        assert_eq!(status_after(0, &plan(0), &["CapEff: 000001ffffffffff"]), 1, "the test can fail");
    }

    #[test]
    fn a_user_has_nothing_but_ambient_capabilities() {
        let none = ["CapPrm: 0000000000000000", "CapEff: 0000000000000000", "CapBnd: 00000000800405fb"];
        assert_eq!(status_after(1000, &plan(1000), &none), 0);
        let with_one = CapPlan { ambient: 1 << 10, no_new_privileges: true, ..plan(1000) };
        let one = ["CapInh: 0000000000000400", "CapEff: 0000000000000400", "CapAmb: 0000000000000400"];
        assert_eq!(status_after(1000, &with_one, &one), 0);
        assert_eq!(status_after(1000, &with_one, &["NoNewPrivs: 1", "Seccomp: 2"]), 0);
    }

    #[test]
    fn a_process_that_stays_keeps_no_more_than_one_that_executes() {
        assert_eq!(status_after(0, &plan(0), &[]), 0);
        let user = CapPlan { ambient: 1 << 10, ..plan(1000) };
        assert_eq!(status_after(1000, &user, &[]), 0);
    }

    #[test]
    fn unknown_capabilities_are_passed_over() {
        let all = CapPlan { bounding: u64::MAX, ..plan(0) };
        assert_eq!(status_after(0, &all, &["CapInh: 0000000000000000", "CapAmb: 0000000000000000"]), 0);
    }

    /// The namespaces of these tests forbid it, as they must where one ID is mapped by its owner.
    #[test]
    fn groups_stay_where_the_namespace_forbids_to_set_them() {
        let with_groups = CapPlan { groups: Some(vec![0]), ..plan(0) };
        assert_eq!(status_after(0, &with_groups, &["Seccomp: 2"]), 0);
    }

    #[test]
    fn a_user_that_is_not_mapped_is_an_error() {
        assert_eq!(status_after(0, &plan(5), &["Seccomp: 2"]), 99);
    }
}
