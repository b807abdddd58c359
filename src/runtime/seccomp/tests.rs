//! What the filters decide: the default by table (SEC-37), any rules against their own meaning, and
//! what a load costs.

use proptest::prelude::*;

use crate::base::caps;
use crate::base::spec::Seccomp;
use crate::runtime::seccomp::assemble::assemble;
use crate::runtime::seccomp::calls::find;
use crate::runtime::seccomp::compile;
use crate::runtime::seccomp::default;
use crate::runtime::seccomp::interpret::{Call, decide, run};
use crate::runtime::seccomp::profile::{self, Target};
use crate::runtime::seccomp::rules::{Abi, Abis, Action, Compare, Condition, Rule, Rules, X32_BIT};
use crate::sys::seccomp::BpfInsn;

const X86: Abis = Abis::of(&[Abi::X86_64, Abi::I386, Abi::X32]);
const ARM: Abis = Abis::of(&[Abi::Aarch64, Abi::Arm]);

fn call(abi: Abi, name: &str, args: &[u64]) -> Call {
    let number = find(name).and_then(|call| call.number(abi)).unwrap_or_else(|| panic!("{name} on {abi:?}"));
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    Call { number, arch: abi.audit(), args: all }
}

fn default_program(caps: u64) -> Vec<BpfInsn> {
    assemble(&default::rules(X86, caps)).unwrap()
}

const ALLOW: Action = Action::Allow;
const EPERM: Action = Action::Errno(1);
const EINVAL: Action = Action::Errno(22);
const ENOSYS: Action = Action::Errno(38);
const EAFNOSUPPORT: Action = Action::Errno(97);

#[test]
fn default_by_table() {
    let program = default_program(caps::DEFAULT);
    let garbage = 0xdead_beef_0000_0000;
    for (name, args, want) in [
        ("read", &[][..], ALLOW),
        ("writev", &[], ALLOW),
        ("execve", &[], ALLOW),
        ("clone3", &[], ALLOW),
        ("clone", &[0x1000_0000], ALLOW),
        ("unshare", &[0x1000_0000], ALLOW),
        ("setns", &[], ALLOW),
        ("mount", &[], ALLOW),
        ("chroot", &[], ALLOW),
        ("keyctl", &[], ALLOW),
        ("ptrace", &[], ALLOW),
        ("add_key", &[], ENOSYS),
        ("request_key", &[], ENOSYS),
        ("io_uring_setup", &[], ENOSYS),
        ("io_uring_enter", &[], ENOSYS),
        ("io_uring_register", &[], ENOSYS),
        ("bpf", &[], EPERM),
        ("perf_event_open", &[], EPERM),
        ("userfaultfd", &[], EPERM),
        ("open_by_handle_at", &[], EPERM),
        ("kexec_load", &[], EPERM),
        ("init_module", &[], EPERM),
        ("swapon", &[], EPERM),
        ("sethostname", &[], EPERM),
        ("vmsplice", &[], EPERM),
        ("personality", &[0], ALLOW),
        ("personality", &[0x2_0008], ALLOW),
        ("personality", &[0xffff_ffff], ALLOW),
        ("personality", &[0x4_0000], ENOSYS),
        ("personality", &[garbage | 0x4_0000], ENOSYS),
        ("ioctl", &[0, 0x5401], ALLOW),
        ("ioctl", &[0, 0x5412], EPERM),
        ("ioctl", &[0, 0x541c], EPERM),
        ("ioctl", &[0, garbage | 0x5412], EPERM),
        ("socket", &[2, 1, 0], ALLOW),
        ("socket", &[16, 3, 0], ALLOW),
        ("socket", &[16, 3, 9], EINVAL),
        ("socket", &[garbage | 16, 3, garbage | 9], EINVAL),
        ("socket", &[38, 5, 0], EAFNOSUPPORT),
        ("socket", &[40, 1, 0], EAFNOSUPPORT),
        ("socket", &[garbage | 38, 5, 0], EAFNOSUPPORT),
    ] {
        for abi in [Abi::X86_64, Abi::I386] {
            let (got, _) = run(&program, &call(abi, name, args));
            assert_eq!(got, want.value(), "{abi:?} {name}{args:x?}");
        }
    }
}

#[test]
fn default_knows_the_abis() {
    let program = default_program(caps::DEFAULT);
    let native = Abi::X86_64.audit();
    for (arch, number, want) in [
        (native, 154, ALLOW),               // modify_ldt
        (Abi::I386.audit(), 123, EPERM),    // modify_ldt
        (Abi::I386.audit(), 102, ALLOW),    // socketcall
        (native, 9999, ENOSYS),             // no such call
        (Abi::I386.audit(), 9999, ENOSYS),  // no such call
        (native, 512, ENOSYS),              // a number of x32 without its bit
        (native, X32_BIT, ENOSYS),          // x32 read
        (native, X32_BIT | 520, ENOSYS),    // x32 execve
        (native, u32::MAX, ENOSYS),         // a call that a tracer has cancelled
        (Abi::Aarch64.audit(), 63, ENOSYS), // no ABI of this machine
    ] {
        let (got, _) = run(&program, &Call { number, arch, args: [0; 6] });
        assert_eq!(got, want.value(), "{arch:#x} {number}");
    }
}

