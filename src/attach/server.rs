//! The monitor's side: any number of clients, none of whom can lose output or stop the others for good.
//!
//! ```text
//!                       ┌─ took the packet
//! one packet ── offer ──┼─ took the packet
//!                       └─ owes: its socket is full. No new output is read until it has taken
//!                          the packet: back-pressure reaches the container through its pipe.
//! ```
//!
//! Where a client has passed on the pipe or file that its output goes to, "its socket" is that pipe or file.
//!
//! When the container has ended there is nobody to hold back: what a slow client has not taken is
//! copied to its backlog, and the rest of the work goes on.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::attach::packet::{self, FromClient, Hello, Small};
use crate::base::stream::Stream;
use crate::sys::poll::{Interest, PollSet, Ready};
use crate::sys::socket;
use crate::sys::tty::WindowSize;

/// Most clients at one time; more wait in the socket's queue.
const MAX_CLIENTS: usize = 512;
/// Size of a pipe that one side of it is too slow for.
pub(crate) const LARGE_PIPE: usize = 1 << 20;
/// Room asked for in each client's socket.
const SEND_BUFFER: usize = 1 << 20;

/// What a client wants of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    Stdin(&'a [u8]),
    StdinEof,
    Resize(WindowSize),
    Signal(i32),
    /// Check the container's health, and tell everyone who asks: [`Server::tell_checked`].
    Check,
    /// Something about the container was changed.
    Reload,
    /// Tell that the command which [`Server::session`] names has ended, and of its code.
    Ended(i32),
}

/// The clients of one container and the socket where more may come.
#[derive(Debug)]
pub(crate) struct Server {
    listener: Option<OwnedFd>,
    clients: Vec<Client>,
    /// Where `register` put the first of its descriptors.
    base: usize,
    /// No descriptor could be had for a waiting client; ask again after the next pause.
    exhausted: bool,
}

#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    hello: Option<Hello>,
    /// It started the container, which waits until it has said what it wants.
    first: bool,
    /// Where its standard output and standard error go, if this process is to write there itself.
    direct: [Option<OwnedFd>; 2],
    /// It has not said yet that it is ready for output that it does not see.
    prepares: bool,
    /// How much of the next packet's data was written there.
    written: usize,
    /// That one of `direct` takes no more at the moment.
    full: Option<Stream>,
    /// The packet that is being offered has not fitted yet.
    owes: bool,
    /// Packets to send before anything else.
    backlog: VecDeque<Box<[u8]>>,
    /// It gets its backlog and no more.
    leaving: bool,
    gone: bool,
    /// It waits for the next check of the container's health.
    asks_health: bool,
    /// The session of the command that it is there to tell of.
    session: String,
    /// How that ended.
    ended: Option<i32>,
}

impl Client {
    fn new(socket: OwnedFd, first: bool) -> Self {
        // Less room only means more waiting.
        socket::set_send_buffer(socket.as_fd(), SEND_BUFFER).ok();
        Self {
            socket,
            hello: None,
            first,
            direct: [None, None],
            prepares: false,
            written: 0,
            full: None,
            owes: false,
            backlog: VecDeque::new(),
            leaving: false,
            gone: false,
            asks_health: false,
            session: String::new(),
            ended: None,
        }
    }

    /// Tries to send; true if the packet is dealt with, be it because the client is gone.
    fn try_send(&mut self, packet: &[u8]) -> bool {
        self.full = None;
        if packet::is_exit(packet) {
            // Who reads behind the client must not wait for this process to end.
            self.direct = [None, None];
        }
        match packet::output_of(packet) {
            Some(stream) if self.direct[stream as usize].is_some() => self.write_directly(stream, packet),
            _ => self.send_packet(packet),
        }
    }

    /// Writes output to where the client's goes. What cannot be written goes to the client, who then sees why.
    fn write_directly(&mut self, stream: Stream, packet: &[u8]) -> bool {
        let Some(output) = &self.direct[stream as usize] else { return false };
        while 1 + self.written < packet.len() {
            match rustix::io::write(output, &packet[1 + self.written..]) {
                Ok(length) => self.written += length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if grow(output) => {}
                Err(Errno::AGAIN) => {
                    self.full = Some(stream);
                    return false;
                }
                Err(_) => {
                    self.direct[stream as usize] = None;
                    let rest = [&packet[..1], &packet[1 + self.written..]].concat();
                    self.written = 0;
                    if !self.send_packet(&rest) {
                        self.backlog.push_front(rest.into());
                    }
                    return true;
                }
            }
        }
        self.written = 0;
        true
    }

