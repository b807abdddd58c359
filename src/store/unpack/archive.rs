//! The entries of a tar archive that arrives as a stream.
//!
//! ```text
//! [x header][x data]… [L header][long name]… [header][data, padded to 512] … [zero block][zero block] trailing
//! ╰────────── one Entry ───────────────────────────────────╯
//! ```
//!
//! Every form that Docker, BuildKit, GNU tar, bsdtar and star write: ustar, GNU long names, PAX, and
//! sparse files in GNU's old and its three PAX forms. Where readers differ in what they make of odd
//! input, this one does as Go's `archive/tar` does, because Docker and podman use that: links and
//! directories have no data whatever their size field says, and global headers are passed over.

use std::io::BufRead;

use tar::{EntryType, GnuExtSparseHeader, Header};

use crate::store::unpack::Failure;
use crate::store::unpack::pax::{self, Extended, PIECES_MAX};
use crate::sys::fs::Timespec;

/// The unit of the format.
const BLOCK: u64 = 512;
/// The same as the length of an array.
const BLOCK_LENGTH: usize = 512;

/// Longest long name or extended header, in bytes.
const EXTENSION_MAX: u64 = 1 << 20;

/// Most headers that only extend, in front of one entry.
const EXTENSIONS_MAX: usize = 16;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Regular,
    Directory,
    Symlink,
    Hardlink,
    Fifo,
    Character,
    Block,
}

/// One entry without its data.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    /// As it is in the archive.
    pub(crate) path: Vec<u8>,
    /// Target of a link.
    pub(crate) link: Vec<u8>,
    pub(crate) kind: Kind,
    /// Permission bits, set-user-ID and sticky included.
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mtime: Timespec,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Major and minor number of a device.
    pub(crate) device: (u32, u32),
    /// Length of the file.
    pub(crate) size: u64,
    /// Where its data belong, if it has holes: offsets and lengths, ascending.
    pub(crate) pieces: Option<Vec<(u64, u64)>>,
}

/// Reads entries one after the other.
#[derive(Debug)]
pub(crate) struct Archive<R> {
    input: R,
    /// Data bytes of the current entry that were not read yet.
    data_left: u64,
    /// Padding behind them.
    padding: u64,
}

