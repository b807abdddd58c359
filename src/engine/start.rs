//! Starting a container that was created.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::base::id::ContainerId;
use crate::base::image_ref::NameRule;
use crate::base::pod::{Membership, PodId};
use crate::base::spec::{ContainerSpec, NetworkMode};
use crate::engine::cleanup::sweep_unnoted;
use crate::engine::events::Event;
use crate::engine::list::will_restart;
use crate::engine::state::{self, Phase, Status};
use crate::engine::{Engine, Error, Kind, Result, first_clients};
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::launch::{self, Caller, Forerunner, LaunchOrder, Launching, StartOrder};
use crate::runtime::monitor::ports;
use crate::runtime::monitor::record::STOP_REQUESTED;
use crate::runtime::plan;
use crate::runtime::pod_lock::PodLock;
use crate::sys::fs::{self, OFlags, Share};
use crate::sys::tty::WindowSize;
use crate::sys::waiting;

/// How long a container may take to start, or to end, that another one needs or another command is at.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(5);

/// How a start is accompanied.
#[derive(Debug, Default)]
pub(crate) struct Start {
    /// The monitor's end of the socket of a client that is attached from the first byte on.
    pub(crate) client: Option<OwnedFd>,
    /// The client's terminal, if it has one.
    pub(crate) window: Option<WindowSize>,
    /// Numbers of descriptors of this process that the command gets under the same numbers.
    pub(crate) keep: Vec<i32>,
}

/// Is told how each of several starts went.
type Done<'a> = dyn FnMut(usize, Result<i32>) -> Result<()> + 'a;

/// How far a start has come.
enum Begun {
    /// Process 1.
    Started(i32),
    UnderWay(UnderWay),
}

/// A start whose monitor is at work.
struct UnderWay {
    launching: Launching,
    place: Option<Membership>,
    /// What the container needs of its pod stays until it runs.
    pod: Option<PodLock>,
}

impl UnderWay {
    fn finish(self, engine: &Engine, id: &ContainerId) -> Result<i32> {
        let started = self.launching.finish();
        drop(self.pod);
        started.map_err(|failure| {
            self.place.iter().for_each(|place| engine.end_pod_without(place));
            failed(failure, id)
        })
    }
}

impl Engine {
    /// Starts a container, and returns its process 1 once the command runs.
    ///
    /// # Errors
    ///
    /// Conflict if it runs; CommandNotFound and NotExecutable for the command; Invalid and System with
    /// what init or the monitor could not do.
    pub(crate) fn start_container(&self, id: &ContainerId, start: Start) -> Result<i32> {
        let caller = self.caller();
        if let Some(why) = caller.mapping.as_ref().and_then(|mapping| mapping.single.as_deref()) {
            self.tell(why);
        }
        if self.startable(id)? == Phase::Initialized {
            let dir = self.store().containers().open(id)?;
            let order = StartOrder {
                window: start.window.map(|size| (size.rows, size.cols)),
                tell_attached: self.attaches(&start, || self.container_event("attach", id)),
            };
            let clients =
                start.client.into_iter().chain(first_clients::take(dir.as_fd())).collect::<Vec<_>>();
            return launch::start_held(dir.as_fd(), &order, &clients).map_err(|failure| failed(failure, id));
        }
        self.launch(id, start, false)
    }

