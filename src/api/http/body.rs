//! The body of a request, read as it comes in.

use std::io::{self, Read};

use super::connection::Connection;
use super::head::Framing;

/// The longest line before a chunk, in bytes.
const MAX_SIZE_LINE: usize = 256;

/// How far the body of the present request has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// What is left of the body, or of the present chunk.
    left: u64,
    /// More chunks follow.
    chunked: bool,
    /// A chunk has been begun, whose end of line is still to come.
    in_chunk: bool,
    /// The client waits to be told that its body is wanted.
    pub(crate) awaits_continue: bool,
}

impl Progress {
    /// A body that nothing was read of yet.
    pub(crate) fn new(framing: Framing, awaits_continue: bool) -> Self {
        let (left, chunked) = match framing {
            Framing::None => (0, false),
            Framing::Length(length) => (length, false),
            Framing::Chunked => (0, true),
        };
        Self { left, chunked, in_chunk: false, awaits_continue }
    }

    /// Nothing more belongs to this body.
    pub(crate) fn is_over(&self) -> bool {
        self.left == 0 && !self.chunked
    }
}

/// Reads the body of a connection's present request.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) progress: &'a mut Progress,
}

impl Read for Body<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() || self.progress.is_over() {
            return Ok(0);
        }
        if std::mem::take(&mut self.progress.awaits_continue) {
            self.connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if self.progress.left == 0 {
            self.next_chunk()?;
            if self.progress.is_over() {
                return Ok(0);
            }
        }
        let most = usize::try_from(self.progress.left).unwrap_or(usize::MAX).min(into.len());
        let count = self.connection.read(&mut into[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.progress.left -= count as u64;
        Ok(count)
    }
}

impl Body<'_> {
    /// Reads what stands before the next chunk; after the last one, what ends the body.
    fn next_chunk(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.progress.in_chunk) && !self.line()?.is_empty() {
            return Err(malformed());
        }
        let line = self.line()?;
        let size = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let text = std::str::from_utf8(size).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let size = text.and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or_else(malformed)?;
        self.progress.left = size;
        self.progress.in_chunk = true;
        if size == 0 {
            self.progress.chunked = false;
            // Trailers mean nothing to anybody here.
            while !self.line()?.is_empty() {}
        }
        Ok(())
    }

    /// One line without its end.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            if self.connection.read(&mut byte)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match byte[0] {
                b'\n' => break,
                byte => line.push(byte),
            }
            if line.len() > MAX_SIZE_LINE {
                return Err(malformed());
            }
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(line)
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the chunks of the body are malformed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn read(framing: Framing, sent: &[u8]) -> (io::Result<Vec<u8>>, Vec<u8>) {
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let sent = sent.to_vec();
        let writer = std::thread::spawn(move || (&far).write_all(&sent));
        let mut connection = Connection::new(near.into()).unwrap();
        let mut progress = Progress::new(framing, false);
        let mut body = Vec::new();
        let result = Body { connection: &mut connection, progress: &mut progress }.read_to_end(&mut body);
        writer.join().unwrap().unwrap();
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).unwrap();
        (result.map(|_| body), rest)
    }

    #[test]
    fn bodies_end_where_they_end() {
        for (framing, sent, want, rest) in [
            (Framing::None, "next", "", "next"),
            (Framing::Length(3), "abcnext", "abc", "next"),
            (Framing::Chunked, "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\nnext", "abcde", "next"),
            (Framing::Chunked, "A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", "0123456789", ""),
        ] {
            let (body, after) = read(framing, sent.as_bytes());
            assert_eq!(
                (body.unwrap(), after),
                (want.as_bytes().to_vec(), rest.as_bytes().to_vec()),
                "{sent}"
            );
        }
    }

    #[test]
    fn broken_bodies_are_errors() {
        for (framing, sent) in [
            (Framing::Length(5), "abc"),
            (Framing::Chunked, "3\r\nabc"),
            (Framing::Chunked, "3\r\nabcd\r\n0\r\n\r\n"),
            (Framing::Chunked, "-1\r\n"),
            (Framing::Chunked, "\r\n"),
            (Framing::Chunked, "10000000000000000\r\n"),
            (Framing::Chunked, "x\r\n"),
        ] {
            assert!(read(framing, sent.as_bytes()).0.is_err(), "{sent}");
        }
        assert!(read(Framing::Chunked, &[b'1'; 400]).0.is_err());
    }
}
