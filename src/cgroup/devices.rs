//! Which devices a container may open or make: a program that the kernel asks about each of them.
//!
//! ```text
//! rules ─▶ encode ─▶ for each rule: another kind? other numbers? more than the rule allows?  next rule
//!                                   else yes
//!                    at the end: no
//! ```
//!
//! Only root of the machine may have the kernel ask. Others cannot make device nodes, and open those that they could open
//! without a container.
//!
//! # Source
//!
//! Linux `Documentation/admin-guide/cgroup-v2.rst`, "Device controller"; `Documentation/bpf/standardization/instruction-set.rst`.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::base::device::{Access, DeviceKind, DeviceRule};
use crate::sys::bpf::{self, Instruction};
use crate::sys::rlimit;

/// What every container may do, as with runc and crun: make any node, and use those that are nobody's hardware.
pub(crate) const USUAL: [&str; 11] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",   // null
    "c 1:5 rwm",   // zero
    "c 1:7 rwm",   // full
    "c 1:8 rwm",   // random
    "c 1:9 rwm",   // urandom
    "c 5:0 rwm",   // tty
    "c 5:1 rwm",   // console
    "c 5:2 rwm",   // ptmx
    "c 136:* rwm", // terminals
];

/// Lets the processes of the cgroup at `leaf` open and make only the [`USUAL`] devices and those of `rules`.
///
/// # Errors
///
/// If the kernel does not let this process have a say in that.
pub(crate) fn restrict(leaf: &Path, rules: &[DeviceRule]) -> io::Result<()> {
    let usual = USUAL.iter().filter_map(|text| text.parse().ok());
    let rules: Vec<DeviceRule> = usual.chain(rules.iter().copied()).collect();
    let program = load(&encode(&rules))?;
    let cgroup = rustix::fs::open(leaf, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    bpf::attach_device_program(program.as_fd(), cgroup.as_fd())
}

/// Before Linux 5.11 programs count as memory that their user has locked, of which root, too, may have little.
fn load(program: &[Instruction]) -> io::Result<std::os::fd::OwnedFd> {
    let loaded = bpf::load_device_program(program);
    let (Err(_), Ok((soft, hard))) = (&loaded, rlimit::get(libc::RLIMIT_MEMLOCK)) else { return loaded };
    if soft == u64::MAX || rlimit::set(libc::RLIMIT_MEMLOCK, u64::MAX, u64::MAX).is_err() {
        return loaded;
    }
    let again = bpf::load_device_program(program);
    rlimit::set(libc::RLIMIT_MEMLOCK, soft, hard)?;
    again
}

/// `dst = *(u32 *)(src + offset)`
const LOAD_WORD: u8 = 0x61;
/// `dst = src`, 32 bits
const COPY: u8 = 0xbc;
/// `dst = immediate`
const SET: u8 = 0xb7;
/// `dst &= immediate`, 32 bits
const AND: u8 = 0x54;
/// `dst >>= immediate`, 32 bits
const SHIFT_RIGHT: u8 = 0x74;
/// `if dst != immediate goto offset`
const JUMP_IF_NOT: u8 = 0x55;
/// `if dst != src goto offset`
const JUMP_IF_DIFFERENT: u8 = 0x5d;
const EXIT: u8 = 0x95;

/// The answer.
const ANSWER: u8 = 0;
/// What is asked (`struct bpf_cgroup_dev_ctx`): kind and access in one word, then the numbers.
const QUESTION: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = QUESTION;

const fn instruction(code: u8, target: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: source << 4 | target, offset, immediate }
}

