//! Opening a project for a verb, and handing work to the verbs for single containers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{IsTerminal as _, Write};
use std::os::fd::AsFd as _;
use std::time::Duration;

use crate::base::order::InOrder as _;
use crate::cli::compose::getter::Getter;
use crate::cli::error::of_engine;
use crate::cli::progress::Progress;
use crate::cli::session::{Exit, Session};
use crate::compose::apply::{Compose, Event};
use crate::compose::load::Loaded;
use crate::compose::node::{Map, Node};
use crate::compose::observe;
use crate::compose::plan::Actual;
use crate::compose::project::Project;
use crate::engine::{Error, Kind};
use crate::sys::poll::{Interest, PollSet};

/// Loads the project of this command. `services` are those named on the command line.
///
/// # Errors
///
/// As for loading.
pub(super) fn project(session: &Session<'_>, services: &[String]) -> anyhow::Result<Project> {
    let flags = &session.globals.project;
    let options = flags.options(services)?;
    let project = Project::new(flags.load(session, &options)?);
    for name in services {
        project.service(name)?;
    }
    Ok(project)
}

/// Like [`project`]; where no file is found, a project that `-p` names is known by its containers alone.
///
/// # Errors
///
/// As [`project`].
pub(super) fn project_or_containers(session: &Session<'_>, services: &[String]) -> anyhow::Result<Project> {
    match project(session, &[]) {
        Ok(project) => {
            let mut unknown = services.iter().filter(|name| !project.knows(name)).peekable();
            if unknown.peek().is_some() {
                let there = containers(session, &project, services, true)?;
                if let Some(name) = unknown.find(|name| there.iter().all(|c| c.service != **name)) {
                    return Err(Error::not_found(format!("no such service: {name}")).into());
                }
            }
            Ok(project)
        }
        Err(err) => match (of_engine(err.as_ref()), session.globals.project.name()) {
            (Some(Error { kind: Kind::NotFound, .. }), Some(name)) => Ok(Project::new(nameless(name))),
            _ => Err(err),
        },
    }
}

/// A project of which nothing but the name is known.
fn nameless(name: &str) -> Loaded {
    Loaded {
        name: name.to_owned(),
        directory: std::path::PathBuf::new(),
        config_files: Vec::new(),
        env_files: Vec::new(),
        environment: std::collections::BTreeMap::new(),
        tree: Node::map(Map::new(), Default::default()),
        missed: std::collections::BTreeSet::new(),
        obsolete: std::collections::BTreeSet::new(),
        profiles: std::collections::BTreeSet::new(),
        all_services: std::collections::BTreeSet::new(),
        files: crate::compose::node::Files::default(),
    }
}

/// Works on a project; what happens is told on standard error.
///
/// # Errors
///
/// Those of `work`.
pub(super) fn with<T>(
    session: &Session<'_>,
    project: &Project,
    quiet_pull: bool,
    work: impl FnOnce(&Compose<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    with_shown(session, project, Shown { quiet_pull, ..Shown::default() }, work)
}

/// What is shown of what is done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    /// Not how images are pulled.
    pub(super) quiet_pull: bool,
    /// Nothing of what is done.
    pub(super) quiet: bool,
    /// Not how images are built.
    pub(super) quiet_build: bool,
    /// What hooks write, like the output of containers.
    pub(super) hooks: bool,
}

