//! Output in the system's journal: an entry for each line.
//!
//! # Source
//!
//! The fields are those of conmon and of Docker's journald driver; systemd.journal-fields(7).

use std::io;
use std::path::Path;

use crate::base::stream::Stream;
use crate::logs::writer::Pieces;
use crate::sys::journal::Journal;

/// Sends a container's output to the journal.
#[derive(Debug)]
pub(crate) struct JournalWriter {
    journal: Journal,
    /// Fields that all entries have.
    fields: Vec<(String, Vec<u8>)>,
    lost_bytes: u64,
}

impl JournalWriter {
    /// Opens the way to the journal that listens on `socket`; all entries get `fields`.
    ///
    /// # Errors
    ///
    /// If there is no journal.
    pub(crate) fn open(socket: &Path, fields: Vec<(String, Vec<u8>)>) -> io::Result<Self> {
        Ok(Self { journal: Journal::open(socket)?, fields, lost_bytes: 0 })
    }

    /// Records `chunk`, just read from `stream`.
    ///
    /// # Errors
    ///
    /// If the journal is gone: what it did not take is counted, and the next call tries again.
    pub(crate) fn write(&mut self, stream: Stream, chunk: &[u8]) -> io::Result<()> {
        let priority: &[u8] = match stream {
            Stream::Stdout => b"6",
            Stream::Stderr => b"3",
        };
        let mut outcome = Ok(());
        for (text, full) in Pieces(chunk) {
            self.journal.field("MESSAGE", text);
            self.journal.field("PRIORITY", priority);
            if !full {
                self.journal.field("CONTAINER_PARTIAL_MESSAGE", b"true");
            }
            for (key, value) in &self.fields {
                self.journal.field(key, value);
            }
            if let Err(err) = self.journal.send() {
                self.lost_bytes += text.len() as u64;
                outcome = Err(err);
            }
        }
        outcome
    }

    /// How much output could not be recorded, in bytes.
    pub(crate) fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }
}

/// The name of a journal field for `text`: upper case, letters, digits and underscores, a letter first.
pub(crate) fn field_name(text: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = text.chars().map(clean).collect();
    name.trim_start_matches(|c: char| c == '_' || c.is_ascii_digit()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn lines_are_entries() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let mut log = JournalWriter::open(&path, vec![("CONTAINER_NAME".into(), b"web".to_vec())]).unwrap();
        log.write(Stream::Stderr, b"one\ntwo").unwrap();
        let heard = || {
            let mut buffer = [0; 200];
            let length = journald.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        assert_eq!(heard(), "MESSAGE=one\nPRIORITY=3\nCONTAINER_NAME=web\n");
        assert_eq!(heard(), "MESSAGE=two\nPRIORITY=3\nCONTAINER_PARTIAL_MESSAGE=true\nCONTAINER_NAME=web\n");
    }

    #[test]
    fn names_of_fields() {
        for (text, want) in [("com.example/a-b", "COM_EXAMPLE_A_B"), ("_1x", "X"), ("PATH", "PATH")] {
            assert_eq!(field_name(text), want);
        }
    }
}
