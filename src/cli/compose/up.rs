//! `ketch compose up`, `create`, `scale` and `down`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::Args;

use crate::base::signal::Signal;
use crate::cli::compose::logs::{self, Followed, ShownUntil};
use crate::cli::compose::open::{self, Shown};
use crate::cli::compose::project::ProjectFlags;
use crate::cli::compose::watch::{self, Watching};
use crate::cli::session::{Exit, Session};
use crate::cli::usage::UsageError;
use crate::compose::apply::{Compose, UpOptions};
use crate::compose::node::Node;
use crate::compose::plan::{Actual, Recreate};
use crate::compose::project::{Project, label};
use crate::engine::lifecycle::Grace;
use crate::engine::remove::Removing;
use crate::engine::{Error, Kind};
use crate::sys::signal::{SignalFd, SignalSet};

/// Make the containers of a project as its files want them
#[derive(Args, Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "docker compose's flags")]
pub(crate) struct MakeFlags {
    /// Build images before
    #[arg(long)]
    build: bool,

    /// Make containers anew even if nothing about them has changed
    #[arg(long, conflicts_with = "no_recreate")]
    force_recreate: bool,

    /// Do not build images, not even missing ones
    #[arg(long, conflicts_with = "build")]
    no_build: bool,

    /// Leave containers as they are, whatever has changed
    #[arg(long)]
    no_recreate: bool,

    /// When to pull images: always, missing, never, build
    #[arg(long, value_name = "POLICY")]
    pull: Option<String>,

    /// Do not show how images are pulled
    #[arg(long)]
    quiet_pull: bool,

    /// Remove containers of services that the files do not have any more
    #[arg(long)]
    remove_orphans: bool,

    /// Have so many containers of a service (SERVICE=NUMBER; can be repeated)
    #[arg(long, value_name = "SERVICE=NUMBER")]
    scale: Vec<String>,
}

impl MakeFlags {
    fn options(&self, services: &[String], flags: &ProjectFlags) -> anyhow::Result<UpOptions> {
        if let Some(policy) = self.pull.as_deref()
            && !["always", "missing", "never", "build", "if_not_present", "policy"].contains(&policy)
        {
            return Err(UsageError::new(format!("invalid --pull option {policy:?}"))
                .see("compose up")
                .into());
        }
        Ok(UpOptions {
            services: services.to_vec(),
            recreate: match (self.force_recreate, self.no_recreate) {
                (true, _) => Recreate::Always,
                (_, true) => Recreate::Never,
                _ => Recreate::Changed,
            },
            remove_orphans: self.remove_orphans || flags.truth("COMPOSE_REMOVE_ORPHANS"),
            ignore_orphans: flags.truth("COMPOSE_IGNORE_ORPHANS"),
            scale: scales(&self.scale)?,
            build: self.build,
            no_build: self.no_build,
            pull: self.pull.clone().filter(|policy| policy != "policy"),
            ..UpOptions::default()
        })
    }
}

fn scales(texts: &[String]) -> Result<BTreeMap<String, u32>, UsageError> {
    let one = |text: &String| {
        let (service, number) = text.split_once('=')?;
        Some((service.to_owned(), number.parse().ok()?))
    };
    texts
        .iter()
        .map(|text| {
            one(text)
                .ok_or_else(|| UsageError::new(format!("invalid --scale {text:?}: write SERVICE=NUMBER")))
        })
        .collect()
}

/// Create and start the containers of a project
///
/// Networks, volumes and images come first. Only containers whose configuration or image has changed are made
/// anew. Without --detach their output is shown until ctrl-C, which stops them; a second one kills them.
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "docker compose's flags")]
pub(crate) struct UpArgs {
    #[command(flatten)]
    make: MakeFlags,

    /// Stop all containers as soon as one has ended
    #[arg(long, conflicts_with = "detach")]
    abort_on_container_exit: bool,

    /// Stop all containers as soon as one has failed
    #[arg(long, conflicts_with = "detach")]
    abort_on_container_failure: bool,

    /// Make the containers of dependencies anew as well
    #[arg(long)]
    always_recreate_deps: bool,

    /// Show the output of these services only (can be repeated)
    #[arg(long, value_name = "SERVICE")]
    attach: Vec<String>,

    /// Show the output of dependencies too
    #[arg(long)]
    attach_dependencies: bool,

    /// Return once everything runs
    #[arg(short, long)]
    detach: bool,

    /// End with the exit code of this service's container; implies --abort-on-container-exit
    #[arg(long, value_name = "SERVICE")]
    exit_code_from: Option<String>,

    /// Do not show the output of these services (can be repeated)
    #[arg(long, value_name = "SERVICE")]
    no_attach: Vec<String>,

