//! Small verbs about images: exists, prune, rm, tag, untag, tree.

use std::io::Write;

use clap::Args;

use crate::base::digest::Digest;
use crate::base::image_ref::{ImageRef, Purpose};
use crate::base::order::InOrder as _;
use crate::base::platform::Platform;
use crate::base::{size, truth};
use crate::cli::error::removal_exit_code;
use crate::cli::session::{Exit, Session};
use crate::cli::system::{print_pruned, pruned_images};
use crate::cli::usage::UsageError;
use crate::engine::build::prune::PruneBuilds;
use crate::engine::filter::{self, Filters};
use crate::engine::image::Removed;
use crate::engine::remove::Removing;
use crate::engine::{Engine, Error, Kind};

/// Check whether an image exists in the local store
///
/// Prints nothing; exit code 0 means yes, 1 no, 125 that it cannot be told.
#[derive(Args, Debug)]
pub(crate) struct ExistsArgs {
    /// The image, by name or ID
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// `image exists`.
pub(crate) fn exists(session: &mut Session<'_>, args: ExistsArgs) -> anyhow::Result<Exit> {
    Exit::of_existence(session.engine()?.image(&args.image))
}

/// Give an image further names
#[derive(Args, Debug)]
pub(crate) struct TagArgs {
    /// The image, by name or ID
    #[arg(value_name = "IMAGE")]
    image: String,

    /// A new name; without a registry it is put on localhost (can be repeated)
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// `tag`.
pub(crate) fn tag(session: &mut Session<'_>, args: TagArgs) -> anyhow::Result<()> {
    let engine = session.engine()?;
    args.names.iter().try_for_each(|name| engine.tag_image(&args.image, name).map(drop))?;
    Ok(())
}

/// Take names off an image
///
/// Without NAME, all of them; the image itself stays.
#[derive(Args, Debug)]
pub(crate) struct UntagArgs {
    /// The image, by name or ID
    #[arg(value_name = "IMAGE")]
    image: String,

    /// A name of the image (can be repeated)
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// `untag`.
pub(crate) fn untag(session: &mut Session<'_>, args: UntagArgs) -> anyhow::Result<()> {
    Ok(session.engine()?.untag_image(&args.image, &args.names)?)
}

/// Remove one or more images
///
/// Takes off the name, and with its last name removes the image and the layers that only it has.
/// Exit code 1 means that an image is not there, 2 that one is in use.
#[derive(Args, Debug)]
pub(crate) struct RmiArgs {
    /// Images to remove, by name or ID (can be repeated)
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,

    /// Remove all images
    #[arg(short, long)]
    all: bool,

    /// Remove the containers that use the image too, and an image with several names by its ID
    ///
    /// Through a link named docker containers stay: an image that they use loses its names.
    #[arg(short, long)]
    force: bool,

    /// A missing image is no failure
    #[arg(short, long)]
    ignore: bool,

    /// Keep layers that nothing uses any more, and images without a name that this one was made from
    #[arg(long)]
    no_prune: bool,

    /// Of an image for several platforms, remove only the one for this platform: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM", conflicts_with = "all")]
    platform: Option<Platform>,
}

/// `rmi`.
pub(crate) fn rm(session: &mut Session<'_>, args: RmiArgs) -> anyhow::Result<()> {
    let targets = match (args.images.as_slice(), args.all) {
        ([], false) => return Err(UsageError::new("image name or ID must be specified").into()),
        ([_, ..], true) => {
            return Err(UsageError::new(
                "when using the --all switch, you may not pass any images names or IDs",
            )
            .into());
        }
        (images, false) => images.to_vec(),
        ([], true) => {
            let mut images = session.engine()?.images_and_lists(&Filters::default(), false)?.items;
            images.order_by_key(|image| image.record.stored);
            images.into_iter().map(|image| image.record.id.to_string()).collect()
        }
    };
    let is_docker = session.globals.called.is_docker();
    let mut code = 0;
    for target in &targets {
        match remove(session.engine()?, target, &args, is_docker) {
            Ok(removed) => print_removed(session, &removed)?,
            // docker tells of it all the same.
            Err(err) if err.kind == Kind::NotFound && args.force && is_docker => {
                session.report(err);
            }
            // One of all may have gone with its last child.
            Err(err) if err.kind == Kind::NotFound && (args.force || args.ignore || args.all) => {}
            Err(err) => {
                code = code.max(removal_exit_code(&err));
                session.report(err);
            }
        }
    }
    if !args.no_prune {
        session.engine()?.collect_garbage_later()?;
    }
    session.outcome(code)
}

/// Removes one image, with `--force` after the containers that use it; `is_docker` lets them stay.
fn remove(engine: &Engine, target: &str, args: &RmiArgs, is_docker: bool) -> crate::engine::Result<Removed> {
    let target = &engine.on_platform(target, args.platform.as_ref(), Purpose::Act)?;
    let force = args.force || args.all;
    if is_docker {
        return engine.remove_image_as_docker(target, force, !args.no_prune);
    }
    match engine.remove_image_and(target, force, !args.no_prune) {
        Err(err) if err.kind == Kind::Conflict && args.force => {
            let image = engine.image_for(target, Purpose::Act)?.image;
            let how = Removing { force: true, depend: true, ..Removing::default() };
            engine
                .users_of_image(&image.id)?
                .iter()
                .try_for_each(|user| engine.remove_container(user, &how))?;
            engine.remove_image_and(target, true, !args.no_prune)
        }
        other => other,
    }
}

/// Prints what a removal did.
pub(crate) fn print_removed(session: &mut Session<'_>, removed: &Removed) -> anyhow::Result<()> {
    for name in &removed.untagged {
        writeln!(session.out, "Untagged: {}", session.name_rule().shown(name))?;
    }
    for id in &removed.deleted {
        // docker has a digest here.
        let id = if session.globals.called.is_docker() { id.to_string() } else { id.hex() };
        writeln!(session.out, "Deleted: {id}")?;
    }
    Ok(())
}

/// Remove images that nothing uses
///
/// Removes images without a name that no other image is made from; with --all, every image that no container uses.
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Remove all images that no container uses, not only those without a name
    #[arg(short, long)]
    all: bool,

