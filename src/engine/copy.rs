//! Files between the host, containers and archives.

use std::fs::File;
use std::io::{self, Seek as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use rustix::fs::{Mode, OFlags};

use crate::base::bytes::Bytes;
use crate::base::id::ContainerId;
use crate::base::spec::Record;
use crate::engine::start::failed;
use crate::engine::still::{LOOK, PATIENCE};
use crate::engine::{Engine, Error, Kind, Result, state};
use crate::runtime::copy::{self, Content, Copying, Found, Ids, Job, Owner, Pack, Place, Unpack};
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::still::Still;
use crate::store::volumes::VolumeRecord;
use crate::sys::signal::BrokenPipesAreErrors;

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
    /// A link that the source ends in is followed, and not copied itself.
    pub(crate) follow: bool,
}

/// A container as a copy finds it.
struct Standing {
    place: Place,
    /// Of one that runs.
    record: Option<Record>,
    /// Keeps one that does not run from being started.
    still: Option<Still>,
}

/// A copy that has found the container's files.
#[derive(Debug)]
struct Begun {
    copying: Copying,
    /// The source of a pack.
    source: Option<Found>,
    still: Option<Still>,
    /// The directory of a container that nothing keeps, of which more than one file is packed.
    passing: Option<PathBuf>,
}

impl Begun {
    /// Waits for the end.
    fn finish(self) -> std::result::Result<(), Failure> {
        let finished = self.copying.finish();
        drop(self.still);
        // What was read while it was removed is not all that it had, whether that was noticed or not.
        match self.passing {
            Some(directory) if !directory.exists() => {
                Err(Failure::new(FailureKind::Gone, "the container was removed"))
            }
            _ => finished,
        }
    }
}

/// Files of a container that are being packed.
#[derive(Debug)]
pub(crate) struct Archiving {
    /// The archive, as it comes.
    pub(crate) archive: File,
    begun: Begun,
    id: ContainerId,
}

impl Archiving {
    /// What is packed.
    pub(crate) fn source(&self) -> Option<&Found> {
        self.begun.source.as_ref()
    }

    /// Waits for the end, once the archive was read.
    ///
    /// # Errors
    ///
    /// If something could not be read.
    pub(crate) fn finish(self) -> Result<()> {
        drop(self.archive);
        self.begun.finish().map_err(|err| failed(err, &self.id))
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| Error::system("make a pipe", std::io::Error::from(errno)))
}

/// What there is in place of an archive where nothing is copied.
fn nothing() -> Result<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::system("open /dev/null", std::io::Error::from(errno)))
}

impl Engine {
    /// Writes all files of a container to `archive`, without what is mounted into it.
    ///
    /// # Errors
    ///
    /// If the container is gone, or the archive cannot be written.
    pub(crate) fn export(&self, id: &ContainerId, archive: BorrowedFd<'_>) -> Result<()> {
        let pack = Pack { path: "/".into(), name: "".into(), one_file_system: true, follow: true };
        self.begin(id, &Job::Pack(pack), archive)?.finish().map_err(|err| failed(err, id))?;
        self.record_for_docker("export", id, &[]);
        Ok(())
    }

    /// Writes the files of a volume to `archive`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::engine::Kind::NotFound); if the archive cannot be written.
    pub(crate) fn export_volume(&self, name: &str, archive: BorrowedFd<'_>) -> Result<()> {
        let pack = Pack { path: ".".into(), name: ".".into(), one_file_system: false, follow: true };
        let copying = self.begin_volume(&self.volume(name)?, Job::Pack(pack), archive)?;
        copying.begun().and_then(|_| copying.finish()).map_err(of_volume)
    }

    /// Unpacks `archive` into a volume.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::engine::Kind::NotFound); if the archive is broken or does not fit.
    pub(crate) fn import_volume(&self, name: &str, archive: BorrowedFd<'_>) -> Result<()> {
        // Once: meanwhile another volume may come that what was typed is the beginning of, too.
        self.import_into(&self.volume(name)?, archive)
    }

    /// The same, into the volume of this very name.
    ///
    /// # Errors
    ///
    /// As [`Self::import_volume`].
    pub(crate) fn import_volume_named(&self, name: &str, archive: BorrowedFd<'_>) -> Result<()> {
        self.import_into(&self.store().volumes().get(name)?, archive)
    }

    fn import_into(&self, volume: &VolumeRecord, archive: BorrowedFd<'_>) -> Result<()> {
        let job = Unpack {
            path: ".".into(),
            name: "".into(),
            content: Content::Stream,
            owner: Owner::Archive,
            overwrite: true,
        };
        self.begin_volume(volume, Job::Unpack(job), archive)?.finish().map_err(of_volume)?;
        // Its owners are those of the archive: the first container leaves them as they are.
        Ok(self.store().volumes().note_first_use(&volume.name)?)
    }

