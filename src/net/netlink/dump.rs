//! Listings: which links, addresses and routes a namespace has.

use std::net::IpAddr;

use super::message::{Batch, attributes};
use super::{Address, ConfigError};
use crate::sys::netlink::{Netlink, NetlinkError};

const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;

/// A link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkEntry {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) mtu: u32,
    /// Index of the bridge it belongs to.
    pub(crate) master: Option<u32>,
    /// What whoever made it wrote on it.
    pub(crate) alias: String,
    /// It passes packets (`IF_OPER_UP`).
    pub(crate) operational: bool,
}

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressEntry {
    pub(crate) link: u32,
    pub(crate) address: Address,
}

/// A route of any table: where to (prefix length 0: everywhere) and through which link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteEntry {
    pub(crate) destination: Address,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) link: Option<u32>,
}

/// Lists the links.
pub(crate) fn links(socket: &mut Netlink) -> Result<Vec<LinkEntry>, ConfigError> {
    list(socket, RTM_GETLINK, &[0; 16], "list links", read_link)
}

/// The link with this name, if there is one.
///
/// Since Linux 6.8 asking for a single link brings its state up to date first.
pub(crate) fn link_named(socket: &mut Netlink, name: &str) -> Result<Option<LinkEntry>, ConfigError> {
    const IFLA_IFNAME: u16 = 3;
    let mut batch = Batch::new();
    batch.begin(RTM_GETLINK, 0, "find link").raw(&[0; 16]).text(IFLA_IFNAME, name);
    let (mut request, _labels) = batch.finish();
    let mut found = None;
    match socket.dump(&mut request, |_kind, payload| found = read_link(payload)) {
        Ok(()) | Err(NetlinkError::Refused { source: rustix::io::Errno::NODEV, .. }) => Ok(found),
        Err(source) => Err(ConfigError { what: format!("find link {name}"), source }),
    }
}

fn read_link(payload: &[u8]) -> Option<LinkEntry> {
    const OPERATIONAL: u8 = 6;
    let index = u32::from_ne_bytes(payload.get(4..8)?.try_into().ok()?);
    let mut link = LinkEntry { index, ..LinkEntry::default() };
    for (kind, value) in attributes(payload.get(16..)?) {
        match kind {
            1 => link.mac = value.try_into().ok(),
            3 => link.name = text(value),
            4 => link.mtu = number(value)?,
            10 => link.master = number(value),
            16 => link.operational = value.first() == Some(&OPERATIONAL),
            20 => link.alias = text(value),
            _ => {}
        }
    }
    Some(link)
}

/// Lists the addresses of all links, both families.
pub(crate) fn addresses(socket: &mut Netlink) -> Result<Vec<AddressEntry>, ConfigError> {
    list(socket, RTM_GETADDR, &[0; 8], "list addresses", |payload| {
        let link = u32::from_ne_bytes(payload.get(4..8)?.try_into().ok()?);
        let mut found = None;
        for (kind, value) in attributes(payload.get(8..)?) {
            // IFA_LOCAL, where it is, is the link's own; IFA_ADDRESS may be the peer's.
            if kind == 2 || (kind == 1 && found.is_none()) {
                found = ip(value);
            }
        }
        Some(AddressEntry { link, address: Address { ip: found?, prefix: *payload.get(1)? } })
    })
}

/// Lists the unicast routes of all tables, both families.
pub(crate) fn routes(socket: &mut Netlink) -> Result<Vec<RouteEntry>, ConfigError> {
    const RTN_UNICAST: u8 = 1;
    let mut found = Vec::new();
    for family in [2, 10] {
        let mut request = [0; 12];
        request[0] = family;
        found.extend(list(socket, RTM_GETROUTE, &request, "list routes", |payload| {
            if *payload.get(7)? != RTN_UNICAST {
                return None;
            }
            let everywhere: IpAddr = if family == 2 { [0; 4].into() } else { [0; 16].into() };
            let destination = Address { ip: everywhere, prefix: *payload.get(1)? };
            let mut route = RouteEntry { destination, gateway: None, link: None };
            for (kind, value) in attributes(payload.get(12..)?) {
                match kind {
                    1 => route.destination.ip = ip(value)?,
                    4 => route.link = number(value),
                    5 => route.gateway = ip(value),
                    _ => {}
                }
            }
            Some(route)
        })?);
    }
    Ok(found)
}

/// Whether packets to `ip` are delivered here. An IPv6 address is so only a moment after it was added.
pub(crate) fn is_delivered(socket: &mut Netlink, ip: IpAddr) -> Result<bool, ConfigError> {
    const RTN_LOCAL: u8 = 2;
    const RTA_DST: u16 = 1;
    let mut message = [0; 12];
    message[0] = super::route::family(ip);
    message[1] = if ip.is_ipv6() { 128 } else { 32 };
    let mut batch = Batch::new();
    batch.begin(RTM_GETROUTE, 0, "find route").raw(&message);
    super::route::ip_attribute(&mut batch, RTA_DST, ip);
    let (mut request, _labels) = batch.finish();
    let mut local = false;
    match socket.dump(&mut request, |_kind, payload| local = payload.get(7) == Some(&RTN_LOCAL)) {
        // "No route" and "unreachable" are answers too.
        Ok(()) | Err(NetlinkError::Refused { .. }) => Ok(local),
        Err(source) => Err(ConfigError { what: format!("find route to {ip}"), source }),
    }
}

fn list<T>(
    socket: &mut Netlink,
    kind: u16,
    fixed: &[u8],
    what: &str,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<Vec<T>, ConfigError> {
    // A table that keeps changing is listed anew, but not for ever.
    let mut attempts = 0;
    loop {
        let mut batch = Batch::new();
        batch.begin_dump(kind).raw(fixed);
        let (mut request, _labels) = batch.finish();
        let mut found = Vec::new();
        match socket.dump(&mut request, |_kind, payload| found.extend(read(payload))) {
            Ok(()) => return Ok(found),
            Err(NetlinkError::Interrupted) if attempts < 5 => attempts += 1,
            Err(source) => return Err(ConfigError { what: what.into(), source }),
        }
    }
}

fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(<[u8; 4]>::try_from(value).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(value).ok()?.into()),
        _ => None,
    }
}
