//! Which subnet a network gets and which address a container: pure, from what is taken already.
//!
//! ```text
//! 10.88.0.0/16                the network `ketch`
//! 10.89.0.0/24, 10.89.1.0/24… networks made later, the first that meets neither another network
//!                             nor a route of the host
//! ```
//!
//! Nothing is stored: netd knows the containers that run, and each link in G carries its addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A range of addresses with a common prefix, like `10.88.0.0/16`. The bits behind the prefix are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Subnet {
    first: IpAddr,
    prefix: u8,
}

/// Why a subnet or an address cannot be had.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum IpamError {
    #[error("invalid CIDR address: {0}: write ADDRESS/PREFIX, like 10.89.0.0/24")]
    Subnet(String),
    #[error("no free subnet left in the pools")]
    NoSubnet,
    #[error("subnet {0} overlaps {1}")]
    Overlap(Subnet, Subnet),
    #[error("no free address left in {0}")]
    Exhausted(Subnet),
    #[error("requested static ip {0} not in any subnet: {1}")]
    Outside(IpAddr, Subnet),
    #[error("requested ip address {0} is already allocated to another container")]
    Taken(IpAddr),
    #[error("address {0} is the gateway's, or the first or last of its subnet")]
    Reserved(IpAddr),
}

impl Subnet {
    /// The subnet of `ip` with this prefix length; `None` if the length is more than the address has.
    pub(crate) fn new(ip: IpAddr, prefix: u8) -> Option<Self> {
        let host_bits = bits(ip).checked_sub(prefix)?;
        let number = to_number(ip);
        let first = number.checked_shr(u32::from(host_bits)).unwrap_or(0);
        let first = first.checked_shl(u32::from(host_bits)).unwrap_or(0);
        Some(Self { first: from_number(first, ip.is_ipv6()), prefix })
    }

    /// The address all of whose host bits are 0.
    pub(crate) fn first(self) -> IpAddr {
        self.first
    }

    /// The address all of whose host bits are 1.
    pub(crate) fn last(self) -> IpAddr {
        let host_bits = u32::from(bits(self.first) - self.prefix);
        let mask = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
        from_number(to_number(self.first) | mask, self.is_ipv6())
    }

    pub(crate) fn prefix(self) -> u8 {
        self.prefix
    }

    pub(crate) fn is_ipv6(self) -> bool {
        self.first.is_ipv6()
    }

    pub(crate) fn contains(self, ip: IpAddr) -> bool {
        Self::new(ip, self.prefix).is_some_and(|of| of == self)
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    /// Whether some of its addresses are no machine's, or netd's own.
    pub(crate) fn is_special(self) -> bool {
        let v4 = |octets: [u8; 4], prefix| Self { first: IpAddr::V4(octets.into()), prefix };
        let v6 =
            |first: u16, prefix| Self { first: Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0).into(), prefix };
        let loopback6 = Self { first: Ipv6Addr::LOCALHOST.into(), prefix: 128 };
        // 169.254.1.2 and its like of IPv6 are the host.
        let host =
            [Self { first: HOST_ALIAS.into(), prefix: 32 }, Self { first: HOST_ALIAS6.into(), prefix: 128 }];
        let reserved =
            [v4([0; 4], 8), v4([127, 0, 0, 0], 8), v4([224, 0, 0, 0], 3), v6(0xfe80, 10), v6(0xff00, 8)];
        reserved.into_iter().chain(host).chain([loopback6]).any(|special| self.overlaps(special))
    }

    /// Whether `ip` means the network itself or everybody on it, and is no machine's address.
    pub(crate) fn is_edge(self, ip: IpAddr) -> bool {
        !self.is_ipv6() && self.prefix <= 30 && (ip == self.first() || ip == self.last())
    }

    /// The address that the gateway gets unless another is asked for: the first one after the network's own.
    pub(crate) fn gateway(self) -> IpAddr {
        from_number(to_number(self.first) + 1, self.is_ipv6())
    }
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv6() { 128 } else { 32 }
}

