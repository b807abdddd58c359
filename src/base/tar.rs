//! Headers of tar archives, byte for byte the same for the same file.
//!
//! ```text
//! [ PAX header  | records, padded ]   only if something does not fit the old header
//! [ ustar header ][ data, padded to 512 ]
//! … [ 1024 zeros ]
//! ```
//!
//! Numbers and names that fit are in the old header alone, so that plain trees make plain archives.
//! Names are bytes: a PAX record holds them as they are, whatever their character set.
//!
//! # Source
//!
//! POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual, "Storing
//! Sparse Files" (PAX format, version 1.0); star(1) for `SCHILY.xattr`.

/// The unit of the format.
pub(crate) const BLOCK: u64 = 512;

/// What ends an archive.
pub(crate) const END: [u8; 1024] = [0; 1024];

/// Longest name and link target in the old header.
const NAME_MAX: usize = 100;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Regular,
    /// A further name of a file that came before.
    Hardlink,
    Symlink,
    Character {
        major: u32,
        minor: u32,
    },
    Block {
        major: u32,
        minor: u32,
    },
    Directory,
    Fifo,
}

/// Whether the data of a file leave its holes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sparse<'a> {
    /// Offset and length of what is data, ascending.
    pub(crate) pieces: &'a [(u64, u64)],
}

/// One entry, without its data.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) kind: Kind,
    /// Relative to the root; a directory's ends with a slash.
    pub(crate) path: &'a [u8],
    /// Target of a link; empty otherwise.
    pub(crate) link: &'a [u8],
    /// Length of the file in bytes, holes included.
    pub(crate) size: u64,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub(crate) mtime: (i64, u32),
    /// Extended attributes: full name and value.
    pub(crate) xattrs: &'a [(Vec<u8>, Vec<u8>)],
    pub(crate) sparse: Option<Sparse<'a>>,
}

impl<'a> Entry<'a> {
    /// An entry of root, of the year 1970, with nothing special.
    pub(crate) fn new(kind: Kind, path: &'a [u8], mode: u32) -> Self {
        Self {
            kind,
            path,
            link: b"",
            size: 0,
            mode,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            xattrs: &[],
            sparse: None,
        }
    }

    /// The entry's headers. For a regular file [`stored`](Self::stored) bytes of data follow, then
    /// [`padding`]; of a sparse one its map is part of what is returned here.
    pub(crate) fn header(&self) -> Vec<u8> {
        let map = self.sparse.map(|sparse| sparse_map(sparse.pieces));
        let data: u64 = self.stored() + map.as_ref().map_or(0, |map| map.len() as u64);
        let mut records = Vec::new();
        let sparse_name = map.as_ref().map(|_| [b"GNUSparseFile.0/", last(self.path)].concat());
        if sparse_name.is_some() {
            records.extend(record(b"GNU.sparse.major", b"1"));
            records.extend(record(b"GNU.sparse.minor", b"0"));
            records.extend(record(b"GNU.sparse.name", self.path));
            records.extend(record(b"GNU.sparse.realsize", self.size.to_string().as_bytes()));
        }
        let mut header = Old::new(self.kind);
        header.name(sparse_name.as_deref().unwrap_or(self.path), &mut records);
        header.link(self.link, &mut records);
        header.number(100..108, u64::from(self.mode & 0o7777), b"", &mut records);
        header.number(108..116, u64::from(self.uid), b"uid", &mut records);
        header.number(116..124, u64::from(self.gid), b"gid", &mut records);
        header.number(124..136, data, b"size", &mut records);
        header.time(self.mtime, &mut records);
        for (name, value) in self.xattrs {
            records.extend(record(&[b"SCHILY.xattr.", &name[..]].concat(), value));
        }
        let mut bytes = extended(&records);
        bytes.extend_from_slice(&header.finish());
        bytes.extend(map.unwrap_or_default());
        bytes
    }

    /// How many bytes of file data follow the header.
    pub(crate) fn stored(&self) -> u64 {
        match (self.kind, self.sparse) {
            (Kind::Regular, Some(sparse)) => sparse.pieces.iter().map(|(_, length)| length).sum(),
            (Kind::Regular, None) => self.size,
            _ => 0,
        }
    }
}

