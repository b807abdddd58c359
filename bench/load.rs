//! Load for bench/net: one program for both ends, with std alone. Built by `rustc -O`.
//!
//! ```text
//! load serve ADDRESS                  sink, echo and short connections, TCP and UDP, on one port
//! load put ADDRESS SECONDS            bytes one way                     prints "BYTES SECONDS"
//! load get ADDRESS SECONDS            the other way                     prints "BYTES SECONDS"
//! load rr ADDRESS SECONDS             one byte there and back           prints "TIMES SECONDS"
//! load urr ADDRESS SECONDS            the same as datagrams
//! load conn ADDRESS SECONDS CLIENTS   connect, one byte each way, close
//! ```
//!
//! The first byte of a connection says what it is for: S sink, G source, R echo, C one answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    let mut buffer = vec![0; 128 * 1024];
    match kind[0] {
        b'S' => while stream.read(&mut buffer)? > 0 {},
        // Until the client has had enough.
        b'G' => loop {
            stream.write_all(&buffer)?;
        },
        b'R' => loop {
            let got = stream.read(&mut buffer)?;
            if got == 0 {
                break;
            }
            stream.write_all(&buffer[..got])?;
        },
        _ => {}
    }
    Ok(())
}

/// Answers a short connection; another kind gets a thread of its own. A thread for each would cost more than the helpers
/// that are measured.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut kind = [0];
    stream.peek(&mut kind)?;
    if kind[0] != b'C' {
        thread::spawn(move || serve(stream));
        return Ok(());
    }
    stream.set_nodelay(true)?;
    stream.read_exact(&mut kind)?;
    // Ends without waiting for the client's end, which some helpers pass on late.
    stream.write_all(b"x")
}

fn server(address: SocketAddr) {
    let udp = UdpSocket::bind(address).expect("bind UDP");
    thread::spawn(move || {
        let mut buffer = [0; 65536];
        while let Ok((got, from)) = udp.recv_from(&mut buffer) {
            udp.send_to(&buffer[..got], from).ok();
        }
    });
    let listener = TcpListener::bind(address).expect("bind TCP");
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for stream in listener.incoming().flatten() {
                    answer(stream).ok();
                }
            });
        }
    });
}

/// Opens a connection of one kind.
fn open(address: SocketAddr, kind: u8) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.write_all(&[kind])?;
    Ok(stream)
}

fn put(address: SocketAddr, until: Instant) -> u64 {
    let mut stream = open(address, b'S').expect("connect");
    let block = vec![7; 128 * 1024];
    let mut sent = 0;
    while Instant::now() < until {
        sent += stream.write(&block).expect("send") as u64;
    }
    sent
}

fn get(address: SocketAddr, until: Instant) -> u64 {
    let mut stream = open(address, b'G').expect("connect");
    let mut block = vec![0; 128 * 1024];
    let mut got = 0;
    while Instant::now() < until {
        got += stream.read(&mut block).expect("receive") as u64;
    }
    got
}

fn round_trips(address: SocketAddr, until: Instant) -> u64 {
    let mut stream = open(address, b'R').expect("connect");
    let (mut times, mut byte) = (0, [0]);
    while Instant::now() < until {
        stream.write_all(b"x").expect("send");
        stream.read_exact(&mut byte).expect("receive");
        times += 1;
    }
    times
}

fn datagrams(address: SocketAddr, until: Instant) -> u64 {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("bind");
    socket.connect(address).expect("connect");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("set a time limit");
    let (mut times, mut buffer) = (0, [0; 64]);
    while Instant::now() < until {
        socket.send(b"12345678").ok();
        times += u64::from(socket.recv(&mut buffer).is_ok());
    }
    times
}

fn connections(address: SocketAddr, until: Instant, clients: usize) -> u64 {
    let client = move || {
        let mut times = 0;
        while Instant::now() < until {
            let answered = open(address, b'C').and_then(|mut stream| stream.read_exact(&mut [0]));
            times += u64::from(answered.is_ok());
        }
        times
    };
    let threads: Vec<_> = (0..clients).map(|_| thread::spawn(client)).collect();
    threads.into_iter().map(|thread| thread.join().expect("a client")).sum()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let address: SocketAddr = args[1].parse().expect("an address");
    if args[0] == "serve" {
        return server(address);
    }
    let start = Instant::now();
    let until = start + Duration::from_secs_f64(args[2].parse().expect("seconds"));
    let count = match args[0].as_str() {
        "put" => put(address, until),
        "get" => get(address, until),
        "rr" => round_trips(address, until),
        "urr" => datagrams(address, until),
        _ => connections(address, until, args[3].parse().expect("a number of clients")),
    };
    println!("{count} {}", start.elapsed().as_secs_f64());
}
