//! From rules to a BPF program.
//!
//! ```text
//! load the ABI's mark ─▶ one search tree per mark ─▶ return an action
//!                          load the number             or: compare arguments first
//!                          number ≥ 59? ≥ 29? …
//! ```
//!
//! The kernel emulates a new filter once for each number of each ABI, to learn which calls it can let
//! pass without running it; so a load costs instructions per call times about a thousand, and a tree
//! makes that nine where a list makes it hundreds. Neighbouring numbers with one fate are one range.
//!
//! Jumps lead forward only and the conditional ones at most 255 instructions far. So the program is
//! written from its end to its beginning: the target of each jump is there, and its distance known,
//! when the jump is written.

use crate::base::order::InOrder as _;
use crate::runtime::seccomp::SeccompError;
use crate::runtime::seccomp::rules::{Abi, Action, Compare, Condition, Rule, Rules, X32_BIT};
use crate::sys::seccomp::{BpfInsn, MAX_INSTRUCTIONS};

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `BPF_LD | BPF_W | BPF_ABS`
pub(super) const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`
pub(super) const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`
pub(super) const JUMP: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`
pub(super) const IF_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`
pub(super) const IF_GREATER: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`
pub(super) const IF_GREATER_OR_EQUAL: u16 = 0x35;
/// `BPF_RET | BPF_K`
pub(super) const RETURN: u16 = 0x06;

/// The program that decides as `rules` do.
///
/// # Errors
///
/// [`SeccompError::TooLong`] if the kernel would refuse it for its length.
pub(crate) fn assemble(rules: &Rules) -> Result<Vec<BpfInsn>, SeccompError> {
    let mut program = Program::default();
    let mut trees: Vec<(u32, Label)> = Vec::new();
    for abi in Abi::ALL {
        let mark = abi.audit();
        if rules.abis.contain(abi) && trees.iter().all(|(known, _)| *known != mark) {
            let ranges = ranges(rules, mark);
            let tree = program.tree(&ranges);
            trees.push((mark, program.load(NUMBER, tree)));
        }
    }
    let mut next = program.action(rules.foreign);
    for (mark, tree) in trees {
        next = program.branch(IF_EQUAL, mark, tree, next);
    }
    program.load(ARCH, next);
    program.finish()
}

/// What becomes of a call: the conditional rules in order, then an action.
struct Verdict<'a> {
    conditional: Vec<&'a Rule>,
    otherwise: Action,
}

impl Verdict<'_> {
    fn always(action: Action) -> Self {
        Verdict { conditional: Vec::new(), otherwise: action }
    }

    fn same(&self, other: &Verdict<'_>) -> bool {
        self.conditional.is_empty() && other.conditional.is_empty() && self.otherwise == other.otherwise
    }
}

/// All numbers from `first` up to the next range have this verdict.
struct Range<'a> {
    first: u32,
    verdict: Verdict<'a>,
}

/// The verdicts on all numbers under one mark, in as few ranges as possible; the first begins at 0.
fn ranges(rules: &Rules, mark: u32) -> Vec<Range<'_>> {
    let mut ranges = Vec::new();
    let mut next = Some(0);
    for group in by_number(rules, mark).chunk_by(|a, b| a.0 == b.0) {
        let number = group[0].0;
        if let Some(from) = next.filter(|from| *from < number) {
            gap(&mut ranges, rules, mark, from, number - 1);
        }
        let same_call = || group.iter().map(|(_, index)| &rules.rules[*index]);
        let fallback = same_call().find(|rule| rule.conditions.is_empty());
        let verdict = Verdict {
            conditional: same_call().filter(|rule| !rule.conditions.is_empty()).collect(),
            otherwise: fallback.map_or(rules.default, |rule| rule.action),
        };
        extend(&mut ranges, number, verdict);
        next = number.checked_add(1);
    }
    if let Some(from) = next {
        gap(&mut ranges, rules, mark, from, u32::MAX);
    }
    ranges
}

/// The rules' numbers under one mark, each with the index of its rule, in order of both.
fn by_number(rules: &Rules, mark: u32) -> Vec<(u32, usize)> {
    let mut numbers = Vec::with_capacity(2 * rules.rules.len());
    for abi in Abi::ALL.into_iter().filter(|abi| abi.audit() == mark && rules.abis.contain(*abi)) {
        for (index, rule) in rules.rules.iter().enumerate() {
            if rule.abis.contain(abi) {
                numbers.extend(rule.call.number(abi).map(|number| (number, index)));
            }
        }
    }
    numbers.order();
    numbers
}

/// Numbers that no rule is about, `from` and `to` included.
fn gap<'a>(ranges: &mut Vec<Range<'a>>, rules: &Rules, mark: u32, from: u32, to: u32) {
    let shared_mark = mark == Abi::X32.audit();
    let action = |number: u32| match (shared_mark, number >= X32_BIT) {
        (true, true) if !rules.abis.contain(Abi::X32) => rules.foreign,
        (true, false) if !rules.abis.contain(Abi::X86_64) => rules.foreign,
        _ => rules.default,
    };
    extend(ranges, from, Verdict::always(action(from)));
    if shared_mark && from < X32_BIT && X32_BIT <= to {
        extend(ranges, X32_BIT, Verdict::always(action(X32_BIT)));
    }
}

fn extend<'a>(ranges: &mut Vec<Range<'a>>, first: u32, verdict: Verdict<'a>) {
    if !ranges.last().is_some_and(|last| last.verdict.same(&verdict)) {
        ranges.push(Range { first, verdict });
    }
}

/// An instruction already written, counted from the end of the program.
type Label = usize;

/// The farthest a conditional jump reaches; one less than it can, to leave room for a plain jump.
const REACH: usize = 254;

/// A program in the making, the last instruction first.
#[derive(Default)]
struct Program {
    reversed: Vec<BpfInsn>,
    /// Where each action was last written as a return.
    returns: Vec<(Action, Label)>,
}

impl Program {
    /// Writes an instruction that goes on to the one written before it.
    fn push(&mut self, code: u16, k: u32) -> Label {
        self.reversed.push(BpfInsn { code, jt: 0, jf: 0, k });
        self.reversed.len() - 1
    }

    /// Loads a word of the call's description, then goes to `next`.
    fn load(&mut self, offset: u32, next: Label) -> Label {
        if self.distance(next) > 0 {
            self.jump(next);
        }
        self.push(LOAD, offset)
    }

    /// How many instructions one written next would skip to reach `target`.
    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - target - 1
    }

    /// A return of `action` within reach: one that is there already, or a new one.
    fn action(&mut self, action: Action) -> Label {
        let known = self.returns.iter().position(|(known, _)| *known == action);
        match known {
            Some(i) if self.distance(self.returns[i].1) < REACH => return self.returns[i].1,
            Some(i) => drop(self.returns.swap_remove(i)),
            None => {}
        }
        let label = self.push(RETURN, action.value());
        self.returns.push((action, label));
        label
    }

    /// Compares with `k` and goes to `yes` or `no`, by way of plain jumps where that is too far.
    fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        let no = self.within_reach(no);
        let yes = self.within_reach(yes);
        let skip = |distance: usize| u8::try_from(distance).expect("the targets were brought within reach");
        let (jt, jf) = (skip(self.distance(yes)), skip(self.distance(no)));
        self.reversed.push(BpfInsn { code, jt, jf, k });
        self.reversed.len() - 1
    }

    fn within_reach(&mut self, target: Label) -> Label {
        if self.distance(target) > REACH { self.jump(target) } else { target }
    }

    fn jump(&mut self, target: Label) -> Label {
        let distance =
            u32::try_from(self.distance(target)).expect("programs of 2^32 instructions do not fit");
        self.push(JUMP, distance)
    }

    /// The search among `ranges`, which are not empty.
    fn tree(&mut self, ranges: &[Range<'_>]) -> Label {
        if let [range] = ranges {
            return self.verdict(&range.verdict);
        }
        let (low, high) = ranges.split_at(ranges.len() / 2);
        // Subtrees first: the returns of plain ranges should be near the comparison that leads there.
        let high_tree = (high.len() > 1).then(|| self.tree(high));
        let low_tree = (low.len() > 1).then(|| self.tree(low));
        let high_tree = high_tree.unwrap_or_else(|| self.tree(high));
        let low_tree = low_tree.unwrap_or_else(|| self.tree(low));
        self.branch(IF_GREATER_OR_EQUAL, high[0].first, high_tree, low_tree)
    }

    fn verdict(&mut self, verdict: &Verdict<'_>) -> Label {
        let mut next = self.action(verdict.otherwise);
        for rule in verdict.conditional.iter().rev() {
            let mut holds = self.action(rule.action);
            for condition in rule.conditions.iter().rev() {
                holds = self.condition(condition, holds, next);
            }
            next = holds;
        }
        next
    }

    fn condition(&mut self, condition: &Condition, yes: Label, no: Label) -> Label {
        match condition.compare {
            Compare::Equal => self.masked(condition, u64::MAX, yes, no),
            Compare::NotEqual => self.masked(condition, u64::MAX, no, yes),
            Compare::MaskedEqual(mask) => self.masked(condition, mask, yes, no),
            Compare::Greater => self.ordered(condition, IF_GREATER, yes, no),
            Compare::GreaterOrEqual => self.ordered(condition, IF_GREATER_OR_EQUAL, yes, no),
            Compare::Less => self.ordered(condition, IF_GREATER_OR_EQUAL, no, yes),
            Compare::LessOrEqual => self.ordered(condition, IF_GREATER, no, yes),
        }
    }

    /// To `yes` if the argument under `mask` is the value. BPF has 32 bits, so: one half, then the other.
    fn masked(&mut self, condition: &Condition, mask: u64, yes: Label, no: Label) -> Label {
        let mut equal = yes;
        for half in [Half::Low, Half::High] {
            let (mask, value) = (half.of(mask), half.of(condition.value));
            if mask == 0 && value == 0 {
                continue;
            }
            equal = self.branch(IF_EQUAL, value, equal, no);
            if mask != u32::MAX {
                equal = self.push(AND, mask);
            }
            equal = self.load(half.offset(condition.argument), equal);
        }
        equal
    }

    /// To `yes` if the argument is above the value; `code` says whether equality is enough.
    fn ordered(&mut self, condition: &Condition, code: u16, yes: Label, no: Label) -> Label {
        let (high, low) = (Half::High.of(condition.value), Half::Low.of(condition.value));
        let compare_low = self.branch(code, low, yes, no);
        let same_high = self.load(Half::Low.offset(condition.argument), compare_low);
        let not_above = self.branch(IF_EQUAL, high, same_high, no);
        let compare_high = self.branch(IF_GREATER, high, yes, not_above);
        self.load(Half::High.offset(condition.argument), compare_high)
    }

    fn finish(mut self) -> Result<Vec<BpfInsn>, SeccompError> {
        if self.reversed.len() > MAX_INSTRUCTIONS {
            return Err(SeccompError::TooLong { len: self.reversed.len() });
        }
        self.reversed.reverse();
        Ok(self.reversed)
    }
}

/// One half of a 64-bit argument, as a little-endian machine stores it.
#[derive(Clone, Copy)]
enum Half {
    Low,
    High,
}

impl Half {
    #[expect(clippy::cast_possible_truncation, reason = "taking a half is the point")]
    fn of(self, value: u64) -> u32 {
        match self {
            Half::Low => value as u32,
            Half::High => (value >> 32) as u32,
        }
    }

    fn offset(self, argument: u8) -> u32 {
        let within = match self {
            Half::Low => 0,
            Half::High => 4,
        };
        ARGUMENTS + 8 * u32::from(argument) + within
    }
}
