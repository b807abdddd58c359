//! `ketch manifest`: images of several platforms under one name.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::base::image_ref::{NameRule, Purpose};
use crate::cli::error::removal_exit_code;
use crate::cli::format::json;
use crate::cli::image::print_removed;
use crate::cli::progress::Progress;
use crate::cli::pull::RegistryArgs;
use crate::cli::push::{parse_compression, parse_format, write_digest};
use crate::cli::session::{Exit, Session};
use crate::cli::signing::SigningArgs;
use crate::engine::artifact::NewArtifact;
use crate::engine::manifest_list::{EntryWishes, NewList};
use crate::engine::pull::PullEvent;
use crate::engine::push::{LayerFormat, ManifestFormat, PushRequest, Wishes, others};
use crate::engine::remote::RemoteOptions;
use crate::engine::{Error, Kind};

/// Reads `key=value`.
pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "not of the form key=value".to_owned())
}

/// How registries are talked to, with docker's word for any certificate.
#[derive(Args, Debug)]
struct InsecureArgs {
    /// Take any certificate, and plain http too: docker's --tls-verify=false
    #[arg(long, conflicts_with = "tls_verify")]
    insecure: bool,

    #[command(flatten)]
    registry: RegistryArgs,
}

impl InsecureArgs {
    fn remote(&self) -> RemoteOptions {
        let mut remote = self.registry.remote();
        if self.insecure {
            remote.tls_verify = Some(false);
        }
        remote
    }
}

/// Make a manifest list
///
/// A list has one name and an image for each platform. Prints the list's ID.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Name of the list; without a registry it is put on localhost
    #[arg(value_name = "LIST")]
    list: String,

    /// Images to add; those that are not here are pulled (can be repeated)
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,

    /// Of an image that was pulled by an index, add all platforms
    #[arg(long)]
    all: bool,

    /// Go on with the list if there is one of this name
    #[arg(short, long)]
    amend: bool,

    /// Set an annotation of the list (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    annotation: Vec<(String, String)>,

    #[command(flatten)]
    registry: InsecureArgs,
}

/// `manifest create`.
pub(crate) fn create(session: &mut Session<'_>, args: CreateArgs) -> anyhow::Result<()> {
    let new = NewList {
        all: args.all,
        amend: args.amend,
        replace: false,
        annotations: args.annotation,
        remote: args.registry.remote(),
    };
    let progress = Progress::new(true);
    let events = |event: &PullEvent<'_>| progress.show(event);
    let id = session.engine()?.create_list(&args.list, &args.images, &new, &events)?;
    match session.globals.called.is_docker() {
        true => {
            let name = crate::engine::image::new_name(&args.list, NameRule::Docker)?;
            writeln!(session.out, "Created manifest list {name}")?;
        }
        false => writeln!(session.out, "{}", id.hex())?,
    }
    Ok(())
}

/// What to say of an entry.
#[derive(Args, Debug)]
pub(crate) struct EntryArgs {
    /// Set an annotation of the entry (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    annotation: Vec<(String, String)>,

    /// Say that it is for this processor, as Go names it
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,

    /// Say that it needs these features of the processor (can be repeated)
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    features: Vec<String>,

    /// Say that it is for this operating system
    #[arg(long, value_name = "OS")]
    os: Option<String>,

    /// Say that it needs these features of the operating system (can be repeated)
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    os_features: Vec<String>,

    /// Say that it needs this version of the operating system
    #[arg(long, value_name = "VERSION")]
    os_version: Option<String>,

    /// Say that it is for this variant of the processor
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,
}

impl From<EntryArgs> for EntryWishes {
    fn from(args: EntryArgs) -> Self {
        Self {
            annotations: args.annotation,
            arch: args.arch,
            os: args.os,
            variant: args.variant,
            os_version: args.os_version,
            features: args.features,
            os_features: args.os_features,
        }
    }
}