fn to_number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn from_number(number: u128, v6: bool) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::from_bits(number))
    } else {
        // Numbers of IPv4 addresses are made here and stay within 32 bits.
        IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = IpamError;

    fn from_str(text: &str) -> Result<Self, IpamError> {
        let bad = || IpamError::Subnet(text.chars().take(80).collect());
        let (ip, prefix) = text.split_once('/').ok_or_else(bad)?;
        let ip: IpAddr = ip.parse().map_err(|_| bad())?;
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        Self::new(ip, prefix).ok_or_else(bad)
    }
}

impl Serialize for Subnet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A range that networks take their subnets from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubnetSource {
    pub(crate) range: Subnet,
    /// The prefix length of what is cut from it.
    pub(crate) size: u8,
}

/// podman's `default_subnet_pools`, cut into pieces of [`POOL_PREFIX`].
/// The last two are for hosts that have a route to all of 10.0.0.0/8.
const POOLS: [([u8; 4], u8); 7] = [
    ([10, 89, 0, 0], 16),
    ([10, 90, 0, 0], 15),
    ([10, 92, 0, 0], 14),
    ([10, 96, 0, 0], 11),
    ([10, 128, 0, 0], 9),
    ([172, 20, 0, 0], 14),
    ([192, 168, 128, 0], 17),
];
/// Where the subnets of private networks come from, in pieces of [`PRIVATE_PREFIX`].
const PRIVATE_POOLS: [([u8; 4], u8); 3] =
    [([10, 87, 0, 0], 16), ([172, 29, 0, 0], 16), ([192, 168, 64, 0], 18)];
const PRIVATE_PREFIX: u8 = 28;
const POOL_PREFIX: u8 = 24;

/// The ranges that networks take their subnets from where nothing else is configured.
pub(crate) fn usual_pools() -> Vec<SubnetSource> {
    let range = |(first, prefix)| Subnet { first: IpAddr::V4(Ipv4Addr::from(first)), prefix };
    POOLS.map(|pool| SubnetSource { range: range(pool), size: POOL_PREFIX }).to_vec()
}

/// The address by which containers reach the host, whatever its own are (`host.containers.internal`).
pub(crate) const HOST_ALIAS: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 2);
/// The same for containers without IPv4: that address within the prefix for translation on one's own site (RFC 8215).
pub(crate) const HOST_ALIAS6: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0xa9fe, 0x0102);

/// What a new subnet is not to meet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    /// Those of networks: it never does.
    pub(crate) networks: Vec<Subnet>,
    /// Where interfaces of the host are. Containers on such a subnet do not reach what is there, and nothing else is wrong:
    /// it may be asked for nowhere, but if nothing is free it is chosen even so.
    pub(crate) near: Vec<Subnet>,
    /// What the host reaches by other machines. With a VPN that may be every address there is, so that it is only better
    /// not to meet them.
    pub(crate) far: Vec<Subnet>,
}

impl Taken {
    /// A route of the host: to `subnet`, by way of another machine or not.
    pub(crate) fn add_route(&mut self, subnet: Subnet, by_gateway: bool) {
        // Wider than any network that a machine is on: everything goes this way.
        let is_wide = subnet.prefix < if subnet.is_ipv6() { 48 } else { 16 };
        match (subnet.prefix, by_gateway || is_wide) {
            (0, _) => {}
            (_, true) => self.far.push(subnet),
            (_, false) => self.near.push(subnet),
        }
    }

    /// Chooses what meets nothing, else what meets only far ones, else what meets no network.
    pub(crate) fn choose<T>(
        &self,
        choose: impl Fn(&[Subnet]) -> Result<T, IpamError>,
    ) -> Result<T, IpamError> {
        let all = [&self.networks[..], &self.near, &self.far].concat();
        choose(&all).or_else(|_| choose(&self.certain())).or_else(|_| choose(&self.networks))
    }

