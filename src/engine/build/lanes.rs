//! Lanes: the stages of a build, each going on as far as it can, and waiting for what others do.

use std::collections::VecDeque;
use std::os::fd::AsFd as _;

use crate::base::dockerfile::instruction::Instruction;
use crate::base::dockerfile::{Line, parse_trigger};
use crate::engine::Error;
use crate::engine::build::files::FilesStep;
use crate::engine::build::plan::{self, Base};
use crate::engine::build::request::{BuildEvent, StepName};
use crate::engine::build::run::{Heard, RunStep};
use crate::engine::build::state::{self, Scope, State};
use crate::engine::build::{Builder, Doing, Fault, Lane, RETRY, Result};
use crate::runtime::assemble::Task;
use crate::store::staging::Staged;
use crate::sys::poll::{Interest, PollSet};

/// Bytes of standard input that are passed on at once: a socket that takes anything takes so many.
const INPUT: usize = 4096;

impl Builder<'_> {
    /// Builds all stages that are needed.
    pub(super) fn stages(&mut self) -> Result<()> {
        let built = self.build_stages();
        // Only now it is known which triggers there were.
        self.warn_of_unused_args();
        built
    }

    fn build_stages(&mut self) -> Result<()> {
        let names: Vec<String> = self.contexts.keys().cloned().collect();
        let mut waiting: VecDeque<usize> = self.plan.needed.clone().into();
        let mut lanes: Vec<Lane> = Vec::new();
        let jobs = self.request.jobs.max(1);
        let mut poll = PollSet::default();
        let mut buffer = Vec::new();
        loop {
            let mut at = 0;
            while at < waiting.len() && working(&lanes) < jobs {
                let used = plan::uses(&self.plan, waiting[at], &names);
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
            self.need_more(&lanes, &mut waiting, &names);
            if lanes.is_empty() && !finished {
                return Ok(());
            }
            // Where all lanes wait for stages there is one that can begin: each means earlier ones only.
            if finished || working(&lanes) == 0 {
                continue;
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
                    Doing::Nothing | Doing::Stages(_) => None,
                };
                poll.add(fd, Interest::READ);
            }
            let input = self.poll_input(&lanes, &mut poll);
            let client = poll.add_for_hang_up(self.request.hang_up.as_ref().map(|fd| fd.as_fd()));
            poll.wait(retry).map_err(|err| Error::system("wait for the steps", err))?;
            if poll.ready(client).hung_up {
                return Err(Fault::plain("build cancelled: whoever asked for it is gone"));
            }
            for (place, lane) in lanes.iter_mut().enumerate() {
                if matches!(lane.doing, Doing::Cache(..)) || poll.ready(place).read {
                    self.resume(lane, &mut buffer)?;
                }
            }
            if let Some(reader) = input {
                let ready = poll.ready(lanes.len());
                self.pass_input(&lanes[reader], ready.read || ready.hung_up, ready.write)?;
            }
        }
    }

    /// Has the stages built that triggers of images mean: no plan could know of them.
    fn need_more(&mut self, lanes: &[Lane], waiting: &mut VecDeque<usize>, contexts: &[String]) {
        for lane in lanes {
            let Doing::Stages(meant) = &lane.doing else { continue };
            let known = self.plan.needed.len();
            meant.iter().for_each(|stage| plan::visit(&mut self.plan, *stage, contexts));
            waiting.extend(&self.plan.needed[known..]);
        }
    }

    /// The stages that a line of a lane means and that are not done.
    fn missing(&self, lane: &Lane, line: &Line) -> Vec<usize> {
        let contexts: Vec<String> = self.contexts.keys().cloned().collect();
        let mut meant = plan::meant(&self.plan, lane.stage, &line.instruction, &contexts);
        meant.retain(|stage| self.done[*stage].is_none());
        meant
    }

    /// With `--stdin`: waits for input, or for the container that reads it to take what was read. Returns
    /// the lane whose container that is: the first that runs one.
    fn poll_input(&self, lanes: &[Lane], poll: &mut PollSet) -> Option<usize> {
        let pending = self.input.as_ref()?;
        let (reader, running) = lanes.iter().enumerate().find_map(|(place, lane)| match &lane.doing {
            Doing::Run(running, ..) => Some((place, running)),
            _ => None,
        })?;
        if pending.is_empty() {
            poll.add(Some(std::io::stdin().as_fd()), Interest::READ);
        } else {
            poll.add(Some(running.socket()), Interest::WRITE);
        }
        Some(reader)
    }

    /// Takes input, or passes on what was taken.
    fn pass_input(&mut self, lane: &Lane, readable: bool, writable: bool) -> Result<()> {
        let (Some(pending), Doing::Run(running, ..)) = (&mut self.input, &lane.doing) else { return Ok(()) };
        let failed = |err: std::io::Error| Error::system("pass standard input on", err);
        if writable && !pending.is_empty() {
            match running.give(pending) {
                // It has ended; the end is still to be read.
                Err(err) if err.kind() == std::io::ErrorKind::BrokenPipe => {}
                given => given.map_err(failed)?,
            }
            pending.clear();
        } else if readable && pending.is_empty() {
            pending.resize(INPUT, 0);
            let got = rustix::io::read(std::io::stdin(), &mut pending[..]);
            pending.truncate(got.map_err(|errno| failed(errno.into()))?);
            if pending.is_empty() {
                self.input = None;
                running.end_of_input().ok();
            }
        }
        Ok(())
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
                || self.triggered.contains(name)
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
        let is_scratch = matches!(stage.base, Base::Scratch);
        let mut of_files =
            usize::from(!is_scratch) + stage.lines.iter().filter(|line| line.is_of_files()).count();
        let mut name = StepName {
            stage: number,
            stages: (place, self.plan.needed.len()),
            stage_name: match stage.name.as_str() {
                "" if self.plan.stages.len() > 1 => format!("stage-{number}"),
                name => name.to_owned(),
            },
            place: (1, stage.lines.len() + 1),
            file_place: (!is_scratch).then_some((1, of_files)),
            text: shown_from(&stage, &self.plan.stages),
            total: self.total(),
            ..StepName::default()
        };
        self.serial += 1;
        name.serial = self.serial;
        self.event(&BuildEvent::Step(&name));
        let mut state = match &stage.base {
            Base::Scratch => State::scratch(&self.platform),
            Base::Stage(base) => {
                let done = self.done[*base].as_ref();
                done.ok_or_else(|| Fault::plain("a stage is used before it is built"))?.successor()
            }
            Base::Image { name, platform } => {
                self.base_image(name, platform.as_ref()).map_err(|fault| fault.of(&stage.from))?
            }
        };
        state.complete();
        state.predefine(&self.request.env);
        let mut lines: VecDeque<Line> = stage.lines.into();
        for trigger in std::mem::take(&mut state.document.config.on_build).into_iter().rev() {
            let mut line = parse_trigger(&trigger).map_err(|err| {
                Fault::plain(format!("the base's trigger ONBUILD {trigger}: {}", err.message)).of(&stage.from)
            })?;
            if let Instruction::Arg(args) = &line.instruction {
                self.triggered.extend(args.iter().map(|(name, _)| name.clone()));
            }
            line.lines = stage.from.lines;
            line.at = stage.from.at;
            of_files += usize::from(line.is_of_files());
            self.triggers += 1;
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
            file_place: (usize::from(!is_scratch), of_files),
            lines,
            state,
            doing: Doing::Nothing,
            line: None,
            name,
            open,
            below,
            placeholders: vec![],
        })
    }

    /// How many steps there are in all: those of triggers as soon as their image is there.
    fn total(&self) -> usize {
        let lines = self.plan.needed.iter().map(|stage| self.plan.stages[*stage].lines.len() + 1);
        lines.sum::<usize>() + self.triggers
    }

    /// Goes on with a lane until it waits (false) or is done (true).
    fn advance(&mut self, lane: &mut Lane) -> Result<bool> {
        if let Doing::Stages(meant) = &lane.doing
            && meant.iter().all(|stage| self.done[*stage].is_some())
        {
            lane.doing = Doing::Nothing;
        }
        while matches!(lane.doing, Doing::Nothing) {
            let Some(line) = lane.lines.pop_front() else {
                if let Some(open) = lane.open.take() {
                    self.close(lane, open)?;
                }
                return Ok(true);
            };
            let missing = self.missing(lane, &line);
            if !missing.is_empty() {
                lane.lines.push_front(line);
                lane.doing = Doing::Stages(missing);
                break;
            }
            lane.place.0 += 1;
            lane.file_place.0 += usize::from(line.is_of_files());
            self.serial += 1;
            lane.name = StepName {
                serial: self.serial,
                place: lane.place,
                file_place: line.is_of_files().then_some(lane.file_place),
                total: self.total(),
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
                let key = self.below(step.key.clone(), lane.state.top());
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
        let key = if step.link {
            step.key.clone().finish()
        } else {
            self.below(step.key.clone(), lane.state.top())
        };
        // What lies below decides which layer it is on, but not what is in it.
        let entry = if step.link { self.below(step.key.clone(), lane.state.top()) } else { key };
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
            waiting @ (Doing::Nothing | Doing::Stages(_)) => {
                lane.doing = waiting;
                Ok(())
            }
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
                    let key = self.below(step.key.clone(), lane.state.top());
                    let placeholders = running.placeholders;
                    self.finish_step(lane, key, step.created_by, directory, placeholders, false)
                }
                Heard::Exit(code) => {
                    let name = lane.name.clone();
                    self.event(&BuildEvent::Failed { step: &name, process: &step.process(), code });
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
}

/// FROM as progress shows it: with the image or stage that its variables mean.
fn shown_from(stage: &plan::Stage, stages: &[plan::Stage]) -> String {
    let base = match &stage.base {
        _ if !stage.from.shown.contains('$') => return stage.from.shown.clone(),
        Base::Image { name, .. } => name,
        Base::Stage(base) => &stages[*base].name,
        Base::Scratch => "scratch",
    };
    match stage.name.as_str() {
        "" => format!("FROM {base}"),
        name => format!("FROM {base} AS {name}"),
    }
}

/// How many lanes do something or could: those that wait for other stages take no one's place.
fn working(lanes: &[Lane]) -> usize {
    lanes.iter().filter(|lane| !matches!(lane.doing, Doing::Stages(_))).count()
}

/// A failure of the assembling stage: usually of the Dockerfile.
fn of_worker(failure: crate::runtime::failure::Failure) -> Fault {
    Fault::from(Error::invalid(failure.message))
}
