use super::*;
use crate::attach::packet::{FromMonitor, Hello};
use crate::logs::writer::{Limits, Writer};
use crate::logs::{Format, LogFiles};
use crate::sys::socket::Kind;
use crate::sys::tty::WindowSize;
use std::process::{Command, Stdio};
use std::thread::{JoinHandle, spawn};

const ALL: Hello = Hello { stdout: true, stderr: true, stdin: true, direct: [false, false] };

/// What a client has seen.
#[derive(Debug, Default)]
struct Seen {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    code: Option<i32>,
    signalled: Option<i32>,
}

/// Runs a shell as if it were process 1; `serve` reaps it.
#[allow(clippy::zombie_processes)]
fn life(script: &str, stdin_once: bool) -> Life {
    let mut child = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Life {
        pidfd: pidfd::open(i32::try_from(child.id()).unwrap()).unwrap(),
        output: Output::Pipes {
            stdout: child.stdout.take().unwrap().into(),
            stderr: child.stderr.take().unwrap().into(),
        },
        stdin: child.stdin.take().map(OwnedFd::from),
        interactive: true,
        stdin_once,
        stop_signal: libc::SIGTERM,
        release: None,
    }
}

/// A client in a thread: sends `packets`, then reads until the end. With `pace` it reads slowly.
fn client(packets: Vec<Vec<u8>>, pace: Duration) -> (OwnedFd, JoinHandle<Seen>) {
    let (ours, theirs) = socket::pair(Kind::Packet).unwrap();
    for packet in packets {
        socket::send(theirs.as_fd(), &packet).unwrap();
    }
    let reader = spawn(move || {
        let (mut seen, mut buffer) = (Seen::default(), vec![0; MAX_PACKET]);
        while let Ok(length @ 1..) = socket::receive(theirs.as_fd(), &mut buffer) {
            match FromMonitor::decode(&buffer[..length]).unwrap() {
                FromMonitor::Output(Stream::Stdout, data) => seen.stdout.extend_from_slice(data),
                FromMonitor::Output(Stream::Stderr, data) => seen.stderr.extend_from_slice(data),
                FromMonitor::Signalled(errno) => seen.signalled = Some(errno),
                FromMonitor::Checked(_) | FromMonitor::Reloaded => panic!("nobody asked"),
                FromMonitor::Exit(code) => seen.code = Some(code),
            }
            std::thread::sleep(pace);
        }
        seen
    });
    (ours, reader)
}

fn hello() -> Vec<u8> {
    packet::hello(ALL).as_bytes().to_vec()
}

fn stdin(data: &[u8]) -> Vec<u8> {
    [&[packet::STDIN], data].concat()
}

/// Serves `life` to the end and tells the client.
fn run(life: Life, first: Option<OwnedFd>, log: Option<&mut Log>) -> Outcome {
    let mut server = Server::new(None, first).unwrap();
    let outcome = serve(life, &mut server, log, &signals().unwrap()).unwrap();
    server.announce(outcome.status.shell_code());
    server.finish().unwrap();
    outcome
}

#[test]
fn output_goes_to_the_client_and_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let files = LogFiles::new(std::fs::File::open(dir.path()).unwrap().into(), "log".as_ref());
    let limits = Limits { max_size_bytes: 0, max_files: 1 };
    let mut log = Log::File(Box::new(Writer::open(files, Format::K8s, limits).unwrap()));
    let (first, reader) = client(vec![hello()], Duration::ZERO);

    let outcome = run(life("echo out; echo err >&2; exit 3", false), Some(first), Some(&mut log));

    let seen = reader.join().unwrap();
    assert_eq!(outcome.status, ExitStatus::Code(3));
    assert_eq!((&*seen.stdout, &*seen.stderr, seen.code), (&b"out\n"[..], &b"err\n"[..], Some(3)));
    let text = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(text.contains(" stdout F out\n") && text.contains(" stderr F err\n"), "{text}");
}