    fn send_packet(&mut self, packet: &[u8]) -> bool {
        match socket::send(self.socket.as_fd(), packet) {
            Ok(_) => true,
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => false,
            Err(_) => {
                self.gone = true;
                true
            }
        }
    }

    /// Sends a packet after what waits already.
    fn send_or_keep(&mut self, packet: &[u8]) {
        if self.owes || !self.backlog.is_empty() || !self.try_send(packet) {
            self.backlog.push_back(packet.into());
        }
    }

    fn send_backlog(&mut self) {
        while let Some(packet) = self.backlog.pop_front() {
            if !self.try_send(&packet) {
                self.backlog.push_front(packet);
                return;
            }
        }
    }

    fn interest(&self, input_wanted: bool) -> Interest {
        let sends_input = self.hello.is_some_and(|hello| hello.stdin);
        Interest {
            read: !self.leaving && (input_wanted || !sends_input),
            write: self.full.is_none() && (self.owes || !self.backlog.is_empty()),
        }
    }

    /// Takes what came with the opening packet.
    fn admit_outputs(&mut self, hello: Hello, passed: Vec<OwnedFd>) {
        let mut passed = passed.into_iter();
        for (place, is_passed) in self.direct.iter_mut().zip(hello.direct) {
            // One that would have to be waited for stays with the client.
            *place = if is_passed { passed.next().filter(|fd| never_blocks(fd.as_fd())) } else { None };
        }
        self.prepares = self.direct.iter().any(Option::is_some);
    }
}

impl Server {
    /// A server for those who connect to `listener`, and for `first`: the command that starts the
    /// container, and those who have waited for that.
    ///
    /// # Errors
    ///
    /// If one of `first` is no socket.
    pub(crate) fn new(
        listener: Option<OwnedFd>,
        first: impl IntoIterator<Item = OwnedFd>,
    ) -> io::Result<Self> {
        let mut server = Self { listener, clients: Vec::new(), base: 0, exhausted: false };
        first.into_iter().try_for_each(|socket| server.admit_first(socket))?;
        Ok(server)
    }

    /// Takes in one who is to see the container's output from the first byte on.
    ///
    /// # Errors
    ///
    /// If it is no socket.
    pub(crate) fn admit_first(&mut self, socket: OwnedFd) -> io::Result<()> {
        socket::set_nonblocking(socket.as_fd(), true)?;
        self.clients.insert(0, Client::new(socket, true));
        Ok(())
    }

    /// True until those who were there at the start have said what they want and are ready for it, or are gone.
    /// Output is not to be read before: they are to see it from the first byte.
    pub(crate) fn awaits_first(&self) -> bool {
        self.clients.iter().any(|client| client.first && (client.hello.is_none() || client.prepares))
    }

    /// Adds all descriptors to `set`. Clients that send input are not listened to while
    /// `input_wanted` is false.
    pub(crate) fn register(&mut self, set: &mut PollSet, input_wanted: bool) {
        let open = self.clients.len() < MAX_CLIENTS && !self.exhausted;
        self.base = set.add(self.listener.as_ref().filter(|_| open).map(AsFd::as_fd), Interest::READ);
        for client in &self.clients {
            set.add(Some(client.socket.as_fd()), client.interest(input_wanted));
        }
        for client in &self.clients {
            if let Some(output) = client.full.and_then(|stream| client.direct[stream as usize].as_ref()) {
                set.add(Some(output.as_fd()), Interest::WRITE);
            }
        }
    }

    /// How many clients `register` added.
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// What happened to client `index` in the last wait.
    pub(crate) fn ready(&self, set: &PollSet, index: usize) -> Ready {
        set.ready(self.base + 1 + index)
    }

    /// Lets new clients in, if the last wait found some. To be called after all clients were looked
    /// at: it changes their number.
    pub(crate) fn accept(&mut self, set: &PollSet) {
        if set.ready(self.base).read {
            self.admit_waiting();
        }
    }

    /// Lets those in who wait in the socket's queue.
    fn admit_waiting(&mut self) {
        while let Some(listener) = self.listener.as_ref().filter(|_| self.clients.len() < MAX_CLIENTS) {
            match socket::accept(listener.as_fd()) {
                Ok(Some(socket)) => self.admit(socket),
                Ok(None) => return,
                Err(_) => {
                    self.exhausted = true;
                    return;
                }
            }
        }
    }

