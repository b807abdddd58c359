//! One request and its answer, as handlers see them.

use std::cell::OnceCell;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::body::{Body, Progress};
use super::connection::Connection;
use super::head::{Framing, Head};
use crate::api::document;
use crate::api::fault::Fault;
use crate::api::{LATEST, Service};
use crate::engine::Engine;
use crate::engine::filter::Filters;
use crate::sys::poll::PollSet;

/// What answers a request.
pub(crate) type Handler = fn(&mut Exchange<'_>) -> Result<Answer, Fault>;

/// The largest JSON document that a client may send, in bytes.
const MAX_DOCUMENT: u64 = 16 << 20;
/// What is read of a body that nobody wanted before the connection is given up, in bytes.
const MAX_LEFT_OVER: u64 = 1 << 20;

/// What a handler answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A status alone: 201, 204, 304.
    Empty(u16),
    Json(u16, Value),
    /// A status, headers, and no more.
    Headers(u16, Vec<(&'static str, String)>),
    /// Plain text, with these headers.
    Text(u16, String, Vec<(&'static str, String)>),
    /// The handler has answered itself, by [`Exchange::stream`] or [`Exchange::hijack`].
    Sent,
}

impl Answer {
    /// 200 with a document.
    pub(crate) fn ok(document: impl Into<Value>) -> Self {
        Self::Json(200, document.into())
    }
}

/// One request, and the connection to answer it on.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    head: Head,
    params: Vec<String>,
    connection: &'a mut Connection,
    service: &'a Service,
    engine: OnceCell<Rc<Engine>>,
    body: Progress,
    /// The connection can serve another request after this one.
    reusable: bool,
    /// A head was sent: what goes wrong from here on can only end the connection.
    begun: bool,
}

impl<'a> Exchange<'a> {
    /// The exchange of the request `head`, whose body is still to be read.
    pub(crate) fn new(head: Head, connection: &'a mut Connection, service: &'a Service) -> Self {
        let expects = head.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
        let body = Progress::new(head.framing, expects && head.framing != Framing::None);
        let reusable = head.keep_alive;
        Self {
            head,
            params: Vec::new(),
            connection,
            service,
            engine: OnceCell::new(),
            body,
            reusable,
            begun: false,
        }
    }

    /// The request's method and path.
    pub(crate) fn asked(&self) -> (&str, &str) {
        (&self.head.method, &self.head.path)
    }

    /// What the places of the route's pattern stand for.
    pub(crate) fn set_params(&mut self, params: Vec<String>) {
        self.params = params;
    }

    /// The engine, with a store that is opened by the first call.
    ///
    /// # Errors
    ///
    /// If the store cannot be opened.
    pub(crate) fn engine(&self) -> Result<Rc<Engine>, Fault> {
        if let Some(engine) = self.engine.get() {
            return Ok(Rc::clone(engine));
        }
        let engine = Rc::new(Engine::open(&self.service.config, self.service.tell)?);
        Ok(Rc::clone(self.engine.get_or_init(|| engine)))
    }

    /// What the service says of itself.
    pub(crate) fn service(&self) -> &'a Service {
        self.service
    }

    /// What the pattern's place `index` stands for.
    pub(crate) fn param(&self, index: usize) -> &str {
        self.params.get(index).map_or("", String::as_str)
    }

    /// The first value of `key` in the query.
    pub(crate) fn query(&self, key: &str) -> Option<&str> {
        self.query_all(key).next()
    }

    /// All values of `key` in the query.
    pub(crate) fn query_all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.head.query.iter().filter(move |(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Whether `key` is true in the query, as Docker reads it.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.query(key).is_some_and(is_true)
    }

    /// The first value of a header, whose name is given in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// Keys and values of the query's `filters`.
    ///
    /// # Errors
    ///
    /// If it is not a JSON object of lists, or of objects of truths.
    pub(crate) fn filters(&self) -> Result<Vec<(String, String)>, Fault> {
        self.query("filters").map_or_else(|| Ok(Vec::new()), filters)
    }

    /// The query's `filters` as the engine takes them; `keys` are those that mean something.
    ///
    /// # Errors
    ///
    /// As [`filters`](Self::filters), and for a key that means nothing.
    pub(crate) fn filters_of(&self, keys: &[&str]) -> Result<Filters, Fault> {
        let texts: Vec<_> =
            self.filters()?.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        Ok(Filters::parse(&texts, keys)?)
    }

    /// The whole body as a document; an empty one, or null, is the default.
    ///
    /// # Errors
    ///
    /// If it is none, or larger than 16 MiB.
    pub(crate) fn json<T: DeserializeOwned + Default>(&mut self) -> Result<T, Fault> {
        let mut text = Vec::new();
        self.body().take(MAX_DOCUMENT + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MAX_DOCUMENT {
            return Err(Fault::new(413, "the document is larger than 16 MiB"));
        }
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(T::default());
        }
        let read = document::read::<Option<T>>(&text).map(Option::unwrap_or_default);
        read.map_err(|err| Fault::new(400, format!("invalid JSON: {err}")))
    }

    /// The body as it comes in.
    pub(crate) fn body(&mut self) -> Body<'_> {
        Body { connection: self.connection, progress: &mut self.body }
    }

    /// The version of the API that the client speaks.
    pub(crate) fn version(&self) -> (u32, u32) {
        self.head.version.unwrap_or(LATEST)
    }

    /// The client's socket, to learn of its hang-up.
    pub(crate) fn client(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// Sends the head of an answer whose body is written piece by piece. Without content type there is none.
    ///
    /// # Errors
    ///
    /// If the client has gone.
    pub(crate) fn stream(
        &mut self,
        status: u16,
        content_type: &str,
        headers: &[(&str, String)],
    ) -> io::Result<Stream<'_>> {
        // HTTP/1.0 ends a body by the end of the connection.
        let chunked = self.head.is_http_1_1;
        let mut all = vec![("Content-Type", content_type.to_owned())];
        all.extend(headers.iter().map(|(name, value)| (*name, value.clone())));
        if chunked {
            all.push(("Transfer-Encoding", "chunked".to_owned()));
        }
        self.begun = true;
        let reusable = std::mem::replace(&mut self.reusable, false);
        if !reusable {
            all.push(("Connection", "close".to_owned()));
        }
        let head = self.head_of(status, &all);
        self.connection.send(head.as_bytes())?;
        Ok(Stream { connection: self.connection, reusable: &mut self.reusable, after: reusable, chunked })
    }

    /// Leaves HTTP: the connection is a stream of bytes in both directions from now on.
    ///
    /// # Errors
    ///
    /// If the client has gone.
    pub(crate) fn hijack(&mut self, content_type: &str) -> io::Result<Hijacked> {
        // A body that came with the request is none of the stream's; where its end is not known, it is the stream.
        if matches!(self.head.framing, Framing::Length(_)) {
            io::copy(&mut self.body().take(MAX_LEFT_OVER), &mut io::sink())?;
        }
        let head = match self.head.wants_upgrade() {
            true => format!(
                "HTTP/1.1 101 UPGRADED\r\nContent-Type: {content_type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            ),
            false => format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n"),
        };
        self.leave(&head)
    }

    /// Leaves HTTP for WebSockets: `accept` is what shows that they are spoken here.
    ///
    /// # Errors
    ///
    /// If the client has gone.
    pub(crate) fn websocket(&mut self, accept: &str) -> io::Result<Hijacked> {
        let mut head =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n".to_owned();
        head.push_str(&format!("Sec-WebSocket-Accept: {accept}\r\n"));
        // As docker: whatever it is, it is the container's affair.
        if let Some(first) = self.header("sec-websocket-protocol").and_then(|list| list.split(',').next()) {
            head.push_str(&format!("Sec-WebSocket-Protocol: {}\r\n", first.trim()));
        }
        self.leave(&head)
    }

    /// Sends a head that is the end of HTTP.
    fn leave(&mut self, head: &str) -> io::Result<Hijacked> {
        (self.reusable, self.begun) = (false, true);
        self.connection.send(format!("{head}{}\r\n", self.service.headers()).as_bytes())?;
        let (socket, early) = self.connection.take()?;
        Ok(Hijacked { socket, early })
    }

    /// Sends what a handler has answered; true if the connection can serve another request.
    pub(crate) fn finish(mut self, answer: Result<Answer, Fault>) -> bool {
        let answer = match answer {
            Err(fault) if self.begun => {
                if !self.client_has_gone() {
                    (self.service.tell)(&format!(
                        "{} {}: {}",
                        self.head.method, self.head.path, fault.message
                    ));
                }
                return false;
            }
            other => other,
        };
        let sent = match answer.unwrap_or_else(Fault::into_answer) {
            Answer::Sent => return self.reusable && self.skip_body(),
            Answer::Empty(status) => self.send(status, &[], b""),
            Answer::Headers(status, headers) => self.send(status, &headers, b""),
            Answer::Text(status, text, mut headers) => {
                headers.push(("Content-Type", "text/plain; charset=utf-8".to_owned()));
                self.send(status, &headers, text.as_bytes())
            }
            Answer::Json(status, document) => {
                let kind = [("Content-Type", "application/json".to_owned())];
                let mut text = document.to_string();
                text.push('\n');
                self.send(status, &kind, text.as_bytes())
            }
        };
        sent.is_ok() && self.reusable && self.skip_body()
    }

    /// Nobody is there any more who could be told anything: as a rule that is what went wrong.
    fn client_has_gone(&self) -> bool {
        let mut set = PollSet::default();
        let client = set.add_for_hang_up(Some(self.client()));
        set.wait(Some(Duration::ZERO)).is_ok() && set.ready(client).hung_up
    }

    fn send(&mut self, status: u16, headers: &[(&str, String)], body: &[u8]) -> io::Result<()> {
        let mut all = headers.to_vec();
        if !matches!(status, 204 | 304) {
            all.push(("Content-Length", body.len().to_string()));
        }
        if !self.reusable {
            all.push(("Connection", "close".to_owned()));
        }
        let mut message = self.head_of(status, &all).into_bytes();
        if self.head.method != "HEAD" {
            message.extend_from_slice(body);
        }
        self.connection.send(&message)
    }

    fn head_of(&self, status: u16, headers: &[(&str, String)]) -> String {
        let mut head = format!("HTTP/1.1 {status} {}\r\n{}", reason(status), self.service.headers());
        for (name, value) in headers {
            // A line break within a value would be another header.
            let value: String = value.chars().filter(|c| !c.is_control()).collect();
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head
    }

    /// Reads what the handler has left of the body, if that is not much.
    fn skip_body(&mut self) -> bool {
        // Who was never told to send it does not.
        if self.body.awaits_continue {
            return false;
        }
        io::copy(&mut self.body().take(MAX_LEFT_OVER), &mut io::sink()).is_ok() && self.body.is_over()
    }
}

/// The body of an answer, sent as it is written. A client sees that it is broken off unless [`Stream::finish`] is called.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    connection: &'a mut Connection,
    reusable: &'a mut bool,
    /// What [`Exchange::reusable`] is once the body is complete.
    after: bool,
    chunked: bool,
}

impl Stream<'_> {
    /// The client's socket, to learn of its hang-up.
    pub(crate) fn client(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// Sends one document and a line's end.
    ///
    /// # Errors
    ///
    /// If the client has gone.
    pub(crate) fn document(&mut self, document: &Value) -> io::Result<()> {
        self.write_all(format!("{document}\r\n").as_bytes())
    }

    /// The body is complete.
    ///
    /// # Errors
    ///
    /// If the client has gone.
    pub(crate) fn finish(self) -> io::Result<()> {
        if self.chunked {
            self.connection.send(b"0\r\n\r\n")?;
        }
        *self.reusable = self.after;
        Ok(())
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        if !self.chunked {
            return self.connection.send(bytes).map(|()| bytes.len());
        }
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.connection.send(&chunk)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection that has left HTTP.
#[derive(Debug)]
pub(crate) struct Hijacked {
    pub(crate) socket: OwnedFd,
    /// What the client has sent already.
    pub(crate) early: Vec<u8>,
}

/// Docker's truth in a query: whatever is not said to be false.
fn is_true(value: &str) -> bool {
    !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
}

/// `{"label": ["a=b"]}`, and the older `{"label": {"a=b": true}}`.
fn filters(text: &str) -> Result<Vec<(String, String)>, Fault> {
    let invalid = || Fault::new(400, format!("invalid filters: {text}"));
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let Ok(Value::Object(object)) = serde_json::from_str(text) else { return Err(invalid()) };
    let mut pairs = Vec::new();
    for (key, values) in object {
        match values {
            Value::Array(values) => {
                for value in values {
                    pairs.push((key.clone(), value.as_str().ok_or_else(invalid)?.to_owned()));
                }
            }
            Value::Object(values) => {
                let chosen = values.into_iter().filter(|(_, holds)| holds.as_bool().unwrap_or(false));
                pairs.extend(chosen.map(|(value, _)| (key.clone(), value)));
            }
            _ => return Err(invalid()),
        }
    }
    Ok(pairs)
}

/// The words beside a status, for people who look.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        413 => "Content Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ if status < 400 => "OK",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truths() {
        for (value, want) in [
            ("1", true),
            ("true", true),
            ("yes", true),
            ("", false),
            ("0", false),
            ("False", false),
            ("none", false),
        ] {
            assert_eq!(is_true(value), want, "{value}");
        }
    }

    #[test]
    fn filters_have_two_forms() {
        let pairs = |text| {
            filters(text).map(|pairs| pairs.into_iter().map(|(k, v)| format!("{k}:{v}")).collect::<Vec<_>>())
        };
        assert_eq!(pairs("").unwrap(), Vec::<String>::new());
        assert_eq!(pairs(r#"{"label":["a=b","c"],"id":["1"]}"#).unwrap(), ["label:a=b", "label:c", "id:1"]);
        assert_eq!(pairs(r#"{"label":{"a=b":true,"c":false}}"#).unwrap(), ["label:a=b"]);
        for bad in ["[]", "x", r#"{"a":1}"#, r#"{"a":[1]}"#] {
            assert!(pairs(bad).is_err(), "{bad}");
        }
    }
}
