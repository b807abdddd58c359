//! `ketch push`: brings an image to a registry, or into an archive or directory.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::base::digest::Digest;
use crate::base::image_ref::{ImageName, Purpose};
use crate::base::platform::Platform;
use crate::cli::progress::{Look, Progress, parse_look};
use crate::cli::pull::{RegistryArgs, has_default_tag};
use crate::cli::session::Session;
use crate::cli::signing::{EncryptionArgs, SigningArgs};
use crate::engine::Error;
use crate::engine::pull::PullEvent;
use crate::engine::push::{self, LayerFormat, ManifestFormat, PushRequest, Pushed, Wishes};

/// Push an image to a registry, or into an archive or directory
///
/// Blobs that the registry has are not sent again; those of another repository there are taken over by
/// the registry itself. What was pulled goes out byte for byte, so that its digest stays the same,
/// unless another format or compression is asked for.
#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// Image, by name or ID
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Where to, instead of the image's own name: `quay.io/team/app:1`, `oci:DIR[:NAME]`, `oci-archive:FILE[:NAME]`, `docker-archive:FILE[:NAME]` or `dir:DIR`
    #[arg(value_name = "DESTINATION")]
    destination: Option<String>,

    /// Push all images of the index that the name was pulled by
    #[arg(long)]
    all: bool,

    /// Push every name of the repository that IMAGE names without a tag
    #[arg(short, long, conflicts_with_all = ["destination", "digestfile"])]
    all_tags: bool,

    /// Compress layers so: gzip, zstd or zstd:chunked
    ///
    /// Of layers in zstd:chunked podman fetches only the files that it does not have.
    #[arg(long, value_name = "FORMAT", value_parser = parse_compression)]
    compression_format: Option<LayerFormat>,

    /// How much effort compression takes: 1 to 9 for gzip, 1 to 20 for zstd, or below 0 to be faster
    #[arg(long, value_name = "LEVEL", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-7..=22))]
    compression_level: Option<i32>,

    /// Write the digest of what was pushed into this file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,

    /// Compress anew also what is compressed as --compression-format says
    #[arg(long)]
    force_compression: bool,

    /// Form of the manifest: oci or v2s2 (Docker's)
    #[arg(short, long, value_name = "FORMAT", value_parser = parse_format)]
    format: Option<ManifestFormat>,

    /// Push only the image for this platform: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM", conflicts_with_all = ["all", "all_tags"])]
    platform: Option<Platform>,

    /// How to show what goes on: auto, plain, json (one document per line), none
    #[arg(long, default_value = "auto", value_name = "FORM", value_parser = parse_look)]
    progress: Look,

    /// Show nothing of what goes on
    #[arg(short, long)]
    quiet: bool,

    /// Push no signatures of the source; ketch keeps none, so it never does
    #[arg(long)]
    remove_signatures: bool,

    /// With dir: compress layers that are not compressed
    #[arg(long)]
    compress: bool,

    #[command(flatten)]
    registry: RegistryArgs,

    #[command(flatten)]
    signing: SigningArgs,

    #[command(flatten)]
    encryption: EncryptionArgs,
}

pub(crate) fn parse_compression(text: &str) -> Result<LayerFormat, String> {
    LayerFormat::named(text).ok_or_else(|| "choose from: gzip, zstd, zstd:chunked".to_owned())
}

pub(crate) fn parse_format(text: &str) -> Result<ManifestFormat, String> {
    match text {
        "oci" => Ok(ManifestFormat::Oci),
        "v2s2" | "docker" => Ok(ManifestFormat::DockerV2),
        _ => Err("choose from: oci, v2s2".to_owned()),
    }
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: PushArgs) -> anyhow::Result<()> {
    args.encryption.refuse()?;
    let sign = args.signing.key(session)?;
    let is_docker = session.globals.called.is_docker();
    if is_docker {
        tell_where(session, &args)?;
    }
    let engine = session.engine()?;
    let names =
        if args.all_tags { push::names_of_repository(engine, &args.image)? } else { vec![args.image] };
    let mut request = PushRequest {
        by_digest: false,
        image: String::new(),
        destination: args.destination,
        wishes: Wishes {
            format: args.format,
            compression: args.compression_format,
            level: args.compression_level,
            force: args.force_compression,
            compress: args.compress,
        }
        .or_configured(&engine.conf().engine)?,
        all: args.all,
        further: vec![],
        sign,
        remote: args.registry.remote(),
    };
    let progress = Progress::with(if args.quiet { Look::None } else { args.progress });
    let events = |event: &PullEvent<'_>| progress.show(event);
    let mut done = Vec::new();
    for name in names {
        request.image = engine.on_platform(&name, args.platform.as_ref(), Purpose::Act)?;
        if request.image != name && request.destination.is_none() {
            request.destination = Some(engine.full_name(&name)?);
        }
        let pushed = push::push(engine, &request, &events)?;
        write_digest(args.digestfile.as_deref(), &pushed.digest)?;
        done.push(pushed);
    }
    drop(progress);
    for Pushed { digest, there } in done.into_iter().filter(|_| is_docker) {
        // Scripts look for docker's line.
        match &there {
            Some((name, _)) if args.quiet => writeln!(session.out, "{name}")?,
            Some((name, bytes)) if name.tag().is_some() => {
                writeln!(session.out, "{}: digest: {digest} size: {bytes}", name.tag().unwrap_or_default())?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// What docker says first: where to it pushes, and what is missing.
fn tell_where(session: &mut Session<'_>, args: &PushArgs) -> anyhow::Result<()> {
    let Ok(typed) = args.image.parse::<ImageName>() else { return Ok(()) };
    let rule = session.name_rule();
    let repository = typed.on(rule.home()).without_reference();
    if !args.quiet {
        if !args.all_tags && has_default_tag(&args.image) {
            writeln!(session.out, "Using default tag: latest")?;
        }
        writeln!(session.out, "The push refers to repository [{repository}]")?;
    }
    let engine = session.engine()?;
    if engine.manifest_list(&args.image, Purpose::Act).is_ok() {
        return Ok(());
    }
    let known = engine.named_images()?;
    if !known.iter().any(|(name, _)| name.without_reference() == repository) {
        let message = format!("An image does not exist locally with the tag: {}", repository.familiar());
        return Err(Error::not_found(message).into());
    }
    let name = typed.on(rule.home()).with_default_tag();
    if !args.all_tags && name.digest().is_none() && !known.iter().any(|(other, _)| *other == name) {
        return Err(Error::invalid(format!("tag does not exist: {}", name.familiar())).into());
    }
    Ok(())
}

/// Writes the digest of what was pushed into a file, if one was named (`--digestfile`).
pub(crate) fn write_digest(file: Option<&Path>, digest: &Digest) -> anyhow::Result<()> {
    let Some(path) = file else { return Ok(()) };
    std::fs::write(path, digest.to_string()).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_values() {
        assert_eq!(parse_compression("zstd"), Ok(LayerFormat::Zstd));
        assert_eq!(parse_format("v2s2"), Ok(ManifestFormat::DockerV2));
        assert_eq!(parse_compression("zstd:chunked"), Ok(LayerFormat::ZstdChunked));
        assert!(parse_compression("bzip2").is_err() && parse_format("v1").is_err());
    }
}
