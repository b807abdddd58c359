//! A registry that misbehaves on command: plain HTTP/1.1 written by hand, a thread per connection.
//!
//! It serves its [`Content`] correctly, ranges included; a rule may answer any request differently: with another status,
//! with a body that is too long, too short, cut by a reset, silent or endless. It keeps a log of what it was asked.
//!
//! The unit tests of `src/registry` use this file too, so it depends on nothing beside it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// `sha256:…` of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// What the registry holds: paths with media types and bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    files: BTreeMap<String, (String, Vec<u8>)>,
}

impl Content {
    /// Adds a blob; its path.
    pub(crate) fn blob(&mut self, repository: &str, bytes: &[u8]) -> String {
        let path = format!("/v2/{repository}/blobs/{}", digest(bytes));
        self.files.insert(path.clone(), ("application/octet-stream".into(), bytes.to_vec()));
        path
    }

    /// Adds a manifest under a tag and under its digest; the path by tag.
    pub(crate) fn manifest(&mut self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> String {
        let path = |reference: &str| format!("/v2/{repository}/manifests/{reference}");
        self.files.insert(path(&digest(bytes)), (media_type.into(), bytes.to_vec()));
        self.files.insert(path(tag), (media_type.into(), bytes.to_vec()));
        path(tag)
    }
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// How often this method and path were asked before.
    pub(crate) before: usize,
}

impl Request {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The first byte that a Range header asks for.
    fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// How a body comes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// All of it, with its length.
    Whole,
    /// In chunks of this many bytes, without its length.
    Chunked(usize),
    /// Without its length, until the connection ends.
    UntilClose,
    /// Its length is announced, but after so many bytes the connection is reset.
    ResetAt(usize),
    /// Its length is announced, but after so many bytes nothing comes any more.
    SilentAt(usize),
    /// In chunks of this many bytes, one each 20 ms.
    Trickle(usize),
    /// In chunks, and after the body zeros without end.
    Endless,
    /// Its length is announced as this.
    Length(usize),
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    how: How,
}

impl Answer {
    /// A status without a body.
    pub(crate) fn status(status: u16) -> Self {
        Answer { status, headers: Vec::new(), body: Vec::new(), how: How::Whole }
    }

    /// A success.
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Answer { body: body.into(), ..Answer::status(200) }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn how(mut self, how: How) -> Self {
        self.how = how;
        self
    }

    /// The bytes of the body, to be changed.
    pub(crate) fn map(mut self, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Self {
        self.body = change(self.body);
        self
    }

    /// Asks for authentication.
    pub(crate) fn challenge(value: impl Into<String>) -> Self {
        Answer::status(401).header("WWW-Authenticate", value)
    }
}

/// Changes the right answer to a request, or leaves it.
type Rule = dyn Fn(&Request, Answer) -> Answer + Send + Sync;

/// A running server. It ends with the test binary.
#[derive(Clone)]
pub(crate) struct Faults {
    port: u16,
    log: Arc<Mutex<Vec<Request>>>,
    /// Bytes behind the end of bodies that [`How::Endless`] has sent.
    surplus: Arc<AtomicUsize>,
}

impl Faults {
    /// Serves `content` on a loopback port; `rule` sees every request with the answer it would get.
    pub(crate) fn start(
        content: Content,
        rule: impl Fn(&Request, Answer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
        let port = listener.local_addr().expect("bound").port();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (rule, content): (Arc<Rule>, _) = (Arc::new(rule), Arc::new(content));
        let server = Faults { port, log, surplus: Arc::default() };
        let this = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (this, rule, content) = (this.clone(), rule.clone(), content.clone());
                // A client that goes away ends its thread; what matters is in the log.
                std::thread::spawn(move || this.serve(stream, &content, &*rule).ok());
            }
        });
        server
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Everything asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().expect("no test thread panics here").clone()
    }

