//! `builder prune`: what builds have kept.

use std::io::Write as _;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::base::{size, time};
use crate::cli::session::Session;
use crate::engine::Error;
use crate::engine::build::prune::{KeptFilter, PruneBuilds};

/// Remove what builds have kept
///
/// Without --all, steps whose layers no image has any more; with it, everything, cache mounts included. What
/// a build uses at this moment stays.
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Remove everything that builds have kept
    #[arg(short, long)]
    all: bool,

    /// Builder: all have the same cache
    #[arg(long, value_name = "NAME", env = "BUILDX_BUILDER")]
    builder: Option<String>,

    /// Only what fits: until=TIME, unused-for=DURATION, id, type=regular|exec.cachemount, shared, private, description (can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,

    /// Keep what was used last, up to this size, like 10GB
    #[arg(long, visible_aliases = ["max-used-space", "reserved-space"], value_name = "SIZE")]
    keep_storage: Option<String>,
}

/// `builder prune`, `build prune`.
pub(crate) fn prune(session: &mut Session<'_>, args: PruneArgs) -> anyhow::Result<()> {
    session.engine()?.builders().find(args.builder.as_deref())?;
    let mut how = PruneBuilds { all: args.all, ..PruneBuilds::default() };
    for filter in &args.filter {
        let Some(("until" | "unused-for", when)) = filter.split_once('=') else {
            how.filters.push(KeptFilter::parse(filter)?);
            continue;
        };
        let when = time::parse_when(when, Timestamp::now(), &TimeZone::system());
        how.unused_since = Some(when.map_err(|err| Error::invalid(err.to_string()))?);
    }
    if let Some(text) = &args.keep_storage {
        how.keep_bytes = Some(size::parse(text).map_err(|err| Error::invalid(err.to_string()))?);
    }
    let what = if args.all { "all build cache" } else { "all dangling build cache" };
    if !args.force && !session.confirm(&format!("WARNING! This will remove {what}."))? {
        return Ok(());
    }
    let pruned = session.engine()?.prune_builds(how)?;
    for id in &pruned.removed {
        writeln!(session.out, "{id}")?;
    }
    writeln!(session.out, "Total reclaimed space: {}", size::human(pruned.bytes, 4))?;
    session.outcome_of(pruned.failed)
}
