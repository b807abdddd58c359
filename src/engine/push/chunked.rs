//! zstd:chunked: a zstd layer whose files podman can fetch one by one.
//!
//! ```text
//! frame: headers │ frame: file │ frame: headers │ frame: file │ … │ skippable: table of contents (zstd of JSON)
//!                                                                  │ skippable: tar-split (zstd of JSON lines)
//!                                                                  │ skippable: footer, 64 bytes
//! ```
//!
//! Any reader of zstd passes over the skippable frames and sees the archive. Annotations of the layer's
//! descriptor say where the table is and what its digest is. An archive that the table cannot describe (sparse
//! files, names that are not UTF-8, times of access) becomes plain zstd.
//!
//! # Source
//!
//! containers/storage, `pkg/chunked/internal/minimal/compression.go`; vbatts/tar-split, `tar/storage`.

use std::cell::RefCell;
use std::io::{self, BufRead, Read, Write};
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use zstd::stream::raw::{Encoder, Operation as _, OutBuffer};

use crate::base::digest::Digest;
use crate::store::unpack::archive::{Archive, Entry, Kind};

/// The magic number of a skippable frame.
const SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
/// Its header: magic number and length.
const SKIPPABLE_HEADER: u64 = 8;
/// The end of the footer.
const FOOTER_MAGIC: [u8; 8] = *b"GnUlInUx";
/// What all annotations begin with.
pub(super) const ANNOTATION: &str = "io.github.containers.zstd-chunked.";

/// Counts what passes.
struct Counted<W> {
    inner: W,
    length: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Compresses an archive, and gives the annotations of the layer; none for one that the table cannot
/// describe.
///
/// # Errors
///
/// If the archive is none, or cannot be read; if the output cannot be written.
pub(super) fn compress(
    input: impl BufRead,
    output: impl Write,
    level: i32,
) -> io::Result<Vec<(String, String)>> {
    let raw = Rc::new(RefCell::new(Vec::new()));
    let mut archive = Archive::new(Tapped { input, raw: raw.clone() });
    let mut frames = Frames::new(Counted { inner: output, length: 0 }, level)?;
    let mut table = Table::new(level)?;
    while let Some(entry) = archive.next().map_err(io::Error::other)? {
        let headers = raw.take();
        frames.write(&headers)?;
        table.segment(&headers)?;
        let mut file = File { offset: 0, end: 0, hash: Sha256::new(), crc: Crc::default() };
        if entry.size > 0 {
            frames.end()?;
            file.offset = frames.out.length;
            loop {
                let length = archive.data().map_err(io::Error::other)?.len();
                if length == 0 {
                    break;
                }
                archive.consume(length);
                let data = raw.take();
                file.hash.update(&data);
                file.crc.update(&data);
                frames.write(&data)?;
            }
            frames.end()?;
            file.end = frames.out.length;
        }
        table.entry(&entry, &headers, file)?;
    }
    // The end of the archive, and what is behind it.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    let rest = raw.take();
    frames.write(&rest)?;
    table.segment(&rest)?;
    frames.end()?;
    table.finish(&mut frames.out)
}

/// Keeps all that is consumed.
struct Tapped<R> {
    input: R,
    raw: Rc<RefCell<Vec<u8>>>,
}

impl<R: BufRead> Read for Tapped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut piece = self.fill_buf()?;
        let got = piece.read(buffer)?;
        self.consume(got);
        Ok(got)
    }
}

impl<R: BufRead> BufRead for Tapped<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What was filled is there still: asking again reads nothing.
        if let Ok(piece) = self.input.fill_buf() {
            self.raw.borrow_mut().extend_from_slice(&piece[..amount.min(piece.len())]);
        }
        self.input.consume(amount);
    }
}

/// zstd frames one after the other.
struct Frames<W> {
    out: Counted<W>,
    encoder: Encoder<'static>,
    buffer: Vec<u8>,
    is_open: bool,
}

impl<W: Write> Frames<W> {
    fn new(out: Counted<W>, level: i32) -> io::Result<Self> {
        Ok(Self { out, encoder: Encoder::new(level)?, buffer: vec![0; 128 << 10], is_open: false })
    }

    fn write(&mut self, mut data: &[u8]) -> io::Result<()> {
        self.is_open |= !data.is_empty();
        while !data.is_empty() {
            let status = self.encoder.run_on_buffers(data, &mut self.buffer)?;
            self.out.write_all(&self.buffer[..status.bytes_written])?;
            data = &data[status.bytes_read..];
        }
        Ok(())
    }

    /// Ends the frame, if one was begun.
    fn end(&mut self) -> io::Result<()> {
        while self.is_open {
            let mut out = OutBuffer::around(&mut self.buffer);
            let left = self.encoder.finish(&mut out, true)?;
            let length = out.pos();
            self.out.write_all(&self.buffer[..length])?;
            self.is_open = left > 0;
            if left == 0 {
                self.encoder.reinit()?;
            }
        }
        Ok(())
    }
}

/// A file's data in the blob.
struct File {
    offset: u64,
    end: u64,
    hash: Sha256,
    crc: Crc,
}

