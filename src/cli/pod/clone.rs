//! `pod clone`.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use crate::cli::container_flags::{SharedFlags, bytes, labels, restart_policy};
use crate::cli::resource_flags::ResourceFlags;
use crate::cli::session::Session;
use crate::engine::Error;
use crate::engine::pod::{PodCloneRequest, PodRequest};

/// Make a pod like another one
///
/// All its containers are cloned, as `container clone` does it, and the flags say what is to be different. What was
/// published stays so: both pods can run at the same time only where the ports of one are other ones. Prints the new ID.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct CloneArgs {
    /// The original, by name or ID
    #[arg(value_name = "POD")]
    pod: String,

    /// Name of the new pod
    #[arg(value_name = "NAME")]
    new_name: Option<String>,

    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,

    /// Make the cgroups of the containers below this one: a path, or with systemd the name of a slice
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,

    /// Remove the original, also if it runs
    #[arg(long)]
    destroy: bool,

    /// Set a label beside those of the original (KEY=VALUE; can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,

    /// Read labels from a file of KEY=VALUE lines (can be repeated)
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,

    /// Name of the new pod [default: NAME-clone]
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,

    /// When to start containers again that ask for nothing else: no, always, unless-stopped, on-failure[:TIMES]
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,

    /// Size of the tmpfs that containers get with systemd as process 1, like 64m
    #[arg(long, value_name = "SIZE")]
    shm_size_systemd: Option<String>,

    /// Start it
    #[arg(long)]
    start: bool,

    #[command(flatten)]
    shared: SharedFlags,

    #[command(flatten)]
    resources: ResourceFlags,
}

/// `pod clone`.
pub(crate) fn clone(session: &mut Session<'_>, args: CloneArgs) -> anyhow::Result<()> {
    let infra = args.shared.request()?;
    let request = PodCloneRequest {
        pod: PodRequest {
            name: args.new_name.or(args.name).filter(|name| !name.is_empty()),
            labels: labels(&args.label_file, &args.label)?,
            hostname: infra.hostname.clone(),
            create_command: infra.create_command.clone(),
            infra: Some(infra),
            restart: args.restart.as_deref().map(|text| restart_policy(text, false)).transpose()?,
            cgroup_parent: args.cgroup_parent.unwrap_or_default(),
            limits: args.resources.limits()?,
            systemd_size_bytes: args.shm_size_systemd.as_deref().map(bytes).transpose()?,
            ..PodRequest::default()
        },
        destroy: args.destroy,
    };
    let engine = session.engine()?;
    let id = engine.clone_pod(&engine.pod(&args.pod)?, &request)?;
    let failed: Vec<Error> = if args.start { engine.start_pod(&id)? } else { Vec::new() };
    writeln!(session.out, "{id}")?;
    session.outcome_of(failed)
}
