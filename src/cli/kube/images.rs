//! How `kube play` gets images: built from a directory of their name, or from a registry.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::base::image_ref::ImageName;
use crate::cli::globals::Globals;
use crate::cli::progress::Progress;
use crate::cli::pull::RegistryArgs;
use crate::cli::session::Exit;
use crate::engine::pull::{self, PullEvent, PullPolicy};
use crate::engine::{Engine, Error, Kind, Result};
use crate::kube::apply::Images;
use crate::kube::types::Pull;

/// Gets images for pods.
#[derive(Debug)]
pub(super) struct Getter<'a> {
    pub(super) engine: &'a Engine,
    pub(super) globals: &'a Globals,
    pub(super) registry: &'a RegistryArgs,
    /// `--build`.
    pub(super) build: Option<bool>,
    /// Where directories of images are looked for.
    pub(super) directory: PathBuf,
    pub(super) quiet: bool,
}

impl Images for Getter<'_> {
    fn obtain(&self, image: &str, pull: Option<Pull>) -> Result<String> {
        if image.is_empty() {
            return Err(Error::invalid(
                "a container has no image: repository name must have at least one component",
            ));
        }
        let here = self.engine.image(image).ok();
        if let Some(file) = build_file(&self.directory, image)
            && self.build.unwrap_or(here.is_none())
        {
            self.build(image, &file)?;
            return Ok(image.to_owned());
        }
        if self.engine.obtain_builtin(image)? {
            return Ok(image.to_owned());
        }
        let is_local = here.and_then(|found| found.name).is_none_or(|name| name.registry() == "localhost")
            && self.engine.image(image).is_ok();
        let request = self.registry.request(policy(image, pull, is_local), None);
        let progress = Progress::new(self.quiet);
        let events = |event: &PullEvent<'_>| progress.show(event);
        let pulled = pull::pull(self.engine, image, &request, &events)?;
        Ok(pulled.name.map_or_else(|| pulled.id.hex(), |name| name.to_string()))
    }
}

impl Getter<'_> {
    fn build(&self, image: &str, file: &Path) -> Result<()> {
        let directory = file.parent().unwrap_or(Path::new("."));
        let mut words: Vec<OsString> = vec!["build".into(), "--tag".into(), image.into(), "--file".into()];
        words.extend([file.into(), directory.into()]);
        if self.quiet {
            words.insert(1, "--quiet".into());
        }
        match crate::cli::dispatch(&words, &mut self.globals.clone()) {
            Ok(Exit::OK) => Ok(()),
            Ok(_) => Err(Error::new(Kind::System, format!("build the image {image}"))),
            Err(err) => {
                Err(Error::new(Kind::System, format!("build the image {image}")).because(format!("{err:#}")))
            }
        }
    }
}

/// The file that an image is built from: in a directory of its name.
fn build_file(directory: &Path, image: &str) -> Option<PathBuf> {
    let files = ["Containerfile", "Dockerfile"].map(|name| directory.join(image).join(name));
    files.into_iter().find(|file| file.is_file())
}

/// When an image is pulled: as its container says; else a `latest` when there is a newer one, and others when they are
/// missing. `is_local`: it is here, and from no registry.
fn policy(image: &str, pull: Option<Pull>, is_local: bool) -> PullPolicy {
    match pull {
        Some(Pull::Always) => PullPolicy::Always,
        Some(Pull::IfNotPresent) => PullPolicy::Missing,
        Some(Pull::Never) => PullPolicy::Never,
        None if is_local => PullPolicy::Missing,
        None => match image.parse::<ImageName>() {
            Ok(name) if name.digest().is_none() && name.tag().is_none_or(|tag| tag == "latest") => {
                PullPolicy::Newer
            }
            _ => PullPolicy::Missing,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        for (image, pull, is_local, want) in [
            ("a", None, false, PullPolicy::Newer),
            ("h/a:latest", None, false, PullPolicy::Newer),
            ("h/a:latest", None, true, PullPolicy::Missing),
            ("h/a:1", None, false, PullPolicy::Missing),
            ("a", Some(Pull::IfNotPresent), false, PullPolicy::Missing),
            ("a:1", Some(Pull::Always), true, PullPolicy::Always),
            ("a", Some(Pull::Never), false, PullPolicy::Never),
        ] {
            assert_eq!(policy(image, pull, is_local), want, "{image} {pull:?}");
        }
    }

    #[test]
    fn files_to_build_from() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("h/img")).unwrap();
        assert_eq!(build_file(dir.path(), "h/img"), None);
        std::fs::write(dir.path().join("h/img/Dockerfile"), "").unwrap();
        assert_eq!(build_file(dir.path(), "h/img"), Some(dir.path().join("h/img/Dockerfile")));
    }
}
