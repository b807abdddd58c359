//! `ketch pod logs`: what the containers of a pod have written.

use clap::Args;

use crate::cli::logs::{self, View, When};
use crate::cli::pod::{LatestPod, one};
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::engine::Error;

/// Fetch the logs of the containers of a pod
///
/// Each line begins with the ID or name of its container, unless one is chosen.
#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    /// The pod, by name or ID
    #[arg(value_name = "POD")]
    pods: Vec<String>,

    /// Show each container in a colour of its own
    #[arg(long)]
    color: bool,

    /// Show this container alone, by name or ID
    #[arg(short, long, value_name = "CONTAINER")]
    container: Option<String>,

    /// Go on showing what is written, until the containers have ended
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    latest: LatestPod,

    /// Begin lines with names of containers instead of their IDs
    #[arg(short, long)]
    names: bool,

    #[command(flatten)]
    when: When,

    /// Begin each line with the time it was written
    #[arg(short, long)]
    timestamps: bool,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: LogsArgs) -> anyhow::Result<()> {
    let name = match (args.pods.as_slice(), args.latest.latest) {
        ([], true) => None,
        (_, true) => return Err(UsageError::new("--latest and pods cannot be used together").into()),
        ([], false) => return Err(UsageError::new("specify at least one pod name or ID to log").into()),
        ([name], false) => Some(name.as_str()),
        _ => return Err(UsageError::new("requires exactly 1 arg").into()),
    };
    let query = args.when.query(args.follow)?;
    let engine = session.engine()?;
    let pod = engine.pod_details(&one(engine, name)?)?;
    let ids = match &args.container {
        None => pod.containers.iter().filter(|one| !one.is_infra()).map(|one| one.id.clone()).collect(),
        Some(typed) => {
            let found = engine.container(typed).ok();
            let id = found.filter(|id| pod.containers.iter().any(|one| one.id == *id));
            vec![id.ok_or_else(|| {
                let pod = name.unwrap_or(&pod.record.name);
                Error::not_found(format!("container {typed} is not in pod {pod}: no such container"))
            })?]
        }
    };
    let view = View {
        query,
        follow: args.follow,
        labelled: args.container.is_none(),
        names: args.names,
        color: args.color,
        timestamps: args.timestamps,
        details: false,
    };
    logs::show(session, &ids, &view)
}
