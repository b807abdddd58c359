//! Connections to netd: monitors, whose connection is their container's life, and commands.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::Netd;
use super::core::Core;
use super::reactor::{Interest, Source, Token};
use super::slab::{Key, Slab};
use crate::base::order::InOrder as _;
use crate::net::control::{self, ContainerState, PAGE_BYTES, Refusal, RefusalKind, Reply, Request};
use crate::sys::{namespace, socket};

#[derive(Debug)]
struct Session {
    socket: OwnedFd,
    member: Option<Key>,
    /// It keeps G.
    holds: bool,
}

/// All connections.
#[derive(Debug)]
pub(super) struct Sessions {
    slab: Slab<Session>,
    listener: OwnedFd,
    /// The connection of whoever started netd, until it has said what for.
    first: Option<Key>,
}

impl Sessions {
    pub(super) fn new(core: &Core, listener: OwnedFd) -> Result<Self, Errno> {
        core.reactor.add(&listener, Interest::Read, Token::fixed(Source::SessionListener, 0))?;
        Ok(Self { slab: Slab::new(), listener, first: None })
    }

    /// Takes new connections of the same user.
    pub(super) fn on_listener(&mut self, core: &Core) {
        while let Ok(Some(connection)) = socket::accept(self.listener.as_fd()) {
            let own = rustix::process::geteuid().as_raw();
            if socket::peer(connection.as_fd()).is_ok_and(|peer| peer.uid == own) {
                // Not watched, not served: the peer sees the end and tries again.
                self.add(core, connection).ok();
            }
        }
    }

    /// Serves the connection of whoever started netd.
    pub(super) fn add_first(&mut self, core: &Core, connection: OwnedFd) -> std::io::Result<()> {
        self.first = Some(self.add(core, connection)?);
        Ok(())
    }

    /// Whether whoever started netd has not yet said what for.
    pub(super) fn awaits_first(&self) -> bool {
        self.first.is_some()
    }

    /// Serves a connection.
    fn add(&mut self, core: &Core, connection: OwnedFd) -> std::io::Result<Key> {
        socket::set_nonblocking(connection.as_fd(), true)?;
        // A large request comes in one packet.
        socket::set_send_buffer(connection.as_fd(), control::MAX_PACKET_BYTES * 2).ok();
        let key = self.slab.insert(Session { socket: connection, member: None, holds: false });
        let socket = &self.slab.get(key).expect("just inserted").socket;
        core.reactor.add(socket, Interest::Read, Token::new(Source::Session, key))?;
        Ok(key)
    }

    /// Makes the connection the life of a container.
    pub(super) fn bind(&mut self, key: Key, member: Key) {
        if let Some(session) = self.slab.get_mut(key) {
            session.member = Some(member);
        }
    }

    /// Makes the connection one that keeps G.
    fn hold(&mut self, key: Key) {
        if let Some(session) = self.slab.get_mut(key) {
            session.holds = true;
        }
    }

    /// Whether any connection keeps G.
    pub(super) fn are_holding(&self) -> bool {
        self.slab.iter().any(|(_, session)| session.holds)
    }

    pub(super) fn member(&self, key: Key) -> Option<Key> {
        self.slab.get(key)?.member
    }