    /// Takes a client in, if it is of the same user. (The mode and the directory of the socket say so
    /// already; this says it again.)
    fn admit(&mut self, socket: OwnedFd) {
        // Not known beforehand: a monitor may have joined another container's user namespace, where both have other numbers.
        let own = rustix::process::geteuid().as_raw();
        if socket::peer(socket.as_fd()).is_ok_and(|peer| peer.uid == own) {
            self.clients.push(Client::new(socket, false));
        }
    }

    /// A pause is over: resources may have come back. True if that was awaited.
    pub(crate) fn retry_accept(&mut self) -> bool {
        std::mem::take(&mut self.exhausted)
    }

    /// True if a pause is needed before clients can be let in.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Receives one packet of client `index` into `buffer`.
    pub(crate) fn receive<'b>(&mut self, index: usize, buffer: &'b mut [u8]) -> Option<Request<'b>> {
        let client = &mut self.clients[index];
        let mut passed = Vec::new();
        let received = match client.hello {
            None => socket::receive_with_fds(client.socket.as_fd(), buffer, &mut passed),
            Some(_) => socket::receive(client.socket.as_fd(), buffer),
        };
        let length = match received {
            Ok(length) if length > 0 => length,
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => return None,
            Ok(_) | Err(_) => {
                client.gone = true;
                return None;
            }
        };
        match (FromClient::decode(&buffer[..length]), client.hello) {
            (Ok(FromClient::Hello(hello)), None) => {
                client.hello = Some(hello);
                client.admit_outputs(hello, passed);
                None
            }
            (Ok(FromClient::Stdin(data)), Some(_)) => Some(Request::Stdin(data)),
            (Ok(FromClient::StdinEof), Some(_)) => Some(Request::StdinEof),
            (Ok(FromClient::Resize(size)), Some(_)) => Some(Request::Resize(size)),
            (Ok(FromClient::Signal(number)), Some(_)) => Some(Request::Signal(number)),
            (Ok(FromClient::Reload), Some(_)) => Some(Request::Reload),
            (Ok(FromClient::Ready), Some(_)) => {
                client.prepares = false;
                None
            }
            (Ok(FromClient::Watch(session)), Some(_)) => {
                client.session = String::from_utf8_lossy(session).into_owned();
                client.ended.map(Request::Ended)
            }
            // Whoever has begun it may not have told of that yet, and speaks on this connection, too.
            (Ok(FromClient::Ended(code)), Some(_)) => {
                client.ended = Some(code);
                (!client.session.is_empty()).then_some(Request::Ended(code))
            }
            (Ok(FromClient::Check), Some(_)) => {
                client.asks_health = true;
                Some(Request::Check)
            }
            // Not the protocol.
            _ => {
                client.gone = true;
                None
            }
        }
    }

    /// The session that client `index` tells of.
    pub(crate) fn session(&self, index: usize) -> &str {
        &self.clients[index].session
    }

    /// Sends a packet to one client.
    pub(crate) fn answer(&mut self, index: usize, packet: Small) {
        self.clients[index].send_or_keep(packet.as_bytes());
    }

    /// Tells how a check of the container's health went to all who have asked.
    pub(crate) fn tell_checked(&mut self, code: i32) {
        for client in self.clients.iter_mut().filter(|client| !client.leaving) {
            if std::mem::take(&mut client.asks_health) {
                client.send_or_keep(packet::checked(code).as_bytes());
            }
        }
    }

    /// Offers a packet of output to everyone who wants it; true if all have taken it.
    pub(crate) fn offer(&mut self, stream: Stream, packet: &[u8]) -> bool {
        let mut all = true;
        for client in &mut self.clients {
            let wanted =
                !client.gone && !client.leaving && client.hello.is_some_and(|hello| hello.wants(stream));
            if wanted {
                client.owes = !client.backlog.is_empty() || !client.try_send(packet);
                all &= !client.owes;
            }
        }
        all
    }

    /// Serves the clients that the last wait found writable; true if all have taken the packet that
    /// was last offered.
    pub(crate) fn offer_again(&mut self, packet: &[u8]) -> bool {
        let mut all = true;
        for client in self.clients.iter_mut().filter(|client| !client.gone) {
            client.send_backlog();
            if client.owes && client.backlog.is_empty() {
                client.owes = !client.try_send(packet);
            }
            all &= !client.owes;
        }
        all
    }

    /// Copies the packet that was last offered for those who have not taken it.
    pub(crate) fn set_aside(&mut self, packet: &[u8]) {
        for client in &mut self.clients {
            if std::mem::take(&mut client.owes) {
                client.backlog.push_back(packet.into());
            }
        }
    }

    /// Forgets the clients that are gone, and those that have got all they were to get.
    pub(crate) fn sweep(&mut self) {
        let done = |client: &Client| client.gone || (client.leaving && client.backlog.is_empty());
        self.clients.retain(|client| !done(client));
    }

    /// As [`announce`](Self::announce) at the end of the last life: those who have just come hear of it, too, of whom nobody
    /// else would let them in.
    pub(crate) fn announce_last(&mut self, code: i32) {
        self.admit_waiting();
        self.announce(code);
    }

    /// Tells every client that the container has ended with `code`. Their connections end when they
    /// have taken what waits for them.
    pub(crate) fn announce(&mut self, code: i32) {
        for client in self.clients.iter_mut().filter(|client| !client.leaving) {
            // Closing a socket with input in it would make the kernel throw away what the client has
            // not read yet, so its input is ended and emptied first.
            if socket::refuse_input(client.socket.as_fd()).is_ok() {
                empty(client.socket.as_fd());
            }
            client.leaving = true;
            client.send_or_keep(packet::exit(code).as_bytes());
        }
        self.sweep();
    }

    /// Serves those who have not taken all that waits for them, until they have or are gone.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.listener = None;
        let mut set = PollSet::default();
        self.sweep();
        while !self.clients.is_empty() {
            set.clear();
            self.register(&mut set, false);
            set.wait(None)?;
            self.offer_again(&[]);
            self.sweep();
        }
        Ok(())
    }
}

