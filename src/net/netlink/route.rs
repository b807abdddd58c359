//! Routes and policy rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Address;
use super::message::{Batch, CREATE, REPLACE};

const RTM_NEWROUTE: u16 = 24;
const RTM_NEWRULE: u16 = 32;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;

const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_HOST: u8 = 254;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const FR_ACT_TO_TABLE: u8 = 1;

/// AF_INET or AF_INET6.
pub(super) fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv6() { 10 } else { 2 }
}

/// `struct rtmsg`; `struct fib_rule_hdr` has the same fields but for the last.
fn rtmsg(family: u8, prefix: u8, table: u8, protocol: u8, scope: u8, kind: u8) -> [u8; 12] {
    [family, prefix, 0, 0, table, protocol, scope, kind, 0, 0, 0, 0]
}

/// Sends what has no better way to `gateway` through link `index`.
pub(crate) fn default_route(batch: &mut Batch, gateway: IpAddr, index: u32, metric: u32) {
    let unspecified =
        if gateway.is_ipv6() { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    route(batch, Address { ip: unspecified, prefix: 0 }, gateway, index, metric);
}

/// Sends what is for `destination` to `gateway` through link `index`.
pub(crate) fn route(batch: &mut Batch, destination: Address, gateway: IpAddr, index: u32, metric: u32) {
    let message = rtmsg(family(gateway), destination.prefix, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST);
    batch.begin(RTM_NEWROUTE, REPLACE, format!("add route {destination} via {gateway}")).raw(&message);
    if destination.prefix > 0 {
        ip_attribute(batch, RTA_DST, destination.ip);
    }
    ip_attribute(batch, RTA_GATEWAY, gateway);
    batch.number(RTA_OIF, index).number(RTA_PRIORITY, metric);
}

/// In `table`, every address is one of this machine, reached through link `loopback`:
/// `ip route add local default dev lo table …`.
pub(crate) fn local_table_route(batch: &mut Batch, v6: bool, loopback: u32, table: u8) {
    let family = if v6 { 10 } else { 2 };
    let message = rtmsg(family, 0, table, RTPROT_STATIC, RT_SCOPE_HOST, RTN_LOCAL);
    batch
        .begin(RTM_NEWROUTE, REPLACE, format!("add local default route to table {table}"))
        .raw(&message)
        .number(RTA_OIF, loopback);
}

/// Packets with firewall mark `mark` are routed by `table`: `ip rule add fwmark … lookup …`.
pub(crate) fn mark_rule(batch: &mut Batch, v6: bool, mark: u32, table: u8) {
    let family = if v6 { 10 } else { 2 };
    let message = rtmsg(family, 0, table, RTPROT_STATIC, 0, FR_ACT_TO_TABLE);
    batch
        .begin(RTM_NEWRULE, CREATE, format!("add rule for mark {mark}"))
        .raw(&message)
        .number(FRA_FWMARK, mark);
}

pub(super) fn ip_attribute(batch: &mut Batch, kind: u16, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => batch.attribute(kind, &ip.octets()),
        IpAddr::V6(ip) => batch.attribute(kind, &ip.octets()),
    };
}
