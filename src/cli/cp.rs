//! `ketch cp` and `ketch export`: files out of containers and into them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::base::bytes::Bytes;
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::engine::copy::{Copy, End};
use crate::engine::{Engine, Error, Kind};

/// Copy files between a container and the host
///
/// One of the two, or both, is CONTAINER:PATH; the container need not run. `-` is a tar archive on
/// standard input or output. A directory is copied into a directory that exists, or becomes the target
/// that does not; with `/.` at the end of SOURCE only what is in it is copied. Symbolic links are
/// followed inside the container only.
#[derive(Args, Debug)]
pub(crate) struct CpArgs {
    /// What to copy
    #[arg(value_name = "[CONTAINER:]SOURCE")]
    source: OsString,

    /// Where to
    #[arg(value_name = "[CONTAINER:]TARGET")]
    target: OsString,

    /// Give the files to the user of the container, or of the host, that they are copied to
    #[arg(
        short,
        long,
        default_value_t = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    archive: bool,

    /// Copy what a symbolic link SOURCE points to (always done, but through a link named docker)
    #[arg(short = 'L', long)]
    follow_link: bool,

    /// Say nothing of what goes on (nothing ever is said)
    #[arg(short, long)]
    quiet: bool,

    /// Pause the container meanwhile (docker's and podman's of old; without effect)
    #[arg(long, hide = true)]
    pause: bool,

    /// Let a directory take the place of a file, and the other way round
    #[arg(long)]
    overwrite: bool,
}

/// What a word of the command line means.
enum Word {
    /// `-`
    Stream,
    End(End),
}

/// `cp`.
pub(crate) fn cp(session: &mut Session<'_>, args: CpArgs) -> anyhow::Result<()> {
    let engine = session.engine()?;
    let is_docker = session.globals.called.is_docker();
    // podman follows in any case.
    let how = Copy { chown: args.archive, overwrite: args.overwrite, follow: args.follow_link || !is_docker };
    match (word(engine, &args.source)?, word(engine, &args.target)?) {
        (Word::Stream, Word::End(End::Container(id, path))) => {
            Ok(engine.copy_from_archive(&id, &path, io::stdin().as_fd(), how).map_err(of_stream)?)
        }
        (Word::End(End::Container(id, path)), Word::Stream) => {
            Ok(engine.copy_to_archive(&id, &path, how.follow, stdout()?.as_fd())?)
        }
        (Word::End(End::Container(..)), Word::End(End::Container(..))) if is_docker => {
            Err(Error::invalid("copying between containers is not supported").into())
        }
        (Word::End(from), Word::End(to)) if !matches!((&from, &to), (End::Host(_), End::Host(_))) => {
            engine.copy(&from, &to, how).map_err(|err| {
                let words = if is_docker { in_dockers_words } else { in_podmans_words };
                words(err, &args, &from, &to).into()
            })
        }
        _ if is_docker => Err(Error::invalid("must specify at least one container source").into()),
        _ => {
            let (from, to) = (args.source.display(), args.target.display());
            Err(UsageError::new(format!("invalid arguments {from:?}, {to:?}: one must be CONTAINER:PATH"))
                .into())
        }
    }
}

/// Why files cannot be copied, where docker and podman have words of their own for it.
enum Trouble {
    NoSource,
    /// The target, or what it should be made in, is not there; only with `directory` it was to be one itself.
    NoTarget {
        directory: bool,
    },
    DirectoryToFile,
}

impl Trouble {
    fn of(err: &Error) -> Option<Self> {
        let whole = err.whole();
        let says = |words: &str| whole.contains(words);
        Some(match () {
            () if says("could not be found") => Self::NoSource,
            () if says("cannot copy a directory to a file") => Self::DirectoryToFile,
            () if says("the destination directory must exist") => Self::NoTarget { directory: true },
            () if says("No such file or directory") => Self::NoTarget { directory: false },
            () => return None,
        })
    }
}

/// The container or the path before the colon, as it was typed.
fn typed(word: &OsStr) -> String {
    word.to_string_lossy().split(':').next().unwrap_or_default().to_owned()
}

/// What docker says of a path that is not there, or cannot be meant.
fn in_dockers_words(err: Error, args: &CpArgs, from: &End, to: &End) -> Error {
    let path = |end: &End| match end {
        End::Host(path) | End::Container(_, path) => path.to_string_lossy().into_owned(),
    };
    let missing =
        |path: &str, word: &OsStr| format!("Could not find the file {path} in container {}", typed(word));
    let (source, target) = (path(from), path(to));
    let parent = target.trim_end_matches('/').rsplit_once('/').map_or("/", |(parent, _)| parent);
    let parent = if parent.is_empty() { "/" } else { parent };
    let (message, kind) = match (Trouble::of(&err), from, to) {
        (Some(Trouble::NoSource), End::Container(..), _) => (missing(&source, &args.source), Kind::NotFound),
        (Some(Trouble::NoSource), End::Host(_), _) => {
            (format!("lstat {source}: no such file or directory"), Kind::Invalid)
        }
        (Some(Trouble::DirectoryToFile), ..) => ("cannot copy directory".to_owned(), Kind::Invalid),
        (Some(Trouble::NoTarget { directory: true }), _, End::Container(..)) => {
            ("no such directory".to_owned(), Kind::Invalid)
        }
        (Some(Trouble::NoTarget { .. }), _, End::Container(..)) => {
            (missing(parent, &args.target), Kind::NotFound)
        }
        (Some(Trouble::NoTarget { .. }), _, End::Host(_)) => {
            (format!("invalid output path: directory {parent:?} does not exist"), Kind::Invalid)
        }
        (None, ..) => return err,
    };
    Error::new(kind, message)
}