    /// Starts containers, up to `limit` at once, in their order. `begun` is told of each before, `done` after
    /// it; after a first error no more are begun, and those under way are waited for.
    ///
    /// # Errors
    ///
    /// The first one that `done` gives back.
    pub(crate) fn start_containers(
        &self,
        ids: &[ContainerId],
        limit: usize,
        begun: &mut dyn FnMut(usize),
        done: &mut Done<'_>,
    ) -> Result<()> {
        let finish = |(index, start): (usize, UnderWay), done: &mut Done<'_>| {
            done(index, start.finish(self, &ids[index]))
        };
        let mut under_way = VecDeque::new();
        let mut result = Ok(());
        for (index, id) in ids.iter().enumerate() {
            begun(index);
            match self.begin_start(id) {
                Ok(Begun::UnderWay(start)) => under_way.push_back((index, start)),
                Ok(Begun::Started(pid)) => result = done(index, Ok(pid)),
                Err(err) => result = done(index, Err(err)),
            }
            while under_way.len() >= limit.max(1)
                && let Some(first) = under_way.pop_front()
            {
                result = result.and(finish(first, done));
            }
            if result.is_err() {
                break;
            }
        }
        for start in under_way {
            result = result.and(finish(start, done));
        }
        result
    }

    /// Begins to start a container; one that only waits for its start is told to.
    fn begin_start(&self, id: &ContainerId) -> Result<Begun> {
        Ok(match self.startable(id)? {
            Phase::Initialized => Begun::Started(self.start_container(id, Start::default())?),
            _ => Begun::UnderWay(self.begin_launch(id, Start::default(), false)?),
        })
    }

    /// What a container is when no other start of it, nor the monitor of its last life, is at it any more. A pause between
    /// two lives is not waited for.
    fn at_rest(&self, id: &ContainerId) -> Result<Status> {
        let dir = self.store().containers().open(id)?;
        let status = self.status_with_monitor(dir.as_fd(), id)?;
        match status.phase {
            Phase::Ending(_) if will_restart(&status, state::read_spec(dir.as_fd(), id)?.restart) => {
                Ok(status)
            }
            Phase::Starting | Phase::Ending(_) => self.settled(id),
            _ => Ok(status),
        }
    }

    /// What a container that is to be started is.
    fn startable(&self, id: &ContainerId) -> Result<Phase> {
        let Status { phase, paused, .. } = self.at_rest(id)?;
        if paused {
            // No conflict: that it is there already is not what `start` wishes.
            let message = format!("container {id} is paused: container state improper");
            return Err(Error::invalid(message).hint("let it go on: unpause"));
        }
        if matches!(phase, Phase::Up | Phase::Unmonitored) {
            let message = format!("container {}: the container is already running", id.short());
            return Err(Error::new(Kind::Conflict, message));
        }
        Ok(phase)
    }

    /// Makes everything ready for a container's start: namespaces, mounts, networks, and a process 1 that waits.
    ///
    /// # Errors
    ///
    /// Conflict if that was done already, or if it runs; else as [`Engine::start_container`].
    pub(crate) fn init_container(&self, id: &ContainerId) -> Result<()> {
        if self.at_rest(id)?.phase.is_running() {
            let message =
                format!("container {id} has already been created in runtime: container state improper");
            return Err(Error::new(Kind::Conflict, message));
        }
        self.launch(id, Start::default(), true).map(drop)
    }

    /// Whether the monitor is to tell that the command is attached, as podman has it: behind the start. Docker's users hear of it before,
    /// by `event`.
    fn attaches(&self, start: &Start, event: impl FnOnce() -> Event) -> bool {
        if start.client.is_some() && self.name_rule() == NameRule::Docker {
            self.record(event());
            return false;
        }
        start.client.is_some()
    }

    /// Starts a monitor, which starts the container; with `hold`, all of it but its command.
    fn launch(&self, id: &ContainerId, start: Start, hold: bool) -> Result<i32> {
        self.begin_launch(id, start, hold)?.finish(self, id)
    }

    /// The same without waiting for the monitor's report.
    fn begin_launch(&self, id: &ContainerId, start: Start, hold: bool) -> Result<UnderWay> {
        let caller = self.caller();
        let spec = self.container_spec(id)?;
        let pod = spec.pod.as_ref().and_then(|place| self.hold_pod(&place.id));
        // What keeps its exit code on a full disk.
        self.store().renew_reserve();
        self.start_required(&spec)?;
        if matches!(spec.network.mode, NetworkMode::Bridge(_)) {
            // The monitor cannot tell of damage there.
            self.changed_attachments(id);
        }
        let mut passed = crate::engine::config::passed_sockets();
        let sockets = passed.len();
        let stdio = is_passthrough(&spec.log.driver);
        if stdio {
            passed.extend(own_streams().map_err(|err| Error::system("pass the standard streams on", err))?);
        }
        passed.extend(crate::engine::config::passed_descriptors(&start.keep)?);
        let mut cgroups = self.cgroups(&caller);
        cgroups.in_service = crate::engine::config::starts_service(&cgroups);
        let order = LaunchOrder {
            cgroups,
            keep: start.keep.clone(),
            hold,
            passed_sockets: sockets,
            stdio,
            near: self.shared_monitor(&spec)?,
            tell_attached: self.attaches(&start, || self.event_of("attach", &spec)),
            window: start.window.map(|size| (size.rows, size.cols)),
            notify_socket: crate::engine::config::notify_socket(),
            ..self.launch_order(&caller, id)
        };
        let ahead = self.forerunner.take().filter(|ahead| ahead.id() == id);
        let unsynced = ahead.is_some() && !spec.auto_remove;
        let mut clients = Vec::from_iter(start.client);
        if !hold {
            clients.extend(first_clients::take(self.store().containers().open(id)?.as_fd()));
        }
        let launching = launch::begin(&caller, &order, &clients, &passed, ahead)
            .map_err(|failure| failed(failure, id))?;
        // The disk works while the monitor does.
        if unsynced && let Err(err) = self.store().containers().sync() {
            launching.finish().map_err(|failure| failed(failure, id))?;
            return Err(err.into());
        }
        Ok(UnderWay { launching, place: spec.pod, pod })
    }

    /// Has the infra container of a pod stay while containers of the pod are started.
    pub(super) fn hold_pod(&self, id: &PodId) -> Option<PodLock> {
        PodLock::to_start(self.store().root(), id)
    }

    /// Has the monitor of a container come up while that is written down. What is in its way is told when it is started.
    pub(super) fn send_ahead(&self, spec: &ContainerSpec) {
        // Those that it needs come first.
        if spec.requires.is_empty() && plan::shares_user_namespace_of(spec).is_none() {
            let ahead = Forerunner::send(&self.caller(), self.store().root(), &spec.id);
            self.forerunner.replace(ahead.ok());
        }
    }
}