    /// What somebody who asks for a subnet cannot have.
    pub(crate) fn certain(&self) -> Vec<Subnet> {
        [&self.networks[..], &self.near].concat()
    }
}

/// The subnet of the default network, if nothing stands against it.
pub(crate) fn default_subnet(taken: &[Subnet], pools: &[SubnetSource]) -> Result<Subnet, IpamError> {
    let usual = Subnet { first: IpAddr::V4(Ipv4Addr::new(10, 88, 0, 0)), prefix: 16 };
    if taken.iter().any(|other| usual.overlaps(*other)) { free_subnet(taken, pools) } else { Ok(usual) }
}

/// The first subnet of the pools that overlaps nothing in `taken`.
pub(crate) fn free_subnet(taken: &[Subnet], pools: &[SubnetSource]) -> Result<Subnet, IpamError> {
    for SubnetSource { range, size } in pools {
        let Some(count) = 1_u128.checked_shl(u32::from(size.saturating_sub(range.prefix))) else { continue };
        let Some(host_bits) = bits(range.first).checked_sub(*size) else { continue };
        // More than this many are not tried: nobody has as many networks.
        for number in 0..count.min(1 << 16) {
            let first = from_number(to_number(range.first) + (number << host_bits), range.is_ipv6());
            let subnet = Subnet { first, prefix: *size };
            if !taken.iter().any(|other| subnet.overlaps(*other)) {
                return Ok(subnet);
            }
        }
    }
    Err(IpamError::NoSubnet)
}

/// A subnet for a private network that overlaps nothing in `taken`: the one that `number` leads to, or
/// the next. With a number of its own a container has the same subnet again at its next start.
pub(crate) fn private_subnet(number: u32, taken: &[Subnet]) -> Result<Subnet, IpamError> {
    for (start, prefix) in PRIVATE_POOLS {
        let size = 1_u32 << (PRIVATE_PREFIX - prefix);
        for step in 0..size {
            let place = (number % size + step) % size;
            let start = u32::from_be_bytes(start) + (place << (32 - PRIVATE_PREFIX));
            let subnet = Subnet { first: IpAddr::V4(Ipv4Addr::from_bits(start)), prefix: PRIVATE_PREFIX };
            if !taken.iter().any(|other| subnet.overlaps(*other)) {
                return Ok(subnet);
            }
        }
    }
    Err(IpamError::NoSubnet)
}

/// The number that leads [`private_subnet`] to this subnet.
pub(crate) fn place_of(subnet: Subnet) -> u32 {
    u32::try_from(to_number(subnet.first) >> (32 - PRIVATE_PREFIX) & 0xfff).unwrap_or(0)
}

/// The IPv6 /64 of the private range (RFC 4193) that belongs to these seven bytes.
pub(crate) fn subnet_v6_of(bytes: [u8; 7]) -> Subnet {
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..8].copy_from_slice(&bytes);
    Subnet { first: octets.into(), prefix: 64 }
}

/// An IPv6 /64 of the private range (RFC 4193) from 7 random bytes, until one overlaps nothing.
pub(crate) fn free_subnet_v6(
    taken: &[Subnet],
    mut random: impl FnMut() -> [u8; 7],
) -> Result<Subnet, IpamError> {
    for _attempt in 0..16 {
        let subnet = subnet_v6_of(random());
        if !taken.iter().any(|other| subnet.overlaps(*other)) {
            return Ok(subnet);
        }
    }
    Err(IpamError::NoSubnet)
}

/// Subnets of a new network must not meet each other, other networks, or routes of the host.
pub(crate) fn check_free(wanted: &[Subnet], taken: &[Subnet]) -> Result<(), IpamError> {
    for (i, subnet) in wanted.iter().enumerate() {
        let mut others = taken.iter().chain(&wanted[..i]);
        if let Some(other) = others.find(|other| subnet.overlaps(**other)) {
            return Err(IpamError::Overlap(*subnet, *other));
        }
    }
    Ok(())
}

