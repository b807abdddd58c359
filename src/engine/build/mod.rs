//! Use case: build an image from a Dockerfile.
//!
//! ```text
//! Dockerfile ─parse─▶ lines ─plan─▶ stages that are needed
//!                                      │ one lane each; a lane waits for the stages it uses
//!      ┌───────────────────────────────┴─────────────────────────────────────┐
//!      │ ENV, CMD …: state.rs    RUN: run.rs        COPY, ADD, WORKDIR: files.rs
//!      │ change the state        a container        an order to runtime::assemble
//!      │                           ╰── upper directory ──engine::layer──▶ layer, blob
//!      │                                       ▲ key.rs: the same step was done before: store/build
//!      ╰──────────────────────────────▶ state ─┴─image.rs─▶ image, files or archive
//! ```
//!
//! One thread: everything slow is done by other processes (containers, stages in U), and this one polls
//! their sockets. So independent stages run at the same time, and each step's clone happens in a
//! single-threaded process.

mod context;
pub(crate) mod fault;
mod files;
mod image;
mod key;
mod plan;
pub(crate) mod prune;
mod remote;
pub(crate) mod request;
mod run;
mod sources;
mod state;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::base::bytes::Bytes;
use crate::base::digest::Digest;
use crate::base::dockerfile::instruction::Instruction;
use crate::base::dockerfile::{Line, check, parse_trigger};
use crate::base::image_document::ConfigDocument;
use crate::base::manifest::Descriptor;
use crate::base::platform::Platform;
use crate::engine::build::context::Context;
use crate::engine::build::fault::Fault;
use crate::engine::build::files::FilesStep;
use crate::engine::build::key::Key;
use crate::engine::build::plan::{Base, Plan};
use crate::engine::build::request::{BuildEvent, BuildRequest, StepName};
use crate::engine::build::run::{Heard, RunStep, Running};
use crate::engine::build::sources::Named;
use crate::engine::build::state::{Scope, State};
use crate::engine::layer::{LayerOptions, NewLayer};
use crate::engine::unpack::Wanted;
use crate::engine::{Engine, Error};
use crate::runtime::assemble::{Assembler, Task};
use crate::runtime::launch::Caller;
use crate::runtime::layer::{PLACEHOLDERS, Source};
use crate::store::build_cache::{CachedLayer, CachedStep};
use crate::store::staging::{self, Staged};
use crate::sys::poll::{Interest, PollSet};

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
    /// New layers, which pin themselves.
    held: Vec<NewLayer>,
    serial: usize,
}

/// One stage while it is built.
pub(crate) struct Lane {
    stage: usize,
    lines: VecDeque<Line>,
    /// Steps done, and how many there are.
    place: (usize, usize),
    state: State,
    doing: Doing,
    line: Option<Line>,
    name: StepName,
    /// With `--layers=false`: the upper directory of all steps.
    open: Option<Staged>,
    /// Names of the layers that `open` lies on.
    below: Vec<Digest>,
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
    let outcome = build_read(engine, request, events, read);
    outcome.map_err(|fault| fault.drawn(&name, &text))
}

/// The name and the text of the Dockerfile that a build would read.
///
/// # Errors
///
/// If there is none.
pub(crate) fn dockerfile_of(engine: &Engine, request: &BuildRequest) -> Result<(String, String)> {
    let read = sources::read(engine, request)?;
    Ok((read.name, read.text))
}

fn build_read(
    engine: &Engine,
    request: &BuildRequest,
    events: &mut dyn FnMut(&BuildEvent<'_>),
    read: sources::Read,
) -> Result<Built> {
    let file = crate::base::dockerfile::parse(&read.text)?;
    if check::remarks_are_errors(&file)
        && let Some(remark) = check::check(&file, &read.text).into_iter().next()
    {
        let message = format!("{}: {}", remark.rule, remark.message);
        return Err(crate::base::dockerfile::DockerfileError::new(remark.at, message).into());
    }
    let contexts = sources::contexts(engine, request)?;
    let names: Vec<String> = contexts.keys().cloned().collect();
    let platform = request.platform.clone().unwrap_or_else(Platform::host);
    let given = plan::Given {
        args: &request.args,
        target: request.target.as_deref(),
        base: request.base.as_deref(),
        contexts: &names,
        platform: &platform,
        all_stages: request.all_stages,
    };
    let plan = plan::plan(&file, &given)?;
    let caller = engine.caller();
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
        held: vec![],
        serial: 0,
    };
    let built = builder.stages().and_then(|()| builder.finish());
    builder.context.keep_digests(engine.store());
    builder.clean_up();
    built
}