    /// Remove what builds have kept too, cache mounts included
    #[arg(long)]
    build_cache: bool,

    /// Remove images that half-made containers of a build use too; ketch keeps no such containers
    #[arg(long)]
    external: bool,

    /// Remove only images for which this holds (can be repeated)
    ///
    /// Keys: dangling (false is as --all), label, label!, until.
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// `image prune`.
pub(crate) fn prune(session: &mut Session<'_>, mut args: PruneArgs) -> anyhow::Result<()> {
    args.filter.retain(|text| {
        let is_for_all = text.strip_prefix("dangling=").and_then(truth::parse) == Some(false);
        args.all |= is_for_all;
        !is_for_all
    });
    let filters = Filters::parse(&args.filter, filter::PRUNE_IMAGES)?;
    let which =
        if args.all { "images without at least one container associated to them" } else { "dangling images" };
    if !args.force && !session.confirm(&format!("WARNING! This command removes all {which}."))? {
        return Ok(());
    }
    let pruned = session.engine()?.prune_images(args.all, &filters)?;
    let removed = pruned_images(session.globals.called, &pruned);
    print_pruned(session, "Deleted Images", removed.into_iter(), Some(pruned.bytes))?;
    let mut failed = pruned.failed;
    if args.build_cache {
        let cache = session.engine()?.prune_builds(PruneBuilds { all: true, ..PruneBuilds::default() })?;
        for id in &cache.removed {
            writeln!(session.out, "{id}")?;
        }
        failed.extend(cache.failed);
    }
    session.outcome_of(failed)
}

/// Print the layers of an image as a tree
#[derive(Args, Debug)]
pub(crate) struct TreeArgs {
    /// The image, by name or ID
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Show the images that are made from this one instead of its layers
    #[arg(long)]
    whatrequires: bool,
}

/// `image tree`.
pub(crate) fn tree(session: &mut Session<'_>, args: TreeArgs) -> anyhow::Result<()> {
    let image = session.engine()?.image_details(&args.image)?;
    let id = image.record.id.hex();
    writeln!(session.out, "Image ID: {}", &id[..12])?;
    writeln!(session.out, "Tags:     {}", list(&image.names))?;
    writeln!(session.out, "Size:     {}", size::human(image.record.size_bytes, 4))?;
    let chain = image.record.chain_ids();
    if args.whatrequires {
        return print_required_by(session, &chain);
    }
    writeln!(session.out, "Image Layers")?;
    let all = session.engine()?.images(&Filters::default(), false)?.items;
    for (at, layer) in chain.iter().enumerate() {
        let bytes = session.engine()?.store().layers().get(layer).map_err(Error::from)?.size_bytes;
        let branch = if at + 1 == chain.len() { "└──" } else { "├──" };
        write!(session.out, "{branch} ID: {} Size: {:>7}", &layer.hex()[..12], size::human(bytes, 4))?;
        let tops =
            all.iter().filter(|other| other.record.layers.last().is_some_and(|top| top.chain_id == *layer));
        let names: Vec<ImageRef> = tops.flat_map(|other| other.names.clone()).collect();
        match names.is_empty() {
            true => writeln!(session.out)?,
            false => writeln!(session.out, " Top Layer of: {}", list(&names))?,
        }
    }
    // As podman ends it.
    writeln!(session.out)?;
    Ok(())
}

/// Prints the images whose layers begin with `chain`.
fn print_required_by(session: &mut Session<'_>, chain: &[Digest]) -> anyhow::Result<()> {
    writeln!(session.out, "Image Layers")?;
    let all = session.engine()?.images(&Filters::default(), false)?.items;
    let above: Vec<_> = all
        .iter()
        .filter(|other| {
            other.record.layers.len() > chain.len() && other.record.chain_ids().starts_with(chain)
        })
        .collect();
    for (at, other) in above.iter().enumerate() {
        let branch = if at + 1 == above.len() { "└──" } else { "├──" };
        let bytes = size::human(other.record.size_bytes, 4);
        let id = other.record.id.hex();
        writeln!(
            session.out,
            "{branch} ID: {} Size: {bytes:>7} Top Layer of: {}",
            &id[..12],
            list(&other.names)
        )?;
    }
    writeln!(session.out)?;
    Ok(())
}

/// `[a b]`.
fn list(names: &[ImageRef]) -> String {
    format!("[{}]", names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}
