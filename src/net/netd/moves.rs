//! Notices when the host's own network changes: another Wi-Fi, a VPN, a new address.
//!
//! A connected socket keeps the address that it began with. Those of TCP end with it, as they do on the host; a UDP flow
//! has no end while the container sends, and must be connected anew.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::reactor::{Interest, Reactor, Source, Token};
use crate::sys::netlink;

/// What the kernel tells of links, addresses, routes and rules.
#[derive(Debug)]
pub(super) struct Moves {
    socket: Option<OwnedFd>,
    news: bool,
}

impl Moves {
    /// Listens in the calling thread's network namespace. Where that is refused, flows end as they would without.
    pub(super) fn open(reactor: &Reactor) -> Self {
        let watched =
            |socket: &OwnedFd| reactor.add(socket, Interest::Read, Token::fixed(Source::Moves, 0)).is_ok();
        Self { socket: netlink::watch_routes().ok().filter(watched), news: false }
    }

    /// Something has changed; what exactly does not matter.
    pub(super) fn on_event(&mut self) {
        let Some(socket) = &self.socket else { return };
        let mut some = [0_u8; 64];
        self.news = true;
        // Messages that did not fit are told of by an error, and mean the same.
        while matches!(
            rustix::net::recv(socket, &mut some[..], RecvFlags::DONTWAIT),
            Ok(_) | Err(Errno::NOBUFS | Errno::INTR)
        ) {}
    }

    pub(super) fn are_news(&self) -> bool {
        self.news
    }

    /// Whether something has changed since this was asked last.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }
}
