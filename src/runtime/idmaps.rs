//! The ID maps of a container: from its IDs to those of U.
//!
//! A container's user namespace is a child of U, and the kernel wants each extent of its map to
//! lie within one extent of U's. So every map is made in two moves: what the container wants
//! (`wanted`), then cut where U's extents end (`cut`).

use crate::base::idmap::{IdExtent, IdMap};
use crate::base::spec::UserNamespace;

/// The maps of a container's user namespace, or `None` for none of its own.
///
/// `uids` and `gids` are U's own maps as the kernel tells them (`/proc/self/uid_map` of a process
/// in U). In single-ID mode (`uids` maps one ID) the only ID is `user`, the one the container's
/// process runs as, so that images with `USER app` work.
pub(crate) fn of_container(
    wish: &UserNamespace,
    uids: &IdMap,
    gids: &IdMap,
    user: (u32, u32),
) -> Option<(IdMap, IdMap)> {
    if uids.size() == 1 {
        return match wish {
            UserNamespace::Host => None,
            UserNamespace::KeepId { uid, gid, .. } => Some((one(*uid), one(*gid))),
            UserNamespace::Container { .. } | UserNamespace::Path(_) => None,
            _ => Some((one(user.0), one(user.1))),
        };
    }
    let (wanted_uids, wanted_gids) = match wish {
        UserNamespace::Host => return None,
        UserNamespace::Default => (identity(uids), identity(gids)),
        UserNamespace::Container { ids, .. } => return of_container(ids, uids, gids, user),
        UserNamespace::Path(_) => return None,
        UserNamespace::KeepId { uid, gid, size } => (keep(*uid, *size, uids), keep(*gid, *size, gids)),
        UserNamespace::NoMap => (without_first(uids), without_first(gids)),
        UserNamespace::Maps { uids, gids } => (uids.clone(), gids.clone()),
    };
    Some((cut(&wanted_uids, uids), cut(&wanted_gids, gids)))
}

/// The one ID of U is `id` inside.
fn one(id: u32) -> IdMap {
    IdMap(vec![IdExtent { inside: id, outside: 0, len: 1 }])
}

/// How many IDs U has from 0 on; its extents follow each other without gaps.
fn size(u: &IdMap) -> u32 {
    u32::try_from(u.size()).unwrap_or(u32::MAX)
}

/// Every ID of U under its own number.
fn identity(u: &IdMap) -> IdMap {
    IdMap(vec![IdExtent { inside: 0, outside: 0, len: size(u) }])
}

/// The user of U (0) is `own` inside; the subordinate IDs take the other numbers in order. There are up to `limit` IDs in
/// all; 0 is no limit.
fn keep(own: u32, limit: u32, u: &IdMap) -> IdMap {
    let all = size(u) - 1;
    let subordinate = if limit == 0 { all } else { all.min(limit - 1) };
    let below = own.min(subordinate);
    let mut extents = Vec::with_capacity(3);
    if below > 0 {
        extents.push(IdExtent { inside: 0, outside: 1, len: below });
    }
    extents.push(IdExtent { inside: own, outside: 0, len: 1 });
    if subordinate > below {
        extents.push(IdExtent { inside: own + 1, outside: below + 1, len: subordinate - below });
    }
    IdMap(extents)
}

/// Only the subordinate IDs, from 0 on.
fn without_first(u: &IdMap) -> IdMap {
    IdMap(vec![IdExtent { inside: 0, outside: 1, len: size(u) - 1 }])
}

/// Cuts the extents of `map` so that each lies within one extent of `u`.
fn cut(map: &IdMap, u: &IdMap) -> IdMap {
    let mut extents = Vec::new();
    for extent in &map.0 {
        let mut rest = *extent;
        while rest.len > 0 {
            let room = u.0.iter().find_map(|e| {
                let offset = rest.outside.checked_sub(e.inside)?;
                (offset < e.len).then(|| e.len - offset)
            });
            // Beyond U's range: kept as it is, the kernel's refusal names it.
            let len = room.unwrap_or(rest.len).min(rest.len);
            extents.push(IdExtent { len, ..rest });
            rest = IdExtent { inside: rest.inside + len, outside: rest.outside + len, len: rest.len - len };
        }
    }
    IdMap(extents)
}

