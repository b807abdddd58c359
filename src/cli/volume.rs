//! `ketch volume`: makes, lists and removes volumes.

use std::io::Write as _;

use clap::Args;
use serde_json::Value;

use crate::cli::format::{self, Format, Shape, docker, json};
use crate::cli::labels::labels;
use crate::cli::session::{Exit, Session};
use crate::cli::system::print_pruned;
use crate::cli::usage::UsageError;
use crate::documents;
use crate::engine::filter::{self, Filters};
use crate::engine::lifecycle::Grace;
use crate::engine::remove::Removing;
use crate::engine::volume::{self, VolumeRequest};
use crate::engine::{Error, Kind};

/// Make a volume
///
/// Prints its name. Without NAME one is made up; such a volume is anonymous, and prune removes it.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// The name
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// The name, as docker's older manuals have it
    #[arg(long = "name", value_name = "NAME", hide = true, conflicts_with = "name")]
    named: Option<String>,

    /// What holds the data: local is the only driver
    #[arg(short, long, default_value = "local", value_name = "DRIVER")]
    driver: String,

    /// One that is there already will do
    #[arg(long)]
    ignore: bool,

    /// Describe the volume, for filters (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,

    /// Set an option (can be repeated)
    ///
    /// `type=tmpfs` makes a tmpfs, `type=none` with `device=DIRECTORY` and `o=bind` shows a directory of the host;
    /// `o=` takes mount options: uid=, gid=, size=, mode=, nr_inodes=, ro, noexec, nodev, nosuid, copy, nocopy.
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,

    /// The user that it belongs to
    #[arg(long, value_name = "UID")]
    uid: Option<u32>,

    /// The group that it belongs to
    #[arg(long, value_name = "GID")]
    gid: Option<u32>,
}

/// `volume create`.
pub(crate) fn create(session: &mut Session<'_>, args: CreateArgs) -> anyhow::Result<()> {
    if args.driver != "local" {
        let (driver, name) = (&args.driver, args.name.as_ref().or(args.named.as_ref()));
        let message = format!(
            "volume {} uses volume plugin {driver} but it could not be retrieved: no volume plugin with name {driver} \
             available: required plugin missing",
            name.map_or("", String::as_str)
        );
        return Err(Error::invalid(message).hint("ketch knows the driver local").into());
    }
    let mut options = labels(&args.opt);
    for (key, id) in [("UID", args.uid), ("GID", args.gid)] {
        options.extend(id.map(|id| (key.to_owned(), id.to_string())));
    }
    let request = VolumeRequest {
        name: args.name.or(args.named).filter(|name| !name.is_empty()),
        labels: labels(&args.label),
        options,
        // One that is there is no failure to docker.
        ignore: args.ignore || session.globals.called.is_docker(),
    };
    let name = session.engine()?.create_volume(request)?;
    writeln!(session.out, "{name}")?;
    Ok(())
}

/// Mount a volume, and print where its files are
///
/// Needs the rights to mount: as root, or inside `unshare`, whose mounts end with it.
#[derive(Args, Debug)]
pub(crate) struct MountArgs {
    /// The volume's name
    #[arg(value_name = "VOLUME")]
    volume: String,
}

/// `volume mount`.
pub(crate) fn mount(session: &mut Session<'_>, args: MountArgs) -> anyhow::Result<()> {
    let path = session.engine()?.mount_volume(&args.volume)?;
    Ok(writeln!(session.out, "{}", path.display())?)
}

/// Take the mount of a volume away
#[derive(Args, Debug)]
pub(crate) struct UnmountArgs {
    /// The volume's name
    #[arg(value_name = "VOLUME")]
    volume: String,
}

/// `volume unmount`.
pub(crate) fn unmount(session: &mut Session<'_>, args: UnmountArgs) -> anyhow::Result<()> {
    let name = session.engine()?.unmount_volume(&args.volume)?;
    Ok(writeln!(session.out, "{name}")?)
}

/// Ask volume plugins for their volumes
///
/// ketch has no plugins, so there is nobody to ask.
#[derive(Args, Debug)]
pub(crate) struct ReloadArgs {}

/// `volume reload`.
pub(crate) fn reload(session: &mut Session<'_>, _: ReloadArgs) -> anyhow::Result<()> {
    session.engine()?;
    Ok(())
}

/// List volumes
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Show only volumes for which this holds (can be repeated)
    ///
    /// Keys: after, anonymous, dangling, driver, label, label!, name (a regular expression), opt, scope,
    /// since, until.
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Print in this form: json, or a Go template, after the word "table" with headings
    #[arg(long, value_name = "FORMAT", conflicts_with = "quiet")]
    format: Option<String>,

    /// Print no headings
    #[arg(short, long)]
    noheading: bool,

    /// Print only names
    #[arg(short, long)]
    quiet: bool,
}

const SHAPE: Shape = Shape {
    command: "volume ls",
    type_name: "volumes.VolumeListReport",
    headers: &[("Name", "VOLUME NAME")],
    omit: documents::volume::OMIT,
    heading: true,
};

