//! `ketch update`.

use clap::Args;

use crate::base::limits;
use crate::cli::container_flags::{HealthCheckFlags, restart_policy};
use crate::cli::resource_flags::ResourceFlags;
use crate::cli::session::Session;
use crate::cli::targets::{self, Latest, Selection};
use crate::cli::usage::UsageError;
use crate::engine::Error;
use crate::engine::request::HealthRequest;

/// Change limits, the restart policy and health checks of one or more containers
///
/// What is not given stays as it is. The changes hold at once, and for every later start.
#[derive(Args, Debug)]
pub(crate) struct UpdateArgs {
    /// Containers to change, by name or ID (can be repeated)
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,

    #[command(flatten)]
    latest: Latest,

    /// When to start it again: no, always, unless-stopped, on-failure[:TIMES]
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,

    #[command(flatten)]
    resources: ResourceFlags,

    #[command(flatten)]
    health: HealthCheckFlags,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, mut args: UpdateArgs) -> anyhow::Result<()> {
    let is_docker = session.globals.called.is_docker();
    let given = is_docker.then(|| limits::discarded(&args.resources.discard_as_docker()));
    let discarded = given.unwrap_or_default();
    discarded.iter().for_each(|warning| session.note(format!("WARNING: {warning}")));
    let limits = args.resources.limits()?;
    if is_docker {
        limits::check_least(limits.memory, limits.memory_reservation)
            .map_err(|err| Error::invalid(err.to_string()))?;
    }
    let restart = args.restart.as_deref().map(|text| restart_policy(text, false)).transpose()?;
    let health = args.health.request();
    let mut targets = Selection::of_names(&args.containers, &args.latest).targets(session)?;
    for target in targets.iter_mut().filter(|_| !is_docker) {
        // podman prints IDs here, whatever was typed.
        if let Ok(id) = &target.id {
            target.shown = id.to_string();
        }
    }
    if discarded.is_empty() && limits.is_empty() && restart.is_none() && health == HealthRequest::default() {
        // Docker looks for no container then.
        for target in targets.into_iter().filter(|_| !is_docker) {
            target.id?;
        }
        let message = match is_docker {
            true => "you must provide one or more flags when using this command",
            false => "nothing to change: give a limit, --restart or something about health checks",
        };
        return Err(UsageError::new(message).into());
    }
    targets::for_each(session, targets, |engine, id| engine.update_container(id, &limits, restart, &health))
}
