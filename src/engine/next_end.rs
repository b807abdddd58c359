//! Waiting for a container's end from a moment on at which it need not run yet.
//!
//! ```text
//! runs      ─▶ a client of its monitor, whose last packet is the end
//! does not  ─▶ waits for its start as a first client does, and is that client then
//! ```
//!
//! So a life cannot be too short, and a container not removed too soon, for its exit code to be heard.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::attach::client;
use crate::attach::packet::Hello;
use crate::base::id::ContainerId;
use crate::engine::events::{Event, EventQuery};
use crate::engine::filter::Filters;
use crate::engine::first_clients::{self, Begun, Waiting};
use crate::engine::lifecycle::{connect, is_absent};
use crate::engine::state::{self, Phase};
use crate::engine::{Engine, Error, Result};
use crate::sys::poll::{Interest, PollSet};

/// How long a monitor may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(2);
/// Between two looks whether a container has been removed, while that is likely and later.
const LOOK_FOR_REMOVAL: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(50)];
/// How long a removal takes as a rule.
const USUAL_REMOVAL: Duration = Duration::from_millis(200);

/// How long an end is remembered of what was removed with it.
const JUST_NOW: SignedDuration = SignedDuration::from_secs(10);

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// It does not run: at once, if so it is.
    NotRunning,
    /// Its next end.
    NextEnd,
    /// It is removed.
    Removed,
}

/// What is told of an end that nobody saw.
const UNKNOWN: i32 = -1;

/// A wait that has begun: nothing is missed from here on.
#[derive(Debug)]
pub(crate) struct Wait {
    container: Awaited,
    stage: Stage,
}

#[derive(Debug)]
struct Awaited {
    id: ContainerId,
    dir: OwnedFd,
    /// Held by those who pass its output on.
    outputs: Option<OwnedFd>,
    until: Until,
}

#[derive(Debug)]
enum Stage {
    ForStart(Waiting),
    /// A connection to its monitor; or its process 1, if it has none.
    ForEnd(OwnedFd),
    /// With this exit code.
    Ended(i32),
}

impl Engine {
    /// Begins to wait for a container.
    ///
    /// # Errors
    ///
    /// If it is not there, or damaged.
    pub(crate) fn begin_wait(&self, id: &ContainerId, until: Until) -> Result<Wait> {
        let dir = self.store().containers().open(id)?;
        let stage = self.first_stage(dir.as_fd(), id, until)?;
        let outputs = first_clients::outputs(dir.as_fd());
        Ok(Wait { container: Awaited { id: id.clone(), dir, outputs, until }, stage })
    }

    fn first_stage(&self, dir: BorrowedFd<'_>, id: &ContainerId, until: Until) -> Result<Stage> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status_with_monitor(dir, id)?;
            match status.phase {
                // What is left of one that is being removed looks so, too.
                Phase::Created if !self.store().containers().exists(id) => return Err(state::gone(id)),
                Phase::Created | Phase::Exited(_) if until == Until::NotRunning => {
                    return Ok(Stage::Ended(status.exit_code()));
                }
                Phase::Created | Phase::Exited(_) => {
                    return Ok(Stage::ForStart(self.wait_for_start(id, Hello::default())?));
                }
                Phase::Unmonitored => {
                    let process = status.process().map_err(|err| failed(id, err))?;
                    if let Some(process) = process {
                        return Ok(Stage::ForEnd(process));
                    }
                }
                Phase::Starting | Phase::Initialized | Phase::Up | Phase::Ending(_) => match connect(dir) {
                    Ok(socket) => return Ok(Stage::ForEnd(socket)),
                    Err(err) if is_absent(&err) && Instant::now() < deadline => std::thread::sleep(LOOK),
                    Err(err) => return Err(failed(id, err)),
                },
            }
        }
    }
}

