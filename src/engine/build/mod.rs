//! Use case: build an image from a Dockerfile.
//!
//! ```text
//! Dockerfile ─parse─▶ lines ─plan─▶ stages that are needed
//!                                      │ one lane each; a lane waits for the stages it uses
//!      ┌───────────────────────────────┴─────────────────────────────────────┐
//!      │ ENV, CMD …: state.rs    RUN: run.rs        COPY, ADD, WORKDIR: files.rs      (lanes.rs)
//!      │ change the state        a container        an order to runtime::assemble
//!      │                           ╰── upper directory ──engine::layer──▶ layer, blob
//!      │                                       ▲ key.rs, steps.rs: it was done before: store/build, cache.rs
//!      ╰──────────────────────────────▶ state ─┴─image.rs─▶ image, files or archive
//! ```
//!
//! One thread: everything slow is done by other processes (containers, stages in U), and this one polls
//! their sockets. So independent stages run at the same time, and each step's clone happens in a
//! single-threaded process.

pub(crate) mod builders;
pub(crate) mod cache;
mod context;
pub(crate) mod fault;
mod files;
mod image;
mod key;
mod lanes;
pub(crate) mod look;
mod mounts;
mod plan;
pub(crate) mod platforms;
pub(crate) mod provenance;
pub(crate) mod prune;
mod remote;
pub(crate) mod request;
mod run;
mod sources;
mod state;
mod steps;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::base::bytes::Bytes;
use crate::base::digest::Digest;
use crate::base::dockerfile::{Dockerfile, Line};
use crate::base::manifest::Descriptor;
use crate::base::platform::Platform;
use crate::engine::build::context::Context;
use crate::engine::build::fault::Fault;
use crate::engine::build::files::FilesStep;
use crate::engine::build::key::Key;
use crate::engine::build::plan::Plan;
use crate::engine::build::provenance::{Facts, Material};
pub(crate) use crate::engine::build::remote::is_remote;
use crate::engine::build::request::{BuildEvent, BuildRequest, StepName};
use crate::engine::build::run::{RunStep, Running};
use crate::engine::build::sources::Named;
pub(crate) use crate::engine::build::sources::{InlineFile, inline_file, keep_context};
use crate::engine::build::state::State;
use crate::engine::layer::NewLayer;
use crate::engine::{Engine, Error};
use crate::runtime::assemble::Assembler;
use crate::runtime::launch::Caller;
use crate::store::build_cache::CachedStep;
use crate::store::staging::{self, Staged};

pub(crate) type Result<T, E = Fault> = std::result::Result<T, E>;

/// How often a cache that another build uses is looked at.
const RETRY: Duration = Duration::from_millis(50);

/// The files that `--from` means.
enum Root {
    /// The build's context, or a named one.
    Context(Option<String>),
    /// Layers by name, the lowest first.
    Layers(Vec<Digest>),
}

/// One build.
struct Builder<'a> {
    engine: &'a Engine,
    request: &'a BuildRequest,
    events: &'a mut dyn FnMut(&BuildEvent<'_>),
    caller: Caller,
    /// Only one ID is mapped.
    single: bool,
    platform: Platform,
    plan: Plan,
    context: Context,
    contexts: BTreeMap<String, Named>,
    /// Images that were looked up, by what the Dockerfile calls them.
    images: BTreeMap<String, State>,
    /// Stages that are done.
    done: Vec<Option<State>>,
    /// Stages of helper processes that have nothing to do.
    idle: Vec<Assembler>,
    /// What was put into staging for this build.
    scratch: Vec<Staged>,
    /// Keeps garbage collection off what the build uses.
    pins: Staged,
    /// Caches of elsewhere.
    imported: Vec<cache::Imported>,
    /// Steps of this build, for a cache elsewhere.
    used: Vec<CachedStep>,
    /// Standard input for RUN: what was read and not yet passed on; `None` at its end.
    input: Option<Vec<u8>>,
    /// What was used that is not the caller's.
    materials: Vec<Material>,
    /// New layers, which pin themselves.
    held: Vec<NewLayer>,
    /// ARGs that triggers of base images declare.
    triggered: Vec<String>,
    /// Steps that triggers of base images have added.
    triggers: usize,
    serial: usize,
}

/// One stage while it is built.
pub(crate) struct Lane {
    stage: usize,
    lines: VecDeque<Line>,
    /// Steps done, and how many there are.
    place: (usize, usize),
    /// The same of those that have to do with files.
    file_place: (usize, usize),
    state: State,
    doing: Doing,
    line: Option<Line>,
    name: StepName,
    /// With `--layers=false`: the upper directory of all steps.
    open: Option<Staged>,
    /// Names of the layers that `open` lies on.
    below: Vec<Digest>,
    /// Mount points that its RUNs had in `open`.
    placeholders: Vec<Bytes>,
}

impl Lane {
    /// The layers that the next step lies on, the lowest first.
    fn base_names(&self) -> Vec<Digest> {
        if self.open.is_some() || !self.below.is_empty() {
            return self.below.clone();
        }
        self.state.layers.iter().map(|(wanted, _)| wanted.name).collect()
    }
}

/// What a lane waits for.
enum Doing {
    Nothing,
    /// Stages that only a trigger of its base image means.
    Stages(Vec<usize>),
    /// Digests of what is to be copied.
    Digests(Assembler, Box<FilesStep>),
    Files(Assembler, Box<FilesStep>, Digest, Staged),
    /// A cache that another build has.
    Cache(Box<RunStep>, Staged),
    Run(Running, Box<RunStep>, Staged),
}