    /// Fills the new volumes of a container that has never run with what the image has there, as its first start would.
    ///
    /// # Errors
    ///
    /// If the container has ended meanwhile, or the files cannot be copied.
    pub(super) fn fill_volumes(&self, id: &ContainerId) -> Result<()> {
        let nothing = nothing()?;
        self.begin(id, &Job::Mount, nothing.as_fd())?.finish().map_err(|err| failed(err, id))
    }

    fn begin_volume(&self, volume: &VolumeRecord, job: Job, archive: BorrowedFd<'_>) -> Result<Copying> {
        let data = self.volume_directory(volume);
        let store = self.store().root();
        copy::start(&self.caller(), store, Place::Directory(data), None, job, archive).map_err(of_volume)
    }

    /// Copies `path` of a container as a tar archive to `archive`; with `follow` what a link leads to that it ends in.
    ///
    /// # Errors
    ///
    /// If there is no such path; if the archive cannot be written.
    pub(crate) fn copy_to_archive(
        &self,
        id: &ContainerId,
        path: &Bytes,
        follow: bool,
        archive: BorrowedFd<'_>,
    ) -> Result<()> {
        let (name, content_only) = name_of(path);
        let name = if content_only { ".".into() } else { name };
        let pack = Pack { path: path.clone(), name, one_file_system: false, follow };
        let packing = self.begin(id, &Job::Pack(pack), archive)?;
        self.record_for_docker("archive-path", id, &[]);
        packing.finish().map_err(|err| failed(err, id))
    }

    /// Looks at `path` in a container, without following a link that it ends in.
    ///
    /// # Errors
    ///
    /// Invalid if there is no such path.
    pub(crate) fn look_into(&self, id: &ContainerId, path: &Bytes) -> Result<Found> {
        let nothing = nothing()?;
        let begun = self.begin(id, &Job::Look(path.clone()), nothing.as_fd())?;
        let found = begun.source.clone();
        begun.finish().map_err(|err| failed(err, id))?;
        found.ok_or_else(|| Error::new(Kind::System, "nobody has looked"))
    }

    /// Has `path` of a container packed, itself if it is a link.
    ///
    /// # Errors
    ///
    /// Invalid if there is no such path.
    pub(crate) fn begin_archive(&self, id: &ContainerId, path: &Bytes) -> Result<Archiving> {
        let (name, content_only) = name_of(path);
        let name = if content_only { ".".into() } else { name };
        let archiving =
            self.archiving(id, Pack { path: path.clone(), name, one_file_system: false, follow: false })?;
        self.record_for_docker("archive-path", id, &[]);
        Ok(archiving)
    }

