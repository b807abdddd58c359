//! What somebody wants built.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::SignedDuration;

use crate::base::bytes::Bytes;
use crate::base::image_ref::ImageRef;
use crate::base::manifest::Form;
use crate::base::platform::Platform;
use crate::engine::build::cache::{CachePlace, CacheTarget};
use crate::engine::pull::PullRequest;
use crate::engine::request::ContainerRequest;
use crate::engine::save::SaveFormat;

/// A build that somebody wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct BuildRequest {
    /// Where files come from: a path, an address, or `-`.
    pub(crate) context: Bytes,
    /// `-f`, each a path, an address or `-`.
    pub(crate) files: Vec<Bytes>,
    /// Those paths are within the context, and mean no file of the machine.
    pub(crate) files_within: bool,
    /// The build ends when the other side of this socket or pipe is gone.
    pub(crate) hang_up: Option<Arc<OwnedFd>>,
    /// `--ignorefile`.
    pub(crate) ignore_file: Option<PathBuf>,
    /// `--build-context NAME=…`.
    pub(crate) contexts: BTreeMap<String, String>,
    pub(crate) target: Option<String>,
    pub(crate) args: BTreeMap<String, String>,
    /// `--from`: in place of the first base image.
    pub(crate) base: Option<String>,
    pub(crate) platform: Option<Platform>,
    /// Names of the image.
    pub(crate) names: Vec<ImageRef>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// Annotations of the list of several platforms.
    pub(crate) index_annotations: Vec<(String, String)>,
    pub(crate) unset_labels: Vec<String>,
    /// `--env`: variables of each stage, and so of the image.
    pub(crate) env: Vec<String>,
    pub(crate) unset_env: Vec<String>,
    pub(crate) form: Form,
    /// Layers are kept as they are, without compression.
    pub(crate) uncompressed: bool,
    /// `os.version` and `os.features` of the image.
    pub(crate) os_version: Option<String>,
    pub(crate) os_features: Vec<String>,
    /// `--compat-volumes`: what RUN changes in directories of VOLUME is lost.
    pub(crate) discard_in_volumes: bool,
    /// Arguments of the C preprocessor, for Dockerfiles whose name ends in `.in`.
    pub(crate) preprocessor: Vec<String>,
    pub(crate) no_cache: bool,
    /// Steps that were done longer ago are done anew.
    pub(crate) cache_ttl: Option<SignedDuration>,
    /// Caches of elsewhere that are asked, in this order.
    pub(crate) cache_from: Vec<CachePlace>,
    /// Where the steps of this build are kept beside the store.
    pub(crate) cache_to: Vec<CacheTarget>,
    /// What to tell before anything is done.
    pub(crate) notes: Vec<String>,
    /// Stages that are built anew.
    pub(crate) no_cache_filter: Vec<String>,
    /// `--layers=false`: all steps of a stage become one layer.
    pub(crate) single_layer: bool,
    /// `--squash-all`: the base image's layers, too.
    pub(crate) squash_all: bool,
    pub(crate) times: Times,
    pub(crate) omit_history: bool,
    /// `--skip-unused-stages=false`.
    pub(crate) all_stages: bool,
    /// Stages at once.
    pub(crate) jobs: usize,
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// Sockets of agents, by ID.
    pub(crate) agents: BTreeMap<String, PathBuf>,
    pub(crate) pull: PullRequest,
    /// What the containers of RUN have in common: network, limits, volumes …
    pub(crate) container: ContainerRequest,
    /// RUN may ask for `--security=insecure`.
    pub(crate) insecure: bool,
    /// What becomes of the result; nothing said means an image of the store.
    pub(crate) outputs: Vec<Output>,
    /// Files of each platform in a directory of their own; nothing said: where several are built.
    pub(crate) split_platforms: Option<bool>,
}

impl BuildRequest {
    /// True if the result, or one of the results, is an image of the store.
    pub(crate) fn makes_image(&self) -> bool {
        let is_image = |output: &Output| matches!(output, Output::Image | Output::Saved(..));
        self.outputs.is_empty() || self.outputs.iter().any(is_image)
    }
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Secret {
    File(PathBuf),
    Variable(String),
}

/// Which times files and documents have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// No file of a new layer is younger, and the image is as old: seconds since 1970.
    pub(crate) epoch: Option<i64>,
}

/// What becomes of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// An image of the store.
    Image,
    /// The files, in a directory of the host.
    Local(PathBuf),
    /// The files, as a tar archive.
    Tar(PathBuf),
    /// An image of the store, and a copy of it as an archive or an OCI directory.
    Saved(PathBuf, SaveFormat),
    /// Nothing: only that it can be built counts.
    Discard,
}

/// What happens while something is built.
#[derive(Debug)]
pub(crate) enum BuildEvent<'a> {
    Pull(&'a crate::engine::pull::PullEvent<'a>),
    /// A step begins.
    Step(&'a StepName),
    /// It was made by an earlier build.
    Cached(&'a StepName),
    Output(&'a StepName, crate::base::stream::Stream, &'a [u8]),
    /// It is done; the layer it made, if it made one.
    Done(&'a StepName, Option<crate::base::digest::Digest>),
    /// The process of a RUN has ended with another code than 0.
    Failed {
        step: &'a StepName,
        process: &'a str,
        code: i32,
    },
    /// The image is written down.
    Committing(&'a [ImageRef]),
    /// It is: its ID, and the digest of its manifest.
    Made(&'a crate::base::digest::Digest, &'a crate::base::digest::Digest, &'a [ImageRef]),
    Warning(&'a str),
    /// What could be written better.
    Remarks(&'a [crate::base::dockerfile::check::Warning]),
}

/// Which step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StepName {
    /// Counts all steps of a build, in the order in which they are first told.
    pub(crate) serial: usize,
    pub(crate) stage: usize,
    /// How many stages are built, and the place of this one among them; from 1.
    pub(crate) stages: (usize, usize),
    /// Name of the stage, `stage-N` where one of several has none, or empty.
    pub(crate) stage_name: String,
    /// How many steps all stages have, as far as that is known yet.
    pub(crate) total: usize,
    /// Place among the steps of its stage, from 1, and how many those are.
    pub(crate) place: (usize, usize),
    /// The same, as BuildKit counts: only what has to do with files. `None` for the rest.
    pub(crate) file_place: Option<(usize, usize)>,
    /// The instruction.
    pub(crate) text: String,
}
