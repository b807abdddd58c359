//! `ketch load` and `ketch import`: images from archives.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::base::platform::Platform;
use crate::cli::session::Session;
use crate::engine::import::Import;
use crate::engine::load::Origin;
use crate::engine::{Error, Result as EngineResult, image};

/// Load images from an archive or directory
///
/// Takes what `save` of this program, Docker and podman, and skopeo and umoci write: docker-archive,
/// oci-archive (compressed with gzip, zstd, xz or bzip2, or not), oci-dir and docker-dir. Reads standard input unless
/// --input names something.
#[derive(Args, Debug)]
pub(crate) struct LoadArgs {
    /// Read this file or directory
    #[arg(short, long, value_name = "PATH")]
    input: Option<PathBuf>,

    /// Load only images for this platform: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,

    /// Print nothing but the names of the images
    #[arg(short, long)]
    quiet: bool,

    /// Give files whose owners are not in your range of IDs to nobody, instead of refusing the image
    #[arg(long)]
    squash_ids: bool,
}

/// `load`.
pub(crate) fn load(session: &mut Session<'_>, args: LoadArgs) -> anyhow::Result<()> {
    let engine = session.engine()?;
    engine.squash_ids(args.squash_ids);
    let wanted = args.platform.as_ref();
    let loaded = match &args.input {
        Some(path) => {
            let meta = std::fs::metadata(path)
                .map_err(|err| Error::system(format!("open {}", path.display()), err))?;
            if meta.is_dir() {
                engine.load(Origin::Directory(path), None, wanted)?
            } else {
                engine.load(Origin::Archive(Box::new(open(path)?), Some(path)), None, wanted)?
            }
        }
        None => {
            if io::stdin().is_terminal() {
                return Err(Error::invalid(
                    "cannot read from terminal, use command-line redirection or the --input flag",
                )
                .into());
            }
            engine.load(Origin::Archive(Box::new(io::stdin()), None), None, wanted)?
        }
    };
    let place = args.input.as_ref().map_or_else(String::new, |path| path.display().to_string());
    for image in loaded {
        session.engine()?.record_image("loadfromarchive", &image.id.hex(), &place);
        if image.names.is_empty() {
            let what = if session.globals.called.is_docker() { "Loaded image ID" } else { "Loaded image" };
            writeln!(session.out, "{what}: {}", image.id)?;
        }
        for name in image.names {
            writeln!(session.out, "Loaded image: {}", session.name_rule().shown(&name))?;
        }
    }
    Ok(())
}

fn open(path: &Path) -> EngineResult<File> {
    File::open(path).map_err(|err| Error::system(format!("open {}", path.display()), err))
}

/// Make an image from the archive of a root file system
///
/// The archive is a tar, compressed with gzip, zstd, xz or bzip2, or not. Prints the new image's ID.
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// A file, an address (http, https), or - for standard input
    #[arg(value_name = "FILE|URL|-")]
    source: OsString,

    /// Name of the image; without a registry it is put on localhost
    #[arg(value_name = "IMAGE")]
    image: Option<String>,

    /// Apply an instruction of a Dockerfile to the image (can be repeated)
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,

    /// A comment for the history
    #[arg(short, long, default_value = "", value_name = "TEXT")]
    message: String,

    /// Operating system the image is for
    #[arg(long, default_value = "", value_name = "OS")]
    os: String,

    /// Processor the image is for, as Go names it; by default this machine's
    #[arg(long, default_value = "", value_name = "ARCH")]
    arch: String,

    /// Variant of the processor
    #[arg(long, default_value = "", value_name = "VARIANT")]
    variant: String,

    /// The three of them at once, like linux/arm64/v8
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", conflicts_with_all = ["os", "arch", "variant"])]
    platform: Option<Platform>,

    /// Print nothing but the ID
    #[arg(short, long)]
    quiet: bool,
}

/// `import`.
pub(crate) fn import(session: &mut Session<'_>, args: ImportArgs) -> anyhow::Result<()> {
    let names = args
        .image
        .iter()
        .map(|name| image::new_name(name, session.name_rule()))
        .collect::<EngineResult<_>>()?;
    let import = Import {
        names,
        changes: args.change,
        message: args.message,
        platform: args.platform.unwrap_or_else(|| Platform::new(&args.os, &args.arch, &args.variant)),
    };
    let archive: Box<dyn Read + Send> = match args.source.to_str() {
        Some("-") if io::stdin().is_terminal() => {
            return Err(Error::invalid("cannot read from terminal, use command-line redirection").into());
        }
        Some("-") => Box::new(io::stdin()),
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            if !args.quiet {
                session.note(format!("Downloading from {url}"));
            }
            let id = session.engine()?.import_url(url, &import)?;
            writeln!(session.out, "{id}")?;
            return Ok(());
        }
        _ => Box::new(open(Path::new(&args.source))?),
    };
    if !args.quiet && !session.globals.called.is_docker() {
        session.note(format!("Importing {}", args.source.display()));
    }
    let id = session.engine()?.import_image(archive, &import)?;
    writeln!(session.out, "{id}")?;
    Ok(())
}
