//! rtnetlink messages: links, addresses, routes and rules, built and sent in batches.
//!
//! ```text
//! Batch: │nlmsghdr│struct│attr│attr{attr,attr}│ │nlmsghdr│… ──one send──▶ kernel
//!         label 0                                 label 1      an error names the label
//! ```

mod address;
mod dump;
mod link;
mod message;
mod route;

pub(crate) use address::{Address, neighbour};
pub(crate) use dump::{
    AddressEntry, LinkEntry, RouteEntry, addresses, is_delivered, link_named, links, routes,
};
pub(crate) use link::{Change, End, bridge, delete_link, set_link, set_mtu, veth};
pub(crate) use message::Batch;
pub(crate) use route::{default_route, local_table_route, mark_rule, route};

use crate::sys::netlink::{Netlink, NetlinkError};

/// A change of the network that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct ConfigError {
    /// Verb and object: `add link br0`.
    pub(crate) what: String,
    #[source]
    pub(crate) source: NetlinkError,
}

impl ConfigError {
    /// The error number of a refusal.
    pub(crate) fn errno(&self) -> Option<rustix::io::Errno> {
        match self.source {
            NetlinkError::Refused { source, .. } | NetlinkError::Socket { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Sends `batch` and names the message that failed, if one did.
pub(crate) fn commit(socket: &mut Netlink, batch: Batch) -> Result<(), ConfigError> {
    let (mut bytes, labels) = batch.finish();
    if bytes.is_empty() {
        return Ok(());
    }
    socket.transact(&mut bytes).map_err(|source| {
        let what = match source {
            NetlinkError::Refused { index, .. } => labels.get(index).cloned(),
            _ => labels.first().cloned(),
        };
        ConfigError { what: what.unwrap_or_else(|| "configure network".into()), source }
    })
}
