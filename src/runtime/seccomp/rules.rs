//! What a filter decides, before it becomes a program: the form between profiles and BPF.

use crate::runtime::seccomp::calls::Call;

/// A calling convention: its own numbers, and a mark by which the kernel tells it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abi {
    X86_64,
    /// 32-bit programs on x86-64.
    I386,
    /// Short pointers in 64-bit mode: the numbers of [`Abi::X86_64`] with bit 30 set, and some of its own.
    X32,
    Aarch64,
    /// 32-bit programs on aarch64.
    Arm,
}

/// The bit in a number that says x32 (`__X32_SYSCALL_BIT`); every number from here on counts as x32.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

impl Abi {
    /// All, in the order of their numbers as `usize`.
    pub(crate) const ALL: [Abi; 5] = [Abi::X86_64, Abi::I386, Abi::X32, Abi::Aarch64, Abi::Arm];

    /// What `seccomp_data.arch` says (`AUDIT_ARCH_*`). x32 is not told apart here, only by its bit.
    pub(crate) fn audit(self) -> u32 {
        match self {
            Abi::X86_64 | Abi::X32 => 0xc000_003e,
            Abi::I386 => 0x4000_0003,
            Abi::Aarch64 => 0xc000_00b7,
            Abi::Arm => 0x4000_0028,
        }
    }

    /// The bits that this ABI sets in every number.
    pub(crate) fn marker(self) -> u32 {
        if self == Abi::X32 { X32_BIT } else { 0 }
    }

    /// By the name libseccomp and profiles use.
    pub(crate) fn from_scmp(name: &str) -> Option<Abi> {
        Some(match name {
            "SCMP_ARCH_X86_64" => Abi::X86_64,
            "SCMP_ARCH_X86" => Abi::I386,
            "SCMP_ARCH_X32" => Abi::X32,
            "SCMP_ARCH_AARCH64" => Abi::Aarch64,
            "SCMP_ARCH_ARM" => Abi::Arm,
            _ => return None,
        })
    }
}

/// A set of [`Abi`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abis(u8);

impl Abis {
    /// Every one.
    pub(crate) const ALL: Abis = Abis(0x1f);

    /// Those listed.
    pub(crate) const fn of(list: &[Abi]) -> Abis {
        let (mut bits, mut rest) = (0, list);
        while let [abi, others @ ..] = rest {
            bits |= 1 << *abi as u8;
            rest = others;
        }
        Abis(bits)
    }

    /// Whether `abi` is one of them.
    pub(crate) fn contain(self, abi: Abi) -> bool {
        self.0 & (1 << abi as u8) != 0
    }

    /// Those in this set and in `other`.
    pub(crate) fn and(self, other: Abis) -> Abis {
        Abis(self.0 & other.0)
    }

    /// Those of both sets.
    pub(crate) fn or(self, other: Abis) -> Abis {
        Abis(self.0 | other.0)
    }
}

/// What the kernel does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Allow,
    /// Fails with this error number (1 to 4095), or succeeds without having happened (0).
    Errno(u16),
    KillThread,
    KillProcess,
    /// Sends SIGSYS.
    Trap,
    /// Allows it and writes a line to the kernel's log.
    Log,
    /// Hands it to a tracer with this number, or fails it with ENOSYS if there is none.
    Trace(u16),
}

impl Action {
    /// The filter's return value (`SECCOMP_RET_*`).
    pub(crate) fn value(self) -> u32 {
        match self {
            Action::Allow => libc::SECCOMP_RET_ALLOW,
            Action::Errno(number) => libc::SECCOMP_RET_ERRNO | u32::from(number),
            Action::KillThread => libc::SECCOMP_RET_KILL_THREAD,
            Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
            Action::Trap => libc::SECCOMP_RET_TRAP,
            Action::Log => libc::SECCOMP_RET_LOG,
            Action::Trace(number) => libc::SECCOMP_RET_TRACE | u32::from(number),
        }
    }
}

/// How an argument is compared with a value; all unsigned, over the whole 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// Equal under this mask.
    MaskedEqual(u64),
}

/// A condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// Which argument, 0 to 5.
    pub(crate) argument: u8,
    pub(crate) compare: Compare,
    pub(crate) value: u64,
}

impl Condition {
    /// `argument`, as the 32-bit number that the kernel takes it for, is `value`.
    ///
    /// The upper half of the register must not count: what the kernel ignores, a caller can fill
    /// with anything to slip past the comparison.
    pub(crate) fn int(argument: u8, value: u32) -> Condition {
        let compare = Compare::MaskedEqual(u64::from(u32::MAX));
        Condition { argument, compare, value: u64::from(value) }
    }
}

/// What becomes of one system call where all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) call: &'static Call,
    /// The ABIs it is for.
    pub(crate) abis: Abis,
    pub(crate) action: Action,
    /// All must hold; none means always.
    pub(crate) conditions: Vec<Condition>,
}

/// A whole filter.
///
/// For one call, the rules with conditions are tried in their order, then the first rule without
/// conditions counts, then `default`. (libseccomp drops every conditional rule where there is an
/// unconditional one for the same call, so a profile that means something there means the same here.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// For calls that no rule is about.
    pub(crate) default: Action,
    /// The ABIs that the rules and `default` are for.
    pub(crate) abis: Abis,
    /// For calls by any other ABI.
    pub(crate) foreign: Action,
    pub(crate) rules: Vec<Rule>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abis_stand_at_their_index() {
        for (index, abi) in Abi::ALL.into_iter().enumerate() {
            assert_eq!(abi as usize, index);
            assert!(Abis::ALL.contain(abi));
            assert!(Abis::of(&[abi]).contain(abi));
        }
        assert!(!Abis::of(&[Abi::X86_64, Abi::I386]).contain(Abi::X32));
    }
}