impl<R: BufRead> Archive<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, data_left: 0, padding: 0 }
    }

    /// The stream behind the last entry.
    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    /// The next entry; `None` at the end of the archive. Data of the one before that were not read are
    /// passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Failure> {
        let mut extended = Extended::default();
        let (mut long_name, mut long_link) = (None, None);
        for extensions in 0..EXTENSIONS_MAX {
            self.skip(self.data_left)?;
            // docker's command line leaves out what fills up the last block, and what should follow; Go reads that.
            let is_whole = self.pass(self.padding)?;
            (self.data_left, self.padding) = (0, 0);
            if !is_whole {
                return if extensions == 0 { Ok(None) } else { Err(truncated()) };
            }
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = unsigned(&header.as_old().size, "size")?;
            match header.entry_type() {
                EntryType::XHeader => {
                    let text = self.extension(size)?;
                    pax::read(&text, &mut extended).map_err(corrupt)?;
                }
                EntryType::GNULongName => long_name = Some(until_nul(self.extension(size)?)),
                EntryType::GNULongLink => long_link = Some(until_nul(self.extension(size)?)),
                EntryType::XGlobalHeader => drop(self.extension(size)?),
                _ => {
                    // Of the two ways to give a long name, PAX wins, as in Go.
                    extended.path = extended.path.take().or(long_name);
                    extended.link = extended.link.take().or(long_link);
                    return self.entry(&header, extended, size).map(Some);
                }
            }
        }
        Err(corrupt("too many extended headers in a row"))
    }

    /// The next piece of the current entry's data; empty at its end.
    ///
    /// [`Archive::consume`] tells how much of it was used.
    pub(crate) fn data(&mut self) -> Result<&[u8], Failure> {
        if self.data_left == 0 {
            return Ok(&[]);
        }
        let left = usize::try_from(self.data_left).unwrap_or(usize::MAX);
        let piece = self.input.fill_buf().map_err(Failure::stream)?;
        if piece.is_empty() {
            return Err(truncated());
        }
        Ok(&piece[..piece.len().min(left)])
    }

    /// Marks the first `amount` bytes of the last [`Archive::data`] as used.
    pub(crate) fn consume(&mut self, amount: usize) {
        self.input.consume(amount);
        self.data_left -= amount as u64;
    }

    /// The next header block, checked; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, Failure> {
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? {
            return Ok(None);
        }
        if header.as_bytes().iter().all(|&b| b == 0) {
            let mut second = [0; BLOCK_LENGTH];
            return if self.block(&mut second)? && second.iter().any(|&b| b != 0) {
                Err(corrupt("a header is missing"))
            } else {
                Ok(None)
            };
        }
        let stored = unsigned(&header.as_old().cksum, "checksum")?;
        if !checksums(header.as_bytes()).contains(&i64::try_from(stored).unwrap_or(-1)) {
            return Err(corrupt("a header has a wrong checksum"));
        }
        Ok(Some(header))
    }

    /// Fills one block; false if the stream ends before it.
    fn block(&mut self, block: &mut [u8; BLOCK_LENGTH]) -> Result<bool, Failure> {
        let mut filled = 0;
        while filled < block.len() {
            let piece = self.input.fill_buf().map_err(Failure::stream)?;
            if piece.is_empty() {
                return if filled == 0 { Ok(false) } else { Err(truncated()) };
            }
            let take = piece.len().min(block.len() - filled);
            block[filled..filled + take].copy_from_slice(&piece[..take]);
            self.input.consume(take);
            filled += take;
        }
        Ok(true)
    }

    fn skip(&mut self, amount: u64) -> Result<(), Failure> {
        if self.pass(amount)? { Ok(()) } else { Err(truncated()) }
    }

    /// Passes bytes over; false if the stream ends before them.
    fn pass(&mut self, mut amount: u64) -> Result<bool, Failure> {
        while amount > 0 {
            let piece = self.input.fill_buf().map_err(Failure::stream)?;
            if piece.is_empty() {
                return Ok(false);
            }
            let take = piece.len().min(usize::try_from(amount).unwrap_or(usize::MAX));
            self.input.consume(take);
            amount -= take as u64;
        }
        Ok(true)
    }

    /// The data of a header that only extends the next one.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Failure> {
        if size > EXTENSION_MAX {
            return Err(corrupt(format!("an extended header of {size} bytes")));
        }
        (self.data_left, self.padding) = (size, padding(size));
        let mut text = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        while self.data_left > 0 {
            let piece = self.data()?;
            let length = piece.len();
            text.extend_from_slice(piece);
            self.consume(length);
        }
        Ok(text)
    }

    /// Puts the entry of `header` together, and gets ready for its data.
    fn entry(&mut self, header: &Header, mut ext: Extended, size: u64) -> Result<Entry, Failure> {
        let path = ext.path.take().unwrap_or_else(|| header.path_bytes().into_owned());
        let in_header = || header.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
        let link = ext.link.take().unwrap_or_else(in_header);
        let kind = kind(header, &path)?;
        let stored = if kind == Kind::Regular { ext.size.unwrap_or(size) } else { 0 };
        (self.data_left, self.padding) = (stored, padding(stored));
        let (uid, gid) = (&header.as_old().uid, &header.as_old().gid);
        let mut entry = Entry {
            path,
            link,
            kind,
            mode: u32::try_from(unsigned(&header.as_old().mode, "mode")? & 0o7777).unwrap_or(0),
            uid: ext.uid.map_or_else(|| unsigned(uid, "user ID"), Ok)?,
            gid: ext.gid.map_or_else(|| unsigned(gid, "group ID"), Ok)?,
            mtime: match ext.mtime {
                Some(time) => time,
                None => Timespec { tv_sec: number(&header.as_old().mtime, "time")?, tv_nsec: 0 },
            },
            xattrs: std::mem::take(&mut ext.xattrs),
            device: device(header),
            size: stored,
            pieces: None,
        };
        if kind == Kind::Regular {
            self.holes(header, ext, &mut entry)?;
        }
        Ok(entry)
    }

    /// Finds out whether the file has holes, and where its data belong.
    fn holes(&mut self, header: &Header, ext: Extended, entry: &mut Entry) -> Result<(), Failure> {
        let words = ext.sparse;
        let (numbers, real_size) = if header.entry_type() == EntryType::GNUSparse {
            self.gnu_map(header)?
        } else {
            match (words.major, words.minor) {
                (Some(1), Some(0)) => {
                    let numbers = self.stored_map()?;
                    (numbers, words.real_size.ok_or_else(|| corrupt("a sparse file without a length"))?)
                }
                (None | Some(0), _) if words.is_old || !words.map.is_empty() => {
                    let real_size = words.real_size;
                    (words.map, real_size.ok_or_else(|| corrupt("a sparse file without a length"))?)
                }
                (None, None) => return Ok(()),
                (major, minor) => {
                    return Err(corrupt(format!("sparse format {major:?}.{minor:?} is not known")));
                }
            }
        };
        if let Some(name) = words.name {
            entry.path = name;
        }
        entry.pieces = Some(pieces(&numbers, real_size, self.data_left)?);
        entry.size = real_size;
        Ok(())
    }

    /// The map of GNU's old sparse format: in the header, continued in blocks behind it.
    fn gnu_map(&mut self, header: &Header) -> Result<(Vec<u64>, u64), Failure> {
        let gnu = header.as_gnu().ok_or_else(|| corrupt("a sparse file without a GNU header"))?;
        let bad = |_| corrupt("a sparse file with a broken map");
        let mut numbers = Vec::new();
        let mut add = |list: &[tar::GnuSparseHeader]| -> Result<(), Failure> {
            for piece in list.iter().filter(|piece| !piece.is_empty()) {
                numbers.push(piece.offset().map_err(bad)?);
                numbers.push(piece.length().map_err(bad)?);
            }
            if numbers.len() > 2 * PIECES_MAX {
                Err(corrupt("a sparse file with too many pieces"))
            } else {
                Ok(())
            }
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            if !self.block(block.as_mut_bytes())? {
                return Err(truncated());
            }
            add(block.sparse())?;
            more = block.is_extended();
        }
        Ok((numbers, gnu.real_size().map_err(bad)?))
    }

    /// The map of sparse format 1.0: decimal lines in front of the data, padded to a block.
    fn stored_map(&mut self) -> Result<Vec<u64>, Failure> {
        let mut used = 0;
        let mut line = |archive: &mut Self| -> Result<u64, Failure> {
            let mut text = Vec::new();
            loop {
                let byte = archive.data_byte()?;
                used += 1;
                match byte {
                    b'\n' => {
                        return pax::decimal(&text).ok_or_else(|| corrupt("a sparse file with a broken map"));
                    }
                    _ if text.len() >= 20 => return Err(corrupt("a sparse file with a broken map")),
                    byte => text.push(byte),
                }
            }
        };
        let count = line(self)?;
        if count > PIECES_MAX as u64 {
            return Err(corrupt("a sparse file with too many pieces"));
        }
        let numbers: Vec<u64> = (0..2 * count).map(|_| line(self)).collect::<Result<_, _>>()?;
        let rest = padding(used);
        if rest > self.data_left {
            return Err(corrupt("a sparse file with a broken map"));
        }
        self.skip(rest)?;
        self.data_left -= rest;
        Ok(numbers)
    }

    fn data_byte(&mut self) -> Result<u8, Failure> {
        let byte = self.data()?.first().copied().ok_or_else(|| corrupt("a sparse file with a broken map"))?;
        self.consume(1);
        Ok(byte)
    }
}