/// Gives a pipe more room, which means fewer turns; false if it has that already, or the user has too many pipes.
fn grow(pipe: &OwnedFd) -> bool {
    rustix::pipe::fcntl_getpipe_size(pipe).is_ok_and(|size| size < LARGE_PIPE)
        && rustix::pipe::fcntl_setpipe_size(pipe, LARGE_PIPE).is_ok()
}

/// True for a file, and for a pipe that says so when it is full.
fn never_blocks(output: BorrowedFd<'_>) -> bool {
    let is_file = || {
        let mode = rustix::fs::fstat(output).map(|stat| stat.st_mode);
        mode.is_ok_and(|mode| FileType::from_raw_mode(mode) == FileType::RegularFile)
    };
    rustix::fs::fcntl_getfl(output).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK)) || is_file()
}

/// Throws away what was received.
fn empty(socket: BorrowedFd<'_>) {
    let mut byte = [0];
    // The rest of a packet that does not fit the buffer is dropped by the kernel.
    while socket::receive(socket, &mut byte).is_ok_and(|length| length > 0) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::client;
    use crate::attach::packet::{FromMonitor, output_kind};
    use crate::sys::socket::{Kind, pair};
    use std::fs::File;
    use std::io::Read as _;

    fn connected(hello: Hello) -> (Server, OwnedFd) {
        let (ours, theirs) = pair(Kind::Packet).unwrap();
        let mut server = Server::new(None, Some(ours)).unwrap();
        assert!(server.awaits_first());
        socket::send(theirs.as_fd(), packet::hello(hello).as_bytes()).unwrap();
        assert_eq!(server.receive(0, &mut [0; 64]), None);
        assert!(!server.awaits_first());
        (server, theirs)
    }

    #[test]
    fn who_comes_at_the_end_hears_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let directory = File::open(dir.path()).unwrap();
        let listener =
            socket::listen_at(directory.as_fd(), client::SOCKET_NAME.as_ref(), Kind::Packet).unwrap();
        let mut server = Server::new(Some(listener), None).unwrap();
        let late = client::connect(directory.as_fd()).unwrap();
        client::greet(late.as_fd(), Hello::default()).unwrap();
        server.announce_last(7);
        server.finish().unwrap();
        assert_eq!(client::wait_for_exit(late.as_fd()).unwrap(), Some(7));
    }

    #[test]
    fn a_slow_client_loses_nothing_and_hears_the_end() {
        let (mut server, theirs) =
            connected(Hello { stdout: true, stderr: false, stdin: true, ..Hello::default() });
        let stream = Stream::Stdout;
        let packet_of = |n: u32| {
            let mut packet = vec![output_kind(stream); 50_001];
            packet[1..5].copy_from_slice(&n.to_le_bytes());
            packet
        };
        let mut sent = 0;
        while server.offer(stream, &packet_of(sent)) {
            sent += 1;
        }
        assert!(sent > 0, "some fit the socket");
        assert!(!server.offer_again(&packet_of(sent)));
        assert!(server.offer(Stream::Stderr, &[output_kind(Stream::Stderr), 1]), "not asked for");
        server.set_aside(&packet_of(sent));
        socket::send(theirs.as_fd(), &[packet::STDIN, 1, 2, 3]).unwrap();
        server.announce(7);
        let refused = socket::send(theirs.as_fd(), &[packet::STDIN, 1]).unwrap_err();
        let reader = std::thread::spawn(move || {
            let (mut buffer, mut next) = (vec![0; packet::MAX_PACKET], 0_u32);
            loop {
                let length = socket::receive(theirs.as_fd(), &mut buffer).unwrap();
                match FromMonitor::decode(&buffer[..length]).unwrap() {
                    FromMonitor::Output(Stream::Stdout, data) => {
                        assert_eq!((data[..4].to_vec(), data.len()), (next.to_le_bytes().to_vec(), 50_000));
                        next += 1;
                    }
                    FromMonitor::Exit(code) => return (next, code),
                    other => panic!("{other:?}"),
                }
            }
        });
        server.finish().unwrap();

        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(reader.join().unwrap(), (sent + 1, 7));
    }

    /// A server whose one client has passed on a pipe for its standard output: the server, the client's socket
    /// and the end of the pipe to read.
    fn with_pipe() -> (Server, OwnedFd, OwnedFd) {
        let (ours, theirs) = pair(Kind::Packet).unwrap();
        let mut server = Server::new(None, Some(ours)).unwrap();
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let errors = File::open("/dev/null").unwrap();
        let hello = Hello { stdout: true, stderr: true, ..Hello::default() };
        client::greet_with_outputs(theirs.as_fd(), hello, [write.as_fd(), errors.as_fd()]).unwrap();
        assert_eq!(server.receive(0, &mut [0; 64]), None);
        assert!(server.clients[0].direct[0].is_some(), "a pipe is written by the monitor");
        assert!(server.clients[0].direct[1].is_none(), "a device is not");
        assert!(server.awaits_first(), "until the client says so");
        socket::send(theirs.as_fd(), packet::ready().as_bytes()).unwrap();
        assert_eq!(server.receive(0, &mut [0; 64]), None);
        assert!(!server.awaits_first());
        (server, theirs, read)
    }

    #[test]
    fn output_goes_straight_to_a_pipe_and_waits_for_its_reader() {
        let (mut server, theirs, read) = with_pipe();
        let packet = |n: u8| [&[output_kind(Stream::Stdout)][..], &[n; 50_000]].concat();
        let mut sent = 0;
        while server.offer(Stream::Stdout, &packet(sent)) {
            sent += 1;
        }
        assert!(!server.offer_again(&packet(sent)), "part of it is written, the rest waits");
        server.set_aside(&packet(sent));
        server.offer(Stream::Stdout, &packet(sent + 1));
        server.set_aside(&packet(sent + 1));
        server.announce(3);
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            File::from(read).read_to_end(&mut all).unwrap();
            all
        });
        server.finish().unwrap();

        let want: Vec<u8> = (0..=sent + 1).flat_map(|n| [n; 50_000]).collect();
        assert!(reader.join().unwrap() == want, "every byte, once and in order, and then the end");
        assert_eq!(client::wait_for_exit(theirs.as_fd()).unwrap(), Some(3), "and nothing by packets");
    }

    #[test]
    fn what_a_pipe_refuses_the_client_gets_to_see() {
        let (mut server, theirs, read) = with_pipe();
        drop(read);
        assert!(server.offer(Stream::Stdout, &[output_kind(Stream::Stdout), 1, 2]));
        assert!(server.offer(Stream::Stderr, &[output_kind(Stream::Stderr), 3]));
        let mut buffer = [0; 64];
        for want in [&[output_kind(Stream::Stdout), 1, 2][..], &[output_kind(Stream::Stderr), 3]] {
            let length = socket::receive(theirs.as_fd(), &mut buffer).unwrap();
            assert_eq!(&buffer[..length], want);
        }
    }

    #[test]
    fn one_who_breaks_the_protocol_is_dropped() {
        let (mut server, theirs) = connected(Hello::default());
        socket::send(theirs.as_fd(), packet::signal(15).as_bytes()).unwrap();
        assert_eq!(server.receive(0, &mut [0; 64]), Some(Request::Signal(15)));
        socket::send(theirs.as_fd(), packet::hello(Hello::default()).as_bytes()).unwrap();
        assert_eq!(server.receive(0, &mut [0; 64]), None, "a second hello");
        server.sweep();
        assert_eq!(server.len(), 0);
    }
}
