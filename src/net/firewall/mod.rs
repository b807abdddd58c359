//! The packet filter of G: which packets netd gets to see, and that nothing else passes.
//!
//! ```text
//! prerouting, priority mangle
//!   re-injected SYN (mark 1 on lo)        → netd's TCP listener, with its address kept
//!   anything else on lo                   → as usual
//!   SYN to an address that is not G's     → dropped: the packet socket has a copy
//!   TCP that belongs to a socket of netd  → mark 1, which the policy route makes local
//!   for G itself, broadcast, multicast    → as usual (neighbours, DNS, ping of the gateway)
//!   UDP to elsewhere                      → the flow's socket, or netd's for all of UDP; mark 1
//!   the rest                              → dropped: G forwards nothing
//! ```
//!
//! A pure SYN never matches a socket of netd, or one in TIME_WAIT would answer it.
//!
//! A datagram is given to its socket right there (tproxy takes only connected ones): were it only marked, it would be
//! looked up once more on its way, and lost if the socket that was found at first has been connected meanwhile.

mod batch;
mod rule;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use batch::Ruleset;
pub(crate) use rule::Rule;
use rule::{AddressType, Proto};

use super::netlink::ConfigError;
use crate::sys::netlink::{Netlink, NetlinkError};

/// The mark of packets that are delivered to G whatever their address.
pub(crate) const MARK: u32 = 1;
/// The routing table of marked packets.
pub(crate) const TABLE: u8 = 100;
/// Where re-injected SYNs are accepted, on loopback.
pub(crate) const TCP_PORT: u16 = 7001;
/// Where the first datagram of a flow arrives, on loopback.
pub(crate) const UDP_PORT: u16 = 7002;
/// Index of `lo`, the first link of every namespace.
const LOOPBACK: u32 = 1;

const TABLE_NAME: &str = "ketch";
const CHAIN_NAME: &str = "pre";
/// `NF_IP_PRI_MANGLE`.
const PRIORITY: i32 = -150;

/// The rules, in order.
pub(crate) fn rules() -> Vec<Rule> {
    let loopback4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let loopback6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let reinjected = |to: IpAddr| {
        Rule::new().input(LOOPBACK).mark(MARK).family(to.is_ipv6()).syn().tproxy(to, TCP_PORT).accept()
    };
    let datagram = |to: IpAddr| {
        Rule::new().family(to.is_ipv6()).proto(Proto::Udp).tproxy(to, UDP_PORT).set_mark(MARK).accept()
    };
    vec![
        reinjected(loopback4),
        reinjected(loopback6),
        Rule::new().input(LOOPBACK).accept(),
        Rule::new().syn().destination_is_not(AddressType::Local).drop(),
        // A socket of netd's takes packets from whatever link: nobody sends any in the name of a container elsewhere.
        Rule::new().proto(Proto::Tcp).source_is_elsewhere().drop(),
        Rule::new().proto(Proto::Udp).source_is_elsewhere().drop(),
        Rule::new().proto(Proto::Tcp).transparent_socket().set_mark(MARK).accept(),
        Rule::new().destination_is(AddressType::Local).accept(),
        Rule::new().destination_is(AddressType::Broadcast).accept(),
        Rule::new().destination_is(AddressType::Multicast).accept(),
        datagram(loopback4),
        datagram(loopback6),
        Rule::new().drop(),
    ]
}

/// Puts the rules in force, in place of those that an earlier netd may have left, as one step.
pub(crate) fn install(socket: &mut Netlink) -> Result<(), ConfigError> {
    let mut ruleset = Ruleset::begin();
    // Deleting what is not there is an error, so it is made first; the kernel sees one transaction.
    ruleset.add_table(TABLE_NAME).delete_table(TABLE_NAME);
    fill(&mut ruleset);
    let (mut bytes, labels) = ruleset.finish();
    socket.transact(&mut bytes).map_err(|source| {
        let index = if let NetlinkError::Refused { index, .. } = source { index } else { 0 };
        let what = labels.get(index).map_or("load nf_tables rules", String::as_str);
        ConfigError { what: what.into(), source }
    })
}

