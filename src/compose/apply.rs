//! Makes what there is as the files want it: networks, volumes and images first, then containers in the
//! order of their dependencies.
//!
//! One project is changed by one command at a time: a lock file says by whom.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::base::health::Health;
use crate::base::id::ContainerId;
use crate::base::mount_syntax::{MountKindRequest, MountRequest};
use crate::base::spec::MountKind;
use crate::compose::node::Node;
use crate::compose::observe;
use crate::compose::plan::{self, Actual, Recreate, Step, Wanted};
use crate::compose::project::{Condition, Project, label};
use crate::compose::translate::{self, Files};
use crate::engine::lifecycle::{Grace, StopOrder};
use crate::engine::list::Container;
use crate::engine::remove::Removing;
use crate::engine::request::ContainerRequest;
use crate::engine::start::Start;
use crate::engine::state::Phase;
use crate::engine::{Engine, Error, Kind, Result};
use crate::store::lock::{self, Share};

/// How often dependencies are looked at while something waits for them.
const LOOK: Duration = Duration::from_millis(20);
/// How long a container may take to start or to end before it counts as what it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that happens, for the user to see: ` Container web-1  Started`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    /// `Network`, `Volume`, `Container`, `Image`.
    pub(crate) what: &'static str,
    pub(crate) name: &'a str,
    /// `Creating`, `Created` …
    pub(crate) state: &'static str,
}

/// How images are got: the command line shows how far they are.
pub(crate) trait Images {
    /// Gets an image from a registry, whether or not it is here.
    fn pull(&self, image: &str, platform: Option<&str>) -> Result<()>;
    /// Builds the image of a service.
    fn build(&self, project: &Project, service: &str) -> Result<()>;
}

/// What `up` and `create` may do beside the usual.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "flags of docker compose up")]
pub(crate) struct UpOptions {
    pub(crate) services: Vec<String>,
    pub(crate) recreate: Recreate,
    /// Dependencies are made anew as well, under `recreate`.
    pub(crate) recreate_dependencies: bool,
    pub(crate) no_dependencies: bool,
    pub(crate) remove_orphans: bool,
    /// New anonymous volumes for containers that are made anew.
    pub(crate) renew_volumes: bool,
    pub(crate) scale: BTreeMap<String, u32>,
    pub(crate) build: bool,
    pub(crate) no_build: bool,
    /// `--pull`: always, missing, never, build.
    pub(crate) pull: Option<String>,
    pub(crate) no_start: bool,
    pub(crate) grace: Option<Grace>,
}

/// One project, and what it is changed with.
pub(crate) struct Compose<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) project: &'a Project,
    pub(crate) report: &'a dyn Fn(Event<'_>),
    pub(crate) warn: &'a dyn Fn(&str),
    pub(crate) images: &'a dyn Images,
    /// Shows a line that a hook has written: the container's name, and the line.
    pub(crate) hook_output: &'a dyn Fn(&str, &str),
    /// Tell, and do nothing.
    pub(crate) dry_run: bool,
}

impl std::fmt::Debug for Compose<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compose").field("project", &self.project.name).finish_non_exhaustive()
    }
}

