//! Files between the host, containers and archives.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::base::bytes::Bytes;
use crate::base::id::ContainerId;
use crate::base::spec::Record;
use crate::engine::start::failed;
use crate::engine::{Engine, Error, Kind, Result, state};
use crate::runtime::copy::{self, Content, Copying, Ids, Job, Owner, Pack, Place, Unpack};
use crate::runtime::failure::Failure;
use crate::store::volumes::VolumeRecord;
use crate::sys::fs::{self, OFlags, Share};

/// How long a copy waits for another one of the same stopped container.
const PATIENCE: Duration = Duration::from_secs(60);

/// One end of a copy.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// An absolute path of the host.
    Host(Bytes),
    /// A path in a container; absolute.
    Container(ContainerId, Bytes),
}

/// How to copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy {
    /// Files belong to the container's user, and not to whom they belonged before.
    pub(crate) chown: bool,
    /// A directory may take the place of something else, and the other way round.
    pub(crate) overwrite: bool,
}

/// A container as a copy finds it.
struct Standing {
    place: Place,
    record: Option<Record>,
    /// Keeps one that does not run from being started.
    _still: Option<OwnedFd>,
    user: String,
}

impl Engine {
    /// Writes all files of a container to `archive`, without what is mounted into it.
    ///
    /// # Errors
    ///
    /// If the container is gone, or the archive cannot be written.
    pub(crate) fn export(&self, id: &ContainerId, archive: BorrowedFd<'_>) -> Result<()> {
        let pack = Pack { path: "/".into(), name: "".into(), one_file_system: true };
        let copying =
            self.begin(&self.standing(id)?, Job::Pack(pack), archive).map_err(|err| failed(err, id))?;
        copying.begun().and_then(|_| copying.finish()).map_err(|err| failed(err, id))
    }

    /// Writes the files of a volume to `archive`.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`]; if the archive cannot be written.
    pub(crate) fn export_volume(&self, name: &str, archive: BorrowedFd<'_>) -> Result<()> {
        let pack = Pack { path: ".".into(), name: ".".into(), one_file_system: false };
        let copying = self.begin_volume(&self.volume(name)?, Job::Pack(pack), archive)?;
        copying.begun().and_then(|_| copying.finish()).map_err(of_volume)
    }

    /// Unpacks `archive` into a volume.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`]; if the archive is broken or does not fit.
    pub(crate) fn import_volume(&self, name: &str, archive: BorrowedFd<'_>) -> Result<()> {
        let job = Unpack {
            path: ".".into(),
            name: "".into(),
            content: Content::Stream,
            owner: Owner::Archive,
            overwrite: true,
        };
        // Once: meanwhile another volume may come that what was typed is the beginning of, too.
        let volume = self.volume(name)?;
        self.begin_volume(&volume, Job::Unpack(job), archive)?.finish().map_err(of_volume)?;
        // Its owners are those of the archive: the first container leaves them as they are.
        Ok(self.store().volumes().note_first_use(&volume.name)?)
    }

    fn begin_volume(&self, volume: &VolumeRecord, job: Job, archive: BorrowedFd<'_>) -> Result<Copying> {
        let data = self.volume_directory(volume);
        let store = self.store().root();
        copy::start(&self.caller(), store, Place::Directory(data), None, job, archive).map_err(of_volume)
    }

    /// Copies `path` of a container as a tar archive to `archive`.
    ///
    /// # Errors
    ///
    /// If there is no such path; if the archive cannot be written.
    pub(crate) fn copy_to_archive(
        &self,
        id: &ContainerId,
        path: &Bytes,
        archive: BorrowedFd<'_>,
    ) -> Result<()> {
        let (name, content_only) = name_of(path);
        let name = if content_only { ".".into() } else { name };
        let pack = Pack { path: path.clone(), name, one_file_system: false };
        let copying =
            self.begin(&self.standing(id)?, Job::Pack(pack), archive).map_err(|err| failed(err, id))?;
        copying.begun().and_then(|_| copying.finish()).map_err(|err| failed(err, id))
    }

    /// Unpacks the tar archive `archive` into the directory `path` of a container.
    ///
    /// # Errors
    ///
    /// If there is no such directory; if the archive is broken.
    pub(crate) fn copy_from_archive(
        &self,
        id: &ContainerId,
        path: &Bytes,
        archive: BorrowedFd<'_>,
        how: Copy,
    ) -> Result<()> {
        let standing = self.standing(id)?;
        let job = how.unpack(path, "".into(), Content::Stream, &standing.user);
        let copying = self.begin(&standing, Job::Unpack(job), archive).map_err(|err| failed(err, id))?;
        copying.finish().map_err(|err| failed(err, id))
    }

