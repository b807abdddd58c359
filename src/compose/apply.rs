//! Makes what there is as the files want it: networks, volumes and images first, then containers in the
//! order of their dependencies.
//!
//! One project is changed by one command at a time: a lock file says by whom.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::compose::node::Node;
use crate::compose::observe;
use crate::compose::plan::{self, Actual, Recreate, Step, Wanted};
use crate::compose::project::Project;
use crate::compose::provider::Given;
use crate::compose::translate::Files;
use crate::compose::without_effect;
use crate::engine::lifecycle::Grace;
use crate::engine::list::Container;
use crate::engine::state::Phase;
use crate::engine::{Engine, Error, Kind, Result};
use crate::store::lock::{self, Share};
use crate::sys::fs;

/// How often containers are looked at while something waits for them.
pub(super) const LOOK: Duration = Duration::from_millis(20);
/// How long a container may take to start or to end before it counts as what it is.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long another command that changes the project is waited for before that is told.
const SILENCE: Duration = Duration::from_secs(2);

/// Something that happens, for the user to see: ` Container web-1  Started`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    /// `Network`, `Volume`, `Container`, `Image`; empty for a service.
    pub(crate) what: &'static str,
    pub(crate) name: &'a str,
    /// `Creating`, `Created` …
    pub(crate) state: &'a str,
}

/// An image that is to be got from a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToPull {
    /// The service that it is for.
    pub(crate) service: String,
    pub(crate) image: String,
    pub(crate) platform: Option<String>,
    /// The service that builds it if it cannot be pulled.
    pub(crate) builder: Option<String>,
}

/// How images are got: the command line shows how far they are.
pub(crate) trait Images {
    /// Gets images from registries, whether or not they are here, up to `limit` at once. `done` is told of each;
    /// what it gives back as an error ends the rest.
    fn pull(
        &self,
        images: &[ToPull],
        limit: usize,
        done: &mut dyn FnMut(&ToPull, Result<()>) -> Result<()>,
    ) -> Result<()>;
    /// Builds the images of services, several at once where they do not need one another.
    fn build(&self, project: &Project, services: &[String]) -> Result<()>;
}

/// What `up` and `create` may do beside the usual.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "flags of docker compose up")]
pub(crate) struct UpOptions {
    pub(crate) services: Vec<String>,
    pub(crate) recreate: Recreate,
    /// Dependencies are made anew, whatever `recreate` says of the services that are named.
    pub(crate) recreate_dependencies: bool,
    pub(crate) no_dependencies: bool,
    pub(crate) remove_orphans: bool,
    /// Say nothing about orphans.
    pub(crate) ignore_orphans: bool,
    /// New anonymous volumes for containers that are made anew.
    pub(crate) renew_volumes: bool,
    pub(crate) scale: BTreeMap<String, u32>,
    pub(crate) build: bool,
    pub(crate) no_build: bool,
    /// `--pull`: always, missing, never, build.
    pub(crate) pull: Option<String>,
    pub(crate) no_start: bool,
    /// Every question is answered with yes.
    pub(crate) yes: bool,
    pub(crate) grace: Option<Grace>,
}

/// What becomes of the containers of each service.
type Plans = Vec<(String, Vec<Step>)>;

/// One project, and what it is changed with.
pub(crate) struct Compose<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) project: &'a Project,
    pub(crate) report: &'a dyn Fn(Event<'_>),
    pub(crate) warn: &'a dyn Fn(&str),
    pub(crate) images: &'a dyn Images,
    /// Shows a line that a hook has written: the container's name, and the line.
    pub(crate) hook_output: &'a dyn Fn(&str, &str),
    /// What is done for a time in which there is nothing to do but wait; called for no time at all before the
    /// first container starts. Its error ends the work.
    pub(crate) pause: &'a dyn Fn(Duration) -> Result<()>,
    /// Asks the user; what nobody answers is not confirmed.
    pub(crate) confirm: &'a dyn Fn(&str) -> bool,
    /// What providers have set, by their services.
    pub(crate) given: &'a RefCell<BTreeMap<String, Vec<Given>>>,
    /// Tell, and do nothing.
    pub(crate) dry_run: bool,
    /// How many containers are started or stopped, and images pulled, at once.
    pub(crate) parallel: usize,
}

