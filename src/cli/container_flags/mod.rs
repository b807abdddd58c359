//! The flags of `run` and `create`, and the request they make.
//!
//! One file per group of flags: a clap struct, flattened into [`ContainerFlags`], and a method that fills
//! its part of the [`ContainerRequest`]. Help shows the groups in the order of the fields below.

mod health;
mod identity;
mod image;
mod kept;
mod lifecycle;
pub(crate) mod limits;
mod logging;
pub(crate) mod mounts;
mod namespaces;
mod network;
mod pod;
mod process;
pub(crate) mod security;
mod unsupported;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::base::bytes::Bytes;
use crate::base::order;
use crate::base::size;
pub(crate) use crate::cli::container_flags::health::HealthCheckFlags;
pub(crate) use crate::cli::container_flags::image::obtain_missing;
pub(crate) use crate::cli::container_flags::kept::KeptFds;
pub(crate) use crate::cli::container_flags::lifecycle::labels;
pub(crate) use crate::cli::container_flags::lifecycle::restart as restart_policy;
pub(crate) use crate::cli::container_flags::pod::{InfraFlags, PodChoice, SharedFlags, infra_command};
pub(crate) use crate::cli::container_flags::process::environment;
use crate::engine::request::ContainerRequest;
use crate::engine::{Engine, Error, Result};

/// Flags that describe a container.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct ContainerFlags {
    /// Image, or directory with --rootfs
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) image: OsString,

    /// Command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,

    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,

    #[command(flatten)]
    pub(crate) lifecycle: lifecycle::LifecycleFlags,

    #[command(flatten)]
    pub(crate) process: process::ProcessFlags,

    #[command(flatten)]
    mounts: mounts::MountFlags,

    #[command(flatten)]
    network: network::NetworkFlags,

    #[command(flatten)]
    limits: limits::LimitFlags,

    #[command(flatten)]
    logging: logging::LoggingFlags,

    #[command(flatten)]
    health: health::HealthFlags,

    #[command(flatten)]
    identity: identity::IdentityFlags,

    #[command(flatten)]
    namespaces: namespaces::NamespaceFlags,

    #[command(flatten)]
    pub(crate) pod: pod::PodFlags,

    #[command(flatten)]
    security: security::SecurityFlags,

    #[command(flatten)]
    pub(crate) source: image::ImageFlags,

    #[command(flatten)]
    unsupported: unsupported::UnsupportedFlags,
}

impl ContainerFlags {
    /// Gets the image, as `--pull` says; the built-in one is made. Returns the name it has here if that
    /// is not what was typed: an alias of registries.conf, say.
    ///
    /// # Errors
    ///
    /// Those of pulling.
    pub(crate) fn obtain_image(&self, engine: &Engine) -> Result<Option<String>> {
        match self.image.to_str() {
            Some(image) if !self.source.rootfs => self.source.obtain(engine, image),
            _ => Ok(None),
        }
    }

    /// Takes away what docker lets pass and podman refuses: warnings about that.
    pub(crate) fn take_as_docker(&mut self) -> Vec<&'static str> {
        self.unsupported.take_as_docker();
        self.limits.discard_as_docker()
    }

    /// The request that the flags make. `attached`: a client is there from the start.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; files that cannot be read.
    pub(crate) fn request(&self, attached: bool) -> Result<ContainerRequest> {
        let image = self.image.to_str().filter(|_| !self.source.rootfs).unwrap_or_default().to_owned();
        if image.is_empty() && !self.source.rootfs {
            return Err(Error::invalid(format!("{:?} is no name of an image", self.image)));
        }
        self.unsupported.refuse()?;
        let mut request = ContainerRequest {
            image,
            rootfs: self.source.rootfs.then(|| rootfs(&self.image)),
            command: self.command.iter().map(|word| word.as_os_str().into()).collect(),
            attached,
            create_command: std::env::args_os().map(Bytes::from).collect(),
            ..ContainerRequest::default()
        };
        self.lifecycle.fill(&mut request)?;
        self.process.fill(&mut request)?;
        self.mounts.fill(&mut request)?;
        self.network.fill(&mut request)?;
        self.limits.fill(&mut request)?;
        self.logging.fill(&mut request)?;
        self.health.fill(&mut request);
        self.identity.fill(&mut request)?;
        self.namespaces.fill(&mut request)?;
        self.security.fill(&mut request)?;
        self.pod.fill(&mut request)?;
        Ok(request)
    }
}

/// The content of a file that a flag names (`--env-file`, `--label-file`, `--security-opt seccomp=`).
fn read(path: &Path) -> Result<Vec<u8>> {
    crate::sys::fs::read_named(path).map_err(|err| {
        let verb = if err.kind() == std::io::ErrorKind::FileTooLarge { "read" } else { "open" };
        let mut error = Error::system(format!("{verb} {}", path.display()), err);
        error.kind = crate::engine::Kind::Invalid;
        error
    })
}

/// What editors of Windows put before a text; docker passes over it, too.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// `PATH` or `PATH:O`.
fn rootfs(text: &OsStr) -> (PathBuf, bool) {
    match text.as_bytes().strip_suffix(b":O") {
        Some(path) => (PathBuf::from(OsString::from_vec(path.to_vec())), true),
        None => (PathBuf::from(text), false),
    }
}

fn pairs(texts: &[String], what: &str) -> Result<BTreeMap<String, String>> {
    order::try_map(texts.iter().map(|text| {
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Error::invalid(format!("{what} {text:?}: {what}s must be formatted KEY=VALUE")))?;
        Ok((key.to_owned(), value.to_owned()))
    }))
}

pub(crate) fn bytes(text: &str) -> Result<u64> {
    size::parse(text).map_err(|err| Error::invalid(err.to_string()))
}
