//! `buildx imagetools`: looks at images in registries, and puts several of them under one name.

use std::io::Write as _;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use crate::base::digest::Digest;
use crate::base::image_ref::{DOCKER_HUB, ImageName, ImageRef, RefError};
use crate::cli::format::{self, Format, Shape};
use crate::cli::progress::Progress;
use crate::cli::pull::RegistryArgs;
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::engine::Error;
use crate::engine::image::new_name;
use crate::engine::manifest_list::NewList;
use crate::engine::push::{self, PushRequest};

/// Look at an image in its registry, or make one of several
///
/// `inspect NAME` prints what the registry has under the name. `create -t NAME SOURCE…` pushes a list of the
/// sources' images, which may be of different platforms, under that name.
#[derive(Args, Debug)]
pub(crate) struct ImagetoolsArgs {
    /// inspect or create
    #[arg(value_name = "ACTION", value_parser = ["inspect", "create"])]
    action: String,

    /// The image to look at, or the images of the list
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    /// Builder: there is one
    #[arg(long, value_name = "NAME")]
    builder: Option<String>,

    /// With create: print the list and push nothing
    #[arg(long)]
    dry_run: bool,

    /// With inspect: print by a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// With inspect: print the document as it is
    #[arg(long)]
    raw: bool,

    /// With create: name of the list (can be repeated)
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<String>,

    #[command(flatten)]
    registry: RegistryArgs,
}

const SHAPE: Shape =
    Shape { command: "inspect", type_name: "*imagetools.printer", headers: &[], omit: &[], heading: false };

/// `buildx imagetools`.
pub(crate) fn run(session: &mut Session<'_>, args: ImagetoolsArgs) -> anyhow::Result<()> {
    session.engine()?.builders().find(args.builder.as_deref())?;
    if args.action == "create" { make(session, &args) } else { inspect(session, &args) }
}

fn inspect(session: &mut Session<'_>, args: &ImagetoolsArgs) -> anyhow::Result<()> {
    let [name] = &args.names[..] else {
        return Err(UsageError::new("imagetools inspect takes one name").into());
    };
    let full = on_registry(name)?;
    // What the registry has, whatever this store has under the name.
    let text = session.engine()?.inspect_list(&format!("docker://{full}"), &args.registry.remote())?;
    if args.raw {
        session.out.write_all(&text)?;
        return Ok(());
    }
    let mut document: Value = serde_json::from_slice(&text).context("read the manifest")?;
    let digest = Digest::of(&text).to_string();
    if let Some(format) = &args.format {
        document["digest"] = digest.into();
        document["size"] = text.len().into();
        let row = json!({"Name": full.to_string(), "Manifest": document});
        return match Format::parse(format, &SHAPE)? {
            Format::Json => Ok(writeln!(session.out, "{row:#}")?),
            template => format::print_rows(session, &SHAPE, &template, &[row]),
        };
    }
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    writeln!(
        session.out,
        "Name:      {full}\nMediaType: {}\nDigest:    {digest}",
        word(&document["mediaType"])
    )?;
    let manifests = document["manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !manifests.is_empty() {
        writeln!(session.out, "           \nManifests: ")?;
    }
    let repository = full.name();
    for entry in manifests {
        let platform = ["os", "architecture", "variant"].map(|key| word(&entry["platform"][key]));
        let platform: Vec<String> = platform.into_iter().filter(|part| !part.is_empty()).collect();
        writeln!(
            session.out,
            "  Name:      {repository}@{}\n  MediaType: {}\n  Platform:  {}\n             ",
            word(&entry["digest"]),
            word(&entry["mediaType"]),
            platform.join("/")
        )?;
    }
    Ok(())
}

/// What a name means that is always a registry's: a short one is Docker Hub's.
fn on_registry(typed: &str) -> Result<ImageRef, Error> {
    let name: ImageName = typed.parse().map_err(|err: RefError| Error::invalid(err.to_string()))?;
    Ok(name.on(DOCKER_HUB).with_default_tag())
}

fn make(session: &mut Session<'_>, args: &ImagetoolsArgs) -> anyhow::Result<()> {
    if args.tag.is_empty() {
        return Err(UsageError::new("imagetools create needs a name: -t NAME").into());
    }
    let new = NewList { all: true, replace: true, remote: args.registry.remote(), ..NewList::default() };
    let engine = session.engine()?;
    let progress = Progress::new(args.dry_run);
    for tag in &args.tag {
        // Checks that it can be a name, too.
        new_name(tag)?;
        let name = on_registry(tag)?.to_string();
        let was_there = engine.manifest_list(&name).is_ok();
        engine.create_list(&name, &args.names, &new, &|event| progress.show(event))?;
        let done = if args.dry_run {
            engine.manifest_list(&name).and_then(|list| engine.list_document(&list)).map(Some)
        } else {
            let request =
                PushRequest { image: name.clone(), remote: args.registry.remote(), ..PushRequest::default() };
            push::push(engine, &request, &|event| progress.show(event)).map(|_| None)
        };
        if !was_there {
            engine.remove_list(&name, true)?;
        }
        if let Some(document) = done? {
            session.out.write_all(&document)?;
            writeln!(session.out)?;
            break;
        }
    }
    Ok(())
}