impl std::fmt::Debug for Compose<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compose").field("project", &self.project.name).finish_non_exhaustive()
    }
}

/// Where the lock of a project and the files of its secrets, configs and Dockerfiles are.
pub(crate) fn state_path(engine: &Engine, project: &Project) -> PathBuf {
    engine.store().root().join("compose").join(&project.name)
}

/// The same, made if missing.
pub(crate) fn state_directory(engine: &Engine, project: &Project) -> Result<PathBuf> {
    let directory = state_path(engine, project);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .map_err(|err| Error::system(format!("make {}", directory.display()), err))?;
    Ok(directory)
}

impl Compose<'_> {
    /// Makes networks, volumes and containers, and starts them in order. Returns the services.
    ///
    /// # Errors
    ///
    /// The first thing that cannot be done; what was done before it stays.
    pub(crate) fn up(&self, options: &UpOptions) -> Result<Vec<String>> {
        for (name, count) in &options.scale {
            let own = self.project.service(name)?.str_at("container_name");
            if let Some(own) = own.filter(|_| *count > 1) {
                return Err(Error::invalid(format!(
                    "service {name:?} has the container name {own:?}, which only one container can have"
                ))
                .hint("remove `container_name` to have several"));
            }
        }
        let _lock = self.lock()?;
        let mut order = self.project.select(&options.services, !options.no_dependencies)?;
        for name in &order {
            let (service, is_root) = (self.project.service(name)?, self.engine.is_rootful());
            without_effect::warnings(name, service, &self.project.files, is_root)
                .iter()
                .for_each(|text| (self.warn)(text));
        }
        self.refuse_models(&order)?;
        self.obtain_images(&order, options)?;
        self.provide(&order)?;
        self.make_networks(&order, options.grace)?;
        self.make_volumes(&order, options)?;
        let files = self.write_files(&order)?;
        let containers = self.containers()?;
        self.handle_orphans(&containers, options)?;
        let (mut plans, mut anew) = self.plans(&order, containers.clone(), &files, options)?;
        let followers = self.followers(&order, &containers, &anew);
        if !followers.is_empty() {
            order.extend(followers);
            (plans, anew) = self.plans(&order, containers, &files, options)?;
        }
        self.carry_out(&self.levels(plans), &files, options)?;
        if !options.no_start {
            self.start_in_order(&order, &anew, options.grace)?;
        }
        Ok(order)
    }

    /// What becomes of each service's containers, and which services get new ones.
    fn plans(
        &self,
        order: &[String],
        containers: Vec<Actual>,
        files: &Files,
        options: &UpOptions,
    ) -> Result<(Plans, BTreeSet<String>)> {
        let mut services = plan::by_service(containers);
        let is_named = |name: &String| options.services.is_empty() || options.services.contains(name);
        let mut anew: BTreeSet<String> = BTreeSet::new();
        let mut plans = Vec::new();
        for name in order {
            let recreate = match self.shares_with(name, &anew) {
                true => Recreate::Always,
                false if is_named(name) => options.recreate,
                false if options.recreate_dependencies => Recreate::Always,
                false if options.recreate == Recreate::Never => Recreate::Never,
                false => Recreate::Changed,
            };
            let actual = services.remove(name).unwrap_or_default();
            let wanted = Wanted {
                hash: self.hash(name, files)?,
                image: self.image_id(name).unwrap_or_default(),
                scale: options.scale.get(name).copied().unwrap_or_else(|| self.project.scale(name)),
            };
            let steps = plan::service(&wanted, &actual, recreate);
            if plan::brings_new(&steps) {
                anew.insert(name.clone());
            }
            plans.push((name.clone(), steps));
        }
        Ok((plans, anew))
    }

    /// Takes the project's lock; says for whom it waits, if that takes long.
    pub(crate) fn lock(&self) -> Result<Option<OwnedFd>> {
        if self.dry_run {
            return Ok(None);
        }
        let path = state_directory(self.engine, self.project)?.join("lock");
        let failed = |err: std::io::Error| Error::system(format!("open {}", path.display()), err);
        let file =
            std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(failed)?;
        let file = OwnedFd::from(file);
        if !fs::lock_within(&file, Share::Exclusive, SILENCE, LOOK).map_err(failed)? {
            let holders = lock::holders(file.as_fd()).unwrap_or_default();
            let by: Vec<String> = holders.iter().map(|h| format!("{} ({})", h.pid, h.command)).collect();
            // Whoever had it may have let go of it since.
            let by =
                if by.is_empty() { "another command".into() } else { format!("process {}", by.join(", ")) };
            (self.warn)(&format!("project {} is being changed by {by}; waiting", self.project.name));
            fs::lock(&file, Share::Exclusive).map_err(failed)?;
        }
        Ok(Some(file))
    }

    pub(crate) fn event(&self, what: &'static str, name: &str, state: &str) {
        (self.report)(Event { what, name, state });
    }

    /// The project's containers, as they are now. One that is about to start or to end is given the time for
    /// it: what it will be then decides.
    pub(crate) fn containers(&self) -> Result<Vec<Actual>> {
        let end = Instant::now() + PATIENCE;
        // Between two lives it counts as running: the next one may be a minute away.
        let is_changing =
            |c: &Container| matches!(c.status.phase, Phase::Starting | Phase::Ending(_)) && !c.will_restart();
        let mut found = observe::containers(self.engine, &self.project.name)?;
        while found.iter().any(is_changing) && Instant::now() < end {
            std::thread::sleep(LOOK);
            found = observe::containers(self.engine, &self.project.name)?;
        }
        Ok(found.iter().filter_map(observe::actual).collect())
    }

    pub(super) fn image_id(&self, service: &str) -> Option<String> {
        let image = self.engine.image(&self.project.image(service)).ok()?;
        Some(image.image.id.hex())
    }

    /// Models run in a program of Docker's.
    fn refuse_models(&self, order: &[String]) -> Result<()> {
        let uses = |name: &String| self.project.service(name).is_ok_and(|node| node.get("models").is_some());
        match order.iter().find(|name| uses(name)) {
            Some(name) => Err(Error::new(Kind::Unsupported, "'models' support requires Docker Model plugin")
                .hint(format!("service {name}: give it the address of a model by `environment`"))),
            None => Ok(()),
        }
    }

    fn handle_orphans(&self, containers: &[Actual], options: &UpOptions) -> Result<()> {
        let is_orphan = |container: &&Actual| !container.one_off && !self.project.knows(&container.service);
        let orphans: Vec<&Actual> = containers.iter().filter(is_orphan).collect();
        if orphans.is_empty() || options.ignore_orphans {
            return Ok(());
        }
        if options.remove_orphans {
            return self.remove_all(&orphans, options.grace);
        }
        let names: Vec<&str> = orphans.iter().map(|orphan| orphan.name.as_str()).collect();
        (self.warn)(&format!(
            "Found orphan containers ([{}]) for this project. If you removed or renamed this service in your compose file, you can run this command with the --remove-orphans flag to clean it up.",
            names.join(" ")
        ));
        Ok(())
    }

    /// Services beside those in `order` that have containers in the namespaces of one that is made `anew`: such a
    /// container cannot outlive it.
    fn followers(&self, order: &[String], containers: &[Actual], anew: &BTreeSet<String>) -> Vec<String> {
        let (mut found, mut anew) = (Vec::new(), anew.clone());
        for name in self.project.select(&[], true).unwrap_or_default() {
            let is_there = containers.iter().any(|container| container.service == name && !container.one_off);
            if is_there && !order.contains(&name) && self.lives_in(&name, &anew) {
                anew.insert(name.clone());
                found.push(name);
            }
        }
        found
    }

    /// Whether a service uses namespaces of one that is made anew.
    fn lives_in(&self, name: &str, anew: &BTreeSet<String>) -> bool {
        let Ok(service) = self.project.service(name) else { return false };
        let keys = ["network_mode", "ipc", "pid"].iter();
        let mut others = keys.filter_map(|key| service.str_at(key)?.strip_prefix("service:"));
        others.any(|other| anew.contains(other))
    }

    /// Whether a service uses namespaces or volumes of one that is made anew.
    fn shares_with(&self, name: &str, anew: &BTreeSet<String>) -> bool {
        let Ok(service) = self.project.service(name) else { return false };
        let from = service.get("volumes_from").and_then(Node::as_list).unwrap_or_default();
        self.lives_in(name, anew)
            || from
                .iter()
                .filter_map(Node::as_str)
                .any(|from| anew.contains(from.split(':').next().unwrap_or(from)))
    }
}
