//! `buildx`, beside `buildx build`: what IDEs, devcontainer tools and scripts call before and after they build.
//!
//! There is one builder, which is this program, so builders are names (`engine::build::builders`).

use std::io::Write as _;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::base::platform::Platform;
use crate::base::{size, time};
use crate::cli::NAME;
use crate::cli::format::table::Table;
use crate::cli::format::{self, Shape};
use crate::cli::session::Session;
use crate::engine::Kind;
use crate::engine::build::builders::{DEFAULT, made_up_name};
use crate::engine::build::prune::{KeptBuild, KeptFilter};

/// Show the version of the builder
#[derive(Args, Debug)]
pub(crate) struct BuildxVersionArgs {}

/// List builders
///
/// There is one, under the names that `buildx create` has made.
#[derive(Args, Debug)]
pub(crate) struct BuildxLsArgs {
    /// Print as JSON, or by a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,

    /// Print IDs in full
    #[arg(long)]
    no_trunc: bool,
}

/// Show a builder
#[derive(Args, Debug)]
pub(crate) struct BuildxInspectArgs {
    /// Make sure that it runs: ketch needs nothing that runs
    #[arg(long)]
    bootstrap: bool,

    /// Its name, like the argument
    #[arg(long, value_name = "NAME", env = "BUILDX_BUILDER")]
    builder: Option<String>,

    /// Its name; the one in use if nothing is said
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Make a name for a builder
///
/// There is one builder, which is this program: a new name means it too. Prints the name. What configures
/// another builder's daemon is taken, and has no effect, because there is none.
#[derive(Args, Debug)]
pub(crate) struct BuildxCreateArgs {
    /// Let the name be there already
    #[arg(long)]
    append: bool,

    /// Start it: ketch needs nothing that runs
    #[arg(long)]
    bootstrap: bool,

    /// Configuration of a daemon: there is none
    #[arg(long, visible_alias = "config", value_name = "FILE")]
    buildkitd_config: Option<String>,

    /// Flags of a daemon: there is none
    #[arg(long, value_name = "FLAGS", allow_hyphen_values = true)]
    buildkitd_flags: Option<String>,

    /// How others run builders: docker or docker-container; here all builds are done by this program
    #[arg(long, value_name = "DRIVER", value_parser = ["", "docker", "docker-container", NAME])]
    driver: Option<String>,

    /// Options of a driver: there is no daemon that they could configure (can be repeated)
    #[arg(long, value_name = "OPTION")]
    driver_opt: Vec<String>,

    /// Its name; one is made up if nothing is said
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Name of the node: a builder has one
    #[arg(long, value_name = "NAME")]
    node: Option<String>,

    /// Platforms that its node is for; those of this machine are taken all the same (can be repeated)
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<Platform>,

    /// Use it from now on
    #[arg(long = "use")]
    choose: bool,

    /// Where it is: on this machine, called default
    #[arg(value_name = "CONTEXT", value_parser = [DEFAULT])]
    context: Option<String>,
}

/// Use a builder from now on
#[derive(Args, Debug)]
pub(crate) struct BuildxUseArgs {
    /// For this engine: there is one
    #[arg(long)]
    default: bool,

    /// For all engines: there is one
    #[arg(long)]
    global: bool,

    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
}

/// Remove names of builders
///
/// What builds have kept stays: `builder prune` removes it.
#[derive(Args, Debug)]
pub(crate) struct BuildxRmArgs {
    /// Remove all names but the one in use
    #[arg(long)]
    all_inactive: bool,

    /// A name, like the argument
    #[arg(long, value_name = "NAME")]
    builder: Option<String>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,

    /// Keep its daemon: there is none
    #[arg(long)]
    keep_daemon: bool,

    /// Keep what it has built: ketch always does
    #[arg(long)]
    keep_state: bool,

    /// Names; the one in use if nothing is said
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// Stop a builder: nothing runs
#[derive(Args, Debug)]
pub(crate) struct BuildxStopArgs {
    /// Its name, like the argument
    #[arg(long, value_name = "NAME")]
    builder: Option<String>,

    /// Its name; the one in use if nothing is said
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Print what builds have kept
#[derive(Args, Debug)]
pub(crate) struct BuildxDuArgs {
    /// Builder: all have the same cache
    #[arg(long, value_name = "NAME")]
    builder: Option<String>,

