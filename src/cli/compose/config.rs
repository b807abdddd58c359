//! `ketch compose config`: the project as ketch understands it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::compose::hash;
use crate::compose::json;
use crate::compose::load::Loaded;
use crate::compose::node::{Kind, Map, Node};
use crate::compose::yaml::write;

/// Print the project in its complete form
///
/// All files are merged, variables replaced, short forms made long and paths absolute.
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "docker compose's flags")]
pub(crate) struct ConfigArgs {
    /// Format: yaml or json
    #[arg(long, value_name = "FORMAT", default_value = "yaml")]
    format: String,

    /// Print the hash of services' configurations: a name, or * for all
    #[arg(long, value_name = "SERVICE")]
    hash: Option<String>,

    /// Print the names of images
    #[arg(long)]
    images: bool,

    /// Do not check that the parts fit together
    #[arg(long)]
    no_consistency: bool,

    /// Do not replace variables
    #[arg(long)]
    no_interpolate: bool,

    /// Do not complete names and defaults
    #[arg(long)]
    no_normalize: bool,

    /// Do not make paths absolute
    #[arg(long)]
    no_path_resolution: bool,

    /// Do not read env_file
    #[arg(long)]
    no_env_resolution: bool,

    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Print the names of profiles
    #[arg(long)]
    profiles: bool,

    /// Check only
    #[arg(short, long)]
    quiet: bool,

    /// Print the names of services
    #[arg(long)]
    services: bool,

    /// Print the names of volumes
    #[arg(long)]
    volumes: bool,

    /// Print the names of networks
    #[arg(long)]
    networks: bool,

    /// Services; all if none is named
    #[arg(value_name = "SERVICE")]
    names: Vec<String>,
}

pub(crate) fn run(session: &mut Session<'_>, args: ConfigArgs) -> anyhow::Result<()> {
    let flags = session.globals.project.clone();
    let mut options = flags.options(&args.names)?;
    options.no_interpolate = args.no_interpolate;
    options.no_consistency = args.no_consistency;
    options.no_normalize = args.no_normalize;
    options.no_path_resolution = args.no_path_resolution;
    options.no_env_resolution = args.no_env_resolution;
    let mut loaded = flags.load(session, &options)?;
    select(&mut loaded, &args.names)?;
    if args.quiet {
        return Ok(());
    }
    let names = |section: &str| -> Vec<String> {
        let map = loaded.tree.get(section).and_then(Node::as_map);
        map.map(|map| map.keys().cloned().collect()).unwrap_or_default()
    };
    let lines = if args.services {
        names("services")
    } else if args.volumes {
        names("volumes")
    } else if args.networks {
        names("networks")
    } else if args.profiles {
        loaded.profiles.iter().cloned().collect()
    } else if args.images {
        images(&loaded)
    } else if let Some(wanted) = &args.hash {
        hashes(&loaded, wanted)?
    } else {
        let tree = if args.no_interpolate { loaded.tree.clone() } else { loaded.tree.escaped() };
        let text = match args.format.as_str() {
            "yaml" => write::document(&tree),
            "json" => json::document(&tree)?,
            other => {
                return Err(UsageError::new(format!("unsupported format {other:?}"))
                    .see("compose config")
                    .into());
            }
        };
        match &args.output {
            Some(path) => std::fs::write(path, text)?,
            None => session.out.write_all(text.as_bytes())?,
        }
        return Ok(());
    };
    for line in lines {
        writeln!(session.out, "{line}")?;
    }
    Ok(())
}

/// Keeps the named services and those they depend on.
fn select(loaded: &mut Loaded, names: &[String]) -> anyhow::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let Some(services) = loaded.tree.as_map_mut().and_then(|top| top.get_mut("services")) else {
        return Ok(());
    };
    let mut kept = BTreeSet::new();
    let mut open: Vec<String> = names.to_vec();
    while let Some(name) = open.pop() {
        let Some(service) = services.get(&name) else {
            return Err(crate::engine::Error::not_found(format!("no such service: {name}")).into());
        };
        if kept.insert(name)
            && let Some(depends) = service.get("depends_on").and_then(Node::as_map)
        {
            open.extend(depends.keys().cloned());
        }
    }
    if let Kind::Map(services) = &mut services.kind {
        services.retain(|name, _| kept.contains(name));
    }
    crate::compose::normal::drop_unused(&mut loaded.tree);
    Ok(())
}

/// The image of each service: its own, or the one that building makes.
fn images(loaded: &Loaded) -> Vec<String> {
    let services = loaded.tree.get("services").and_then(Node::as_map);
    services
        .into_iter()
        .flatten()
        .map(|(name, service)| {
            service.str_at("image").map_or_else(|| format!("{}-{name}", loaded.name), str::to_owned)
        })
        .collect()
}

fn hashes(loaded: &Loaded, wanted: &str) -> anyhow::Result<Vec<String>> {
    let empty = Map::new();
    let services = loaded.tree.get("services").and_then(Node::as_map).unwrap_or(&empty);
    if wanted != "*"
        && let Some(missing) = wanted.split(',').find(|name| !services.contains_key(*name))
    {
        return Err(crate::engine::Error::not_found(format!("no such service: {missing}")).into());
    }
    let is_wanted = |name: &str| wanted == "*" || wanted.split(',').any(|other| other == name);
    let services = services.iter().filter(|(name, _)| is_wanted(name));
    Ok(services.map(|(name, service)| format!("{name} {}", hash::of(service))).collect())
}