#[test]
fn default_follows_the_capabilities() {
    for (name, needed) in [
        ("bpf", caps::BPF),
        ("bpf", caps::SYS_ADMIN),
        ("perf_event_open", caps::PERFMON),
        ("open_by_handle_at", caps::DAC_READ_SEARCH),
        ("fanotify_init", caps::SYS_ADMIN),
        ("sethostname", caps::SYS_ADMIN),
        ("chroot", caps::SYS_CHROOT),
        ("init_module", caps::SYS_MODULE),
        ("acct", caps::SYS_PACCT),
        ("kcmp", caps::SYS_PTRACE),
        ("iopl", caps::SYS_RAWIO),
        ("settimeofday", caps::SYS_TIME),
        ("vhangup", caps::SYS_TTY_CONFIG),
    ] {
        for (caps, want) in [(needed, ALLOW), (0, EPERM)] {
            let (got, _) = run(&default_program(caps), &call(Abi::X86_64, name, &[]));
            assert_eq!(got, want.value(), "{name} with {caps:#x}");
        }
    }
    let audit = call(Abi::X86_64, "socket", &[16, 3, 9]);
    assert_eq!(run(&default_program(caps::AUDIT_WRITE), &audit).0, ALLOW.value());
    // No capability opens what the table refuses to all.
    let all = default_program(caps::ALL);
    assert_eq!(run(&all, &call(Abi::X86_64, "kexec_load", &[])).0, EPERM.value());
    assert_eq!(run(&all, &call(Abi::X86_64, "ioctl", &[0, 0x5412])).0, EPERM.value());
}

#[test]
fn default_serves_arm() {
    let program = assemble(&default::rules(ARM, caps::DEFAULT)).unwrap();
    for (abi, name, want) in [
        (Abi::Aarch64, "openat", ALLOW),
        (Abi::Aarch64, "bpf", EPERM),
        (Abi::Aarch64, "io_uring_setup", ENOSYS),
        (Abi::Arm, "cacheflush", ALLOW),
        (Abi::Arm, "set_tls", ALLOW),
        (Abi::X86_64, "read", ENOSYS),
    ] {
        assert_eq!(run(&program, &call(abi, name, &[])).0, want.value(), "{abi:?} {name}");
    }
}

#[test]
fn default_decides_as_its_rules_for_every_number() {
    for (abis, caps) in [(X86, caps::DEFAULT), (X86, caps::ALL), (X86, 0), (ARM, caps::DEFAULT)] {
        let rules = default::rules(abis, caps);
        let program = assemble(&rules).unwrap();
        for abi in Abi::ALL {
            for number in (0..1200).chain(X32_BIT - 2..X32_BIT + 1200).chain(0xf_0000..0xf_0010) {
                let call = Call { number, arch: abi.audit(), args: [16, 0x5412, 9, 0, 0, 0] };
                assert_eq!(run(&program, &call).0, decide(&rules, &call).value(), "{call:x?}");
            }
        }
    }
}

#[test]
fn default_is_short_on_every_path() {
    let program = default_program(caps::DEFAULT);
    assert!(program.len() < 400, "{} instructions", program.len());
    for number in 0..500 {
        for abi in [Abi::X86_64, Abi::I386] {
            let (_, steps) = run(&program, &Call { number, arch: abi.audit(), args: [0; 6] });
            assert!(steps < 26, "number {number} takes {steps} instructions");
        }
    }
}

#[test]
fn unconfined_is_no_program() {
    assert_eq!(compile(&Seccomp::Unconfined, caps::DEFAULT).unwrap(), []);
}

#[test]
fn a_profile_becomes_a_program() {
    let text = r#"{"defaultAction": "SCMP_ACT_KILL_PROCESS", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
        {"names": ["read", "write", "exit_group"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97,
         "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_EQ"}]},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW"}]}"#;
    let target = Target { abis: X86, caps: 0, kernel: (6, 1) };
    let program = assemble(&profile::parse(text, &target).unwrap()).unwrap();
    for (abi, name, args, want) in [
        (Abi::X86_64, "read", &[][..], ALLOW),
        (Abi::X86_64, "open", &[], Action::KillProcess),
        (Abi::X86_64, "socket", &[38], EAFNOSUPPORT),
        (Abi::X86_64, "socket", &[2], ALLOW),
        (Abi::X32, "read", &[], Action::KillProcess),
        (Abi::I386, "read", &[], Action::KillProcess),
    ] {
        assert_eq!(run(&program, &call(abi, name, args)).0, want.value(), "{abi:?} {name}");
    }
}

