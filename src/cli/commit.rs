//! `ketch commit`: a new image from a container.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::base::manifest::Form;
use crate::cli::session::Session;
use crate::cli::targets;
use crate::engine::Error;
use crate::engine::commit::{Commit, Pause};

/// Make a new image from what a container has changed
///
/// The image has the layers of the container's own image and one more, and the container's command,
/// environment, user and working directory. What is mounted into the container is not part of it. The
/// container may run. Prints the new image's ID.
#[derive(Args, Debug)]
pub(crate) struct CommitArgs {
    /// The container, by name or ID
    #[arg(value_name = "CONTAINER")]
    container: String,

    /// Name of the image; without a registry it is put on localhost
    #[arg(value_name = "IMAGE")]
    image: Option<String>,

    /// Who made the image
    #[arg(short, long, default_value = "", value_name = "AUTHOR")]
    author: String,

    /// Apply an instruction of a Dockerfile to the image (can be repeated)
    ///
    /// One of CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME,
    /// WORKDIR.
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,

    /// Take settings from this file: a JSON object like the config of an image
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Write manifest and configuration in this form (oci where the configuration says nothing else)
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<FormArg>,

    /// Write the image's ID to this file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,

    /// Make what is mounted as a volume a volume of the image
    #[arg(long)]
    include_volumes: bool,

    /// A comment for the history
    #[arg(short, long, default_value = "", value_name = "TEXT")]
    message: String,

    /// Pause the container meanwhile, if it runs; docker does so if it is not told otherwise
    #[arg(
        short,
        long,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_name = "BOOL"
    )]
    pause: Option<bool>,

    /// Print nothing but the ID
    #[arg(short, long)]
    quiet: bool,

    /// Put everything into one single layer
    #[arg(short, long)]
    squash: bool,
}

/// `oci` or `docker`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormArg {
    /// OCI image-spec
    Oci,
    /// Docker's schema 2
    #[value(alias = "v2s2")]
    Docker,
}

impl From<FormArg> for Form {
    fn from(form: FormArg) -> Self {
        match form {
            FormArg::Oci => Self::Oci,
            FormArg::Docker => Self::Docker,
        }
    }
}

/// `commit`.
pub(crate) fn run(session: &mut Session<'_>, args: CommitArgs) -> anyhow::Result<()> {
    let form = match args.format {
        Some(form) => form.into(),
        None => session.engine()?.conf().engine.default_form()?,
    };
    // Docker's users write a message without a thought of formats: then it stands in the history alone.
    if !args.message.is_empty() && matches!(args.format, Some(FormArg::Oci)) {
        return Err(
            Error::invalid("messages are only compatible with the docker image format (-f docker)").into()
        );
    }
    let target = targets::one(session, Some(&args.container), &targets::Latest { latest: false })?;
    let engine = session.engine()?;
    let names = args
        .image
        .iter()
        .map(|name| crate::engine::image::new_name(name, session.name_rule()))
        .collect::<Result<_, _>>()?;
    let config = match &args.config {
        Some(path) => Some(std::fs::read(path).with_context(|| format!("read {}", path.display()))?),
        None => None,
    };
    let commit = Commit {
        names,
        author: args.author,
        message: args.message,
        changes: args.change,
        config,
        form,
        volumes: args.include_volumes,
        squash: args.squash,
        pause: match args.pause {
            Some(true) => Pause::Surely,
            None if session.globals.called.is_docker() => Pause::IfItCan,
            _ => Pause::Never,
        },
    };
    if !args.quiet && !session.globals.called.is_docker() {
        session.note(format!("Committing container {}", target.short()));
    }
    let id = engine.commit(&target, &commit)?;
    if let Some(path) = &args.iidfile {
        // As podman: without the prefix, which `build --iidfile` has.
        std::fs::write(path, id.hex()).with_context(|| format!("write {}", path.display()))?;
    }
    let id = if session.globals.called.is_docker() { id.to_string() } else { id.hex() };
    writeln!(session.out, "{id}")?;
    Ok(())
}
