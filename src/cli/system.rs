//! Verbs about the whole store: df, prune, check, reset.

use std::io::Write;

use clap::Args;
use jiff::SignedDuration;

use crate::base::digest::Digest;
use crate::base::image_ref::NameRule;
use crate::base::size;
use crate::base::time;
use crate::cli::called::Called;
use crate::cli::session::Session;
use crate::engine::build::prune::PruneBuilds;
use crate::engine::filter::{self, Filters};
use crate::engine::image::Removed;
use crate::engine::prune::Pruned;

mod connection;
mod df;
mod df_document;

pub(crate) use connection::{ConnectionArgs, FarmArgs, MachineArgs, connection, farm, machine};
pub(crate) use df::{DfArgs, df};

/// Remove everything that is not used
///
/// Removes containers that do not run, and images without a name; with --all, every image that no
/// container uses; with --volumes, volumes that no container uses (through a link named docker, those without a name).
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Remove all images that no container uses, not only those without a name
    #[arg(short, long)]
    all: bool,

    /// Remove all that builds have kept, cache mounts too, and not only steps that no image has
    #[arg(long)]
    build: bool,

    /// Remove only what killed commands left in the store; every other prune does that too
    #[arg(long, conflicts_with_all = ["all", "volumes", "filter"])]
    external: bool,

    /// Remove only what this holds for (can be repeated)
    ///
    /// Keys: label, label!, until.
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,

    /// Remove volumes that no container uses
    #[arg(long)]
    volumes: bool,
}

/// `system prune`.
pub(crate) fn prune(session: &mut Session<'_>, args: PruneArgs) -> anyhow::Result<()> {
    let filters = Filters::parse(&args.filter, filter::PRUNE)?;
    if args.external {
        return prune_leftovers(session);
    }
    let images = if args.all { "all images without at least one container" } else { "all dangling images" };
    let all_volumes = !session.globals.called.is_docker();
    let volumes = match (args.volumes, all_volumes) {
        (false, _) => "",
        (true, true) => "\n\t- all volumes not used by at least one container",
        (true, false) => "\n\t- all anonymous volumes not used by at least one container",
    };
    let question = format!(
        "WARNING! This command removes:\n\t- all stopped pods\n\t- all stopped containers\n\t- all networks not used by at least one container{volumes}\n\t- {images}\n\t- all dangling build cache\n"
    );
    if !args.force && !session.confirm(&question)? {
        return Ok(());
    }
    let engine = session.engine()?;
    let pods = engine.prune_pods(&filters)?;
    let containers = engine.prune_containers(&filters)?;
    let volumes = if args.volumes { Some(engine.prune_volumes(all_volumes, &filters)?) } else { None };
    let images = engine.prune_images(args.all, &filters)?;
    let networks = engine.prune_networks(&filters)?;
    let volumes = volumes.unwrap_or_default();
    // Filters are about objects with labels and names; what builds keep has neither.
    let builds = match args.filter.is_empty() {
        true => engine.prune_builds(PruneBuilds { all: args.all || args.build, ..PruneBuilds::default() })?,
        false => Pruned::default(),
    };
    let leftovers = session.engine()?.prune_leftovers()?;
    session.engine()?.record_system("prune");
    let bytes = pods.bytes + containers.bytes + images.bytes + volumes.bytes + builds.bytes + leftovers;
    section(session, "Deleted Pods", pods.removed.iter().map(ToString::to_string))?;
    section(session, "Deleted Containers", containers.removed.iter().map(ToString::to_string))?;
    section(session, "Deleted Volumes", volumes.removed.into_iter())?;
    let deleted = pruned_images(session.globals.called, &images);
    section(session, "Deleted Images", deleted.into_iter())?;
    section(session, "Deleted Networks", networks.into_iter())?;
    section(session, "Deleted build cache objects", builds.removed.into_iter())?;
    writeln!(session.out, "Total reclaimed space: {}", size::human(bytes, 4))?;
    let failed = pods.failed.into_iter().chain(containers.failed).chain(volumes.failed).chain(images.failed);
    let failed: Vec<_> = failed.chain(builds.failed).collect();
    session.outcome_of(failed)
}

/// `system prune --external`.
fn prune_leftovers(session: &mut Session<'_>) -> anyhow::Result<()> {
    let bytes = session.engine()?.prune_leftovers()?;
    writeln!(session.out, "Total reclaimed space: {}", size::human(bytes, 4))?;
    Ok(())
}

/// Prints what of one kind was removed, below a title.
fn section(
    session: &mut Session<'_>,
    title: &str,
    items: impl ExactSizeIterator<Item = String>,
) -> anyhow::Result<()> {
    let is_docker = session.globals.called.is_docker();
    let is_empty = items.len() == 0;
    if !is_empty {
        writeln!(session.out, "{title}{}", if is_docker { ":" } else { "" })?;
    }
    for item in items {
        writeln!(session.out, "{item}")?;
    }
    if is_docker && !is_empty {
        writeln!(session.out)?;
    }
    Ok(())
}

