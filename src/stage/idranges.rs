//! Which IDs the user may map: /etc/subuid, /etc/subgid and the programs newuidmap and newgidmap.
//!
//! The user namespace U maps 0 to the user and 1… to the subordinate ranges, in the order of the
//! files. Without a range, or without the programs, U maps 0 to the user and nothing else.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::idmap::{IdExtent, IdMap};
use crate::base::subids;

/// How many subordinate IDs a user gets, and where the first user's begin (login.defs(5), SUB_UID_COUNT and SUB_UID_MIN).
const RANGE: u32 = 65_536;
const FIRST_RANGE: u32 = 100_000;

/// What U maps, and how that is told to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) uids: IdMap,
    pub(crate) gids: IdMap,
    /// The programs that may write maps of more than the user; `None` in single-ID mode.
    pub(crate) helpers: Option<(PathBuf, PathBuf)>,
    /// Why only one ID is mapped, if so; a sentence for a person.
    pub(crate) single: Option<String>,
}

impl Mapping {
    /// A short text that is equal exactly for equal maps.
    pub(crate) fn fingerprint(&self) -> String {
        let join = |map: &IdMap| map.to_kernel().trim_end().replace(' ', ":").replace('\n', ",");
        format!("{};{}", join(&self.uids), join(&self.gids))
    }
}

/// Reads what user `uid` (with primary group `gid`) may map. `path` is the PATH to search.
pub(crate) fn of_user(uid: u32, gid: u32, path: Option<&OsStr>) -> Mapping {
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    let name = user_name(&passwd, uid);
    let read = |file: &str| ranges(&std::fs::read(file).unwrap_or_default(), name.as_deref(), uid);
    let (uids, gids) = (read("/etc/subuid"), read("/etc/subgid"));
    let who = name.as_deref().map_or_else(|| uid.to_string(), |n| String::from_utf8_lossy(n).into_owned());
    let single = |why: String| Mapping {
        uids: IdMap(vec![IdExtent { inside: 0, outside: uid, len: 1 }]),
        gids: IdMap(vec![IdExtent { inside: 0, outside: gid, len: 1 }]),
        helpers: None,
        single: Some(why),
    };
    if uids.is_empty() || gids.is_empty() {
        let file = if uids.is_empty() { "/etc/subuid" } else { "/etc/subgid" };
        let taken = ["/etc/subuid", "/etc/subgid"].map(|file| std::fs::read(file).unwrap_or_default());
        let first = free_range(&taken.concat());
        let range = format!("{first}-{}", first + RANGE - 1);
        return single(format!(
            "no range of subordinate IDs for {who} in {file}, so containers have one user; \
             as root: usermod --add-subuids {range} --add-subgids {range} {who}"
        ));
    }
    let helpers = find_program("newuidmap", path).zip(find_program("newgidmap", path));
    if helpers.is_none() {
        return single(
            "newuidmap and newgidmap are not installed, so containers have one user; \
             as root: apt install uidmap (or shadow-utils)"
                .into(),
        );
    }
    Mapping { uids: map(uid, &uids), gids: map(gid, &gids), helpers, single: None }
}

/// 0 is the user, 1… are the ranges one after the other.
fn map(own: u32, ranges: &[(u32, u32)]) -> IdMap {
    let mut extents = vec![IdExtent { inside: 0, outside: own, len: 1 }];
    let mut inside = 1;
    for &(outside, len) in ranges {
        extents.push(IdExtent { inside, outside, len });
        inside += len;
    }
    IdMap(extents)
}

/// The name of user `uid` in the text of a passwd file.
pub(crate) fn user_name(passwd: &[u8], uid: u32) -> Option<Vec<u8>> {
    passwd.split(|&b| b == b'\n').find_map(|line| {
        let mut fields = line.split(|&b| b == b':');
        let name = fields.next()?;
        let number = std::str::from_utf8(fields.nth(1)?).ok()?;
        (number.parse() == Ok(uid)).then(|| name.to_vec())
    })
}

/// The ranges `(start, length)` of a user in the text of a subuid or subgid file.
fn ranges(text: &[u8], name: Option<&[u8]>, uid: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    let is_own = |owner: &[u8]| Some(owner) == name || owner == number.as_bytes();
    subids::lines(text).filter(|(owner, ..)| is_own(owner)).map(|(_, start, len)| (start, len)).collect()
}

/// The first of [`RANGE`] IDs that no line of `text` gives to anybody.
fn free_range(text: &[u8]) -> u32 {
    let taken: Vec<(u32, u32)> = subids::lines(text).map(|(_, start, len)| (start, len)).collect();
    subids::free_range(&taken, RANGE, FIRST_RANGE..u32::MAX).unwrap_or(FIRST_RANGE)
}

/// The first executable file `name` in the directories of `path`, or in the usual ones.
fn find_program(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    let listed = path.map(OsStrExt::as_bytes).unwrap_or_default();
    listed
        .split(|&b| b == b':')
        .chain([&b"/usr/bin"[..], b"/usr/local/bin", b"/bin", b"/usr/sbin"])
        .filter(|dir| dir.first() == Some(&b'/'))
        .map(|dir| Path::new(OsStr::from_bytes(dir)).join(name))
        .find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ranges_by_name_and_number() {
        let text = b"root:1:5\nana:100000:65536\n1000:300000:10\nana:bad:1\nbob:5:5\nana:4294967295:9\n";
        assert_eq!(ranges(text, Some(b"ana"), 1000), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(ranges(text, None, 1000), [(300_000, 10)]);
        assert_eq!(ranges(text, Some(b"eve"), 7), []);
    }

    #[test]
    fn a_free_range_is_nobodys() {
        for (text, first) in [
            ("", 100_000),
            ("ana:100000:65536\n", 165_536),
            ("bob:165536:65536\nana:100000:65536\n", 231_072),
            ("ana:165536:65536\n", 100_000),
            ("ana:120000:10\nbob:1:5\n", 120_010),
            ("ana:100000:4294860000\n", 100_000),
        ] {
            assert_eq!(free_range(text.as_bytes()), first, "{text}");
        }
    }

    #[test]
    fn maps_the_user_first() {
        let map = map(1000, &[(100_000, 65_536), (300_000, 10)]);
        assert_eq!(map.to_kernel(), "0 1000 1\n1 100000 65536\n65537 300000 10\n");
    }

    #[test]
    fn finds_the_name_of_a_user() {
        let passwd = b"root:x:0:0::/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\nbroken\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some(&b"ana"[..]));
        assert_eq!(user_name(passwd, 5), None);
    }
}