/// The table of contents, and tar-split: how to make the archive again from its files.
struct Table {
    entries: Vec<Value>,
    split: zstd::Encoder<'static, Vec<u8>>,
    split_bytes: u64,
    position: u64,
    level: i32,
    /// An entry that it cannot describe was there.
    is_plain: bool,
}

impl Table {
    fn new(level: i32) -> io::Result<Self> {
        let split = zstd::Encoder::new(Vec::new(), level)?;
        Ok(Self { entries: Vec::new(), split, split_bytes: 0, position: 0, level, is_plain: false })
    }

    /// A line of tar-split.
    fn line(&mut self, mut line: Value) -> io::Result<()> {
        line["position"] = self.position.into();
        self.position += 1;
        let text = format!("{line}\n");
        self.split_bytes += text.len() as u64;
        self.split.write_all(text.as_bytes())
    }

    /// Bytes of the archive between files.
    fn segment(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.line(json!({"type": 2, "payload": STANDARD.encode(bytes)}))
    }

    fn entry(&mut self, entry: &Entry, headers: &[u8], file: File) -> io::Result<()> {
        let Some(mut described) = describe(entry, headers) else {
            self.is_plain = true;
            return Ok(());
        };
        let mut line = json!({"type": 1, "name": described["name"], "payload": Value::Null});
        if entry.size > 0 {
            line["size"] = entry.size.into();
            line["payload"] = STANDARD.encode(file.crc.sum()).into();
            let digest = Digest::from_hash(file.hash);
            for (key, value) in [
                ("digest", json!(digest)),
                ("offset", file.offset.into()),
                ("endOffset", file.end.into()),
                ("chunkSize", entry.size.into()),
                ("chunkDigest", json!(digest)),
            ] {
                described.insert(key.to_owned(), value);
            }
        }
        self.entries.push(described.into());
        self.line(line)
    }

    /// Writes table, tar-split and footer.
    fn finish(self, out: &mut Counted<impl Write>) -> io::Result<Vec<(String, String)>> {
        let split = self.split.finish()?;
        if self.is_plain {
            return Ok(Vec::new());
        }
        let split_digest = Digest::of(&split);
        let table =
            json!({"version": 1, "entries": self.entries, "tarSplitDigest": split_digest}).to_string();
        let packed = zstd::encode_all(table.as_bytes(), self.level)?;
        let at = out.length + SKIPPABLE_HEADER;
        skippable(out, &packed)?;
        let split_at = out.length + SKIPPABLE_HEADER;
        skippable(out, &split)?;
        let numbers =
            [at, packed.len() as u64, table.len() as u64, 1, split_at, split.len() as u64, self.split_bytes];
        let footer: Vec<u8> =
            numbers.iter().flat_map(|number| number.to_le_bytes()).chain(FOOTER_MAGIC).collect();
        skippable(out, &footer)?;
        Ok([
            ("manifest-checksum", Digest::of(&packed).to_string()),
            ("manifest-position", format!("{at}:{}:{}:1", packed.len(), table.len())),
            ("tarsplit-position", format!("{split_at}:{}:{}", split.len(), self.split_bytes)),
        ]
        .map(|(key, value)| (format!("{ANNOTATION}{key}"), value))
        .to_vec())
    }
}

fn skippable(out: &mut impl Write, content: &[u8]) -> io::Result<()> {
    let length = u32::try_from(content.len()).map_err(io::Error::other)?;
    out.write_all(&SKIPPABLE)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(content)
}

/// An entry of the table, as Go's reader of archives sees it; `None` if it cannot be told in JSON.
fn describe(entry: &Entry, headers: &[u8]) -> Option<Map<String, Value>> {
    /// Where the mode is in a header.
    const MODE: std::ops::Range<usize> = 100..108;
    // The last block is the entry's own; extended headers lie before it.
    let header = &headers[headers.len().checked_sub(512)?..];
    let says = |word: &[u8]| memchr::memmem::find(headers, word).is_some();
    let gnu_times = &header[257..265] == b"ustar  \0" && header[345..369].iter().any(|byte| *byte != 0);
    if entry.pieces.is_some() || gnu_times || says(b" atime=") || says(b" ctime=") {
        return None;
    }
    let kind = match entry.kind {
        Kind::Regular => "reg",
        Kind::Directory => "dir",
        Kind::Symlink => "symlink",
        Kind::Hardlink => "hardlink",
        Kind::Fifo => "fifo",
        Kind::Character => "char",
        Kind::Block => "block",
    };
    let mode = std::str::from_utf8(&header[MODE]).ok()?;
    let mode = u64::from_str_radix(mode.trim_matches(['\0', ' ']), 8).ok()?;
    let time = jiff::Timestamp::new(entry.mtime.tv_sec, i32::try_from(entry.mtime.tv_nsec).ok()?).ok()?;
    let mut map = Map::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    map.insert("type".into(), kind.into());
    map.insert("name".into(), text(&entry.path)?.into());
    if !entry.link.is_empty() {
        map.insert("linkName".into(), text(&entry.link)?.into());
    }
    for (key, number) in [("mode", mode), ("size", entry.size), ("uid", entry.uid), ("gid", entry.gid)] {
        map.insert(key.into(), number.into());
    }
    map.insert("modtime".into(), time.to_string().into());
    if matches!(entry.kind, Kind::Character | Kind::Block) {
        map.insert("devMajor".into(), entry.device.0.into());
        map.insert("devMinor".into(), entry.device.1.into());
    }
    let mut xattrs = Map::new();
    for (name, value) in &entry.xattrs {
        xattrs.insert(text(name)?, STANDARD.encode(value).into());
    }
    if !xattrs.is_empty() {
        map.insert("xattrs".into(), xattrs.into());
    }
    Some(map)
}