    /// Has all files of a container packed, as [`export`](Self::export) does.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn begin_export(&self, id: &ContainerId) -> Result<Archiving> {
        let pack = Pack { path: "/".into(), name: "".into(), one_file_system: true, follow: true };
        let archiving = self.archiving(id, pack)?;
        self.record_for_docker("export", id, &[]);
        Ok(archiving)
    }

    fn archiving(&self, id: &ContainerId, pack: Pack) -> Result<Archiving> {
        let (read, write) = pipe()?;
        let begun = self.begin(id, &Job::Pack(pack), write.as_fd())?;
        Ok(Archiving { archive: File::from(read), begun, id: id.clone() })
    }

    /// As [`copy_from_archive`](Self::copy_from_archive), of what `feed` writes.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn copy_from_feed(
        &self,
        id: &ContainerId,
        path: &Bytes,
        how: Copy,
        feed: impl FnOnce(&mut File) -> std::io::Result<()>,
    ) -> Result<()> {
        let job = how.unpack(path, "".into(), Content::Stream, &self.container_spec(id)?.process.user);
        let (read, write) = pipe()?;
        let begun = self.begin(id, &Job::Unpack(job), read.as_fd())?;
        drop(read);
        let fed = {
            let _heard =
                BrokenPipesAreErrors::begin().map_err(|err| Error::system("ignore a signal", err))?;
            feed(&mut File::from(write))
        };
        // A reader that gave up knows why better than the writer whose pipe broke.
        begun.finish().map_err(|err| failed(err, id))?;
        self.record_for_docker("extract-to-dir", id, &[]);
        fed.map_err(|err| Error::system("read the archive", err))
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
        let job = how.unpack(path, "".into(), Content::Stream, &self.container_spec(id)?.process.user);
        self.begin(id, &Job::Unpack(job), archive)?.finish().map_err(|err| failed(err, id))?;
        self.record_for_docker("extract-to-dir", id, &[]);
        Ok(())
    }

    /// Copies a file or a directory. At least one end is in a container.
    ///
    /// # Errors
    ///
    /// If the source is not there, or the target cannot be meant or written.
    pub(crate) fn copy(&self, from: &End, to: &End, how: Copy) -> Result<()> {
        let (read, write) = pipe()?;
        match (from, to) {
            (End::Host(path), End::Container(id, target)) => {
                self.copy_in(path, id, target, how, (read, write))
            }
            (End::Container(id, path), target) => {
                let pack =
                    Pack { path: path.clone(), name: ".".into(), one_file_system: false, follow: how.follow };
                let packing = self.begin(id, &Job::Pack(pack), write.as_fd())?;
                self.record_for_docker("archive-path", id, &[]);
                drop(write);
                let content = content_of(packing.source.as_ref().is_some_and(Found::is_directory), path);
                let name = name_of(path).0;
                let landed = match target {
                    End::Host(target) => {
                        let job = how.unpack_to_host(target, name, content);
                        copy::unpack_here(File::from(read), &job).map_err(|err| failed(err, id))
                    }
                    End::Container(to, target) => {
                        let user = self.container_spec(to)?.process.user;
                        let job = how.unpack(target, name, content, &user);
                        // Within one container that does not run there is one lock to hold: one after the other.
                        if to == id && packing.still.is_some() {
                            let archive = self.set_aside(read)?;
                            packing.finish().map_err(|err| failed(err, id))?;
                            let unpacking = self.begin(to, &Job::Unpack(job), archive.as_fd())?;
                            return unpacking.finish().map_err(|err| failed(err, to));
                        }
                        let unpacking = self.begin(to, &Job::Unpack(job), read.as_fd());
                        drop(read);
                        unpacking.and_then(|unpacking| unpacking.finish().map_err(|err| failed(err, to)))
                    }
                };
                // Why nothing arrives is told better by the one who reads it.
                match (landed, packing.finish()) {
                    (Err(err), _) => Err(err),
                    (Ok(()), Err(err)) => Err(failed(err, id)),
                    (Ok(()), Ok(())) => Ok(()),
                }
            }
            (End::Host(_), End::Host(_)) => Err(Error::invalid("one of the two must be in a container")),
        }
    }

    /// All that comes out of a pipe, in a file without a name.
    fn set_aside(&self, from: OwnedFd) -> Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(self.store().root(), flags, Mode::RUSR | Mode::WUSR)
            // Not every file system has such files.
            .or_else(|_| rustix::fs::memfd_create("copy", rustix::fs::MemfdFlags::CLOEXEC));
        let mut file = File::from(file.map_err(|errno| Error::system("set the files aside", errno))?);
        io::copy(&mut File::from(from), &mut file)
            .and_then(|_| file.rewind())
            .map_err(|err| Error::system("set the files aside", err))?;
        Ok(file)
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
        let looked = match how.follow {
            true => std::fs::metadata(path.as_path()),
            false => std::fs::symlink_metadata(path.as_path()),
        };
        let found = looked.map_err(|err| {
            Error::invalid(format!("{:?} could not be found on the host", path.to_string_lossy()))
                .because(err)
        })?;
        let user = self.container_spec(id)?.process.user;
        let job = how.unpack(target, name_of(path).0, content_of(found.is_dir(), path), &user);
        let copying = self.begin(id, &Job::Unpack(job), read.as_fd())?;
        drop(read);
        let ids = if self.caller().mapping.is_some() { Ids::Root } else { Ids::Same };
        let packed = {
            let _heard =
                BrokenPipesAreErrors::begin().map_err(|err| Error::system("ignore a signal", err))?;
            copy::pack_here(path, how.follow, File::from(write), ids)
        };
        // A reader that gave up knows why better than the writer whose pipe broke.
        match (copying.finish(), packed) {
            (Err(err), _) | (Ok(()), Err(err)) => Err(failed(err, id)),
            (Ok(()), Ok(())) => {
                self.record_for_docker("extract-to-dir", id, &[]);
                Ok(())
            }
        }
    }

    /// Has a copy begin at a container. One that ends while its files are being found is looked at again: it does not
    /// run, then.
    fn begin(&self, id: &ContainerId, job: &Job, archive: BorrowedFd<'_>) -> Result<Begun> {
        let store = self.store().root();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Standing { place, record, still } = self.standing(id)?;
            let begun = copy::start(&self.caller(), store, place, record.as_ref(), job.clone(), archive)
                .and_then(|copying| Ok((copying.begun()?, copying)));
            match begun {
                Ok((source, copying)) => {
                    let is_passing = still.is_none() && source.as_ref().is_some_and(Found::is_directory);
                    let passing = is_passing.then(|| self.store().containers().path(id));
                    return Ok(Begun { copying, source, still, passing });
                }
                Err(_)
                    if record.as_ref().is_some_and(|record| !state::goes_on(record))
                        && Instant::now() < deadline =>
                {
                    std::thread::sleep(LOOK);
                }
                Err(failure) => return Err(failed(failure, id)),
            }
        }
    }

    /// Finds out how a container's files are reached, and keeps it that way.
    fn standing(&self, id: &ContainerId) -> Result<Standing> {
        let (status, still) = self.hold_still(id)?;
        if still.is_none()
            && let Some(record) = status.record
        {
            let place = Place::Running { pid: record.pid };
            return Ok(Standing { place, record: Some(record), still });
        }
        let details = self.inspect_container(id, id.as_str())?;
        let place = Place::Stopped {
            spec: Box::new(details.spec),
            container: details.dir,
            store: self.store().root().to_owned(),
            id_maps: details.id_maps,
        };
        Ok(Standing { place, record: None, still })
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
