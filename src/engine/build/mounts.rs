//! The mounts of a RUN: where their files come from.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::base::bytes::Bytes;
use crate::base::dockerfile::flags::{RunMount, RunMountKind, Sharing};
use crate::base::spec::{Mount, MountKind};
use crate::engine::build::request::Secret;
use crate::engine::build::{Builder, Fault, Lane, Result, Root};
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, config};
use crate::runtime::assemble::{Choice, CopyTask, Order, Target, Task, Tree};
use crate::sys::fs::{self, Share};

/// A mount that was prepared, or why it has to wait.
#[allow(clippy::large_enum_variant, reason = "one at a time, and soon taken apart")]
pub(super) enum Prepared {
    Mount(Mount),
    /// Nothing to mount: an optional secret that was not given.
    Nothing,
    /// Another build has the cache.
    Busy,
}

/// The caches of one RUN. Each is taken once, however often it is mounted: a second lock would wait for the first.
pub(super) struct Caches<'a> {
    mounts: &'a [RunMount],
    /// By ID: the directory, and what holds its lock.
    held: BTreeMap<String, (PathBuf, OwnedFd)>,
}

impl<'a> Caches<'a> {
    pub(super) fn of(mounts: &'a [RunMount]) -> Self {
        Self { mounts, held: BTreeMap::new() }
    }

    /// How the RUN takes a cache: as the strictest of its mounts wants it.
    fn sharing(&self, id: &str) -> Sharing {
        let wanted = self.mounts.iter().filter_map(|mount| match &mount.kind {
            RunMountKind::Cache { id: known, sharing, .. } if known == id => Some(*sharing),
            _ => None,
        });
        wanted.fold(Sharing::Shared, |strictest, sharing| match (strictest, sharing) {
            (Sharing::Locked, _) | (_, Sharing::Locked) => Sharing::Locked,
            (Sharing::Private, _) | (_, Sharing::Private) => Sharing::Private,
            _ => Sharing::Shared,
        })
    }

    /// What holds the locks.
    pub(super) fn locks(self) -> Vec<OwnedFd> {
        self.held.into_values().map(|(_, lock)| lock).collect()
    }
}

