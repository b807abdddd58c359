//! `ketch compose start`, `stop`, `restart`, `kill`, `rm`, `wait`, `pause` and `unpause`.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use clap::Args;

use crate::base::id::ContainerId;
use crate::base::signal::Signal;
use crate::cli::compose::follow::exit_of;
use crate::cli::compose::{down, open};
use crate::cli::session::{Exit, Session};
use crate::compose::apply::{Compose, Event};
use crate::compose::plan::Actual;
use crate::engine::lifecycle::Grace;
use crate::engine::{self, Error, Kind};

/// Services of a project.
#[derive(Args, Debug)]
pub(crate) struct Services {
    /// Services; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Start the containers of services
#[derive(Args, Debug)]
pub(crate) struct StartArgs {
    /// Wait until they run and are healthy
    #[arg(long)]
    wait: bool,

    /// At most so many seconds for --wait
    #[arg(long, value_name = "SECONDS")]
    wait_timeout: Option<u64>,

    #[command(flatten)]
    which: Services,
}

pub(crate) fn start(session: &mut Session<'_>, args: StartArgs) -> anyhow::Result<()> {
    let services = &args.which.services;
    let project = open::project_or_containers(session, services)?;
    let found = open::containers(session, &project, services, false)?;
    if found.is_empty() {
        let first = project.services().next().map(|(name, _)| name);
        let what = services.first().or(first).map_or(String::new(), |name| format!("service {name:?} has "));
        return Err(Error::not_found(format!("{what}no container to start"))
            .hint("make them: ketch compose up -d")
            .into());
    }
    let mut order = project.select(services, true).unwrap_or_default();
    add_services(&mut order, &found);
    open::with(session, &project, false, |compose| {
        let _lock = compose.lock()?;
        compose.start_in_order(&order, &BTreeSet::new(), None)?;
        if args.wait {
            compose.wait_until_ready(&order, args.wait_timeout.map(Duration::from_secs))?;
        }
        Ok(())
    })
}

/// Adds the services of containers that the order does not have, at its end.
fn add_services(order: &mut Vec<String>, found: &[Actual]) {
    for container in found {
        if !order.contains(&container.service) {
            order.push(container.service.clone());
        }
    }
}

/// Stop the containers of services
#[derive(Args, Debug)]
pub(crate) struct StopArgs {
    /// Seconds to wait before SIGKILL
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<i64>,

    #[command(flatten)]
    which: Services,
}

pub(crate) fn stop(session: &mut Session<'_>, args: StopArgs) -> anyhow::Result<()> {
    let project = open::project_or_containers(session, &args.which.services)?;
    let found = open::containers(session, &project, &args.which.services, false)?;
    let grace = args.timeout.map(Grace::from_seconds);
    open::with(session, &project, false, |compose| {
        let _lock = compose.lock()?;
        for group in compose.stop_groups(found) {
            down::stop_group(compose, &group, grace)?;
        }
        let services = &args.which.services;
        Ok(compose.rest(&project.select(services, services.is_empty()).unwrap_or_default())?)
    })
}

/// Restart the containers of services
#[derive(Args, Debug)]
pub(crate) struct RestartArgs {
    /// Do not restart what depends on them
    #[arg(long)]
    no_deps: bool,

    /// Seconds to wait before SIGKILL
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<i64>,

    #[command(flatten)]
    which: Services,
}

pub(crate) fn restart(session: &mut Session<'_>, args: RestartArgs) -> anyhow::Result<()> {
    let mut services = args.which.services.clone();
    let project = open::project_or_containers(session, &services)?;
    if !args.no_deps && !services.is_empty() {
        let named: BTreeSet<String> = services.iter().cloned().collect();
        let dependents = project.services().map(|(name, _)| name.clone()).filter(|name| {
            project.dependencies(name).iter().any(|d| d.restart && named.contains(&d.service))
        });
        services.extend(dependents.filter(|name| !named.contains(name)));
    }
    let found = open::containers(session, &project, &services, false)?;
    let grace = args.timeout.map(Grace::from_seconds);
    let mut order = project.select(&[], true).unwrap_or_default();
    order.retain(|name| services.is_empty() || services.contains(name));
    add_services(&mut order, &found);
    open::with(session, &project, false, |compose| {
        let _lock = compose.lock()?;
        for container in &found {
            compose.event("Container", &container.name, "Restarting");
        }
        for group in compose.stop_groups(found) {
            compose.stop(&group.iter().collect::<Vec<_>>(), grace)?;
        }
        // What begins as a restart is not told again as a start.
        let report = |event: Event<'_>| {
            if event.state != "Starting" {
                (compose.report)(event);
            }
        };
        let compose = Compose { report: &report, ..*compose };
        Ok(compose.start_in_order(&order, &BTreeSet::new(), grace)?)
    })
}

/// Send a signal to the containers of services
#[derive(Args, Debug)]
pub(crate) struct KillArgs {
    /// Those of services that the files do not have any more too
    #[arg(long)]
    remove_orphans: bool,

    /// The signal
    #[arg(short, long, value_name = "SIGNAL", default_value = "SIGKILL")]
    signal: String,

    #[command(flatten)]
    which: Services,
}