/// CRC-64 with the polynomial of ISO 3309, as Go's hash/crc64 computes it.
#[derive(Default)]
struct Crc(u64);

impl Crc {
    const TABLE: [u64; 256] = {
        let mut table = [0; 256];
        let mut at = 0;
        while at < 256 {
            let mut crc = at as u64;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0xd800_0000_0000_0000 } else { crc >> 1 };
                bit += 1;
            }
            table[at] = crc;
            at += 1;
        }
        table
    };

    fn update(&mut self, bytes: &[u8]) {
        self.0 = !bytes
            .iter()
            .fold(!self.0, |crc, byte| Self::TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8));
    }

    fn sum(&self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(mtime: u64) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let long = format!("{}/file", "d".repeat(120));
        for (path, content) in [("a", &b"first"[..]), ("empty", b""), (&long, &[7; 3000])] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(mtime);
            builder.append_data(&mut header, path, content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn the_crc_is_that_of_go() {
        let mut crc = Crc::default();
        crc.update(b"1234");
        crc.update(b"56789");
        assert_eq!(u64::from_be_bytes(crc.sum()), 0xb909_56c7_75a4_1001);
    }

    #[test]
    fn files_are_found_by_the_table() {
        let tar = archive(1_700_000_000);
        let mut blob = Vec::new();
        let said = compress(&tar[..], &mut blob, 3).unwrap();
        assert_eq!(zstd::decode_all(&blob[..]).unwrap(), tar, "the archive is what it was");
        let value = |key: &str| said.iter().find(|(name, _)| name.ends_with(key)).unwrap().1.clone();
        let position: Vec<usize> =
            value("manifest-position").split(':').map(|number| number.parse().unwrap()).collect();
        let packed = &blob[position[0]..position[0] + position[1]];
        assert_eq!(value("manifest-checksum"), Digest::of(packed).to_string());
        let table: Value = serde_json::from_slice(&zstd::decode_all(packed).unwrap()).unwrap();
        let entries = table["entries"].as_array().unwrap();
        assert_eq!(entries.len(), 3);
        assert_eq!((entries[0]["name"].as_str(), entries[0]["size"].as_u64()), (Some("a"), Some(5)));
        assert_eq!(entries[0]["modtime"], "2023-11-14T22:13:20Z");
        let at = |number: &Value| usize::try_from(number.as_u64().unwrap()).unwrap();
        for (entry, want) in [(&entries[0], &b"first"[..]), (&entries[2], &[7; 3000])] {
            let frame = &blob[at(&entry["offset"])..at(&entry["endOffset"])];
            assert_eq!(zstd::decode_all(frame).unwrap(), want);
            assert_eq!(entry["digest"], json!(Digest::of(want)));
        }
        assert!(entries[1].get("digest").is_none());
        assert_eq!(&blob[blob.len() - 8..], &FOOTER_MAGIC);
        // The archive again, of segments and files.
        let split: Vec<usize> =
            value("tarsplit-position").split(':').map(|number| number.parse().unwrap()).collect();
        let lines = zstd::decode_all(&blob[split[0]..split[0] + split[1]]).unwrap();
        assert_eq!(lines.len(), split[2]);
        let mut again = Vec::new();
        for (number, line) in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
            let line: Value = serde_json::from_slice(line).unwrap();
            assert_eq!(line["position"], number);
            match line["type"].as_u64() {
                Some(2) => again.extend(STANDARD.decode(line["payload"].as_str().unwrap()).unwrap()),
                _ => match line["size"].as_u64() {
                    Some(5) => again.extend(b"first"),
                    Some(3000) => again.extend([7; 3000]),
                    other => assert_eq!(other, None),
                },
            }
        }
        assert_eq!(again, tar);
    }

    #[test]
    fn what_the_table_cannot_say_is_plain_zstd() {
        let mut tar = archive(0);
        // A name that is no UTF-8, with its checksum.
        let sum: u32 =
            tar[..148].iter().chain(&tar[156..512]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        let sum = sum - u32::from(b'a') + 0xff;
        tar[0] = 0xff;
        tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut blob = Vec::new();
        assert_eq!(compress(&tar[..], &mut blob, 3).unwrap(), []);
        assert_eq!(zstd::decode_all(&blob[..]).unwrap(), tar);
    }
}
