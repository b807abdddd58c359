//! Carries out what changes of files ask for: new images, files copied into running containers, restarts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use crate::base::bytes::Bytes;
use crate::base::digest::Digest;
use crate::compose::apply::{Compose, UpOptions};
use crate::compose::hooks;
use crate::compose::observe;
use crate::compose::plan::Actual;
use crate::compose::watch::Job;
use crate::engine::copy::Copy;
use crate::engine::exec::ExecRequest;
use crate::engine::{Error, Kind, Result};

impl Compose<'_> {
    /// Does one job for a service's containers.
    ///
    /// # Errors
    ///
    /// The first thing that cannot be done.
    pub(crate) fn refresh(&self, service: &str, job: &Job, prune: bool) -> Result<()> {
        if job.rebuild {
            let image = || self.engine.image(&self.project.image(service)).ok().map(|found| found.image.id);
            let before = image();
            let options = UpOptions {
                services: vec![service.to_owned()],
                build: true,
                no_dependencies: true,
                ..UpOptions::default()
            };
            let dependencies = self.project.dependencies(service);
            self.provide(&dependencies.into_iter().map(|d| d.service).collect::<Vec<_>>())?;
            self.up(&options)?;
            return match before.filter(|before| prune && Some(before) != image().as_ref()) {
                Some(before) => self.forget(&before),
                None => Ok(()),
            };
        }
        let _lock = self.lock()?;
        let mut containers: Vec<Actual> =
            self.containers_of(service)?.iter().filter_map(observe::actual).collect();
        containers.retain(|container| container.running);
        for container in &containers {
            self.copy_files(container, &job.files)?;
        }
        if job.restart {
            containers.iter().for_each(|c| self.event("Container", &c.name, "Restarting"));
            self.stop(&containers.iter().collect::<Vec<_>>(), None)?;
            self.start(&containers)?;
        }
        for container in &containers {
            for hook in &job.exec {
                self.run_hook(container, "watch", hook)?;
            }
        }
        Ok(())
    }

    /// Removes an image that has no name any more and that nothing uses.
    fn forget(&self, image: &Digest) -> Result<()> {
        if !self.engine.names_of_image(image)?.is_empty() {
            return Ok(());
        }
        match self.engine.remove_image(&image.hex(), false) {
            Err(err) if !matches!(err.kind, Kind::Conflict | Kind::NotFound) => Err(err),
            _ => Ok(()),
        }
    }

    /// Makes files of a container what they are here: copied, or removed.
    fn copy_files(&self, container: &Actual, files: &BTreeMap<PathBuf, PathBuf>) -> Result<()> {
        if files.is_empty() || self.dry_run {
            return Ok(());
        }
        let (there, gone): (Vec<_>, Vec<_>) =
            files.iter().partition(|(path, _)| std::fs::symlink_metadata(path).is_ok());
        if !gone.is_empty() {
            let mut command: Vec<Bytes> = ["rm", "-rf", "--"].map(Bytes::from).into();
            command.extend(gone.iter().map(|(_, target)| Bytes::from(target.as_os_str())));
            let request = ExecRequest { command, user: Some("0:0".to_owned()), ..ExecRequest::default() };
            match self.exec_in(container, "remove files", &request) {
                Ok((0, _)) => {}
                Ok((_, output)) => (self.warn)(&format!("{}: remove files: {output}", container.name)),
                Err(err) if matches!(err.kind, Kind::CommandNotFound | Kind::NotExecutable) => {
                    (self.warn)(&format!("{}: files that are gone stay there: {err}", container.name));
                }
                Err(err) => return Err(err),
            }
        }
        if there.is_empty() {
            return Ok(());
        }
        let failed = |err: io::Error| Error::system("pack the changed files", err);
        let archive = archive(&there).map_err(failed)?;
        let how = Copy { chown: true, overwrite: true, follow: true };
        self.engine.copy_from_archive(&container.id, &Bytes::from("/"), archive.as_fd(), how)
    }
}

/// The files as a tar archive whose root is the container's. What vanishes meanwhile is left out: its end is
/// the next change.
fn archive(files: &[(&PathBuf, &PathBuf)]) -> io::Result<File> {
    let mut archive = tar::Builder::new(hooks::memory_file()?);
    archive.follow_symlinks(false);
    for (path, target) in files {
        let name = target.strip_prefix("/").unwrap_or(target);
        match append(&mut archive, path, name) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    let mut archive = archive.into_inner()?;
    archive.rewind()?;
    Ok(archive)
}

fn append(archive: &mut tar::Builder<File>, path: &Path, name: &Path) -> io::Result<()> {
    if std::fs::symlink_metadata(path)?.is_dir() {
        archive.append_dir(name, path)
    } else {
        archive.append_path_with_name(path, name)
    }
}