/// The first and the last group of a container as the kernel orders groups: by their numbers outside.
///
/// `ping_group_range` takes two groups that are mapped inside, the first not above the last, and allows
/// what lies between them outside. `gids` leads to U, `u` from there to the outside. Where the extents lie
/// crosswise it is the longest one alone.
pub(crate) fn group_range(gids: &IdMap, u: &IdMap) -> Option<(u32, u32)> {
    let ends = gids.0.iter().filter(|extent| extent.len > 0).filter_map(|extent| {
        let last = extent.len - 1;
        let outside = |id: u32| u.to_outside(gids.to_outside(id)?);
        let (first, last) = (extent.inside, (extent.inside + last).min(GROUP_MAX));
        Some(((outside(first)?, first), (outside(last)?, last)))
    });
    let ends: Vec<_> = ends.collect();
    let (first, last) = (ends.iter().map(|end| end.0).min()?, ends.iter().map(|end| end.1).max()?);
    if first.1 <= last.1 {
        return Some((first.1, last.1));
    }
    let longest = ends.iter().max_by_key(|(first, last)| last.1 - first.1)?;
    Some((longest.0.1, longest.1.1))
}

/// The largest group that `ping_group_range` takes (Linux `net/ipv4/sysctl_net_ipv4.c`).
const GROUP_MAX: u32 = i32::MAX.cast_unsigned();

/// Every ID of a map under its own number: what a process in the namespace itself sees.
pub(crate) fn identity_of(map: &IdMap) -> IdMap {
    IdMap(map.0.iter().map(|extent| IdExtent { outside: extent.inside, ..*extent }).collect())
}

/// Reads the text of `/proc/PID/uid_map`.
pub(crate) fn parse_kernel(text: &str) -> IdMap {
    IdMap(
        text.lines()
            .filter_map(|line| {
                let mut numbers = line.split_ascii_whitespace().map(str::parse);
                let mut next = || numbers.next()?.ok();
                Some(IdExtent { inside: next()?, outside: next()?, len: next()? })
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn u() -> IdMap {
        parse_kernel("         0       1000          1\n         1     100000      65536\n")
    }

    fn text(wish: &UserNamespace) -> String {
        of_container(wish, &u(), &u(), (0, 0)).map(|maps| maps.0.to_kernel()).unwrap_or_default()
    }

    #[test]
    fn each_wish_has_its_map() {
        assert_eq!(text(&UserNamespace::Default), "0 0 1\n1 1 65536\n");
        assert_eq!(text(&UserNamespace::Host), "");
        assert_eq!(text(&UserNamespace::NoMap), "0 1 65536\n");
        let sized = |uid, size| UserNamespace::KeepId { uid, gid: uid, size };
        assert_eq!(text(&sized(1000, 3000)), "0 1 1000\n1000 0 1\n1001 1001 1999\n");
        assert_eq!(text(&sized(1000, 100)), "0 1 99\n1000 0 1\n");
        assert_eq!(text(&sized(5, 1)), "5 0 1\n");
        let keep = |uid| sized(uid, 0);
        assert_eq!(text(&keep(1000)), "0 1 1000\n1000 0 1\n1001 1001 64536\n");
        assert_eq!(text(&keep(0)), "0 0 1\n1 1 65536\n");
        assert_eq!(text(&keep(70_000)), "0 1 65536\n70000 0 1\n");
    }

    #[test]
    fn the_range_of_groups_holds_every_one_of_them() {
        for (wish, want) in [
            (UserNamespace::Default, (0, 65_536)),
            (UserNamespace::NoMap, (0, 65_535)),
            // Outside 1000 is the lowest, and it is the user, whose number inside is 1000, too.
            (UserNamespace::KeepId { uid: 1000, gid: 1000, size: 0 }, (1000, 65_536)),
            // The user has the highest number inside and the lowest outside.
            (UserNamespace::KeepId { uid: 70_000, gid: 70_000, size: 0 }, (0, 65_535)),
        ] {
            let (_, gids) = of_container(&wish, &u(), &u(), (0, 0)).unwrap();
            assert_eq!(group_range(&gids, &u()), Some(want), "{wish:?}");
        }
        let all = parse_kernel("0 0 4294967295");
        assert_eq!(
            group_range(&identity_of(&all), &all),
            Some((0, 2_147_483_647)),
            "without a user namespace"
        );
        let single = parse_kernel("33 0 1");
        assert_eq!(group_range(&single, &parse_kernel("0 1000 1")), Some((33, 33)));
    }

    #[test]
    fn one_id_is_the_user_of_the_process() {
        let single = parse_kernel("0 1000 1");
        let maps = of_container(&UserNamespace::Default, &single, &single, (33, 34)).unwrap();
        assert_eq!((maps.0.to_kernel(), maps.1.to_kernel()), ("33 0 1\n".into(), "34 0 1\n".into()));
    }
}
