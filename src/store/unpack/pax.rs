//! Extended headers: what does not fit into a tar header's fields.
//!
//! ```text
//! x  30 mtime=1700000000.123456789\n 27 path=a/very/long/name…\n …      for the next entry alone
//! g                                                                    for all: passed over, as Go does
//! ```
//!
//! # Source
//!
//! POSIX.1-2001 pax, "pax Extended Header"; GNU tar manual, "Storing Sparse Files"; star(1) for
//! `SCHILY.xattr`; libarchive for `LIBARCHIVE.xattr` (name percent-encoded, value base64).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::sys::fs::Timespec;

/// Most pieces of one sparse file.
pub(super) const PIECES_MAX: usize = 1 << 18;

/// What the extended headers in front of an entry say.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Timespec>,
    /// Names and values; a name comes once.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseWords,
}

/// The `GNU.sparse.*` words.
#[derive(Debug, Default, PartialEq)]
pub(super) struct SparseWords {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    /// Length of the file with its holes.
    pub(super) real_size: Option<u64>,
    /// Name of the file where `path` holds a made-up one.
    pub(super) name: Option<Vec<u8>>,
    /// Offsets and lengths in turn (formats 0.0 and 0.1).
    pub(super) map: Vec<u64>,
    /// One of the words of formats 0.x was there.
    pub(super) is_old: bool,
}

/// Adds the records of one extended header to `all`.
///
/// # Errors
///
/// A sentence for a broken record.
pub(super) fn read(mut text: &[u8], all: &mut Extended) -> Result<(), String> {
    while !text.is_empty() {
        let (key, value, rest) = record(text).ok_or("broken extended header")?;
        text = rest;
        apply(key, value, all)?;
    }
    Ok(())
}

/// Splits `<length> <key>=<value>\n` off; the length counts all of it.
fn record(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = text.iter().take(20).position(|&b| b == b' ')?;
    let length = usize::try_from(decimal(&text[..space])?).ok()?;
    let body = text.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|&b| b == b'=')?;
    (equals > 0).then(|| (&body[..equals], &body[equals + 1..], &text[length..]))
}

/// A decimal number without sign.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn apply(key: &[u8], value: &[u8], all: &mut Extended) -> Result<(), String> {
    let number = || decimal(value).ok_or_else(|| bad(key));
    match key {
        b"path" => all.path = text(key, value)?,
        b"linkpath" => all.link = text(key, value)?,
        // An empty value takes an earlier one back.
        b"size" | b"uid" | b"gid" | b"mtime" if value.is_empty() => match key {
            b"size" => all.size = None,
            b"uid" => all.uid = None,
            b"gid" => all.gid = None,
            _ => all.mtime = None,
        },
        b"size" => all.size = Some(number()?),
        b"uid" => all.uid = Some(number()?),
        b"gid" => all.gid = Some(number()?),
        b"mtime" => all.mtime = Some(time(value).ok_or_else(|| bad(key))?),
        _ => match key.strip_prefix(b"GNU.sparse.") {
            Some(word) => sparse_word(word, value, &mut all.sparse)?,
            None => xattr(key, value, &mut all.xattrs)?,
        },
    }
    Ok(())
}

fn bad(key: &[u8]) -> String {
    format!("extended header {:?} has a bad value", String::from_utf8_lossy(key))
}