impl Builder<'_> {
    pub(super) fn mount(
        &mut self,
        lane: &Lane,
        mount: &RunMount,
        request: &mut ContainerRequest,
        caches: &mut Caches<'_>,
    ) -> Result<Prepared> {
        let target = lane.state.directory(&mount.target);
        Ok(match &mount.kind {
            RunMountKind::Bind { from, source, writable } => {
                let scratch = if *writable { Some(self.overlay_scratch()?) } else { None };
                let (lowers, path) = self.tree_of(lane, from, source, *writable)?;
                Prepared::Mount(tree(&target, lowers, &path, !*writable, scratch))
            }
            RunMountKind::Cache { id, from, source, read_only, mode, uid, gid, .. } => {
                let known = caches.held.get(id).map(|(data, _)| data.clone());
                let data = match known {
                    Some(data) => data,
                    None => {
                        let sharing = caches.sharing(id);
                        let Some((data, lock)) = self.cache(id, sharing)? else { return Ok(Prepared::Busy) };
                        self.fill_cache(lane, &data, from, source, (*mode, *uid, *gid))?;
                        if sharing == Sharing::Shared && !try_lock_cache(id, &lock, Share::Shared)? {
                            return Ok(Prepared::Busy);
                        }
                        caches.held.insert(id.clone(), (data.clone(), lock));
                        data
                    }
                };
                Prepared::Mount(tree(&target, vec![data.as_path().into()], "/", *read_only, None))
            }
            RunMountKind::Tmpfs { size_bytes } => {
                let data = size_bytes.iter().map(|bytes| format!("size={bytes}")).collect();
                let kind = MountKind::Tmpfs { data, copy_up: false, chown: false, ramfs: false };
                Prepared::Mount(plain(&target, kind, false))
            }
            RunMountKind::Secret { id, variable, required, mode, uid, gid } => {
                let Some(content) = self.secret(id)? else {
                    if *required {
                        return Err(Fault::plain(format!("secret {id}: not found"))
                            .hint(format!("give it: --secret id={id},src=FILE")));
                    }
                    return Ok(Prepared::Nothing);
                };
                if let Some(variable) = variable {
                    let entry = [format!("{variable}=").as_bytes(), &content].concat();
                    request.env.push(entry.into());
                }
                if mount.target.is_empty() {
                    return Ok(Prepared::Nothing);
                }
                let dir = self.secret_file(&content, (*mode, *uid, *gid))?;
                Prepared::Mount(tree(&target, vec![dir.as_path().into()], "/secret", true, None))
            }
            RunMountKind::Ssh { id, required, .. } => {
                let Some(agent) = self.request.agents.get(id).cloned() else {
                    if *required {
                        return Err(Fault::plain(format!("ssh agent {id}: not forwarded"))
                            .hint(format!("forward it: --ssh {id}")));
                    }
                    return Ok(Prepared::Nothing);
                };
                request.env.push(format!("SSH_AUTH_SOCK={target}").into());
                let (Some(dir), Some(name)) = (agent.parent(), agent.file_name()) else {
                    return Err(Fault::plain(format!("{} is no socket", agent.display())));
                };
                let path = Bytes::from(name.to_owned());
                let kind = MountKind::Tree { lowers: vec![dir.into()], path, scratch: None };
                Prepared::Mount(plain(&target, kind, false))
            }
        })
    }

    /// Lets what a RUN changes in directories of VOLUME be lost, as engines before had it.
    pub(super) fn shield_volumes(&mut self, lane: &Lane, mounts: &mut Vec<Mount>) -> Result<()> {
        let layers = lane.base_names();
        for volume in lane.state.config().volumes.clone() {
            let there = layers.iter().any(|layer| {
                let Ok(root) = self.engine.store().layers().open_fs(layer) else { return false };
                let flags = fs::OFlags::PATH | fs::OFlags::DIRECTORY;
                fs::open_within(root, volume.as_str(), fs::Within::Root, flags, 0).is_ok()
            });
            if there {
                let scratch = self.overlay_scratch()?;
                mounts.push(tree(&volume, self.lower_paths(&layers), &volume, false, Some(scratch)));
            }
        }
        Ok(())
    }

    /// The directories that `from` means, and the path in them.
    fn tree_of(
        &mut self,
        lane: &Lane,
        from: &str,
        source: &str,
        writable: bool,
    ) -> Result<(Vec<Bytes>, String)> {
        match self.root_of(lane, from)? {
            Root::Layers(layers) => Ok((self.lower_paths(&layers), source.to_owned())),
            Root::Context(name) => {
                let context = self.context(name.as_deref());
                // An overlay cannot change what belongs to an ID that is not mapped (EOVERFLOW).
                let is_foreign = || writable && self.has_foreign(&context.root, source);
                if context.ignore.is_empty() && !is_foreign() {
                    return Ok((vec![context.root.as_path().into()], source.to_owned()));
                }
                // What is ignored must not be seen: the rest is copied. Copies are of owners that are mapped.
                let choice = Choice {
                    patterns: vec![source.into()],
                    ignore: context.ignore.clone(),
                    literal: true,
                    parents: true,
                    ..Choice::default()
                };
                let from = Tree::Directory(context.root.as_path().into());
                let to = self.scratch_directory("context")?;
                self.copy_now(from, &to, choice)?;
                Ok((vec![to.as_path().into()], source.to_owned()))
            }
        }
    }

    /// Whether something of a context belongs to a user or group that containers do not have. What cannot be
    /// looked at cannot be changed either.
    fn has_foreign(&self, root: &Path, source: &str) -> bool {
        let Some(mapping) = &self.caller.mapping else { return false };
        let is_foreign = |stat: &fs::Stat| {
            mapping.uids.to_inside(stat.st_uid).is_none() || mapping.gids.to_inside(stat.st_gid).is_none()
        };
        let flags = fs::OFlags::PATH | fs::OFlags::DIRECTORY;
        let Ok(root) = fs::open_at(fs::here(), root, flags, 0) else { return false };
        let Ok(top) = fs::open_within(root, source, fs::Within::Root, fs::OFlags::PATH, 0) else {
            return false;
        };
        fs::stat(&top).is_ok_and(|stat| is_foreign(&stat)) || any_below(&top, &is_foreign, 0)
    }

    /// Copies to a directory of this build, and waits for it.
    fn copy_now(&mut self, from: Tree, to: &std::path::Path, choice: Choice) -> Result<()> {
        let task = CopyTask {
            choice,
            target: "/".into(),
            keep_owner: true,
            owner: None,
            mode: None,
            unpack: false,
            several: false,
        };
        let order = Order {
            target: Some(Target::Directory(to.into())),
            trees: vec![from],
            tasks: vec![Task::Copy(task)],
            single: self.single,
        };
        self.order_now(&order)
    }

    /// Gives an order and waits for its outcome.
    fn order_now(&mut self, order: &Order) -> Result<()> {
        let worker = self.worker()?;
        let report = worker.order(order).and_then(|()| worker.report());
        self.idle.push(worker);
        report.map(drop).map_err(|failure| Fault::plain(failure.message))
    }

    /// `upper`, `work` and `over` for writes that are thrown away.
    fn overlay_scratch(&mut self) -> Result<PathBuf> {
        let dir = self.scratch_directory("upper")?;
        let dir = dir.parent().map(PathBuf::from).unwrap_or(dir);
        for name in ["work", "over"] {
            std::fs::create_dir(dir.join(name)).map_err(|err| Error::system("make a directory", err))?;
        }
        Ok(dir)
    }

    /// The directory of a cache mount, locked as its sharing mode says; `None` if it is in use. One that has yet to be
    /// filled is for its first user alone.
    fn cache(&mut self, id: &str, sharing: Sharing) -> Result<Option<(PathBuf, OwnedFd)>> {
        let store = self.engine.store();
        match sharing {
            Sharing::Shared | Sharing::Locked => {
                let (data, lock) = store.build_cache().mount(id)?;
                let is_filled = mark_of(&data).exists();
                let share =
                    if is_filled && sharing == Sharing::Shared { Share::Shared } else { Share::Exclusive };
                Ok(try_lock_cache(id, &lock, share)?.then_some((data, lock)))
            }
            Sharing::Private => {
                for number in 1_u32.. {
                    let name = if number == 1 { id.to_owned() } else { format!("{id}#{number}") };
                    let (data, lock) = store.build_cache().mount(&name)?;
                    if try_lock_cache(id, &lock, Share::Exclusive)? {
                        return Ok(Some((data, lock)));
                    }
                }
                Ok(None)
            }
        }
    }

    /// A new cache gets its first content, owner and mode.
    fn fill_cache(
        &mut self,
        lane: &Lane,
        data: &std::path::Path,
        from: &str,
        source: &str,
        (mode, uid, gid): (u32, u32, u32),
    ) -> Result<()> {
        let mark = mark_of(data);
        if mark.exists() {
            return Ok(());
        }
        if !from.is_empty() {
            let tree = match self.root_of(lane, from)? {
                Root::Context(name) => Tree::Directory(self.context(name.as_deref()).root.as_path().into()),
                Root::Layers(layers) => {
                    let over = self.scratch_directory("over")?;
                    Tree::Layers { lowers: self.lower_paths(&layers), over: over.as_path().into() }
                }
            };
            let choice = Choice { patterns: vec![source.into()], literal: true, ..Choice::default() };
            self.copy_now(tree, data, choice)?;
        }
        let owner = format!("{uid}:{gid}");
        self.give(data, &owner, mode)?;
        std::fs::write(&mark, "").map_err(|err| Error::system("fill a cache", err).into())
    }

    /// Gives a directory of this user to an ID of the container, with a mode.
    fn give(&mut self, path: &std::path::Path, owner: &str, mode: u32) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(|err| Error::system("set the mode of a directory", err))?;
        if owner == "0:0" || self.single {
            return Ok(());
        }
        let order = Order {
            target: Some(Target::Directory(path.into())),
            trees: vec![],
            tasks: vec![Task::Give(owner.to_owned())],
            single: self.single,
        };
        self.order_now(&order)
    }

    /// What a secret is; `None` if nobody gave it.
    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>> {
        match self.request.secrets.get(id) {
            None => Ok(None),
            Some(Secret::Variable(name)) => {
                let value = config::variable_of_caller(name.as_ref());
                Ok(value.map(std::os::unix::ffi::OsStringExt::into_vec))
            }
            Some(Secret::File(path)) => {
                let read = std::fs::File::open(path).map_err(|err| {
                    Error::invalid(format!("open the secret {id}: {}", path.display())).because(err)
                })?;
                Ok(Some(super::context::read_file(read, path)?))
            }
        }
    }

    /// A directory with the file `secret`, which is gone with the build: its content never comes into a
    /// layer, because it is mounted.
    fn secret_file(&mut self, content: &[u8], (mode, uid, gid): (u32, u32, u32)) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = self.scratch_directory("secret")?;
        let from = self.scratch_directory("secret")?;
        let system = |err| Error::system("write a secret", err);
        let file = from.join("secret");
        std::fs::write(&file, content).map_err(system)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).map_err(system)?;
        if (uid, gid) == (0, 0) || self.single {
            return Ok(from);
        }
        let task = CopyTask {
            choice: Choice { patterns: vec!["secret".into()], literal: true, ..Choice::default() },
            target: "/".into(),
            keep_owner: false,
            owner: Some(format!("{uid}:{gid}")),
            mode: None,
            unpack: false,
            several: false,
        };
        let order = Order {
            target: Some(Target::Directory(dir.as_path().into())),
            trees: vec![Tree::Directory(from.as_path().into())],
            tasks: vec![Task::Copy(task)],
            single: self.single,
        };
        self.order_now(&order)?;
        std::fs::remove_file(&file).map_err(system)?;
        Ok(dir)
    }
}