/// Zeros that fill up data of `length` bytes to whole blocks.
pub(crate) fn padding(length: u64) -> &'static [u8] {
    let rest = (BLOCK - length % BLOCK) % BLOCK;
    &END[..usize::try_from(rest).unwrap_or(0)]
}

/// The extended header with these records; nothing without any.
fn extended(records: &[u8]) -> Vec<u8> {
    if records.is_empty() {
        return Vec::new();
    }
    let mut header = Old::new(Kind::Regular);
    header.0[156] = b'x';
    let mut none = Vec::new();
    header.name(b"PaxHeader", &mut none);
    header.number(100..108, 0o644, b"", &mut none);
    header.number(108..116, 0, b"", &mut none);
    header.number(116..124, 0, b"", &mut none);
    header.number(124..136, records.len() as u64, b"", &mut none);
    header.time((0, 0), &mut none);
    let mut bytes = header.finish().to_vec();
    bytes.extend_from_slice(records);
    bytes.extend_from_slice(padding(records.len() as u64));
    bytes
}

/// The map that stands before the data of a sparse file.
fn sparse_map(pieces: &[(u64, u64)]) -> Vec<u8> {
    let mut text = format!("{}\n", pieces.len());
    for (offset, length) in pieces {
        text.push_str(&format!("{offset}\n{length}\n"));
    }
    let mut map = text.into_bytes();
    map.extend_from_slice(padding(map.len() as u64));
    map
}

fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|&b| b == b'/').next().unwrap_or(path)
}

/// A PAX record: its own length, which counts itself, a blank, key, `=`, value, newline.
pub(crate) fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// The header of 512 bytes that every tar knows.
struct Old([u8; 512]);

impl Old {
    fn new(kind: Kind) -> Self {
        let mut header = Self([0; 512]);
        header.0[156] = match kind {
            Kind::Regular => b'0',
            Kind::Hardlink => b'1',
            Kind::Symlink => b'2',
            Kind::Character { .. } => b'3',
            Kind::Block { .. } => b'4',
            Kind::Directory => b'5',
            Kind::Fifo => b'6',
        };
        header.0[257..265].copy_from_slice(b"ustar\x0000");
        let (major, minor) = match kind {
            Kind::Character { major, minor } | Kind::Block { major, minor } => (major, minor),
            _ => (0, 0),
        };
        // Linux has 12 bits of major and 20 of minor numbers: they always fit.
        let mut none = Vec::new();
        header.number(329..337, u64::from(major), b"", &mut none);
        header.number(337..345, u64::from(minor), b"", &mut none);
        header
    }

    fn name(&mut self, name: &[u8], records: &mut Vec<u8>) {
        self.text(0, name, b"path", records);
    }

    fn link(&mut self, target: &[u8], records: &mut Vec<u8>) {
        self.text(157, target, b"linkpath", records);
    }

    fn text(&mut self, at: usize, text: &[u8], key: &[u8], records: &mut Vec<u8>) {
        if text.len() > NAME_MAX {
            records.extend(record(key, text));
        }
        let fits = &text[..text.len().min(NAME_MAX)];
        self.0[at..at + fits.len()].copy_from_slice(fits);
    }

    /// An octal number that ends with a NUL; what does not fit becomes the record `key`, and 0 here.
    fn number(&mut self, field: std::ops::Range<usize>, value: u64, key: &[u8], records: &mut Vec<u8>) {
        let digits = field.len() - 1;
        let mut text = format!("{value:0digits$o}");
        if text.len() > digits {
            records.extend(record(key, value.to_string().as_bytes()));
            text = "0".repeat(digits);
        }
        self.0[field.start..field.start + digits].copy_from_slice(text.as_bytes());
    }

