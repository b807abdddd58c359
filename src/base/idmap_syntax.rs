//! What users write for ID maps: `--uidmap [FLAGS]INSIDE:[@]OUTSIDE[:COUNT]`, and the maps that come of it.
//!
//! ```text
//! --uidmap 0:1:10            10 IDs from 0 on are those from 1 on of U (0 = the caller, 1… = the subordinate range)
//! --uidmap 5:@1000           one ID; @ = a number of the host
//! --uidmap +5:@1000          on top of all other IDs, which move aside
//! --uidmap u0:0:1            for users only (g: for groups only)
//! ```
//!
//! # Source
//!
//! podman-run(1), `--uidmap`; the results of podman 5.4.2.

use crate::base::idmap::{IdExtent, IdMap};
use crate::base::order::InOrder as _;

/// Why a text is no map, or a map cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdMapError {
    #[error("invalid mapping {0:?}: write [+][u|g]INSIDE:[@]OUTSIDE[:COUNT]")]
    Syntax(String),
    #[error("host ID {0} is not among those that you may map; see /etc/subuid and /etc/subgid")]
    NotYours(u32),
    #[error("the mapping does not map ID 0, which the container needs")]
    WithoutRoot,
    #[error("the mapping gives the {0} {1} twice")]
    Overlap(&'static str, u32),
    #[error("invalid idmap={0}: write uids=ON_DISK-SHOWN-COUNT[#…];gids=…")]
    Request(String),
    #[error("the mapping has more parts than the kernel takes ({MAX_EXTENTS})")]
    TooMany,
}

/// How many extents a map may have: user_namespaces(7).
const MAX_EXTENTS: usize = 340;

/// One `--uidmap` or `--gidmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    extent: IdExtent,
    /// `@`: `outside` is a number of the host.
    of_host: bool,
    /// `+`: the other IDs move aside.
    extend: bool,
    users: bool,
    groups: bool,
}

impl Mapping {
    /// Its extents in IDs of U, whose map is `u`.
    ///
    /// # Errors
    ///
    /// [`IdMapError::NotYours`].
    pub(crate) fn extents(&self, u: &IdMap) -> Result<Vec<IdExtent>, IdMapError> {
        if self.of_host { of_host(self.extent, u) } else { Ok(vec![self.extent]) }
    }
}

/// Reads one mapping. `for_users`: it is a `--uidmap`, which flags may make one for groups as well.
///
/// # Errors
///
/// [`IdMapError::Syntax`].
pub(crate) fn parse(text: &str) -> Result<Mapping, IdMapError> {
    let bad = || IdMapError::Syntax(text.to_owned());
    let numbers = text.trim_start_matches(['+', 'u', 'g']);
    let flags = &text[..text.len() - numbers.len()];
    let mut fields = numbers.split(':');
    let inside = fields.next().and_then(|field| field.parse().ok()).ok_or_else(bad)?;
    let outside = fields.next().ok_or_else(bad)?;
    let (of_host, outside) = match outside.strip_prefix('@') {
        Some(number) => (true, number),
        None => (false, outside),
    };
    let outside = outside.parse().map_err(|_| bad())?;
    let len = fields.next().map_or(Ok(1), str::parse).map_err(|_| bad())?;
    let ends = |start: u32| start.checked_add(len).is_some();
    if fields.next().is_some() || len == 0 || !ends(inside) || !ends(outside) {
        return Err(bad());
    }
    let kinds = (flags.contains('u'), flags.contains('g'));
    let (users, groups) = if kinds == (false, false) { (true, true) } else { kinds };
    Ok(Mapping {
        extent: IdExtent { inside, outside, len },
        of_host,
        extend: flags.contains('+'),
        users,
        groups,
    })
}

/// The maps of users and of groups. `u` are U's own (0 = the caller); if only one kind is written, it is
/// that of the other as well.
///
/// # Errors
///
/// [`IdMapError`].
pub(crate) fn maps(
    uids: &[Mapping],
    gids: &[Mapping],
    u: (&IdMap, &IdMap),
) -> Result<(IdMap, IdMap), IdMapError> {
    let of = |first: &[Mapping], second: &[Mapping], wanted: fn(&Mapping) -> bool| -> Vec<Mapping> {
        let own = if first.is_empty() { second } else { first };
        own.iter().copied().filter(wanted).collect()
    };
    let user_maps = of(uids, gids, |mapping| mapping.users);
    let group_maps = of(gids, uids, |mapping| mapping.groups);
    Ok((build(&user_maps, u.0)?, build(&group_maps, u.1)?))
}