/// What podman says of it.
fn in_podmans_words(err: Error, args: &CpArgs, from: &End, to: &End) -> Error {
    let (end, word) = match Trouble::of(&err) {
        Some(Trouble::NoSource) => (from, &args.source),
        Some(Trouble::NoTarget { .. }) => (to, &args.target),
        Some(Trouble::DirectoryToFile) => {
            return Error::invalid("destination must be a directory when copying a directory");
        }
        None => return err,
    };
    let (path, place) = match end {
        End::Host(_) => (word.to_string_lossy().into_owned(), "the host".to_owned()),
        End::Container(_, path) => {
            (path.to_string_lossy().into_owned(), format!("container {}", typed(word)))
        }
    };
    Error::invalid(format!("{path:?} could not be found on {place}: no such file or directory"))
}

/// What podman says of an archive that it cannot take, which is docker's users' as well.
fn of_stream(err: Error) -> Error {
    let whole = err.whole();
    match () {
        () if whole.contains("from a stream") => {
            Error::invalid("destination must be a directory when copying from stdin")
        }
        () if whole.contains("layer is corrupt") => {
            Error::invalid("source must be a (compressed) tar archive when copying from stdin").because(whole)
        }
        () => err,
    }
}

/// What `text` means: `container:path` if there is such a container.
fn word(engine: &Engine, text: &OsStr) -> anyhow::Result<Word> {
    let bytes = text.as_bytes();
    if bytes == b"-" {
        return Ok(Word::Stream);
    }
    let is_path = matches!(bytes.first(), Some(b'/' | b'.'));
    if let Some(at) = bytes.iter().position(|&b| b == b':').filter(|at| !is_path && *at > 0) {
        let path = &bytes[at + 1..];
        match std::str::from_utf8(&bytes[..at]).map(|name| engine.container(name)) {
            Ok(Ok(_)) if path.is_empty() => {
                let shown = text.display();
                return Err(
                    UsageError::new(format!("invalid argument {shown:?}: you must specify paths")).into()
                );
            }
            Ok(Ok(id)) => {
                let path = if path.starts_with(b"/") { path.to_vec() } else { [b"/", path].concat() };
                return Ok(Word::End(End::Container(id, Bytes::from(path))));
            }
            // A file of the host may have a colon in its name.
            Ok(Err(err)) if err.kind != Kind::NotFound || !PathBuf::from(text).exists() => {
                return Err(err.into());
            }
            _ => {}
        }
    }
    let path = if bytes.starts_with(b"/") {
        bytes.to_vec()
    } else {
        let here = std::env::current_dir().context("find the working directory")?;
        [here.as_os_str().as_bytes(), b"/", bytes].concat()
    };
    Ok(Word::End(End::Host(Bytes::from(path))))
}

/// Standard output, unless somebody looks at it.
fn stdout() -> anyhow::Result<OwnedFd> {
    if io::stdout().is_terminal() {
        return Err(Error::invalid("refusing to write an archive to a terminal: redirect the output").into());
    }
    io::stdout().as_fd().try_clone_to_owned().context("use standard output")
}

/// Write all files of a container to a tar archive
///
/// Volumes and other mounts are left out.
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// The container, by name or ID
    #[arg(value_name = "CONTAINER")]
    container: String,

    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `export`.
pub(crate) fn export(session: &mut Session<'_>, args: ExportArgs) -> anyhow::Result<()> {
    let engine = session.engine()?;
    let id = engine.container(&args.container)?;
    to_output(args.output, |archive| engine.export(&id, archive))
}

/// Write the files of a volume to a tar archive
#[derive(Args, Debug)]
pub(crate) struct VolumeExportArgs {
    /// The volume's name
    #[arg(value_name = "VOLUME")]
    volume: String,

    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `volume export`.
pub(crate) fn export_volume(session: &mut Session<'_>, args: VolumeExportArgs) -> anyhow::Result<()> {
    let engine = session.engine()?;
    // Before the file is made.
    drop(engine.inspect_volume(&args.volume)?);
    to_output(args.output, |archive| engine.export_volume(&args.volume, archive))
}

/// Unpack a tar archive into a volume
///
/// The archive may be compressed with gzip or zstd.
#[derive(Args, Debug)]
pub(crate) struct VolumeImportArgs {
    /// The volume's name
    #[arg(value_name = "VOLUME")]
    volume: String,

    /// The archive; `-` and nothing mean standard input
    #[arg(value_name = "FILE")]
    source: Option<PathBuf>,
}

/// `volume import`.
pub(crate) fn import_volume(session: &mut Session<'_>, args: VolumeImportArgs) -> anyhow::Result<()> {
    let engine = session.engine()?;
    match args.source.filter(|path| path.as_os_str() != "-") {
        None => Ok(engine.import_volume(&args.volume, io::stdin().as_fd())?),
        Some(path) => {
            let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
            Ok(engine.import_volume(&args.volume, file.as_fd())?)
        }
    }
}

fn to_output(
    output: Option<PathBuf>,
    write: impl FnOnce(BorrowedFd<'_>) -> crate::engine::Result<()>,
) -> anyhow::Result<()> {
    match output {
        None => Ok(write(stdout()?.as_fd())?),
        Some(path) => {
            let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
            Ok(write(file.as_fd())?)
        }
    }
}