impl Engine {
    /// How the container with the ID `id` has ended that was removed just now: it may end and go (`--rm`) before who has started
    /// it asks. `None` if that is not known, or not so.
    pub(crate) fn recent_exit_code(&self, id: &str) -> Option<i32> {
        let filters = Filters::parse(&["event=died"], &["event"]).ok()?;
        let query = EventQuery { since: Some(Timestamp::now() - JUST_NOW), filters, ..EventQuery::default() };
        let mut code = None;
        let note = |event: &Event| {
            if event.id == id {
                code = event.container_exit_code;
            }
            Ok(())
        };
        // Where no events are kept nothing is known.
        self.events(&query, note, || Ok(())).ok()?;
        code
    }
}

/// Why a start has failed is told to whoever ordered it: docker's client prints what it hears here beside that.
fn failed(id: &ContainerId, err: io::Error) -> Error {
    Error::system(format!("wait for container {}", id.short()), err)
}

impl Wait {
    /// Waits to the end; `None` if nobody reads `outlet` any more.
    ///
    /// # Errors
    ///
    /// Waiting; what is damaged.
    pub(crate) fn finish(self, engine: &Engine, outlet: BorrowedFd<'_>) -> Result<Option<i32>> {
        let Self { container, mut stage } = self;
        loop {
            stage = match stage {
                Stage::ForStart(waiting) => match waiting.finish(engine, Some(outlet))? {
                    Begun::Started(socket) => Stage::ForEnd(socket),
                    Begun::Left => return Ok(None),
                    Begun::Removed(last) => return Ok(Some(last)),
                    // Its next life has begun, and ended perhaps.
                    Begun::Missed => container.look_again(engine)?,
                },
                Stage::ForEnd(end) => {
                    if !is_ready(&end, outlet).map_err(|err| failed(&container.id, err))? {
                        return Ok(None);
                    }
                    let code = client::wait_for_exit(end.as_fd()).ok().flatten();
                    container.after_end(engine, code)?
                }
                Stage::Ended(ending) => {
                    first_clients::await_output(container.outputs.as_ref());
                    let gone =
                        container.until != Until::Removed || container.await_removal(engine, outlet)?;
                    return Ok(gone.then_some(ending));
                }
            };
        }
    }
}

impl Awaited {
    fn look_again(&self, engine: &Engine) -> Result<Stage> {
        engine.first_stage(self.dir.as_fd(), &self.id, Until::NotRunning)
    }

    /// What follows when the monitor has told a code, or nothing.
    fn after_end(&self, engine: &Engine, code: Option<i32>) -> Result<Stage> {
        if !engine.store().containers().exists(&self.id) {
            let ending = code.or_else(|| engine.recent_exit_code(self.id.as_str()));
            return Ok(Stage::Ended(ending.unwrap_or(UNKNOWN)));
        }
        let status = state::examine(self.dir.as_fd(), &self.id)?;
        match (status.phase, code) {
            // Its restart policy gives it another life: who waits for its removal waits on, for others this was an end.
            (Phase::Ending(_), _) if self.until == Until::Removed => self.look_again(engine),
            (_, Some(code)) => Ok(Stage::Ended(code)),
            // Its monitor was killed.
            (_, None) => self.look_again(engine),
        }
    }

    /// False if nobody reads `outlet` any more.
    fn await_removal(&self, engine: &Engine, outlet: BorrowedFd<'_>) -> Result<bool> {
        let mut set = PollSet::default();
        let begun = Instant::now();
        while engine.store().containers().exists(&self.id) {
            set.clear();
            let reader = set.add_for_hang_up(Some(outlet));
            set.wait(Some(LOOK_FOR_REMOVAL[usize::from(begun.elapsed() > USUAL_REMOVAL)]))
                .map_err(|err| failed(&self.id, err))?;
            if set.ready(reader).hung_up {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Waits until there is something to be read; false if nobody reads `outlet` any more.
fn is_ready(end: &OwnedFd, outlet: BorrowedFd<'_>) -> io::Result<bool> {
    let mut set = PollSet::default();
    loop {
        set.clear();
        let end = set.add(Some(end.as_fd()), Interest::READ);
        let reader = set.add_for_hang_up(Some(outlet));
        set.wait(None)?;
        if set.ready(end).read {
            return Ok(true);
        }
        if set.ready(reader).hung_up {
            return Ok(false);
        }
    }
}
