//! Container networks without root, without NAT and without another program.
//!
//! ```text
//!  host's network namespace │ G, a namespace of ketch │ a container's namespace
//!                           │                         │
//!   internet ◀──connect()── netd ──accept()── br ◀──veth── eth0   the kernel's TCP ends on each
//!   internet ──▶ listener ─ netd ──connect()─ br ──veth──▶ eth0   side; netd splices the bytes
//! ```
//!
//! - `netlink`, `firewall`: what `ip` and `nft` would say to the kernel, as typed messages.
//! - `packet`, `capture`: reading and forging the few packets that netd touches itself.
//! - `ipam`, `network`, `control`: addresses, the record of a network, the protocol to netd.
//! - `dns`: names of containers, and everything else forwarded.
//! - `netd`: the process that puts it together, one per user.
// Nothing above uses the network yet: issue D's core lands before the runtime does.
// Fields of packets and kernel structures have the widths of their formats, and lengths lie within them.
#![allow(clippy::cast_possible_truncation)]

pub(crate) mod capture;
pub(crate) mod client;
pub(crate) mod control;
pub(crate) mod dns;
pub(crate) mod firewall;
pub(crate) mod ipam;
pub(crate) mod netd;
pub(crate) mod netlink;
pub(crate) mod network;
pub(crate) mod packet;
pub(crate) mod ports;
#[cfg(test)]
mod testing;
