//! Flags of `run` and `create`: where the image comes from.

use clap::Args;

use crate::base::image_ref::{DOCKER_HUB, ImageName, NameRule};
use crate::cli::error::shown;
use crate::cli::progress::Progress;
use crate::cli::pull::{PlatformArgs, RegistryArgs, parse_policy};
use crate::engine::pull::{self, PullPolicy};
use crate::engine::{Engine, Error, Result};

/// Where the image comes from.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Image")]
pub(crate) struct ImageFlags {
    /// When to pull the image: always, missing (the default), never, newer
    #[arg(long, value_name = "POLICY", value_parser = parse_policy)]
    pull: Option<PullPolicy>,

    /// Do not show how the image is pulled
    #[arg(short, long)]
    quiet: bool,

    /// Use a directory as the root file system instead of an image; PATH:O keeps it unchanged
    #[arg(long)]
    pub(super) rootfs: bool,

    #[command(flatten)]
    platform: PlatformArgs,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Gets the image of a pod's infra container, if it is missing. Returns the name it has here if that is not what was typed.
///
/// # Errors
///
/// Those of pulling.
pub(crate) fn obtain_missing(engine: &Engine, image: &str) -> Result<Option<String>> {
    let flags = ImageFlags { pull: Some(PullPolicy::Missing), ..ImageFlags::default() };
    flags.obtain(engine, image)
}

impl ImageFlags {
    /// Gets `image`, as `--pull` says; the built-in one is made. Returns the name it has here if that
    /// is not what was typed.
    ///
    /// # Errors
    ///
    /// Those of pulling.
    pub(super) fn obtain(&self, engine: &Engine, image: &str) -> Result<Option<String>> {
        if engine.obtain_builtin(image)? {
            return Ok(None);
        }
        let configured = engine.conf().engine.pull_policy.as_deref().map(parse_policy).transpose();
        let configured =
            configured.map_err(|err| Error::invalid(format!("containers.conf: pull_policy: {err}")))?;
        let policy = self.pull.or(configured).unwrap_or(PullPolicy::Missing);
        // The usual case costs nothing more than the look-up.
        if policy == PullPolicy::Missing && self.platform.wanted().is_none() && engine.image(image).is_ok() {
            return Ok(None);
        }
        if engine.name_rule() == NameRule::Docker
            && policy == PullPolicy::Missing
            && !self.quiet
            && engine.image(image).is_err()
            && let Ok(name) = image.parse::<ImageName>()
        {
            let name = name.on(DOCKER_HUB).with_default_tag();
            say!("Unable to find image '{}' locally", shown(&name.familiar()));
        }
        let request = self.registry.request(policy, self.platform.wanted());
        let progress = Progress::new(self.quiet);
        let events = |event: &pull::PullEvent<'_>| progress.show(event);
        let pulled = pull::pull(engine, image, &request, &events)?;
        Ok(Some(pulled.name.map_or_else(|| pulled.id.hex(), |name| name.to_string())))
    }
}
