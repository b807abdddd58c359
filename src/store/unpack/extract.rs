//! Entries → files.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use crate::base::bytes::Bytes;
use crate::store::unpack::archive::{Archive, Entry, Kind};
use crate::store::unpack::dirs::{DirMeta, Dirs, is_whiteout, set_opaque, shown};
use crate::store::unpack::xattrs::{set_xattr, xattr_name};
use crate::store::unpack::{Failure, IdKind, Order, Report, Unpacked};
use crate::sys::fs::{self, FileType, OFlags, tree};

/// What whiteouts begin with, and the one that means "nothing of the layers below".
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What AUFS's own notes begin with, and the directory where it kept files with several links. The notes mean nothing
/// to others; the files may be linked to.
const NOTE: &[u8] = b".wh..wh.";
const LINKED: &[u8] = b".wh..wh.plnk";

/// The unit in which disk space is counted.
const DISK_BLOCK: u64 = 4096;

/// Files from this length on are given to the disk as soon as they are whole.
const WRITEBACK_BYTES: u64 = 1 << 20;

/// How many left-out device nodes are named.
const DEVICE_NAMES_MAX: usize = 16;

/// Why an entry cannot be written; its name is added by [`Extractor::add`].
#[derive(Debug)]
pub(super) enum Trouble {
    Problem(String),
    /// The file system is full.
    Full,
    Owner(IdKind, u64),
    /// Not the entry's fault.
    Failure(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

type Result<T> = std::result::Result<T, Trouble>;

/// For `map_err`: what was tried.
pub(super) fn doing(action: &'static str) -> impl FnOnce(io::Error) -> Trouble {
    move |err| match err.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => Trouble::Full,
        Some(libc::ENAMETOOLONG) => Trouble::Problem("its name is longer than 255 bytes".into()),
        _ => Trouble::Problem(format!("{action}: {err}")),
    }
}

/// Writes the entries of one layer.
#[derive(Debug)]
pub(super) struct Extractor<'a> {
    order: &'a Order,
    dirs: Dirs,
    /// There is a directory of files that only links of other entries keep.
    has_linked: bool,
    /// What new files belong to without a chown.
    me: (u32, u32),
    spent: u64,
    opaque_root: bool,
    /// Whether device nodes can be made, once that was tried.
    devices_work: Option<bool>,
    /// The first entry whose owner is not mapped.
    squashed: OnceCell<Bytes>,
    report: Report,
}

/// Where an entry goes.
struct Place<'p> {
    /// The cleaned path of the directory; empty for the root.
    dir: &'p [u8],
    parent: Rc<OwnedFd>,
    name: &'p [u8],
}

impl<'a> Extractor<'a> {
    pub(super) fn new(order: &'a Order, root: OwnedFd) -> std::result::Result<Self, Failure> {
        // A set-group-ID bit that a directory above handed down would give its group to every file.
        fs::chmod(&root, 0o755).map_err(Failure::system("set the mode of the layer's directory"))?;
        let stat = fs::stat(&root).map_err(Failure::system("inspect the layer's directory"))?;
        fs::set_mtime(&root, super::settle::IMPLICIT_TIME)
            .map_err(Failure::system("set the time of the layer's directory"))?;
        let mut extractor = Self {
            order,
            dirs: Dirs::new(root),
            has_linked: false,
            me: (stat.st_uid, rustix::process::getegid().as_raw()),
            spent: 0,
            opaque_root: false,
            devices_work: None,
            squashed: OnceCell::new(),
            report: Report::default(),
        };
        extractor.dirs.note_implicit(b"", 1).map_err(|trouble| extractor.failure(b"", trouble))?;
        Ok(extractor)
    }