/// Tries each kind of rule by itself, in the socket's namespace, and names those that the kernel does not
/// take: the module and what it is for.
pub(crate) fn missing(socket: &mut Netlink) -> Vec<(&'static str, NetlinkError)> {
    let loopback4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let datagram = || Rule::new().family(false).proto(Proto::Udp);
    let kinds = [
        ("nf_tables", Rule::new().accept()),
        ("nft_fib, nft_fib_inet", Rule::new().destination_is(AddressType::Local).accept()),
        ("nft_socket", Rule::new().proto(Proto::Tcp).transparent_socket().accept()),
        ("nft_tproxy", datagram().tproxy(loopback4, UDP_PORT).accept()),
    ];
    let mut missing = Vec::new();
    for (module, rule) in kinds {
        let mut ruleset = Ruleset::begin();
        ruleset.add_table(TABLE_NAME).delete_table(TABLE_NAME).add_table(TABLE_NAME);
        ruleset
            .add_prerouting_chain(TABLE_NAME, CHAIN_NAME, PRIORITY)
            .add_rule(TABLE_NAME, CHAIN_NAME, &rule);
        let (mut bytes, _labels) = ruleset.finish();
        if let Err(error) = socket.transact(&mut bytes) {
            missing.push((module, error));
        }
    }
    missing
}

fn fill(ruleset: &mut Ruleset) {
    ruleset.add_table(TABLE_NAME).add_prerouting_chain(TABLE_NAME, CHAIN_NAME, PRIORITY);
    for rule in rules() {
        ruleset.add_rule(TABLE_NAME, CHAIN_NAME, &rule);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::netlink;
    use crate::sys::netlink::HEADER_BYTES;

    /// What Debian's nft 1.0.6 sends for `testdata/rules.nft`, taken with
    /// `unshare -Urn strace -e trace=sendmsg -e write=all nft -f rules.nft`.
    const FROM_NFT: &[u8] = include_bytes!("testdata/rules.bin");

    /// Messages as (type, payload): sequence numbers and acknowledgement flags are the sender's own.
    fn messages(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
        let mut found = Vec::new();
        while bytes.len() >= HEADER_BYTES {
            let length = u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize;
            let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
            found.push((kind, &bytes[HEADER_BYTES..length]));
            bytes = &bytes[length.next_multiple_of(4)..];
        }
        found
    }

    #[test]
    fn the_rules_are_byte_for_byte_what_nft_sends() {
        let mut ruleset = Ruleset::begin();
        fill(&mut ruleset);
        let (ours, labels) = ruleset.finish();
        let (ours, theirs) = (messages(&ours), messages(FROM_NFT));
        for (i, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            assert_eq!(ours, theirs, "message {i}: {}", labels[i]);
        }
        assert_eq!(ours.len(), theirs.len());
    }

    #[test]
    fn the_text_of_the_golden_file_names_our_ports_and_mark() {
        let text = include_str!("testdata/rules.nft");
        assert!(text.contains(&format!("127.0.0.1:{TCP_PORT}")));
        assert!(text.contains(&format!("127.0.0.1:{UDP_PORT}")));
        assert_eq!(text.lines().filter(|line| line.starts_with("add rule")).count(), rules().len());
    }

    #[test]
    fn the_kernel_takes_them_and_takes_them_again() {
        crate::net::testing::in_namespaces(
            "net::firewall::tests::the_kernel_takes_them_and_takes_them_again",
            || {
                let mut socket = Netlink::open(crate::sys::netlink::Protocol::Netfilter).unwrap();
                install(&mut socket).unwrap();
                install(&mut socket).unwrap();
                let mut route = Netlink::open(crate::sys::netlink::Protocol::Route).unwrap();
                assert!(netlink::links(&mut route).unwrap().iter().any(|link| link.name == "lo"));
            },
        );
    }
}
