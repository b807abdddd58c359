//! `ketch container clone`: another container like one that there is.

use std::io::Write as _;

use clap::Args;

use crate::cli::resource_flags::ResourceFlags;
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::engine::clone::CloneRequest;
use crate::engine::start::Start;

/// Make a container like another one
///
/// Everything is as with the original, but for the name and what the flags say: command, environment, mounts,
/// networks, limits. Named volumes are shared, anonymous ones are new. Prints the new ID.
#[derive(Args, Debug)]
pub(crate) struct CloneArgs {
    /// The original, by name or ID
    #[arg(value_name = "CONTAINER")]
    container: String,

    /// Name of the new container
    #[arg(value_name = "NAME")]
    new_name: Option<String>,

    /// Another image for it
    #[arg(value_name = "IMAGE")]
    image: Option<String>,

    /// Remove the original
    #[arg(long)]
    destroy: bool,

    /// With --destroy: even if it runs
    #[arg(short, long)]
    force: bool,

    /// Name of the new container [default: NAME-clone]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Put it into this pod, by name or ID [default: where its original is]
    #[arg(long, value_name = "POD")]
    pod: Option<String>,

    /// Start it
    #[arg(long)]
    run: bool,

    #[command(flatten)]
    resources: ResourceFlags,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: CloneArgs) -> anyhow::Result<()> {
    if args.force && !args.destroy {
        return Err(UsageError::new("cannot set --force without --destroy: invalid argument").into());
    }
    let request = CloneRequest {
        name: args.new_name.or(args.name),
        image: args.image,
        pod: args.pod.filter(|pod| !pod.is_empty()),
        limits: args.resources.limits()?,
        destroy: args.destroy,
        force: args.force,
    };
    let engine = session.engine()?;
    let id = engine.clone_container(&engine.container(&args.container)?, &request)?;
    if args.run {
        engine.start_container(&id, Start::default())?;
    }
    writeln!(session.out, "{id}")?;
    Ok(())
}