/// Like [`with`].
///
/// # Errors
///
/// Those of `work`.
pub(super) fn with_shown<T>(
    session: &Session<'_>,
    project: &Project,
    shown: Shown,
    work: impl FnOnce(&Compose<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let pause = |time| {
        std::thread::sleep(time);
        Ok(())
    };
    with_pause(session, project, shown, &pause, work)
}

/// Like [`with`]; `pause` is what is done while containers are waited for.
///
/// # Errors
///
/// Those of `work`.
pub(super) fn with_pause<T>(
    session: &Session<'_>,
    project: &Project,
    shown: Shown,
    pause: &dyn Fn(Duration) -> crate::engine::Result<()>,
    work: impl FnOnce(&Compose<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let flags = &session.globals.project;
    let quiet = flags.quiet || shown.quiet;
    // As docker compose writes it: with a blank of its own before what follows.
    let prefix = if flags.dry_run { "DRY-RUN MODE -  " } else { "" };
    let report = move |event: Event<'_>| match event.what {
        _ if quiet => {}
        "" => say!(" {prefix}{} {}", event.name, event.state),
        what => say!(" {prefix}{what} {}  {}", event.name, event.state),
    };
    let warn = |text: &str| session.warn(text);
    let hook_output = move |name: &str, line: &str| {
        if shown.hooks {
            // What a hook says is no output of the project: it is not worth ending that for.
            writeln!(std::io::stdout(), "{name}  | {line}").ok();
        }
    };
    let engine = session.engine()?;
    let images = Getter {
        engine,
        globals: session.globals,
        quiet_build: shown.quiet_build,
        // Lines tell when a pull begins and ends.
        progress: RefCell::new(Progress::new(shown.quiet_pull || quiet || !std::io::stderr().is_terminal())),
    };
    let given = RefCell::new(BTreeMap::new());
    work(&Compose {
        engine,
        project,
        report: &report,
        warn: &warn,
        images: &images,
        hook_output: &hook_output,
        pause,
        confirm: &confirm,
        given: &given,
        dry_run: flags.dry_run,
        parallel: flags.parallel.unwrap_or(PARALLEL),
    })
}

/// Asks on standard error. Nobody answers where standard input is no terminal and has nothing to say.
pub(super) fn confirm(question: &str) -> bool {
    say_part!("{question} [y/N] ");
    let stdin = std::io::stdin();
    let mut poll = PollSet::default();
    poll.add(Some(stdin.as_fd()), Interest::READ);
    let has_answer = stdin.is_terminal() || poll.wait(Some(Duration::ZERO)).unwrap_or(false);
    let mut answer = String::new();
    if !has_answer || stdin.read_line(&mut answer).is_err() {
        answer.clear();
    }
    if !stdin.is_terminal() {
        say!("");
    }
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// How much is done at once where nothing is said.
const PARALLEL: usize = 32;

/// The containers of the named services, or of all; one-off ones only with `one_off`.
///
/// # Errors
///
/// If the store cannot be read.
pub(super) fn containers(
    session: &Session<'_>,
    project: &Project,
    services: &[String],
    one_off: bool,
) -> anyhow::Result<Vec<Actual>> {
    let mut found: Vec<Actual> = observe::containers(session.engine()?, &project.name)?
        .iter()
        .filter_map(observe::actual)
        .filter(|container| services.is_empty() || services.contains(&container.service))
        .filter(|container| one_off || !container.one_off)
        .collect();
    found.order_by(|a, b| (&a.service, a.number).cmp(&(&b.service, b.number)));
    Ok(found)
}

/// The container of a service with the number `index`, or with the lowest; it runs.
///
/// # Errors
///
/// If there is none.
pub(super) fn running_container(
    session: &Session<'_>,
    project: &Project,
    service: &str,
    index: Option<u32>,
) -> anyhow::Result<Actual> {
    let mut found = containers(session, project, &[service.to_owned()], true)?;
    // One of `run` will do where the service has none of its own.
    found.retain(|container| container.running && !(container.one_off && index.is_some()));
    found.order_by_key(|container| container.one_off);
    one_of(found, service, index)
}

/// The same of those that have ended too.
///
/// # Errors
///
/// If there is none.
pub(super) fn container(
    session: &Session<'_>,
    project: &Project,
    service: &str,
    index: Option<u32>,
) -> anyhow::Result<Actual> {
    one_of(containers(session, project, &[service.to_owned()], false)?, service, index)
}

/// The first of these, or the one with the number `index`.
///
/// # Errors
///
/// If there is none.
pub(super) fn one_of(found: Vec<Actual>, service: &str, index: Option<u32>) -> anyhow::Result<Actual> {
    let mut matching = found.into_iter().filter(|c| index.is_none_or(|index| index == c.number));
    matching.next().ok_or_else(|| {
        let which = index.map_or(String::new(), |index| format!(" container #{index}"));
        Error::not_found(format!("service {service:?} is not running{which}"))
            .hint(format!("start it: ketch compose up -d {service}"))
            .into()
    })
}

/// Carries out another command of ketch: what a verb does for one container stands in one place.
///
/// # Errors
///
/// Those of that command.
pub(super) fn delegate<S: Into<OsString>>(
    session: &mut Session<'_>,
    words: impl IntoIterator<Item = S>,
) -> anyhow::Result<Exit> {
    let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    if session.globals.project.dry_run {
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        say!(" DRY-RUN MODE -  ketch {}", words.join(" "));
        return Ok(Exit::OK);
    }
    delegate_reading(session, words)
}

/// The same for a command that changes nothing: it is carried out in a dry run too.
///
/// # Errors
///
/// Those of that command.
pub(super) fn delegate_reading<S: Into<OsString>>(
    session: &mut Session<'_>,
    words: impl IntoIterator<Item = S>,
) -> anyhow::Result<Exit> {
    session.out.flush()?;
    let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    let mut globals = session.globals.clone();
    crate::cli::dispatch(&words, &mut globals)
}