/// What a `prune` of one kind has removed: a line for each, and as docker has it below a title, with the space at the end
/// where that was measured.
pub(crate) fn print_pruned(
    session: &mut Session<'_>,
    title: &str,
    items: impl ExactSizeIterator<Item = String>,
    bytes: Option<u64>,
) -> anyhow::Result<()> {
    if !session.globals.called.is_docker() {
        return Ok({ items }.try_for_each(|item| writeln!(session.out, "{item}"))?);
    }
    section(session, title, items)?;
    if let Some(bytes) = bytes {
        writeln!(session.out, "Total reclaimed space: {}", size::human(bytes, 4))?;
    }
    Ok(())
}

/// Images that are gone, as a prune tells of them.
pub(crate) fn pruned_images(called: Called, pruned: &Pruned<Removed>) -> Vec<String> {
    if !called.is_docker() {
        return pruned.images().iter().map(Digest::hex).collect();
    }
    let of_one = |removed: &Removed| {
        let names = removed.untagged.iter().map(|name| format!("untagged: {}", NameRule::Docker.shown(name)));
        names.chain(removed.deleted.iter().map(|id| format!("deleted: {id}"))).collect::<Vec<_>>()
    };
    pruned.removed.iter().flat_map(of_one).collect()
}

/// Look for damage in the store
///
/// Prints what is damaged; exit code 125 if anything still is.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Remove damaged containers and secrets too, with all that only they hold
    #[arg(short, long)]
    force: bool,

    /// With --repair or --force, remove layers that nothing uses and that are older than this
    #[arg(short, long, default_value = "24h0m0s", value_name = "DURATION", value_parser = duration)]
    max: SignedDuration,

    /// Do not read the contents of all blobs
    #[arg(short, long)]
    quick: bool,

    /// Mend what can be mended
    ///
    /// Damaged images, names, layers, blobs and networks are removed: pulling or making them again brings
    /// them back. A volume whose record is damaged gets a new one; its data stays.
    #[arg(short, long)]
    repair: bool,
}

fn duration(text: &str) -> Result<SignedDuration, time::TimeError> {
    time::parse_duration(text)
}

/// `system check`.
pub(crate) fn check(session: &mut Session<'_>, args: CheckArgs) -> anyhow::Result<()> {
    let found = session.engine()?.check(!args.quick)?;
    let mut left = 0;
    for damage in &found {
        let repaired = match args.repair || args.force {
            true => session.engine()?.repair(damage, args.force)?,
            false => None,
        };
        let done = repaired.map(|done| format!("{done}: ")).unwrap_or_default();
        writeln!(session.out, "{}", crate::cli::error::shown(&format!("{done}{}", damage.text)))?;
        left += usize::from(repaired.is_none());
    }
    if args.repair || args.force {
        session.engine()?.remove_unused_layers(args.max)?;
    }
    match left {
        0 => Ok(()),
        _ => {
            let message = "damage detected in local storage";
            let hint = match (args.repair, args.force) {
                (_, true) => "what is left can only be repaired by hand",
                (true, false) => "use --force to remove damaged containers and secrets too",
                (false, false) => "use --repair to mend volumes and to remove damaged images and networks",
            };
            Err(crate::engine::Error::new(crate::engine::Kind::System, message).hint(hint).into())
        }
    }
}

/// Make containers of an earlier version usable
///
/// For scripts: there is nothing to do. Changed ranges in /etc/subuid hold as soon as no container runs, and what an earlier
/// version has stored is read as it is.
#[derive(Args, Debug)]
pub(crate) struct MigrateArgs {}

/// `system migrate`.
pub(crate) fn migrate(session: &mut Session<'_>, _: MigrateArgs) -> anyhow::Result<()> {
    session.engine()?;
    Ok(())
}

/// Give locks other numbers
///
/// For scripts: there is nothing to do, as ketch's locks are the containers' own files and have no numbers.
#[derive(Args, Debug)]
pub(crate) struct RenumberArgs {}

/// `system renumber`.
pub(crate) fn renumber(session: &mut Session<'_>, _: RenumberArgs) -> anyhow::Result<()> {
    session.engine()?;
    Ok(())
}

/// Remove everything: containers, images and volumes
#[derive(Args, Debug)]
pub(crate) struct ResetArgs {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// `system reset`.
pub(crate) fn reset(session: &mut Session<'_>, args: ResetArgs) -> anyhow::Result<()> {
    let root = session.engine()?.store().root().display().to_string();
    let question = format!(
        "WARNING! This will remove:\n\t- all containers\n\t- all images\n\t- all volumes\nof the store {root}"
    );
    if !args.force && !session.confirm(&question)? {
        return Ok(());
    }
    let failed = session.engine()?.reset()?;
    session.outcome_of(failed)
}