#[test]
fn input_is_delivered_whole_and_ended() {
    let big = vec![b'i'; packet::MAX_DATA];
    let mut packets = vec![hello()];
    packets.extend((0..5).map(|_| stdin(&big)));
    packets.push(packet::stdin_eof().as_bytes().to_vec());
    let (ours, theirs) = socket::pair(Kind::Packet).unwrap();
    let sender = spawn(move || {
        for packet in packets {
            socket::send(theirs.as_fd(), &packet).unwrap();
        }
        let (mut buffer, mut total) = (vec![0; MAX_PACKET], 0);
        loop {
            let length = socket::receive(theirs.as_fd(), &mut buffer).unwrap();
            match FromMonitor::decode(&buffer[..length]).unwrap() {
                FromMonitor::Output(_, data) => total += data.len(),
                FromMonitor::Exit(code) => return (total, code),
                FromMonitor::Signalled(_) | FromMonitor::Checked(_) | FromMonitor::Reloaded => {}
            }
        }
    });
    run(life("sleep 0.2; exec cat", true), Some(ours), None);
    assert_eq!(sender.join().unwrap(), (5 * packet::MAX_DATA, 0));
}

#[test]
fn a_slow_client_gets_everything_though_the_container_ended_long_before() {
    let (first, reader) = client(vec![hello()], Duration::from_millis(1));
    let outcome = run(life("head -c 3000000 /dev/zero; exit 9", false), Some(first), None);
    let seen = reader.join().unwrap();
    assert_eq!((seen.stdout.len(), seen.code), (3_000_000, Some(9)));
    assert_eq!(outcome.status, ExitStatus::Code(9));
}

#[test]
fn a_vanished_client_changes_nothing() {
    let (ours, theirs) = socket::pair(Kind::Packet).unwrap();
    socket::send(theirs.as_fd(), &hello()).unwrap();
    drop(theirs);
    let outcome = run(life("head -c 3000000 /dev/zero; exit 4", true), Some(ours), None);
    assert_eq!(outcome.status, ExitStatus::Code(4));
}

#[test]
fn what_outlives_process_1_does_not_hold_the_monitor() {
    let started = std::time::Instant::now();
    let (first, reader) = client(vec![hello()], Duration::ZERO);
    run(life("sleep 300 & echo $!", false), Some(first), None);
    let sleeper = String::from_utf8(reader.join().unwrap().stdout).unwrap().trim().parse().unwrap();
    let sleeper = rustix::process::Pid::from_raw(sleeper).unwrap();
    rustix::process::kill_process(sleeper, rustix::process::Signal::KILL).unwrap();
    assert!(started.elapsed() < Duration::from_secs(100), "the pipe is still open, process 1 is not");
}

#[test]
fn a_client_may_ask_for_signals() {
    let (first, reader) =
        client(vec![hello(), packet::signal(libc::SIGUSR1).as_bytes().to_vec()], Duration::ZERO);
    let outcome = run(life("exec sleep 30", false), Some(first), None);
    assert_eq!(outcome.status, ExitStatus::Signal(libc::SIGUSR1));
    let seen = reader.join().unwrap();
    assert_eq!((seen.signalled, seen.code), (Some(0), Some(128 + libc::SIGUSR1)));
}

#[test]
#[allow(clippy::zombie_processes)]
fn a_terminal_is_typed_at_and_resized() {
    let master: OwnedFd = std::fs::File::options().read(true).write(true).open("/dev/ptmx").unwrap().into();
    let peer = tty::open_peer(master.as_fd()).unwrap();
    let end = || Stdio::from(peer.try_clone().unwrap());
    let child = Command::new("sh")
        .args(["-c", "read line; stty size; echo got $line"])
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .unwrap();
    drop(peer);
    let size = packet::resize(WindowSize { rows: 17, cols: 71 });
    let (first, reader) = client(vec![hello(), size.as_bytes().to_vec(), stdin(b"words\n")], Duration::ZERO);
    let life = Life {
        pidfd: pidfd::open(i32::try_from(child.id()).unwrap()).unwrap(),
        output: Output::Terminal(master),
        stdin: None,
        interactive: true,
        stdin_once: true,
        stop_signal: libc::SIGTERM,
        release: None,
    };
    run(life, Some(first), None);
    let seen = String::from_utf8(reader.join().unwrap().stdout).unwrap();
    assert!(seen.ends_with("17 71\r\ngot words\r\n"), "{seen:?}");
}
