//! Waiting for many descriptors at once: epoll, and what each event is about.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use super::slab::Key;

/// What a descriptor is for. The number is part of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Source {
    /// Packet socket of a bridge.
    Capture,
    /// Where re-injected SYNs are accepted.
    TcpListener,
    /// First datagrams of flows.
    UdpListener,
    /// A connection being dialled for a held SYN.
    Dial,
    /// The container's side of a connection.
    RelayInside,
    /// The far side of a connection.
    RelayOutside,
    FlowInside,
    FlowOutside,
    Echo,
    PublishTcp,
    PublishUdp,
    DnsUdp,
    DnsListener,
    DnsTcp,
    DnsUpstream,
    /// A monitor or a command.
    Session,
    SessionListener,
    /// Jobs that ran in G are done.
    Worker,
    /// The host's addresses or routes have changed.
    Moves,
}

const SOURCES: [Source; 19] = [
    Source::Capture,
    Source::TcpListener,
    Source::UdpListener,
    Source::Dial,
    Source::RelayInside,
    Source::RelayOutside,
    Source::FlowInside,
    Source::FlowOutside,
    Source::Echo,
    Source::PublishTcp,
    Source::PublishUdp,
    Source::DnsUdp,
    Source::DnsListener,
    Source::DnsTcp,
    Source::DnsUpstream,
    Source::Session,
    Source::SessionListener,
    Source::Worker,
    Source::Moves,
];

/// What an event is about: kind, and entry in that kind's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) source: Source,
    pub(super) key: Key,
}

impl Token {
    pub(super) fn new(source: Source, key: Key) -> Self {
        Self { source, key }
    }

    /// A token for one of a few fixed descriptors.
    pub(super) fn fixed(source: Source, index: u32) -> Self {
        Self { source, key: Key { index, generation: 0 } }
    }

    fn encode(self) -> u64 {
        u64::from(self.source as u8) << 56 | u64::from(self.key.generation) << 32 | u64::from(self.key.index)
    }

    fn decode(number: u64) -> Option<Self> {
        let source = *SOURCES.get((number >> 56) as usize)?;
        let generation = (number >> 32) as u32 & 0xff_ffff;
        // The low half is the index.
        Some(Self { source, key: Key { index: number as u32, generation } })
    }
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// Something to read, for as long as there is.
    Read,
    /// Each change of state, once: streams.
    Edges,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Self::Read => EventFlags::IN,
            Self::Edges => EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET,
        }
    }
}

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) token: Token,
    flags: EventFlags,
}

impl Event {
    /// There may be data, an end, or an error to read.
    pub(super) fn readable(self) -> bool {
        self.flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR)
    }

    /// An error waits, or both sides have ended.
    pub(super) fn failed(self) -> bool {
        self.flags.intersects(EventFlags::HUP | EventFlags::ERR)
    }

    pub(super) fn writable(self) -> bool {
        self.flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR)
    }

    /// The peer has ended its side, or an error waits: a short read is not the last one.
    pub(super) fn ended(self) -> bool {
        self.flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR)
    }
}

/// An epoll instance.
pub(super) struct Reactor {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl std::fmt::Debug for Reactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reactor({:?})", self.epoll)
    }
}

const EVENTS_AT_ONCE: usize = 128;

impl Reactor {
    pub(super) fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS_AT_ONCE) })
    }

    /// Watches `fd` until it is closed.
    pub(super) fn add(&self, fd: impl AsFd, interest: Interest, token: Token) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token.encode()), interest.flags())
    }

    /// Watches `fd`, which is watched already, for something else. What is the case already is reported anew.
    pub(super) fn change(&self, fd: impl AsFd, interest: Interest, token: Token) -> Result<(), Errno> {
        epoll::modify(&self.epoll, fd, EventData::new_u64(token.encode()), interest.flags())
    }

    /// Stops watching `fd`, of which other processes have copies so that closing it is not enough.
    pub(super) fn remove(&self, fd: impl AsFd) {
        // It may be gone already with its last copy.
        epoll::delete(&self.epoll, fd).ok();
    }

    /// Waits at most `timeout` (for ever if `None`) and appends what happened to `into`.
    pub(super) fn wait(&mut self, timeout: Option<Duration>, into: &mut Vec<Event>) -> Result<(), Errno> {
        let timeout = timeout.map(|timeout| rustix::event::Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        self.events.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
            Ok(_count) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error),
        }
        into.extend(self.events.iter().filter_map(|event| {
            // Copied out: the kernel's struct is packed.
            let (data, flags) = (event.data, event.flags);
            Token::decode(data.u64()).map(|token| Event { token, flags })
        }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_fit_an_event() {
        for (i, source) in SOURCES.into_iter().enumerate() {
            assert_eq!(source as usize, i, "the table is in the order of the numbers");
            let token = Token::new(source, Key { index: u32::MAX, generation: 0xff_ffff });
            assert_eq!(Token::decode(token.encode()), Some(token));
        }
        assert_eq!(Token::decode(u64::MAX), None);
    }

    #[test]
    fn events_name_their_source() {
        let mut reactor = Reactor::new().unwrap();
        let (left, right) = crate::sys::socket::pair(crate::sys::socket::Kind::Stream).unwrap();
        let token = Token::fixed(Source::Echo, 7);
        reactor.add(&left, Interest::Edges, token).unwrap();
        let mut events = Vec::new();
        reactor.wait(Some(Duration::ZERO), &mut events).unwrap();
        assert!(events[0].writable() && !events[0].readable());
        drop(right);
        events.clear();
        reactor.wait(None, &mut events).unwrap();
        assert!(events[0].ended() && events[0].token == token);
    }
}
