//! `ketch mount` and `ketch unmount`: a container's files at a path.

use std::io::Write as _;

use clap::Args;
use serde_json::json;

use crate::cli::error::FAILED;
use crate::cli::format::{json as json_format, table::Table};
use crate::cli::image_mount::FormatArg;
use crate::cli::session::Session;
use crate::cli::targets::{self, Latest, Selection, Target};

/// Mount the root file systems of containers
///
/// Prints where. Without CONTAINER, lists what is mounted. Needs the rights to mount: as root, or inside
/// `unshare`, whose mounts end with it.
#[derive(Args, Debug)]
pub(crate) struct MountArgs {
    /// Mount all containers
    #[arg(short, long)]
    all: bool,

    /// Print in this form
    #[arg(long, value_name = "FORMAT")]
    format: Option<FormatArg>,

    #[command(flatten)]
    latest: Latest,

    /// Print IDs in full
    #[arg(long)]
    no_trunc: bool,

    /// Containers to mount, by name or ID (can be repeated)
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// `mount`.
pub(crate) fn mount(session: &mut Session<'_>, args: MountArgs) -> anyhow::Result<()> {
    if args.containers.is_empty() && !args.all && !args.latest.latest {
        return list(session, &args);
    }
    let selection = Selection { all: args.all, ..Selection::of_names(&args.containers, &args.latest) };
    let mut code = 0;
    for Target { shown, id } in selection.targets(session)? {
        let engine = session.engine()?;
        match id.and_then(|id| engine.mount_container(&id)) {
            Ok(path) if args.all => writeln!(session.out, "{shown} {}", path.display())?,
            Ok(path) => writeln!(session.out, "{}", path.display())?,
            Err(err) => {
                code = FAILED;
                session.report(err);
            }
        }
    }
    session.outcome(code)
}

fn list(session: &mut Session<'_>, args: &MountArgs) -> anyhow::Result<()> {
    let engine = session.engine()?;
    let mounted = engine.list_container_mounts()?;
    if args.format == Some(FormatArg::Json) {
        let row = |(id, path): &(_, std::path::PathBuf)| {
            let name = engine.container_name(id)?;
            Ok(json!({"id": id.to_string(), "Names": [name], "mountpoint": path.display().to_string()}))
        };
        let rows = mounted.iter().map(row).collect::<anyhow::Result<Vec<_>>>()?;
        return json_format::print_list(session, &rows, &[], " ");
    }
    let mut table = Table::new(session, &[]);
    for (id, path) in mounted {
        let shown = if args.no_trunc { id.as_str() } else { id.short() };
        table.push(vec![shown.to_owned(), path.display().to_string()]);
    }
    table.print(session)
}

/// Take the mounts of containers away
///
/// Of a container that is not mounted there is nothing to take away, which is a success.
#[derive(Args, Debug)]
pub(crate) struct UnmountArgs {
    /// Unmount all that are mounted
    #[arg(short, long)]
    all: bool,

    /// Even if a mount is in use
    #[arg(short, long)]
    force: bool,

    #[command(flatten)]
    latest: Latest,

    /// Containers, by name or ID (can be repeated)
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// `unmount`.
pub(crate) fn unmount(session: &mut Session<'_>, args: UnmountArgs) -> anyhow::Result<()> {
    let selection = Selection { all: args.all, ..Selection::of_names(&args.containers, &args.latest) };
    let mut targets = selection.targets(session)?;
    if args.all {
        let mounted = session.engine()?.mounted_containers()?;
        targets.retain(|target| target.id.as_ref().is_ok_and(|id| mounted.contains(id)));
    }
    targets::for_each(session, targets, |engine, id| engine.unmount_container(id, args.force))
}
