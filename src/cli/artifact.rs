//! `ketch artifact`: files under one name, exchanged through registries.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::base::image_ref::ImageName;
use crate::base::size;
use crate::cli::format::{self, Format, Shape, json as json_format, table::Table};
use crate::cli::manifest::parse_pair;
use crate::cli::progress::Progress;
use crate::cli::pull::RegistryArgs;
use crate::cli::push::write_digest;
use crate::cli::session::Session;
use crate::cli::signing::{DecryptionArgs, SigningArgs};
use crate::engine::artifact::{Artifact, NewArtifact};
use crate::engine::pull::PullEvent;
use crate::engine::push::{PushRequest, Wishes, others};

/// Make an artifact of files
///
/// Prints the digest of its manifest.
#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// Name of the artifact
    #[arg(value_name = "ARTIFACT")]
    name: String,

    /// Files (can be repeated)
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,

    /// Set an annotation of the files (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    annotation: Vec<(String, String)>,

    /// What the artifact is, as a media type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
}

/// `artifact add`.
pub(crate) fn add(session: &mut Session<'_>, args: AddArgs) -> anyhow::Result<()> {
    let new = NewArtifact {
        files: args.paths,
        kind: args.kind,
        annotations: args.annotation,
        ..NewArtifact::default()
    };
    let digest = session.engine()?.add_artifact(&args.name, &new)?;
    writeln!(session.out, "{}", digest.hex())?;
    Ok(())
}

/// Print artifacts as JSON
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// The artifact, by name or digest
    #[arg(value_name = "ARTIFACT", required = true)]
    names: Vec<String>,
}

/// `artifact inspect`.
pub(crate) fn inspect(session: &mut Session<'_>, args: InspectArgs) -> anyhow::Result<()> {
    for name in &args.names {
        let artifact = session.engine()?.artifact(name)?;
        let document = json!({
            "Manifest": artifact.manifest,
            "Name": artifact.name,
            "Digest": artifact.digest.to_string(),
        });
        json_format::print(session, &json_format::pretty(&document, &[], "     "))?;
    }
    Ok(())
}

/// List artifacts
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Print in this form: json, or a Go template, after the word "table" with headings
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Do not shorten digests
    #[arg(long)]
    no_trunc: bool,

    /// Print no headings
    #[arg(short, long)]
    noheading: bool,
}

const SHAPE: Shape =
    Shape { command: "ls", type_name: "artifact.artifactListOutput", headers: &[], omit: &[], heading: true };

/// `artifact ls`.
pub(crate) fn ls(session: &mut Session<'_>, args: LsArgs) -> anyhow::Result<()> {
    let shape = Shape { heading: !args.noheading, ..SHAPE };
    let format = args.format.as_deref().map(|text| Format::parse(text, &shape)).transpose()?;
    let rows: Vec<Value> = session.engine()?.artifacts()?.iter().map(|one| row(one, args.no_trunc)).collect();
    match format {
        Some(Format::Json) => json_format::print_list(session, &rows, &[], "    "),
        Some(template) => format::print_rows(session, &shape, &template, &rows),
        None => {
            let heading = ["REPOSITORY", "TAG", "DIGEST", "SIZE"];
            let mut table = Table::new(session, if args.noheading { &[] } else { &heading });
            for row in &rows {
                let cell = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
                table.push(["Repository", "Tag", "Digest", "Size"].map(cell));
            }
            table.print(session)
        }
    }
}

fn row(artifact: &Artifact, no_trunc: bool) -> Value {
    let tag = artifact.name.parse::<ImageName>().ok().and_then(|name| name.tag().map(str::to_owned));
    let repository = match &tag {
        Some(tag) => artifact.name.strip_suffix(&format!(":{tag}")).unwrap_or(&artifact.name),
        None => &artifact.name,
    };
    let hex = artifact.digest.hex();
    json!({
        "Repository": repository,
        "Tag": tag.unwrap_or_default(),
        "Digest": if no_trunc { &hex } else { &hex[..12] },
        "Size": size::human(artifact.size_bytes, 4),
    })
}

/// Get an artifact from a registry
///
/// Prints the digest of its manifest.
#[derive(Args, Debug)]
pub(crate) struct PullArgs {
    /// Name of the artifact, with its registry
    #[arg(value_name = "ARTIFACT")]
    name: String,

    /// Print nothing of what goes on
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    registry: RegistryArgs,

    #[command(flatten)]
    decryption: DecryptionArgs,
}

/// `artifact pull`.
pub(crate) fn pull(session: &mut Session<'_>, args: PullArgs) -> anyhow::Result<()> {
    args.decryption.refuse()?;
    let progress = Progress::new(args.quiet);
    let events = |event: &PullEvent<'_>| progress.show(event);
    let digest = session.engine()?.pull_artifact(&args.name, &args.registry.remote(), &events)?;
    drop(progress);
    writeln!(session.out, "{}", digest.hex())?;
    Ok(())
}

/// Push an artifact to a registry
#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// The artifact, by its name with a registry
    #[arg(value_name = "ARTIFACT")]
    name: String,

    /// Write the digest of what was pushed into this file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,

    /// Print nothing of what goes on
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    registry: RegistryArgs,

    #[command(flatten)]
    signing: SigningArgs,
}

/// `artifact push`.
pub(crate) fn push(session: &mut Session<'_>, args: PushArgs) -> anyhow::Result<()> {
    let sign = args.signing.key(session)?;
    let engine = session.engine()?;
    let artifact = engine.artifact(&args.name)?;
    let request = PushRequest {
        by_digest: false,
        image: artifact.name.clone(),
        destination: None,
        wishes: Wishes::default(),
        all: false,
        further: vec![],
        sign,
        remote: args.registry.remote(),
    };
    let progress = Progress::new(args.quiet);
    let events = |event: &PullEvent<'_>| progress.show(event);
    let pushed = others::push_artifact(engine, &artifact.name, &artifact.digest, &request, &events)?;
    drop(progress);
    write_digest(args.digestfile.as_deref(), &pushed.digest)?;
    writeln!(session.out, "{}", pushed.digest.hex())?;
    Ok(())
}

/// Remove an artifact
///
/// Prints its digest.
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// The artifact, by name or digest
    #[arg(value_name = "ARTIFACT")]
    name: String,
}

/// `artifact rm`.
pub(crate) fn rm(session: &mut Session<'_>, args: RmArgs) -> anyhow::Result<()> {
    let digest = session.engine()?.remove_artifact(&args.name)?;
    writeln!(session.out, "{}", digest.hex())?;
    Ok(())
}
