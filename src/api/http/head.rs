//! The head of a request: method, target and headers (RFC 9112).

use percent_encoding::percent_decode_str;

/// The longest head that is read, in bytes: credentials for many registries come in one header.
pub(crate) const MAX_HEAD: usize = 1 << 20;
/// Most headers of a request.
const MAX_HEADERS: usize = 128;

/// How long a request's body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    #[default]
    None,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// One request without its body.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// Without the version of the API and without the query; as it was sent.
    pub(crate) path: String,
    /// The version of the API that the path begins with (`/v1.41`).
    pub(crate) version: Option<(u32, u32)>,
    /// Keys and values of the query, decoded, in order.
    pub(crate) query: Vec<(String, String)>,
    /// Names in small letters.
    headers: Vec<(String, String)>,
    pub(crate) framing: Framing,
    /// Not an older version, which knows no chunks.
    pub(crate) is_http_1_1: bool,
    /// HTTP/1.1, and no wish to close.
    pub(crate) keep_alive: bool,
}

/// What is wrong with a head: a sentence for the client.
pub(crate) type Malformed = &'static str;

impl Head {
    /// Reads the head that `bytes` begin with, and how long it is; `None` if more of it is to come.
    ///
    /// # Errors
    ///
    /// For what is no HTTP/1 request, or one whose body's length is ambiguous.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => return Err("the head is too long"),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("this is no HTTP request"),
        };
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers: Vec<_> = request
            .headers
            .iter()
            .map(|header| (header.name.to_ascii_lowercase(), text(header.value)))
            .collect();
        let (version, path, query) = target(request.path.unwrap_or_default());
        let mut head = Self {
            method: request.method.unwrap_or_default().to_owned(),
            path,
            version,
            query,
            headers,
            framing: Framing::None,
            is_http_1_1: request.version == Some(1),
            keep_alive: false,
        };
        head.framing = head.framing()?;
        let wishes_end = head.header("connection").is_some_and(|value| has_word(value, "close"));
        head.keep_alive = head.is_http_1_1 && !wishes_end;
        Ok(Some((head, length)))
    }

    /// The first value of a header, whose name is given in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the client wants to go on without HTTP on this connection.
    pub(crate) fn wants_upgrade(&self) -> bool {
        self.header("connection").is_some_and(|value| has_word(value, "upgrade"))
            && self.header("upgrade").is_some()
    }

    fn framing(&self) -> Result<Framing, Malformed> {
        let encodings: Vec<_> = self.values("transfer-encoding").collect();
        let lengths: Vec<_> = self.values("content-length").collect();
        match (&encodings[..], &lengths[..]) {
            ([], []) => Ok(Framing::None),
            ([], [first, more @ ..]) if more.iter().all(|other| other == first) => match first.parse() {
                Ok(0) => Ok(Framing::None),
                Ok(length) if first.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Framing::Length(length)),
                _ => Err("Content-Length is no number"),
            },
            ([one], []) if one.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            _ => Err("the length of the body is ambiguous"),
        }
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.trim())
    }
}

/// Whether a header's list has this word.
fn has_word(list: &str, word: &str) -> bool {
    list.split(',').any(|item| item.trim().eq_ignore_ascii_case(word))
}

/// The parts of a request's target.
type Target = (Option<(u32, u32)>, String, Vec<(String, String)>);

