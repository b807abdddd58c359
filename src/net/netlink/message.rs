//! The frame of netlink messages: headers, attributes, attributes within attributes.

use crate::sys::netlink::align;

/// `NLM_F_REQUEST | NLM_F_ACK`.
const REQUEST: u16 = 0x1 | 0x4;
/// `NLM_F_CREATE | NLM_F_EXCL`: make it; it must not be there yet.
pub(crate) const CREATE: u16 = 0x400 | 0x200;
/// `NLM_F_CREATE | NLM_F_REPLACE`: make it, or change the one that is there.
pub(crate) const REPLACE: u16 = 0x400 | 0x100;
/// `NLM_F_DUMP`: list all.
const DUMP: u16 = 0x100 | 0x200;
/// `NLA_F_NESTED`: the value is made of attributes.
const NESTED: u16 = 0x8000;

/// Messages for one `send`, each with a label for error messages.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    labels: Vec<String>,
    /// Where the open message begins.
    start: usize,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Begins an rtnetlink message that is acknowledged; `label` says what it does.
    pub(crate) fn begin(&mut self, kind: u16, flags: u16, label: impl Into<String>) -> &mut Self {
        self.header(kind, REQUEST | flags, label)
    }

    /// Begins a request for a listing.
    pub(crate) fn begin_dump(&mut self, kind: u16) -> &mut Self {
        self.header(kind, 0x1 | DUMP, "list")
    }

    /// Begins a message with exactly these flags.
    pub(crate) fn header(&mut self, kind: u16, flags: u16, label: impl Into<String>) -> &mut Self {
        self.close();
        self.start = self.bytes.len();
        self.labels.push(label.into());
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        // Sequence number (set when it is sent) and port.
        self.bytes.extend([0; 8]);
        self
    }

    /// Appends the fixed part of a message.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self.pad();
        self
    }

    /// Appends an attribute.
    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len() + 4).expect("attributes are made here and short");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.raw(value)
    }

    /// Appends a number in the machine's byte order.
    pub(crate) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Appends a number in network byte order, as nf_tables wants them.
    pub(crate) fn number_be(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Appends a text with its final NUL.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend(value.as_bytes());
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Appends an attribute made of attributes, marked as such.
    pub(crate) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.nest(kind | NESTED, fill)
    }

    /// Appends an attribute made of attributes without the mark, as old parts of rtnetlink want it.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.bytes.len();
        self.bytes.extend([0, 0]);
        self.bytes.extend(kind.to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.bytes.len() - at).expect("attributes are made here and short");
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// All messages, and the label of each.
    pub(crate) fn finish(mut self) -> (Vec<u8>, Vec<String>) {
        self.close();
        (self.bytes, self.labels)
    }

    fn pad(&mut self) {
        self.bytes.resize(align(self.bytes.len()), 0);
    }

    fn close(&mut self) {
        let length = u32::try_from(self.bytes.len() - self.start).expect("messages are short");
        if length > 0 {
            self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
        }
    }
}

/// Walks the attributes in `bytes`: type without flag bits, and value.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(align(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_what_is_inside() {
        let mut batch = Batch::new();
        batch.begin(16, CREATE, "one").raw(&[0; 16]).text(3, "eth0");
        batch.begin(20, 0, "two").nested(1, |b| {
            b.number(2, 7);
        });
        let (bytes, labels) = batch.finish();
        assert_eq!(labels, ["one", "two"]);
        assert_eq!(bytes[0..4], 44_u32.to_ne_bytes(), "16 header + 16 + 4 + 5 padded to 8");
        assert_eq!(bytes[44..48], 28_u32.to_ne_bytes());
        let nested: Vec<_> = attributes(&bytes[60..]).collect();
        assert_eq!(nested.len(), 1);
        assert_eq!(attributes(nested[0].1).next(), Some((2, &7_u32.to_ne_bytes()[..])));
    }

    #[test]
    fn broken_attributes_end_the_walk() {
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0, "shorter than its own header");
        assert_eq!(attributes(&[200, 0, 1, 0, 0]).count(), 0, "longer than the message");
        assert_eq!(attributes(&[4, 0, 1, 0, 9]).count(), 1, "empty value, then rubbish");
    }
}