/// What was built.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// The image, if the result is one.
    pub(crate) id: Option<Digest>,
    pub(crate) manifest: Option<Descriptor>,
    /// What it was made of, and when.
    pub(crate) facts: Facts,
}

/// Builds.
///
/// # Errors
///
/// A [`Fault`]: what went wrong, where in the Dockerfile, and the exit code of a RUN that failed. What was
/// finished stays in the cache.
pub(crate) fn build(
    engine: &Engine,
    request: &BuildRequest,
    events: &mut dyn FnMut(&BuildEvent<'_>),
) -> Result<Built> {
    engine.sweep();
    let read = sources::read(engine, request)?;
    let (name, text) = (read.name.clone(), read.text.clone());
    let started = Timestamp::now();
    let outcome = build_read(engine, request, events, read);
    let mut built = outcome.map_err(|fault| fault.drawn(&name, &text, engine.name_rule()))?;
    (built.facts.started, built.facts.finished) = (started, Timestamp::now());
    built.facts.dockerfile = (name, text);
    Ok(built)
}

fn build_read(
    engine: &Engine,
    request: &BuildRequest,
    events: &mut dyn FnMut(&BuildEvent<'_>),
    read: sources::Read,
) -> Result<Built> {
    let file = crate::base::dockerfile::parse(&read.text)?;
    let ignore = read.context.ignore.clone();
    if look::options(&file, request)?.error {
        let base = |name: &str| look::local_base(engine, name);
        look::refuse(&look::remarks((&file, &read.text), request, ignore.as_bytes(), &base, None)?)?;
    }
    let contexts = sources::contexts(engine, request)?;
    let names: Vec<String> = contexts.keys().cloned().collect();
    let platform = request.platform.clone().unwrap_or_else(Platform::host);
    let given = plan::Given::of(request, &names, &platform);
    let plan = plan::plan(&file, &given)?;
    let caller = engine.caller();
    if let Some(why) = caller.mapping.as_ref().and_then(|mapping| mapping.single.as_deref()) {
        engine.tell(why);
    }
    let mut builder = Builder {
        single: caller.mapping.as_ref().is_some_and(|mapping| mapping.single.is_some()),
        caller,
        engine,
        request,
        events,
        platform,
        done: vec![None; plan.stages.len()],
        plan,
        context: read.context,
        contexts,
        images: BTreeMap::new(),
        idle: vec![],
        scratch: vec![],
        pins: staging::dir(engine.store())?,
        imported: vec![],
        used: vec![],
        input: request.container.interactive.then(Vec::new),
        materials: read.materials,
        held: vec![],
        triggered: vec![],
        triggers: 0,
        serial: 0,
    };
    for note in &request.notes {
        builder.event(&BuildEvent::Warning(note));
    }
    builder.import_caches();
    let mut built = builder.stages().and_then(|()| builder.finish());
    builder.remark(&file, &read.text, ignore.as_bytes());
    if let Ok(built) = &mut built {
        built.facts.materials = std::mem::take(&mut builder.materials);
    }
    builder.context.keep_digests(engine.store());
    builder.clean_up();
    built
}

impl Builder<'_> {
    /// Tells what could be written better.
    fn remark(&mut self, file: &Dockerfile, text: &str, ignore: &[u8]) {
        let base = |name: &str| look::used_base(&self.images, name);
        let needed = Some(&self.plan.needed[..]);
        if let Ok(remarks) = look::remarks((file, text), self.request, ignore, &base, needed)
            && !remarks.is_empty()
        {
            self.event(&BuildEvent::Remarks(&remarks));
        }
    }

    fn event(&mut self, event: &BuildEvent<'_>) {
        (self.events)(event);
    }

    /// The directories of layers, the topmost first.
    fn lower_paths(&self, layers: &[Digest]) -> Vec<Bytes> {
        let path = |layer: &Digest| -> PathBuf { self.engine.store().layers().fs_path(layer) };
        layers.iter().rev().map(|layer| path(layer).as_path().into()).collect()
    }

    /// A stage that puts files together: one that is idle, or a new one.
    fn worker(&mut self) -> Result<Assembler> {
        match self.idle.pop() {
            Some(worker) => Ok(worker),
            None => {
                let started = Assembler::start(&self.caller, self.engine.store().root());
                started.map_err(|failure| Fault::from(Error::system("start building", failure)))
            }
        }
    }

    /// The name of a step: its key, and what lies below it.
    fn below(&self, mut key: Key, top: Option<Digest>) -> Digest {
        if self.request.uncompressed {
            key.field("layers", "uncompressed");
        }
        // With a time, files are no younger than that: another layer.
        if let Some(epoch) = self.request.times.epoch {
            key.field("epoch", epoch.to_string());
        }
        key.field("below", top.map_or_else(|| "scratch".to_owned(), |top| top.to_string()));
        key.finish()
    }

    /// True if what was made then is too old to be taken.
    fn is_stale(&self, created: Timestamp) -> bool {
        self.request.cache_ttl.is_some_and(|ttl: SignedDuration| {
            Timestamp::now().checked_sub(ttl).is_ok_and(|oldest| created < oldest)
        })
    }

    /// The time that new things have.
    fn now(&self) -> Timestamp {
        let epoch = self.request.times.epoch.and_then(|epoch| Timestamp::from_second(epoch).ok());
        epoch.unwrap_or_else(Timestamp::now)
    }

    /// Removes what was put into staging, files of other IDs too.
    fn clean_up(mut self) {
        self.idle.clear();
        let leftovers = std::mem::take(&mut self.scratch);
        // What cannot be removed now is swept by the next command.
        self.engine.discard(leftovers).ok();
    }
}