/// Add images to a manifest list
///
/// Images that are not here are pulled. Prints the list's ID.
#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// The list
    #[arg(value_name = "LIST")]
    list: String,

    /// Images to add, by name or ID (can be repeated)
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,

    /// Of an image that was pulled by an index, add all platforms
    #[arg(long)]
    all: bool,

    /// The arguments are files: add them as one artifact
    #[arg(long, conflicts_with = "all")]
    artifact: bool,

    /// Configuration of the artifact, instead of an empty one
    #[arg(long, value_name = "FILE", requires = "artifact")]
    artifact_config: Option<PathBuf>,

    /// Media type of the artifact's configuration
    #[arg(long, value_name = "TYPE", requires = "artifact")]
    artifact_config_type: Option<String>,

    /// Do not write down the names of the artifact's files
    #[arg(long, requires = "artifact")]
    artifact_exclude_titles: bool,

    /// Media type of the artifact's files
    #[arg(long, value_name = "TYPE", requires = "artifact")]
    artifact_layer_type: Option<String>,

    /// The image that the artifact is about
    #[arg(long, value_name = "IMAGE", requires = "artifact")]
    artifact_subject: Option<String>,

    /// What the artifact is, as a media type
    #[arg(long, value_name = "TYPE", requires = "artifact")]
    artifact_type: Option<String>,

    #[command(flatten)]
    entry: EntryArgs,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// `manifest add`.
pub(crate) fn add(session: &mut Session<'_>, args: AddArgs) -> anyhow::Result<()> {
    let new = NewList { all: args.all, remote: args.registry.remote(), ..NewList::default() };
    let progress = Progress::new(true);
    let events = |event: &PullEvent<'_>| progress.show(event);
    let wishes = args.entry.into();
    let engine = session.engine()?;
    let id = if args.artifact {
        let artifact = NewArtifact {
            files: args.images.iter().map(PathBuf::from).collect(),
            kind: args.artifact_type,
            config: args.artifact_config,
            config_type: args.artifact_config_type,
            layer_type: args.artifact_layer_type,
            subject: args.artifact_subject,
            no_titles: args.artifact_exclude_titles,
            annotations: vec![],
        };
        engine.add_artifact_to_list(&args.list, &artifact, &wishes)?
    } else {
        engine.add_to_list(&args.list, &args.images, &new, &wishes, &events)?
    };
    writeln!(session.out, "{}", id.hex())?;
    Ok(())
}

/// Change what a manifest list says of an image
#[derive(Args, Debug)]
pub(crate) struct AnnotateArgs {
    /// The list
    #[arg(value_name = "LIST")]
    list: String,

    /// The image, by name, ID or the digest of its manifest
    #[arg(value_name = "IMAGE", required_unless_present = "index")]
    image: Option<String>,

    /// Set the annotations of the list itself
    #[arg(long)]
    index: bool,

    /// Make the list refer to this image as its subject
    #[arg(long, value_name = "IMAGE")]
    subject: Option<String>,

    #[command(flatten)]
    entry: EntryArgs,
}

/// `manifest annotate`.
pub(crate) fn annotate(session: &mut Session<'_>, args: AnnotateArgs) -> anyhow::Result<()> {
    let image = args.image.as_deref().filter(|_| !args.index);
    let wishes = args.entry.into();
    let id = session.engine()?.annotate_list(&args.list, image, &wishes, args.subject.as_deref())?;
    if session.globals.called.is_docker() {
        return Ok(());
    }
    writeln!(session.out, "{}", id.hex())?;
    Ok(())
}

/// Check whether a manifest list exists
///
/// Prints nothing; exit code 0 means yes, 1 no.
#[derive(Args, Debug)]
pub(crate) struct ExistsArgs {
    /// The list
    #[arg(value_name = "LIST")]
    list: String,
}

/// `manifest exists`.
pub(crate) fn exists(session: &mut Session<'_>, args: ExistsArgs) -> anyhow::Result<Exit> {
    Exit::of_existence(session.engine()?.manifest_list(&args.list, Purpose::Read))
}

/// Print a manifest list, or the index or manifest of an image
///
/// Of what is not here, the one that the registry has.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// The list or image
    #[arg(value_name = "LIST|IMAGE")]
    list: String,

    /// Print each manifest with its layers, its descriptor and what it is for
    #[arg(short, long)]
    verbose: bool,

    #[command(flatten)]
    registry: InsecureArgs,
}

/// `manifest inspect`.
pub(crate) fn inspect(session: &mut Session<'_>, args: InspectArgs) -> anyhow::Result<()> {
    let remote = args.registry.remote();
    if args.verbose {
        let document = session.engine()?.inspect_list_fully(&args.list, &remote)?;
        return json::print(session, &json::pretty(&document, &[], "    "));
    }
    let text = session.engine()?.inspect_list(&args.list, &remote)?;
    let document = serde_json::from_slice(&text).context("read the manifest list")?;
    json::print(session, &json::pretty(&document, &[], "    "))
}

