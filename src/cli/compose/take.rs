//! `ketch compose export`, `commit` and `cp`: files and images out of a project's containers.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::base::order::InOrder as _;
use crate::cli::compose::open;
use crate::cli::session::{Exit, Session};
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

pub(crate) fn cp(session: &mut Session<'_>, args: CpArgs) -> anyhow::Result<Exit> {
    match (in_service(&args.source), in_service(&args.target)) {
        (None, None) => return Err(Error::invalid("unknown copy direction").into()),
        (Some(_), Some(_)) => {
            return Err(Error::invalid("copying between services is not supported").into());
        }
        _ => {}
    }
    let project = open::project_or_containers(session, &[])?;
    let resolve = |session: &Session<'_>, text: &str| -> anyhow::Result<OsString> {
        Ok(match in_service(text) {
            Some((service, path)) => {
                let mut found = open::containers(session, &project, &[service.to_owned()], args.all)?;
                if found.is_empty() {
                    return Err(
                        Error::not_found(format!("no container found for service {service:?}")).into()
                    );
                }
                // The service's own come first.
                found.order_by_key(|container| container.one_off);
                let container = open::one_of(found, service, args.index)?;
                format!("{}:{path}", container.id).into()
            }
            None => text.into(),
        })
    };
    let mut words: Vec<OsString> = vec!["cp".into()];
    if args.archive {
        words.push("--archive".into());
    }
    let source = match (args.follow_link, in_service(&args.source)) {
        (false, _) => resolve(session, &args.source)?,
        (true, None) => std::fs::canonicalize(&args.source)
            .map_err(|err| Error::not_found(format!("follow {:?}", args.source)).because(err))?
            .into(),
        (true, Some(_)) => {
            return Err(Error::new(
                Kind::Unsupported,
                "--follow-link: links in a container are not followed",
            )
            .hint("name the file that the link points to")
            .into());
        }
    };
    words.push(source);
    words.push(resolve(session, &args.target)?);
    open::delegate(session, words)
}
