//! A push that is killed in the middle of a large layer, and the next one, which goes on there.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use common::faults::Faults;
use common::image::{Compression, Image, Layer, digest};
use common::{Sandbox, noise, wait_for};
use rustix::process::Signal;

/// Bytes of the large layer.
const LARGE: usize = 50 << 20;
/// The server stops reading here as long as it is told to.
const STOP: usize = 20 << 20;

/// A registry that keeps what came of an upload, as the specification wants it.
#[derive(Default)]
struct State {
    uploads: Vec<Vec<u8>>,
    blobs: BTreeSet<String>,
    /// `METHOD path` of everything asked.
    log: Vec<String>,
    /// Bytes of bodies.
    received: usize,
    /// Bodies that are being read.
    open: usize,
    /// It has stopped reading, and goes on when this is false.
    stops: bool,
}

type Shared = Arc<Mutex<State>>;

fn start() -> (String, Shared) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
    let address = listener.local_addr().expect("bound").to_string();
    let shared = Shared::default();
    let state = shared.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = state.clone();
            // A client that was killed ends its thread.
            std::thread::spawn(move || serve(stream, &state).ok());
        }
    });
    (address, shared)
}

fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut waiting = Vec::new();
    loop {
        let end = loop {
            match waiting.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None if !more(&mut stream, &mut waiting)? => return Ok(()),
                None => {}
            }
        };
        let head = String::from_utf8_lossy(&waiting[..end]).into_owned();
        waiting.drain(..end);
        let headers: BTreeMap<String, String> = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().to_owned());
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        shared.lock().expect("no panic").log.push(format!("{method} {path}"));
        let upload: Option<usize> =
            path.split("/uploads/").nth(1).and_then(|id| id.split('?').next()?.parse().ok());
        shared.lock().expect("no panic").open += 1;
        let whole = body(&mut stream, shared, &mut waiting, (method, upload), length);
        shared.lock().expect("no panic").open -= 1;
        if !whole? {
            return Ok(());
        }
        let answer = answer(&mut shared.lock().expect("no panic"), method, &path, upload);
        stream.write_all(format!("HTTP/1.1 {answer}Content-Length: 0\r\n\r\n").as_bytes())?;
    }
}

/// Reads a body; false if the client went away.
fn body(
    stream: &mut TcpStream,
    shared: &Shared,
    waiting: &mut Vec<u8>,
    (method, upload): (&str, Option<usize>),
    mut left: usize,
) -> io::Result<bool> {
    while left > 0 {
        if waiting.is_empty() && !more(stream, waiting)? {
            return Ok(false);
        }
        let piece: Vec<u8> = waiting.drain(..left.min(waiting.len())).collect();
        left -= piece.len();
        let mut state = shared.lock().expect("no panic");
        state.received += piece.len();
        if let (Some(id), "PATCH") = (upload, method) {
            state.uploads[id].extend_from_slice(&piece);
            while state.stops && state.uploads[id].len() >= STOP {
                drop(state);
                std::thread::sleep(std::time::Duration::from_millis(10));
                state = shared.lock().expect("no panic");
            }
        }
    }
    Ok(true)
}

fn answer(state: &mut State, method: &str, path: &str, upload: Option<usize>) -> String {
    let at = |id: usize, length: usize| {
        format!("Location: /v2/a/blobs/uploads/{id}\r\nRange: 0-{}\r\n", length.saturating_sub(1))
    };
    match (method, upload) {
        ("POST", _) => {
            state.uploads.push(Vec::new());
            format!("202 Accepted\r\n{}", at(state.uploads.len() - 1, 0))
        }
        ("PATCH", Some(id)) => format!("202 Accepted\r\n{}", at(id, state.uploads[id].len())),
        ("GET", Some(id)) => format!("204 No Content\r\n{}", at(id, state.uploads[id].len())),
        ("PUT", Some(id)) => {
            let digest = digest(&state.uploads[id]);
            let right = path.contains(&digest.replace(':', "%3A"));
            state.blobs.insert(digest);
            if right { "201 Created\r\n".into() } else { "400 Bad Request\r\n".into() }
        }
        ("PUT", None) => "201 Created\r\n".into(),
        ("HEAD", _) if path.rsplit('/').next().is_some_and(|digest| state.blobs.contains(digest)) => {
            "200 OK\r\n".into()
        }
        ("HEAD", _) => "404 Not Found\r\n".into(),
        _ => "200 OK\r\n".into(),
    }
}

fn more(stream: &mut TcpStream, waiting: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    let got = stream.read(&mut buffer)?;
    waiting.extend_from_slice(&buffer[..got]);
    Ok(got > 0)
}

#[test]
fn the_next_push_goes_on_where_the_killed_one_was() {
    let image = Image::new()
        .layer(Layer::new().file("small", 0o644, "small"), Compression::Gzip)
        .layer(Layer::new().file("large", 0o644, noise(LARGE)), Compression::None)
        .build();
    let source = Faults::start(image.content(), |_, answer| answer);
    let name = format!("{}/a/b:1", source.address());
    let sandbox = Sandbox::empty();
    sandbox.ok(["pull", "-q", &name]);
    let (address, shared) = start();
    shared.lock().expect("no panic").stops = true;
    let to = format!("{address}/a:1");

    let running = sandbox.command(["push", "-q", &name, &to]).spawn();
    wait_for("20 MiB at the registry", || {
        let state = shared.lock().expect("no panic");
        let most = state.uploads.iter().map(Vec::len).max().unwrap_or(0);
        // The small blobs are done, and the large one is half way.
        if most >= STOP && state.blobs.len() == 2 {
            Ok(())
        } else {
            Err(format!("{most} bytes, {:?}", state.log))
        }
    });
    running.signal(Signal::KILL);
    running.wait();
    shared.lock().expect("no panic").stops = false;
    // What had come when it was killed is kept.
    let before = wait_for("the end of the first upload", || {
        let mut state = shared.lock().expect("no panic");
        if state.open > 0 {
            return Err(format!("{} bodies are being read", state.open));
        }
        state.log.clear();
        Ok(state.received)
    });

    sandbox.ok(["push", "-q", &name, &to]);
    let state = shared.lock().expect("no panic");
    let large = image.layers[1].bytes.len();
    assert!(state.blobs.contains(&image.layers[1].digest()), "{:?}", state.log);
    let second = state.received - before;
    assert!(second < large - STOP + (1 << 20), "{second} bytes were sent again");
    let posts = state.log.iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(posts, 0, "nothing begins anew: {:?}", state.log);
    assert_eq!(
        std::fs::read_dir(sandbox.store().join("uploads")).expect("list").count(),
        0,
        "no note is left"
    );
}
