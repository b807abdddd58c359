//! A tree as a tar archive: walked on descriptors, no link followed.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use tar::{EntryType, Header};

use crate::base::idmap::IdMap;
use crate::base::order::InOrder as _;
use crate::base::tar::record;
use crate::runtime::copy::{Result, Source};
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::rootfs;
use crate::sys::fs;

/// The unit of the format.
const BLOCK: u64 = 512;
/// Longest name that a header takes by itself.
const NAME_MAX: usize = 100;
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Which IDs the archive names.
#[derive(Debug)]
pub(crate) enum Ids {
    /// Those that this process sees.
    Same,
    /// Root: the files are the caller's, who is root in containers.
    Root,
    /// Those inside a container with these maps.
    Inside { uids: IdMap, gids: IdMap },
}

/// Packs `source`, named `name` in the archive; `shown` is its path for messages.
pub(super) fn pack(
    source: Source,
    shown: &[u8],
    name: &[u8],
    one_file_system: bool,
    ids: Ids,
    out: BufWriter<File>,
) -> Result<()> {
    let mut packer = Packer { out, ids, one_file_system, linked: HashMap::new(), shown: shown.to_vec() };
    let stat = fs::stat(&source.fd).map_err(|err| packer.failed(b"", err))?;
    let link = Some(source.found.link.as_bytes()).filter(|link| !link.is_empty());
    if source.found.is_directory() {
        packer.directory(&source.fd, &stat, name, true)?;
    } else {
        packer.other(&source.fd, &stat, name, link)?;
    }
    super::finish(packer.out)
}

struct Packer {
    out: BufWriter<File>,
    ids: Ids,
    one_file_system: bool,
    /// Files with several names that were packed, by device and inode.
    linked: HashMap<(u64, u64), Vec<u8>>,
    shown: Vec<u8>,
}

/// What a header says beyond the metadata of the file.
struct Fields<'a> {
    kind: EntryType,
    name: &'a [u8],
    link: &'a [u8],
    size: u64,
}

impl Packer {
    fn failed(&self, name: &[u8], err: impl Into<io::Error>) -> Failure {
        let path = [&self.shown[..], b" ", name].concat();
        Failure::errno(format!("read {}", rootfs::shown(path.trim_ascii_end())), err)
    }

