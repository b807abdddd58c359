//! Makes containers, and makes them anew: the new one is complete before the old one goes.

use crate::base::bytes::Bytes;
use crate::base::digest::Digest;
use crate::base::id::ContainerId;
use crate::base::mount_syntax::{MountKindRequest, MountRequest};
use crate::base::spec::MountKind;
use crate::compose::apply::{Compose, UpOptions};
use crate::compose::mounts;
use crate::compose::node::Node;
use crate::compose::normal::uses;
use crate::compose::plan::{Actual, Step};
use crate::compose::project::label;
use crate::compose::translate::{self, Files, list};
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, Result};

/// A container that is complete, under another name than its own, and the one whose place it takes.
struct Successor<'a> {
    old: &'a Actual,
    new: ContainerId,
    name: String,
}

impl Compose<'_> {
    /// Carries out the steps of services, those first that others depend on. New containers are complete before
    /// old ones go, so that nothing is lost if one cannot be made; and those that go end at once, dependents first.
    pub(super) fn carry_out(
        &self,
        levels: &[Vec<(String, Vec<Step>)>],
        files: &Files,
        options: &UpOptions,
    ) -> Result<()> {
        let (mut leaving, mut kept) = (Vec::new(), Vec::new());
        let mut successors: Vec<Successor<'_>> = Vec::new();
        let services = levels.iter().flatten();
        for (service, step) in services.flat_map(|(name, steps)| steps.iter().map(move |s| (name, s))) {
            match step {
                Step::Remove(container) => leaving.push(container.clone()),
                Step::Keep(container) | Step::Start(container) => {
                    self.event(
                        "Container",
                        &container.name,
                        if container.running { "Running" } else { "Created" },
                    );
                    kept.push((service, container));
                }
                Step::Create(number) => {
                    let mut request = self.request(service, *number, files, true)?;
                    self.choose_ports(&mut request, None)?;
                    mean_successors(&mut request, &successors);
                    let name = request.name.clone().unwrap_or_default();
                    self.event("Container", &name, "Creating");
                    self.create(service, &request)?;
                    self.event("Container", &name, "Created");
                }
                Step::Recreate(old) => {
                    let successor = self.succeed(service, old, files, options, &successors)?;
                    successors.extend(successor);
                }
            }
        }
        for group in self.stop_groups(successors.iter().map(|successor| successor.old.clone()).collect()) {
            self.stop(&group.iter().collect::<Vec<_>>(), options.grace)?;
        }
        for group in self.stop_groups(leaving) {
            self.remove_all(&group.iter().collect::<Vec<_>>(), options.grace)?;
        }
        // One that lives in another's namespaces goes before that one.
        for Successor { old, .. } in successors.iter().rev() {
            self.discard(old, options.renew_volumes)?;
        }
        for Successor { new, name, .. } in &successors {
            self.engine.rename_container(new.as_str(), name)?;
            self.event("Container", name, "Recreated");
        }
        kept.into_iter().try_for_each(|(service, container)| self.rename_to_own(service, container))
    }

    /// A container that an interrupted `up` left under another name gets its own.
    fn rename_to_own(&self, service: &str, container: &Actual) -> Result<()> {
        let name = self.project.container_name(service, container.number);
        if name == container.name || self.dry_run {
            return Ok(());
        }
        self.engine.rename_container(container.id.as_str(), &name)
    }

    fn request(&self, service: &str, number: u32, files: &Files, aliases: bool) -> Result<ContainerRequest> {
        let node = self.project.service(service)?;
        let mut request = translate::request(self.project, service, node, number, files, aliases)?;
        if !self.engine.is_rootful() {
            // Which has been told.
            request.device_rules.clear();
        }
        request.labels.insert(label::HASH.to_owned(), self.hash(service, files)?);
        let given = self.given_to(service);
        let is_given = |entry: &Bytes| {
            let name = entry.as_bytes().split(|byte| *byte == b'=').next();
            given.iter().any(|given| name == Some(given.name.as_bytes()))
        };
        request.env.retain(|entry| !is_given(entry));
        request.env.extend(given.iter().map(|given| Bytes::from(format!("{}={}", given.name, given.value))));
        if node.flag("use_api_socket") {
            mounts::api_socket(service, &mut request, self.engine.name_rule())?;
        }
        if let Some(image) = self.image_id(service) {
            request.labels.insert(label::IMAGE.to_owned(), format!("sha256:{image}"));
        }
        Ok(request)
    }

    /// The hash of what a container of the service is made from. What a variable gives to a secret or a config
    /// belongs to it: the name of its file says what that is.
    pub(super) fn hash(&self, service: &str, files: &Files) -> Result<String> {
        let hash = self.project.hash(service);
        let node = self.project.service(service)?;
        let is_variable = |section: &str, key: &String| {
            let resource = self.project.resource(section, key);
            resource.is_some_and(|node| node.get("environment").is_some())
        };
        let mut text: String =
            self.given_to(service).iter().map(|given| format!("{}={}\n", given.name, given.value)).collect();
        for section in ["secrets", "configs"] {
            for key in uses(node, section).into_iter().filter(|key| is_variable(section, key)) {
                let name = files.get(&(section, key)).and_then(|path| path.file_name());
                text.push_str(&name.map(|name| name.to_string_lossy()).unwrap_or_default());
            }
            // What is copied does not change with its file.
            for entry in list(node, section).iter().filter(|entry| mounts::is_copied(entry)) {
                let key = entry.str_at("source").unwrap_or_default().to_owned();
                let content = files.get(&(section, key)).and_then(|path| std::fs::read(path).ok());
                text.push_str(&content.map(|content| Digest::of(&content).hex()).unwrap_or_default());
            }
        }
        Ok(if text.is_empty() { hash } else { Digest::of(format!("{hash}{text}").as_bytes()).hex() })
    }

    /// The request for a container of `run`: networks, volumes and the image are made ready for it.
    pub(crate) fn prepare_one_off(
        &self,
        service: &str,
        options: &UpOptions,
        aliases: bool,
    ) -> Result<ContainerRequest> {
        let order = [service.to_owned()];
        self.obtain_images(&order, options)?;
        self.make_networks(&order, None)?;
        self.make_volumes(&order, &UpOptions::default())?;
        let files = self.write_files(&order)?;
        if !self.dry_run {
            self.make_bind_sources(service)?;
        }
        self.request(service, 1, &files, aliases)
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

    /// Makes the container that takes another one's place.
    fn succeed<'a>(
        &self,
        service: &str,
        old: &'a Actual,
        files: &Files,
        options: &UpOptions,
        successors: &[Successor<'_>],
    ) -> Result<Option<Successor<'a>>> {
        let mut request = self.request(service, old.number, files, true)?;
        self.choose_ports(&mut request, Some(&old.id))?;
        if !options.renew_volumes {
            self.keep_anonymous_volumes(&old.id, &mut request)?;
        }
        mean_successors(&mut request, successors);
        let name = request.name.clone().unwrap_or_default();
        request.name = Some(format!("{}_{name}", old.id.short()));
        self.event("Container", &name, "Recreate");
        let new = self.create(service, &request)?;
        if new.is_none() {
            self.event("Container", &name, "Recreated");
        }
        Ok(new.map(|new| Successor { old, new, name }))
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
                    idmap: None,
                }),
            }
        }
        Ok(())
    }
}

/// Where a request names a container that is being replaced, it means the one that takes its place, which does not
/// have that name yet.
fn mean_successors(request: &mut ContainerRequest, successors: &[Successor<'_>]) {
    for Successor { new, name, .. } in successors {
        let replace = |text: &mut String, before: &str| {
            let Some(rest) = text.strip_prefix(before).and_then(|rest| rest.strip_prefix(name.as_str()))
            else {
                return;
            };
            if rest.is_empty() || rest.starts_with(':') {
                *text = format!("{before}{new}{rest}");
            }
        };
        let modes = [&mut request.pid, &mut request.ipc].into_iter().chain(&mut request.networks);
        modes.for_each(|mode| replace(mode, "container:"));
        request.volumes_from.iter_mut().chain(&mut request.links).for_each(|from| replace(from, ""));
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
