//! `ketch inspect`: prints everything about containers, images and volumes.

use clap::Args;
use serde_json::Value;

use crate::base::id::ContainerId;
use crate::base::image_ref::{NameRule, Purpose};
use crate::base::platform::Platform;
use crate::cli::format::{self, Format, FormatError, Shape, TEXT_TIMES, docker, json};
use crate::cli::pod::inspect::POD;
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::documents::pruned::prune;
use crate::documents::{container, image, network, volume};
use crate::engine::filter::Filters;
use crate::engine::{Engine, Error, Kind, Result};

/// Print everything about containers, images, volumes, networks or pods
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Containers, images or volumes, by name or ID (can be repeated)
    #[arg(value_name = "OBJECT")]
    objects: Vec<String>,

    /// Print in this form: json, or a Go template
    #[arg(short, long, default_value = "json", value_name = "FORMAT")]
    format: String,

    /// Inspect the container that was created last
    #[arg(short, long, conflicts_with = "objects")]
    latest: bool,

    /// Measure the files of containers too
    #[arg(short, long)]
    size: bool,

    /// What the names mean: all, container, image, network, pod or volume
    #[arg(short = 't', long = "type", default_value = "all", value_name = "TYPE")]
    kind: String,
}

/// Print everything about containers
#[derive(Args, Debug)]
pub(crate) struct ContainerArgs {
    /// Containers, by name or ID (can be repeated)
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,

    /// Print in this form: json, or a Go template
    #[arg(short, long, default_value = "json", value_name = "FORMAT")]
    format: String,

    /// Inspect the container that was created last
    #[arg(short, long, conflicts_with = "containers")]
    latest: bool,

    /// Measure the files of the containers too
    #[arg(short, long)]
    size: bool,
}

/// Print everything about images
#[derive(Args, Debug)]
pub(crate) struct ImageArgs {
    /// Images, by name or ID (can be repeated)
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,

    /// Print in this form: json, or a Go template
    #[arg(short, long, default_value = "json", value_name = "FORMAT")]
    format: String,

    /// Of an image for several platforms, the one for this platform: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
}

/// Print everything about volumes
#[derive(Args, Debug)]
pub(crate) struct VolumeArgs {
    /// Volumes, by name (can be repeated)
    #[arg(value_name = "VOLUME")]
    volumes: Vec<String>,

    /// Inspect all volumes
    #[arg(short, long)]
    all: bool,

    /// Print in this form: json, or a Go template
    #[arg(short, long, default_value = "json", value_name = "FORMAT")]
    format: String,
}

/// What a name can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ObjectKind {
    All,
    Container,
    Image,
    Volume,
    Network,
    Pod,
}

const SHAPE: Shape = Shape {
    command: "inspect",
    type_name: "*define.InspectContainerData",
    headers: &[],
    omit: &[],
    heading: false,
};

/// `inspect`.
pub(crate) fn run(session: &mut Session<'_>, args: InspectArgs) -> anyhow::Result<()> {
    let kind = match args.kind.as_str() {
        "all" => ObjectKind::All,
        "container" => ObjectKind::Container,
        "image" => ObjectKind::Image,
        "volume" => ObjectKind::Volume,
        "network" => ObjectKind::Network,
        "pod" => ObjectKind::Pod,
        other => {
            return Err(UsageError::new(format!(
                "invalid type {other:?}: must be \"image\", \"container\", \"pod\", \"network\", \"volume\", or \"all\""
            ))
            .into());
        }
    };
    let kind = if args.latest { ObjectKind::Container } else { kind };
    inspect(session, kind, args.objects, args.latest, &args.format, args.size)
}

/// `container inspect`.
pub(crate) fn run_container(session: &mut Session<'_>, args: ContainerArgs) -> anyhow::Result<()> {
    inspect(session, ObjectKind::Container, args.containers, args.latest, &args.format, args.size)
}

/// `image inspect`.
pub(crate) fn run_image(session: &mut Session<'_>, args: ImageArgs) -> anyhow::Result<()> {
    let mut images = args.images;
    if args.platform.is_some() {
        for image in &mut images {
            // What is not there at all is told below, with the others.
            match session.engine()?.on_platform(image, args.platform.as_ref(), Purpose::Read) {
                Ok(chosen) => *image = chosen,
                Err(err) if session.engine()?.image(image).is_ok() => return Err(err.into()),
                Err(_) => {}
            }
        }
    }
    inspect(session, ObjectKind::Image, images, false, &args.format, false)
}

