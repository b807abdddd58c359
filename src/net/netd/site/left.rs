//! What an earlier netd has left in G: used on by the containers that come back to it, else removed.

use std::collections::HashSet;
use std::net::IpAddr;

use super::{OldLink, Site, SiteError, gateways};
use crate::net::netlink::{self, Batch};
use crate::net::network::Network;

impl Site {
    /// Makes a bridge that an earlier netd has left what `network` is now: it may be another one of the same name.
    pub(super) fn renew_bridge(&mut self, network: &Network, mtu: u32, index: u32) -> Result<(), SiteError> {
        let wanted = gateways(network);
        let is_foreign = |entry: &&netlink::AddressEntry| {
            let of_link = matches!(entry.address.ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
            entry.link == index && !of_link && !wanted.contains(&entry.address)
        };
        let has = netlink::addresses(&mut self.route)?;
        let mut batch = Batch::new();
        for entry in has.iter().filter(is_foreign) {
            entry.address.remove(&mut batch, index);
        }
        netlink::set_mtu(&mut batch, index, mtu);
        for address in wanted {
            address.add(&mut batch, index);
        }
        Ok(netlink::commit(&mut self.route, batch)?)
    }

    /// Removes the bridges of an earlier netd that no container is on.
    pub(super) fn remove_left(&mut self) -> Result<(), SiteError> {
        if self.left.is_empty() {
            return Ok(());
        }
        let used: HashSet<u32> =
            netlink::links(&mut self.route)?.into_iter().filter_map(|link| link.master).collect();
        let is_unused = |name: &String| self.bridges.get(name).is_some_and(|index| !used.contains(index));
        let unused: Vec<String> = self.left.iter().filter(|name| is_unused(name)).cloned().collect();
        unused.iter().try_for_each(|name| self.close_bridge(name))
    }

    /// Removes the links of containers that did not come back after a crash of netd.
    pub(in crate::net::netd) fn sweep(&mut self, containers: &[String]) -> Result<(), SiteError> {
        for link in netlink::links(&mut self.route)? {
            let Some(old) = OldLink::read(&link) else { continue };
            if containers.contains(&old.container) {
                let mut batch = Batch::new();
                netlink::delete_link(&mut batch, old.index);
                netlink::commit(&mut self.route, batch)?;
            }
        }
        self.remove_left()
    }
}