    /// Writes one entry, whose data are next in `archive`.
    pub(super) fn add<R: BufRead>(
        &mut self,
        entry: &Entry,
        archive: &mut Archive<R>,
    ) -> std::result::Result<(), Failure> {
        self.report.entries += 1;
        if self.report.entries > self.order.limits.entries {
            return Err(Failure::Entries { max: self.order.limits.entries });
        }
        self.spend(stored_bytes(entry))?;
        self.write(entry, archive).map_err(|trouble| self.failure(&entry.path, trouble))
    }

    /// Sets what is still to be set on directories.
    pub(super) fn finish(mut self) -> std::result::Result<Unpacked, Failure> {
        self.remove_linked().map_err(|trouble| self.failure(LINKED, trouble))?;
        self.dirs.flush().map_err(|trouble| self.failure(b"", trouble))?;
        self.report.skipped_xattrs += self.dirs.skipped_xattrs;
        let implicit = std::mem::take(&mut self.dirs.implicit);
        Ok(Unpacked {
            root: self.dirs.into_root(),
            report: Report { squashed: self.squashed.into_inner(), ..self.report },
            implicit,
            opaque_root: self.opaque_root,
        })
    }

    fn failure(&self, path: &[u8], trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Problem(problem) => Failure::entry(path, problem),
            Trouble::Full => Failure::Space { needed: self.spent, free: self.order.limits.bytes },
            Trouble::Owner(kind, id) => Failure::Owner { entry: Bytes::from(path), kind, id },
            Trouble::Failure(failure) => failure,
        }
    }

    /// Counts the disk space of one more entry.
    fn spend(&mut self, bytes: u64) -> std::result::Result<(), Failure> {
        let blocks = bytes.div_ceil(DISK_BLOCK).saturating_add(1);
        self.spent = self.spent.saturating_add(blocks.saturating_mul(DISK_BLOCK));
        if self.spent > self.order.limits.bytes {
            return Err(Failure::Space { needed: self.spent, free: self.order.limits.bytes });
        }
        Ok(())
    }

    fn write<R: BufRead>(&mut self, entry: &Entry, archive: &mut Archive<R>) -> Result<()> {
        let path = clean(&entry.path)?;
        if path.is_empty() {
            return self.root(entry);
        }
        let (dir, name) = split(&path);
        if path.split(|&b| b == b'/').any(|part| part.starts_with(NOTE) && part != OPAQUE) {
            return self.note(entry, dir, name, archive);
        }
        if dir.split(|&b| b == b'/').any(|part| part.starts_with(WHITEOUT)) {
            return Err(Trouble::Problem("a whiteout cannot be a directory".into()));
        }
        if name.starts_with(WHITEOUT) {
            return self.whiteout(entry, dir, name);
        }
        let place = Place { dir, parent: self.dirs.get(dir)?, name };
        match entry.kind {
            Kind::Regular => self.regular(entry, place, archive),
            Kind::Directory => self.directory(entry, place, &path),
            Kind::Symlink => self.symlink(entry, place),
            Kind::Hardlink => self.hardlink(entry, place),
            Kind::Fifo => self.node(entry, place, FileType::Fifo, 0),
            Kind::Character | Kind::Block => self.device(entry, place),
        }
    }

    /// A note of AUFS, which means nothing, or a file that other entries may be links to.
    ///
    /// # Source
    ///
    /// moby, `pkg/archive/diff.go`.
    fn note<R: BufRead>(
        &mut self,
        entry: &Entry,
        dir: &[u8],
        name: &[u8],
        archive: &mut Archive<R>,
    ) -> Result<()> {
        if dir != LINKED || entry.kind != Kind::Regular || name.starts_with(WHITEOUT) {
            return Ok(());
        }
        // It goes where its links look for it: no other entry can have this name. `finish` takes it away.
        if !self.has_linked {
            let root = self.dirs.get(b"")?;
            fs::mkdir(&*root, LINKED, 0o700).map_err(doing("create"))?;
            self.has_linked = true;
        }
        let place = Place { dir, parent: self.dirs.get(dir)?, name };
        self.regular(entry, place, archive)
    }

    fn remove_linked(&mut self) -> Result<()> {
        if !self.has_linked {
            return Ok(());
        }
        // The times of the root are set after this.
        let root = self.dirs.get(b"")?;
        match tree::remove(&*root, std::os::unix::ffi::OsStrExt::from_bytes(LINKED)) {
            Ok(tree::Removed::All) => Ok(()),
            Ok(tree::Removed::Partly) => Err(Trouble::Problem("it cannot be removed".into())),
            Err(err) => Err(doing("remove")(err)),
        }
    }

    fn owner(&self, entry: &Entry) -> Result<Option<(u32, u32)>> {
        if self.order.squash_ids {
            let (owner, squashed) = self.order.ids.squashed_owner(entry.uid, entry.gid);
            if squashed {
                self.squashed.get_or_init(|| Bytes::from(entry.path.clone()));
            }
            return Ok(owner);
        }
        let owner = self.order.ids.owner(entry.uid, entry.gid);
        owner.map_err(|(kind, id)| Trouble::Owner(kind, id))
    }

    /// The owner to set on a file that this process has just made.
    fn new_owner(&self, entry: &Entry) -> Result<Option<(u32, u32)>> {
        Ok(self.owner(entry)?.filter(|owner| *owner != self.me))
    }

    fn dir_meta(&mut self, entry: &Entry) -> Result<DirMeta> {
        let owner = self.owner(entry)?;
        let mut xattrs = Vec::new();
        for (name, value) in &entry.xattrs {
            match xattr_name(name) {
                Some(name) => xattrs.push((name.into_owned(), value.clone())),
                None => self.report.skipped_xattrs += 1,
            }
        }
        Ok(DirMeta { owner, mode: entry.mode, mtime: entry.mtime, xattrs })
    }

    /// The entry for the layer's own directory. Whatever it says, everybody may enter a container's root: docker and podman
    /// do not look at it at all.
    fn root(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != Kind::Directory {
            return Err(Trouble::Problem("the root must be a directory".into()));
        }
        let mut meta = self.dir_meta(entry)?;
        meta.mode |= 0o555;
        self.dirs.set(b"", meta)
    }

    fn directory(&mut self, entry: &Entry, mut place: Place<'_>, path: &[u8]) -> Result<()> {
        let meta = self.dir_meta(entry)?;
        loop {
            match fs::mkdir(&*place.parent, place.name, 0o700) {
                Ok(()) => break,
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                    let stat = fs::stat_at(&*place.parent, place.name).map_err(doing("inspect"))?;
                    if fs::kind(&stat) == FileType::Directory {
                        break;
                    }
                    let hides = is_whiteout(&place.parent, place.name);
                    place = self.clear(place)?;
                    if hides {
                        fs::mkdir(&*place.parent, place.name, 0o700).map_err(doing("create"))?;
                        let made = fs::open_dir(&*place.parent, place.name).map_err(doing("open"))?;
                        set_opaque(&made)?;
                        break;
                    }
                }
                Err(err) => return Err(doing("create")(err)),
            }
        }
        self.dirs.set(path, meta)
    }

    fn regular<R: BufRead>(
        &mut self,
        entry: &Entry,
        place: Place<'_>,
        archive: &mut Archive<R>,
    ) -> Result<()> {
        let owner = self.new_owner(entry)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mode = entry.mode & 0o777;
        let (file, _) = self.make(place, |place| fs::open_at(&*place.parent, place.name, flags, mode))?;
        let file = File::from(file);
        match &entry.pieces {
            None => {
                copy(archive, &file)?;
                if entry.size >= WRITEBACK_BYTES {
                    // Whoever wants the layer on the disk in the end waits less. No promise, so no failure.
                    fs::start_writeback(&file, 0, 0).ok();
                }
            }
            Some(pieces) => {
                copy_pieces(archive, &file, pieces)?;
                fs::set_length(&file, entry.size).map_err(doing("set the length"))?;
            }
        }
        self.report.size_bytes += entry.size;
        if let Some((uid, gid)) = owner {
            fs::chown(&file, uid, gid).map_err(doing("set the owner"))?;
        }
        if !self.order.no_umask || entry.mode & 0o7000 != 0 {
            fs::chmod(&file, entry.mode).map_err(doing("set the mode"))?;
        }
        for (name, value) in &entry.xattrs {
            let kept = match xattr_name(name) {
                Some(name) => set_xattr(&file, &name, value)?,
                None => false,
            };
            self.report.skipped_xattrs += u64::from(!kept);
        }
        fs::set_mtime(&file, entry.mtime).map_err(doing("set the time"))
    }

    fn symlink(&mut self, entry: &Entry, place: Place<'_>) -> Result<()> {
        let owner = self.new_owner(entry)?;
        let target = &entry.link[..];
        if target.is_empty() || target.len() >= 4096 || target.contains(&0) {
            return Err(Trouble::Problem("a symbolic link needs a target of 1 to 4095 bytes".into()));
        }
        let ((), place) = self.make(place, |place| fs::symlink(target, &*place.parent, place.name))?;
        // No file system lets symbolic links have attributes that an image can carry.
        self.report.skipped_xattrs += entry.xattrs.len() as u64;
        if let Some((uid, gid)) = owner {
            fs::chown_at(&*place.parent, place.name, uid, gid).map_err(doing("set the owner"))?;
        }
        fs::set_mtime_at(&*place.parent, place.name, entry.mtime).map_err(doing("set the time"))
    }

    fn hardlink(&mut self, entry: &Entry, place: Place<'_>) -> Result<()> {
        let problem = |what: &str| Trouble::Problem(format!("its target {:?} {what}", shown(&entry.link)));
        let target = match clean(&entry.link) {
            Ok(target) if !target.is_empty() => target,
            _ => return Err(problem("is not in this layer")),
        };
        let (dir, name) = split(&target);
        let dir = self.dirs.get_existing(dir).map_err(|_| problem("is not in this layer"))?;
        let stat = fs::stat_at(&*dir, name).map_err(|_| problem("is not in this layer"))?;
        match fs::kind(&stat) {
            FileType::Directory => return Err(problem("is a directory")),
            FileType::CharacterDevice if stat.st_rdev == 0 => return Err(problem("is not in this layer")),
            _ => {}
        }
        // A second entry for the same link: removing the name first could remove the only one.
        if fs::stat_at(&*place.parent, place.name).is_ok_and(|there| there.st_ino == stat.st_ino) {
            return Ok(());
        }
        let place = Place { parent: self.dirs.get(place.dir)?, ..place };
        self.make(place, |place| fs::link(&*dir, name, &*place.parent, place.name)).map(drop)
    }

    /// A FIFO or a device.
    fn node(&mut self, entry: &Entry, place: Place<'_>, kind: FileType, rdev: u64) -> Result<()> {
        let owner = self.new_owner(entry)?;
        let mode = entry.mode;
        let make = |place: &Place<'_>| fs::mknod(&*place.parent, place.name, kind, mode & 0o777, rdev);
        let ((), place) = self.make(place, make)?;
        if let Some((uid, gid)) = owner {
            fs::chown_at(&*place.parent, place.name, uid, gid).map_err(doing("set the owner"))?;
        }
        // The node was made by this process a moment ago: it is no symbolic link.
        fs::chmod_at(&*place.parent, place.name, mode).map_err(doing("set the mode"))?;
        self.report.skipped_xattrs += entry.xattrs.len() as u64;
        fs::set_mtime_at(&*place.parent, place.name, entry.mtime).map_err(doing("set the time"))
    }

    fn device(&mut self, entry: &Entry, place: Place<'_>) -> Result<()> {
        let (major, minor) = entry.device;
        let kind = if entry.kind == Kind::Block { FileType::BlockDevice } else { FileType::CharacterDevice };
        // 0:0 is overlay's whiteout, which only a whiteout entry makes.
        if self.order.make_devices && (major, minor) != (0, 0) && self.may_make_devices(&place, kind) {
            return self.node(entry, place, kind, fs::device(major, minor));
        }
        self.report.skipped_devices += 1;
        if self.report.device_names.len() < DEVICE_NAMES_MAX {
            self.report.device_names.push(Bytes::from(&entry.path[..entry.path.len().min(1024)]));
        }
        Ok(())
    }

    /// Tries it under a name that no entry can have: root of a container has the capability, not the right.
    fn may_make_devices(&mut self, place: &Place<'_>, kind: FileType) -> bool {
        let parent = &*place.parent;
        *self.devices_work.get_or_insert_with(|| {
            const PROBE: &str = ".wh..wh..probe";
            let made = fs::mknod(parent, PROBE, kind, 0o600, fs::device(1, 3));
            made.is_ok() && fs::unlink(parent, PROBE).is_ok()
        })
    }

    fn whiteout(&mut self, entry: &Entry, dir: &[u8], name: &[u8]) -> Result<()> {
        if entry.kind != Kind::Regular {
            return Err(Trouble::Problem("a whiteout must be a regular file".into()));
        }
        let hidden = match hidden_by(name).map_err(|problem| Trouble::Problem(problem.into()))? {
            Hidden::All if dir.is_empty() => {
                self.opaque_root = true;
                return Ok(());
            }
            Hidden::All => return set_opaque(&*self.dirs.get(dir)?),
            Hidden::Nothing => return Ok(()),
            Hidden::Name(hidden) => hidden,
        };
        let parent = self.dirs.get(dir)?;
        match fs::mknod(&*parent, hidden, FileType::CharacterDevice, 0o600, 0) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                // What this layer itself has stays; only what is below it is hidden.
                match fs::open_dir(&*parent, hidden) {
                    Ok(made_here) => set_opaque(&made_here),
                    Err(_) => Ok(()),
                }
            }
            other => other.map_err(doing("create a whiteout")),
        }
    }

    /// Makes something new at `place`; what an earlier entry put there is removed first.
    fn make<'p, T>(
        &mut self,
        place: Place<'p>,
        mut make: impl FnMut(&Place<'p>) -> io::Result<T>,
    ) -> Result<(T, Place<'p>)> {
        match make(&place) {
            Ok(made) => Ok((made, place)),
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                let place = self.clear(place)?;
                let made = make(&place).map_err(doing("create"))?;
                Ok((made, place))
            }
            Err(err) => Err(doing("create")(err)),
        }
    }

    /// Removes what is at `place`, a whole directory too.
    fn clear<'p>(&mut self, place: Place<'p>) -> Result<Place<'p>> {
        let stat = fs::stat_at(&*place.parent, place.name).map_err(doing("inspect"))?;
        if !matches!(fs::kind(&stat), FileType::Directory | FileType::Symlink) {
            fs::unlink(&*place.parent, place.name).map_err(doing("replace"))?;
            return Ok(place);
        }
        // Open directories may lie in it, or have been reached through it.
        self.dirs.flush()?;
        let name = std::os::unix::ffi::OsStrExt::from_bytes(place.name);
        match tree::remove(&*place.parent, name).map_err(doing("replace"))? {
            tree::Removed::All => {}
            tree::Removed::Partly => {
                return Err(Trouble::Problem("the entry before cannot be replaced".into()));
            }
        }
        Ok(Place { parent: self.dirs.get(place.dir)?, ..place })
    }
}

