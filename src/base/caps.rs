//! Capabilities: names, sets of them, and the rules of `--cap-add` and `--cap-drop`.
//!
//! A set is a `u64` with bit *n* for capability *n* (`linux/capability.h`), as in `/proc/PID/status`.

use crate::base::order::InOrder as _;

/// `CAP_DAC_READ_SEARCH`
pub(crate) const DAC_READ_SEARCH: u64 = 1 << 2;
/// `CAP_SYS_MODULE`
pub(crate) const SYS_MODULE: u64 = 1 << 16;
/// `CAP_SYS_RAWIO`
pub(crate) const SYS_RAWIO: u64 = 1 << 17;
/// `CAP_SYS_CHROOT`
pub(crate) const SYS_CHROOT: u64 = 1 << 18;
/// `CAP_SYS_PTRACE`
pub(crate) const SYS_PTRACE: u64 = 1 << 19;
/// `CAP_SYS_PACCT`
pub(crate) const SYS_PACCT: u64 = 1 << 20;
/// `CAP_SYS_ADMIN`
pub(crate) const SYS_ADMIN: u64 = 1 << 21;
/// `CAP_SYS_TIME`
pub(crate) const SYS_TIME: u64 = 1 << 25;
/// `CAP_SYS_TTY_CONFIG`
pub(crate) const SYS_TTY_CONFIG: u64 = 1 << 26;
/// `CAP_AUDIT_WRITE`
pub(crate) const AUDIT_WRITE: u64 = 1 << 29;
/// `CAP_PERFMON`
pub(crate) const PERFMON: u64 = 1 << 38;
/// `CAP_BPF`
pub(crate) const BPF: u64 = 1 << 39;

/// Every capability there is (Linux 5.9 to 6.18).
pub(crate) const ALL: u64 = (1 << NAMES.len()) - 1;

/// What a container's root has unless told otherwise: podman's eleven.
pub(crate) const DEFAULT: u64 = 0x8004_05fb;

/// Names without `CAP_`, by number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Why a request for capabilities cannot be met.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CapsError {
    /// No such capability.
    #[error("\"CAP_{}\": unknown capability", .0.to_ascii_uppercase().trim_start_matches("CAP_"))]
    Unknown(String),
    /// The same one is wanted and not wanted.
    #[error("capability {0:?} cannot be dropped and added")]
    Both(String),
    /// `--cap-add=ALL --cap-drop=ALL`.
    #[error("adding all caps and removing all caps not allowed")]
    AllBoth,
}

/// The set that one name stands for: in any case, with or without `CAP_`; `ALL` is every capability.
///
/// # Errors
///
/// [`CapsError::Unknown`].
pub(crate) fn parse(name: &str) -> Result<u64, CapsError> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if bare == "ALL" {
        return Ok(ALL);
    }
    match NAMES.iter().position(|known| *known == bare) {
        Some(number) => Ok(1 << number),
        None => Err(CapsError::Unknown(name.to_owned())),
    }
}

/// The names in a set, with `CAP_`, in alphabetical order, as `inspect` shows them.
///
/// Bits that no name is known for are left out.
pub(crate) fn names(set: u64) -> Vec<String> {
    let mut names: Vec<String> = (0..)
        .zip(NAMES)
        .filter(|(number, _)| set & (1 << number) != 0)
        .map(|(_, name)| format!("CAP_{name}"))
        .collect();
    names.order();
    names
}

/// What remains of `base` after `--cap-add` and `--cap-drop`.
///
/// Dropping `ALL` leaves exactly what is added; adding `ALL` starts from everything instead of `base`.
/// Otherwise the drops are taken from `base` and the additions put in.
///
/// # Errors
///
/// An unknown name, or one that is on both sides.
///
/// # Source
///
/// podman's rules (containers/common, `MergeCapabilities`), which are Docker's but for the error on a
/// capability that is on both sides.
pub(crate) fn resolve<S: AsRef<str>>(base: u64, add: &[S], drop: &[S]) -> Result<u64, CapsError> {
    let (added, add_all) = collect(add)?;
    let (dropped, drop_all) = collect(drop)?;
    match (add_all, drop_all) {
        (true, true) => Err(CapsError::AllBoth),
        (true, false) => Ok(ALL & !dropped),
        (false, true) => Ok(added),
        (false, false) => match names(added & dropped).pop() {
            Some(name) => Err(CapsError::Both(name)),
            None => Ok((base & !dropped) | added),
        },
    }
}