/// Turns offsets and lengths into pieces that ascend, do not overlap, lie within `real_size` and have
/// `stored` bytes in all.
fn pieces(numbers: &[u64], real_size: u64, stored: u64) -> Result<Vec<(u64, u64)>, Failure> {
    let bad = || corrupt("a sparse file whose map and data do not fit");
    if !numbers.len().is_multiple_of(2) || i64::try_from(real_size).is_err() {
        return Err(bad());
    }
    let (mut end, mut total) = (0, 0_u64);
    let mut pieces = Vec::with_capacity(numbers.len() / 2);
    for pair in numbers.chunks_exact(2) {
        let (offset, length) = (pair[0], pair[1]);
        let next = offset.checked_add(length).filter(|next| *next <= real_size).ok_or_else(bad)?;
        if offset < end {
            return Err(bad());
        }
        end = next;
        total += length;
        if length > 0 {
            pieces.push((offset, length));
        }
    }
    if total == stored { Ok(pieces) } else { Err(bad()) }
}

fn kind(header: &Header, path: &[u8]) -> Result<Kind, Failure> {
    Ok(match header.entry_type() {
        // The format before POSIX has one type, NUL, for files and directories.
        EntryType::Regular if path.ends_with(b"/") && header.as_old().linkflag == [0] => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::Regular,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::Hardlink,
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char => Kind::Character,
        EntryType::Block => Kind::Block,
        other => {
            let problem = format!("entries of type {:?} are not supported", char::from(other.as_byte()));
            return Err(Failure::entry(path, problem));
        }
    })
}

fn device(header: &Header) -> (u32, u32) {
    let number = |result: std::io::Result<Option<u32>>| result.ok().flatten().unwrap_or(0);
    (number(header.device_major()), number(header.device_minor()))
}

/// The sum of a header's bytes with its checksum field as blanks, of unsigned and of signed bytes.
fn checksums(header: &[u8; BLOCK_LENGTH]) -> [i64; 2] {
    header.iter().enumerate().fold([0, 0], |[unsigned, signed], (at, &byte)| {
        let byte = if (148..156).contains(&at) { b' ' } else { byte };
        [unsigned + i64::from(byte), signed + i64::from(byte.cast_signed())]
    })
}

