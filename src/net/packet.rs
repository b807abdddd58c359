//! The few packets that netd reads and forges itself: SYN, RST, ICMP unreachable, ICMP echo, in parts if it is long.
//!
//! Pure functions on bytes. Packets begin with the network layer's header, as a packet socket of
//! type SOCK_DGRAM delivers them and a raw socket sends them.
//!
//! # Source
//!
//! RFC 791, 792, 793, 768, 1071, 4443, 8200.

use std::net::{IpAddr, SocketAddr};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
/// The header of a fragment (RFC 8200, 4.5), which stands before what it is a part of.
const FRAGMENT: u8 = 44;
const FRAGMENT_HEADER_BYTES: usize = 8;
/// In IPv4's field of flags and offset: more parts follow.
const MORE: u16 = 0x2000;
const IPV4_HEADER_BYTES: usize = 20;
const IPV6_HEADER_BYTES: usize = 40;
/// An IPv4 error quotes as much as fits 576 bytes, an IPv6 error what fits 1280.
const QUOTE_BYTES_V4: usize = 548;
const QUOTE_BYTES_V6: usize = 1232;

/// A connection or flow, as the container sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    /// The container's end.
    pub(crate) inside: SocketAddr,
    /// The far end.
    pub(crate) outside: SocketAddr,
}

/// What a container sent, of what netd has to answer itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Captured<'a> {
    /// It opens a TCP connection.
    Syn { flow: Flow, sequence: u32 },
    /// It asks for an echo.
    Echo { source: IpAddr, destination: IpAddr, identifier: u16, message: &'a [u8] },
    /// An ICMP message that was too long for one packet.
    Part { source: IpAddr, destination: IpAddr, place: Place, bytes: &'a [u8] },
}

/// Where a part belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Tells a message from others between the same two.
    pub(crate) number: u32,
    /// In bytes.
    pub(crate) offset: usize,
    /// It is not the last part.
    pub(crate) more: bool,
}

/// Why a packet does not reach its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreachable {
    Network,
    Host,
    Port,
    Prohibited,
}

struct Header<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    place: Option<Place>,
    payload: &'a [u8],
}

/// The identifier of an echo request, if an ICMP message is one.
pub(crate) fn echo_identifier(v6: bool, message: &[u8]) -> Option<u16> {
    const ECHO_REQUEST: [u8; 2] = [8, 128];
    let is_request = message.len() >= 8 && message[0] == ECHO_REQUEST[usize::from(v6)];
    is_request.then(|| number_u16(message, 4)).flatten()
}

/// Reads a packet; `None` for what is malformed or of no interest.
pub(crate) fn parse(packet: &[u8]) -> Option<Captured<'_>> {
    let header = parse_header(packet)?;
    let payload = header.payload;
    let (source, destination) = (header.source, header.destination);
    if let Some(place) = header.place {
        let is_icmp = matches!(header.protocol, ICMP | ICMPV6);
        return is_icmp.then_some(Captured::Part { source, destination, place, bytes: payload });
    }
    match header.protocol {
        TCP => {
            // The data offset covers options; a SYN shorter than its header is broken.
            let length = usize::from(*payload.get(12)? >> 4) * 4;
            if length < 20 || payload.len() < length {
                return None;
            }
            let flow = Flow {
                inside: SocketAddr::new(source, number_u16(payload, 0)?),
                outside: SocketAddr::new(destination, number_u16(payload, 2)?),
            };
            let sequence = u32::from_be_bytes(payload.get(4..8)?.try_into().ok()?);
            Some(Captured::Syn { flow, sequence })
        }
        ICMP | ICMPV6 => {
            let identifier = echo_identifier(source.is_ipv6(), payload)?;
            Some(Captured::Echo { source, destination, identifier, message: payload })
        }
        _ => None,
    }
}

