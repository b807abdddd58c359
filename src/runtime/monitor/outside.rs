//! What of a container's mounts only somebody outside of its user namespace can do. Its root has no power over files and
//! namespaces of IDs that are not its own; the monitor has, in U or as root of the host.
//!
//! ```text
//! a way through closed directories                                   by the monitor itself
//! :U       files of the host become the container's user's           likewise
//! :idmap   a mount that shows owners as the container's IDs          likewise
//! /proc, /dev/mqueue of a namespace that another user namespace has  by its child that has joined it (`join`)
//! ```

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use crate::base::idmap::IdMap;
use crate::base::spec::ContainerSpec;
use crate::runtime::failure::Failure;
use crate::runtime::foreign_mount::made_by_child;
use crate::runtime::init::mounts::{copy_of_the_hosts, give, new_file_system};
use crate::runtime::plan::{self, OfTheHost};
use crate::runtime::rootfs;
use crate::runtime::step::MountSource;
use crate::stage::wire;
use crate::sys::clone::{self, Cloned, flags};
use crate::sys::{mount, namespace, pidfd, process};

use super::birth::{is_passable, own_map, root_outside, write_maps};

/// Does with `mounts` what init could not, for a container with these maps whose user is `user` inside. The mounts that come back,
/// by their numbers in the spec, take the place of their sources.
///
/// # Errors
///
/// If something is not ours to give, or the kernel does not map IDs there.
pub(super) fn prepared(
    mounts: &[OfTheHost],
    maps: Option<&(IdMap, IdMap)>,
    user: impl FnOnce() -> Option<(u32, u32)>,
) -> Result<BTreeMap<usize, OwnedFd>, Failure> {
    let mut prepared = BTreeMap::new();
    let is_given = |mount: &OfTheHost| mount.plan.chown && !mount.idmap;
    let owner = match maps.filter(|maps| mounts.iter().any(is_given) && lacks_some(maps)) {
        // Init says what is wrong with a user that there is not.
        Some(maps) => user().and_then(|(uid, gid)| maps.0.to_outside(uid).zip(maps.1.to_outside(gid))),
        None => None,
    };
    for mount in mounts {
        let owner = owner.filter(|_| is_given(mount));
        let shown = mount.shown_ids.as_ref().or(maps).filter(|_| mount.idmap);
        let stays = shown.is_some() || maps.is_some_and(|maps| is_out_of_reach(&mount.plan.source, maps));
        if owner.is_none() && !stays {
            continue;
        }
        let what = rootfs::shown(mount.plan.target.as_bytes());
        let tree = copy_of_the_hosts(&mount.plan.source, &what)??;
        if let Some(owner) = owner {
            give(tree.as_fd(), owner, &what)?;
        }
        if let Some(shown) = shown {
            mount::map_ids(tree.as_fd(), user_namespace(shown)?.as_fd()).map_err(|errno| {
                let mut failure = Failure::errno(format!("map the IDs of {what}"), errno);
                failure.hint =
                    Some("the file system cannot do that, or does not let you: leave out idmap".into());
                failure
            })?;
        }
        if stays {
            prepared.insert(mount.index, tree);
        }
    }
    Ok(prepared)
}

/// Whether a container with these maps has not all of our IDs.
fn lacks_some((uids, gids): &(IdMap, IdMap)) -> bool {
    let lacks = |map: &IdMap, name| map.size() < own_map(name).size();
    lacks(uids, "uid_map") || lacks(gids, "gid_map")
}

fn is_out_of_reach(source: &MountSource, (uids, gids): &(IdMap, IdMap)) -> bool {
    let path = match source {
        MountSource::Host { path, .. } => path.clone(),
        MountSource::Below { base, path, .. } => {
            base.join(path.as_path().strip_prefix("/").unwrap_or(path.as_path()))
        }
        _ => return false,
    };
    root_outside(uids, gids).is_some() && !is_passable(&path, uids, gids)
}

/// A user namespace with these maps and nobody in it.
fn user_namespace((uids, gids): &(IdMap, IdMap)) -> Result<OwnedFd, Failure> {
    let failed = |errno| Failure::errno("create a user namespace", errno);
    let (ours, theirs) = wire::pair().map_err(|err| Failure::errno("make a socket", err))?;
    match clone::clone3(flags::USER).map_err(failed)? {
        Cloned::Child => {
            drop(ours);
            rustix::io::read(&theirs, &mut [0]).ok();
            process::exit_now(0)
        }
        Cloned::Parent { pid, pidfd } => {
            drop(theirs);
            let mapped = write_maps(pid, uids, gids).map_err(|err| Failure::errno("map IDs", err));
            let opened = mapped.and_then(|()| {
                namespace::open(pid, "user").map_err(|errno| Failure::errno("open a user namespace", errno))
            });
            drop(ours);
            pidfd::wait(pidfd.as_fd()).ok();
            opened
        }
    }
}

/// The file systems that show [foreign](plan::is_foreign) namespaces.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    pub(super) proc: Option<OwnedFd>,
    pub(super) mqueue: Option<OwnedFd>,
}

impl Foreign {
    /// Mounts them; the caller has joined the namespaces, and has one thread.
    ///
    /// # Errors
    ///
    /// If the caller has no power over one of them.
    pub(super) fn of(spec: &ContainerSpec) -> Result<Self, Failure> {
        let mut found = Self::default();
        if plan::is_foreign(&spec.namespaces.pid, spec) {
            let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
            let options: Vec<_> = plan::proc_options(spec).into_iter().map(own).collect();
            // It shows the PID namespace of whoever mounts it, and that is the new one for children only.
            let mounted = made_by_child("mount /proc", || Ok(new_file_system("proc", &options, 0)?));
            found.proc = Some(mounted?);
        }
        if plan::is_foreign(&spec.namespaces.ipc, spec) {
            found.mqueue = Some(new_file_system("mqueue", &[], 0)?);
        }
        Ok(found)
    }
}
