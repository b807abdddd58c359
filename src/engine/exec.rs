//! Running a further command in a running container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::attach::client;
use crate::base::bytes::Bytes;
use crate::base::caps;
use crate::base::id::ContainerId;
use crate::base::spec::{ContainerSpec, Process, Record, Seccomp, Security};
use crate::cgroup::admission::AdmissionOrder;
use crate::engine::events::Event;
use crate::engine::lifecycle::connect;
use crate::engine::start::{Start, failed};
use crate::engine::state::{self, Phase};
use crate::engine::{Engine, Error, Kind, Result, config, exec_sessions};
use crate::events;
use crate::runtime::enter::{self, EnterOrder, Entered};
use crate::runtime::failure::FailureKind;
use crate::runtime::monitor::prepare::secret_variables;

/// What somebody wants to run. Empty and `None` mean: as process 1 has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ExecRequest {
    pub(crate) command: Vec<Bytes>,
    /// `KEY=value`, in order: later ones win; `KEY` is none.
    pub(crate) env: Vec<Bytes>,
    pub(crate) user: Option<String>,
    pub(crate) workdir: Option<Bytes>,
    pub(crate) terminal: bool,
    pub(crate) interactive: bool,
    pub(crate) privileged: bool,
    pub(crate) detached: bool,
    /// Numbers of descriptors of this process that the command gets under the same numbers.
    #[serde(skip)]
    pub(crate) keep: Vec<i32>,
}

/// A further command that runs.
#[derive(Debug)]
pub(crate) struct Executed {
    pub(crate) entered: Entered,
    /// The ID of its session.
    pub(crate) session: String,
}

/// What enters a container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entering<'a> {
    pub(super) request: &'a ExecRequest,
    /// The ID of its session.
    pub(super) session: &'a str,
    /// That was told of before.
    pub(super) is_known: bool,
}

impl Engine {
    /// Runs a command in a running container; returns once it runs.
    ///
    /// # Errors
    ///
    /// Conflict if the container does not run; CommandNotFound and NotExecutable for the command.
    pub(crate) fn exec(&self, id: &ContainerId, request: &ExecRequest, start: Start) -> Result<Executed> {
        let dir = self.store().containers().open(id)?;
        let session = exec_sessions::new_id()?;
        let entering = Entering { request, session: &session, is_known: false };
        let entered = self.enter(dir.as_fd(), id, entering, None, start)?;
        // For `inspect` alone.
        exec_sessions::note(dir.as_fd(), &session, entered.pid).ok();
        Ok(Executed { entered, session })
    }

    /// Runs a command; further clients of it may connect to `listener`.
    pub(super) fn enter(
        &self,
        dir: BorrowedFd<'_>,
        id: &ContainerId,
        entering: Entering<'_>,
        listener: Option<OwnedFd>,
        start: Start,
    ) -> Result<Entered> {
        let request = entering.request;
        let kept = config::passed_descriptors(&request.keep)?;
        let status = self.status_with_monitor(dir, id)?;
        let paused = status.paused;
        let not_running = || {
            Error::new(
                Kind::Conflict,
                "can only create exec sessions on running containers: container state improper",
            )
            .hint(match paused {
                true => format!("let it go on first: ketch unpause {}", id.short()),
                false => format!("start it: ketch start {}", id.short()),
            })
        };
        let runs = status.phase.is_running() && status.phase != Phase::Initialized && !paused;
        let record = status.record.filter(|_| runs).ok_or_else(not_running)?;
        let mut spec = state::read_spec(dir, id)?;
        let secrets = secret_variables(&spec, &self.store().containers().path(id), self.store().root());
        let unread = |(name, err)| Error::system(format!("read secret {name}"), err);
        spec.process.env.extend(secrets.map_err(unread)?);
        let mut order = order(&spec, request, record.pid, &start)?;
        if !spec.network.links.is_empty() {
            let links = self.network_state(id).map_or_else(Vec::new, |state| state.link_environment);
            order.process.env.splice(..0, links);
        }
        order.cgroup = self.admission(&spec, &record);
        order.listens = listener.is_some();
        // Nobody else will be there to tell of its end. A monitor that is gone tells nothing.
        let teller = request.detached.then(|| connect(dir).ok()).flatten();
        order.tells = teller.is_some();
        if request.privileged {
            order.security.capabilities &= self.reachable_capabilities(&spec.userns)?;
        }
        let client: Option<OwnedFd> = start.client;
        let entered = enter::enter(&self.caller(), &record, &order, [&listener, &client, &teller], &kept)
            .map_err(|failure| {
                match failure.kind {
                    // Whatever step of joining it was that met the end of the container.
                    FailureKind::System | FailureKind::Conflict if !state::goes_on(&record) => not_running(),
                    _ => failed(failure, id),
                }
            })?;
        let begun = of_session(self.event_of("exec", &spec), entering.session, &request.command);
        let made = (!entering.is_known)
            .then(|| Event { status: CREATED.to_owned(), ..begun.clone() }.dockers_alone());
        self.record_all(&Vec::from_iter(made.into_iter().chain([begun])));
        if let Some(socket) = &teller {
            // Told of last, so that the end is not told before the beginning.
            client::watch(socket.as_fd(), entering.session).ok();
        }
        Ok(entered)
    }

