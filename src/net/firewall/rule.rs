//! Rules of nf_tables as lists of expressions, and those as attributes.
//!
//! An expression loads something into a register, compares a register, or acts. The first
//! comparison that fails ends the rule.

use std::net::IpAddr;

use crate::base::order::InOrder as _;
use crate::net::netlink::Batch;

/// Register 0 holds the verdict, 1 and 2 are used for data (`NFT_REG_1`, `NFT_REG_2`).
const VERDICT: u32 = 0;
const REG_1: u32 = 1;
const REG_2: u32 = 2;

/// Transport protocols with rules of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proto {
    Tcp = 6,
    Udp = 17,
}

/// What the routing tables say about an address (`RTN_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressType {
    Local = 2,
    Broadcast = 3,
    Multicast = 5,
}

/// What `meta` can load (`NFT_META_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meta {
    Mark = 3,
    InputInterface = 4,
    NetworkProtocol = 15,
    TransportProtocol = 16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    LoadMeta(Meta),
    SetMark,
    /// Bytes of the transport header.
    LoadTransport {
        offset: u32,
        length: u32,
    },
    Mask(u8),
    Equal(Vec<u8>),
    NotEqual(Vec<u8>),
    /// The type of the destination address.
    LoadDestinationType,
    /// Whether a way leads back to the source by the link that the packet came in through.
    LoadWayBack,
    /// Whether the packet belongs to a socket with `IP_TRANSPARENT`.
    LoadTransparent,
    Data {
        register: u32,
        value: Vec<u8>,
    },
    Tproxy {
        family: u32,
    },
    Verdict(u32),
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    expressions: Vec<Expression>,
}

impl Rule {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn with(mut self, more: impl IntoIterator<Item = Expression>) -> Self {
        self.expressions.extend(more);
        self
    }

    fn meta_is(self, what: Meta, value: Vec<u8>) -> Self {
        self.with([Expression::LoadMeta(what), Expression::Equal(value)])
    }

    /// It came in through the link with this index.
    pub(super) fn input(self, index: u32) -> Self {
        self.meta_is(Meta::InputInterface, index.to_ne_bytes().into())
    }

    pub(super) fn mark(self, mark: u32) -> Self {
        self.meta_is(Meta::Mark, mark.to_ne_bytes().into())
    }

    /// It is IPv6, or else IPv4.
    pub(super) fn family(self, v6: bool) -> Self {
        self.meta_is(Meta::NetworkProtocol, vec![if v6 { 10 } else { 2 }])
    }

    pub(super) fn proto(self, proto: Proto) -> Self {
        self.meta_is(Meta::TransportProtocol, vec![proto as u8])
    }

    /// It opens a TCP connection: SYN without ACK.
    pub(super) fn syn(self) -> Self {
        const FLAGS_AT: u32 = 13;
        const SYN: u8 = 0x02;
        const ACK: u8 = 0x10;
        self.proto(Proto::Tcp).with([
            Expression::LoadTransport { offset: FLAGS_AT, length: 1 },
            Expression::Mask(SYN | ACK),
            Expression::Equal(vec![SYN]),
        ])
    }

    pub(super) fn destination_is(self, kind: AddressType) -> Self {
        let value = (kind as u32).to_ne_bytes().into();
        self.with([Expression::LoadDestinationType, Expression::Equal(value)])
    }

    pub(super) fn destination_is_not(self, kind: AddressType) -> Self {
        let value = (kind as u32).to_ne_bytes().into();
        self.with([Expression::LoadDestinationType, Expression::NotEqual(value)])
    }

    /// What it says it comes from is not behind the link that it came in through.
    pub(super) fn source_is_elsewhere(self) -> Self {
        self.with([Expression::LoadWayBack, Expression::Equal(vec![0; 4])])
    }

    /// It belongs to a socket that takes what is sent to addresses of others.
    pub(super) fn transparent_socket(self) -> Self {
        self.with([Expression::LoadTransparent, Expression::Equal(vec![1])])
    }

    pub(super) fn set_mark(self, mark: u32) -> Self {
        let value = mark.to_ne_bytes().into();
        self.with([Expression::Data { register: REG_1, value }, Expression::SetMark])
    }