    /// The requests whose path holds `part`.
    pub(crate) fn asked(&self, part: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.path.contains(part)).collect()
    }

    /// How many bytes behind the end of bodies clients (or buffers on the way to them) have taken.
    pub(crate) fn surplus(&self) -> usize {
        self.surplus.load(Ordering::SeqCst)
    }

    fn serve(&self, mut stream: TcpStream, content: &Content, rule: &Rule) -> io::Result<()> {
        let mut waiting = Vec::new();
        while let Some(mut request) = read_request(&mut stream, &mut waiting)? {
            {
                let mut log = self.log.lock().expect("no test thread panics here");
                let same = |old: &&Request| old.method == request.method && old.path == request.path;
                request.before = log.iter().filter(same).count();
                log.push(request.clone());
            }
            let answer = rule(&request, right_answer(content, &request));
            if !send(&mut stream, &answer, &self.surplus)? {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// What a well-behaved registry says.
fn right_answer(content: &Content, request: &Request) -> Answer {
    if request.path == "/v2/" {
        return Answer::ok("{}");
    }
    let Some((media_type, bytes)) = content.files.get(&request.path) else {
        return Answer::status(404)
            .map(|_| br#"{"errors":[{"code":"NAME_UNKNOWN","message":"not here"}]}"#.to_vec());
    };
    let answer = match request.from() {
        Some(from) if from < bytes.len() => {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            Answer { status: 206, ..Answer::ok(&bytes[from..]) }.header("Content-Range", range)
        }
        Some(_) => return Answer::status(416),
        None => Answer::ok(bytes.clone()),
    };
    answer.header("Content-Type", media_type)
}

fn read_request(stream: &mut TcpStream, waiting: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let end = loop {
        if let Some(at) = waiting.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if !read_more(stream, waiting)? {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&waiting[..end]).into_owned();
    waiting.drain(..end);
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(':')).map(|(k, v)| (k.into(), v.trim().into())).collect();
    let mut request = Request { method, path, headers, body: String::new(), before: 0 };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while waiting.len() < length && read_more(stream, waiting)? {}
    request.body = String::from_utf8_lossy(&waiting.drain(..length).collect::<Vec<_>>()).into_owned();
    Ok(Some(request))
}

fn read_more(stream: &mut TcpStream, waiting: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    let got = stream.read(&mut buffer)?;
    waiting.extend_from_slice(&buffer[..got]);
    Ok(got > 0)
}

/// Waits until the client, which is on this machine, has read all that was sent to it; at most a minute.
fn await_read(stream: &TcpStream) -> io::Result<()> {
    let (own, theirs) = (stream.local_addr()?.port(), stream.peer_addr()?.port());
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while is_on_the_way(&std::fs::read_to_string("/proc/thread-self/net/tcp")?, own, theirs)
        && std::time::Instant::now() < end
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Whether the kernel's table of connections shows bytes that `own` has sent and `theirs` has not read.
fn is_on_the_way(table: &str, own: u16, theirs: u16) -> bool {
    let is_port = |address: &str, port: u16| address.ends_with(&format!(":{port:04X}"));
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, _, queues, ..] = fields[..] else { return false };
        let Some((sent, received)) = queues.split_once(':') else { return false };
        (is_port(local, own) && is_port(remote, theirs) && sent != "00000000")
            || (is_port(local, theirs) && is_port(remote, own) && received != "00000000")
    })
}

/// Sends an answer; false if the connection is of no further use.
fn send(stream: &mut TcpStream, answer: &Answer, surplus: &AtomicUsize) -> io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} Because\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = &answer.body;
    match answer.how {
        How::Whole | How::ResetAt(_) | How::SilentAt(_) => {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        How::Length(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
        How::Chunked(_) | How::Trickle(_) | How::Endless => head.push_str("Transfer-Encoding: chunked\r\n"),
        How::UntilClose => head.push_str("Connection: close\r\n"),
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    match answer.how {
        How::Whole => stream.write_all(body)?,
        How::Chunked(size) | How::Trickle(size) => {
            for chunk in body.chunks(size) {
                write_chunk(stream, chunk)?;
                if matches!(answer.how, How::Trickle(_)) {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            stream.write_all(b"0\r\n\r\n")?;
        }
        How::UntilClose | How::Length(_) => {
            stream.write_all(body)?;
            return Ok(false);
        }
        How::ResetAt(at) => {
            stream.write_all(&body[..at.min(body.len())])?;
            // What was sent arrives before the reset overtakes it.
            await_read(stream)?;
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
            return Ok(false);
        }
        How::SilentAt(at) => {
            stream.write_all(&body[..at.min(body.len())])?;
            // Until the client has had enough and closes.
            std::io::copy(stream, &mut std::io::sink()).ok();
            return Ok(false);
        }
        How::Endless => {
            write_chunk(stream, body)?;
            loop {
                write_chunk(stream, &[0; 8192])?;
                surplus.fetch_add(8192, Ordering::SeqCst);
            }
        }
    }
    Ok(true)
}

fn write_chunk(stream: &mut TcpStream, chunk: &[u8]) -> io::Result<()> {
    stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
    stream.write_all(chunk)?;
    stream.write_all(b"\r\n")
}