/// Bytes of data that the archive has for an entry.
fn stored_bytes(entry: &Entry) -> u64 {
    match &entry.pieces {
        Some(pieces) => pieces.iter().map(|(_, length)| length).sum(),
        None => entry.size,
    }
}

/// Copies the data of the current entry to a new file.
fn copy<R: BufRead>(archive: &mut Archive<R>, mut file: &File) -> Result<()> {
    loop {
        let piece = archive.data()?;
        if piece.is_empty() {
            return Ok(());
        }
        file.write_all(piece).map_err(doing("write"))?;
        let length = piece.len();
        archive.consume(length);
    }
}

/// Copies the data of the current entry to their places in a new file.
fn copy_pieces<R: BufRead>(archive: &mut Archive<R>, file: &File, pieces: &[(u64, u64)]) -> Result<()> {
    for &(offset, length) in pieces {
        let mut done = 0;
        while done < length {
            let piece = archive.data()?;
            let take = piece.len().min(usize::try_from(length - done).unwrap_or(usize::MAX));
            file.write_all_at(&piece[..take], offset + done).map_err(doing("write"))?;
            archive.consume(take);
            done += take as u64;
        }
    }
    Ok(())
}

/// A path of an archive without leading `/`, `.`, `..` and doubled or trailing slashes; empty for the
/// root. As in Docker, `..` is taken away with the name before it.
///
/// # Errors
///
/// For a path that leads out of the root, or that holds a NUL.
fn clean(path: &[u8]) -> Result<Cow<'_, [u8]>> {
    if path.contains(&0) {
        return Err(Trouble::Problem("its name holds a NUL".into()));
    }
    let trimmed = path.strip_prefix(b"./").unwrap_or(path);
    let trimmed = trimmed.strip_suffix(b"/").unwrap_or(trimmed);
    let is_clean = |part: &[u8]| !part.is_empty() && part != b"." && part != b"..";
    if trimmed.split(|&b| b == b'/').all(is_clean) {
        return Ok(Cow::Borrowed(trimmed));
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop().ok_or_else(|| Trouble::Problem("its path leads out of the layer".into()))?;
            }
            part => parts.push(part),
        }
    }
    Ok(Cow::Owned(parts.join(&b'/')))
}