pub(crate) fn kill(session: &mut Session<'_>, args: KillArgs) -> anyhow::Result<()> {
    let project = open::project_or_containers(session, &args.which.services)?;
    let mut found = open::containers(session, &project, &args.which.services, false)?;
    found.retain(|container| container.running);
    if !args.remove_orphans && project.services().next().is_some() {
        found.retain(|container| project.service(&container.service).is_ok());
    }
    if found.is_empty() {
        say!("no container to kill");
    }
    let signal: Signal = args.signal.parse().map_err(|err| Error::invalid(format!("{err}")))?;
    open::with(session, &project, false, |compose| {
        each(compose, &found, Some("Killing"), "Killed", |id| match compose.engine.kill(id, signal) {
            // It has ended by itself meanwhile.
            Err(err) if err.kind == Kind::Conflict => Ok(()),
            other => other,
        })
    })
}

/// Does something to every container, and tells of each. What cannot be done to one spares the others.
fn each(
    compose: &Compose<'_>,
    found: &[Actual],
    doing: Option<&'static str>,
    done: &'static str,
    action: impl Fn(&ContainerId) -> engine::Result<()>,
) -> anyhow::Result<()> {
    if let Some(doing) = doing {
        found.iter().for_each(|container| compose.event("Container", &container.name, doing));
    }
    let mut result = Ok(());
    for container in found {
        match if compose.dry_run { Ok(()) } else { action(&container.id) } {
            Ok(()) => compose.event("Container", &container.name, done),
            Err(err) => result = result.and(Err(err.into())),
        }
    }
    result
}

/// Stop every process of services for a while
#[derive(Args, Debug)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    which: Services,
}

pub(crate) fn pause(session: &mut Session<'_>, args: PauseArgs) -> anyhow::Result<()> {
    let project = open::project_or_containers(session, &args.which.services)?;
    let mut found = open::containers(session, &project, &args.which.services, false)?;
    found.retain(|container| container.running);
    open::with(session, &project, false, |compose| {
        each(compose, &found, None, "Paused", |id| compose.engine.pause(id))
    })
}

/// Let the processes of services go on
#[derive(Args, Debug)]
pub(crate) struct UnpauseArgs {
    #[command(flatten)]
    which: Services,
}

pub(crate) fn unpause(session: &mut Session<'_>, args: UnpauseArgs) -> anyhow::Result<()> {
    let project = open::project_or_containers(session, &args.which.services)?;
    let mut found = open::containers(session, &project, &args.which.services, false)?;
    found.retain(|container| container.running);
    open::with(session, &project, false, |compose| {
        each(compose, &found, None, "Unpaused", |id| compose.engine.unpause(id))
    })
}

/// Remove stopped containers of services
///
/// Anonymous volumes stay unless --volumes is given.
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// As docker compose, for which it has no effect any more
    #[arg(short, long, hide = true)]
    all: bool,

    /// Do not ask
    #[arg(short, long)]
    force: bool,

    /// Stop them first
    #[arg(short, long)]
    stop: bool,

    /// Remove their anonymous volumes too
    #[arg(short, long)]
    volumes: bool,

    #[command(flatten)]
    which: Services,
}

pub(crate) fn rm(session: &mut Session<'_>, args: RmArgs) -> anyhow::Result<()> {
    let project = open::project_or_containers(session, &args.which.services)?;
    let mut found = open::containers(session, &project, &args.which.services, false)?;
    if !args.stop {
        found.retain(|container| !container.running);
    }
    if found.is_empty() {
        say!("No stopped containers");
        return Ok(());
    }
    let names: Vec<&str> = found.iter().map(|container| container.name.as_str()).collect();
    let names = names.join(", ");
    if args.force {
        writeln!(session.out, "Going to remove {names}")?;
        session.out.flush()?;
    } else {
        say_part!("? Going to remove {names} [yN] ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(());
        }
    }
    open::with(session, &project, false, |compose| {
        let _lock = compose.lock()?;
        for group in compose.stop_groups(found) {
            if args.stop {
                down::stop_group(compose, &group, None)?;
            }
            group.iter().try_for_each(|container| compose.delete(container, args.volumes))?;
        }
        Ok(())
    })
}

/// How often `wait` looks, which has several containers to wait for.
const LOOK: Duration = Duration::from_millis(50);

/// Wait until the containers of services have ended
#[derive(Args, Debug)]
pub(crate) struct WaitArgs {
    /// Take the project down when the first one has ended
    #[arg(long)]
    down_project: bool,

    /// Services
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
}

pub(crate) fn wait(session: &mut Session<'_>, args: WaitArgs) -> anyhow::Result<Exit> {
    let project = open::project_or_containers(session, &args.services)?;
    let mut waiting = open::containers(session, &project, &args.services, false)?;
    if waiting.is_empty() {
        return Err(
            Error::new(Kind::NotFound, format!("no containers for project {:?}", project.name)).into()
        );
    }
    let mut last = 0;
    while !waiting.is_empty() {
        let mut ended = None;
        for (place, container) in waiting.iter().enumerate() {
            let now = session.engine()?.container_summary(&container.id)?;
            if !crate::compose::observe::is_running(&now) {
                ended = Some((place, now.status.exit_code()));
                break;
            }
        }
        let Some((place, code)) = ended else {
            std::thread::sleep(LOOK);
            continue;
        };
        let container = waiting.remove(place);
        writeln!(session.out, "container {:?} exited with status code {code}", container.name)?;
        session.out.flush()?;
        last = code;
        if args.down_project {
            break;
        }
    }
    if args.down_project {
        // It has the flags of the project from this command.
        open::delegate(session, ["compose", "down"])?;
    }
    Ok(exit_of(last))
}
