//! What comes from elsewhere, held in memory up to a limit: it may have no end.

use std::io::{self, Read, Write};

/// Reads all that there is.
///
/// # Errors
///
/// FileTooLarge beyond `max` bytes; those of `from`.
pub(crate) fn read_all(from: impl Read, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max { Err(too_large(max)) } else { Ok(bytes) }
}

/// Keeps what is written, and refuses (FileTooLarge) what goes beyond its limit.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    max: usize,
}

impl Buffer {
    /// One for at most `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), max }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Write for Buffer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() > self.max - self.bytes.len() {
            return Err(too_large(self.max));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn too_large(max: usize) -> io::Error {
    let most = match max >> 20 {
        0 => format!("it has more than {max} bytes"),
        mib => format!("it has more than {mib} MiB"),
    };
    io::Error::new(io::ErrorKind::FileTooLarge, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(parts: &[&[u8]], max: usize) -> io::Result<Vec<u8>> {
        let mut buffer = Buffer::new(max);
        for part in parts {
            buffer.write_all(part)?;
        }
        Ok(buffer.into_bytes())
    }

    #[test]
    fn nothing_is_cut_silently() {
        for (text, max, want) in [
            (&b""[..], 0, Some(&b""[..])),
            (b"abc", 4, Some(b"abc")),
            (b"abcd", 4, Some(b"abcd")),
            (b"abcde", 4, None),
            (b"a", 0, None),
        ] {
            let (first, second) = text.split_at(text.len() / 2);
            for got in [read_all(text, max), written(&[first, second], max)] {
                match (got, want) {
                    (Ok(got), Some(want)) => assert_eq!(got, want),
                    (Err(err), None) => assert_eq!(err.kind(), io::ErrorKind::FileTooLarge),
                    (got, want) => panic!("{got:?}, not {want:?}"),
                }
            }
        }
        let endless = read_all(io::repeat(0), 2 << 20).unwrap_err();
        assert_eq!(endless.to_string(), "it has more than 2 MiB");
    }
}
