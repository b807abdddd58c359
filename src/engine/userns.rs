//! What `--userns`, `--uidmap` and their kin mean on this machine, for this user.
//!
//! ```text
//! ""  host  nomap  keep-id[:…]          by themselves (resolve::userns); "" as keep-id for docker's users with their own
//!                                       number and files (resolve::keeps_caller)
//! container:NAME                        that container's
//! ns:PATH                               the one a file names
//! auto[:size=N,…]                       a range of U that no other such container has
//! --uidmap, --gidmap                    as written (base::idmap_syntax)
//! --subuidname, --subgidname            what /etc/subuid gives to a name, as far as it is in U
//! ```

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::base::id::ContainerId;
use crate::base::idmap::{IdExtent, IdMap};
use crate::base::idmap_syntax::{self, IdMapError};
use crate::base::order::InOrder as _;
use crate::base::spec::UserNamespace;
use crate::base::subids;
use crate::engine::request::ContainerRequest;
use crate::engine::{Engine, Error, Kind, Result, resolve, state};
use crate::runtime::rootfs::RootDir;
use crate::store::unpack::NOBODY;
use crate::sys::fs;

/// How many IDs `auto` gives at least, as podman's `auto-userns-min-size`.
const AUTO_MIN: u32 = 1024;

/// The file that is locked while a range is chosen, in the store.
const RANGES_LOCK: &str = "ranges.lock";

impl Engine {
    /// The user namespace that a request asks for.
    ///
    /// # Errors
    ///
    /// Invalid values; IDs that are not the user's; no room for `auto`.
    pub(crate) fn user_namespace(&self, request: &ContainerRequest) -> Result<UserNamespace> {
        let caller = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let text = request.userns.as_str();
        let explicit = !request.uid_maps.is_empty() || !request.gid_maps.is_empty();
        let named = request.subuid_name.is_some() || request.subgid_name.is_some();
        if !explicit && !named {
            return match text.split_once(':').unwrap_or((text, "")) {
                ("auto", options) => self.auto_namespace(options, request),
                ("container", name) if !name.is_empty() => {
                    let id = self.container(name)?;
                    let ids = self.ids_of(&id)?;
                    Ok(UserNamespace::Container { id, ids })
                }
                // docker's `host` is what its containers have anyway.
                ("" | "host", "") if resolve::keeps_caller(request, caller.0, is_callers) => {
                    Ok(UserNamespace::KeepId { uid: caller.0, gid: caller.1, size: 0 })
                }
                ("", _) => self.shared_namespace(request),
                ("ns", path) if path.starts_with('/') => Ok(UserNamespace::Path(path.into())),
                ("nomap", _) if self.is_rootful() => {
                    Err(Error::new(Kind::Unsupported, "nomap is only supported in rootless mode"))
                }
                // With one ID there is no other that the container's root could be.
                ("nomap", _) => self.own_ids().and_then(|_| resolve::userns(text, caller)),
                // As with podman: root's own IDs are those of the container anyway.
                ("keep-id", _) if self.is_rootful() => {
                    resolve::userns(text, caller).map(|_| UserNamespace::Default)
                }
                _ => resolve::userns(text, caller),
            };
        }
        if !matches!(text, "" | "private") {
            return Err(Error::invalid(
                "--userns and --uidmap/--gidmap/--subuidname/--subgidname are mutually exclusive",
            ));
        }
        let (uids, gids) = self.own_ids()?;
        if named {
            let uids = self.named_ids(
                "/etc/subuid",
                request.subuid_name.as_deref().or(request.subgid_name.as_deref()),
                &uids,
            )?;
            let gids = self.named_ids(
                "/etc/subgid",
                request.subgid_name.as_deref().or(request.subuid_name.as_deref()),
                &gids,
            )?;
            return Ok(UserNamespace::Maps { uids, gids });
        }
        let invalid = |err: IdMapError| Error::invalid(err.to_string());
        let parse = |texts: &[String]| {
            texts.iter().map(|text| idmap_syntax::parse(text).map_err(invalid)).collect::<Result<Vec<_>>>()
        };
        let (uid_maps, gid_maps) = (parse(&request.uid_maps)?, parse(&request.gid_maps)?);
        let (uids, gids) = idmap_syntax::maps(&uid_maps, &gid_maps, (&uids, &gids)).map_err(invalid)?;
        Ok(UserNamespace::Maps { uids, gids })
    }