/// Addresses that containers get unless they ask for a certain one (`--ip-range`), both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaseRange {
    pub(crate) start_ip: IpAddr,
    pub(crate) end_ip: IpAddr,
}

impl LeaseRange {
    /// All of `subnet`, when it is given as one (`--ip-range 10.89.0.128/25`).
    pub(crate) fn of(subnet: Subnet) -> Self {
        Self { start_ip: subnet.first(), end_ip: subnet.last() }
    }
}

/// One subnet to give addresses from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pool {
    pub(crate) subnet: Subnet,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) range: Option<LeaseRange>,
}

impl Pool {
    /// Checks a certain address (`--ip`).
    pub(crate) fn check(&self, ip: IpAddr, taken: impl Fn(IpAddr) -> bool) -> Result<(), IpamError> {
        if !self.subnet.contains(ip) {
            return Err(IpamError::Outside(ip, self.subnet));
        }
        if self.is_reserved(ip) {
            return Err(IpamError::Reserved(ip));
        }
        if taken(ip) { Err(IpamError::Taken(ip)) } else { Ok(()) }
    }

    /// The next free address after `last`, beginning anew at the end: an address just given back
    /// is not given away again at once, while others still have it in their neighbour tables.
    pub(crate) fn next(
        &self,
        last: Option<IpAddr>,
        taken: impl Fn(IpAddr) -> bool,
    ) -> Result<IpAddr, IpamError> {
        /// A range is searched no further than this; the containers of a machine are fewer.
        const SEARCH: u128 = 1 << 16;
        let range = self.range.unwrap_or_else(|| LeaseRange::of(self.subnet));
        let (start, end) = (to_number(range.start_ip), to_number(range.end_ip));
        let size = end.saturating_sub(start).saturating_add(1);
        let after =
            last.map(to_number).filter(|last| (start..end).contains(last)).map_or(start, |last| last + 1);
        for step in 0..size.min(SEARCH) {
            let number = start + (after - start + step) % size;
            let ip = from_number(number, self.subnet.is_ipv6());
            if self.subnet.contains(ip) && !self.is_reserved(ip) && !taken(ip) {
                return Ok(ip);
            }
        }
        Err(IpamError::Exhausted(self.subnet))
    }

    /// The network's own address, its broadcast address (of IPv4), and the gateway's.
    fn is_reserved(&self, ip: IpAddr) -> bool {
        let small = self.subnet.prefix >= bits(ip) - 1;
        Some(ip) == self.gateway
            || (!small && ip == self.subnet.first())
            || (!small && ip.is_ipv4() && ip == self.subnet.last())
    }
}