/// A number in a header field: octal text, or binary if the first bit is set (two's complement from the
/// second bit on).
fn number(field: &[u8], what: &str) -> Result<i64, Failure> {
    let bad = || corrupt(format!("a header with a bad {what}"));
    let first = *field.first().ok_or_else(bad)?;
    if first & 0x80 != 0 {
        let start =
            if first & 0x40 == 0 { i128::from(first & 0x3f) } else { i128::from(first & 0x3f) - 0x40 };
        let value = field[1..]
            .iter()
            .try_fold(start, |value, &byte| value.checked_mul(256).map(|value| value + i128::from(byte)));
        return value.and_then(|value| i64::try_from(value).ok()).ok_or_else(bad);
    }
    let is_blank = |b: &u8| *b == b' ' || *b == 0;
    let start = field.iter().position(|b| !is_blank(b)).unwrap_or(field.len());
    let text = &field[start..];
    let text = &text[..text.iter().position(is_blank).unwrap_or(text.len())];
    text.iter().try_fold(0_i64, |value, &digit| match digit {
        b'0'..=b'7' => value.checked_mul(8).map(|value| value + i64::from(digit - b'0')).ok_or_else(bad),
        _ => Err(bad()),
    })
}

fn unsigned(field: &[u8], what: &str) -> Result<u64, Failure> {
    u64::try_from(number(field, what)?).map_err(|_| corrupt(format!("a header with a negative {what}")))
}

fn padding(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}

fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    text.truncate(text.iter().position(|&b| b == 0).unwrap_or(text.len()));
    text
}

fn corrupt(problem: impl Into<String>) -> Failure {
    Failure::Corrupt { problem: problem.into() }
}

fn truncated() -> Failure {
    corrupt("the archive ends in the middle")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_all_forms() {
        for (field, want) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"7777777777777777777777", None),
            (b"12x4567\0", None),
            (b"9", None),
            (&[0x80, 0, 0, 0, 0, 0, 1, 0], Some(256)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], Some(-2)),
            (&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0], None),
            (&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Some(i64::MAX)),
        ] {
            assert_eq!(number(field, "x").ok(), want, "{field:?}");
        }
    }

    #[test]
    fn pieces_must_fit() {
        for (numbers, size, stored, good) in [
            (&[0, 5, 10, 5][..], 20, 10, true),
            (&[20, 0], 20, 0, true),
            (&[], 1 << 40, 0, true),
            (&[0, 5, 4, 5], 20, 10, false),
            (&[10, 5, 0, 5], 20, 10, false),
            (&[0, 21], 20, 21, false),
            (&[0, 5], 20, 6, false),
            (&[0], 20, 0, false),
            (&[u64::MAX, 1], u64::MAX, 1, false),
            (&[1, u64::MAX], 20, 1, false),
        ] {
            assert_eq!(pieces(numbers, size, stored).is_ok(), good, "{numbers:?} {size} {stored}");
        }
    }

    #[test]
    fn ends_and_breaks() {
        let mut header = Header::new_gnu();
        header.set_path("a").unwrap();
        header.set_size(3);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_cksum();
        let mut data = [0; 512];
        data[..3].copy_from_slice(b"abc");
        let file = [&header.as_bytes()[..], &data].concat();
        let zeros = [0; 1024];
        let read = |bytes: &[u8]| {
            let mut archive = Archive::new(bytes);
            let mut count = 0;
            while let Some(entry) = archive.next()? {
                assert_eq!(entry.size, 3);
                assert!(b"abc".starts_with(archive.data()?));
                count += 1;
            }
            Ok::<_, Failure>(count)
        };
        for (bytes, want) in [
            (vec![], Some(0)),
            (file.clone(), Some(1)),
            ([&file[..], &zeros].concat(), Some(1)),
            ([&file[..], &zeros[..512]].concat(), Some(1)),
            ([&file[..], &zeros, &file].concat(), Some(1)),
            ([&file[..], &zeros[..512], &file].concat(), None),
            (file[..515].to_vec(), Some(1)),
            (file[..513].to_vec(), None),
            (file[..512].to_vec(), None),
            (file[..100].to_vec(), None),
            ([&file[..], b"x"].concat(), None),
        ] {
            assert_eq!(read(&bytes).ok(), want, "{} bytes", bytes.len());
        }
        let mut broken = file;
        broken[0] = b'b';
        assert!(read(&broken).unwrap_err().to_string().contains("checksum"));
    }
}
