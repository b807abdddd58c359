//! Packet filters (classic BPF) for what netd captures: pure SYNs, echo requests, and parts of ICMP messages.

use crate::sys::packet::Instruction;

/// `ETH_P_IP`.
pub(crate) const ETHER_IPV4: u16 = 0x0800;
/// `ETH_P_IPV6`.
pub(crate) const ETHER_IPV6: u16 = 0x86dd;

const fn op(code: u16, jump_true: u8, jump_false: u8, value: u32) -> Instruction {
    Instruction { code, jump_true, jump_false, value }
}

// Names after the BSD manual page bpf(4): LD into A, LDX into X; B byte, H half word.
const LDB: u16 = 0x30;
const LDH: u16 = 0x28;
const LDB_X: u16 = 0x50;
const LDX_HEADER: u16 = 0xb1;
const AND: u16 = 0x54;
const JEQ: u16 = 0x15;
const JSET: u16 = 0x45;
const RET: u16 = 0x06;

const ALL: u32 = 0x4_0000;
const SYN_OR_ACK: u32 = 0x12;
const SYN: u32 = 0x02;

/// The offset of a fragment, and that more follow.
const FRAGMENT: u32 = 0x3fff;

/// For IPv4. A SYN is never a fragment.
pub(crate) const IPV4: [Instruction; 15] = [
    op(LDX_HEADER, 0, 0, 0),
    op(LDB, 0, 0, 9),
    op(JEQ, 0, 5, 6), // TCP?
    op(LDH, 0, 0, 6),
    op(JSET, 8, 0, FRAGMENT),
    op(LDB_X, 0, 0, 13),
    op(AND, 0, 0, SYN_OR_ACK),
    op(JEQ, 6, 5, SYN),
    op(JEQ, 0, 4, 1), // ICMP?
    op(LDH, 0, 0, 6),
    op(JSET, 3, 0, FRAGMENT),
    op(LDB_X, 0, 0, 0),
    op(JEQ, 1, 0, 8), // echo request
    op(RET, 0, 0, 0),
    op(RET, 0, 0, ALL),
];

/// For IPv6. No extension headers but that of fragments: neither SYNs nor echo requests have others in practice.
pub(crate) const IPV6: [Instruction; 13] = [
    op(LDB, 0, 0, 6),
    op(JEQ, 0, 3, 6), // TCP?
    op(LDB, 0, 0, 40 + 13),
    op(AND, 0, 0, SYN_OR_ACK),
    op(JEQ, 7, 6, SYN),
    op(JEQ, 0, 2, 44), // a fragment?
    op(LDB, 0, 0, 40),
    op(JEQ, 4, 3, 58), // of ICMPv6
    op(JEQ, 0, 2, 58), // ICMPv6?
    op(LDB, 0, 0, 40),
    op(JEQ, 1, 0, 128), // echo request
    op(RET, 0, 0, 0),
    op(RET, 0, 0, ALL),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets the few instructions used here.
    fn run(program: &[Instruction], packet: &[u8]) -> u32 {
        let (mut a, mut x, mut pc) = (0_u32, 0_usize, 0);
        let byte = |at: usize| packet.get(at).copied().map(u32::from);
        loop {
            let Instruction { code, jump_true, jump_false, value } = program[pc];
            pc += 1;
            let at = value as usize;
            let jump = |yes: bool| usize::from(if yes { jump_true } else { jump_false });
            // A load beyond the packet ends the filter with "no".
            let loaded = match code {
                LDB => byte(at),
                LDB_X => byte(at + x),
                LDH => byte(at).zip(byte(at + 1)).map(|(high, low)| high << 8 | low),
                LDX_HEADER => {
                    x = byte(at).map_or(0, |b| (b as usize & 15) * 4);
                    Some(a)
                }
                AND => Some(a & value),
                JEQ => {
                    pc += jump(a == value);
                    Some(a)
                }
                JSET => {
                    pc += jump(a & value != 0);
                    Some(a)
                }
                RET => return value,
                other => panic!("unknown instruction {other:#x}"),
            };
            let Some(loaded) = loaded else { return 0 };
            a = loaded;
        }
    }

    #[test]
    fn ipv4_filter() {
        let packet = |protocol: u8, fragment: u16, at: usize, byte: u8, header: usize| {
            let mut packet = vec![0; 60];
            packet[0] = 0x40 | u8::try_from(header / 4).unwrap();
            packet[6..8].copy_from_slice(&fragment.to_be_bytes());
            packet[9] = protocol;
            packet[header + at] = byte;
            packet
        };
        for (protocol, fragment, at, byte, header, want) in [
            (6, 0x4000, 13, 0x02, 20, true),
            (6, 0x4000, 13, 0x02, 24, true),
            (6, 0x4000, 13, 0xc2, 20, true), // SYN with ECN
            (6, 0x4000, 13, 0x12, 20, false),
            (6, 0x4000, 13, 0x10, 20, false),
            (6, 0x0001, 13, 0x02, 20, false),
            (6, 0x2000, 13, 0x02, 20, false),
            (1, 0, 0, 8, 20, true),
            (1, 0, 0, 0, 20, false),
            (1, 0x2000, 0, 8, 20, true), // the first part
            (1, 0x0001, 0, 0, 20, true), // a later one
            (17, 0x2000, 0, 8, 20, false),
            (17, 0, 0, 8, 20, false),
        ] {
            let got = run(&IPV4, &packet(protocol, fragment, at, byte, header)) > 0;
            assert_eq!(got, want, "protocol {protocol} fragment {fragment:#x} byte {byte:#x}");
        }
        assert_eq!(run(&IPV4, &[0x45]), 0);
    }

    #[test]
    fn ipv6_filter() {
        for (protocol, at, byte, want) in [
            (6, 53, 0x02, true),
            (6, 53, 0x12, false),
            (58, 40, 128, true),
            (58, 40, 135, false), // neighbour solicitation
            (44, 40, 58, true),
            (44, 40, 17, false),
            (17, 40, 128, false),
        ] {
            let mut packet = vec![0; 60];
            packet[6] = protocol;
            packet[at] = byte;
            assert_eq!(run(&IPV6, &packet) > 0, want, "protocol {protocol} byte {byte}");
        }
    }
}