    /// Only what fits: id, type=regular|exec.cachemount, shared, private or description (can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Print as JSON, or by a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table", conflicts_with = "verbose")]
    format: String,

    /// Print all that is known of each
    #[arg(long)]
    verbose: bool,
}

const LS: Shape =
    Shape { command: "ls", type_name: "*commands.lsBuilder", headers: &[], omit: &[], heading: true };
const DU: Shape = Shape { command: "du", type_name: "*commands.duRecord", ..LS };

/// What `buildx du --verbose` prints of each, and its key.
const VERBOSE: [(&str, &str); 9] = [
    ("ID", "ID"),
    ("Created at", "CreatedAt"),
    ("Mutable", "Mutable"),
    ("Reclaimable", "Reclaimable"),
    ("Shared", "Shared"),
    ("Size", "Size"),
    ("Description", "Description"),
    ("Last used", "LastUsedAt"),
    ("Type", "Type"),
];

/// The buildx that ketch keeps to.
pub(crate) const COMPATIBLE: &str = "0.26.1";

/// `buildx version`.
pub(crate) fn version(session: &mut Session<'_>, _: BuildxVersionArgs) -> anyhow::Result<()> {
    // IDEs look for a version of the form vMAJOR.MINOR.PATCH in the second word, and leave out what came later.
    writeln!(session.out, "github.com/docker/buildx v{COMPATIBLE} {NAME}-{}", env!("CARGO_PKG_VERSION"))?;
    Ok(())
}

/// `buildx ls`.
pub(crate) fn ls(session: &mut Session<'_>, args: BuildxLsArgs) -> anyhow::Result<()> {
    let platform = Platform::host().to_string();
    let builders = session.engine()?.builders();
    if args.format != "table" {
        let row = |name: &str| {
            json!({
                "Name": name, "Driver": NAME, "DriverEndpoint": NAME, "Current": name == builders.current(),
                "Dynamic": false, "Status": "running", "Platforms": platform, "Error": "",
                "Nodes": [{"Name": name, "Endpoint": DEFAULT, "Status": "running", "Platforms": [platform]}],
            })
        };
        let rows: Vec<Value> = builders.names().map(row).collect();
        return format::print_lines(session, &LS, &args.format, &rows);
    }
    writeln!(session.out, "{:<16}{:<18}{:<10}PLATFORMS", "NAME/NODE", "DRIVER/ENDPOINT", "STATUS")?;
    for name in builders.names() {
        let mark = if name == builders.current() { "*" } else { "" };
        writeln!(session.out, "{:<16}{NAME:<18}", format!("{name}{mark}"))?;
        let node = format!(" \\_ {name}");
        writeln!(session.out, "{node:<16}{:<18}{:<10}{platform}", " \\_ default", "running")?;
    }
    Ok(())
}

/// `buildx inspect`.
pub(crate) fn inspect(session: &mut Session<'_>, args: BuildxInspectArgs) -> anyhow::Result<()> {
    let builders = session.engine()?.builders();
    let name = builders.find(args.name.or(args.builder).as_deref())?;
    let platform = Platform::host();
    writeln!(
        session.out,
        "Name:          {name}\nDriver:        {NAME}\n\nNodes:\nName:             {name}\nEndpoint:         {DEFAULT}\nStatus:           running\nBuildKit version: v{}\nPlatforms:        {platform}",
        env!("CARGO_PKG_VERSION"),
    )?;
    Ok(())
}

/// `buildx create`.
pub(crate) fn create(session: &mut Session<'_>, args: BuildxCreateArgs) -> anyhow::Result<()> {
    let mut builders = session.engine()?.builders();
    let name = match args.name {
        Some(name) => name,
        None => made_up_name()?,
    };
    builders.make(&name, args.append)?;
    if args.choose {
        builders.choose(&name)?;
    }
    let no_daemon = [
        (!args.driver_opt.is_empty(), "--driver-opt"),
        (args.buildkitd_flags.is_some(), "--buildkitd-flags"),
        (args.buildkitd_config.is_some(), "--buildkitd-config"),
    ];
    for (_, flag) in no_daemon.iter().filter(|(used, _)| *used) {
        session.note(format!("{flag} has no effect: there is no daemon"));
    }
    session.engine()?.keep_builders(&builders)?;
    writeln!(session.out, "{name}")?;
    Ok(())
}

/// `buildx use`.
pub(crate) fn choose(session: &mut Session<'_>, args: BuildxUseArgs) -> anyhow::Result<()> {
    let engine = session.engine()?;
    let mut builders = engine.builders();
    builders.choose(&args.name)?;
    Ok(engine.keep_builders(&builders)?)
}

/// `buildx rm`.
pub(crate) fn rm(session: &mut Session<'_>, args: BuildxRmArgs) -> anyhow::Result<()> {
    let mut builders = session.engine()?.builders();
    let mut names: Vec<String> = args.names.into_iter().chain(args.builder).collect();
    if args.all_inactive {
        let idle = |name: &&str| *name != DEFAULT && *name != builders.current();
        names.extend(builders.names().filter(idle).map(str::to_owned));
        if !args.force && !session.confirm("WARNING! This will remove all builders that are not in use.")? {
            return Ok(());
        }
    } else if names.is_empty() {
        names.push(builders.current().to_owned());
    }
    for name in names {
        match builders.remove(&name) {
            Ok(()) => writeln!(session.out, "{name} removed")?,
            Err(err) if args.force && err.kind == Kind::NotFound => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(session.engine()?.keep_builders(&builders)?)
}

/// `buildx stop`.
pub(crate) fn stop(session: &mut Session<'_>, args: BuildxStopArgs) -> anyhow::Result<()> {
    session.engine()?.builders().find(args.name.or(args.builder).as_deref())?;
    Ok(())
}

/// `buildx du`.
pub(crate) fn du(session: &mut Session<'_>, args: BuildxDuArgs) -> anyhow::Result<()> {
    let engine = session.engine()?;
    engine.builders().find(args.builder.as_deref())?;
    let filters = args.filter.iter().map(|text| KeptFilter::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let mut kept = engine.kept_builds()?;
    kept.retain(|kept| kept.fits(&filters));
    let now = Timestamp::now();
    if args.format != "table" {
        let rows: Vec<Value> = kept.iter().map(|kept| row(kept, now)).collect();
        return format::print_lines(session, &DU, &args.format, &rows);
    }
    if args.verbose {
        for kept in &kept {
            let row = row(kept, now);
            for (title, key) in VERBOSE {
                let value = row[key].as_str().map_or_else(|| row[key].to_string(), str::to_owned);
                writeln!(session.out, "{:<16}{value}", format!("{title}:"))?;
            }
            writeln!(session.out)?;
        }
    } else {
        let mut table = Table::new(session, &["ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED"]);
        for kept in &kept {
            let ago = time::human_ago(kept.cached.last_used, now);
            table.push([kept.cached.id.clone(), (!kept.shared).to_string(), size::human(kept.bytes, 4), ago]);
        }
        table.print(session)?;
    }
    let sum = |wanted: &dyn Fn(&KeptBuild) -> bool| {
        size::human(kept.iter().filter(|kept| wanted(kept)).map(|kept| kept.bytes).sum(), 4)
    };
    writeln!(session.out, "Shared:\t\t{}", sum(&|kept| kept.shared))?;
    writeln!(session.out, "Private:\t{}", sum(&|kept| !kept.shared))?;
    writeln!(session.out, "Reclaimable:\t{}", sum(&|kept| !kept.shared))?;
    writeln!(session.out, "Total:\t\t{}", sum(&|_| true))?;
    Ok(())
}

/// One kept thing, with BuildKit's names.
fn row(kept: &KeptBuild, now: Timestamp) -> Value {
    json!({
        "ID": kept.cached.id,
        "CreatedAt": time::human_ago(kept.cached.created, now),
        "LastUsedAt": time::human_ago(kept.cached.last_used, now),
        "Description": kept.cached.description,
        "Mutable": kept.cached.is_mount,
        "Reclaimable": !kept.shared,
        "Shared": kept.shared,
        "Size": size::human(kept.bytes, 4),
        "Type": kept.kind(),
        "UsageCount": 1,
    })
}