/// Takes `/v1.41/containers/json?all=1` apart; clients may send a whole URL.
fn target(text: &str) -> Target {
    let text = match text.split_once("://") {
        Some((_, rest)) if !text.starts_with('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => text,
    };
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let versioned = path.strip_prefix("/v").and_then(|rest| {
        let (version, path) = rest.split_at(rest.find('/')?);
        let (major, minor) = version.split_once('.')?;
        Some(((major.parse().ok()?, minor.parse().ok()?), path))
    });
    match versioned {
        Some((version, path)) => (Some(version), path.to_owned(), query),
        None => (None, path.to_owned(), query),
    }
}

/// A part of a path as it was meant.
pub(crate) fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<(Head, usize)>, Malformed> {
        Head::parse(text.replace('\n', "\r\n").as_bytes())
    }

    #[test]
    fn a_head_is_taken_apart() {
        let text = "POST /v1.41/containers/a%20b/json?all=1&filters=%7B%7D&x=a+b HTTP/1.1\nHost: d\nX-Registry-Auth: e30=\n\nrest";
        let (head, length) = parse(text).unwrap().unwrap();
        assert_eq!(length, text.replace('\n', "\r\n").len() - "rest".len());
        assert_eq!((head.method.as_str(), head.version), ("POST", Some((1, 41))));
        assert_eq!(head.path, "/containers/a%20b/json");
        assert_eq!(decoded("a%20b%2f"), "a b/");
        let query: Vec<_> = head.query.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(query, [("all", "1"), ("filters", "{}"), ("x", "a b")]);
        assert_eq!(head.header("x-registry-auth"), Some("e30="));
        assert!(head.keep_alive && !head.wants_upgrade());
    }

    #[test]
    fn targets() {
        for (text, version, path) in [
            ("/_ping", None, "/_ping"),
            ("/v1.24/_ping?x", Some((1, 24)), "/_ping"),
            ("http://localhost/v1.24/info", Some((1, 24)), "/info"),
            ("/volumes/x", None, "/volumes/x"),
            ("/v1/x", None, "/v1/x"),
            ("/v1.x/y", None, "/v1.x/y"),
            ("/images/http://x/json", None, "/images/http://x/json"),
        ] {
            let (found, rest, _) = target(text);
            assert_eq!((found, rest.as_str()), (version, path), "{text}");
        }
    }

    #[test]
    fn the_length_of_a_body_is_certain_or_an_error() {
        for (headers, want) in [
            ("", Ok(Framing::None)),
            ("Content-Length: 0\n", Ok(Framing::None)),
            ("Content-Length: 12\n", Ok(Framing::Length(12))),
            ("Content-Length: 12\nContent-Length: 12\n", Ok(Framing::Length(12))),
            ("Transfer-Encoding: Chunked\n", Ok(Framing::Chunked)),
            ("Content-Length: 12\nContent-Length: 13\n", Err("the length of the body is ambiguous")),
            ("Content-Length: 12\nTransfer-Encoding: chunked\n", Err("the length of the body is ambiguous")),
            ("Transfer-Encoding: gzip, chunked\n", Err("the length of the body is ambiguous")),
            ("Content-Length: +12\n", Err("Content-Length is no number")),
            ("Content-Length: -1\n", Err("Content-Length is no number")),
            ("Content-Length: 99999999999999999999\n", Err("Content-Length is no number")),
        ] {
            let read = parse(&format!("POST / HTTP/1.1\n{headers}\n"));
            assert_eq!(read.map(|head| head.unwrap().0.framing), want, "{headers}");
        }
    }

    #[test]
    fn what_ends_a_connection_and_what_leaves_http() {
        for (text, keep_alive, upgrade) in [
            ("GET / HTTP/1.1\n\n", true, false),
            ("GET / HTTP/1.0\n\n", false, false),
            ("GET / HTTP/1.1\nConnection: close\n\n", false, false),
            ("GET / HTTP/1.1\nConnection: keep-alive, Upgrade\nUpgrade: tcp\n\n", true, true),
            ("GET / HTTP/1.1\nConnection: Upgrade\n\n", true, false),
        ] {
            let (head, _) = parse(text).unwrap().unwrap();
            assert_eq!((head.keep_alive, head.wants_upgrade()), (keep_alive, upgrade), "{text}");
        }
        assert!(parse("GET / HTTP/1.1\nHost").unwrap().is_none());
        assert!(parse("\x16\x03\x01 what").is_err());
    }
}
