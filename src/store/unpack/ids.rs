//! Which owners a layer's files can have.

use serde::{Deserialize, Serialize};

use crate::base::idmap::IdMap;
use crate::base::subids;

/// Who owns what belongs to nobody that is known.
pub(crate) const NOBODY: u32 = 65_534;

/// Whose IDs are those of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ids {
    /// There is one ID: every file belongs to the user, whatever the layer says.
    Single,
    /// The layer's IDs are those of the user namespace that the worker is in, with these maps.
    Mapped { uids: IdMap, gids: IdMap },
    /// The layer's IDs are those of a container with these maps, from its IDs to those of the user
    /// namespace that the worker is in. Those without a place in the maps become `nobody` there, whom the container
    /// does not have either: its files show the overflow ID. With `None` they are an error.
    Translated { uids: IdMap, gids: IdMap, nobody: Option<u32> },
}

/// A user or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IdKind {
    User,
    Group,
}

impl IdKind {
    /// The file that gives users their ranges.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::User => "/etc/subuid",
            Self::Group => "/etc/subgid",
        }
    }

    /// `user` or `group`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }
}

impl Ids {
    /// As [`Ids::owner`], with nobody (or where that is not mapped either, root) in the place of IDs that have
    /// none; tells whether one had none.
    pub(super) fn squashed_owner(&self, uid: u64, gid: u64) -> (Option<(u32, u32)>, bool) {
        let nobody = u64::from(NOBODY);
        let near = if self.owner(nobody, nobody).is_ok() { nobody } else { 0 };
        let uid_or = if self.owner(uid, 0).is_ok() { uid } else { near };
        let gid_or = if self.owner(0, gid).is_ok() { gid } else { near };
        (self.owner(uid_or, gid_or).unwrap_or_default(), (uid, gid) != (uid_or, gid_or))
    }

    /// The owner to give to a file; `None` to leave it to the user.
    ///
    /// # Errors
    ///
    /// The ID that has no place in the map.
    pub(super) fn owner(&self, uid: u64, gid: u64) -> Result<Option<(u32, u32)>, (IdKind, u64)> {
        let (uids, gids, translate, nobody) = match self {
            Self::Single => return Ok(None),
            Self::Mapped { uids, gids } => (uids, gids, false, None),
            Self::Translated { uids, gids, nobody } => (uids, gids, true, *nobody),
        };
        let find = |map: &IdMap, kind, id: u64| {
            let inside = u32::try_from(id).map_err(|_| (kind, id))?;
            let outside = map.to_outside(inside).or(nobody).ok_or((kind, id))?;
            Ok(if translate { outside } else { inside })
        };
        Ok(Some((find(uids, IdKind::User, uid)?, find(gids, IdKind::Group, gid)?)))
    }
}

/// The line to add to `/etc/subuid` (or subgid), whose `text` is given, so that ID `id` of a container
/// is mapped for `user`; `None` if no line can do that.
///
/// The new range begins where no other one of the file is, and ends with `id`: IDs are mapped in the
/// order of the file, behind the user's own.
pub(crate) fn line_to_add(text: &str, user: &str, uid: u32, id: u64) -> Option<String> {
    let own_number = uid.to_string();
    let (mut mapped, mut end) = (0_u64, 100_000_u64);
    for (owner, start, length) in subids::lines(text.as_bytes()) {
        end = end.max(u64::from(start) + u64::from(length));
        if [user, &own_number].map(str::as_bytes).contains(&owner) {
            mapped += u64::from(length);
        }
    }
    let missing = id.checked_sub(mapped).filter(|missing| *missing > 0)?;
    let last = end.checked_add(missing)?;
    (last < u64::from(u32::MAX)).then(|| format!("{user}:{end}:{missing}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::idmap::IdExtent;

    #[test]
    fn ids_outside_the_map_are_named() {
        let map = IdMap(vec![
            IdExtent { inside: 0, outside: 1000, len: 1 },
            IdExtent { inside: 1, outside: 100_000, len: 65_536 },
        ]);
        let ids = Ids::Mapped { uids: map.clone(), gids: map };
        assert_eq!(ids.owner(0, 65_536), Ok(Some((0, 65_536))));
        assert_eq!(ids.owner(100_000, 0), Err((IdKind::User, 100_000)));
        assert_eq!(ids.owner(0, 65_537), Err((IdKind::Group, 65_537)));
        assert_eq!(ids.owner(1 << 32, 0), Err((IdKind::User, 1 << 32)), "never wraps to root");
        assert_eq!(Ids::Single.owner(1 << 40, 7), Ok(None));
        assert_eq!(ids.squashed_owner(5, 65_537), (Some((5, 65_534)), true));
        assert_eq!(ids.squashed_owner(1 << 32, 0), (Some((65_534, 0)), true));
        assert_eq!(ids.squashed_owner(5, 6), (Some((5, 6)), false));
        let few = IdMap(vec![IdExtent { inside: 0, outside: 1000, len: 10 }]);
        let few = Ids::Mapped { uids: few.clone(), gids: few };
        assert_eq!(few.squashed_owner(50, 6), (Some((0, 6)), true));
        assert_eq!(Ids::Single.squashed_owner(50, 6), (None, false));
        let part = IdMap(vec![IdExtent { inside: 0, outside: 2000, len: 10 }]);
        let part = |nobody| Ids::Translated { uids: part.clone(), gids: part.clone(), nobody };
        assert_eq!(part(None).owner(50, 6), Err((IdKind::User, 50)));
        assert_eq!(part(Some(65_534)).owner(50, 6), Ok(Some((65_534, 2006))));
    }

    #[test]
    fn the_line_reaches_the_id() {
        for (text, id, want) in [
            ("ana:100000:65536\n", 100_000, Some("ana:165536:34464")),
            ("ana:100000:65536\nbob:165536:65536\n", 65_537, Some("ana:231072:1")),
            ("1000:100000:10\nana:300000:10\n", 30, Some("ana:300010:10")),
            ("", 5, Some("ana:100000:5")),
            ("ana:100000:65536\n", 65_536, None),
            ("ana:100000:65536\n", 4_294_967_000, None),
            ("broken\nana:x:1\n", 5, Some("ana:100000:5")),
        ] {
            assert_eq!(line_to_add(text, "ana", 1000, id).as_deref(), want, "{text:?} {id}");
        }
    }
}