    /// Print without colours
    #[arg(long)]
    no_color: bool,

    /// Do not start what the named services depend on
    #[arg(long)]
    no_deps: bool,

    /// Print without the names of containers
    #[arg(long)]
    no_log_prefix: bool,

    /// Create, and do not start
    #[arg(long)]
    no_start: bool,

    /// New anonymous volumes for containers that are made anew
    #[arg(short = 'V', long)]
    renew_anon_volumes: bool,

    /// Seconds to wait before SIGKILL
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<i64>,

    /// Print times
    #[arg(long)]
    timestamps: bool,

    /// Wait until all containers run and are healthy; implies --detach
    #[arg(long)]
    wait: bool,

    /// At most so many seconds for --wait
    #[arg(long, value_name = "SECONDS")]
    wait_timeout: Option<u64>,

    /// Rebuild or refresh containers when files of develop.watch change
    #[arg(short, long, conflicts_with = "detach")]
    watch: bool,

    /// Shortcuts while the output is shown: there are none, so only --menu=false is possible
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    menu: bool,

    /// Confirm every question
    #[arg(short, long)]
    yes: bool,

    /// Services; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(crate) fn up(session: &mut Session<'_>, args: UpArgs) -> anyhow::Result<Exit> {
    let project = open::project(session, &args.services)?;
    let grace = args.timeout.map(Grace::from_seconds);
    let options = UpOptions {
        no_dependencies: args.no_deps,
        recreate_dependencies: args.always_recreate_deps,
        renew_volumes: args.renew_anon_volumes,
        no_start: args.no_start,
        grace,
        ..args.make.options(&args.services, &session.globals.project)?
    };
    if let Some(service) = &args.exit_code_from {
        project.service(service)?;
    }
    if args.menu {
        return Err(Error::new(Kind::Unsupported, "there is no menu")
            .hint("leave --menu away; ctrl-c stops, a second one kills")
            .into());
    }
    let detached = args.detach || args.wait || args.no_start || session.globals.project.dry_run;
    let shown = Shown { quiet_pull: args.make.quiet_pull, hooks: !detached, ..Shown::default() };
    let order = open::with_shown(session, &project, shown, |compose| {
        let order = compose.up(&options)?;
        if args.wait {
            compose.wait_until_ready(&order, args.wait_timeout.map(Duration::from_secs))?;
        }
        Ok(order)
    })?;
    if detached {
        return Ok(Exit::OK);
    }
    follow(session, &project, &args, order, grace)
}

/// Shows the output of what was started until it ends, or the user wants to stop it.
fn follow(
    session: &mut Session<'_>,
    project: &Project,
    args: &UpArgs,
    order: Vec<String>,
    grace: Option<Grace>,
) -> anyhow::Result<Exit> {
    let shown: Vec<String> = order
        .iter()
        .filter(|service| {
            let wants = |list: &[String]| list.contains(service);
            let attach = project.service(service).ok().and_then(|node| node.get("attach"));
            let is_off = attach.is_some_and(|node| node.to_json() == serde_json::Value::Bool(false));
            let is_named = args.services.is_empty() || args.attach_dependencies || wants(&args.services);
            if args.attach.is_empty() {
                is_named && !wants(&args.no_attach) && !is_off
            } else {
                wants(&args.attach)
            }
        })
        .cloned()
        .collect();
    let mut containers = open::containers(session, project, &shown, false)?;
    let abort =
        args.abort_on_container_exit || args.abort_on_container_failure || args.exit_code_from.is_some();
    let names: Vec<&str> = containers.iter().map(|container| container.name.as_str()).collect();
    eprintln!("Attaching to {}", names.join(", "));
    let style = logs::Style {
        colour: session.out_is_tty && !args.no_color && !session.globals.project.no_colour,
        prefix: !args.no_log_prefix,
        timestamps: args.timestamps,
    };
    session.out.flush()?;
    let code_of = |id: &crate::base::id::ContainerId| -> i32 {
        session
            .engine()
            .ok()
            .and_then(|engine| engine.container_summary(id).ok())
            .map_or(0, |c| c.status.phase.exit_code())
    };
    let triggers = if args.watch { watch::triggers(project, &args.services)? } else { Vec::new() };
    let mut watching = args.watch.then(|| Watching::new(project, &triggers, false)).transpose()?;
    if let Some(watching) = &mut watching {
        watching.begin(session)?;
    }
    let mut shown_until = ShownUntil::new();
    let mut exit = Exit::OK;
    loop {
        let beside = watching.as_ref().map(|watching| watching.as_fd());
        match logs::follow(session, &containers, style, abort, beside, &mut shown_until)? {
            Followed::All => break,
            Followed::Awaited => {
                if let Some(watching) = &mut watching {
                    watching.follow_changes(session)?;
                }
                containers = open::containers(session, project, &shown, false)?;
            }
            Followed::Ended(index) => {
                let code = code_of(&containers[index].id);
                if args.abort_on_container_failure
                    && !args.abort_on_container_exit
                    && code == 0
                    && args.exit_code_from.is_none()
                {
                    let mut running = open::containers(session, project, &shown, false)?;
                    running.retain(|container| container.running);
                    if running.is_empty() {
                        break;
                    }
                    continue;
                }
                exit = Exit(u8::try_from(code).unwrap_or(1));
                eprintln!("Aborting on container exit...");
                stop_all(session, project, &order, grace)?;
                break;
            }
            Followed::Interrupted => {
                eprintln!("Gracefully stopping... (press Ctrl+C again to force)");
                stop_all(session, project, &order, grace)?;
                exit = Exit(130);
                break;
            }
        }
    }
    if let Some(service) = &args.exit_code_from {
        let container = open::container(session, project, service, None)?;
        exit = Exit(u8::try_from(code_of(&container.id)).unwrap_or(1));
    }
    Ok(exit)
}

