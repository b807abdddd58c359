//! An nf_tables transaction: all of it takes effect, or nothing.
//!
//! # Source
//!
//! Linux `include/uapi/linux/netfilter/nf_tables.h`, `nfnetlink.h`.

use super::rule::Rule;
use crate::net::netlink::Batch;

const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10 << 8;
const NFT_MSG_NEWTABLE: u16 = SUBSYSTEM;
const NFT_MSG_DELTABLE: u16 = SUBSYSTEM | 2;
const NFT_MSG_NEWCHAIN: u16 = SUBSYSTEM | 3;
const NFT_MSG_NEWRULE: u16 = SUBSYSTEM | 6;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

/// NFPROTO_INET: IPv4 and IPv6.
const INET: u8 = 1;
const NF_INET_PRE_ROUTING: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// A transaction in the making.
#[derive(Debug)]
pub(super) struct Ruleset {
    batch: Batch,
}

impl Ruleset {
    pub(super) fn begin() -> Self {
        let mut batch = Batch::new();
        batch.header(NFNL_MSG_BATCH_BEGIN, REQUEST, "begin nf_tables transaction").raw(&nfgenmsg(0, 10));
        Self { batch }
    }

    /// Ends the transaction: its bytes and what each message does.
    pub(super) fn finish(mut self) -> (Vec<u8>, Vec<String>) {
        self.batch.header(NFNL_MSG_BATCH_END, REQUEST, "commit nf_tables transaction").raw(&nfgenmsg(0, 10));
        self.batch.finish()
    }

    fn message(&mut self, kind: u16, flags: u16, label: String) -> &mut Batch {
        self.batch.header(kind, REQUEST | ACK | flags, label).raw(&nfgenmsg(INET, 0))
    }

    pub(super) fn add_table(&mut self, table: &str) -> &mut Self {
        self.message(NFT_MSG_NEWTABLE, 0, format!("add nf_tables table {table}"))
            .text(1, table)
            .number_be(2, 0);
        self
    }

    pub(super) fn delete_table(&mut self, table: &str) -> &mut Self {
        self.message(NFT_MSG_DELTABLE, 0, format!("delete nf_tables table {table}")).text(1, table);
        self
    }

    /// Adds a filter chain at the prerouting hook that accepts what no rule decides.
    pub(super) fn add_prerouting_chain(&mut self, table: &str, chain: &str, priority: i32) -> &mut Self {
        self.message(NFT_MSG_NEWCHAIN, CREATE, format!("add nf_tables chain {chain}"))
            .text(1, table)
            .text(3, chain)
            .text(7, "filter")
            .number_be(5, NF_ACCEPT)
            .nested(4, |hook| {
                hook.number_be(1, NF_INET_PRE_ROUTING);
                hook.attribute(2, &priority.to_be_bytes());
            });
        self
    }

    pub(super) fn add_rule(&mut self, table: &str, chain: &str, rule: &Rule) -> &mut Self {
        self.message(NFT_MSG_NEWRULE, CREATE | APPEND, format!("add nf_tables rule with {}", rule.modules()))
            .text(1, table)
            .text(2, chain)
            .nested(4, |expressions| rule.encode(expressions));
        self
    }
}

/// `struct nfgenmsg`: family, version, resource in network byte order.
fn nfgenmsg(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}
