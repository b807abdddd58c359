//! Makes containers, and makes them anew: the new one is complete before the old one goes.

use crate::base::id::ContainerId;
use crate::base::mount_syntax::{MountKindRequest, MountRequest};
use crate::base::spec::MountKind;
use crate::compose::apply::{Compose, UpOptions};
use crate::compose::node::Node;
use crate::compose::plan::{Actual, Step};
use crate::compose::project::label;
use crate::compose::translate::{self, Files, list};
use crate::engine::remove::Removing;
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, Result};

impl Compose<'_> {
    pub(super) fn carry_out(
        &self,
        service: &str,
        step: &Step,
        files: &Files,
        options: &UpOptions,
    ) -> Result<()> {
        match step {
            Step::Keep(container) if container.running => {
                self.event("Container", &container.name, "Running");
                self.rename_to_own(service, container)
            }
            Step::Keep(container) | Step::Start(container) => self.rename_to_own(service, container),
            Step::Remove(container) => self.remove(container, options.grace, false),
            Step::Create(number) => {
                let request = self.request(service, *number, files)?;
                let name = request.name.clone().unwrap_or_default();
                self.event("Container", &name, "Creating");
                self.create(service, &request)?;
                self.event("Container", &name, "Created");
                Ok(())
            }
            Step::Recreate(old) => self.recreate(service, old, files, options),
        }
    }

    /// A container that an interrupted `up` left under another name gets its own.
    fn rename_to_own(&self, service: &str, container: &Actual) -> Result<()> {
        let name = self.project.container_name(service, container.number);
        if name == container.name || self.dry_run {
            return Ok(());
        }
        self.engine.rename_container(container.id.as_str(), &name)
    }

    fn request(&self, service: &str, number: u32, files: &Files) -> Result<ContainerRequest> {
        let node = self.project.service(service)?;
        let mut request = translate::request(self.project, service, node, number, files)?;
        if let Some(image) = self.image_id(service) {
            request.labels.insert(label::IMAGE.to_owned(), format!("sha256:{image}"));
        }
        Ok(request)
    }

    /// The request for a container of `run`: networks, volumes and the image are made ready for it.
    pub(crate) fn prepare_one_off(&self, service: &str, build: bool) -> Result<ContainerRequest> {
        let order = [service.to_owned()];
        self.obtain_images(&order, &UpOptions { build, ..UpOptions::default() })?;
        self.make_networks(&order)?;
        self.make_volumes(&order)?;
        let files = self.write_files(&order)?;
        self.make_bind_sources(service)?;
        self.request(service, 1, &files)
    }

    fn create(&self, service: &str, request: &ContainerRequest) -> Result<Option<ContainerId>> {
        if self.dry_run {
            return Ok(None);
        }
        self.make_bind_sources(service)?;
        self.engine.create_container(request).map(Some)
    }

    fn make_bind_sources(&self, service: &str) -> Result<()> {
        list(self.project.service(service)?, "volumes").iter().try_for_each(make_bind_source)
    }

    /// Makes a container anew: the new one is complete before the old one goes, so that nothing is lost if
    /// it cannot be made.
    fn recreate(&self, service: &str, old: &Actual, files: &Files, options: &UpOptions) -> Result<()> {
        let mut request = self.request(service, old.number, files)?;
        if !options.renew_volumes {
            self.keep_anonymous_volumes(&old.id, &mut request)?;
        }
        let name = request.name.clone().unwrap_or_default();
        request.name = Some(format!("{}_{name}", old.id.short()));
        self.event("Container", &name, "Recreate");
        let new = self.create(service, &request)?;
        let Some(new) = new else {
            self.event("Container", &name, "Recreated");
            return Ok(());
        };
        self.stop(&[old], options.grace)?;
        let how =
            Removing { force: true, volumes: options.renew_volumes, depend: true, ..Removing::default() };
        self.engine.remove_container(&old.id, &how)?;
        self.engine.rename_container(new.as_str(), &name)?;
        self.event("Container", &name, "Recreated");
        Ok(())
    }

    /// Gives a new container the anonymous volumes of the old one.
    fn keep_anonymous_volumes(&self, old: &ContainerId, request: &mut ContainerRequest) -> Result<()> {
        let spec = self.engine.container_spec(old)?;
        for mount in &spec.mounts {
            // One that was handed on before is mounted by name: its record still knows.
            let MountKind::Volume { name, .. } = &mount.kind else { continue };
            if !self.engine.store().volumes().get(name).is_ok_and(|volume| volume.anonymous) {
                continue;
            }
            let wanted = request.mounts.iter_mut().find(|wanted| wanted.target == mount.target);
            let volume = MountKindRequest::Volume {
                name: Some(name.clone()),
                copy_up: false,
                chown: false,
                subpath: None,
                driver_options: Vec::new(),
                labels: Vec::new(),
            };
            match wanted {
                Some(wanted) if matches!(wanted.kind, MountKindRequest::Volume { name: None, .. }) => {
                    wanted.kind = volume;
                }
                Some(_) => {}
                None => request.mounts.push(MountRequest {
                    kind: volume,
                    target: mount.target.clone(),
                    read_only: false,
                    options: Vec::new(),
                    propagation: None,
                    overlay: None,
                    idmap: false,
                }),
            }
        }
        Ok(())
    }
}

/// Docker makes the directory that a short `./data:/data` names if it is missing.
fn make_bind_source(volume: &Node) -> Result<()> {
    if !volume.get("bind").is_some_and(|bind| bind.flag("create_host_path")) {
        return Ok(());
    }
    let source = std::path::Path::new(volume.str_at("source").unwrap_or_default());
    if source.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(source).map_err(|err| Error::system(format!("make {}", source.display()), err))
}