/// Stops the containers of the services; a signal meanwhile kills them.
fn stop_all(
    session: &Session<'_>,
    project: &Project,
    order: &[String],
    grace: Option<Grace>,
) -> anyhow::Result<()> {
    let containers = open::containers(session, project, order, false)?;
    let mut grace = grace;
    open::with(session, project, false, |compose| {
        for group in compose.stop_groups(containers) {
            if grace != Some(NOW) && ask_to_end(compose, &group, grace)? {
                grace = Some(NOW);
            }
            end_group(compose, &group, grace)?;
        }
        Ok(())
    })
}

/// No waiting: SIGKILL at once.
const NOW: Grace = Grace::For(Duration::ZERO);

/// Sends the stop signals and waits for the ends; true if the user interrupts that.
fn ask_to_end(compose: &Compose<'_>, group: &[Actual], grace: Option<Grace>) -> anyhow::Result<bool> {
    let mut limit = Duration::ZERO;
    for container in group.iter().filter(|container| container.running) {
        compose.before_stop(container)?;
        let stop = compose.engine.container_spec(&container.id)?.stop;
        let own = Grace::from_seconds(if stop.timeout_s == u32::MAX { -1 } else { stop.timeout_s.into() });
        limit = limit.max(match grace.unwrap_or(own) {
            Grace::For(time) => time,
            Grace::Endless => Duration::MAX,
        });
        match Signal::from_number(stop.signal).map(|signal| compose.engine.kill(&container.id, signal)) {
            // It has ended by itself meanwhile.
            Some(Err(err)) if !matches!(err.kind, Kind::Conflict | Kind::NotFound) => return Err(err.into()),
            _ => {}
        }
    }
    let signals = SignalFd::new(&SignalSet::of(&[libc::SIGINT, libc::SIGTERM]))?;
    let started = Instant::now();
    while started.elapsed() < limit {
        if signals.read()?.is_some() {
            return Ok(true);
        }
        let running = group.iter().any(|container| {
            let now = compose.engine.container_summary(&container.id);
            now.is_ok_and(|now| crate::compose::observe::is_running(&now))
        });
        if !running {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(false)
}

pub(super) fn stop_group(
    compose: &Compose<'_>,
    group: &[Actual],
    grace: Option<Grace>,
) -> anyhow::Result<()> {
    let mut running = group.iter().filter(|container| container.running);
    running.try_for_each(|container| compose.before_stop(container))?;
    end_group(compose, group, grace)
}

/// Stops containers whose hooks have run.
fn end_group(compose: &Compose<'_>, group: &[Actual], grace: Option<Grace>) -> anyhow::Result<()> {
    let running: Vec<_> = group.iter().filter(|container| container.running).collect();
    let say = |state| {
        for container in &running {
            compose.event("Container", &container.name, state);
        }
    };
    say("Stopping");
    compose.end(&running, grace)?;
    say("Stopped");
    Ok(())
}

/// Create the containers of a project without starting them
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    make: MakeFlags,

    /// Confirm every question
    #[arg(short, long)]
    yes: bool,

    /// Services; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(crate) fn create(session: &mut Session<'_>, args: CreateArgs) -> anyhow::Result<()> {
    let project = open::project(session, &args.services)?;
    let options =
        UpOptions { no_start: true, ..args.make.options(&args.services, &session.globals.project)? };
    open::with(session, &project, args.make.quiet_pull, |compose| Ok(compose.up(&options).map(drop)?))
}

/// Change how many containers services have
#[derive(Args, Debug)]
pub(crate) struct ScaleArgs {
    /// Do not start what the services depend on
    #[arg(long)]
    no_deps: bool,

    /// Services and numbers
    #[arg(required = true, value_name = "SERVICE=NUMBER")]
    scales: Vec<String>,
}

pub(crate) fn scale(session: &mut Session<'_>, args: ScaleArgs) -> anyhow::Result<()> {
    let scale = scales(&args.scales)?;
    let services: Vec<String> = scale.keys().cloned().collect();
    let project = open::project(session, &services)?;
    let options = UpOptions {
        services,
        scale,
        no_dependencies: args.no_deps,
        recreate: Recreate::Never,
        ..UpOptions::default()
    };
    open::with(session, &project, false, |compose| Ok(compose.up(&options).map(drop)?))
}

/// Stop and remove the containers and networks of a project
#[derive(Args, Debug)]
pub(crate) struct DownArgs {
    /// Remove containers of services that the files do not have any more
    #[arg(long)]
    remove_orphans: bool,

    /// Remove images too: all, or local for those without a name of their own
    #[arg(long, value_name = "WHICH")]
    rmi: Option<String>,

    /// Seconds to wait before SIGKILL
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<i64>,

    /// Remove the volumes of the files, and anonymous ones
    #[arg(short, long)]
    volumes: bool,

    /// Services; all, and their networks, if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(crate) fn down(session: &mut Session<'_>, args: DownArgs) -> anyhow::Result<()> {
    if let Some(which) = args.rmi.as_deref()
        && !["all", "local"].contains(&which)
    {
        return Err(UsageError::new(format!("invalid value for --rmi: {which:?}"))
            .see("compose down")
            .into());
    }
    let project = open::project_or_containers(session, &args.services)?;
    let grace = args.timeout.map(Grace::from_seconds);
    let from_labels = project.services().next().is_none();
    let mut containers = open::containers(session, &project, &args.services, true)?;
    let orphans = args.remove_orphans || session.globals.project.truth("COMPOSE_REMOVE_ORPHANS");
    if !orphans && !from_labels {
        containers.retain(|container| project.knows(&container.service));
    }
    let images: BTreeSet<String> = match args.rmi.as_deref() {
        None => BTreeSet::new(),
        Some(which) => project
            .services()
            .filter(|(_, node)| which == "all" || node.get("image").is_none())
            .map(|(name, _)| project.image(name))
            .collect(),
    };
    open::with(session, &project, false, |compose| {
        let _lock = compose.lock()?;
        for group in compose.stop_groups(containers) {
            stop_group(compose, &group, grace)?;
            for container in &group {
                compose.delete(container, args.volumes)?;
            }
        }
        if !args.services.is_empty() {
            return Ok(());
        }
        if args.volumes {
            remove_volumes(compose)?;
        }
        remove_images(compose, &images)?;
        remove_networks(compose)
    })
}

/// Says what happens to something while it does.
fn step(
    compose: &Compose<'_>,
    what: &'static str,
    name: &str,
    work: impl FnOnce() -> Result<(), Error>,
) -> anyhow::Result<()> {
    let say = |state| compose.event(what, name, state);
    say("Removing");
    if !compose.dry_run {
        match work() {
            Err(err) if err.kind == Kind::NotFound => {}
            Err(err) if err.kind == Kind::Conflict => {
                (compose.warn)(&format!("{what} {name}: {err}"));
                say("Resource is still in use");
                return Ok(());
            }
            other => other?,
        }
    }
    say("Removed");
    Ok(())
}

fn remove_networks(compose: &Compose<'_>) -> anyhow::Result<()> {
    for network in compose.engine.networks()? {
        if network.labels.get(label::PROJECT) == Some(&compose.project.name) {
            step(compose, "Network", &network.name, || {
                compose.engine.remove_network(&network.name, false, None).map(drop)
            })?;
        }
    }
    Ok(())
}

fn remove_volumes(compose: &Compose<'_>) -> anyhow::Result<()> {
    let project = compose.project;
    let own: BTreeSet<String> = project
        .section("volumes")
        .filter(|(_, node): &(&String, &Node)| !node.flag("external"))
        .map(|(key, _)| project.full_name("volumes", key))
        .collect();
    for volume in compose.engine.store().volumes().list()?.items {
        let is_own = volume.labels.get(label::PROJECT) == Some(&project.name);
        if is_own || own.contains(&volume.name) {
            step(compose, "Volume", &volume.name, || {
                compose.engine.remove_volume(&volume.name, None::<&Removing>)
            })?;
        }
    }
    Ok(())
}

fn remove_images(compose: &Compose<'_>, images: &BTreeSet<String>) -> anyhow::Result<()> {
    for image in images {
        step(compose, "Image", image, || compose.engine.remove_image(image, false).map(drop))?;
    }
    Ok(())
}