    /// Sends an answer. A peer that reads nothing is not waited for. One that cannot be answered learns why, or sees
    /// the end of the connection: it would wait for ever.
    pub(super) fn reply(&self, key: Key, reply: &Reply, descriptors: &[BorrowedFd<'_>]) {
        let Some(session) = self.slab.get(key) else { return };
        let Err(error) = control::send(&session.socket, reply, descriptors) else { return };
        let refusal = Reply::Refused(refusal(RefusalKind::System, format!("answer: {error}")));
        if control::send(&session.socket, &refusal, &[]).is_err() {
            // Its end is an event of its own.
            rustix::net::shutdown(&session.socket, rustix::net::Shutdown::Both).ok();
        }
    }

    /// Tells a monitor something that it has not asked for. One that reads nothing keeps what it knew.
    pub(super) fn tell(&self, key: Key, news: &Reply) {
        if let Some(session) = self.slab.get(key) {
            control::send(&session.socket, news, &[]).ok();
        }
    }

    #[allow(clippy::type_complexity)]
    fn receive(&mut self, key: Key) -> Option<std::io::Result<Option<(Request, Vec<OwnedFd>)>>> {
        let session = self.slab.get(key)?;
        Some(control::receive(&session.socket))
    }

    /// Ends a connection.
    pub(super) fn close(&mut self, core: &Core, key: Key) {
        self.first = self.first.filter(|first| *first != key);
        let Some(session) = self.slab.remove(key) else { return };
        core.reactor.remove(&session.socket);
        // The first connection has a copy that waits for a failure to report: closing does not end it.
        rustix::net::shutdown(&session.socket, rustix::net::Shutdown::Both).ok();
    }
}

/// A refusal to send.
pub(super) fn refusal(kind: RefusalKind, message: impl Into<String>) -> Refusal {
    Refusal { kind, message: message.into() }
}

impl Netd {
    /// A monitor or a command has sent something, or is gone.
    pub(super) fn on_session(&mut self, key: Key) {
        loop {
            match self.sessions.receive(key) {
                None => return,
                Some(Ok(Some((request, descriptors)))) => self.on_request(key, request, descriptors),
                Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Some(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData || is_json(&error) => {
                    let refusal = refusal(RefusalKind::Invalid, format!("read request: {error}"));
                    self.sessions.reply(key, &Reply::Refused(refusal), &[]);
                }
                // The end, or as good as that.
                Some(Ok(None) | Err(_)) => {
                    // First: the peer may wait for the end of the connection, to find ports and addresses free.
                    if let Some(member) = self.sessions.member(key) {
                        self.detach(member);
                    }
                    self.sessions.close(&self.core, key);
                    return;
                }
            }
        }
    }

    fn on_request(&mut self, key: Key, request: Request, descriptors: Vec<OwnedFd>) {
        self.sessions.first = self.sessions.first.filter(|first| *first != key);
        let outcome = match request {
            Request::Attach(attach) => {
                let mut descriptors = descriptors.into_iter();
                match (descriptors.next(), descriptors.next()) {
                    (Some(namespace), caller) => {
                        let checked = self.check_caller(caller.as_ref(), Some(&namespace));
                        checked.and_then(|()| self.attach(key, attach, namespace))
                    }
                    (None, _) => {
                        Err(refusal(RefusalKind::Invalid, "attach: no network namespace came along"))
                    }
                }
            }
            Request::Publish { ports } => self.publish(key, &ports, descriptors),
            Request::Connect { container, endpoint } => self.connect(key, container.as_deref(), endpoint),
            Request::Disconnect { container, network } => {
                self.disconnect(key, container.as_deref(), &network)
            }
            Request::Update { network } => self.update(key, network),
            Request::Rename { container, name } => self.rename(key, &container, name),
            Request::Reload { container } => self.reload(key, &container),
            Request::Hold => self.check_caller(descriptors.first(), None).map(|()| {
                self.sessions.hold(key);
                let held = Reply::Attached { endpoints: Vec::new() };
                self.sessions.reply(key, &held, &[self.gateway.as_fd()]);
            }),
            Request::Query => {
                self.sessions.reply(key, &self.state(""), &[]);
                Ok(())
            }
            Request::QueryAfter { container } => {
                self.sessions.reply(key, &self.state(&container), &[]);
                Ok(())
            }
        };
        if let Err(refusal) = outcome {
            self.sessions.reply(key, &Reply::Refused(refusal), &[]);
        }
    }

    /// Refuses whoever is in another network namespace than netd (`caller`): from here its containers would go out by
    /// ways that it does not have, past the VPN that the namespace is for.
    fn check_caller(&self, caller: Option<&OwnedFd>, container: Option<&OwnedFd>) -> Result<(), Refusal> {
        let identity = |namespace: &OwnedFd| namespace::identity(namespace).ok();
        let Some(caller) = caller.and_then(identity) else { return Ok(()) };
        // Who was led into G (`unshare --rootless-netns`) is no stranger, nor is a monitor that is in the namespace which it
        // has made for its container.
        let is_known = [Some(&self.gateway), container]
            .into_iter()
            .flatten()
            .any(|known| identity(known) == Some(caller));
        if is_known || self.host.is_none_or(|own| own == caller) {
            return Ok(());
        }
        let message = "the network helper runs in another network namespace; stop its containers, or use another --root";
        Err(refusal(RefusalKind::Conflict, message))
    }

    /// Who is where, of those that are linked and whose IDs come after `after`.
    fn state(&self, after: &str) -> Reply {
        let members = self.core.world.members.iter().map(|(_, member)| member);
        let mut left: Vec<_> =
            members.filter(|member| member.ready && member.attach.container.as_str() > after).collect();
        left.order_by(|one, other| one.attach.container.cmp(&other.attach.container));
        let of = |member: &super::world::Member| ContainerState {
            container: member.attach.container.clone(),
            name: member.attach.name.clone(),
            endpoints: member.joined.iter().map(|joined| joined.endpoint.clone()).collect(),
        };
        page(left.into_iter().map(of))
    }
}

/// As many of them as fit into one packet, at least one.
fn page(all: impl Iterator<Item = ContainerState>) -> Reply {
    let mut containers = Vec::new();
    let mut bytes = 0;
    for of in all {
        bytes += serde_json::to_vec(&of).map_or(0, |text| text.len() + 1);
        if bytes > PAGE_BYTES && !containers.is_empty() {
            return Reply::State { containers, more: true };
        }
        containers.push(of);
    }
    Reply::State { containers, more: false }
}

/// serde_json's errors become io errors of various kinds.
fn is_json(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<serde_json::Error>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_one_packet_comes_in_parts() {
        let of = |n: usize| ContainerState {
            container: format!("{n:064x}"),
            name: "n".repeat(200),
            endpoints: vec![],
        };
        let (mut next, mut pages) = (0, 0);
        loop {
            let reply = page((next..2000).map(of));
            assert!(serde_json::to_vec(&reply).unwrap().len() <= control::MAX_PACKET_BYTES);
            let Reply::State { containers, more } = reply else { panic!("no state") };
            assert_eq!(containers.first(), Some(&of(next)));
            next += containers.len();
            pages += 1;
            if !more {
                break;
            }
        }
        assert!(next == 2000 && pages > 4, "{next} in {pages}");
    }
}