fn parse_header(packet: &[u8]) -> Option<Header<'_>> {
    match packet.first()? >> 4 {
        4 => {
            let header_length = usize::from(packet[0] & 15) * 4;
            let total = usize::from(number_u16(packet, 2)?);
            if header_length < IPV4_HEADER_BYTES || total < header_length {
                return None;
            }
            let field = number_u16(packet, 6)?;
            let place = Place {
                number: number_u16(packet, 4)?.into(),
                offset: usize::from(field & 0x1fff) * 8,
                more: field & MORE != 0,
            };
            Some(Header {
                source: IpAddr::from(<[u8; 4]>::try_from(packet.get(12..16)?).ok()?),
                destination: IpAddr::from(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?),
                protocol: packet[9],
                place: (place.offset > 0 || place.more).then_some(place),
                payload: packet.get(header_length..total)?,
            })
        }
        6 => {
            let length = usize::from(number_u16(packet, 4)?);
            let (mut protocol, mut place) = (*packet.get(6)?, None);
            let mut payload = packet.get(IPV6_HEADER_BYTES..IPV6_HEADER_BYTES + length)?;
            if protocol == FRAGMENT {
                let (header, rest) = payload.split_at_checked(FRAGMENT_HEADER_BYTES)?;
                let field = number_u16(header, 2)?;
                let number = u32::from_be_bytes(header[4..].try_into().ok()?);
                place = Some(Place { number, offset: usize::from(field & !7), more: field & 1 != 0 });
                (protocol, payload) = (header[0], rest);
            }
            Some(Header {
                source: IpAddr::from(<[u8; 16]>::try_from(packet.get(8..24)?).ok()?),
                destination: IpAddr::from(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?),
                protocol,
                place,
                payload,
            })
        }
        _ => None,
    }
}

