//! The keys that detach a terminal from a container, and finding them in what is typed.

use std::str::FromStr;

/// What podman and docker use: ctrl-p, ctrl-q.
pub(crate) const DEFAULT: &str = "ctrl-p,ctrl-q";

/// A sequence of bytes that detaches when it is typed; empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

/// A text that is no sequence of keys.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid detach keys: unknown key {0:?}")]
pub(crate) struct DetachKeysError(String);

impl FromStr for DetachKeys {
    type Err = DetachKeysError;

    /// Reads keys separated by commas: one ASCII character each, or `ctrl-` and one of `a`-`z`, `@`,
    /// `[`, `\`, `]`, `^`, `_`. The empty text means that no keys detach.
    fn from_str(text: &str) -> Result<Self, DetachKeysError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let keys = text.split(',').map(|key| parse_key(key).ok_or_else(|| DetachKeysError(key.to_owned())));
        Ok(Self(keys.collect::<Result<_, _>>()?))
    }
}

fn parse_key(key: &str) -> Option<u8> {
    if let [byte @ 0x20..=0x7e] = *key.as_bytes() {
        return Some(byte);
    }
    match *key.strip_prefix("ctrl-").or_else(|| key.strip_prefix("CTRL-"))?.as_bytes() {
        [letter @ (b'a'..=b'z' | b'A'..=b'Z')] => Some(letter.to_ascii_uppercase() - b'@'),
        [mark @ (b'@' | b'['..=b'_')] => Some(mark - b'@'),
        _ => None,
    }
}

/// Looks for the keys in a stream of bytes.
///
/// ```text
/// keys a b      typed  x a   →  passes x, holds a
///                      c     →  passes a c
///                      a b   →  detached
/// ```
#[derive(Debug)]
pub(crate) struct Matcher {
    keys: DetachKeys,
    /// How many of the keys were typed and are held back.
    held: usize,
}

impl Matcher {
    /// A matcher at the beginning of a stream.
    pub(crate) fn new(keys: DetachKeys) -> Self {
        Self { keys, held: 0 }
    }

    /// Appends to `passed` what is not part of the keys; true once they were typed in full, and then
    /// the rest of `typed` is dropped.
    pub(crate) fn feed(&mut self, typed: &[u8], passed: &mut Vec<u8>) -> bool {
        let keys = &self.keys.0;
        if keys.is_empty() {
            passed.extend_from_slice(typed);
            return false;
        }
        for &byte in typed {
            let mut candidate = [&keys[..self.held], &[byte]].concat();
            while !keys.starts_with(&candidate) {
                passed.push(candidate.remove(0));
            }
            self.held = candidate.len();
            if self.held == keys.len() {
                self.held = 0;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for (text, want) in [
            ("ctrl-p,ctrl-q", Some(&[16, 17][..])),
            ("", Some(&[])),
            ("a", Some(b"a")),
            ("ctrl-a,x", Some(&[1, b'x'])),
            ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", Some(&[0, 27, 28, 29, 30, 31])),
            ("CTRL-A,Q", Some(&[1, b'Q'])),
            ("ctrl-", None),
            ("ctrl-1", None),
            ("ab", None),
            (",", None),
            ("a,,b", None),
            ("ü", None),
        ] {
            let keys: Option<DetachKeys> = text.parse().ok();
            assert_eq!(keys.as_ref().map(|keys| &keys.0[..]), want, "{text}");
        }
        assert_eq!(DEFAULT.parse(), Ok(DetachKeys(vec![16, 17])));
    }

    #[test]
    fn typing() {
        for (keys, chunks, passed, detached) in [
            ("a,b", &["xaby"][..], "x", true),
            ("a,b", &["xa", "by"], "x", true),
            ("a,b", &["xa", "cy"], "xacy", false),
            ("a,b", &["aab"], "a", true),
            ("a,a,b", &["aa", "ab"], "a", true),
            ("a,a,b", &["aac"], "aac", false),
            ("a,b,a,c", &["abab", "ac"], "ab", true),
            ("a", &["a"], "", true),
            ("", &["anything"], "anything", false),
        ] {
            let mut matcher = Matcher::new(keys.parse().unwrap());
            let mut out = Vec::new();
            let found = chunks.iter().any(|chunk| matcher.feed(chunk.as_bytes(), &mut out));
            assert_eq!(
                (String::from_utf8(out).unwrap().as_str(), found),
                (passed, detached),
                "{keys} {chunks:?}"
            );
        }
    }
}
