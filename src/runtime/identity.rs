//! Who the container's process is: from `user[:group]` and the image's passwd and group files to
//! numbers. Pure, so that every strange spelling is a row of a table.
//!
//! # Source
//!
//! Docker and podman: a name is looked up in the image; a number needs no entry, but if it has one
//! its primary group and home count; without a group the primary group counts, else 0.

/// The result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups; the primary group is the first.
    pub(crate) groups: Vec<u32>,
    /// The home directory, `/` if nobody says.
    pub(crate) home: Vec<u8>,
}

/// Why there is no such identity.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("unable to find user {0}: no matching entries in passwd file")]
    UnknownUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    UnknownGroup(String),
    #[error("{0:?} is no user or group ID: uids and gids must be in range 0-4294967294")]
    OutOfRange(String),
}

/// One line of a passwd file.
struct User<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

/// Resolves `user` (`user[:group]`, empty for 0:0) and the extra `groups` (names or numbers).
///
/// # Errors
///
/// [`IdentityError`]: a name without an entry, a number that is no ID. Nothing ever becomes 0 by
/// accident.
pub(crate) fn resolve(
    user: &str,
    groups: &[String],
    passwd: &[u8],
    group: &[u8],
) -> Result<Identity, IdentityError> {
    let (user, wanted_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let by_name = users(passwd).find(|entry| entry.name == user.as_bytes());
    let (uid, entry) = match by_name {
        Some(entry) => (entry.uid, Some(entry)),
        None => {
            let uid =
                number(user)?.ok_or_else(|| IdentityError::UnknownUser(user.chars().take(200).collect()))?;
            (uid, users(passwd).find(|entry| entry.uid == uid))
        }
    };
    let gid = match wanted_group {
        Some(name) => group_id(name, group)?,
        None => entry.as_ref().map_or(0, |entry| entry.gid),
    };
    let mut all = vec![gid];
    // An explicit group replaces the memberships, as in Docker.
    if wanted_group.is_none()
        && let Some(entry) = &entry
    {
        all.extend(memberships(entry.name, group));
    }
    for name in groups {
        all.push(group_id(name, group)?);
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|gid| seen.insert(*gid));
    let home = entry.map(|entry| entry.home).filter(|home| !home.is_empty()).unwrap_or(b"/");
    let home = if home == b"/" && uid == 0 && passwd.is_empty() { b"/root" } else { home };
    Ok(Identity { uid, gid, groups: all, home: home.to_vec() })
}

/// Reads a decimal ID; `None` if the text is a name.
fn number(text: &str) -> Result<Option<u32>, IdentityError> {
    let looks_numeric = text.trim_start_matches(['-', '+']).bytes().all(|b| b.is_ascii_digit());
    if !looks_numeric {
        return Ok(None);
    }
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(id) if plain && id < u32::MAX => Ok(Some(id)),
        _ => Err(IdentityError::OutOfRange(text.chars().take(40).collect())),
    }
}

fn group_id(name: &str, group: &[u8]) -> Result<u32, IdentityError> {
    if let Some((_, gid, _)) = groups_of(group).find(|(entry, ..)| *entry == name.as_bytes()) {
        return Ok(gid);
    }
    number(name)?.ok_or_else(|| IdentityError::UnknownGroup(name.chars().take(200).collect()))
}

fn users(passwd: &[u8]) -> impl Iterator<Item = User<'_>> {
    passwd.split(|&b| b == b'\n').filter_map(|line| {
        let mut fields = line.split(|&b| b == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let (uid, gid) = (decimal(fields.nth(1)?)?, decimal(fields.next()?)?);
        let home = fields.nth(1).unwrap_or_default();
        Some(User { name, uid, gid, home })
    })
}

/// Name, ID and members of each line of a group file.
fn groups_of(group: &[u8]) -> impl Iterator<Item = (&[u8], u32, &[u8])> {
    group.split(|&b| b == b'\n').filter_map(|line| {
        let mut fields = line.split(|&b| b == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = decimal(fields.nth(1)?)?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

fn memberships<'a>(user: &'a [u8], group: &'a [u8]) -> impl Iterator<Item = u32> + 'a {
    groups_of(group)
        .filter(move |(_, _, members)| members.split(|&b| b == b',').any(|member| member == user))
        .map(|(_, gid, _)| gid)
}

fn decimal(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok().filter(|id| *id < u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\napp:x:33:34::/srv/app:/bin/sh\n7:x:70:71::/seven:\nbroken\n";
    const GROUP: &[u8] = b"root:x:0:\nstaff:x:50:app,root\napp:x:34:\nwheel:x:10:app\n";

    fn of(user: &str, groups: &[&str]) -> Result<(u32, u32, Vec<u32>, String), IdentityError> {
        let groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        resolve(user, &groups, PASSWD, GROUP)
            .map(|id| (id.uid, id.gid, id.groups, String::from_utf8(id.home).unwrap()))
    }

    #[test]
    fn spellings() {
        for (user, extra, want) in [
            ("", &[][..], (0, 0, vec![0, 50], "/root")),
            ("root", &[], (0, 0, vec![0, 50], "/root")),
            ("app", &[], (33, 34, vec![34, 50, 10], "/srv/app")),
            ("33", &[], (33, 34, vec![34, 50, 10], "/srv/app")),
            ("app:staff", &[], (33, 50, vec![50], "/srv/app")),
            ("app:7", &["wheel", "99"], (33, 7, vec![7, 10, 99], "/srv/app")),
            ("1234", &[], (1234, 0, vec![0], "/")),
            ("1234:", &[], (1234, 0, vec![0], "/")),
            (":50", &[], (0, 50, vec![50], "/root")),
            ("7", &[], (70, 71, vec![71], "/seven")),
        ] {
            let want = (want.0, want.1, want.2, want.3.to_owned());
            assert_eq!(of(user, extra), Ok(want), "{user:?} {extra:?}");
        }
    }

    #[test]
    fn nothing_becomes_root_by_accident() {
        for bad in ["4294967296", "-1", "+0", "4294967295", "99999999999999999999", "65536:4294967296"] {
            assert!(matches!(of(bad, &[]), Err(IdentityError::OutOfRange(_))), "{bad}");
        }
        for bad in ["0x0", "nobody", "0 ", " ", "a b"] {
            assert!(matches!(of(bad, &[]), Err(IdentityError::UnknownUser(_))), "{bad}");
        }
        assert!(matches!(of("0:none", &[]), Err(IdentityError::UnknownGroup(_))));
        assert!(matches!(of("0", &["none"]), Err(IdentityError::UnknownGroup(_))));
    }

    #[test]
    fn an_empty_image_still_has_root() {
        let root = resolve("", &[], b"", b"").unwrap();
        assert_eq!((root.uid, root.gid, root.home), (0, 0, b"/root".to_vec()));
    }
}