    /// Whose IDs a container has.
    fn ids_of(&self, id: &ContainerId) -> Result<Box<UserNamespace>> {
        Ok(match self.container_spec(id)?.userns {
            UserNamespace::Container { ids, .. } => ids,
            own => Box::new(own),
        })
    }

    /// The user namespace of a request that says nothing of it: that of the container of which it shares another namespace,
    /// whose files it then needs, too. Here it is about whose IDs the layers are unpacked with, which a container with the
    /// IDs of U has no need to write down; `plan::shares_user_namespace_of` says of any spec what is joined.
    fn shared_namespace(&self, request: &ContainerRequest) -> Result<UserNamespace> {
        // That there is none is said where the namespace itself is looked up.
        let Some(id) = request.shares_with().and_then(|name| self.container(name).ok()) else {
            return Ok(UserNamespace::Default);
        };
        let ids = self.ids_of(&id)?;
        Ok(match *ids {
            UserNamespace::Default | UserNamespace::Host => UserNamespace::Default,
            _ => UserNamespace::Container { id, ids },
        })
    }

    /// For a request with `auto`: a lock to be held until its container is written down, so that whoever asks next finds
    /// its range taken.
    pub(super) fn lock_ranges(&self, request: &ContainerRequest) -> Result<Option<OwnedFd>> {
        if !is_auto(&request.userns) {
            return Ok(None);
        }
        let failed = |err| Error::system("lock the ranges of user IDs", err);
        let flags = OFlags::RDWR | OFlags::CREATE;
        let file = fs::open_at(self.store().dir(), RANGES_LOCK, flags, 0o600).map_err(failed)?;
        fs::lock(&file, fs::Share::Exclusive).map_err(failed)?;
        Ok(Some(file))
    }

    /// Refuses groups that no container can have where there is one ID.
    pub(super) fn check_groups(&self, request: &ContainerRequest) -> Result<()> {
        match request.groups.iter().any(|group| group != "keep-groups") {
            true => self.own_ids().map(drop).map_err(|err| err.hint("leave --group-add away")),
            false => Ok(()),
        }
    }

    /// Whether a container's IDs are those of the host: it is root's, and has no user namespace.
    pub(super) fn ids_are_the_hosts(&self, userns: &UserNamespace) -> bool {
        self.is_rootful() && matches!(userns, UserNamespace::Default | UserNamespace::Host)
    }

    /// The capabilities that a container can have at all. A user namespace has them all.
    pub(super) fn reachable_capabilities(&self, userns: &UserNamespace) -> Result<u64> {
        match self.ids_are_the_hosts(userns) {
            true => crate::sys::caps::reachable().map_err(|err| Error::system("read capabilities", err)),
            false => Ok(crate::base::caps::ALL),
        }
    }

    /// U's own maps, by which hosts' IDs become U's; those of the machine for its root.
    fn own_ids(&self) -> Result<(IdMap, IdMap)> {
        match self.caller().mapping {
            None => Ok((machine_ids(), machine_ids())),
            Some(mapping) => match mapping.single {
                None => Ok((mapping.uids, mapping.gids)),
                Some(why) => Err(Error::new(Kind::Unsupported, "map IDs: there is just one").because(why)),
            },
        }
    }

    /// 0… are the ranges that `file` gives to `name`.
    fn named_ids(&self, file: &str, name: Option<&str>, u: &IdMap) -> Result<IdMap> {
        let name = name.unwrap_or_default();
        let text = std::fs::read(file).map_err(|err| Error::system(format!("read {file}"), err))?;
        let mut extents = Vec::new();
        let mut inside: u32 = 0;
        for (_, start, len) in subids::lines(&text).filter(|(owner, ..)| *owner == name.as_bytes()) {
            let outside = u.to_inside(start).filter(|_| u.to_inside(start + (len - 1)).is_some());
            let outside = outside.ok_or_else(|| Error::invalid(IdMapError::NotYours(start).to_string()))?;
            extents.push(IdExtent { inside, outside, len });
            inside = inside.checked_add(len).ok_or_else(|| {
                Error::invalid(format!("{file} gives {name:?} more IDs than a user namespace can have"))
            })?;
        }
        if extents.is_empty() {
            return Err(Error::invalid(format!("no range for {name:?} in {file}")));
        }
        Ok(IdMap(extents))
    }