    /// Hand it to the socket listening at `ip`:`port`, its addresses unchanged.
    pub(super) fn tproxy(self, ip: IpAddr, port: u16) -> Self {
        let (octets, family) = match ip {
            IpAddr::V4(ip) => (ip.octets().to_vec(), 2),
            IpAddr::V6(ip) => (ip.octets().to_vec(), 10),
        };
        self.with([
            Expression::Data { register: REG_1, value: octets },
            Expression::Data { register: REG_2, value: port.to_be_bytes().into() },
            Expression::Tproxy { family },
        ])
    }

    pub(super) fn accept(self) -> Self {
        self.with([Expression::Verdict(1)])
    }

    pub(super) fn drop(self) -> Self {
        self.with([Expression::Verdict(0)])
    }

    /// Names of the expressions, each of which is a kernel module: for error messages.
    pub(super) fn modules(&self) -> String {
        let mut names: Vec<&str> = self.expressions.iter().map(Expression::name).collect();
        names.order();
        names.dedup();
        names.join(", ")
    }

    /// Appends the rule as `NFTA_LIST_ELEM`s.
    pub(super) fn encode(&self, into: &mut Batch) {
        for expression in &self.expressions {
            into.nested(1, |element| {
                element.text(1, expression.name());
                element.nested(2, |data| expression.encode(data));
            });
        }
    }
}

impl Expression {
    fn name(&self) -> &'static str {
        match self {
            Self::LoadMeta(_) | Self::SetMark => "meta",
            Self::LoadTransport { .. } => "payload",
            Self::Mask(_) => "bitwise",
            Self::Equal(_) | Self::NotEqual(_) => "cmp",
            Self::LoadDestinationType | Self::LoadWayBack => "fib",
            Self::LoadTransparent => "socket",
            Self::Data { .. } | Self::Verdict(_) => "immediate",
            Self::Tproxy { .. } => "tproxy",
        }
    }

    fn encode(&self, data: &mut Batch) {
        match self {
            Self::LoadMeta(key) => {
                data.number_be(2, *key as u32).number_be(1, REG_1);
            }
            Self::SetMark => {
                data.number_be(2, Meta::Mark as u32).number_be(3, REG_1);
            }
            Self::LoadTransport { offset, length } => {
                const TRANSPORT_HEADER: u32 = 2;
                data.number_be(1, REG_1).number_be(2, TRANSPORT_HEADER);
                data.number_be(3, *offset).number_be(4, *length);
            }
            Self::Mask(mask) => {
                const MASK_XOR: u32 = 0;
                data.number_be(1, REG_1).number_be(2, REG_1).number_be(6, MASK_XOR).number_be(3, 1);
                value(data, 4, &[*mask]);
                value(data, 5, &[0]);
            }
            Self::Equal(wanted) => compare(data, 0, wanted),
            Self::NotEqual(unwanted) => compare(data, 1, unwanted),
            Self::LoadDestinationType => {
                const FLAG_DESTINATION: u32 = 2;
                const RESULT_ADDRESS_TYPE: u32 = 3;
                data.number_be(3, FLAG_DESTINATION).number_be(2, RESULT_ADDRESS_TYPE).number_be(1, REG_1);
            }
            Self::LoadWayBack => {
                const FLAG_SOURCE: u32 = 1;
                const FLAG_INPUT: u32 = 8;
                const FLAG_PRESENT: u32 = 32;
                const RESULT_LINK: u32 = 1;
                let flags = FLAG_SOURCE | FLAG_INPUT | FLAG_PRESENT;
                data.number_be(3, flags).number_be(2, RESULT_LINK).number_be(1, REG_1);
            }
            Self::LoadTransparent => {
                const KEY_TRANSPARENT: u32 = 0;
                data.number_be(1, KEY_TRANSPARENT).number_be(2, REG_1).number_be(3, 0);
            }
            Self::Data { register, value: bytes } => {
                data.number_be(1, *register);
                value(data, 2, bytes);
            }
            Self::Tproxy { family } => {
                data.number_be(1, *family).number_be(2, REG_1).number_be(3, REG_2);
            }
            Self::Verdict(code) => {
                data.number_be(1, VERDICT);
                data.nested(2, |value| {
                    value.nested(2, |verdict| {
                        verdict.number_be(1, *code);
                    });
                });
            }
        }
    }
}

fn compare(data: &mut Batch, operation: u32, with: &[u8]) {
    data.number_be(1, REG_1).number_be(2, operation);
    value(data, 3, with);
}

/// A value within an attribute of its own (`NFTA_DATA_VALUE`).
fn value(data: &mut Batch, kind: u16, bytes: &[u8]) {
    data.nested(kind, |data| {
        data.attribute(1, bytes);
    });
}
