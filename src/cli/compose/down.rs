//! `ketch compose down`, and how containers of a project end for other verbs.

use std::collections::BTreeSet;

use clap::Args;

use crate::cli::compose::open;
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::compose::apply::Compose;
use crate::compose::node::Node;
use crate::compose::plan::Actual;
use crate::compose::project::label;
use crate::engine::lifecycle::Grace;
use crate::engine::remove::Removing;
use crate::engine::{Error, Kind};

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
    if !from_labels {
        // What an inactive profile has is no orphan, and stays as well unless it is named.
        containers.retain(|container| {
            let is_known = project.knows(&container.service);
            let is_active = project.service(&container.service).is_ok();
            is_active || args.services.contains(&container.service) || orphans && !is_known
        });
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
        compose.release(&project.select(&args.services, args.services.is_empty()).unwrap_or_default())?;
        if !args.services.is_empty() {
            return Ok(());
        }
        if args.volumes {
            remove_volumes(compose, from_labels)?;
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

/// Removes the volumes of the project as it was loaded; with `from_labels`, where there are no files, all of its name.
fn remove_volumes(compose: &Compose<'_>, from_labels: bool) -> anyhow::Result<()> {
    let project = compose.project;
    let own: BTreeSet<String> = project
        .section("volumes")
        .filter(|(_, node): &(&String, &Node)| !node.flag("external"))
        .map(|(key, _)| project.full_name("volumes", key))
        .collect();
    for volume in compose.engine.store().volumes().list()?.items {
        let is_own = volume.labels.get(label::PROJECT) == Some(&project.name);
        if own.contains(&volume.name) || (from_labels && is_own) {
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

/// Stops containers; before, those that run do what their services ask for.
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
pub(super) fn end_group(compose: &Compose<'_>, group: &[Actual], grace: Option<Grace>) -> anyhow::Result<()> {
    let running: Vec<_> = group.iter().filter(|container| container.running).collect();
    // As docker compose: also of those that have ended already.
    let say = |state| {
        for container in group {
            compose.event("Container", &container.name, state);
        }
    };
    say("Stopping");
    compose.end(&running, grace)?;
    say("Stopped");
    Ok(())
}
