//! The few packets that netd reads and forges itself: SYN, RST, ICMP unreachable, ICMP echo.
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
    payload: &'a [u8],
}

/// Reads a packet; `None` for what is malformed or of no interest.
pub(crate) fn parse(packet: &[u8]) -> Option<Captured<'_>> {
    let header = parse_header(packet)?;
    let payload = header.payload;
    match header.protocol {
        TCP => {
            // The data offset covers options; a SYN shorter than its header is broken.
            let length = usize::from(*payload.get(12)? >> 4) * 4;
            if length < 20 || payload.len() < length {
                return None;
            }
            let flow = Flow {
                inside: SocketAddr::new(header.source, number_u16(payload, 0)?),
                outside: SocketAddr::new(header.destination, number_u16(payload, 2)?),
            };
            let sequence = u32::from_be_bytes(payload.get(4..8)?.try_into().ok()?);
            Some(Captured::Syn { flow, sequence })
        }
        ICMP | ICMPV6 if payload.len() >= 8 => Some(Captured::Echo {
            source: header.source,
            destination: header.destination,
            identifier: number_u16(payload, 4)?,
            message: payload,
        }),
        _ => None,
    }
}

fn parse_header(packet: &[u8]) -> Option<Header<'_>> {
    match packet.first()? >> 4 {
        4 => {
            let header_length = usize::from(packet[0] & 15) * 4;
            let total = usize::from(number_u16(packet, 2)?);
            if header_length < 20 || total < header_length {
                return None;
            }
            Some(Header {
                source: IpAddr::from(<[u8; 4]>::try_from(packet.get(12..16)?).ok()?),
                destination: IpAddr::from(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?),
                protocol: packet[9],
                payload: packet.get(header_length..total)?,
            })
        }
        6 => {
            let length = usize::from(number_u16(packet, 4)?);
            Some(Header {
                source: IpAddr::from(<[u8; 16]>::try_from(packet.get(8..24)?).ok()?),
                destination: IpAddr::from(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?),
                protocol: *packet.get(6)?,
                payload: packet.get(IPV6_HEADER_BYTES..IPV6_HEADER_BYTES + length)?,
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