/// `volume inspect`.
pub(crate) fn run_volume(session: &mut Session<'_>, args: VolumeArgs) -> anyhow::Result<()> {
    let VolumeArgs { mut volumes, all, format } = args;
    if all != volumes.is_empty() {
        return Err(UsageError::new("provide one or more volume names or use --all").into());
    }
    if all {
        let found = session.engine()?.volumes(&Filters::default())?;
        volumes.extend(found.items.into_iter().map(|volume| volume.name));
        if volumes.is_empty() {
            return print(session, &Format::parse(&format, &SHAPE)?, Vec::new());
        }
    }
    inspect(session, ObjectKind::Volume, volumes, false, &format, false)
}

fn inspect(
    session: &mut Session<'_>,
    kind: ObjectKind,
    mut names: Vec<String>,
    latest: bool,
    format: &str,
    size: bool,
) -> anyhow::Result<()> {
    if latest {
        names.push(session.engine()?.latest_container()?.to_string());
    }
    if names.is_empty() {
        return Err(UsageError::new("no names or ids specified").into());
    }
    // `{{.Src}}` and the like are podman's older names of fields.
    // As with podman and docker, none is the usual one.
    let format = if format.is_empty() { "json" } else { format };
    let format = format.replace("{{.Src}}", "{{.Source}}").replace("{{.Dst}}", "{{.Destination}}");
    let is_docker = session.globals.called.is_docker();
    let format = match Format::parse(&format, &SHAPE) {
        Err(err) if is_docker => {
            session.note(dockers_words(&err));
            return session.outcome(TEMPLATE_IS_BROKEN);
        }
        format => format?,
    };
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for name in &names {
        match document(session.engine()?, kind, name, size) {
            Ok(object) => found.push(object),
            Err(err) => missing.push(err),
        }
    }
    match print(session, &format, found).map_err(anyhow::Error::downcast::<FormatError>) {
        Err(Ok(err)) if is_docker => return Err(Error::invalid(dockers_words(&err)).into()),
        Err(err) => return Err(err.map_or_else(|err| err, Into::into)),
        Ok(()) => {}
    }
    session.outcome_of(missing)
}

/// Docker's exit code for a template that cannot be read.
const TEMPLATE_IS_BROKEN: u8 = 64;

/// To docker, a template of `inspect` has no name.
fn dockers_words(err: &FormatError) -> String {
    let FormatError(text) = err;
    let text = text.replacen("template: inspect:", "template: :", 1);
    let text = text.replacen("executing \"inspect\"", "executing \"\"", 1);
    let missing = text
        .split_once("can't evaluate field ")
        .and_then(|(before, rest)| Some((before, rest.split_once(" in type ")?.0)));
    let text = match missing {
        Some((before, field)) => format!("{before}map has no entry for key {field:?}"),
        None => text,
    };
    format!("template parsing error: {text}")
}

/// podman's name of the type of a container's document.
const CONTAINER: &str = "*define.InspectContainerData";

/// That of an image's.
const IMAGE: &str = "*inspect.ImageData";

/// That of a volume's.
const VOLUME: &str = "*define.InspectVolumeData";

/// That of a network's.
const NETWORK: &str = "types.Network";

/// An object and the fields that its JSON leaves out when they are empty.
struct Object {
    document: Value,
    type_name: &'static str,
    omit: &'static [&'static str],
}