fn build(mappings: &[Mapping], u: &IdMap) -> Result<IdMap, IdMapError> {
    let mut extents: Vec<IdExtent> = Vec::new();
    let mut extends = mappings.is_empty();
    for mapping in mappings {
        for extent in mapping.extents(u)? {
            if mapping.extend {
                extends = true;
                extents = extents.into_iter().flat_map(|old| without(old, extent)).collect();
            } else {
                reject_overlap(&extents, extent)?;
            }
            extents.push(extent);
        }
    }
    if extends {
        fill(&mut extents, u32::try_from(u.size()).unwrap_or(u32::MAX));
    }
    if extents.len() > MAX_EXTENTS {
        return Err(IdMapError::TooMany);
    }
    extents.order_by_key(|extent| extent.inside);
    let map = IdMap(extents);
    if map.to_outside(0).is_none() { Err(IdMapError::WithoutRoot) } else { Ok(map) }
}

/// An extent whose outer IDs are the host's, in those of `u`: as many extents as it touches of `u`'s.
fn of_host(mut rest: IdExtent, u: &IdMap) -> Result<Vec<IdExtent>, IdMapError> {
    let mut parts = Vec::new();
    while rest.len > 0 {
        let found = u.0.iter().find_map(|own| {
            let offset = rest.outside.checked_sub(own.outside).filter(|offset| *offset < own.len)?;
            Some((own.inside + offset, own.len - offset))
        });
        let (outside, room) = found.ok_or(IdMapError::NotYours(rest.outside))?;
        let len = rest.len.min(room);
        parts.push(IdExtent { inside: rest.inside, outside, len });
        rest = IdExtent { inside: rest.inside + len, outside: rest.outside + len, len: rest.len - len };
    }
    Ok(parts)
}

fn overlaps(a: (u32, u32), b: (u32, u32)) -> bool {
    u64::from(a.0) < u64::from(b.0) + u64::from(b.1) && u64::from(b.0) < u64::from(a.0) + u64::from(a.1)
}

fn reject_overlap(known: &[IdExtent], new: IdExtent) -> Result<(), IdMapError> {
    for old in known {
        if overlaps((old.inside, old.len), (new.inside, new.len)) {
            return Err(IdMapError::Overlap("container ID", new.inside));
        }
        if overlaps((old.outside, old.len), (new.outside, new.len)) {
            return Err(IdMapError::Overlap("outer ID", new.outside));
        }
    }
    Ok(())
}

/// What is left of `old` when `new` takes its IDs, on either side.
fn without(old: IdExtent, new: IdExtent) -> Vec<IdExtent> {
    let cut = |old: IdExtent, start: u32, taken: u32| -> Vec<IdExtent> {
        // `start..start+taken` as offsets into `old`, possibly outside of it.
        let before = start.min(old.len);
        let after = start.saturating_add(taken).min(old.len);
        let part = |from: u32, to: u32| IdExtent {
            inside: old.inside + from,
            outside: old.outside + from,
            len: to - from,
        };
        [part(0, before), part(after, old.len)].into_iter().filter(|extent| extent.len > 0).collect()
    };
    let by = |old: IdExtent, old_start: u32, new_start: u32| {
        if !overlaps((old_start, old.len), (new_start, new.len)) {
            return vec![old];
        }
        match new_start.checked_sub(old_start) {
            Some(offset) => cut(old, offset, new.len),
            None => cut(old, 0, new.len - (old_start - new_start)),
        }
    };
    by(old, old.inside, new.inside).into_iter().flat_map(|rest| by(rest, rest.outside, new.outside)).collect()
}

