//! Links: a veth pair into another namespace, bridges, and changes to what is there.
//!
//! # Source
//!
//! rtnetlink(7), Linux `include/uapi/linux/if_link.h` and `veth.h`.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::message::{Batch, CREATE};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_SETLINK: u16 = 19;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_PROTINFO: u16 = 12;

const IFF_UP: u32 = 1;

/// `struct ifinfomsg` of link `index` (0: a new one, or one found by name).
fn ifinfo(family: u8, index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut info = [0; 16];
    info[0] = family;
    info[4..8].copy_from_slice(&index.to_ne_bytes());
    info[8..12].copy_from_slice(&flags.to_ne_bytes());
    info[12..16].copy_from_slice(&change.to_ne_bytes());
    info
}

/// Adds a bridge, up.
pub(crate) fn bridge(batch: &mut Batch, name: &str, mtu: u32, mac: Option<[u8; 6]>) {
    batch.begin(RTM_NEWLINK, CREATE, format!("add bridge {name}")).raw(&ifinfo(0, 0, IFF_UP, IFF_UP));
    batch.text(IFLA_IFNAME, name).number(IFLA_MTU, mtu);
    if let Some(mac) = mac {
        batch.attribute(IFLA_ADDRESS, &mac);
    }
    batch.nested(IFLA_LINKINFO, |b| {
        b.attribute(IFLA_INFO_KIND, b"bridge");
    });
}

/// One end of a veth pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct End<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: Option<[u8; 6]>,
}

/// Adds a veth pair: `here` in the socket's namespace, enslaved to link `master` and up, carrying
/// `alias`; `there` made directly in `namespace`, down.
pub(crate) fn veth(
    batch: &mut Batch,
    here: &End<'_>,
    (there, namespace): (&End<'_>, BorrowedFd<'_>),
    mtu: u32,
    master: Option<u32>,
    alias: &str,
) {
    batch.begin(RTM_NEWLINK, CREATE, format!("add link {}", here.name)).raw(&ifinfo(0, 0, IFF_UP, IFF_UP));
    batch.text(IFLA_IFNAME, here.name).number(IFLA_MTU, mtu);
    if let Some(mac) = here.mac {
        batch.attribute(IFLA_ADDRESS, &mac);
    }
    if let Some(master) = master {
        batch.number(IFLA_MASTER, master);
    }
    batch.nested(IFLA_LINKINFO, |b| {
        b.attribute(IFLA_INFO_KIND, b"veth");
        b.nested(IFLA_INFO_DATA, |b| {
            b.nested(VETH_INFO_PEER, |b| {
                b.raw(&ifinfo(0, 0, 0, 0)).text(IFLA_IFNAME, there.name).number(IFLA_MTU, mtu);
                if let Some(mac) = there.mac {
                    b.attribute(IFLA_ADDRESS, &mac);
                }
                b.attribute(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
            });
        });
    });
    if !alias.is_empty() {
        // Not taken when a link is made: a second message.
        batch
            .begin(RTM_NEWLINK, 0, format!("set alias of link {}", here.name))
            .raw(&ifinfo(0, 0, 0, 0))
            .text(IFLA_IFNAME, here.name)
            .text(IFLA_IFALIAS, alias);
    }
}

/// What to change of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Up,
    /// As a bridge port: no traffic to other isolated ports of the bridge.
    Isolated,
}

/// Changes link `index`.
pub(crate) fn set_link(batch: &mut Batch, index: u32, changes: &[Change]) {
    const AF_BRIDGE: u8 = 7;
    let label = format!("set link {index}: {changes:?}");
    if changes.contains(&Change::Up) {
        batch.begin(RTM_NEWLINK, 0, label.clone()).raw(&ifinfo(0, index, IFF_UP, IFF_UP));
    }
    if changes.contains(&Change::Isolated) {
        // The bridge hears only of this message, and would take another for one about the link as such.
        batch.begin(RTM_SETLINK, 0, label).raw(&ifinfo(AF_BRIDGE, index, 0, 0));
        batch.nested(IFLA_PROTINFO, |b| {
            b.attribute(IFLA_BRPORT_ISOLATED, &[1]);
        });
    }
}

/// Sets the size of the largest packet that link `index` passes.
pub(crate) fn set_mtu(batch: &mut Batch, index: u32, mtu: u32) {
    batch.begin(RTM_NEWLINK, 0, format!("set MTU of link {index}")).raw(&ifinfo(0, index, 0, 0));
    batch.number(IFLA_MTU, mtu);
}

/// Removes link `index`, and with a veth its other end.
pub(crate) fn delete_link(batch: &mut Batch, index: u32) {
    batch.begin(RTM_DELLINK, 0, format!("delete link {index}")).raw(&ifinfo(0, index, 0, 0));
}
