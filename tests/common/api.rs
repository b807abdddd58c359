//! A client of the API service: plain HTTP over its socket.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;

use super::process::{Invocation, Output, Running};
use super::sandbox::Sandbox;
use super::{deadline, wait_for};

/// A running `ketch system service` in a sandbox; it ends when this does.
#[derive(Debug)]
pub(crate) struct Api {
    socket: PathBuf,
    service: Running,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in small letters.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as a text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as one document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        super::json(&self.text())
    }

    /// The body as documents, one after the other.
    #[track_caller]
    pub(crate) fn documents(&self) -> Vec<Value> {
        let all = serde_json::Deserializer::from_slice(&self.body).into_iter();
        all.map(|document| document.unwrap_or_else(|err| panic!("{err}: {}", self.text()))).collect()
    }

    /// The same, of a request that has to have this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

impl Api {
    /// Starts the service and waits until it answers.
    #[track_caller]
    pub(crate) fn start(sandbox: &Sandbox) -> Self {
        Self::with(sandbox, sandbox.command(["system", "service", "--time=0"]))
    }

    /// The same by this command line, which must serve at the usual place.
    #[track_caller]
    pub(crate) fn with(sandbox: &Sandbox, command: Invocation) -> Self {
        let service = command.deadline(super::deadline() * 10).spawn();
        let socket = sandbox.path("run/ketch/ketch.sock");
        wait_for("the service", || UnixStream::connect(&socket).map_err(|err| err.to_string()));
        Api { socket, service }
    }

    /// Its socket, as DOCKER_HOST names it.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The process that accepts connections.
    pub(crate) fn service(&self) -> &Running {
        &self.service
    }

    /// Waits until the service has ended.
    #[track_caller]
    pub(crate) fn ended(self) -> Output {
        self.service.wait()
    }

    /// Waits until nothing is left of any connection.
    #[track_caller]
    pub(crate) fn await_idle(&self) {
        let children = format!("/proc/{0}/task/{0}/children", self.service.pid());
        wait_for("the ends of the connections", || match std::fs::read_to_string(&children) {
            Ok(pids) if pids.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// A connection of its own.
    #[track_caller]
    pub(crate) fn connect(&self) -> UnixStream {
        let socket = UnixStream::connect(&self.socket).expect("connect to the service");
        socket.set_read_timeout(Some(deadline())).expect("set a timeout");
        socket
    }

    /// Sends a request with a body, and reads its whole answer.
    #[track_caller]
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut socket = self.connect();
        send(&mut socket, method, path, headers, body);
        read_response(&mut BufReader::new(socket), method)
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], b"")
    }

    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Response {
        self.send("DELETE", path, &[], b"")
    }

    /// Posts a document; null is no body.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, document: &Value) -> Response {
        let body = if document.is_null() { String::new() } else { document.to_string() };
        self.send("POST", path, &[("Content-Type", "application/json")], body.as_bytes())
    }
}

/// Sends a request without waiting for anything.
#[track_caller]
pub(crate) fn send(socket: &mut UnixStream, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: docker\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    socket.write_all(head.as_bytes()).expect("send the head");
    // The service may answer before it has read everything.
    socket.write_all(body).ok();
}

/// Reads one answer, which a connection may go on after.
#[track_caller]
pub(crate) fn read_response(from: &mut BufReader<UnixStream>, method: &str) -> Response {
    let (status, headers) = read_head(from);
    let mut response = Response { status, headers, body: Vec::new() };
    if method == "HEAD" || matches!(status, 101 | 204 | 304) {
        return response;
    }
    if response.header("transfer-encoding") == Some("chunked") {
        loop {
            let chunk = read_chunk(from);
            if chunk.is_empty() {
                return response;
            }
            response.body.extend_from_slice(&chunk);
        }
    }
    match response.header("content-length").map(|length| length.parse().expect("a number")) {
        Some(length) => {
            response.body = vec![0; length];
            from.read_exact(&mut response.body).expect("read the body");
        }
        None => drop(from.read_to_end(&mut response.body).expect("read the body")),
    }
    response
}

/// Reads one chunk of an answer's body; the last one is empty.
#[track_caller]
pub(crate) fn read_chunk(from: &mut BufReader<UnixStream>) -> Vec<u8> {
    let line = read_line(from);
    let size = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("{line:?} is no size"));
    let mut chunk = vec![0; size + 2];
    from.read_exact(&mut chunk).expect("read a chunk");
    chunk.truncate(size);
    chunk
}

/// Reads status and headers of an answer, and nothing of what follows.
#[track_caller]
pub(crate) fn read_head(from: &mut BufReader<UnixStream>) -> (u16, Vec<(String, String)>) {
    let status = read_line(from);
    let code = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    let code = code.unwrap_or_else(|| panic!("{status:?} is no status"));
    let mut headers = Vec::new();
    loop {
        let line = read_line(from);
        let Some((name, value)) = line.split_once(':') else { return (code, headers) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

#[track_caller]
fn read_line(from: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("read a line");
    assert!(line.ends_with('\n'), "the answer ends after {line:?}");
    line.trim_end().to_owned()
}