fn number_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Makes the TCP checksum of a captured packet right: the sender left it to hardware that is not there.
pub(crate) fn complete_checksum(packet: &mut [u8]) {
    let Some(header) = parse_header(packet) else { return };
    let (source, destination) = (header.source, header.destination);
    let start = header.payload.as_ptr() as usize - packet.as_ptr() as usize;
    let end = start + header.payload.len();
    let segment = &mut packet[start..end];
    if let Some(field) = segment.get_mut(16..18) {
        field.fill(0);
        let sum = transport_checksum(source, destination, TCP, segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The RST with which `flow.outside` refuses a SYN with this sequence number.
pub(crate) fn reset(flow: Flow, sequence: u32) -> Vec<u8> {
    const HEADER_WORDS: u8 = 5 << 4;
    const RST_ACK: u8 = 0x14;
    let mut segment = [0; 20];
    segment[0..2].copy_from_slice(&flow.outside.port().to_be_bytes());
    segment[2..4].copy_from_slice(&flow.inside.port().to_be_bytes());
    segment[8..12].copy_from_slice(&sequence.wrapping_add(1).to_be_bytes());
    segment[12] = HEADER_WORDS;
    segment[13] = RST_ACK;
    let (from, to) = (flow.outside.ip(), flow.inside.ip());
    let sum = transport_checksum(from, to, TCP, &segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    ip_packet(from, to, TCP, &segment)
}

/// The ICMP error with which `from` tells the sender that `original` did not arrive.
pub(crate) fn unreachable(why: Unreachable, from: IpAddr, to: IpAddr, original: &[u8]) -> Vec<u8> {
    let (kind, code, most) = if from.is_ipv4() {
        let code = match why {
            Unreachable::Network => 0,
            Unreachable::Host => 1,
            Unreachable::Port => 3,
            Unreachable::Prohibited => 13,
        };
        (3, code, QUOTE_BYTES_V4)
    } else {
        let code = match why {
            Unreachable::Network => 0,
            Unreachable::Prohibited => 1,
            Unreachable::Host => 3,
            Unreachable::Port => 4,
        };
        (1, code, QUOTE_BYTES_V6)
    };
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend(&original[..original.len().min(most)]);
    icmp_packet(from, to, &mut message)
}

/// The echo reply `message` (type, code and identifier as they must be) from `from` to `to`.
pub(crate) fn icmp_packet(from: IpAddr, to: IpAddr, message: &mut [u8]) -> Vec<u8> {
    message[2..4].fill(0);
    let (protocol, sum) = if from.is_ipv4() {
        (ICMP, fold(add(0, message)))
    } else {
        (ICMPV6, transport_checksum(from, to, ICMPV6, message))
    };
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ip_packet(from, to, protocol, message)
}

/// The start of a UDP datagram of `flow` as its sender made it, for quoting in an error.
pub(crate) fn udp_quote(flow: Flow) -> Vec<u8> {
    let mut header = [0; 8];
    header[0..2].copy_from_slice(&flow.inside.port().to_be_bytes());
    header[2..4].copy_from_slice(&flow.outside.port().to_be_bytes());
    header[5] = 8;
    ip_packet(flow.inside.ip(), flow.outside.ip(), UDP, &header)
}

fn ip_packet(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    const HOP_LIMIT: u8 = 64;
    const DONT_FRAGMENT: u8 = 0x40;
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
            let mut packet = Vec::with_capacity(20 + payload.len());
            packet.extend([0x45, 0, total[0], total[1], 0, 0, DONT_FRAGMENT, 0, HOP_LIMIT, protocol, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            let sum = fold(add(0, &packet)).to_be_bytes();
            packet[10..12].copy_from_slice(&sum);
            packet.extend(payload);
            packet
        }
        _ => {
            let length = u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes();
            let mut packet = Vec::with_capacity(IPV6_HEADER_BYTES + payload.len());
            packet.extend([0x60, 0, 0, 0, length[0], length[1], protocol, HOP_LIMIT]);
            packet.extend(octets_v6(from));
            packet.extend(octets_v6(to));
            packet.extend(payload);
            packet
        }
    }
}

/// A packet of ours as parts that fit `mtu`, or as it is. `number` tells them from those of others.
pub(crate) fn split(packet: Vec<u8>, mtu: usize, number: u32) -> Vec<Vec<u8>> {
    if packet.len() <= mtu {
        return vec![packet];
    }
    let v6 = packet[0] >> 4 == 6;
    let length = if v6 { IPV6_HEADER_BYTES } else { IPV4_HEADER_BYTES };
    let (header, payload) = packet.split_at(length);
    let own = if v6 { length + FRAGMENT_HEADER_BYTES } else { length };
    let size = (mtu.saturating_sub(own) / 8 * 8).max(8);
    let count = payload.len().div_ceil(size);
    let part = |(i, bytes): (usize, &[u8])| {
        let (more, offset) = (i + 1 < count, i * size);
        // An offset is less than 64 KiB: so long is the longest packet.
        let mut part = header.to_vec();
        if v6 {
            let total = ((FRAGMENT_HEADER_BYTES + bytes.len()) as u16).to_be_bytes();
            part[4..6].copy_from_slice(&total);
            let next = std::mem::replace(&mut part[6], FRAGMENT);
            part.extend([next, 0]);
            part.extend((offset as u16 | u16::from(more)).to_be_bytes());
            part.extend(number.to_be_bytes());
        } else {
            let total = ((length + bytes.len()) as u16).to_be_bytes();
            let field = (offset / 8) as u16 | if more { MORE } else { 0 };
            part[2..4].copy_from_slice(&total);
            // 0 would have the kernel choose another number for each.
            part[4..6].copy_from_slice(&((number % 0xffff + 1) as u16).to_be_bytes());
            part[6..8].copy_from_slice(&field.to_be_bytes());
            part[10..12].fill(0);
            let sum = fold(add(0, &part)).to_be_bytes();
            part[10..12].copy_from_slice(&sum);
        }
        part.extend(bytes);
        part
    };
    payload.chunks(size).enumerate().map(part).collect()
}

fn octets_v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The checksum of TCP, UDP and ICMPv6, which covers the addresses too.
fn transport_checksum(from: IpAddr, to: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    let addresses = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => add(add(0, &from.octets()), &to.octets()),
        _ => add(add(0, &octets_v6(from)), &octets_v6(to)),
    };
    // A segment that came in an IP packet is at most 64 KiB long.
    let length = segment.len() as u32;
    fold(add(addresses + u32::from(protocol) + length, segment))
}

/// Adds up 16-bit words; the sum of 64 KiB fits 32 bits.
fn add(start: u32, bytes: &[u8]) -> u32 {
    let mut pairs = bytes.chunks_exact(2);
    let sum = pairs.by_ref().fold(start, |sum, pair| sum + u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    pairs.remainder().first().map_or(sum, |last| sum + (u32::from(*last) << 8))
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // At most 16 bits are left.
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(v6: bool) -> Flow {
        let text =
            if v6 { ["[fd00::2]:4000", "[2001:db8::1]:80"] } else { ["10.88.0.2:4000", "192.0.2.1:80"] };
        Flow { inside: text[0].parse().unwrap(), outside: text[1].parse().unwrap() }
    }

    /// The sum over a segment with a right checksum in it folds to 0.
    fn is_right(packet: &[u8]) -> bool {
        let header = parse_header(packet).unwrap();
        let own = if header.protocol == ICMP {
            fold(add(0, header.payload))
        } else {
            transport_checksum(header.source, header.destination, header.protocol, header.payload)
        };
        own == 0 && (header.source.is_ipv6() || fold(add(0, &packet[..20])) == 0)
    }

    #[test]
    fn a_reset_answers_its_syn() {
        for v6 in [false, true] {
            let packet = reset(flow(v6), u32::MAX);
            assert!(is_right(&packet));
            let start = if v6 { 40 } else { 20 };
            assert_eq!(packet[start..start + 4], [0, 80, 0x0f, 0xa0], "ports");
            assert_eq!(packet[start + 8..start + 12], [0; 4], "acknowledges sequence + 1, wrapping");
            assert_eq!(packet[start + 13], 0x14, "RST and ACK");
        }
    }

    #[test]
    fn a_syn_is_read_and_its_checksum_made() {
        for v6 in [false, true] {
            let flow = flow(v6);
            // A reset has the form of a SYN: turn its direction.
            let mut packet = reset(Flow { inside: flow.outside, outside: flow.inside }, 0);
            let start = packet.len() - 20;
            packet[start + 4..start + 8].copy_from_slice(&77_u32.to_be_bytes());
            assert!(!is_right(&packet));
            complete_checksum(&mut packet);
            assert!(is_right(&packet));
            assert_eq!(parse(&packet), Some(Captured::Syn { flow, sequence: 77 }));
            for length in 0..packet.len() {
                assert_eq!(parse(&packet[..length]), None, "cut at {length}");
            }
        }
    }

    #[test]
    fn errors_quote_no_more_than_fits() {
        for (v6, most) in [(false, 576), (true, 1280)] {
            let flow = flow(v6);
            let gateway = if v6 { "fd00::1" } else { "10.88.0.1" }.parse().unwrap();
            let packet = unreachable(Unreachable::Host, gateway, flow.inside.ip(), &vec![7; 3000]);
            assert!(is_right(&packet));
            assert_eq!(packet.len(), most);
            let small = unreachable(Unreachable::Port, gateway, flow.inside.ip(), &udp_quote(flow));
            assert!(is_right(&small));
        }
    }

    #[test]
    fn what_is_too_long_goes_in_parts() {
        for (v6, kind) in [(false, 8), (true, 128)] {
            let Flow { inside, outside } = flow(v6);
            let mut message = vec![kind; 4000];
            let whole = icmp_packet(outside.ip(), inside.ip(), &mut message);
            assert_eq!(split(whole.clone(), 5000, 7), std::slice::from_ref(&whole));
            let parts = split(whole, 1500, 7);
            let mut joined = Vec::new();
            for part in &parts {
                assert!(part.len() <= 1500);
                let Some(Captured::Part { source, destination, place, bytes }) = parse(part) else {
                    panic!()
                };
                assert_eq!((source, destination), (outside.ip(), inside.ip()));
                assert_eq!((place.number, place.offset), (if v6 { 7 } else { 8 }, joined.len()));
                joined.extend_from_slice(bytes);
                assert_eq!(place.more, joined.len() < message.len());
                assert!(v6 || fold(add(0, &part[..20])) == 0);
            }
            assert_eq!((parts.len(), joined), (3, message));
        }
    }

    #[test]
    fn hostile_lengths_are_refused() {
        let mut packet = reset(flow(false), 0);
        packet[2..4].copy_from_slice(&u16::MAX.to_be_bytes());
        assert_eq!(parse(&packet), None, "longer than it is");
        let mut packet = reset(flow(false), 0);
        packet[0] = 0x4f;
        assert_eq!(parse(&packet), None, "header longer than the packet");
        let mut packet = reset(flow(false), 0);
        packet[32] = 0xf0;
        assert_eq!(parse(&packet), None, "TCP header longer than the packet");
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[0x00; 60]), None);
    }
}