/// The capabilities that `names` names one by one: `ALL` names none.
///
/// # Errors
///
/// [`CapsError::Unknown`].
pub(crate) fn named<S: AsRef<str>>(names: &[S]) -> Result<u64, CapsError> {
    Ok(collect(names)?.0)
}

/// A capability by its whole name, `CAP_` in front; `ALL` is `ALL`.
pub(crate) fn whole_name(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
}

/// The capabilities named one by one, and whether `ALL` was among the names.
fn collect<S: AsRef<str>>(names: &[S]) -> Result<(u64, bool), CapsError> {
    names.iter().try_fold((0, false), |(set, all), name| {
        Ok(match parse(name.as_ref())? {
            ALL => (set, true),
            one => (set | one, all),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_names() {
        for (name, set) in [
            ("CAP_SYS_ADMIN", SYS_ADMIN),
            ("sys_admin", SYS_ADMIN),
            ("Cap_Chown", 1),
            ("checkpoint_restore", 1 << 40),
            ("CAP_BPF", BPF),
            ("all", ALL),
            ("CAP_ALL", ALL),
        ] {
            assert_eq!(parse(name), Ok(set), "{name}");
        }
        for name in ["", "CAP_", "CAP_CAP_CHOWN", "CHOWN ", "21", "SYS_ADMIN,CHOWN"] {
            assert_eq!(parse(name), Err(CapsError::Unknown(name.to_owned())));
        }
    }

    #[test]
    fn constants_carry_their_names() {
        for (set, name) in [
            (DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
            (SYS_MODULE, "CAP_SYS_MODULE"),
            (SYS_RAWIO, "CAP_SYS_RAWIO"),
            (SYS_CHROOT, "CAP_SYS_CHROOT"),
            (SYS_PTRACE, "CAP_SYS_PTRACE"),
            (SYS_PACCT, "CAP_SYS_PACCT"),
            (SYS_ADMIN, "CAP_SYS_ADMIN"),
            (SYS_TIME, "CAP_SYS_TIME"),
            (SYS_TTY_CONFIG, "CAP_SYS_TTY_CONFIG"),
            (AUDIT_WRITE, "CAP_AUDIT_WRITE"),
            (PERFMON, "CAP_PERFMON"),
            (BPF, "CAP_BPF"),
        ] {
            assert_eq!(names(set), [name]);
        }
    }

    #[test]
    fn the_default_is_podmans() {
        let want = [
            "CAP_CHOWN",
            "CAP_DAC_OVERRIDE",
            "CAP_FOWNER",
            "CAP_FSETID",
            "CAP_KILL",
            "CAP_NET_BIND_SERVICE",
            "CAP_SETFCAP",
            "CAP_SETGID",
            "CAP_SETPCAP",
            "CAP_SETUID",
            "CAP_SYS_CHROOT",
        ];
        assert_eq!(names(DEFAULT), want);
    }

    #[test]
    fn resolves_add_and_drop() {
        let both = |name: &str| Err(CapsError::Both(name.to_owned()));
        for (add, drop, want) in [
            (&[][..], &[][..], Ok(DEFAULT)),
            (&["SYS_ADMIN"], &[], Ok(DEFAULT | SYS_ADMIN)),
            (&[], &["CAP_CHOWN"], Ok(DEFAULT & !1)),
            (&[], &["ALL"], Ok(0)),
            (&["CHOWN", "BPF"], &["all"], Ok(BPF | 1)),
            (&["ALL"], &[], Ok(ALL)),
            (&["ALL"], &["CHOWN"], Ok(ALL & !1)),
            (&["ALL"], &["ALL"], Err(CapsError::AllBoth)),
            (&["CHOWN"], &["cap_chown"], both("CAP_CHOWN")),
            (&["ALL", "CHOWN"], &["CHOWN"], Ok(ALL & !1)),
            (&["NOPE"], &["ALL"], Err(CapsError::Unknown("NOPE".to_owned()))),
        ] {
            assert_eq!(resolve(DEFAULT, add, drop), want, "add {add:?} drop {drop:?}");
        }
    }
}
