//! Changes as the archive of a layer.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use crate::base::idmap::IdMap;
use crate::base::tar::{self, Entry, Kind, Sparse};
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::layer::walk::{Found, Sink, attributes};
use crate::runtime::layer::{Packed, Result, unreadable, written};
use crate::runtime::sparse;
use crate::sys::fs::{self, FileType, Stat};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 << 10;

/// Writes the archive.
pub(super) struct Packer<'a, W> {
    out: &'a mut W,
    id_maps: Option<(IdMap, IdMap)>,
    clamp: Option<i64>,
    /// Files with several names that were packed, by device and inode.
    linked: HashMap<(u64, u64), Vec<u8>>,
    packed: Packed,
    buffer: Vec<u8>,
}

impl<'a, W: Write> Packer<'a, W> {
    pub(super) fn new(out: &'a mut W, id_maps: Option<(IdMap, IdMap)>, clamp: Option<i64>) -> Self {
        Self {
            out,
            id_maps,
            clamp,
            linked: HashMap::new(),
            packed: Packed::default(),
            buffer: vec![0; PIECE_BYTES],
        }
    }

    /// Ends the archive.
    pub(super) fn finish(self) -> Result<Packed> {
        self.out.write_all(&tar::END).map_err(written)?;
        Ok(self.packed)
    }

    fn header(&mut self, entry: &Entry<'_>) -> Result<()> {
        self.packed.entries += 1;
        self.out.write_all(&entry.header()).map_err(written)
    }