    /// Copies a file or a directory. At least one end is in a container.
    ///
    /// # Errors
    ///
    /// If the source is not there, or the target cannot be meant or written.
    pub(crate) fn copy(&self, from: &End, to: &End, how: Copy) -> Result<()> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|errno| Error::system("make a pipe", std::io::Error::from(errno)))?;
        match (from, to) {
            (End::Host(path), End::Container(id, target)) => {
                self.copy_in(path, id, target, how, (read, write))
            }
            (End::Container(id, path), target) => {
                let pack = Pack { path: path.clone(), name: ".".into(), one_file_system: false };
                let source = self.standing(id)?;
                let packing =
                    self.begin(&source, Job::Pack(pack), write.as_fd()).map_err(|err| failed(err, id))?;
                drop(write);
                let content = packing.begun().map(|is_directory| content_of(is_directory, path));
                let content = content.map_err(|err| failed(err, id))?;
                let name = name_of(path).0;
                let landed = match target {
                    End::Host(target) => {
                        let job = how.unpack_to_host(target, name, content);
                        copy::unpack_here(File::from(read), &job)
                    }
                    End::Container(to, target) => {
                        // Within one container that does not run there is one lock to hold.
                        let other = if to == id { None } else { Some(self.standing(to)?) };
                        if other.is_none() && source.record.is_none() {
                            return Err(Error::invalid("copy within a container that does not run")
                                .hint(format!("start it: ketch start {}", id.short())));
                        }
                        let other = other.as_ref().unwrap_or(&source);
                        let job = how.unpack(target, name, content, &other.user);
                        let unpacking = self.begin(other, Job::Unpack(job), read.as_fd());
                        drop(read);
                        unpacking.and_then(Copying::finish)
                    }
                };
                // Why nothing arrives is told better by the one who reads it.
                match (landed, packing.finish()) {
                    (Err(err), _) | (Ok(()), Err(err)) => Err(failed(err, id)),
                    (Ok(()), Ok(())) => Ok(()),
                }
            }
            (End::Host(_), End::Host(_)) => Err(Error::invalid("one of the two must be in a container")),
        }
    }

    /// Copies from the host into a container.
    fn copy_in(
        &self,
        path: &Bytes,
        id: &ContainerId,
        target: &Bytes,
        how: Copy,
        (read, write): (OwnedFd, OwnedFd),
    ) -> Result<()> {
        let found = std::fs::metadata(path.as_path()).map_err(|err| {
            Error::invalid(format!("{:?} could not be found on the host", path.to_string_lossy()))
                .because(err)
        })?;
        let standing = self.standing(id)?;
        let job = how.unpack(target, name_of(path).0, content_of(found.is_dir(), path), &standing.user);
        let copying = self.begin(&standing, Job::Unpack(job), read.as_fd()).map_err(|err| failed(err, id))?;
        drop(read);
        let ids = if self.caller().mapping.is_some() { Ids::Root } else { Ids::Same };
        let packed = copy::pack_here(path, File::from(write), ids);
        // A reader that gave up knows why better than the writer whose pipe broke.
        match (copying.finish(), packed) {
            (Err(err), _) | (Ok(()), Err(err)) => Err(failed(err, id)),
            (Ok(()), Ok(())) => Ok(()),
        }
    }

    fn begin(
        &self,
        at: &Standing,
        job: Job,
        archive: BorrowedFd<'_>,
    ) -> std::result::Result<Copying, Failure> {
        let store = self.store().root();
        copy::start(&self.caller(), store, at.place.clone(), at.record.as_ref(), job, archive)
    }

    /// Finds out how a container's files are reached, and keeps it that way.
    fn standing(&self, id: &ContainerId) -> Result<Standing> {
        let dir = self.store().containers().open(id)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = state::examine(dir.as_fd(), id)?;
            if let Some(record) = status.record.filter(|_| status.phase.is_running()) {
                let user = state::read_spec(dir.as_fd(), id)?.process.user;
                let place = Place::Running { pid: record.pid };
                return Ok(Standing { place, record: Some(record), _still: None, user });
            }
            let lock = fs::open_at(&dir, "lock", OFlags::RDWR | OFlags::CREATE, 0o600)
                .map_err(|err| Error::system(format!("lock container {}", id.short()), err))?;
            match fs::try_lock(&lock, Share::Exclusive) {
                Ok(true) => {
                    let details = self.inspect_container(id, id.as_str())?;
                    let user = details.spec.process.user.clone();
                    let place = Place::Stopped {
                        spec: Box::new(details.spec),
                        container: details.dir,
                        store: self.store().root().to_owned(),
                        id_maps: details.id_maps,
                    };
                    return Ok(Standing { place, record: None, _still: Some(lock), user });
                }
                // It starts or ends just now, or another copy is under way.
                Ok(false) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                Ok(false) => {
                    return Err(Error::new(Kind::Conflict, format!("container {} is busy", id.short())));
                }
                Err(err) => return Err(Error::system(format!("lock container {}", id.short()), err)),
            }
        }
    }
}

impl Copy {
    fn unpack(self, path: &Bytes, name: Bytes, content: Content, user: &str) -> Unpack {
        let owner = if self.chown { Owner::User(user.to_owned()) } else { Owner::Archive };
        Unpack { path: path.clone(), name, content, owner, overwrite: self.overwrite }
    }

    fn unpack_to_host(self, path: &Bytes, name: Bytes, content: Content) -> Unpack {
        // Only root can give files away.
        let keep = !self.chown && rustix::process::geteuid().is_root();
        let owner = if keep { Owner::Archive } else { Owner::Caller };
        Unpack { path: path.clone(), name, content, owner, overwrite: self.overwrite }
    }
}

fn of_volume(failure: Failure) -> Error {
    Error::system("copy the files of a volume", failure)
}

/// What a copy of `path` is called, and whether its content alone is meant, as with `dir/.`.
fn name_of(path: &Bytes) -> (Bytes, bool) {
    let bytes = path.as_bytes();
    let trimmed = bytes.strip_suffix(b"/").unwrap_or(bytes);
    let name = trimmed.rsplit(|&b| b == b'/').next().unwrap_or_default();
    (Bytes::from(name), matches!(name, b"" | b"." | b".."))
}

fn content_of(is_directory: bool, path: &Bytes) -> Content {
    if is_directory { Content::Directory { content_only: name_of(path).1 } } else { Content::File }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sources() {
        for (path, name, content_only) in
            [("/a/b", "b", false), ("/a/b/", "b", false), ("/a/.", ".", true), ("/", "", true)]
        {
            assert_eq!(name_of(&path.into()), (name.into(), content_only), "{path}");
        }
    }
}