/// Directory and name of a cleaned path.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// What a whiteout hides of the layers below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hidden<'a> {
    /// All that is in its directory.
    All,
    /// One file.
    Name(&'a [u8]),
    /// Nothing: a note that AUFS kept in layers, without meaning for others.
    Nothing,
}

/// What the file `name` hides, which begins like a whiteout.
///
/// # Errors
///
/// The problem with a name that no reader could agree on.
pub(crate) fn hidden_by(name: &[u8]) -> std::result::Result<Hidden<'_>, &'static str> {
    if name == OPAQUE {
        return Ok(Hidden::All);
    }
    match name.strip_prefix(WHITEOUT) {
        None | Some(b"" | b"." | b"..") => Err("a whiteout must name a file"),
        Some(hidden) if hidden.starts_with(WHITEOUT) => Ok(Hidden::Nothing),
        Some(hidden) => Ok(Hidden::Name(hidden)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for (path, want) in [
            (&b"a/b"[..], Some(&b"a/b"[..])),
            (b"./a/b/", Some(b"a/b")),
            (b"/a", Some(b"a")),
            (b"//a//./b//", Some(b"a/b")),
            (b"a/../b", Some(b"b")),
            (b"a/b/../../c", Some(b"c")),
            (b".", Some(b"")),
            (b"./", Some(b"")),
            (b"/", Some(b"")),
            (b"", Some(b"")),
            (b"a/..", Some(b"")),
            (b"...", Some(b"...")),
            (b"..a", Some(b"..a")),
            (b"..", None),
            (b"../a", None),
            (b"a/../../b", None),
            (b"/..", None),
            (b"./../x", None),
            (b"a\0b", None),
        ] {
            let cleaned = clean(path).ok();
            assert_eq!(cleaned.as_deref(), want, "{}", String::from_utf8_lossy(path));
        }
    }
}
