//! `ketch save`: images as archives.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::base::platform::Platform;
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::engine::Error;
use crate::engine::save::{Output, Save, SaveFormat};

/// Save images to an archive or directory
///
/// Writes to standard output unless --output names something. Further arguments are further names of the
/// image in the archive; with --multi-image-archive, or through a link named docker, they are further images.
#[derive(Args, Debug)]
pub(crate) struct SaveArgs {
    /// The image, by name or ID
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Further names, or images (can be repeated)
    #[arg(value_name = "NAME|IMAGE")]
    further: Vec<String>,

    /// With docker-dir: compress layers that are not
    #[arg(long)]
    compress: bool,

    /// The form of the archive
    #[arg(long, default_value = "docker-archive", value_name = "FORMAT")]
    format: FormatArg,

    /// Save several images
    #[arg(short, long)]
    multi_image_archive: bool,

    /// Write to this file or directory
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// Of an image for several platforms, the one for this platform: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,

    /// Print no progress
    #[arg(short, long)]
    quiet: bool,

    /// With oci-archive and oci-dir: leave layers uncompressed that are
    #[arg(long)]
    uncompressed: bool,
}

/// The forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    /// Docker's, which everything reads
    DockerArchive,
    /// A tar of an OCI layout
    OciArchive,
    /// An OCI layout
    OciDir,
    /// Blobs and manifest in one directory: skopeo's dir
    DockerDir,
}

impl From<FormatArg> for SaveFormat {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::DockerArchive => Self::DockerArchive,
            FormatArg::OciArchive => Self::OciArchive,
            FormatArg::OciDir => Self::OciDir,
            FormatArg::DockerDir => Self::DockerDir,
        }
    }
}

/// `save`.
pub(crate) fn run(session: &mut Session<'_>, args: SaveArgs) -> anyhow::Result<()> {
    let is_dir = matches!(args.format, FormatArg::OciDir | FormatArg::DockerDir);
    if is_dir && args.output.is_none() {
        return Err(UsageError::new("--format oci-dir and docker-dir need --output DIRECTORY").into());
    }
    if args.compress && args.format != FormatArg::DockerDir {
        return Err(UsageError::new("--compress can only be set when --format is 'docker-dir'").into());
    }
    let engine = session.engine()?;
    // docker's words are images, all of them.
    let several = args.multi_image_archive
        || engine.conf().engine.multi_image_archive
        || session.globals.called.is_docker();
    let images = if several {
        let all: Vec<String> = std::iter::once(&args.image).chain(&args.further).cloned().collect();
        engine.choose_several(&all, args.platform.as_ref())?
    } else {
        vec![engine.choose_to_save(&args.image, &args.further, args.platform.as_ref())?]
    };
    if !several {
        let id = |name: &String| engine.image(name).ok().map(|found| found.image.id);
        let saved = id(&args.image);
        let is_other = |name: &&String| id(name).is_some_and(|id| saved != Some(id));
        for name in args.further.iter().filter(is_other) {
            session.warn(format!(
                "{name} is not saved: it becomes a name of {} in the archive; to save both give --multi-image-archive",
                args.image
            ));
        }
    }
    let how = Save { format: args.format.into(), compress: args.compress, uncompressed: args.uncompressed };
    let saved = match &args.output {
        Some(path) if is_dir => Ok(engine.save_directory(&images, &how, path)?),
        Some(path) => to_file(path, |output| Ok(engine.save_archive(&images, &how, output)?)),
        None if io::stdout().is_terminal() => {
            Err(Error::invalid("refusing to save to terminal. Use -o flag or redirect").into())
        }
        None => {
            let stdout = io::stdout().as_fd().try_clone_to_owned().context("use standard output")?;
            Ok(engine.save_archive(&images, &how, &mut Output::new(File::from(stdout)))?)
        }
    };
    saved?;
    let place = args.output.as_ref().map_or_else(String::new, |path| path.display().to_string());
    for image in std::iter::once(&args.image).chain(&args.further) {
        // It may have been removed meanwhile.
        if let Ok(found) = engine.image(image) {
            engine.record_image("save", &found.image.id.hex(), &place);
        }
    }
    Ok(())
}

/// Writes a file that appears when it is whole; what is no regular file is written in place.
fn to_file(path: &Path, write: impl FnOnce(&mut Output<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let shown = path.display();
    let is_special = std::fs::metadata(path).is_ok_and(|meta| !meta.is_file());
    if is_special {
        let file = File::options().write(true).open(path).with_context(|| format!("open {shown}"))?;
        return write(&mut Output::new(file));
    }
    let name = path.file_name().with_context(|| format!("{shown} names no file"))?;
    let mut staged = std::ffi::OsString::from(".");
    staged.push(name);
    staged.push(format!(".{}", std::process::id()));
    let staged = path.with_file_name(staged);
    let file = File::create(&staged).with_context(|| format!("create {shown}"))?;
    let done = write(&mut Output::new(file))
        .and_then(|()| std::fs::rename(&staged, path).with_context(|| format!("write {shown}")));
    if done.is_err() {
        // The first failure is the one to report.
        std::fs::remove_file(&staged).ok();
    }
    done
}
