//! Addresses of links, and the hardware addresses behind those of neighbours.

use std::fmt;
use std::net::IpAddr;

use super::message::{Batch, REPLACE};

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
/// `IFA_F_NODAD`: usable at once; who gets which address is decided by ketch alone.
const IFA_F_NODAD: u32 = 0x02;

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) ip: IpAddr,
    pub(crate) prefix: u8,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl Address {
    /// Gives link `index` this address; nothing happens if it has it already.
    pub(crate) fn add(self, batch: &mut Batch, index: u32) {
        let mut info = [0; 8];
        info[0] = super::route::family(self.ip);
        info[1] = self.prefix;
        info[4..8].copy_from_slice(&index.to_ne_bytes());
        batch.begin(RTM_NEWADDR, REPLACE, format!("add address {self} to link {index}")).raw(&info);
        match self.ip {
            IpAddr::V4(ip) => {
                batch.attribute(IFA_LOCAL, &ip.octets()).attribute(IFA_ADDRESS, &ip.octets());
                if self.prefix < 31 {
                    let host_bits = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
                    batch.attribute(IFA_BROADCAST, &(ip.to_bits() | host_bits).to_be_bytes());
                }
            }
            IpAddr::V6(ip) => {
                batch.attribute(IFA_LOCAL, &ip.octets()).attribute(IFA_ADDRESS, &ip.octets());
                batch.number(IFA_FLAGS, IFA_F_NODAD);
            }
        }
    }
}

impl Address {
    /// Takes this address, which it has, away from link `index`.
    pub(crate) fn remove(self, batch: &mut Batch, index: u32) {
        let mut info = [0; 8];
        info[0] = super::route::family(self.ip);
        info[1] = self.prefix;
        info[4..8].copy_from_slice(&index.to_ne_bytes());
        batch.begin(RTM_DELADDR, 0, format!("delete address {self} of link {index}")).raw(&info);
        match self.ip {
            IpAddr::V4(ip) => batch.attribute(IFA_LOCAL, &ip.octets()),
            IpAddr::V6(ip) => batch.attribute(IFA_LOCAL, &ip.octets()),
        };
    }
}

/// Tells link `index` that `ip` is at `mac`, as if it had just asked. The knowledge ages as usual.
pub(crate) fn neighbour(batch: &mut Batch, ip: IpAddr, mac: [u8; 6], index: u32) {
    const RTM_NEWNEIGH: u16 = 28;
    const NDA_DST: u16 = 1;
    const NDA_LLADDR: u16 = 2;
    const NUD_REACHABLE: u16 = 0x02;
    let mut info = [0; 12];
    info[0] = super::route::family(ip);
    info[4..8].copy_from_slice(&index.to_ne_bytes());
    info[8..10].copy_from_slice(&NUD_REACHABLE.to_ne_bytes());
    batch.begin(RTM_NEWNEIGH, REPLACE, format!("add neighbour {ip}")).raw(&info);
    match ip {
        IpAddr::V4(ip) => batch.attribute(NDA_DST, &ip.octets()),
        IpAddr::V6(ip) => batch.attribute(NDA_DST, &ip.octets()),
    };
    batch.attribute(NDA_LLADDR, &mac);
}