    fn time(&mut self, (seconds, nanoseconds): (i64, u32), records: &mut Vec<u8>) {
        let mut none = Vec::new();
        match u64::try_from(seconds) {
            Ok(whole) if nanoseconds == 0 => self.number(136..148, whole, b"mtime", records),
            Ok(whole) => {
                records.extend(record(b"mtime", time_text(seconds, nanoseconds).as_bytes()));
                self.number(136..148, whole, b"mtime", &mut none);
            }
            Err(_) => {
                records.extend(record(b"mtime", time_text(seconds, nanoseconds).as_bytes()));
                self.number(136..148, 0, b"mtime", &mut none);
            }
        }
    }

    fn finish(mut self) -> [u8; 512] {
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().map(|&b| u32::from(b)).sum();
        self.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

/// A time as decimal seconds without trailing zeros; -1 s and 0.25 s after it are `-0.75`.
fn time_text(seconds: i64, nanoseconds: u32) -> String {
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    let (sign, whole, fraction) = match seconds {
        0.. => ("", seconds.unsigned_abs(), nanoseconds),
        _ => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanoseconds.min(999_999_999)),
    };
    format!("{sign}{whole}.{fraction:09}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn archive(entry: &Entry<'_>, data: &[u8]) -> Vec<u8> {
        let mut bytes = entry.header();
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(padding(data.len() as u64));
        bytes.extend_from_slice(&END);
        bytes
    }

    #[test]
    fn records_count_themselves() {
        for (value, length) in [(0, 8), (1, 9), (90, 99), (91, 101), (989, 999)] {
            let text = record(b"path", &vec![b'x'; value]);
            let shown: usize =
                std::str::from_utf8(&text).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!((shown, text.len()), (text.len(), length), "{value}");
        }
    }

    #[test]
    fn times() {
        for (time, want) in [
            ((0, 0), "0"),
            ((5, 250_000_000), "5.25"),
            ((-1, 250_000_000), "-0.75"),
            ((-2, 500_000_000), "-1.5"),
            ((-7, 0), "-7"),
            ((1, 1), "1.000000001"),
        ] {
            assert_eq!(time_text(time.0, time.1), want);
        }
    }

    /// What the tar crate reads is what was meant.
    #[test]
    fn others_read_it() {
        let long = [b"d/".repeat(80), b"\xff\xfe".to_vec()].concat();
        let xattrs = [(b"user.a".to_vec(), b"1=2 \0".to_vec())];
        let entry = Entry {
            size: 3,
            uid: 3_000_000,
            gid: 7,
            mtime: (1_700_000_000, 5),
            xattrs: &xattrs,
            ..Entry::new(Kind::Regular, &long, 0o4755)
        };
        let bytes = archive(&entry, b"abc");
        assert_eq!(bytes.len() % 512, 0);
        let mut read = tar::Archive::new(&bytes[..]);
        let mut found = read.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(found.path_bytes(), &long[..]);
        assert_eq!(found.header().mode().unwrap(), 0o4755);
        assert_eq!(found.header().uid().unwrap(), 3_000_000);
        let extensions = found.pax_extensions().unwrap().unwrap();
        let records: Vec<(String, Vec<u8>)> = extensions
            .map(|record| record.unwrap())
            .map(|record| (record.key().unwrap().to_owned(), record.value_bytes().to_vec()))
            .collect();
        assert!(records.contains(&("SCHILY.xattr.user.a".into(), b"1=2 \0".to_vec())));
        assert!(records.contains(&("mtime".into(), b"1700000000.000000005".to_vec())));
        let mut data = Vec::new();
        found.read_to_end(&mut data).unwrap();
        assert_eq!(data, b"abc");
    }

    #[test]
    fn plain_files_need_no_extended_header() {
        let entry = Entry { size: 1, mtime: (9, 0), ..Entry::new(Kind::Regular, b"a", 0o644) };
        assert_eq!(entry.header().len(), 512);
        let device = Entry::new(Kind::Character { major: 1, minor: 3 }, b"null", 0o666);
        let bytes = archive(&device, b"");
        let mut read = tar::Archive::new(&bytes[..]);
        let found = read.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(found.header().device_major().unwrap(), Some(1));
        assert_eq!(found.header().device_minor().unwrap(), Some(3));
        let huge = Entry { size: 1 << 34, ..Entry::new(Kind::Regular, b"h", 0o644) };
        assert_eq!(huge.header().len(), 3 * 512);
    }
}
