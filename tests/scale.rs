//! Many connections at once through one published port, idle and active, and what becomes of them when netd is killed.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use common::process::private_dirty;
use common::{Sandbox, deadline, free_port, skip, wait_for};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The variable that makes a test of this binary a server.
const SERVE: &str = "KETCH_TEST_SERVE";
const PORT: u16 = 7;
const IDLE: usize = 10_000;
const ACTIVE: usize = 1_000;
/// Descriptors that test and netd need besides.
const SPARE: usize = 300;

/// As many descriptors as allowed; how many that are.
fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    limit.maximum.map_or(usize::MAX, |maximum| usize::try_from(maximum).unwrap())
}

/// Not a test by itself: an echo server with one thread for any number of connections, inside a container.
#[test]
fn serve_inside() {
    if std::env::var_os(SERVE).is_none() {
        return;
    }
    raise_descriptor_limit();
    let listener = TcpListener::bind(("0.0.0.0", PORT)).unwrap();
    rustix::net::listen(&listener, 4096).unwrap();
    listener.set_nonblocking(true).unwrap();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(&epoll, &listener, EventData::new_u64(u64::MAX), EventFlags::IN).unwrap();
    let mut clients: Vec<Option<TcpStream>> = Vec::new();
    let mut buffer = vec![0; 65_536];
    loop {
        for at in ready(&epoll) {
            let Some(client) = usize::try_from(at).ok().and_then(|at| clients.get_mut(at)) else {
                while let Ok((client, _)) = listener.accept() {
                    let at = u64::try_from(clients.len()).unwrap();
                    epoll::add(&epoll, &client, EventData::new_u64(at), EventFlags::IN).unwrap();
                    clients.push(Some(client));
                }
                continue;
            };
            let echoed = client.as_mut().is_some_and(|client| match client.read(&mut buffer) {
                Ok(0) | Err(_) => false,
                Ok(got) => client.write_all(&buffer[..got]).is_ok(),
            });
            if !echoed {
                *client = None;
            }
        }
    }
}

fn ready(epoll: &OwnedFd) -> Vec<u64> {
    let mut events = Vec::with_capacity(256);
    match epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => panic!("wait for events: {error}"),
    }
    events.iter().map(|event| { event.data }.u64()).collect()
}

/// Sends `bytes` and expects them back.
fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes)?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back)?;
    if back == bytes { Ok(()) } else { Err(std::io::Error::other("other bytes came back")) }
}

fn open(port: u16) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(deadline()))?;
    stream.set_write_timeout(Some(deadline()))?;
    exchange(&mut stream, b"?")?;
    Ok(stream)
}

#[test]
fn ten_thousand_connections_and_a_thousand_at_work() {
    let sandbox = Sandbox::new();
    // Two descriptors for each connection in netd, which takes what it may have.
    let room = raise_descriptor_limit().saturating_sub(SPARE) / 2;
    if room < 2 * ACTIVE {
        skip("needs a limit of some thousand descriptors (ulimit -Hn)");
        return;
    }
    let (idle, active) = if room < IDLE + ACTIVE { (room - ACTIVE, ACTIVE) } else { (IDLE, ACTIVE) };
    let port = free_port();
    let own = std::env::current_exe().unwrap();
    let (mount, publish) = (format!("-v={}:/serve:ro", own.display()), format!("-p={port}:{PORT}"));
    let serve = ["bb", "/serve", "--exact", "serve_inside", "--nocapture"];
    sandbox
        .ok([&["run", "-d", "--name=echo", &mount, &publish, &format!("-e={SERVE}=1")][..], &serve].concat());
    wait_for("the server", || open(port).map(drop).map_err(|err| err.to_string()));

    let threads = 8;
    let part = |all: usize| {
        move || (0..all / threads).map(|_| open(port)).collect::<std::io::Result<Vec<TcpStream>>>().unwrap()
    };
    let all_of = |all: usize| -> Vec<TcpStream> {
        let parts: Vec<_> = (0..threads).map(|_| std::thread::spawn(part(all))).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    };
    let mut quiet = all_of(idle);
    let busy = all_of(active);
    assert!(quiet.len() + threads > idle && busy.len() + threads > active);

    let work = |mut streams: Vec<TcpStream>| {
        move || {
            for round in 1..=10_usize {
                let bytes: Vec<u8> =
                    (0..round * 700).map(|i| u8::try_from((i * round) % 251).unwrap()).collect();
                streams.iter_mut().for_each(|stream| exchange(stream, &bytes).unwrap());
            }
            streams
        }
    };
    let mut busy = busy.into_iter();
    let workers: Vec<_> = (0..threads)
        .map(|_| std::thread::spawn(work(busy.by_ref().take(active / threads).collect())))
        .collect();
    let mut busy: Vec<TcpStream> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
    for stream in quiet.iter_mut().step_by(97) {
        exchange(stream, b"still there?").unwrap();
    }
    let kib = private_dirty(sandbox.netd());
    assert!(kib < 24 * 1024, "{kib} KiB of netd for {} connections", idle + active);

    // All are reset, none ends as if it were complete; the next netd serves the port again.
    let helper = nix::unistd::Pid::from_raw(sandbox.netd());
    nix::sys::signal::kill(helper, nix::sys::signal::Signal::SIGKILL).unwrap();
    for stream in quiet.iter_mut().step_by(97).chain(&mut busy) {
        let end = stream.read(&mut [0]).expect_err("a reset");
        assert_eq!(end.kind(), ErrorKind::ConnectionReset, "descriptor {}", stream.as_raw_fd());
    }
    drop((quiet, busy));
    wait_for("the port answers again", || open(port).map(drop).map_err(|err| err.to_string()));
}