    /// Packs a directory and what is in it; `enter` is false for a mount point whose content stays.
    fn directory(&mut self, dir: &OwnedFd, stat: &Stat, name: &[u8], enter: bool) -> Result<()> {
        if !name.is_empty() {
            let entry_name = [name, b"/"].concat();
            self.header(
                stat,
                &Fields { kind: EntryType::Directory, name: &entry_name, link: b"", size: 0 },
                Some(dir),
            )?;
        }
        if !enter {
            return Ok(());
        }
        let mut names = fs::names(dir, ".").map_err(|err| self.failed(name, err))?;
        names.order();
        for below in names {
            let path = if name.is_empty() {
                below.as_bytes().to_vec()
            } else {
                [name, b"/", below.as_bytes()].concat()
            };
            match self.child(dir, &below, &path) {
                // It was removed or replaced meanwhile.
                Err(Trouble::Gone) => {}
                Err(Trouble::Failed(failure)) => return Err(failure),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn child(&mut self, dir: &OwnedFd, name: &OsStr, path: &[u8]) -> std::result::Result<(), Trouble> {
        let trouble = |packer: &Self, errno: Errno| match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Trouble::Gone,
            errno => Trouble::Failed(packer.failed(path, errno)),
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut is_mount = false;
        let found = match rustix::fs::openat2(dir, name, flags, Mode::empty(), ResolveFlags::NO_XDEV) {
            Err(Errno::XDEV) => {
                is_mount = true;
                rustix::fs::openat(dir, name, flags, Mode::empty())
            }
            other => other,
        };
        let found = found.map_err(|errno| trouble(self, errno))?;
        let stat = rustix::fs::fstat(&found).map_err(|errno| trouble(self, errno))?;
        let stays = is_mount && self.one_file_system;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let opened = rustix::fs::openat(&found, ".", flags, Mode::empty());
                let opened = opened.map_err(|errno| trouble(self, errno))?;
                self.directory(&opened, &stat, path, !stays)?;
            }
            FileType::RegularFile if stays => {
                let fields = Fields { kind: EntryType::Regular, name: path, link: b"", size: 0 };
                self.header(&stat, &fields, None)?;
            }
            FileType::RegularFile => {
                let file = rustix::fs::openat(dir, name, READ, Mode::empty());
                let file = file.map_err(|errno| trouble(self, errno))?;
                let stat = rustix::fs::fstat(&file).map_err(|errno| trouble(self, errno))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Err(Trouble::Gone);
                }
                self.other(&file, &stat, path, None)?;
            }
            _ if stays => {}
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(&found, "", Vec::new());
                let link = link.map_err(|errno| trouble(self, errno))?;
                self.other(&found, &stat, path, Some(link.as_bytes()))?;
            }
            _ => self.other(&found, &stat, path, None)?,
        }
        Ok(())
    }

    /// Packs what is no directory. Sockets mean nothing in an archive and are left out.
    fn other(&mut self, file: &OwnedFd, stat: &Stat, name: &[u8], link: Option<&[u8]>) -> Result<()> {
        let fields = |kind| Fields { kind, name, link: link.unwrap_or_default(), size: 0 };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.regular(file, stat, name),
            FileType::Symlink => self.header(stat, &fields(EntryType::Symlink), None),
            FileType::Fifo => self.header(stat, &fields(EntryType::Fifo), None),
            FileType::CharacterDevice => self.header(stat, &fields(EntryType::Char), None),
            FileType::BlockDevice => self.header(stat, &fields(EntryType::Block), None),
            _ => Ok(()),
        }
    }

    fn regular(&mut self, file: &OwnedFd, stat: &Stat, name: &[u8]) -> Result<()> {
        let key = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&key).cloned() {
                let fields = Fields { kind: EntryType::Link, name, link: &first, size: 0 };
                return self.header(stat, &fields, None);
            }
            self.linked.insert(key, name.to_vec());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.header(stat, &Fields { kind: EntryType::Regular, name, link: b"", size }, Some(file))?;
        let failed = |packer: &Self, err| packer.failed(name, err);
        let mut file = File::from(file.try_clone().map_err(|err| failed(self, err))?).take(size);
        // Its size is in the header already: a file that shrinks meanwhile is filled up with zeros.
        let mut left = size;
        let mut buffer = vec![0; 64 << 10];
        while left > 0 {
            let got = file.read(&mut buffer).map_err(|err| failed(self, err))?;
            let piece = if got > 0 {
                &buffer[..got]
            } else {
                let rest = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                buffer[..rest].fill(0);
                &buffer[..rest]
            };
            self.out.write_all(piece).map_err(written)?;
            left -= piece.len() as u64;
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let rest = (BLOCK - size % BLOCK) % BLOCK;
        let zeros = [0; 512];
        self.out.write_all(&zeros[..usize::try_from(rest).unwrap_or(0)]).map_err(written)
    }

    /// Writes a header, with an extended one before it for what does not fit. `file` can be asked for
    /// extended attributes.
    fn header(&mut self, stat: &Stat, fields: &Fields<'_>, file: Option<&OwnedFd>) -> Result<()> {
        let mut extended = Vec::new();
        let mut header = Header::new_gnu();
        if fields.name.len() > NAME_MAX {
            extended.extend(record(b"path", fields.name));
        }
        let fits = &fields.name[..fields.name.len().min(NAME_MAX)];
        header.as_old_mut().name[..fits.len()].copy_from_slice(fits);
        if fields.link.len() > NAME_MAX {
            extended.extend(record(b"linkpath", fields.link));
        }
        let fits = &fields.link[..fields.link.len().min(NAME_MAX)];
        header.as_old_mut().linkname[..fits.len()].copy_from_slice(fits);
        let (uid, gid) = self.ids.of(stat).ok_or_else(|| {
            let what = rootfs::shown(fields.name);
            Failure::new(FailureKind::System, format!("{what} belongs to a user who is not mapped"))
        })?;
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        header.set_mode(stat.st_mode & 0o7777);
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
        header.set_size(fields.size);
        header.set_entry_type(fields.kind);
        if matches!(fields.kind, EntryType::Char | EntryType::Block) {
            let set = header.set_device_major(rustix::fs::major(stat.st_rdev));
            set.and_then(|()| header.set_device_minor(rustix::fs::minor(stat.st_rdev))).map_err(written)?;
        }
        for (name, value) in file.map(attributes).unwrap_or_default() {
            extended.extend(record(format!("SCHILY.xattr.{name}").as_bytes(), &value));
        }
        if !extended.is_empty() {
            let mut before = Header::new_ustar();
            before.as_old_mut().name[..9].copy_from_slice(b"PaxHeader");
            before.set_mode(0o644);
            before.set_entry_type(EntryType::XHeader);
            before.set_size(extended.len() as u64);
            before.set_cksum();
            self.out.write_all(before.as_bytes()).map_err(written)?;
            self.out.write_all(&extended).map_err(written)?;
            self.pad(extended.len() as u64)?;
        }
        header.set_cksum();
        self.out.write_all(header.as_bytes()).map_err(written)
    }
}

enum Trouble {
    Gone,
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Ids {
    fn of(&self, stat: &Stat) -> Option<(u32, u32)> {
        match self {
            Self::Same => Some((stat.st_uid, stat.st_gid)),
            Self::Root => Some((0, 0)),
            Self::Inside { uids, gids } => Some((uids.to_inside(stat.st_uid)?, gids.to_inside(stat.st_gid)?)),
        }
    }
}

/// The extended attributes that travel: file capabilities and the user's own. Where they cannot be read
/// there are none to copy.
fn attributes(file: &OwnedFd) -> Vec<(String, Vec<u8>)> {
    let names = fs::xattr_names(file.as_fd()).unwrap_or_default();
    let travels = |name: &String| {
        name == "security.capability" || name.starts_with("user.") && !name.starts_with("user.overlay.")
    };
    let names = names.into_iter().filter_map(|name| String::from_utf8(name).ok()).filter(travels);
    names
        .filter_map(|name| {
            let value = fs::xattr(file.as_fd(), name.as_str()).ok()??;
            Some((name, value))
        })
        .collect()
}

/// An archive that could not be written.
pub(super) fn written(err: io::Error) -> Failure {
    Failure::errno("write the archive", err)
}