/// What says that a cache has had its first content.
fn mark_of(data: &Path) -> PathBuf {
    data.with_file_name("filled")
}

/// Locks a cache, or changes how it is locked; false if others are in the way.
fn try_lock_cache(id: &str, lock: &OwnedFd, share: Share) -> Result<bool> {
    fs::try_lock(lock, share).map_err(|err| Error::system(format!("lock the cache {id}"), err).into())
}

/// Whether `is_it` holds for anything in a directory, at any depth that a build goes to.
fn any_below(dir: &OwnedFd, is_it: &dyn Fn(&fs::Stat) -> bool, depth: usize) -> bool {
    const MAX_DEPTH: usize = 200;
    let Ok(dir) = fs::open_dir(dir, c".") else { return false };
    let mut directories = Vec::new();
    let mut found = false;
    fs::for_each_entry(&dir, |name, _| {
        if let Ok(stat) = fs::stat_at(&dir, name) {
            found |= is_it(&stat);
            if fs::kind(&stat) == fs::FileType::Directory {
                directories.push(name.to_owned());
            }
        }
        Ok(())
    })
    .ok();
    let below = |name: &std::ffi::OsString| {
        let flags = fs::OFlags::PATH | fs::OFlags::DIRECTORY | fs::OFlags::NOFOLLOW;
        let sub = fs::open_at(&dir, name, flags, 0);
        sub.is_ok_and(|sub| any_below(&sub, is_it, depth + 1))
    };
    found || depth < MAX_DEPTH && directories.iter().any(below)
}

/// A mount of directories that lie on each other.
pub(super) fn tree(
    target: &str,
    lowers: Vec<Bytes>,
    path: &str,
    read_only: bool,
    scratch: Option<PathBuf>,
) -> Mount {
    plain(target, MountKind::Tree { lowers, path: path.into(), scratch }, read_only)
}

/// A mount without options.
fn plain(target: &str, kind: MountKind, read_only: bool) -> Mount {
    Mount { read_only, ..Mount::plain(target.into(), kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_taken_as_its_strictest_mount_wants() {
        for (modes, want) in [
            (&["shared", "shared"][..], Sharing::Shared),
            (&["shared", "private"], Sharing::Private),
            (&["private", "locked", "shared"], Sharing::Locked),
        ] {
            let mount = |mode: &&str| RunMount::parse(&format!("type=cache,id=c,target=/c,sharing={mode}"));
            let mut mounts: Vec<RunMount> = modes.iter().map(|mode| mount(mode).unwrap()).collect();
            mounts.push(RunMount::parse("type=cache,target=/other,sharing=locked").unwrap());
            assert_eq!(Caches::of(&mounts).sharing("c"), want, "{modes:?}");
        }
    }
}