impl Engine {
    /// What every monitor is told.
    pub(super) fn launch_order(&self, caller: &Caller, id: &ContainerId) -> LaunchOrder {
        LaunchOrder {
            root: self.store().root().to_owned(),
            directory: None,
            id: id.clone(),
            fingerprint: caller.fingerprint(),
            near: None,
            window: None,
            tell_attached: false,
            adopt: false,
            restarts: 0,
            cgroups: self.cgroups(caller),
            network_linger_ms: crate::engine::config::network_linger_ms(),
            notify_socket: None,
            passed_sockets: 0,
            stdio: false,
            keep: Vec::new(),
            hold: false,
            journal: crate::engine::config::journal_socket(),
            name: self.known_name(id),
            events: self.events.clone(),
        }
    }

    /// Starts the containers that this one requires, as far as they do not run. They were there before it, so
    /// there is no circle.
    fn start_required(&self, spec: &ContainerSpec) -> Result<()> {
        for required in &spec.requires {
            if !self.settled(required)?.phase.is_running() {
                match self.start_container(required, Start::default()) {
                    // Another command was first.
                    Err(err) if err.kind == Kind::Conflict => drop(self.settled(required)?),
                    other => drop(other?),
                }
            }
        }
        Ok(())
    }

    /// What a container is once it is not on the way to something else: what has not begun to run cannot be joined, nor what
    /// is about to end, and what has not quite ended cannot be started. If that takes long, what it is then.
    pub(super) fn settled(&self, id: &ContainerId) -> Result<Status> {
        let dir = self.store().containers().open(id)?;
        let examine = || state::examine(dir.as_fd(), id);
        let look = || {
            let status = examine()?;
            let changes = match status.phase {
                Phase::Starting | Phase::Ending(_) => true,
                Phase::Initialized | Phase::Up => is_ending_infra(dir.as_fd(), id),
                Phase::Created | Phase::Unmonitored | Phase::Exited(_) => false,
            };
            Ok::<_, Error>((!changes).then_some(status))
        };
        waiting::until(PATIENCE, LOOK, look)?.map_or_else(examine, Ok)
    }

    /// The monitor of the container whose namespaces this one shares, if it shares any and that one runs.
    fn shared_monitor(&self, spec: &ContainerSpec) -> Result<Option<i32>> {
        let Some(other) = plan::shares_user_namespace_of(spec) else { return Ok(None) };
        let dir = self.store().containers().open(other)?;
        let status = state::examine(dir.as_fd(), other)?;
        Ok(status.record.filter(|_| status.phase.is_running()).map(|record| record.monitor_pid))
    }