    /// Notes that a command is going to run.
    pub(super) fn exec_created(&self, id: &ContainerId, session: &str, command: &[Bytes]) {
        let event = self.container_event(CREATED, id);
        self.record(of_session(event, session, command).dockers_alone());
    }

    /// Notes that a command has ended that was run by [`Engine::exec`].
    pub(crate) fn exec_ended(&self, id: &ContainerId, session: &str, exit_code: i32) {
        self.record(self.container_event("exec_died", id).of_session(session, exit_code));
    }
}

/// What docker calls that a further command is made ready, which podman does not tell of.
const CREATED: &str = "exec_create";
/// An event of a further command.
fn of_session(event: Event, session: &str, command: &[Bytes]) -> Event {
    let words: Vec<_> = command.iter().map(Bytes::to_string_lossy).collect();
    // As docker joins them: a blank stands behind the first word whatever follows.
    let (first, rest) = words.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    Event { command: format!("{first} {}", rest.join(" ")), ..event.with(events::SESSION, session) }
}

impl Engine {
    /// How a further process comes into the container's cgroup; `None` if it has none.
    pub(crate) fn admission(&self, spec: &ContainerSpec, record: &Record) -> Option<AdmissionOrder> {
        record.cgroup.as_ref().map(|leaf| AdmissionOrder {
            leaf: leaf.clone(),
            pid: record.pid,
            systemd: self.cgroups(&self.caller()).systemd,
            is_limited: spec.needs_its_cgroup(),
        })
    }

    /// Runs a command in the background of a running container; returns its session's ID.
    ///
    /// # Errors
    ///
    /// As [`Engine::exec`].
    pub(crate) fn exec_detached(&self, id: &ContainerId, request: &ExecRequest) -> Result<String> {
        let dir = self.store().containers().open(id)?;
        let session = exec_sessions::new_id()?;
        let entering = Entering { request, session: &session, is_known: false };
        let entered = self.enter(dir.as_fd(), id, entering, None, Start::default())?;
        exec_sessions::note(dir.as_fd(), &session, entered.pid)?;
        Ok(session)
    }
}

/// Decides how the command runs.
fn order(spec: &ContainerSpec, request: &ExecRequest, pid: i32, start: &Start) -> Result<EnterOrder> {
    if let Some(path) = request.workdir.as_ref().filter(|path| path.as_bytes().first() != Some(&b'/')) {
        return Err(Error::invalid(format!(
            "the working directory {path:?} is invalid, it needs to be an absolute path"
        )));
    }
    let first = &spec.process;
    let process = Process {
        args: request.command.clone(),
        env: environment(first, request),
        cwd: request.workdir.clone().unwrap_or_else(|| first.cwd.clone()),
        create_cwd: false,
        user: request.user.clone().unwrap_or_else(|| first.user.clone()),
        terminal: request.terminal,
        open_stdin: request.interactive,
        stdin_once: true,
        ..first.clone()
    };
    let security = if request.privileged {
        Security {
            capabilities: caps::ALL,
            no_new_privileges: false,
            seccomp: Seccomp::Unconfined,
            ..spec.security.clone()
        }
    } else {
        spec.security.clone()
    };
    Ok(EnterOrder {
        pid,
        process,
        security,
        window: start.window.map(|size| (size.rows, size.cols)),
        detached: request.detached,
        listens: false,
        tells: false,
        cgroup: None,
        keep: request.keep.clone(),
    })
}

/// Process 1's variables and the request's.
fn environment(first: &Process, request: &ExecRequest) -> Vec<Bytes> {
    let key = |entry: &Bytes| entry.as_bytes().split(|&b| b == b'=').next().unwrap_or_default().to_vec();
    let mut env = first.env.clone();
    let term = request.terminal.then(|| Bytes::from("TERM=xterm"));
    let has_term = env.iter().any(|entry| key(entry) == b"TERM");
    for entry in term.into_iter().filter(|_| !has_term).chain(request.env.iter().cloned()) {
        env.retain(|known| key(known) != key(&entry));
        // A name alone takes the variable away, as with docker.
        if entry.as_bytes().contains(&b'=') {
            env.push(entry);
        }
    }
    env
}
