use super::*;
use std::io::Read as _;
use std::thread::spawn;
use std::time::Duration;

/// The ends of a client under test: what it reads, what it writes, the monitor's socket.
struct World {
    input: OwnedFd,
    output: std::fs::File,
    monitor: OwnedFd,
    client: std::thread::JoinHandle<io::Result<End>>,
}

/// Starts a client in a thread of its own. `input` is a terminal's far end or a pipe.
fn start(input: OwnedFd, stdin: OwnedFd, keys: &str) -> World {
    let (ours, theirs) = socket::pair(Kind::Packet).unwrap();
    let (read, write) = rustix::pipe::pipe().unwrap();
    let keys = keys.parse().unwrap();
    let client = spawn(move || {
        let local = Local {
            stdin: Some(stdin.as_fd()),
            stdout: write.as_fd(),
            stderr: write.as_fd(),
            terminal: true,
            detach_keys: keys,
            on_signal: None,
        };
        pump(theirs, local)
    });
    let world = World { input, output: read.into(), monitor: ours, client };
    assert_eq!(world.packet(), packet::ready().as_bytes(), "before all else");
    world
}

fn on_pipe() -> World {
    let (read, write) = rustix::pipe::pipe().unwrap();
    start(write, read, "")
}

fn on_terminal(keys: &str) -> World {
    let master: OwnedFd = std::fs::File::options().read(true).write(true).open("/dev/ptmx").unwrap().into();
    let peer = tty::open_peer(master.as_fd()).unwrap();
    tty::set_window_size(master.as_fd(), tty::WindowSize { rows: 5, cols: 6 }).unwrap();
    start(master, peer, keys)
}

impl World {
    fn packet(&self) -> Vec<u8> {
        let mut buffer = vec![0; MAX_PACKET];
        let length = socket::receive(self.monitor.as_fd(), &mut buffer).unwrap();
        buffer.truncate(length);
        buffer
    }

    fn send(&self, packet: &[u8]) {
        socket::send(self.monitor.as_fd(), packet).unwrap();
    }
}

#[test]
fn bytes_pass_both_ways_and_the_code_comes_back() {
    let mut world = on_pipe();
    rustix::io::write(&world.input, b"in\x10\x11").unwrap();
    assert_eq!(world.packet(), [&[packet::STDIN][..], b"in\x10\x11"].concat());
    drop(std::mem::replace(&mut world.input, world.monitor.try_clone().unwrap()));
    assert_eq!(world.packet(), packet::stdin_eof().as_bytes());
    world.send(&[packet::output_kind(Stream::Stdout), b'o']);
    world.send(&[packet::output_kind(Stream::Stderr), b'e']);
    world.send(packet::exit(42).as_bytes());

    assert_eq!(world.client.join().unwrap().unwrap(), End::Exited(42));
    let mut output = String::new();
    world.output.read_to_string(&mut output).unwrap();
    assert_eq!(output, "oe");
}

#[test]
fn keys_typed_at_a_terminal_detach() {
    let world = on_terminal("ctrl-a,x");
    assert_eq!(world.packet(), packet::resize(tty::WindowSize { rows: 5, cols: 6 }).as_bytes());
    rustix::io::write(&world.input, b"ls\x01").unwrap();
    assert_eq!(world.packet(), [&[packet::STDIN][..], b"ls"].concat());
    rustix::io::write(&world.input, b"x").unwrap();
    assert_eq!(world.client.join().unwrap().unwrap(), End::Detached);
}

#[test]
fn input_is_served_while_nobody_reads_the_output() {
    let world = on_pipe();
    let chunk = [&[packet::output_kind(Stream::Stdout)][..], &[0; 60_000]].concat();
    for _ in 0..4 {
        world.send(&chunk);
    }
    std::thread::sleep(Duration::from_millis(50));
    rustix::io::write(&world.input, b"still").unwrap();
    assert_eq!(world.packet(), [&[packet::STDIN][..], b"still"].concat());
    let World { mut output, monitor, client, .. } = world;
    drop(monitor);
    let reader = spawn(move || output.read_to_end(&mut Vec::new()).unwrap());
    assert_eq!(client.join().unwrap().unwrap(), End::Lost);
    assert_eq!(reader.join().unwrap(), 240_000, "what was sent before the end arrives");
}

#[test]
fn a_closed_output_is_an_error_and_not_a_death() {
    let world = on_pipe();
    drop(world.output);
    let socket = &world.monitor;
    socket::send(socket.as_fd(), &[packet::output_kind(Stream::Stdout), b'o']).unwrap();
    assert_eq!(world.client.join().unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_monitor_is_asked_for_signals_and_for_the_end() {
    let (ours, theirs) = socket::pair(Kind::Packet).unwrap();
    let client = spawn(move || {
        greet(theirs.as_fd(), Hello::default()).unwrap();
        let refused = send_signal(theirs.as_fd(), 99).unwrap_err().raw_os_error();
        send_signal(theirs.as_fd(), 15).unwrap();
        (refused, wait_for_exit(theirs.as_fd()).unwrap())
    });
    let mut buffer = [0; 16];
    for (want, answer) in [
        (packet::hello(Hello::default()), None),
        (packet::signal(99), Some(packet::signalled(libc::EINVAL))),
        (packet::signal(15), Some(packet::signalled(0))),
    ] {
        let length = socket::receive(ours.as_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..length], want.as_bytes());
        answer.map(|answer| socket::send(ours.as_fd(), answer.as_bytes()).unwrap());
    }
    socket::send(ours.as_fd(), packet::exit(143).as_bytes()).unwrap();
    assert_eq!(client.join().unwrap(), (Some(libc::EINVAL), Some(143)));
}
