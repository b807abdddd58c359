//! Connections between two sockets of this host, relayed on a thread.

use super::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

fn pair() -> (TcpStream, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    crate::net::netd::pool::prepare_stream(&server).unwrap();
    (client, server.into())
}

/// Runs the relay between two connections on a thread until both are done with it.
fn relay() -> (TcpStream, TcpStream, std::thread::JoinHandle<()>) {
    let ((left, inside), (right, outside)) = (pair(), pair());
    let thread = std::thread::spawn(move || {
        let mut reactor = Reactor::new().unwrap();
        let mut relays = Relays::new();
        open(&mut relays, &reactor, inside, outside);
        run(&mut relays, &mut reactor);
    });
    (left, right, thread)
}

const KEY: Key = Key { index: 0, generation: 0 };
const OTHER: Key = Key { index: 1, generation: 0 };
const OWNER: Owner = Owner { member: KEY, bridge: KEY };

fn open(relays: &mut Relays, reactor: &Reactor, inside: OwnedFd, outside: OwnedFd) {
    reactor.add(&outside, Interest::Edges, Token::new(Source::Dial, KEY)).unwrap();
    relays.open(reactor, inside, outside, OWNER);
}

/// Relays until there is nothing to relay any more.
fn run(relays: &mut Relays, reactor: &mut Reactor) {
    while relays.len() > 0 {
        let mut events = Vec::new();
        let timeout = match (relays.is_busy(), relays.are_parting()) {
            (true, _) => Duration::ZERO,
            (false, true) => Duration::from_millis(10),
            (false, false) => Duration::from_secs(60),
        };
        reactor.wait(Some(timeout), &mut events).unwrap();
        assert!(relays.is_busy() || relays.are_parting() || !events.is_empty(), "stuck");
        relays.continue_busy();
        for event in events {
            relays.on_event(event.token.key, event);
        }
        relays.expire(Instant::now());
    }
}

#[test]
fn bytes_cross_and_ends_are_passed_on() {
    let (mut left, mut right, thread) = relay();
    // Far more than the sockets hold: the sender is blocked until the reader begins.
    let sent: Vec<u8> = (0..30_000_000_u32).map(|i| (i / 3) as u8).collect();
    let expected = sent.clone();
    let writer = std::thread::spawn(move || {
        left.write_all(&sent).unwrap();
        left.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        left.read_to_string(&mut answer).unwrap();
        answer
    });
    std::thread::sleep(Duration::from_millis(50));
    let mut got = Vec::new();
    right.read_to_end(&mut got).unwrap();
    assert!(got == expected, "{} bytes", got.len());
    right.write_all(b"after the half-close").unwrap();
    drop(right);
    assert_eq!(writer.join().unwrap(), "after the half-close");
    thread.join().unwrap();
}

#[test]
fn questions_and_answers_take_turns() {
    let (mut left, mut right, thread) = relay();
    let mut buffer = [0; 100_000];
    for size in [1, 10, 65_535, 65_536, 65_537, 100_000, 3] {
        left.write_all(&vec![1; size]).unwrap();
        right.read_exact(&mut buffer[..size]).unwrap();
        right.write_all(&vec![2; size]).unwrap();
        left.read_exact(&mut buffer[..size]).unwrap();
        assert!(buffer[..size].iter().all(|byte| *byte == 2));
    }
    drop((left, right));
    thread.join().unwrap();
}

/// Has the relay take what is written, write by write; whether it then moves pages.
fn is_streaming(writes: &[(usize, usize)]) -> bool {
    let ((left, inside), (right, outside)) = (pair(), pair());
    let mut clients = [left, right];
    let mut relays = Relays::new();
    let key = relays.insert(Relay::new(inside, outside, OWNER));
    let mut buffer = vec![0; 100_000];
    for &(side, size) in writes {
        clients[side].write_all(&vec![1; size]).unwrap();
        clients[1 - side].set_nonblocking(true).unwrap();
        let mut missing = size;
        while missing > 0 {
            relays.slab.get_mut(key).unwrap().ways[side].readable = true;
            relays.turn(key);
            missing -= clients[1 - side].read(&mut buffer[..missing]).unwrap_or_default();
        }
    }
    relays.slab.get(key).unwrap().ways.iter().any(|way| way.bulk)
}