    /// Owner, mode and time of a file, as the archive has them.
    fn entry<'e>(&self, kind: Kind, path: &'e [u8], stat: &Stat) -> Result<Entry<'e>> {
        let (uid, gid) = match &self.id_maps {
            None => (stat.st_uid, stat.st_gid),
            Some((uids, gids)) => {
                let inside = |map: &IdMap, id| {
                    map.to_inside(id).ok_or_else(|| {
                        let shown = crate::runtime::rootfs::shown(path);
                        let message =
                            format!("/{shown} belongs to an ID that is not mapped in the container");
                        Failure::new(FailureKind::System, message)
                    })
                };
                (inside(uids, stat.st_uid)?, inside(gids, stat.st_gid)?)
            }
        };
        let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        let mtime = match self.clamp {
            Some(clamp) if stat.st_mtime >= clamp => (clamp, 0),
            _ => (stat.st_mtime, nanoseconds),
        };
        Ok(Entry { uid, gid, mtime, ..Entry::new(kind, path, stat.st_mode & 0o7777) })
    }

    /// The attributes of a file with the IDs in them as the container sees them.
    fn attributes(&self, file: &OwnedFd, path: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found = attributes(file).map_err(|err| unreadable(path, err))?;
        for (name, value) in &mut found {
            match &name[..] {
                b"security.capability" => forget_root_id(value),
                b"system.posix_acl_access" | b"system.posix_acl_default" => {
                    if let Some((uids, gids)) = &self.id_maps {
                        translate_acl(value, uids, gids);
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn regular(&mut self, found: &Found<'_>, file: &OwnedFd) -> Result<()> {
        let key = (found.stat.st_dev, found.stat.st_ino);
        if found.stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&key).cloned() {
                let entry = self.entry(Kind::Hardlink, found.path, found.stat)?;
                return self.header(&Entry { link: &first, ..entry });
            }
            self.linked.insert(key, found.path.to_vec());
        }
        let size = u64::try_from(found.stat.st_size).unwrap_or(0);
        let pieces = sparse::pieces(file, found.stat, size).map_err(|err| unreadable(found.path, err))?;
        let xattrs = self.attributes(file, found.path)?;
        let sparse = pieces.as_ref().map(|pieces| Sparse { pieces });
        let entry =
            Entry { size, xattrs: &xattrs, sparse, ..self.entry(Kind::Regular, found.path, found.stat)? };
        self.header(&entry)?;
        self.packed.size_bytes += size;
        let whole = [(0, size)];
        for &(offset, length) in pieces.as_deref().unwrap_or(&whole) {
            self.data(file, found.path, offset, length)?;
        }
        self.out.write_all(tar::padding(entry.stored())).map_err(written)
    }

    /// Copies a piece of a file. Its length is in the header already: what a file lacks that shrinks
    /// meanwhile is filled up with zeros.
    fn data(&mut self, file: &OwnedFd, path: &[u8], mut offset: u64, mut left: u64) -> Result<()> {
        let file = File::from(file.try_clone().map_err(|err| unreadable(path, err))?);
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let got = match file.read_at(&mut self.buffer[..wanted], offset) {
                Err(err) if err.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other.map_err(|err| unreadable(path, err))?,
            };
            let length = if got > 0 {
                got
            } else {
                self.buffer[..wanted].fill(0);
                wanted
            };
            self.out.write_all(&self.buffer[..length]).map_err(written)?;
            offset += length as u64;
            left -= length as u64;
        }
        Ok(())
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<()> {
        self.header(&Entry::new(Kind::Regular, path, 0o600))
    }
}

impl<W: Write> Sink for Packer<'_, W> {
    fn found(&mut self, found: &Found<'_>) -> Result<()> {
        let device = (rustix::fs::major(found.stat.st_rdev), rustix::fs::minor(found.stat.st_rdev));
        let kind = match (fs::kind(found.stat), found.file) {
            (FileType::RegularFile, Some(file)) => return self.regular(found, file),
            (FileType::Directory, Some(dir)) => {
                let path = if found.path.is_empty() { b"./".to_vec() } else { [found.path, b"/"].concat() };
                let xattrs = self.attributes(dir, found.path)?;
                let entry = self.entry(Kind::Directory, &path, found.stat)?;
                return self.header(&Entry { xattrs: &xattrs, ..entry });
            }
            (FileType::Symlink, _) => Kind::Symlink,
            (FileType::Fifo, _) => Kind::Fifo,
            (FileType::CharacterDevice, _) => Kind::Character { major: device.0, minor: device.1 },
            (FileType::BlockDevice, _) => Kind::Block { major: device.0, minor: device.1 },
            _ => return Ok(()),
        };
        let entry = self.entry(kind, found.path, found.stat)?;
        self.header(&Entry { link: found.link, ..entry })
    }

    fn deleted(&mut self, path: &[u8]) -> Result<()> {
        let (dir, name) = match path.iter().rposition(|&b| b == b'/') {
            Some(slash) => path.split_at(slash + 1),
            None => (&b""[..], path),
        };
        self.whiteout(&[dir, b".wh.", name].concat())
    }

    fn opaque(&mut self, path: &[u8], _hidden: &[OsString]) -> Result<()> {
        self.whiteout(&[path, b"/.wh..wh..opq"].concat())
    }
}

/// Makes capabilities of a user namespace's root (version 3) those of any root (version 2), which is how
/// images have them.
///
/// # Source
///
/// Linux `include/uapi/linux/capability.h`, `struct vfs_ns_cap_data`.
fn forget_root_id(value: &mut Vec<u8>) {
    const VERSION_3: u8 = 3;
    if value.len() == 24 && value[3] == VERSION_3 {
        value[3] = 2;
        value.truncate(20);
    }
}

/// Gives the users and groups that an access control list names the IDs they have in the container.
///
/// # Source
///
/// Linux `include/uapi/linux/posix_acl_xattr.h`: a version, then entries of tag, permissions and ID.
fn translate_acl(value: &mut [u8], uids: &IdMap, gids: &IdMap) {
    const USER: u16 = 0x02;
    const GROUP: u16 = 0x08;
    for entry in value.get_mut(4..).unwrap_or_default().chunks_exact_mut(8) {
        let map = match u16::from_le_bytes([entry[0], entry[1]]) {
            USER => uids,
            GROUP => gids,
            _ => continue,
        };
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        if let Some(inside) = map.to_inside(id) {
            entry[4..].copy_from_slice(&inside.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::idmap::IdExtent;

    #[test]
    fn capabilities_lose_their_namespace() {
        let mut value = [&[1, 0, 0, 3][..], &[7; 16], &[9, 0, 0, 0]].concat();
        forget_root_id(&mut value);
        assert_eq!(value, [&[1, 0, 0, 2][..], &[7; 16]].concat());
        forget_root_id(&mut value);
        assert_eq!(value.len(), 20);
    }

    #[test]
    fn lists_name_the_ids_of_the_container() {
        let map = IdMap(vec![IdExtent { inside: 0, outside: 1, len: 10 }]);
        let entry = |tag: u16, id: u32| [&tag.to_le_bytes()[..], &[7, 0], &id.to_le_bytes()].concat();
        let acl = |id| [&[2, 0, 0, 0][..], &entry(1, u32::MAX), &entry(2, id), &entry(8, id)].concat();
        let mut value = acl(5);
        translate_acl(&mut value, &map, &map);
        assert_eq!(value, acl(4));
    }
}