#[test]
fn a_program_that_is_too_long_is_an_error() {
    let condition = |value| Condition { argument: 0, compare: Compare::Greater, value };
    let rule = |value| Rule {
        call: find("read").unwrap(),
        abis: Abis::ALL,
        action: EPERM,
        conditions: vec![condition(value); 6],
    };
    let rules = Rules { default: ALLOW, abis: X86, foreign: ALLOW, rules: (0..400).map(rule).collect() };
    assert!(matches!(assemble(&rules), Err(crate::runtime::seccomp::SeccompError::TooLong { .. })));
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(ALLOW),
        Just(EPERM),
        Just(ENOSYS),
        Just(Action::KillProcess),
        Just(Action::Trap),
        (1..4096u16).prop_map(Action::Errno),
        any::<u16>().prop_map(Action::Trace),
    ]
}

/// Numbers near each other and near the borders of their halves, so that comparisons have both outcomes.
fn values() -> impl Strategy<Value = u64> {
    let half = || prop_oneof![0..4u64, Just(0x7fff_ffff), Just(0x8000_0000), Just(0xffff_ffff)];
    (half(), half()).prop_map(|(high, low)| high << 32 | low)
}

fn conditions() -> impl Strategy<Value = Condition> {
    let compare = prop_oneof![
        Just(Compare::Equal),
        Just(Compare::NotEqual),
        Just(Compare::Less),
        Just(Compare::LessOrEqual),
        Just(Compare::Greater),
        Just(Compare::GreaterOrEqual),
        values().prop_map(Compare::MaskedEqual),
    ];
    (0..6u8, compare, values()).prop_map(|(argument, compare, value)| Condition { argument, compare, value })
}

/// Calls with neighbouring numbers, some of which one ABI or the other lacks.
const NAMES: [&str; 16] = [
    "read",
    "write",
    "open",
    "close",
    "stat",
    "fstat",
    "lstat",
    "poll",
    "ioctl",
    "socket",
    "socketcall",
    "clone3",
    "execve",
    "rt_sigaction",
    "modify_ldt",
    "personality",
];

fn rule() -> impl Strategy<Value = Rule> {
    let abis =
        prop_oneof![Just(Abis::ALL), Just(X86), Just(Abis::of(&[Abi::I386])), Just(Abis::of(&[Abi::X32]))];
    (0..NAMES.len(), abis, actions(), prop::collection::vec(conditions(), 0..4)).prop_map(
        |(name, abis, action, conditions)| Rule {
            call: find(NAMES[name]).unwrap(),
            abis,
            action,
            conditions,
        },
    )
}

fn rule_sets(sizes: std::ops::Range<usize>) -> impl Strategy<Value = Rules> {
    let abis = prop_oneof![
        Just(X86),
        Just(ARM),
        Just(Abis::of(&[Abi::X86_64])),
        Just(Abis::of(&[Abi::X32])),
        Just(Abis::of(&[Abi::X86_64, Abi::I386])),
    ];
    (actions(), abis, actions(), prop::collection::vec(rule(), sizes))
        .prop_map(|(default, abis, foreign, rules)| Rules { default, abis, foreign, rules })
}

fn calls() -> impl Strategy<Value = Call> {
    let named = (0..NAMES.len(), 0..5usize).prop_map(|(name, abi)| {
        let abi = Abi::ALL[abi];
        (find(NAMES[name]).unwrap().number(abi).unwrap_or(3), abi.audit())
    });
    let any_number = (prop_oneof![0..600u32, X32_BIT..X32_BIT + 600, any::<u32>()], 0..5usize)
        .prop_map(|(number, abi)| (number, Abi::ALL[abi].audit()));
    let any_call = prop_oneof![8 => named, 2 => any_number, 1 => any::<(u32, u32)>()];
    (any_call, prop::array::uniform6(values())).prop_map(|((number, arch), args)| Call { number, arch, args })
}

/// What must hold of any rules: the program says what they say, and the kernel would take it.
fn agrees(rules: &Rules, calls: &[Call]) -> Result<(), TestCaseError> {
    let Ok(program) = assemble(rules) else { return Ok(()) };
    for call in calls {
        prop_assert_eq!(run(&program, call).0, decide(rules, call).value(), "{:x?}", call);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn programs_decide_as_their_rules(rules in rule_sets(0..30), calls in prop::collection::vec(calls(), 50)) {
        agrees(&rules, &calls)?;
    }

    /// Hundreds of conditional rules: targets lie farther away than a jump reaches.
    #[test]
    fn long_programs_decide_as_their_rules(
        rules in rule_sets(60..200),
        calls in prop::collection::vec(calls(), 200),
    ) {
        agrees(&rules, &calls)?;
    }

    #[test]
    fn no_profile_panics(text in "\\PC*") {
        profile::parse(&text, &Target { abis: X86, caps: 0, kernel: (6, 1) }).ok();
    }
}