/// A name: `None` for an empty value.
fn text(key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, String> {
    if value.contains(&0) {
        return Err(bad(key));
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

fn sparse_word(word: &[u8], value: &[u8], sparse: &mut SparseWords) -> Result<(), String> {
    let number = || decimal(value).ok_or_else(|| bad(word));
    match word {
        b"major" => sparse.major = Some(number()?),
        b"minor" => sparse.minor = Some(number()?),
        b"name" => sparse.name = text(word, value)?,
        b"realsize" => sparse.real_size = Some(number()?),
        b"size" => {
            sparse.real_size = Some(number()?);
            sparse.is_old = true;
        }
        b"numblocks" => sparse.is_old = true,
        b"offset" | b"numbytes" => {
            let is_offset = sparse.map.len().is_multiple_of(2);
            if is_offset != (word == b"offset") || sparse.map.len() >= 2 * PIECES_MAX {
                return Err(bad(word));
            }
            sparse.map.push(number()?);
        }
        b"map" => {
            let numbers: Option<Vec<u64>> = value.split(|&b| b == b',').map(decimal).collect();
            sparse.map = if value.is_empty() { vec![] } else { numbers.ok_or_else(|| bad(word))? };
            sparse.is_old = true;
        }
        _ => {}
    }
    Ok(())
}

fn xattr(key: &[u8], value: &[u8], xattrs: &mut Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), String> {
    let (name, value) = if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
        (name.to_vec(), value.to_vec())
    } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
        let decoded = STANDARD.decode(value).or_else(|_| STANDARD_NO_PAD.decode(value));
        (percent_decoded(name), decoded.map_err(|_| bad(key))?)
    } else {
        return Ok(());
    };
    if name.is_empty() || name.contains(&0) {
        return Err(bad(key));
    }
    // libarchive writes both forms of each attribute.
    match xattrs.iter_mut().find(|(known, _)| *known == name) {
        Some(known) => known.1 = value,
        None => xattrs.push((name, value)),
    }
    Ok(())
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |b: Option<&u8>| char::from(*b?).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(text.get(at + 1)), digit(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// Seconds since 1970 with any number of decimals, possibly negative; digits beyond nanoseconds are
/// dropped towards the past.
fn time(text: &[u8]) -> Option<Timespec> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|&b| b == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    let nanos = (0..9).fold(0, |n, i| n * 10 + i64::from(fraction.get(i).map_or(0, |d| d - b'0')));
    Some(match (negative, nanos) {
        (false, _) => Timespec { tv_sec: seconds, tv_nsec: nanos },
        (true, 0) => Timespec { tv_sec: -seconds, tv_nsec: 0 },
        (true, _) => Timespec { tv_sec: -seconds - 1, tv_nsec: 1_000_000_000 - nanos },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(key: &str, value: &[u8]) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + body.to_string().len();
        if length.to_string().len() > body.to_string().len() {
            length += 1;
        }
        let mut text = format!("{length} {key}=").into_bytes();
        text.extend_from_slice(value);
        text.push(b'\n');
        assert_eq!(text.len(), length);
        text
    }

    #[test]
    fn reads_records() {
        let text = [
            line("path", b"a\xff\nb=c"),
            line("size", b"123"),
            line("uid", b"4294967294"),
            line("mtime", b"1.5"),
            line("comment", b"x"),
            line("SCHILY.xattr.user.a", b"\0\n1"),
            line("LIBARCHIVE.xattr.user.%61", b"AAox"),
            line("LIBARCHIVE.xattr.user.b%2", b"MQ"),
        ]
        .concat();
        let mut all = Extended::default();
        read(&text, &mut all).unwrap();
        let want = Extended {
            path: Some(b"a\xff\nb=c".to_vec()),
            size: Some(123),
            uid: Some(4_294_967_294),
            mtime: Some(Timespec { tv_sec: 1, tv_nsec: 500_000_000 }),
            xattrs: vec![(b"user.a".to_vec(), b"\0\n1".to_vec()), (b"user.b%2".to_vec(), b"1".to_vec())],
            ..Extended::default()
        };
        assert_eq!(all, want);
        read(&line("uid", b""), &mut all).unwrap();
        assert_eq!(all.uid, None);
    }

    #[test]
    fn refuses_broken_records() {
        for text in [
            &b"5"[..],
            b"0 a=b\n",
            b"6 a=b\n7",
            b"99 a=b\n",
            b"4 a=b\n",
            b"6 a=b ",
            b"5 =b\n",
            b"4 ab\n",
            b"-6 a=b\n",
            b"99999999999999999999 a=b\n",
            b"13 path=a\0bcd\n",
        ] {
            assert!(read(text, &mut Extended::default()).is_err(), "{:?}", String::from_utf8_lossy(text));
        }
        for (key, value) in [
            ("size", "-1"),
            ("size", "1e3"),
            ("uid", "18446744073709551616"),
            ("mtime", "now"),
            ("mtime", "1.-5"),
            ("SCHILY.xattr.", "x"),
            ("LIBARCHIVE.xattr.a", "???"),
            ("GNU.sparse.numbytes", "1"),
            ("GNU.sparse.map", "1,,2"),
        ] {
            assert!(read(&line(key, value.as_bytes()), &mut Extended::default()).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn times() {
        for (text, want) in [
            ("0", Some((0, 0))),
            ("1700000000.1234567899", Some((1_700_000_000, 123_456_789))),
            ("-1.5", Some((-2, 500_000_000))),
            ("-3", Some((-3, 0))),
            ("5.", Some((5, 0))),
            ("", None),
            ("-", None),
            (".5", None),
        ] {
            let got = time(text.as_bytes()).map(|t| (t.tv_sec, t.tv_nsec));
            assert_eq!(got, want, "{text}");
        }
    }
}