/// `volume ls`.
pub(crate) fn ls(session: &mut Session<'_>, args: LsArgs) -> anyhow::Result<()> {
    let shape = Shape { heading: !args.noheading, ..SHAPE };
    let format = args.format.as_deref().unwrap_or("table {{.Driver}}\t{{.Name}}");
    let format = Format::parse(format, &shape)?;
    let filters = Filters::parse(&args.filter, volume::FILTERS)?;
    let engine = session.engine()?;
    let found = engine.volumes(&filters)?;
    let rows: Vec<Value> =
        found.items.iter().map(|volume| documents::volume::document(engine, volume)).collect();
    for err in &found.damaged {
        session.warn(err);
    }
    if args.quiet {
        for volume in &found.items {
            writeln!(session.out, "{}", volume.name)?;
        }
        return Ok(());
    }
    if session.lists_as_docker(Some(&format))? {
        let mut rows = rows;
        rows.iter_mut().for_each(docker::volume);
        return json::print_dockers_lines(session, rows, docker::VOLUME);
    }
    if session.globals.called.is_docker() {
        let mut rows = rows;
        rows.iter_mut().for_each(|row| {
            docker::volume(row);
            *row = docker::line(row, docker::VOLUME);
        });
        return format::print_rows(session, &shape, &format, &rows);
    }
    // As podman: nothing at all, not even headings, where there is nothing to show.
    if rows.is_empty() && !matches!(format, Format::Json) {
        return Ok(());
    }
    format::print_rows(session, &shape, &format, &rows)
}

/// Check whether a volume exists
///
/// Prints nothing; exit code 0 means yes, 1 no, 125 that it cannot be told.
#[derive(Args, Debug)]
pub(crate) struct ExistsArgs {
    /// The volume's name
    #[arg(value_name = "VOLUME")]
    volume: String,
}

/// `volume exists`.
pub(crate) fn exists(session: &mut Session<'_>, args: ExistsArgs) -> anyhow::Result<Exit> {
    Exit::of_existence(session.engine()?.inspect_volume(&args.volume))
}

/// Remove volumes
///
/// Exit code 1 means that a volume is not there, 2 that a container uses it.
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// Volumes to remove, by name (can be repeated)
    #[arg(value_name = "VOLUME")]
    volumes: Vec<String>,

    /// Remove all volumes
    #[arg(short, long)]
    all: bool,

    /// Remove the containers that use them first (but through a link named docker); a missing volume is no failure
    #[arg(short, long)]
    force: bool,

    /// Seconds to wait before SIGKILL; -1 waits for ever [default: the container's own]
    #[arg(short, long, allow_negative_numbers = true, value_name = "SECONDS")]
    time: Option<i64>,
}

/// `volume rm`.
pub(crate) fn rm(session: &mut Session<'_>, args: RmArgs) -> anyhow::Result<()> {
    if args.time.is_some() && !args.force {
        return Err(UsageError::new("--force option must be specified to use the --time option").into());
    }
    if args.all != args.volumes.is_empty() {
        return Err(UsageError::new("choose either one or more volumes or all").into());
    }
    let mut targets = args.volumes;
    if args.all {
        let found = session.engine()?.volumes(&Filters::default())?;
        targets.extend(found.items.into_iter().map(|volume| volume.name));
    }
    let how = Removing {
        force: true,
        grace: args.time.map(Grace::from_seconds),
        depend: true,
        ..Removing::default()
    };
    let is_docker = session.globals.called.is_docker();
    let how = (args.force && !is_docker).then_some(how);
    let missing_is_fine = args.force || args.all;
    session.for_each_removal(&targets, |engine, target| match engine.remove_volume(target, how.as_ref()) {
        Ok(()) => Ok(true),
        Err(err) if err.kind == Kind::NotFound && missing_is_fine => Ok(false),
        Err(err) if err.kind == Kind::Conflict && is_docker => Err(err.hint("remove these containers first")),
        Err(err) => Err(err),
    })
}

/// Remove all volumes that no container uses
///
/// Through a link named docker, those that have no name of their own, unless --all is given.
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Those with a name too, as is always done but through a link named docker
    #[arg(short, long)]
    all: bool,

    /// Remove only volumes for which this holds (can be repeated)
    ///
    /// Keys: label, label!, until.
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// `volume prune`.
pub(crate) fn prune(session: &mut Session<'_>, args: PruneArgs) -> anyhow::Result<()> {
    let filters = Filters::parse(&args.filter, filter::PRUNE_VOLUMES)?;
    let all = args.all || !session.globals.called.is_docker();
    if !args.force && session.globals.called.is_docker() {
        let which = if args.all { "all" } else { "anonymous" };
        let question =
            format!("WARNING! This will remove {which} local volumes not used by at least one container.");
        if !session.confirm(&question)? {
            return Ok(());
        }
    } else if !args.force {
        let doomed = session.engine()?.prunable_volumes(all, &filters)?;
        if doomed.is_empty() {
            return Ok(writeln!(session.out, "No dangling volumes found")?);
        }
        let names: Vec<&str> = doomed.iter().map(|volume| volume.name.as_str()).collect();
        let question = format!(
            "WARNING! This will remove all volumes not used by at least one container. The following volumes will be \
             removed:\n{}",
            names.join("\n")
        );
        if !session.confirm(&question)? {
            return Ok(());
        }
    }
    let pruned = session.engine()?.prune_volumes(all, &filters)?;
    print_pruned(session, "Deleted Volumes", pruned.removed.into_iter(), Some(pruned.bytes))?;
    session.outcome_of(pruned.failed)
}