    /// `auto[:size=N,uidmapping=I:O:N,gidmapping=I:O:N]`.
    fn auto_namespace(&self, options: &str, request: &ContainerRequest) -> Result<UserNamespace> {
        let bad = || {
            Error::invalid(format!("invalid --userns value \"auto:{options}\""))
                .hint("known are auto:size=N, uidmapping=INSIDE:OUTSIDE:N and gidmapping=INSIDE:OUTSIDE:N; @OUTSIDE is a number of the host")
        };
        let mut size = None;
        let (mut fixed_uids, mut fixed_gids) = (Vec::new(), Vec::new());
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=').ok_or_else(bad)? {
                ("size", number) => size = Some(number.parse::<u32>().map_err(|_| bad())?),
                ("uidmapping", text) => fixed_uids.extend(extents(text, &self.own_ids()?.0)?),
                ("gidmapping", text) => fixed_gids.extend(extents(text, &self.own_ids()?.1)?),
                _ => return Err(bad()),
            }
        }
        // 0 means: choose.
        let size = match size.filter(|size| *size > 0).or(self
            .conf()
            .containers
            .userns_size
            .filter(|size| *size > 0))
        {
            Some(size) => size,
            None => self.ids_of_image(request)?.max(AUTO_MIN),
        };
        let taken = self.auto_ranges()?;
        let rooms = self.auto_rooms()?;
        let first = rooms.iter().find_map(|room| subids::free_range(&taken, size, room.clone())).ok_or_else(
            || {
                let room: u64 = rooms.iter().map(|room| u64::from(room.end - room.start)).sum();
                Error::new(
                    Kind::Conflict,
                    format!("no {size} IDs are left for --userns=auto of the {room} that you have"),
                )
                .hint("remove containers that have some, or ask for fewer with auto:size=N")
            },
        )?;
        let map = |fixed: Vec<IdExtent>| {
            let whole = IdMap(vec![IdExtent { inside: 0, outside: first, len: size }]);
            fixed.into_iter().fold(whole, with_fixed)
        };
        Ok(UserNamespace::Maps { uids: map(fixed_uids), gids: map(fixed_gids) })
    }

    /// Where containers with `auto` may get IDs. 0 of U is the user and never given away. The machine's root has
    /// no IDs to spare but those of `containers` in /etc/subuid and /etc/subgid, as with podman: all others are
    /// somebody's.
    fn auto_rooms(&self) -> Result<Vec<Range<u32>>> {
        if self.caller().mapping.is_some() {
            let (uids, gids) = self.own_ids()?;
            let end = u32::try_from(uids.size().min(gids.size())).unwrap_or(u32::MAX);
            return Ok(std::iter::once(1..end).collect());
        }
        let machine = machine_ids();
        let of_containers = |file| {
            self.named_ids(file, Some("containers"), &machine).map_err(|err| {
                err.hint(format!("as root give it some: echo containers:1000000000:1000000000 >> {file}"))
            })
        };
        let (uids, gids) = (of_containers("/etc/subuid")?, of_containers("/etc/subgid")?);
        let pairs = uids.0.iter().flat_map(|uid| gids.0.iter().map(move |gid| (uid, gid)));
        Ok(pairs.map(|(uid, gid)| common(uid, gid)).filter(|room| !room.is_empty()).collect())
    }

    /// The ranges of U that containers with `auto` have: start and length.
    fn auto_ranges(&self) -> Result<Vec<(u32, u32)>> {
        use std::os::fd::AsFd;
        let mut ranges = Vec::new();
        for id in self.store().containers().list()? {
            let Ok(dir) = self.store().containers().open(&id) else { continue };
            let Ok(spec) = state::read_spec(dir.as_fd(), &id) else { continue };
            if let (true, UserNamespace::Maps { uids, gids }) = (is_auto(&spec.as_typed.userns), &spec.userns)
            {
                ranges.extend(uids.0.iter().chain(&gids.0).map(|extent| (extent.outside, extent.len)));
            }
        }
        Ok(ranges)
    }

    /// One more than the highest ID that the image's passwd, group and user name, or the request.
    fn ids_of_image(&self, request: &ContainerRequest) -> Result<u32> {
        if request.rootfs.is_some() || request.is_pause() {
            return Ok(0);
        }
        let facts = self.image_facts(&request.image, &UserNamespace::Default)?;
        let read = |file: &[u8]| {
            facts.layers.iter().rev().find_map(|layer| {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let top =
                    rustix::fs::open(self.store().layers().fs_path(layer), flags, Mode::empty()).ok()?;
                RootDir::new(top).read_small(file)
            })
        };
        let numbers = [&b"etc/passwd"[..], b"etc/group"].into_iter().filter_map(read).flat_map(|file| {
            let text = String::from_utf8_lossy(&file).into_owned();
            let ids: Vec<u32> =
                text.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok()).collect();
            ids
        });
        let user = request.user.as_deref().unwrap_or(&facts.defaults.user);
        let asked = user.split(':').chain(request.groups.iter().map(String::as_str));
        let highest = numbers
            .chain(asked.filter_map(|id| id.parse().ok()))
            // Not a reason to give 65,535 IDs.
            .filter(|id| *id < NOBODY)
            .max();
        Ok(highest.map_or(0, |id| id + 1))
    }
}

