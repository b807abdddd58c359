//! `buildx imagetools`: looks at images in registries, and puts several of them under one name.

use std::io::Write as _;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use crate::base::digest::Digest;
use crate::base::image_ref::{DOCKER_HUB, ImageName, ImageRef, Purpose, RefError};
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

    /// With create: annotation of the list, `index:` before it or not (can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,

    /// With create: go on with what the name has in its registry
    #[arg(long)]
    append: bool,

    /// Builder: there is one
    #[arg(long, value_name = "NAME")]
    builder: Option<String>,

    /// With create: print the list and push nothing
    #[arg(long)]
    dry_run: bool,

    /// With inspect: print by a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// How progress is shown: auto, plain, tty, or quiet for not at all
    #[arg(long, value_name = "FORM", default_value = "auto", value_parser = ["auto", "plain", "tty", "quiet", "none"])]
    progress: String,

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
    let mut annotations = Vec::new();
    for text in &args.annotation {
        let (key, value) = text.strip_prefix("index:").unwrap_or(text).split_once('=').unwrap_or_default();
        if key.is_empty() || key.contains("manifest") && key.contains(':') {
            let message = format!("--annotation {text:?}: a list takes index:KEY=VALUE");
            return Err(Error::invalid(message).into());
        }
        annotations.push((key.to_owned(), value.to_owned()));
    }
    let remote = args.registry.remote();
    let new = NewList { all: true, replace: true, remote, annotations, ..NewList::default() };
    let engine = session.engine()?;
    let progress = Progress::new(args.dry_run || matches!(args.progress.as_str(), "quiet" | "none"));
    for tag in &args.tag {
        // Checks that it can be a name, too.
        new_name(tag, session.name_rule())?;
        let full = on_registry(tag)?;
        let name = full.to_string();
        let was_there = engine.manifest_list(&name, Purpose::Act).is_ok();
        let mut sources = args.names.clone();
        if args.append {
            // By its digest: the name is to be the new list's.
            let there = engine.inspect_list(&format!("docker://{name}"), &args.registry.remote())?;
            sources.insert(0, format!("{}@{}", full.name(), Digest::of(&there)));
        }
        engine.create_list(&name, &sources, &new, &|event| progress.show(event))?;
        let done = if args.dry_run {
            engine.manifest_list(&name, Purpose::Act).and_then(|list| engine.list_document(&list)).map(Some)
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