/// A locally administered MAC address for an IPv4 address, which makes it as unique and as constant.
pub(crate) fn mac_of(ip: IpAddr) -> [u8; 6] {
    let number = to_number(ip).to_be_bytes();
    [0x42, number[11] ^ 0x88, number[12], number[13], number[14], number[15]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_are_read_and_normalised() {
        for (text, want) in [
            ("10.88.0.0/16", Ok("10.88.0.0/16")),
            ("10.89.1.7/24", Ok("10.89.1.0/24")),
            ("0.0.0.0/0", Ok("0.0.0.0/0")),
            ("::/0", Ok("::/0")),
            ("fd00:1::5/64", Ok("fd00:1::/64")),
            ("192.0.2.1/32", Ok("192.0.2.1/32")),
            ("10.0.0.0/33", Err(())),
            ("10.0.0.0", Err(())),
            ("10.0.0/8", Err(())),
            ("::/129", Err(())),
            ("10.0.0.0/-1", Err(())),
        ] {
            let got = text.parse::<Subnet>().map(|s| s.to_string()).map_err(|_| ());
            assert_eq!(got.as_deref(), want.as_ref().map(|s| *s).map_err(|()| &()), "{text}");
        }
        assert_eq!(subnet("10.88.0.0/16").last(), ip("10.88.255.255"));
        assert_eq!(subnet("10.88.0.0/16").gateway(), ip("10.88.0.1"));
        assert_eq!(subnet("0.0.0.0/0").last(), ip("255.255.255.255"));
        assert_eq!(subnet("fd00::/64").last(), ip("fd00::ffff:ffff:ffff:ffff"));
        assert!(!subnet("0.0.0.0/0").contains(ip("::1")), "families do not mix");
    }

    #[test]
    fn some_subnets_are_no_networks() {
        for special in [
            "0.0.0.0/8",
            "127.1.0.0/16",
            "169.254.1.0/24",
            "224.0.0.0/24",
            "240.0.0.0/8",
            "fe80::/64",
            "ff02::/16",
            "::1/128",
        ] {
            assert!(subnet(special).is_special(), "{special}");
        }
        for usual in ["10.0.0.0/8", "169.254.7.0/24", "192.0.2.0/24", "fd00::/64", "2001:db8::/32"] {
            assert!(!subnet(usual).is_special(), "{usual}");
        }
        let is_edge = |ip: &str| subnet("10.1.0.0/24").is_edge(ip.parse().unwrap());
        assert!(is_edge("10.1.0.0") && is_edge("10.1.0.255") && !is_edge("10.1.0.1"));
        assert!(!subnet("10.1.0.0/31").is_edge("10.1.0.0".parse().unwrap()));
    }

    #[test]
    fn networks_avoid_each_other_and_the_hosts_routes() {
        assert_eq!(default_subnet(&[], &usual_pools()), Ok(subnet("10.88.0.0/16")));
        // A VPN that all goes through, and one of a firm that uses every private address.
        for routes in [&["0.0.0.0/1", "128.0.0.0/1"][..], &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]]
        {
            let mut taken = Taken::default();
            routes.iter().for_each(|route| taken.add_route(subnet(route), true));
            assert_eq!(
                taken.choose(|taken| default_subnet(taken, &usual_pools())),
                Ok(subnet("10.88.0.0/16"))
            );
            assert_eq!(taken.certain(), []);
            taken.add_route(subnet("10.88.7.0/24"), false);
            let other = taken.choose(|taken| default_subnet(taken, &usual_pools()));
            assert_eq!(other, Ok(subnet("10.89.0.0/24")), "{routes:?}");
            taken.networks.push(subnet("10.89.0.0/24"));
            let next = taken.choose(|taken| default_subnet(taken, &usual_pools()));
            assert_eq!(next, Ok(subnet("10.89.1.0/24")), "{routes:?}");
        }
        assert_eq!(default_subnet(&[subnet("10.88.5.0/24")], &usual_pools()), Ok(subnet("10.89.0.0/24")));
        let taken = [subnet("10.88.0.0/16"), subnet("10.89.0.0/23"), subnet("192.168.0.0/16")];
        assert_eq!(free_subnet(&taken, &usual_pools()), Ok(subnet("10.89.2.0/24")));
        assert_eq!(free_subnet(&[subnet("10.89.0.0/16")], &usual_pools()), Ok(subnet("10.90.0.0/24")));
        assert_eq!(free_subnet(&[subnet("10.0.0.0/8")], &usual_pools()), Ok(subnet("172.20.0.0/24")));
        assert_eq!(free_subnet(&[subnet("0.0.0.0/0")], &usual_pools()), Err(IpamError::NoSubnet));
        assert_eq!(private_subnet(3, &[]), Ok(subnet("10.87.0.48/28")));
        assert_eq!(place_of(subnet("10.87.0.48/28")), 3);
        assert_eq!(private_subnet(4095, &[subnet("10.87.255.0/24")]), Ok(subnet("10.87.0.0/28")));
        assert_eq!(private_subnet(1, &[subnet("10.0.0.0/8")]), Ok(subnet("172.29.0.16/28")));
        let error = check_free(&[subnet("10.89.0.0/24")], &[subnet("10.89.0.128/25")]).unwrap_err();
        assert_eq!(error.to_string(), "subnet 10.89.0.0/24 overlaps 10.89.0.128/25");
        assert!(check_free(&[subnet("10.1.0.0/24"), subnet("10.1.0.0/25")], &[]).is_err());
        let mut numbers = [1_u8, 1, 2].into_iter();
        let mut random = || [numbers.next().unwrap(), 0, 0, 0, 0, 0, 0];
        let first = free_subnet_v6(&[], &mut random).unwrap();
        assert_eq!(free_subnet_v6(&[first], &mut random), Ok(subnet("fd02::/64")));
    }

    #[test]
    fn addresses_go_round() {
        let pool = Pool { subnet: subnet("10.9.0.0/29"), gateway: Some(ip("10.9.0.1")), range: None };
        let free = |_| false;
        assert_eq!(pool.next(None, free), Ok(ip("10.9.0.2")));
        assert_eq!(pool.next(Some(ip("10.9.0.2")), free), Ok(ip("10.9.0.3")));
        assert_eq!(pool.next(Some(ip("10.9.0.6")), free), Ok(ip("10.9.0.2")), "not the broadcast address");
        assert_eq!(pool.next(None, |ip| ip != self::ip("10.9.0.5")), Ok(ip("10.9.0.5")));
        assert_eq!(pool.next(None, |_| true), Err(IpamError::Exhausted(pool.subnet)));
        for (text, want) in [
            ("10.9.0.3", Ok(())),
            ("10.9.0.1", Err(IpamError::Reserved(ip("10.9.0.1")))),
            ("10.9.0.7", Err(IpamError::Reserved(ip("10.9.0.7")))),
            ("10.9.1.1", Err(IpamError::Outside(ip("10.9.1.1"), pool.subnet))),
        ] {
            assert_eq!(pool.check(ip(text), free), want, "{text}");
        }
        assert_eq!(pool.check(ip("10.9.0.3"), |_| true), Err(IpamError::Taken(ip("10.9.0.3"))));
    }

    #[test]
    fn a_range_limits_what_is_given() {
        let range = Some(LeaseRange { start_ip: ip("10.9.0.20"), end_ip: ip("10.9.0.21") });
        let pool = Pool { subnet: subnet("10.9.0.0/24"), gateway: Some(ip("10.9.0.1")), range };
        assert_eq!(pool.next(None, |_| false), Ok(ip("10.9.0.20")));
        assert_eq!(pool.next(Some(ip("10.9.0.21")), |_| false), Ok(ip("10.9.0.20")));
        assert_eq!(pool.next(Some(ip("10.9.0.200")), |_| false), Ok(ip("10.9.0.20")));
        assert!(pool.check(ip("10.9.0.99"), |_| false).is_ok(), "asking by name is not limited");
        let v6 = Pool { subnet: subnet("fd00::/64"), gateway: Some(ip("fd00::1")), range: None };
        assert_eq!(v6.next(None, |_| false), Ok(ip("fd00::2")));
        let point = Pool { subnet: subnet("10.9.0.4/31"), gateway: Some(ip("10.9.0.4")), range: None };
        assert_eq!(point.next(None, |_| false), Ok(ip("10.9.0.5")));
    }

    #[test]
    fn hardware_addresses_are_local_and_unicast() {
        for text in ["10.88.0.2", "255.255.255.255", "fd00::5"] {
            assert_eq!(mac_of(ip(text))[0] & 3, 2, "{text}");
        }
        assert_ne!(mac_of(ip("10.88.0.2")), mac_of(ip("10.88.0.3")));
        assert_ne!(mac_of(ip("10.88.0.2")), mac_of(ip("10.89.0.2")));
    }
}