impl Compose<'_> {
    /// Makes networks, volumes and containers, and starts them in order. Returns the services.
    ///
    /// # Errors
    ///
    /// The first thing that cannot be done; what was done before it stays.
    pub(crate) fn up(&self, options: &UpOptions) -> Result<Vec<String>> {
        let _lock = self.lock()?;
        let order = self.project.select(&options.services, !options.no_dependencies)?;
        for name in &order {
            translate::warnings(name, self.project.service(name)?, &self.project.files)
                .iter()
                .for_each(|text| (self.warn)(text));
        }
        self.obtain_images(&order, options)?;
        self.make_networks(&order)?;
        self.make_volumes(&order)?;
        let files = self.write_files(&order)?;
        let containers = self.containers()?;
        self.handle_orphans(&containers, options)?;
        let mut services = plan::by_service(containers);
        let named: BTreeSet<&String> = if options.services.is_empty() {
            order.iter().collect()
        } else {
            options.services.iter().collect()
        };
        let mut anew: BTreeSet<String> = BTreeSet::new();
        for name in &order {
            let recreate = match (
                named.contains(name) || options.recreate_dependencies,
                self.shares_with(name, &anew),
            ) {
                (_, true) => Recreate::Always,
                (true, _) => options.recreate,
                (false, _) => Recreate::Changed,
            };
            let actual = services.remove(name).unwrap_or_default();
            let wanted = Wanted {
                hash: self.project.hash(name),
                image: self.image_id(name).unwrap_or_default(),
                scale: options.scale.get(name).copied().unwrap_or_else(|| self.project.scale(name)),
            };
            let steps = plan::service(&wanted, &actual, recreate);
            if steps.iter().any(|step| matches!(step, Step::Recreate(_) | Step::Create(_))) {
                anew.insert(name.clone());
            }
            for step in &steps {
                self.carry_out(name, step, &files, options)?;
            }
        }
        if !options.no_start {
            self.start_in_order(&order, &anew, options.grace)?;
        }
        Ok(order)
    }

    /// Takes the project's lock; says for whom it waits.
    pub(crate) fn lock(&self) -> Result<Option<OwnedFd>> {
        if self.dry_run {
            return Ok(None);
        }
        let directory = self.state_directory()?;
        let path = directory.join("lock");
        let failed = |err: std::io::Error| Error::system(format!("open {}", path.display()), err);
        let file =
            std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(failed)?;
        let file = OwnedFd::from(file);
        if !crate::sys::fs::try_lock(&file, Share::Exclusive).map_err(failed)? {
            let holders = lock::holders(file.as_fd()).unwrap_or_default();
            let by: Vec<String> = holders.iter().map(|h| format!("{} ({})", h.pid, h.command)).collect();
            (self.warn)(&format!(
                "project {} is being changed by process {}; waiting",
                self.project.name,
                by.join(", ")
            ));
            crate::sys::fs::lock(&file, Share::Exclusive).map_err(failed)?;
        }
        Ok(Some(file))
    }

    /// Where the lock and the files of secrets and configs are.
    pub(super) fn state_directory(&self) -> Result<PathBuf> {
        let directory = self.engine.store().root().join("compose").join(&self.project.name);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|err| Error::system(format!("make {}", directory.display()), err))?;
        Ok(directory)
    }

    pub(super) fn event(&self, what: &'static str, name: &str, state: &'static str) {
        (self.report)(Event { what, name, state });
    }

    /// The project's containers, as they are now. One that is about to start or to end is given the time for
    /// it: what it will be then decides.
    pub(crate) fn containers(&self) -> Result<Vec<Actual>> {
        let end = Instant::now() + PATIENCE;
        let is_changing = |c: &Container| matches!(c.status.phase, Phase::Starting | Phase::Ending(_));
        let mut found = observe::containers(self.engine, &self.project.name)?;
        while found.iter().any(is_changing) && Instant::now() < end {
            std::thread::sleep(LOOK);
            found = observe::containers(self.engine, &self.project.name)?;
        }
        Ok(found.iter().filter_map(observe::actual).collect())
    }

    fn image_id(&self, service: &str) -> Option<String> {
        let image = self.engine.image(&self.project.image(service)).ok()?;
        Some(image.image.id.hex())
    }

    /// Builds and pulls what the services need.
    fn obtain_images(&self, order: &[String], options: &UpOptions) -> Result<()> {
        let mut seen = BTreeSet::new();
        for name in order {
            let service = self.project.service(name)?;
            let image = self.project.image(name);
            let has_build = service.get("build").is_some();
            let policy =
                options.pull.as_deref().or_else(|| service.str_at("pull_policy")).unwrap_or("missing");
            if self.engine.obtain_builtin(&image)? {
                continue;
            }
            let here = self.engine.image(&image).is_ok();
            let build = has_build && !options.no_build && (options.build || policy == "build" || !here);
            if self.dry_run {
                if build || !here {
                    self.event("Image", &image, if build { "Building" } else { "Pulling" });
                }
                continue;
            }
            if build {
                self.images.build(self.project, name)?;
            } else if policy == "always" && !has_build || !here && policy != "never" && policy != "build" {
                if seen.insert(image.clone()) {
                    self.images.pull(&image, service.str_at("platform"))?;
                }
            } else if !here {
                return Err(Error::not_found(format!("no such image: {image}"))
                    .hint("the pull policy keeps it from being pulled"));
            }
        }
        Ok(())
    }

    fn handle_orphans(&self, containers: &[Actual], options: &UpOptions) -> Result<()> {
        let known =
            |service: &str| self.project.service(service).is_ok() || self.project.inactive.contains(service);
        let orphans: Vec<Actual> = plan::orphans(&known, containers).cloned().collect();
        if orphans.is_empty() {
            return Ok(());
        }
        if options.remove_orphans {
            return orphans.iter().try_for_each(|orphan| self.remove(orphan, options.grace, false));
        }
        let names: Vec<&str> = orphans.iter().map(|orphan| orphan.name.as_str()).collect();
        (self.warn)(&format!(
            "Found orphan containers ([{}]) for this project. If you removed or renamed this service in your compose file, you can run this command with the --remove-orphans flag to clean it up.",
            names.join(" ")
        ));
        Ok(())
    }

    /// Whether a service uses namespaces or volumes of one that is made anew.
    fn shares_with(&self, name: &str, anew: &BTreeSet<String>) -> bool {
        let Ok(service) = self.project.service(name) else { return false };
        let shared = ["network_mode", "ipc", "pid"]
            .iter()
            .filter_map(|key| service.str_at(key)?.strip_prefix("service:"))
            .any(|other| anew.contains(other));
        let from = service.get("volumes_from").and_then(Node::as_list).unwrap_or_default();
        shared
            || from
                .iter()
                .filter_map(Node::as_str)
                .any(|from| anew.contains(from.split(':').next().unwrap_or(from)))
    }

    fn carry_out(&self, service: &str, step: &Step, files: &Files, options: &UpOptions) -> Result<()> {
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
        let volumes = self.project.service(service)?.get("volumes").and_then(Node::as_list);
        volumes.unwrap_or_default().iter().try_for_each(make_bind_source)?;
        self.request(service, 1, &files)
    }

    fn create(&self, service: &str, request: &ContainerRequest) -> Result<Option<ContainerId>> {
        if self.dry_run {
            return Ok(None);
        }
        let volumes = self.project.service(service)?.get("volumes").and_then(Node::as_list);
        volumes.unwrap_or_default().iter().try_for_each(make_bind_source)?;
        self.engine.create_container(request).map(Some)
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

    /// Starts the containers of the services, each when its dependencies allow it. Those that depend on a
    /// service made `anew` with `restart: true` are restarted.
    pub(crate) fn start_in_order(
        &self,
        order: &[String],
        anew: &BTreeSet<String>,
        grace: Option<Grace>,
    ) -> Result<()> {
        let mut services = plan::by_service(self.containers()?);
        let mut waiting: Vec<String> = order.to_vec();
        let mut told: BTreeSet<String> = BTreeSet::new();
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut still = Vec::new();
            for name in waiting {
                if !self.may_start(&name, &still, order, &mut told)? {
                    still.push(name);
                    continue;
                }
                let restart = !anew.contains(&name)
                    && self
                        .project
                        .dependencies(&name)
                        .iter()
                        .any(|d| d.restart && anew.contains(&d.service));
                for container in services.remove(&name).unwrap_or_default() {
                    if container.one_off || container.running && !restart {
                        continue;
                    }
                    if container.running {
                        self.event("Container", &container.name, "Restarting");
                        self.stop(&[&container], grace)?;
                    }
                    self.start(&container)?;
                }
            }
            waiting = still;
            if waiting.len() == before {
                std::thread::sleep(LOOK);
            }
        }
        Ok(())
    }

    fn start(&self, container: &Actual) -> Result<()> {
        self.event("Container", &container.name, "Starting");
        if !self.dry_run {
            match self.engine.start_container(&container.id, Start::default()) {
                // It is running already: another command, or its restart policy, was faster.
                Err(err) if err.kind == Kind::Conflict => {}
                other => drop(other?),
            }
            self.run_hooks(container, "post_start")?;
        }
        self.event("Container", &container.name, "Started");
        Ok(())
    }

    /// Whether all that a service depends on has come so far.
    fn may_start(
        &self,
        name: &str,
        still: &[String],
        order: &[String],
        told: &mut BTreeSet<String>,
    ) -> Result<bool> {
        for dependency in self.project.dependencies(name) {
            if still.contains(&dependency.service) {
                return Ok(false);
            }
            // Without dependencies (`--no-deps`) nobody waits for them.
            if dependency.condition == Condition::Started
                || !order.contains(&dependency.service)
                || self.dry_run
            {
                continue;
            }
            for container in self.containers_of(&dependency.service)? {
                match is_fulfilled(&container, dependency.condition) {
                    Ok(true) => {
                        if told.remove(&container.name) {
                            let state =
                                if dependency.condition == Condition::Healthy { "Healthy" } else { "Exited" };
                            self.event("Container", &container.name, state);
                        }
                    }
                    Ok(false) => {
                        if told.insert(container.name.clone()) {
                            self.event("Container", &container.name, "Waiting");
                        }
                        return Ok(false);
                    }
                    Err(why) if dependency.required => {
                        return Err(Error::new(Kind::Conflict, format!("dependency failed to start: {why}")));
                    }
                    Err(why) => {
                        if told.insert(format!("{} {name}", container.name)) {
                            (self.warn)(&format!("optional dependency {:?}: {why}", dependency.service));
                        }
                    }
                }
            }
        }
        Ok(true)
    }

    fn containers_of(&self, service: &str) -> Result<Vec<Container>> {
        let mut all = observe::containers(self.engine, &self.project.name)?;
        all.retain(|container| {
            observe::actual(container).is_some_and(|actual| actual.service == service && !actual.one_off)
        });
        Ok(all)
    }

    /// Waits until every container of the services runs and, where it has a check, is healthy.
    ///
    /// # Errors
    ///
    /// If one ends or becomes unhealthy, or `limit` is over.
    pub(crate) fn wait_until_ready(&self, order: &[String], limit: Option<Duration>) -> Result<()> {
        let end = limit.map(|limit| Instant::now() + limit);
        let mut ready = BTreeSet::new();
        loop {
            let mut all = true;
            for name in order {
                for container in self.containers_of(name)? {
                    if ready.contains(&container.id) {
                        continue;
                    }
                    let condition = match container.health {
                        Some(_) => Condition::Healthy,
                        None => Condition::Started,
                    };
                    match is_fulfilled(&container, condition) {
                        Ok(true) => {
                            self.event("Container", &container.name, "Healthy");
                            ready.insert(container.id.clone());
                        }
                        Ok(false) => all = false,
                        Err(why) => return Err(Error::new(Kind::Conflict, why)),
                    }
                }
            }
            if all {
                return Ok(());
            }
            if end.is_some_and(|end| Instant::now() > end) {
                return Err(Error::new(Kind::System, "application not healthy after --wait-timeout"));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Stops containers, all at once; before, those that run do what their services ask for.
    pub(crate) fn stop(&self, containers: &[&Actual], grace: Option<Grace>) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        containers.iter().filter(|container| container.running).try_for_each(|c| self.before_stop(c))?;
        self.end(containers, grace)
    }

    /// Stops containers without their hooks.
    pub(crate) fn end(&self, containers: &[&Actual], grace: Option<Grace>) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        let order = |container: &&Actual| StopOrder { id: container.id.clone(), grace, signal: None };
        let orders: Vec<StopOrder> = containers.iter().map(order).collect();
        self.engine.stop(&orders).into_iter().try_for_each(|answer| match answer {
            Err(err) if err.kind == Kind::NotFound => Ok(()),
            other => other.map(drop),
        })
    }

    fn remove(&self, container: &Actual, grace: Option<Grace>, volumes: bool) -> Result<()> {
        if container.running {
            self.event("Container", &container.name, "Stopping");
            self.stop(&[container], grace)?;
            self.event("Container", &container.name, "Stopped");
        }
        self.delete(container, volumes)
    }

    /// Removes a container, with its anonymous volumes if asked.
    pub(crate) fn delete(&self, container: &Actual, volumes: bool) -> Result<()> {
        self.event("Container", &container.name, "Removing");
        if !self.dry_run {
            let mounted =
                self.engine.container_spec(&container.id).map(|spec| spec.mounts).unwrap_or_default();
            let how = Removing { force: true, volumes, depend: true, ..Removing::default() };
            match self.engine.remove_container(&container.id, &how) {
                Err(err) if err.kind == Kind::NotFound => {}
                other => other?,
            }
            // Anonymous volumes that it has from the container it was made in place of.
            for mount in mounted.iter().filter(|_| volumes) {
                if let MountKind::Volume { name, anonymous: false, .. } = &mount.kind
                    && self.engine.store().volumes().get(name).is_ok_and(|volume| volume.anonymous)
                {
                    match self.engine.remove_volume(name, None) {
                        Err(err) if matches!(err.kind, Kind::NotFound | Kind::Conflict) => {}
                        other => other?,
                    }
                }
            }
        }
        self.event("Container", &container.name, "Removed");
        Ok(())
    }

    /// The containers in groups, the first of which nothing else depends on: the order in which they stop.
    pub(crate) fn stop_groups(&self, containers: Vec<Actual>) -> Vec<Vec<Actual>> {
        let mut groups: BTreeMap<usize, Vec<Actual>> = BTreeMap::new();
        for container in containers {
            groups.entry(self.depth(&container.service, 0)).or_default().push(container);
        }
        groups.into_values().rev().collect()
    }

    fn depth(&self, service: &str, guard: usize) -> usize {
        if guard > 1000 {
            return 0;
        }
        let below =
            self.project.dependencies(service).into_iter().map(|d| self.depth(&d.service, guard + 1) + 1);
        below.max().unwrap_or(0)
    }
}

/// Whether a container has come as far as `condition` asks.
///
/// # Errors
///
/// Why it never will.
fn is_fulfilled(container: &Container, condition: Condition) -> std::result::Result<bool, String> {
    let name = &container.name;
    let exited = match container.status.phase {
        Phase::Exited(code) | Phase::Ending(code) => Some(code),
        _ => None,
    };
    match condition {
        Condition::Completed => match exited {
            Some(0) => Ok(true),
            Some(code) => Err(format!("container {name} exited ({code})")),
            None => Ok(false),
        },
        Condition::Started => match exited {
            Some(code) => Err(format!("container {name} exited ({code})")),
            None => Ok(container.is_up()),
        },
        Condition::Healthy => match (exited, container.health) {
            (Some(code), _) => Err(format!("container {name} exited ({code})")),
            (None, None) => Err(format!("container {name} has no healthcheck configured")),
            (None, Some(Health::Healthy)) => Ok(true),
            (None, Some(Health::Unhealthy)) => Err(format!("container {name} is unhealthy")),
            (None, Some(_)) => Ok(false),
        },
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