/// Push a manifest list and its images to a registry
#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// The list
    #[arg(value_name = "LIST")]
    list: String,

    /// Where to, like quay.io/team/app:1, instead of the list's own name
    #[arg(value_name = "DESTINATION")]
    destination: Option<String>,

    /// Push the images of the list too
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    all: bool,

    /// Compress layers so: gzip, zstd or zstd:chunked
    #[arg(long, value_name = "FORMAT", value_parser = parse_compression)]
    compression_format: Option<LayerFormat>,

    /// How much effort compression takes: 1 to 9 for gzip, 1 to 20 for zstd, or below 0 to be faster
    #[arg(long, value_name = "LEVEL", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-7..=22))]
    compression_level: Option<i32>,

    /// Push the images in this further compression, too, beside what they have (can be repeated)
    #[arg(long, value_name = "FORMAT", value_delimiter = ',', value_parser = parse_compression)]
    add_compression: Vec<LayerFormat>,

    /// Compress anew also what is compressed as --compression-format says
    #[arg(long)]
    force_compression: bool,

    /// Write the digest of what was pushed into this file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,

    /// Form of the list: oci or v2s2 (Docker's)
    #[arg(short, long, value_name = "FORMAT", value_parser = parse_format)]
    format: Option<ManifestFormat>,

    /// Print nothing of what goes on
    #[arg(short, long)]
    quiet: bool,

    /// Push no signatures; ketch keeps none, so it never does
    #[arg(long)]
    remove_signatures: bool,

    /// Remove the list after it was pushed
    #[arg(long, short_alias = 'p', visible_alias = "purge")]
    rm: bool,

    #[command(flatten)]
    registry: InsecureArgs,

    #[command(flatten)]
    signing: SigningArgs,
}

/// `manifest push`.
pub(crate) fn push(session: &mut Session<'_>, args: PushArgs) -> anyhow::Result<()> {
    let sign = args.signing.key(session)?;
    let engine = session.engine()?;
    let list = engine.manifest_list(&args.list, Purpose::Act)?;
    let configured = &engine.conf().engine.add_compression;
    let further = match args.add_compression.is_empty() {
        true => configured
            .iter()
            .map(|text| LayerFormat::configured("add_compression", text))
            .collect::<Result<_, _>>()?,
        false => args.add_compression,
    };
    let request = PushRequest {
        by_digest: false,
        image: args.list,
        destination: args.destination,
        wishes: Wishes {
            format: args.format,
            compression: args.compression_format,
            level: args.compression_level,
            force: args.force_compression,
            compress: false,
        }
        .or_configured(&engine.conf().engine)?,
        all: args.all,
        further,
        sign,
        remote: args.registry.remote(),
    };
    let progress = Progress::new(args.quiet);
    let events = |event: &PullEvent<'_>| progress.show(event);
    let pushed = others::push_list(engine, &list, &request, &events)?;
    drop(progress);
    if args.rm {
        engine.remove_list(&list.name, true)?;
    }
    write_digest(args.digestfile.as_deref(), &pushed.digest)?;
    writeln!(session.out, "{}", pushed.digest)?;
    Ok(())
}

/// Remove an image from a manifest list
#[derive(Args, Debug)]
pub(crate) struct RemoveArgs {
    /// The list
    #[arg(value_name = "LIST")]
    list: String,

    /// The digest of the image's manifest, or a local image
    #[arg(value_name = "DIGEST")]
    digest: String,
}

/// `manifest remove`.
pub(crate) fn remove(session: &mut Session<'_>, args: RemoveArgs) -> anyhow::Result<()> {
    let id = session.engine()?.remove_from_list(&args.list, &args.digest)?;
    writeln!(session.out, "{}", id.hex())?;
    Ok(())
}

/// Remove manifest lists; their images stay
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// Lists to remove (can be repeated)
    #[arg(value_name = "LIST", required = true)]
    lists: Vec<String>,

    /// A missing list is no failure
    #[arg(short, long)]
    ignore: bool,
}

fn unknown(list: &str) -> Error {
    Error::not_found(format!("{list}: image not known"))
}

/// `manifest rm`.
pub(crate) fn rm(session: &mut Session<'_>, args: RmArgs) -> anyhow::Result<()> {
    let mut code = 0;
    for list in &args.lists {
        let removed = session.engine()?.remove_list(list, true);
        match removed.and_then(|removed| removed.ok_or_else(|| unknown(list))) {
            Ok(removed) => print_removed(session, &removed)?,
            Err(err) if err.kind == Kind::NotFound && args.ignore => {}
            Err(err) => {
                code = code.max(removal_exit_code(&err));
                session.report(err);
            }
        }
    }
    session.engine()?.collect_garbage()?;
    session.outcome(code)
}