fn print(session: &mut Session<'_>, format: &Format, found: Vec<Object>) -> anyhow::Result<()> {
    if let Format::Json = format {
        let pruned = found.iter().map(|object| prune(&object.document, object.omit)).collect();
        let indent = if session.globals.called.is_docker() { "    " } else { "     " };
        return json::print(session, &json::pretty(&Value::Array(pruned), &[], indent));
    }
    // Columns of `table` are aligned over all objects of a kind.
    let mut rest = found.as_slice();
    while let Some(first) = rest.first() {
        let same = rest.iter().take_while(|object| object.type_name == first.type_name).count();
        let shape = Shape { type_name: first.type_name, omit: first.omit, ..SHAPE };
        let mut rows: Vec<Value> = rest[..same].iter().map(|object| object.document.clone()).collect();
        if [CONTAINER, TEXT_TIMES[0]].contains(&first.type_name) {
            rows.iter_mut().for_each(docker::container);
        }
        if first.type_name == POD {
            rows.iter_mut().for_each(|row| *row = crate::cli::pod::inspect::template_row(row));
        }
        format::print_rows(session, &shape, format, &rows)?;
        rest = &rest[same..];
    }
    Ok(())
}

/// The document about the object of that name. Containers come before images, images before volumes.
fn document(engine: &Engine, kind: ObjectKind, name: &str, size: bool) -> Result<Object> {
    let is_missing = |err: &Error| err.kind == Kind::NotFound;
    let wants = |wanted| kind == ObjectKind::All || kind == wanted;
    let is_docker = engine.name_rule() == NameRule::Docker;
    if wants(ObjectKind::Container) {
        match engine.container(name) {
            Ok(id) => return container_of(engine, &id, name, size, is_docker),
            Err(err) if !is_missing(&err) => return Err(err),
            Err(_) if kind == ObjectKind::Container => {
                return Err(Error::not_found(format!("no such container {name}")));
            }
            Err(_) => {}
        }
    }
    if wants(ObjectKind::Image) {
        match engine.inspect_image(name) {
            Ok(details) => {
                let (document, type_name, omit) = match is_docker {
                    true => (image::whole_docker(engine, &details), TEXT_TIMES[1], image::DOCKERS_OMIT),
                    false => (image::document(engine, &details), IMAGE, image::OMIT),
                };
                return Ok(Object { document, type_name, omit });
            }
            Err(err) if !is_missing(&err) || kind == ObjectKind::Image => return Err(err),
            Err(_) => {}
        }
    }
    if wants(ObjectKind::Volume) {
        match volume_of(engine, name, is_docker) {
            Err(err) if is_missing(&err) && kind == ObjectKind::All => {}
            other => return other,
        }
    }
    if wants(ObjectKind::Network) {
        let network_omit = if is_docker { network::DOCKERS_OMIT } else { &[] };
        let found = match is_docker {
            true => network::whole_docker(engine, name, false),
            false => network::document(engine, name, false),
        };
        match found {
            Err(err) if is_missing(&err) && kind == ObjectKind::All => {}
            other => {
                return other.map(|document| Object { document, type_name: NETWORK, omit: network_omit });
            }
        }
    }
    if wants(ObjectKind::Pod) {
        match crate::cli::pod::inspect::document(engine, name) {
            Err(err) if is_missing(&err) && kind == ObjectKind::All => {}
            other => {
                let omit = crate::cli::pod::inspect::OMIT;
                return other.map(|document| Object { document, type_name: POD, omit });
            }
        }
    }
    Err(Error::not_found(format!("no such object: {name:?}")))
}

fn container_of(
    engine: &Engine,
    id: &ContainerId,
    name: &str,
    size: bool,
    is_docker: bool,
) -> Result<Object> {
    let details = engine.inspect_container(id, name)?;
    let sizes = if size { Some(container::sizes(engine, &details)?) } else { None };
    Ok(match is_docker {
        true => Object {
            document: container::whole_docker(engine, &details, sizes),
            type_name: TEXT_TIMES[0],
            omit: if size { container::DOCKERS_OMIT_BUT_SIZES } else { container::DOCKERS_OMIT },
        },
        false => Object {
            document: container::document(engine, &details, sizes),
            type_name: CONTAINER,
            omit: if size { container::OMIT_BUT_SIZES } else { container::OMIT },
        },
    })
}

fn volume_of(engine: &Engine, name: &str, is_docker: bool) -> Result<Object> {
    let (found, _) = engine.inspect_volume(name).map_err(|err| match err.kind {
        Kind::NotFound => Error::not_found(format!("no such volume {name}")),
        _ => err,
    })?;
    let document = if is_docker { volume::docker(engine, &found) } else { volume::document(engine, &found) };
    Ok(Object { document, type_name: VOLUME, omit: volume::OMIT })
}