/// Whether it belongs to whoever runs ketch.
fn is_callers(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.uid() == rustix::process::getuid().as_raw())
}

/// Whether `--userns` asks for a range that no other container has: `auto[:OPTIONS]`.
pub(super) fn is_auto(text: &str) -> bool {
    text.split(':').next() == Some("auto")
}

/// Every ID of the machine under its own number: what its root has instead of U's maps.
pub(super) fn machine_ids() -> IdMap {
    IdMap(vec![IdExtent { inside: 0, outside: 0, len: u32::MAX }])
}

/// `INSIDE:[@]OUTSIDE:COUNT`, in IDs of U, whose map is `u`.
fn extents(text: &str, u: &IdMap) -> Result<Vec<IdExtent>> {
    let parts = idmap_syntax::parse(text).and_then(|mapping| mapping.extents(u));
    parts.map_err(|err| Error::invalid(err.to_string()))
}

/// `map` with one extent fixed; what it covers inside is taken out of the rest.
fn with_fixed(map: IdMap, fixed: IdExtent) -> IdMap {
    let end = fixed.inside + fixed.len;
    let mut extents: Vec<IdExtent> = map
        .0
        .into_iter()
        .flat_map(|extent| {
            let own_end = extent.inside + extent.len;
            let before = fixed.inside.clamp(extent.inside, own_end) - extent.inside;
            let after = end.clamp(extent.inside, own_end) - extent.inside;
            [(0, before), (after, extent.len)]
                .into_iter()
                .filter(|(from, to)| from < to)
                .map(move |(from, to)| IdExtent {
                    inside: extent.inside + from,
                    outside: extent.outside + from,
                    len: to - from,
                })
                .collect::<Vec<_>>()
        })
        .collect();
    extents.push(fixed);
    extents.order_by_key(|extent| extent.inside);
    IdMap(extents)
}

/// The numbers that are outside of both extents.
fn common(one: &IdExtent, other: &IdExtent) -> Range<u32> {
    let end = |extent: &IdExtent| extent.outside.saturating_add(extent.len);
    one.outside.max(other.outside)..end(one).min(end(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_extents_have_in_common() {
        let of = |outside, len| IdExtent { inside: 0, outside, len };
        assert_eq!(common(&of(10, 20), &of(15, 5)), 15..20);
        assert!(common(&of(10, 5), &of(15, 5)).is_empty());
    }

    #[test]
    fn a_fixed_extent_takes_its_place() {
        let map = IdMap(vec![IdExtent { inside: 0, outside: 100, len: 10 }]);
        let fixed = with_fixed(map, IdExtent { inside: 3, outside: 0, len: 2 });
        assert_eq!(fixed.to_kernel(), "0 100 3\n3 0 2\n5 105 5\n");
    }

    #[test]
    fn extents_are_of_u() {
        let u = IdMap(vec![
            IdExtent { inside: 0, outside: 1000, len: 1 },
            IdExtent { inside: 1, outside: 100_000, len: 65_536 },
        ]);
        let of = |inside, outside, len| IdExtent { inside, outside, len };
        assert_eq!(extents("3:0:2", &u).unwrap(), [of(3, 0, 2)]);
        assert_eq!(extents("3:@1000:1", &u).unwrap(), [of(3, 0, 1)]);
        for bad in ["", "1:2:0", "1:2:3:4", "4294967295:0:1", "0:4294967290:10", "-1:0:1", "3:@7:1"] {
            assert!(extents(bad, &u).is_err(), "{bad}");
        }
    }
}
