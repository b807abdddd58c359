//! `ketch diff`: what a container or an image has changed.

use std::io::Write as _;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use crate::base::escape::Escaped;
use crate::cli::format::json;
use crate::cli::session::Session;
use crate::cli::targets::{self, Latest};
use crate::engine::{Engine, Kind};
use crate::runtime::layer::{Change, ChangeKind};

/// Show what a container or an image has changed
///
/// A container is compared with its image, an image with the layer below its topmost one. A stands for
/// added, C for changed, D for deleted.
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// The container or image, by name or ID
    #[arg(value_name = "CONTAINER|IMAGE", required_unless_present = "latest")]
    target: Option<String>,

    /// What to compare it with, instead of the container's image or the layer below
    #[arg(value_name = "CONTAINER|IMAGE", conflicts_with = "latest")]
    other: Option<String>,

    /// Print in this form
    #[arg(long, value_name = "FORMAT")]
    format: Option<FormatArg>,

    #[command(flatten)]
    latest: Latest,
}

/// Show what a container has changed
///
/// A stands for added, C for changed, D for deleted.
#[derive(Args, Debug)]
pub(crate) struct ContainerDiffArgs {
    /// The container, by name or ID
    #[arg(value_name = "CONTAINER", required_unless_present = "latest")]
    container: Option<String>,

    /// Print in this form
    #[arg(long, value_name = "FORMAT")]
    format: Option<FormatArg>,

    #[command(flatten)]
    latest: Latest,
}

/// Show what the topmost layer of an image has changed, or how an image differs from another
///
/// A stands for added, C for changed, D for deleted.
#[derive(Args, Debug)]
pub(crate) struct ImageDiffArgs {
    /// The image, by name or ID
    #[arg(value_name = "IMAGE")]
    image: String,

    /// The image to compare it with
    #[arg(value_name = "IMAGE")]
    other: Option<String>,

    /// Print in this form
    #[arg(long, value_name = "FORMAT")]
    format: Option<FormatArg>,
}

/// `json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    /// One object with the lists changed, added, deleted
    Json,
}

/// `diff`.
pub(crate) fn run(session: &mut Session<'_>, args: DiffArgs) -> anyhow::Result<()> {
    let engine = session.engine()?;
    let changes = match (&args.target, &args.other) {
        (Some(typed), Some(other)) => engine.compare_either(typed, other)?,
        (Some(typed), None) if session.globals.called.is_docker() => {
            engine.container_changes(&engine.container(typed)?)?
        }
        (Some(typed), None) => of_either(engine, typed)?,
        (None, _) => engine.container_changes(&targets::one(session, None, &args.latest)?)?,
    };
    print(session, &changes, args.format)
}

/// `container diff`.
pub(crate) fn container(session: &mut Session<'_>, args: ContainerDiffArgs) -> anyhow::Result<()> {
    let id = targets::one(session, args.container.as_ref(), &args.latest)?;
    let changes = session.engine()?.container_changes(&id)?;
    print(session, &changes, args.format)
}

/// `image diff`.
pub(crate) fn image(session: &mut Session<'_>, args: ImageDiffArgs) -> anyhow::Result<()> {
    let engine = session.engine()?;
    let changes = match &args.other {
        Some(other) => engine.compare_images(&args.image, other)?,
        None => engine.image_changes(&args.image)?,
    };
    print(session, &changes, args.format)
}

/// A container of this name goes before an image.
fn of_either(engine: &Engine, typed: &str) -> crate::engine::Result<Vec<Change>> {
    match engine.container(typed) {
        Ok(id) => engine.container_changes(&id),
        Err(err) if err.kind == Kind::NotFound => {
            engine.image_changes(typed).map_err(|image| match image.kind {
                Kind::NotFound => {
                    crate::engine::Error::not_found(format!("{typed} not found: no such container or image"))
                }
                _ => image,
            })
        }
        Err(err) => Err(err),
    }
}

fn print(session: &mut Session<'_>, changes: &[Change], format: Option<FormatArg>) -> anyhow::Result<()> {
    match format {
        None => {
            for change in changes {
                let path = change.path.to_string_lossy();
                match session.out_is_tty {
                    true => writeln!(session.out, "{} {}", change.kind.letter(), Escaped(&path))?,
                    false => {
                        write!(session.out, "{} ", change.kind.letter())?;
                        session.out.write_all(change.path.as_bytes())?;
                        writeln!(session.out)?;
                    }
                }
            }
            Ok(())
        }
        Some(FormatArg::Json) => {
            let mut document = Map::new();
            for (key, kind) in [
                ("changed", ChangeKind::Changed),
                ("added", ChangeKind::Added),
                ("deleted", ChangeKind::Deleted),
            ] {
                let paths = changes.iter().filter(|change| change.kind == kind);
                let paths: Vec<Value> = paths.map(|change| change.path.to_string_lossy().into()).collect();
                if !paths.is_empty() {
                    document.insert(key.to_owned(), paths.into());
                }
            }
            json::print(session, &json::pretty(&document.into(), &[], "     "))
        }
    }
}
