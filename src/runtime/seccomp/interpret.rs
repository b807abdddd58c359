//! Two ways to know what a filter decides, for tests: run the program, or ask the rules directly.

use crate::runtime::seccomp::assemble::{AND, IF_EQUAL, IF_GREATER, IF_GREATER_OR_EQUAL, JUMP, LOAD, RETURN};
use crate::runtime::seccomp::rules::{Abi, Action, Compare, Condition, Rules, X32_BIT};
use crate::sys::seccomp::BpfInsn;

/// A system call as a filter sees it (`struct seccomp_data`, without the instruction pointer).
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) arch: u32,
    pub(super) args: [u64; 6],
}

/// Runs `program` as the kernel would. Returns its value and how many instructions that took.
pub(super) fn run(program: &[BpfInsn], call: &Call) -> (u32, usize) {
    let (mut pc, mut a, mut steps) = (0, 0, 0);
    loop {
        let insn = program[pc];
        let jump = |holds: bool| usize::from(if holds { insn.jt } else { insn.jf });
        pc += 1;
        steps += 1;
        match insn.code {
            LOAD => a = load(call, insn.k),
            AND => a &= insn.k,
            JUMP => pc += insn.k as usize,
            IF_EQUAL => pc += jump(a == insn.k),
            IF_GREATER => pc += jump(a > insn.k),
            IF_GREATER_OR_EQUAL => pc += jump(a >= insn.k),
            RETURN => return (insn.k, steps),
            code => panic!("instruction {code:#x} at {pc}"),
        }
    }
}

fn load(call: &Call, offset: u32) -> u32 {
    let mut data = Vec::new();
    data.extend(call.number.to_le_bytes());
    data.extend(call.arch.to_le_bytes());
    data.extend(0u64.to_le_bytes());
    data.extend(call.args.iter().flat_map(|arg| arg.to_le_bytes()));
    let at = offset as usize;
    u32::from_le_bytes(data[at..at + 4].try_into().unwrap())
}

/// What `rules` say about a call, read off them without a program.
pub(super) fn decide(rules: &Rules, call: &Call) -> Action {
    let x32 = call.arch == Abi::X32.audit() && call.number >= X32_BIT;
    let abi = Abi::ALL.into_iter().find(|abi| abi.audit() == call.arch && (*abi == Abi::X32) == x32);
    let Some(abi) = abi.filter(|abi| rules.abis.contain(*abi)) else { return rules.foreign };
    let of_call = || {
        rules.rules.iter().filter(|rule| rule.abis.contain(abi) && rule.call.number(abi) == Some(call.number))
    };
    let holding = of_call()
        .find(|rule| !rule.conditions.is_empty() && rule.conditions.iter().all(|one| holds(one, &call.args)));
    holding
        .or_else(|| of_call().find(|rule| rule.conditions.is_empty()))
        .map_or(rules.default, |rule| rule.action)
}

fn holds(condition: &Condition, args: &[u64; 6]) -> bool {
    let arg = args[usize::from(condition.argument)];
    match condition.compare {
        Compare::Equal => arg == condition.value,
        Compare::NotEqual => arg != condition.value,
        Compare::Less => arg < condition.value,
        Compare::LessOrEqual => arg <= condition.value,
        Compare::Greater => arg > condition.value,
        Compare::GreaterOrEqual => arg >= condition.value,
        Compare::MaskedEqual(mask) => arg & mask == condition.value,
    }
}