impl Builder<'_> {
    fn event(&mut self, event: &BuildEvent<'_>) {
        (self.events)(event);
    }

    /// Builds all stages that are needed.
    fn stages(&mut self) -> Result<()> {
        self.warn_of_unused_args();
        let names: Vec<String> = self.contexts.keys().cloned().collect();
        let mut waiting: VecDeque<usize> = self.plan.needed.clone().into();
        let mut lanes: Vec<Lane> = Vec::new();
        let jobs = self.request.jobs.max(1);
        let mut poll = PollSet::default();
        let mut buffer = Vec::new();
        loop {
            let mut at = 0;
            while at < waiting.len() && lanes.len() < jobs {
                let used = plan::uses(&self.plan.stages, waiting[at], &names);
                if used.iter().all(|stage| self.done[*stage].is_some()) {
                    let stage = waiting.remove(at).unwrap_or_default();
                    lanes.push(self.begin(stage)?);
                } else {
                    at += 1;
                }
            }
            let mut finished = false;
            let mut index = 0;
            while index < lanes.len() {
                if self.advance(&mut lanes[index])? {
                    let lane = lanes.swap_remove(index);
                    self.done[lane.stage] = Some(lane.state);
                    finished = true;
                } else {
                    index += 1;
                }
            }
            if finished {
                continue;
            }
            if lanes.is_empty() {
                return Ok(());
            }
            poll.clear();
            let mut retry = None;
            for lane in &lanes {
                let fd = match &lane.doing {
                    Doing::Digests(worker, _) | Doing::Files(worker, ..) => Some(worker.socket()),
                    Doing::Run(running, ..) => Some(running.socket()),
                    Doing::Cache(..) => {
                        retry = Some(RETRY);
                        None
                    }
                    Doing::Nothing => None,
                };
                poll.add(fd, Interest::READ);
            }
            poll.wait(retry).map_err(|err| Error::system("wait for the steps", err))?;
            for (place, lane) in lanes.iter_mut().enumerate() {
                if matches!(lane.doing, Doing::Cache(..)) || poll.ready(place).read {
                    self.resume(lane, &mut buffer)?;
                }
            }
        }
    }

    /// `--build-arg`s that no ARG takes are probably mistyped.
    fn warn_of_unused_args(&mut self) {
        let platform = plan::platform_args(&self.platform, "");
        let declared = |name: &String| {
            self.plan.globals.contains_key(name)
                || state::is_predefined(name)
                || platform.contains_key(name)
                || name.starts_with("BUILDKIT_")
                || name == "SOURCE_DATE_EPOCH"
                || self.plan.stages.iter().flat_map(|stage| &stage.lines).any(|line| {
                    matches!(&line.instruction, Instruction::Arg(args) if args.iter().any(|(known, _)| known == name))
                })
        };
        let unused: Vec<String> = self.request.args.keys().filter(|name| !declared(name)).cloned().collect();
        if !unused.is_empty() {
            let text = format!("one or more build args were not consumed: [{}]", unused.join(" "));
            self.event(&BuildEvent::Warning(&text));
        }
    }

    /// Makes the lane of a stage: its base is known or done.
    fn begin(&mut self, number: usize) -> Result<Lane> {
        let stage = self.plan.stages[number].clone();
        let place = self.plan.needed.iter().position(|needed| *needed == number).map_or(1, |at| at + 1);
        let mut name = StepName {
            stage: number,
            stages: (place, self.plan.needed.len()),
            stage_name: stage.name.clone(),
            place: (1, stage.lines.len() + 1),
            text: stage.from.shown.clone(),
            ..StepName::default()
        };
        self.serial += 1;
        name.serial = self.serial;
        self.event(&BuildEvent::Step(&name));
        let mut state = match &stage.base {
            Base::Scratch => State::new(ConfigDocument::new(&self.platform), vec![]),
            Base::Stage(base) => {
                let done = self.done[*base].as_ref();
                done.ok_or_else(|| Fault::plain("a stage is used before it is built"))?.successor()
            }
            Base::Image { name, platform } => {
                self.base_image(name, platform.as_ref()).map_err(|fault| fault.of(&stage.from))?
            }
        };
        let mut lines: VecDeque<Line> = stage.lines.into();
        for trigger in std::mem::take(&mut state.document.config.on_build).into_iter().rev() {
            let mut line = parse_trigger(&trigger).map_err(|err| {
                Fault::plain(format!("the base's trigger ONBUILD {trigger}: {}", err.message)).of(&stage.from)
            })?;
            line.lines = stage.from.lines;
            line.at = stage.from.at;
            lines.push_front(line);
        }
        name.place.1 = lines.len() + 1;
        self.event(&BuildEvent::Done(&name, None));
        let below =
            if self.request.single_layer { state.wanted().iter().map(|w| w.name).collect() } else { vec![] };
        let open = if self.request.single_layer { Some(self.step_directory(&below)?) } else { None };
        Ok(Lane {
            stage: number,
            place: (1, lines.len() + 1),
            lines,
            state,
            doing: Doing::Nothing,
            line: None,
            name,
            open,
            below,
        })
    }

    /// Goes on with a lane until it waits (false) or is done (true).
    fn advance(&mut self, lane: &mut Lane) -> Result<bool> {
        while matches!(lane.doing, Doing::Nothing) {
            let Some(line) = lane.lines.pop_front() else {
                if let Some(open) = lane.open.take() {
                    self.close(lane, open)?;
                }
                return Ok(true);
            };
            lane.place.0 += 1;
            self.serial += 1;
            lane.name = StepName {
                serial: self.serial,
                place: lane.place,
                text: line.shown.clone(),
                ..lane.name.clone()
            };
            self.event(&BuildEvent::Step(&lane.name));
            lane.line = Some(line.clone());
            self.step(lane, &line).map_err(|fault| fault.of(&line))?;
        }
        Ok(false)
    }

    /// Begins one step; those that change no file are done at once.
    fn step(&mut self, lane: &mut Lane, line: &Line) -> Result<()> {
        let (globals, given) = (self.plan.globals.clone(), self.request.args.clone());
        let platform = plan::platform_args(&self.platform, &self.plan.stages[self.plan.target].name);
        let scope = Scope { globals: &globals, given: &given, platform, escape: self.plan.escape };
        if lane.state.apply(line, &scope)? {
            let name = lane.name.clone();
            self.event(&BuildEvent::Done(&name, None));
            return Ok(());
        }
        match &line.instruction {
            Instruction::Run(run) => {
                let step = self.run_step(lane, line, run, &scope)?;
                let key = below(step.key.clone(), lane.state.top());
                if self.take_cached(lane, key, &step.created_by)? {
                    return Ok(());
                }
                let directory = self.directory_of(lane)?;
                self.try_run(lane, line, Box::new(step), directory)
            }
            Instruction::Transfer(transfer) => {
                let step = self.transfer(lane, line, transfer, &scope)?;
                self.files(lane, Box::new(step))
            }
            Instruction::Workdir(word) => {
                let path = lane.state.expand(word, &scope)?;
                if path.is_empty() {
                    return Err(Fault::plain("WORKDIR requires a path"));
                }
                let step = self.workdir(lane, &path);
                self.files(lane, Box::new(step))
            }
            _ => Err(Fault::plain(format!("{} is not possible here", line.shown))),
        }
    }

    /// Begins COPY, ADD or WORKDIR.
    fn files(&mut self, lane: &mut Lane, mut step: Box<FilesStep>) -> Result<()> {
        if step.to_digest.is_empty() {
            return self.assemble(lane, step);
        }
        let mut order = step.order.clone();
        order.tasks = std::mem::take(&mut step.to_digest).into_iter().map(Task::Digest).collect();
        let worker = self.worker()?;
        worker.order(&order).map_err(|failure| Fault::plain(failure.message))?;
        lane.doing = Doing::Digests(worker, step);
        Ok(())
    }

    /// The key is complete: takes the step from the cache, or has it done.
    fn assemble(&mut self, lane: &mut Lane, mut step: Box<FilesStep>) -> Result<()> {
        let key =
            if step.link { step.key.clone().finish() } else { below(step.key.clone(), lane.state.top()) };
        // What lies below decides which layer it is on, but not what is in it.
        let entry = if step.link { below(step.key.clone(), lane.state.top()) } else { key };
        let directory = step.directory.clone();
        if self.take_cached(lane, entry, &step.created_by)? {
            if let Some(directory) = directory {
                lane.state.document.config.working_dir = directory;
            }
            return Ok(());
        }
        let staged = self.directory_of(lane)?;
        let lowers =
            if step.link && lane.open.is_none() { vec![] } else { self.lower_paths(&lane.base_names()) };
        step.order.target = Some(self.target(lowers, staged.path()));
        let worker = self.worker()?;
        worker.order(&step.order).map_err(|failure| Fault::plain(failure.message))?;
        lane.doing = Doing::Files(worker, step, entry, staged);
        Ok(())
    }

    fn try_run(&mut self, lane: &mut Lane, line: &Line, step: Box<RunStep>, directory: Staged) -> Result<()> {
        lane.doing = match self.start_run(lane, line, &step, &directory)? {
            Some(running) => Doing::Run(running, step, directory),
            None => Doing::Cache(step, directory),
        };
        Ok(())
    }

    /// Something a lane waits for has happened.
    fn resume(&mut self, lane: &mut Lane, buffer: &mut Vec<u8>) -> Result<()> {
        let Some(line) = lane.line.clone() else { return Ok(()) };
        let resumed = match std::mem::replace(&mut lane.doing, Doing::Nothing) {
            Doing::Nothing => Ok(()),
            Doing::Cache(step, directory) => self.try_run(lane, &line, step, directory),
            Doing::Digests(worker, mut step) => match worker.report() {
                Ok(report) => {
                    self.idle.push(worker);
                    report.digests.iter().for_each(|digest| step.key.field("content", digest));
                    self.assemble(lane, step)
                }
                Err(failure) => Err(of_worker(failure)),
            },
            Doing::Files(worker, step, key, directory) => match worker.report() {
                Ok(_) => {
                    self.idle.push(worker);
                    let made = self.finish_step(lane, key, step.created_by, directory, vec![], step.link);
                    if let Some(directory) = step.directory {
                        lane.state.document.config.working_dir = directory;
                    }
                    made
                }
                Err(failure) => Err(of_worker(failure)),
            },
            Doing::Run(running, step, directory) => match running.hear(buffer)? {
                Heard::Output(stream, bytes) => {
                    let name = lane.name.clone();
                    self.event(&BuildEvent::Output(&name, stream, &bytes));
                    lane.doing = Doing::Run(running, step, directory);
                    Ok(())
                }
                Heard::Exit(0) => {
                    let key = below(step.key.clone(), lane.state.top());
                    let placeholders = running.placeholders;
                    self.finish_step(lane, key, step.created_by, directory, placeholders, false)
                }
                Heard::Exit(code) => {
                    let name = lane.name.clone();
                    self.event(&BuildEvent::Failed(&name));
                    let message = format!(
                        "building at STEP \"{}\": while running runtime: exit status {code}",
                        lane.name.text
                    );
                    Err(Fault { exit: Some(code), ..Fault::plain(message) })
                }
            },
        };
        resumed.map_err(|fault| fault.of(&line))
    }

    /// Takes a step from the cache; false if it is not there, or not wanted from there.
    fn take_cached(&mut self, lane: &mut Lane, key: Digest, created_by: &str) -> Result<bool> {
        let stage = &self.plan.stages[lane.stage];
        let filtered =
            |name: &String| name.eq_ignore_ascii_case(&stage.name) || *name == stage.number.to_string();
        if self.request.no_cache || lane.open.is_some() || self.request.no_cache_filter.iter().any(filtered) {
            return Ok(false);
        }
        let store = self.engine.store();
        let Some(step) = store.build_cache().step(&key) else { return Ok(false) };
        if let Some(layer) = &step.layer {
            // Under the lock it cannot be collected between the look and the pin.
            let _lock = store.lock_shared(&mut |_, _| {})?;
            if !store.layers().has(&layer.chain_id) || store.blobs().length(&layer.blob)?.is_none() {
                return Ok(false);
            }
            self.pins.pin_layer(&layer.chain_id)?;
            self.pins.pin_blob(&layer.blob)?;
        }
        store.build_cache().touch(&key);
        let created = step.layer.as_ref().map(|_| step.created);
        if let Some(layer) = step.layer {
            let wanted = Wanted { name: layer.chain_id, diff_id: layer.diff_id, blob: layer.blob };
            let descriptor =
                Descriptor { media_type: layer.media_type, digest: layer.blob, size: layer.blob_bytes };
            lane.state.push((wanted, descriptor));
        }
        lane.state.note(created_by.to_owned(), created);
        let name = lane.name.clone();
        self.event(&BuildEvent::Cached(&name));
        Ok(true)
    }

    /// Makes a layer of what a step has changed, and keeps it for later builds.
    fn finish_step(
        &mut self,
        lane: &mut Lane,
        key: Digest,
        created_by: String,
        directory: Staged,
        placeholders: Vec<Bytes>,
        link: bool,
    ) -> Result<()> {
        let created = self.now();
        if lane.open.is_some() || self.request.single_layer {
            lane.open = Some(directory);
            lane.state.note(created_by, None);
            let name = lane.name.clone();
            self.event(&BuildEvent::Done(&name, None));
            return Ok(());
        }
        let lowers = if link { vec![] } else { lane.base_names() };
        let layer = self.layer(lane, &directory, &lowers, placeholders)?;
        self.scratch.push(directory);
        let cached = layer.map(|(layer, cached)| {
            lane.state.push(layer);
            cached
        });
        let chain = cached.as_ref().map(|layer| layer.chain_id);
        lane.state.note(created_by, cached.as_ref().map(|_| created));
        let description = lane.name.text.clone();
        self.engine.store().build_cache().keep(&CachedStep::new(key, created, description, cached))?;
        let name = lane.name.clone();
        self.event(&BuildEvent::Done(&name, chain));
        Ok(())
    }

    /// The layer of an upper directory, on top of what the stage has; `None` if nothing was changed.
    fn layer(
        &mut self,
        lane: &Lane,
        directory: &Staged,
        lowers: &[Digest],
        placeholders: Vec<Bytes>,
    ) -> Result<Option<((Wanted, Descriptor), CachedLayer)>> {
        let source = Source {
            upper: directory.path().join("upper"),
            lowers: lowers.iter().rev().map(|layer| self.engine.store().layers().fs_path(layer)).collect(),
            merged: false,
            id_maps: None,
            placeholders: PLACEHOLDERS.iter().map(|path| Bytes::from(*path)).chain(placeholders).collect(),
        };
        let options = LayerOptions {
            clamp: self.request.times.epoch,
            take: true,
            unsynced: true,
            ..LayerOptions::default()
        };
        let failed = |failure: crate::runtime::failure::Failure| Error::system("make a layer", failure);
        let mut layer = self.engine.layer_of_source(source, &options, &failed)?;
        if layer.is_empty() {
            return Ok(None);
        }
        let size_bytes = layer.packed.size_bytes;
        let wanted = self.engine.add_layer(&lane.state.wanted(), &mut layer)?;
        let descriptor = layer.descriptor.clone();
        self.held.push(layer);
        let cached = CachedLayer {
            chain_id: wanted.name,
            diff_id: wanted.diff_id,
            blob: descriptor.digest,
            blob_bytes: descriptor.size,
            media_type: descriptor.media_type.clone(),
            size_bytes,
        };
        Ok(Some(((wanted, descriptor), cached)))
    }

    /// The end of a stage that is one layer.
    fn close(&mut self, lane: &mut Lane, open: Staged) -> Result<()> {
        let lowers = lane.below.clone();
        let layer = self.layer(lane, &open, &lowers, vec![])?;
        self.scratch.push(open);
        let created = self.now();
        if let Some((layer, _)) = layer {
            lane.state.push(layer);
            if let Some(last) = lane.state.past.last_mut() {
                last.layer = Some(created);
            } else {
                lane.state.note("squashed".to_owned(), Some(created));
            }
        }
        lane.below.clear();
        Ok(())
    }

    /// The directory that the next step of a lane works in.
    fn directory_of(&mut self, lane: &mut Lane) -> Result<Staged> {
        match lane.open.take() {
            Some(open) => Ok(open),
            None => self.step_directory(&lane.base_names()),
        }
    }

    /// A directory with `upper`, `work` and `over`; the upper one looks like the root below it.
    fn step_directory(&self, below: &[Digest]) -> Result<Staged> {
        use std::os::unix::fs::PermissionsExt as _;
        let staged = staging::dir(self.engine.store())?;
        for name in ["upper", "work", "over"] {
            drop(staged.subdir(name)?);
        }
        let top = below.last().map(|top| self.engine.store().layers().fs_path(top));
        let mode = top
            .and_then(|top| std::fs::metadata(top).ok())
            .map_or(0o755, |top| top.permissions().mode() & 0o7777);
        std::fs::set_permissions(staged.path().join("upper"), std::fs::Permissions::from_mode(mode))
            .map_err(|err| Error::system("prepare the upper directory", err))?;
        Ok(staged)
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

/// A key, and what lies below the step.
fn below(mut key: Key, top: Option<Digest>) -> Digest {
    key.field("below", top.map_or_else(|| "scratch".to_owned(), |top| top.to_string()));
    key.finish()
}

/// A failure of the assembling stage: usually of the Dockerfile.
fn of_worker(failure: crate::runtime::failure::Failure) -> Fault {
    Fault::from(Error::invalid(failure.message))
}
