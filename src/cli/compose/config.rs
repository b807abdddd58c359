//! `ketch compose config`: the project as ketch understands it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::base::digest::Digest;
use crate::base::image_ref::{DOCKER_HUB, ImageName};
use crate::base::yaml::write::{self, Lists};
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::compose::hash;
use crate::compose::interpolate;
use crate::compose::json;
use crate::compose::load::{self, Loaded, Options};
use crate::compose::node::{Kind, Map, Node};
use crate::compose::order;
use crate::engine::remote::RemoteOptions;

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

    /// Print no more than each service's image, with its digest: a file to lay over the project's
    #[arg(long)]
    lock_image_digests: bool,

    /// Print the names of models
    #[arg(long)]
    models: bool,

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

    /// Write the digests of images behind their names, as their registries know them
    #[arg(long)]
    resolve_image_digests: bool,

    /// Print the names of services
    #[arg(long)]
    services: bool,

    /// Print the variables that the files use, and their defaults
    #[arg(long)]
    variables: bool,

    /// Print the names of volumes
    #[arg(long)]
    volumes: bool,

    /// Print the names of networks
    #[arg(long)]
    networks: bool,

    /// Print the variables that files are read with
    #[arg(long)]
    environment: bool,

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
    if args.variables {
        return variables(session, options);
    }
    let mut loaded = flags.load(session, &options)?;
    select(&mut loaded, &args.names)?;
    if args.resolve_image_digests || args.lock_image_digests {
        pin_images(session, &mut loaded)?;
    }
    if args.lock_image_digests {
        keep_images(&mut loaded.tree);
    }
    if args.quiet {
        return Ok(());
    }
    let names = |section: &str| -> Vec<String> {
        let map = loaded.tree.get(section).and_then(Node::as_map);
        map.map(|map| map.keys().cloned().collect()).unwrap_or_default()
    };
    let lines = if args.environment {
        loaded.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()
    } else if args.services {
        names("services")
    } else if args.volumes {
        names("volumes")
    } else if args.networks {
        names("networks")
    } else if args.profiles {
        loaded.profiles.iter().cloned().collect()
    } else if args.models {
        let models = loaded.tree.get("models").and_then(Node::as_map);
        let models = models.into_iter().flat_map(Map::values);
        models.filter_map(|model| model.str_at("model")).map(str::to_owned).collect()
    } else if args.images {
        images(&loaded)
    } else if let Some(wanted) = &args.hash {
        hashes(&loaded, wanted)?
    } else {
        let mut tree = if args.no_interpolate { loaded.tree.clone() } else { loaded.tree.escaped() };
        let text = match args.format.as_str() {
            "yaml" => {
                if args.no_interpolate {
                    order::written(&mut tree);
                } else {
                    order::file(&mut tree);
                }
                write::document(&tree, Lists::Indented)
            }
            "json" if args.no_interpolate => json::written(&tree)?,
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

/// Prints the variables of the files, which are read as they are.
fn variables(session: &mut Session<'_>, mut options: Options) -> anyhow::Result<()> {
    options.no_interpolate = true;
    options.no_normalize = true;
    options.no_consistency = true;
    options.no_env_resolution = true;
    options.profiles = vec!["*".to_owned()];
    let mut found = BTreeMap::new();
    texts(&load::load(&options)?.tree, &mut |text| {
        found.extend(interpolate::used(text).into_iter().map(|used| (used.name.clone(), used)));
    });
    let mut row = |cells: [&str; 4]| {
        writeln!(session.out, "{:<20}{:<20}{:<20}{}", cells[0], cells[1], cells[2], cells[3])
    };
    row(["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"])?;
    for used in found.values() {
        row([&used.name, &used.required.to_string(), &used.default, &used.alternate])?;
    }
    Ok(())
}

/// Every text below `node`.
fn texts(node: &Node, see: &mut impl FnMut(&str)) {
    match &node.kind {
        Kind::Text(text) => see(text),
        Kind::List(list) => list.iter().for_each(|item| texts(item, see)),
        Kind::Map(map) => map.values().for_each(|item| texts(item, see)),
        _ => {}
    }
}

/// Gives every image its digest, which its registry is asked for.
pub(super) fn pin_images(session: &Session<'_>, loaded: &mut Loaded) -> anyhow::Result<()> {
    let services = loaded.tree.as_map_mut().and_then(|top| top.get_mut("services")?.as_map_mut());
    for service in services.into_iter().flat_map(Map::values_mut) {
        let Some(image) = service.as_map_mut().and_then(|fields| fields.get_mut("image")) else { continue };
        let Kind::Text(name) = &mut image.kind else { continue };
        let parsed: ImageName =
            name.parse().map_err(|err| crate::engine::Error::invalid(format!("{err}")))?;
        let full = parsed.on(DOCKER_HUB).with_default_tag().to_string();
        *name = if full.contains('@') {
            full
        } else {
            let document =
                session.engine()?.inspect_list(&format!("docker://{full}"), &RemoteOptions::default())?;
            format!("{full}@{}", Digest::of(&document))
        };
    }
    Ok(())
}

/// Takes away all but the images of services.
fn keep_images(tree: &mut Node) {
    let Some(top) = tree.as_map_mut() else { return };
    top.retain(|section, _| section == "services");
    let services = top.get_mut("services").and_then(Node::as_map_mut);
    for service in services.into_iter().flat_map(Map::values_mut).filter_map(Node::as_map_mut) {
        service.retain(|key, _| key == "image");
    }
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
            // One that is not needed, and that no active profile enables.
            if !names.contains(&name) {
                continue;
            }
            return Err(crate::engine::Error::not_found(format!("no such service: {name}")).into());
        };
        let depends = service.get("depends_on").and_then(Node::as_map);
        open.extend(depends.into_iter().flat_map(Map::keys).filter(|name| !kept.contains(*name)).cloned());
        kept.insert(name);
    }
    if let Kind::Map(services) = &mut services.kind {
        services.retain(|name, _| kept.contains(name));
        services.values_mut().for_each(|service| forget_missing(service, &kept));
    }
    Ok(())
}

/// Takes away dependencies that are not among the kept services.
fn forget_missing(service: &mut Node, kept: &BTreeSet<String>) {
    let Some(fields) = service.as_map_mut() else { return };
    let Some(depends) = fields.get_mut("depends_on").and_then(Node::as_map_mut) else { return };
    depends.retain(|name, _| kept.contains(name));
    if depends.is_empty() {
        fields.shift_remove("depends_on");
    }
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
    Ok(services.map(|(name, service)| format!("{name} {}", hash::of(service, &loaded.tree))).collect())
}