    /// What was decided about a container.
    ///
    /// # Errors
    ///
    /// If it is gone or its spec is damaged.
    pub(crate) fn container_spec(&self, id: &ContainerId) -> Result<ContainerSpec> {
        let dir = self.store().containers().open(id)?;
        state::read_spec(dir.as_fd(), id)
    }

    /// Removes a container that was not started, or has ended and was to be removed then, if it is still there and
    /// nothing of it runs. What cannot be removed now is swept later.
    pub(crate) fn discard_container(&self, id: &ContainerId) {
        drop(self.forerunner.borrow_mut().take_if(|ahead| ahead.id() == id));
        let Ok(dir) = self.store().containers().open(id) else { return };
        // Held until it is taken away: nobody can start it meanwhile.
        let Some(_still) = lock_at_rest(dir.as_fd(), id) else { return };
        sweep_unnoted(dir.as_fd());
        let spec = self.container_spec(id);
        let taken = self.lock().and_then(|lock| Ok(self.store().containers().take(id, &lock)?));
        if let Ok(Some(taken)) = taken {
            taken.remove().ok();
        }
        if let Ok(spec) = spec {
            self.discard_anonymous_volumes(&spec);
        }
    }

    /// Removes the volumes that were made for a container that never ran, as far as that can be done now.
    pub(super) fn discard_anonymous_volumes(&self, spec: &ContainerSpec) {
        for (_, volume) in self.store().take_unused_volumes(spec.anonymous_volumes()).unwrap_or_default() {
            volume.remove().ok();
        }
    }
}

/// Takes the lock of a container of which nothing runs; `None` if something does, or if nobody can say.
fn lock_at_rest(dir: BorrowedFd<'_>, id: &ContainerId) -> Option<OwnedFd> {
    let lock = fs::open_at(dir, "lock", OFlags::RDWR | OFlags::CREATE, 0o600).ok()?;
    let is_free = waiting::until(PATIENCE, LOOK, || {
        if fs::try_lock(&lock, Share::Exclusive)? {
            return Ok(Some(true));
        }
        // A monitor that could not start it goes in a moment, and so does who only looks.
        let phase = state::examine(dir, id).map(|status| status.phase);
        let runs = matches!(phase, Ok(Phase::Initialized | Phase::Up | Phase::Unmonitored) | Err(_));
        Ok::<_, std::io::Error>(runs.then_some(false))
    });
    let record = || state::examine(dir, id).map(|status| status.record);
    let is_at_rest = matches!(is_free, Ok(Some(true)))
        && record().is_ok_and(|record| {
            record.is_none_or(|record| record.ended.is_some() || !state::goes_on(&record))
        });
    is_at_rest.then_some(lock)
}

/// Whether this is an infra container whose end is wanted. Others may well live on after a signal that is to end them.
fn is_ending_infra(dir: BorrowedFd<'_>, id: &ContainerId) -> bool {
    let is_infra = |spec: ContainerSpec| spec.pod.is_some_and(|pod| pod.infra);
    fs::stat_at(dir, STOP_REQUESTED).is_ok() && state::read_spec(dir, id).is_ok_and(is_infra)
}

/// True if a container with this log driver gets the standard streams of the command that starts it.
pub(crate) fn is_passthrough(driver: &str) -> bool {
    driver.starts_with("passthrough")
}

fn own_streams() -> std::io::Result<[OwnedFd; 3]> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    Ok([
        stdin.as_fd().try_clone_to_owned()?,
        stdout.as_fd().try_clone_to_owned()?,
        stderr.as_fd().try_clone_to_owned()?,
    ])
}

/// A failure of the runtime as the engine tells it.
pub(crate) fn failed(failure: Failure, id: &ContainerId) -> Error {
    let kind = match failure.kind {
        FailureKind::CommandNotFound => Kind::CommandNotFound,
        FailureKind::NotExecutable => Kind::NotExecutable,
        FailureKind::Invalid => Kind::Invalid,
        FailureKind::Conflict => Kind::Conflict,
        FailureKind::Gone => return state::gone(id),
        FailureKind::System => Kind::System,
    };
    let message = match failure.kind {
        FailureKind::Conflict => format!("container {}: {}", id.short(), failure.message),
        _ => failure.message,
    };
    let owner = || failure.taken_port.and_then(|(port, protocol)| ports::process(port, protocol));
    Error::new(kind, message).hinted(failure.hint.or_else(owner))
}