/// Gives the container IDs that are not mapped the outer IDs that are left, both in order.
fn fill(extents: &mut Vec<IdExtent>, size: u32) {
    let gaps = |start: fn(&IdExtent) -> u32, extents: &[IdExtent], end: u32| {
        let mut taken: Vec<(u32, u32)> = extents.iter().map(|extent| (start(extent), extent.len)).collect();
        taken.order();
        let (mut free, mut next) = (Vec::new(), 0);
        for (first, len) in taken {
            // What was written may lie beyond the end: the kernel refuses it, or it is taken out again.
            if first.min(end) > next {
                free.push((next, first.min(end) - next));
            }
            next = next.max(first.saturating_add(len));
        }
        if next < end {
            free.push((next, end - next));
        }
        free
    };
    let mut outside = gaps(|extent| extent.outside, extents, size).into_iter();
    let inside = gaps(|extent| extent.inside, extents, u32::MAX);
    let mut room = outside.next();
    for (mut first, mut len) in inside {
        while let (Some((start, free)), true) = (room, len > 0) {
            let step = free.min(len);
            extents.push(IdExtent { inside: first, outside: start, len: step });
            (first, len) = (first + step, len - step);
            room = if free > step { Some((start + step, free - step)) } else { outside.next() };
        }
    }
}

/// How a mount shows the owners on the disk: `idmap` as the container's IDs, `idmap=uids=…;gids=…` as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdmapRequest {
    /// `None` for the container's IDs.
    pub(crate) uids: Option<Vec<ShownIds>>,
    pub(crate) gids: Option<Vec<ShownIds>>,
}

/// Some IDs on the disk, and those of the host as which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShownIds {
    pub(crate) extent: IdExtent,
    /// `@`: they are shown as IDs of the container.
    pub(crate) of_container: bool,
}

impl ShownIds {
    /// The extents in IDs of the host, for a container with the map `own`. What the container has not is left out.
    pub(crate) fn extents(&self, own: &IdMap) -> Vec<IdExtent> {
        let IdExtent { inside, outside, len } = self.extent;
        if !self.of_container {
            return vec![self.extent];
        }
        let (first, end) = (u64::from(outside), u64::from(outside) + u64::from(len));
        let part = |known: &IdExtent| {
            let from = first.max(known.inside.into());
            let to = end.min(u64::from(known.inside) + u64::from(known.len));
            let number = |id: u64| u32::try_from(id).ok();
            (from < to).then(|| {
                Some(IdExtent {
                    inside: inside.checked_add(number(from - first)?)?,
                    outside: known.outside + number(from - u64::from(known.inside))?,
                    len: number(to - from)?,
                })
            })?
        };
        own.0.iter().filter_map(part).collect()
    }
}

/// Reads what follows `idmap=`: `uids=[@]ON_DISK-SHOWN-COUNT[#…];gids=…`.
///
/// # Errors
///
/// [`IdMapError::Request`].
///
/// # Source
///
/// podman-run(1), `--mount`; the results of podman 5.4.2.
pub(crate) fn parse_request(text: &str) -> Result<IdmapRequest, IdMapError> {
    let bad = || IdMapError::Request(text.to_owned());
    let mut request = IdmapRequest::default();
    for part in text.split(';') {
        let (kind, ranges) = part.split_once('=').ok_or_else(bad)?;
        let ranges = ranges.split('#').map(shown_ids).collect::<Option<Vec<_>>>().ok_or_else(bad)?;
        let half = match kind {
            "uids" => &mut request.uids,
            "gids" => &mut request.gids,
            _ => return Err(bad()),
        };
        *half = Some(ranges);
    }
    Ok(request)
}

