//! `ketch pod …`: pods, containers that share namespaces.

pub(crate) mod act;
pub(crate) mod clone;
pub(crate) mod create;
pub(crate) mod inspect;
pub(crate) mod logs;
pub(crate) mod ps;
pub(crate) mod stats;
pub(crate) mod top;

use std::path::{Path, PathBuf};

use clap::Args;

use crate::base::pod::PodId;
use crate::cli::session::{Exit, Session};
use crate::cli::targets::id_file;
use crate::cli::usage::UsageError;
use crate::engine::filter::Filters;
use crate::engine::{self, Engine, Error};

/// Check whether a pod exists
///
/// Prints nothing; exit code 0 means yes, 1 no, 125 that it cannot be told.
#[derive(Args, Debug)]
pub(crate) struct ExistsArgs {
    /// The pod, by name or ID
    #[arg(value_name = "POD")]
    pod: String,
}

/// `pod exists`.
pub(crate) fn exists(session: &mut Session<'_>, args: ExistsArgs) -> anyhow::Result<Exit> {
    Exit::of_existence(session.engine()?.pod(&args.pod))
}

/// `--latest`.
#[derive(Args, Debug)]
pub(crate) struct LatestPod {
    /// Act on the pod that was created last
    #[arg(short, long)]
    pub(crate) latest: bool,
}

/// `--all`, `--latest`.
#[derive(Args, Debug)]
pub(crate) struct ManyPods {
    /// Act on all pods
    #[arg(short, long)]
    all: bool,

    #[command(flatten)]
    latest: LatestPod,
}

/// The one pod of a verb that takes one: by name, or the latest.
///
/// # Errors
///
/// If there is no such pod.
pub(crate) fn one(engine: &Engine, name: Option<&str>) -> engine::Result<PodId> {
    name.map_or_else(|| engine.latest_pod(), |name| engine.pod(name))
}

/// Which pods a verb acts on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PodSelection<'a> {
    pub(crate) names: &'a [String],
    pub(crate) all: bool,
    pub(crate) latest: bool,
    pub(crate) id_files: &'a [PathBuf],
}

impl<'a> PodSelection<'a> {
    /// Names and the flags for many.
    pub(crate) fn of_many(names: &'a [String], many: &ManyPods) -> Self {
        Self { names, all: many.all, latest: many.latest.latest, id_files: &[] }
    }

    /// The pods, each as the user named it. One that is missing is an error beside its name.
    ///
    /// # Errors
    ///
    /// If it is said in none, or in several ways that exclude each other; if a file cannot be read.
    pub(crate) fn targets(&self, engine: &Engine) -> anyhow::Result<Vec<(String, engine::Result<PodId>)>> {
        let by_name = !self.names.is_empty() || !self.id_files.is_empty();
        let refuse = |message: &str| Err(UsageError::new(message).into());
        match (self.all, self.latest) {
            (true, true) => return refuse("--all and --latest cannot be used together"),
            (true, false) if by_name => return refuse("no arguments are needed with --all"),
            (false, true) if by_name => return refuse("--latest and pods cannot be used together"),
            (false, false) if !by_name => return refuse("you must provide at least one name or id"),
            _ => {}
        }
        if self.all {
            let pods = engine.pods(&Filters::default())?.items.into_iter().rev();
            return Ok(pods.map(|pod| (pod.record.id.to_string(), Ok(pod.record.id))).collect());
        }
        if self.latest {
            let id = engine.latest_pod()?;
            return Ok(vec![(id.to_string(), Ok(id))]);
        }
        let mut names = self.names.to_vec();
        for file in self.id_files {
            names.push(pod_id_in(file)?);
        }
        Ok(names.into_iter().map(|name| (name.clone(), engine.pod(&name))).collect())
    }
}

/// The ID that a file holds (`--pod-id-file`).
pub(crate) fn pod_id_in(file: &Path) -> engine::Result<String> {
    id_file(file).map_err(|err| Error::system(format!("reading pod ID file: open {}", file.display()), err))
}