#[test]
fn many_large_writes_are_a_stream_unless_they_are_answers() {
    let large = (0, SMALL_BYTES);
    for (what, writes, want) in [
        ("one", vec![large], false),
        ("many", vec![large; usize::from(STREAM_READS)], true),
        ("many and a small one", [vec![large; 20], vec![(0, 1)]].concat(), false),
        ("answers", [(1, 100), large].repeat(20), false),
        ("small ones", vec![(0, 1000); 50], false),
    ] {
        assert_eq!(is_streaming(&writes), want, "{what}");
    }
}

#[test]
fn a_reset_is_passed_on_as_one() {
    let (left, mut right, thread) = relay();
    sockopt::set_socket_linger(&left, Some(Duration::ZERO)).unwrap();
    drop(left);
    let error = right.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    thread.join().unwrap();
}

#[test]
fn an_early_answer_arrives_though_the_rest_was_not_wanted() {
    for _ in 0..20 {
        let (mut left, mut right, thread) = relay();
        left.write_all(&[1; 1000]).unwrap();
        right.read_exact(&mut [0; 10]).unwrap();
        right.write_all(b"too much").unwrap();
        // With something unread, this is a reset.
        drop(right);
        while left.write_all(&[1; 65_536]).is_ok() {}
        let mut got = Vec::new();
        left.read_to_end(&mut got).ok();
        assert_eq!(got, b"too much");
        thread.join().unwrap();
    }
}

#[test]
fn what_a_container_has_sent_before_its_end_arrives() {
    let ((mut left, inside), (mut right, outside)) = (pair(), pair());
    let (mut reactor, mut relays) = (Reactor::new().unwrap(), Relays::new());
    open(&mut relays, &reactor, inside, outside);
    left.write_all(&[7; 100_000]).unwrap();
    drop(left);
    let reader = std::thread::spawn(move || {
        // Something that nobody will read.
        right.write_all(b"go on").unwrap();
        let mut got = Vec::new();
        right.read_to_end(&mut got).map(|_| got.len()).map_err(|error| error.kind())
    });
    relays.drop_owner(KEY, None);
    run(&mut relays, &mut reactor);
    assert_eq!(reader.join().unwrap(), Ok(100_000));
}

#[test]
fn only_the_connections_of_the_network_left_are_reset() {
    let ((left, inside), (mut right, outside)) = (pair(), pair());
    let (reactor, mut relays) = (Reactor::new().unwrap(), Relays::new());
    open(&mut relays, &reactor, inside, outside);
    relays.drop_owner(OTHER, None);
    relays.drop_owner(KEY, Some(OTHER));
    assert_eq!(relays.len(), 1);
    relays.drop_owner(KEY, Some(KEY));
    assert_eq!((relays.len(), relays.are_parting()), (0, false));
    assert_eq!(right.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    drop(left);
}

#[test]
fn one_container_does_not_take_all_descriptors() {
    let (reactor, mut relays) = (Reactor::new().unwrap(), Relays::new());
    relays.most = 2;
    let pairs: Vec<_> = (0..3).map(|_| (pair(), pair())).collect();
    let mut clients = Vec::new();
    for ((left, inside), (right, outside)) in pairs {
        open(&mut relays, &reactor, inside, outside);
        clients.push((left, right));
    }
    assert_eq!((relays.len(), relays.has_room(KEY), relays.has_room(OTHER)), (2, false, true));
    assert_eq!(clients[2].0.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    relays.drop_owner(KEY, None);
    assert!(relays.has_room(KEY) && relays.counts.of(KEY) == 0);
}