fn shown_ids(text: &str) -> Option<ShownIds> {
    let (of_container, numbers) = match text.strip_prefix('@') {
        Some(numbers) => (true, numbers),
        None => (false, text),
    };
    let mut fields = numbers.split('-').map(|field| field.parse().ok());
    let extent = IdExtent { inside: fields.next()??, outside: fields.next()??, len: fields.next()?? };
    (fields.next().is_none() && extent.len > 0).then_some(ShownIds { extent, of_container })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn u() -> IdMap {
        let extent = |inside, outside, len| IdExtent { inside, outside, len };
        IdMap(vec![extent(0, 1000, 1), extent(1, 100_000, 65_536)])
    }

    fn of(texts: &[&str]) -> Result<(String, String), IdMapError> {
        let mappings = texts.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
        maps(&mappings, &[], (&u(), &u())).map(|(users, groups)| (users.to_kernel(), groups.to_kernel()))
    }

    #[test]
    fn explicit_maps() {
        assert_eq!(of(&["0:1:10"]).unwrap().0, "0 1 10\n");
        assert_eq!(of(&["0:@1000", "1:@100000:5"]).unwrap().1, "0 0 1\n1 1 5\n");
        let (users, groups) = of(&["u0:1:5", "g0:0:1"]).unwrap();
        assert_eq!((users.as_str(), groups.as_str()), ("0 1 5\n", "0 0 1\n"));
        assert_eq!(of(&["5:@1000"]), Err(IdMapError::WithoutRoot));
        assert_eq!(of(&["0:@7"]), Err(IdMapError::NotYours(7)));
        assert_eq!(of(&["0:0:5", "4:9"]), Err(IdMapError::Overlap("container ID", 4)));
        // Host IDs that lie in two of the caller's ranges.
        assert_eq!(of(&["0:@100000:65536", "70000:@1000"]).unwrap().0, "0 1 65536\n70000 0 1\n");
        assert_eq!(of(&["0:@1000:2"]), Err(IdMapError::NotYours(1001)));
        assert_eq!(of(&["0:@165530:4294800000"]), Err(IdMapError::NotYours(165_536)));
        for bad in ["", "0", "0:", "0:1:0", "x:1", "0:1:2:3", "0:4294967295:2", "-1:0", "0:1:4294967296"] {
            assert_eq!(of(&[bad]), Err(IdMapError::Syntax(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn extended_maps_keep_every_id() {
        assert_eq!(of(&["+5:@1000"]).unwrap().0, "0 1 5\n5 0 1\n6 6 65531\n");
        assert_eq!(of(&["+0:@1000"]).unwrap().0, "0 0 1\n1 1 65536\n");
        // The other kind is filled as well.
        assert_eq!(of(&["+u5:@1000"]).unwrap().1, "0 0 65537\n");
        // A later one takes IDs of an earlier one.
        let users = of(&["0:1:10", "+3:0:1"]).unwrap().0;
        assert!(users.starts_with("0 1 3\n3 0 1\n4 5 6\n10 4 1\n11 11 "), "{users}");
        // Beyond what the caller has: the rest is filled as before, and the kernel refuses the whole.
        assert_eq!(of(&["+4000000000:100000:5"]).unwrap().0, "0 0 65537\n4000000000 100000 5\n");
        let users = of(&["0:0:5", "+7:70000:4294897295"]).unwrap().0;
        assert!(users.starts_with("0 0 5\n5 5 2\n7 70000 4294897295\n"), "{users}");
    }

    #[test]
    fn idmaps_of_mounts() {
        let extent = |inside, outside, len| IdExtent { inside, outside, len };
        let own = IdMap(vec![extent(0, 1000, 5), extent(5, 3000, 100)]);
        for (text, uids) in [
            ("uids=0-1-10", vec![extent(0, 1, 10)]),
            ("gids=0-0-1;uids=0-1-10#20-100-5", vec![extent(0, 1, 10), extent(20, 100, 5)]),
            ("uids=@7-0-5", vec![extent(7, 1000, 5)]),
            ("uids=@7-3-4", vec![extent(7, 1003, 2), extent(9, 3000, 2)]),
            ("uids=@0-104-4", vec![extent(0, 3099, 1)]),
            ("uids=@0-105-4", vec![]),
        ] {
            let request = parse_request(text).unwrap();
            let got: Vec<_> = request.uids.unwrap().iter().flat_map(|ids| ids.extents(&own)).collect();
            assert_eq!(got, uids, "{text}");
        }
        for text in [
            "",
            "foo",
            "uids",
            "uids=",
            "uids=x",
            "uids=0-1",
            "uids=0-@1-1",
            "uids=0-1-0",
            "uids=0-1-1-1",
            "uids=0-1-1;",
        ] {
            assert_eq!(parse_request(text), Err(IdMapError::Request(text.to_owned())));
        }
    }
}