/// The program that allows what one of `rules` allows, and nothing else. A question for several kinds of access at once
/// (reading and writing) is answered by a rule that has them all: rules for the same device count as one.
pub(crate) fn encode(rules: &[DeviceRule]) -> Vec<Instruction> {
    let rules = joined(rules);
    let answer = |yes| [instruction(SET, ANSWER, 0, 0, i32::from(yes)), instruction(EXIT, 0, 0, 0, 0)];
    // The kernel takes no program with parts that are never reached.
    if rules.iter().any(|rule| conditions(rule).is_empty()) {
        return answer(true).to_vec();
    }
    let mut program = vec![
        instruction(LOAD_WORD, KIND, QUESTION, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(LOAD_WORD, ACCESS, QUESTION, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, QUESTION, 4, 0),
        instruction(LOAD_WORD, MINOR, QUESTION, 8, 0),
    ];
    for rule in &rules {
        let conditions = conditions(rule);
        let length = conditions.len();
        program.extend(conditions.into_iter().enumerate().map(|(at, mut step)| {
            if matches!(step.code, JUMP_IF_NOT | JUMP_IF_DIFFERENT) {
                // Behind the answer.
                step.offset = i16::try_from(length - at + 1).unwrap_or(i16::MAX);
            }
            step
        }));
        program.extend(answer(true));
    }
    program.extend(answer(false));
    program
}

/// Rules for the same devices become one.
fn joined(rules: &[DeviceRule]) -> Vec<DeviceRule> {
    let mut joined: Vec<DeviceRule> = Vec::new();
    for rule in rules {
        let devices = |rule: &DeviceRule| (rule.kind, rule.major, rule.minor);
        match joined.iter_mut().find(|known| devices(known) == devices(rule)) {
            Some(known) => {
                let (known, more) = (&mut known.access, rule.access);
                known.read |= more.read;
                known.write |= more.write;
                known.make |= more.make;
            }
            None => joined.push(*rule),
        }
    }
    joined
}

/// The access in the kernel's bits (`BPF_DEVCG_ACC_…`).
fn bits(access: Access) -> i32 {
    i32::from(access.make) | i32::from(access.read) << 1 | i32::from(access.write) << 2
}

/// All kinds of access.
const ALL: i32 = 7;

/// What has to hold for a rule to allow something; jumps lead nowhere yet.
fn conditions(rule: &DeviceRule) -> Vec<Instruction> {
    let is = |what, wanted: u32| instruction(JUMP_IF_NOT, what, 0, 0, wanted.cast_signed());
    let mut steps = Vec::new();
    match rule.kind {
        DeviceKind::Any => {}
        DeviceKind::Block => steps.push(is(KIND, 1)),
        DeviceKind::Character => steps.push(is(KIND, 2)),
    }
    if bits(rule.access) != ALL {
        steps.extend([
            instruction(COPY, SCRATCH, ACCESS, 0, 0),
            instruction(AND, SCRATCH, 0, 0, bits(rule.access)),
            instruction(JUMP_IF_DIFFERENT, SCRATCH, ACCESS, 0, 0),
        ]);
    }
    steps.extend(rule.major.map(|number| is(MAJOR, number)));
    steps.extend(rule.minor.map(|number| is(MINOR, number)));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer: its instructions, as far as they are used here. `None` if it would not take the
    /// program.
    fn run(program: &[Instruction], kind: i64, access: i64, major: i64, minor: i64) -> Option<i64> {
        let question = [access << 16 | kind, major, minor];
        let mut registers = [0_i64; 6];
        let mut at = 0;
        loop {
            let Instruction { code, registers: names, offset, immediate } = *program.get(at)?;
            let (target, source) = (usize::from(names & 0xf), registers[usize::from(names >> 4)]);
            at += 1;
            let differs = match code {
                LOAD_WORD => {
                    registers[target] = question[usize::try_from(offset).ok()? / 4];
                    false
                }
                COPY => {
                    registers[target] = source;
                    false
                }
                SET => {
                    registers[target] = immediate.into();
                    false
                }
                AND => {
                    registers[target] &= i64::from(immediate);
                    false
                }
                SHIFT_RIGHT => {
                    registers[target] >>= immediate;
                    false
                }
                JUMP_IF_NOT => registers[target] != i64::from(immediate),
                JUMP_IF_DIFFERENT => registers[target] != source,
                EXIT => return Some(registers[usize::from(ANSWER)]),
                _ => return None,
            };
            if differs {
                at += usize::try_from(offset).ok()?;
            }
        }
    }

    const MAKE: i64 = 1;
    const READ: i64 = 2;
    const WRITE: i64 = 4;
    const BLOCK: i64 = 1;
    const CHARACTER: i64 = 2;

    fn rules(texts: &[&str]) -> Vec<DeviceRule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_rules_allow() {
        for (texts, kind, access, major, minor, want) in [
            (&[][..], CHARACTER, READ, 1, 3, 0),
            (&["c 1:3 r"], CHARACTER, READ, 1, 3, 1),
            (&["c 1:3 r"], CHARACTER, WRITE, 1, 3, 0),
            (&["c 1:3 r"], CHARACTER, READ | WRITE, 1, 3, 0),
            (&["c 1:3 r"], CHARACTER, READ, 1, 5, 0),
            (&["c 1:3 r"], CHARACTER, READ, 2, 3, 0),
            (&["c 1:3 r"], BLOCK, READ, 1, 3, 0),
            (&["c 1:3 r", "c 1:3 w"], CHARACTER, READ | WRITE, 1, 3, 1),
            (&["c 1:3 rw"], CHARACTER, MAKE, 1, 3, 0),
            (&["b 8:* rwm"], BLOCK, READ | WRITE | MAKE, 8, 17, 1),
            (&["b 8:* rwm"], BLOCK, READ, 9, 17, 0),
            (&["a 8:* r"], BLOCK, READ, 8, 17, 1),
            (&["a 8:* r"], CHARACTER, READ, 8, 17, 1),
            (&["c 4294967295:0 r"], CHARACTER, READ, 4095, 0, 0),
            (&["c 1:3 r", "a *:* rwm"], BLOCK, READ | WRITE, 8, 0, 1),
            (&["a *:* rw", "a *:* m"], BLOCK, READ | WRITE, 8, 0, 1),
            (&["c 1:1 r", "c 1:2 r", "c 1:3 r"], CHARACTER, READ, 1, 2, 1),
        ] {
            let program = encode(&rules(texts));
            let got = run(&program, kind, access, major, minor);
            assert_eq!(got, Some(want), "{texts:?}: {kind} {access} {major}:{minor}");
        }
    }

    #[test]
    fn the_usual_devices() {
        let program = encode(&rules(&USUAL));
        let ask = |kind, access, major, minor| run(&program, kind, access, major, minor) == Some(1);
        assert!(ask(BLOCK, MAKE, 8, 0) && ask(CHARACTER, MAKE, 10, 200));
        assert!(ask(CHARACTER, READ | WRITE, 1, 3) && ask(CHARACTER, READ | WRITE, 136, 77));
        assert!(!ask(BLOCK, READ, 8, 0) && !ask(CHARACTER, READ, 1, 1) && !ask(CHARACTER, WRITE, 10, 200));
    }

    #[test]
    fn instructions_are_the_kernels() {
        let program = encode(&rules(&["c 1:3 rwm"]));
        let bytes: Vec<_> =
            program.iter().map(|step| (step.code, step.registers, step.offset, step.immediate)).collect();
        assert_eq!(
            bytes,
            [
                (0x61, 0x12, 0, 0),      // r2 = *(u32 *)(r1 + 0)
                (0x54, 0x02, 0, 0xffff), // w2 &= 0xffff
                (0x61, 0x13, 0, 0),      // r3 = *(u32 *)(r1 + 0)
                (0x74, 0x03, 0, 16),     // w3 >>= 16
                (0x61, 0x14, 4, 0),      // r4 = *(u32 *)(r1 + 4)
                (0x61, 0x15, 8, 0),      // r5 = *(u32 *)(r1 + 8)
                (0x55, 0x02, 4, 2),      // if r2 != 2 goto +4
                (0x55, 0x04, 3, 1),      // if r4 != 1 goto +3
                (0x55, 0x05, 2, 3),      // if r5 != 3 goto +2
                (0xb7, 0x00, 0, 1),      // r0 = 1
                (0x95, 0x00, 0, 0),      // exit
                (0xb7, 0x00, 0, 0),      // r0 = 0
                (0x95, 0x00, 0, 0),      // exit
            ]
        );
    }
}
