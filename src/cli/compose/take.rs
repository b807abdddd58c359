//! `ketch compose export`, `commit` and `cp`: files and images out of a project's containers.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::base::order::InOrder as _;
use crate::cli::compose::open;
use crate::cli::session::{Exit, Session};
use crate::compose::plan::Actual;
use crate::engine::{Error, Kind};

/// Write the files of a service's container as a tar archive
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// The container of the service with this number
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,

    /// Write to this file and not to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,
}

pub(crate) fn export(session: &mut Session<'_>, args: ExportArgs) -> anyhow::Result<Exit> {
    let project = open::project_or_containers(session, std::slice::from_ref(&args.service))?;
    let container = open::container(session, &project, &args.service, args.index)?;
    let mut words: Vec<OsString> = vec!["export".into()];
    if let Some(path) = args.output {
        words.extend(["--output".into(), path.into()]);
    }
    words.push(container.id.as_str().into());
    open::delegate(session, words)
}

/// Make a new image from what a service's container has changed
#[derive(Args, Debug)]
pub(crate) struct CommitArgs {
    /// Who made the image
    #[arg(short, long, value_name = "AUTHOR")]
    author: Option<String>,

    /// Apply an instruction of a Dockerfile to the image (can be repeated)
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,

    /// The container of the service with this number
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,

    /// A comment for the history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,

    /// Pause the container meanwhile; not supported for one that runs, so it fails
    #[arg(short, long)]
    pause: bool,

    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,

    /// Name of the image
    #[arg(value_name = "IMAGE")]
    image: Option<String>,
}

pub(crate) fn commit(session: &mut Session<'_>, args: CommitArgs) -> anyhow::Result<Exit> {
    let project = open::project_or_containers(session, std::slice::from_ref(&args.service))?;
    let container = open::container(session, &project, &args.service, args.index)?;
    let has_message = args.message.is_some();
    let mut words = vec!["commit".to_owned()];
    for (flag, value) in [("--author", args.author), ("--message", args.message)] {
        words.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
    }
    words.extend(args.change.into_iter().flat_map(|change| ["--change".to_owned(), change]));
    if has_message {
        // Only Docker's form of an image has a place for it.
        words.extend(["--format", "docker"].map(str::to_owned));
    }
    if args.pause {
        words.push("--pause".to_owned());
    }
    words.push(container.id.to_string());
    words.extend(args.image);
    open::delegate(session, words)
}

/// Copy files between a container of a service and here
#[derive(Args, Debug)]
pub(crate) struct CpArgs {
    /// Also from and to containers that `run` has made
    #[arg(long)]
    all: bool,

    /// Keep owners
    #[arg(short, long)]
    archive: bool,

    /// Copy what a symbolic link as the source points to, and not the link; here only, not in a container
    #[arg(short = 'L', long)]
    follow_link: bool,

    /// The container of the service with this number
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,

    /// SERVICE:PATH, or a path here
    #[arg(value_name = "SOURCE")]
    source: String,

    /// SERVICE:PATH, or a path here
    #[arg(value_name = "TARGET")]
    target: String,
}

/// The service and the path of `SERVICE:PATH`.
fn in_service(text: &str) -> Option<(&str, &str)> {
    text.split_once(':').filter(|(service, _)| !service.contains('/') && !service.is_empty())
}

/// The containers that are copied from, the first one, or to: all of a service.
fn chosen(
    session: &Session<'_>,
    args: &CpArgs,
    service: &str,
    is_source: bool,
) -> anyhow::Result<Vec<Actual>> {
    let project = open::project_or_containers(session, &[])?;
    let mut found = open::containers(session, &project, &[service.to_owned()], args.all)?;
    if found.is_empty() {
        return Err(Error::not_found(format!("no container found for service {service:?}")).into());
    }
    if args.index.is_none() && !is_source {
        return Ok(found);
    }
    // The service's own come first.
    found.order_by_key(|container| container.one_off);
    Ok(vec![open::one_of(found, service, args.index)?])
}

pub(crate) fn cp(session: &mut Session<'_>, args: CpArgs) -> anyhow::Result<Exit> {
    let (containers, is_source) = match (in_service(&args.source), in_service(&args.target)) {
        (None, None) => return Err(Error::invalid("unknown copy direction").into()),
        (Some(_), Some(_)) => {
            return Err(Error::invalid("copying between services is not supported").into());
        }
        (Some((service, _)), None) => (chosen(session, &args, service, true)?, true),
        (None, Some((service, _))) => (chosen(session, &args, service, false)?, false),
    };
    if args.follow_link && is_source {
        return Err(Error::new(Kind::Unsupported, "--follow-link: links in a container are not followed")
            .hint("name the file that the link points to")
            .into());
    }
    let source = match args.follow_link {
        true => std::fs::canonicalize(&args.source)
            .map_err(|err| Error::not_found(format!("follow {:?}", args.source)).because(err))?
            .into(),
        false => OsString::from(&args.source),
    };
    let flags = &session.globals.project;
    let is_told = !flags.dry_run && !flags.quiet;
    let named = |text: &str, name: &str| {
        in_service(text).map_or(text.to_owned(), |(_, path)| format!("{name}:{path}"))
    };
    for container in &containers {
        let id = container.id.as_str();
        let mut words: Vec<OsString> = vec!["cp".into()];
        words.extend(args.archive.then(|| "--archive".into()));
        words.push(if is_source { named(&args.source, id).into() } else { source.clone() });
        words.push(named(&args.target, id).into());
        let name = &container.name;
        let told = format!(" {name} copy {} to {}", named(&args.source, name), named(&args.target, name));
        if is_told {
            say!("{told} Copying");
        }
        let exit = open::delegate(session, words)?;
        if exit != Exit::OK {
            return Ok(exit);
        }
        if is_told {
            say!("{told} Copied");
        }
    }
    Ok(Exit::OK)
}
