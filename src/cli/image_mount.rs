//! `ketch image mount`, `image unmount` and `image scp`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::error::FAILED;
use crate::cli::format::{json as json_format, table::Table};
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::engine::filter::Filters;
use crate::engine::load::Origin;
use crate::engine::save::{Output, Save, SaveFormat};
use crate::engine::{Error, Kind};

/// Mount images read-only
///
/// Without IMAGE, lists what is mounted. Needs the rights to mount: as root, or inside `unshare`, whose mounts
/// end with it.
#[derive(Args, Debug)]
pub(crate) struct MountArgs {
    /// Images to mount, by name or ID (can be repeated)
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,

    /// Mount all images
    #[arg(short, long, conflicts_with = "images")]
    all: bool,

    /// Print in this form
    #[arg(long, value_name = "FORMAT")]
    format: Option<FormatArg>,
}

/// `json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    /// A list of objects with id, Repositories and mountpoint
    Json,
}

/// `image mount`.
pub(crate) fn mount(session: &mut Session<'_>, args: MountArgs) -> anyhow::Result<()> {
    let engine = session.engine()?;
    let wanted = if args.all {
        let images = engine.images(&Filters::default(), false)?.items;
        images.iter().map(|image| image.record.id.hex()).collect()
    } else {
        args.images
    };
    let listing = wanted.is_empty();
    let mut mounted = Vec::new();
    for image in &wanted {
        mounted.push(engine.mount_image(image)?);
    }
    if listing {
        mounted = engine.mounted_images()?;
    }
    let mut rows = Vec::new();
    for one in &mounted {
        let names = engine.names_of_image(&one.id)?;
        let names: Vec<String> = names.iter().map(|name| engine.name_rule().shown(name)).collect();
        rows.push((names, one));
    }
    if args.format == Some(FormatArg::Json) {
        let rows = rows.iter().map(|(names, one)| {
            json!({"id": one.id.hex(), "Repositories": names, "mountpoint": one.path.display().to_string()})
        });
        let rows: Vec<_> = rows.collect();
        return json_format::print_list(session, &rows, &[], " ");
    }
    if let ([one], false) = (&mounted[..], listing) {
        writeln!(session.out, "{}", one.path.display())?;
        return Ok(());
    }
    let mut table = Table::new(session, &[]);
    for (names, one) in rows {
        let name = names.first().cloned().unwrap_or_else(|| one.id.hex()[..12].to_owned());
        table.push(vec![name, one.path.display().to_string()]);
    }
    table.print(session)
}

/// Take the mounts of images away
///
/// Prints the IDs of images that were mounted.
#[derive(Args, Debug)]
pub(crate) struct UnmountArgs {
    /// Images, by name or ID (can be repeated)
    #[arg(value_name = "IMAGE", required_unless_present = "all")]
    images: Vec<String>,

    /// Unmount all that are mounted
    #[arg(short, long)]
    all: bool,

    /// Even if a mount is in use
    #[arg(short, long)]
    force: bool,
}

/// `image unmount`.
pub(crate) fn unmount(session: &mut Session<'_>, args: UnmountArgs) -> anyhow::Result<()> {
    let wanted = if args.all {
        match session.engine()?.mounted_images() {
            Ok(mounted) => mounted.iter().map(|one| one.id.hex()).collect(),
            // Outside of `unshare` nothing can be mounted.
            Err(err) if err.kind == Kind::Unsupported => Vec::new(),
            Err(err) => return Err(err.into()),
        }
    } else {
        args.images
    };
    let mut code = 0;
    for image in &wanted {
        match session.engine()?.unmount_image(image, args.force) {
            Ok(Some(id)) => writeln!(session.out, "{}", id.hex())?,
            Ok(None) => {}
            Err(err) => {
                code = FAILED;
                session.report(err);
            }
        }
    }
    session.outcome(code)
}

/// Copy an image to or from another machine, over ssh
///
/// `image scp IMAGE HOST::` copies to a machine, `image scp HOST::IMAGE` from one; HOST is what ssh takes,
/// and has ketch or podman. USER@localhost is another user of this machine, reached by sudo.
#[derive(Args, Debug)]
pub(crate) struct ScpArgs {
    /// The image, with HOST:: before it if it is elsewhere
    #[arg(value_name = "[HOST::]IMAGE")]
    source: String,

    /// Where to
    #[arg(value_name = "HOST::")]
    target: Option<String>,

    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

/// `image scp`.
pub(crate) fn scp(session: &mut Session<'_>, args: ScpArgs) -> anyhow::Result<()> {
    let target = args.target.as_deref().map(|target| target.split_once("::").unwrap_or((target, "")).0);
    match (args.source.split_once("::"), target) {
        (None, Some(host)) => send(session, &args.source, host, args.quiet),
        (Some((host, image)), None) => receive(session, host, image),
        (Some((from, image)), Some(to)) => {
            receive(session, from, image)?;
            send(session, image, to, args.quiet)
        }
        (None, None) => Err(UsageError::new("one of the two must be on another machine: HOST::").into()),
    }
}

/// What reaches another machine or user, with a command for its shell.
fn remote(host: &str, verb: &str, image: &str) -> Command {
    // The image comes as an argument of that shell and not as text of its script.
    let script = format!(
        "if command -v ketch > /dev/null; then exec ketch {verb} \"$@\"; else exec podman {verb} \"$@\"; fi"
    );
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    match host.strip_suffix("@localhost") {
        Some(user) => {
            let mut command = Command::new("sudo");
            command.args(["-u", user, "-i", "sh", "-c", &script, "sh"]);
            if !image.is_empty() {
                command.arg(image);
            }
            command
        }
        None => {
            let mut command = Command::new("ssh");
            let image = if image.is_empty() { String::new() } else { quoted(image) };
            command.args(["--", host]).arg(format!("sh -c {} sh {image}", quoted(&script)));
            command
        }
    }
}

fn send(session: &mut Session<'_>, image: &str, host: &str, quiet: bool) -> anyhow::Result<()> {
    let engine = session.engine()?;
    let chosen = engine.choose_to_save(image, &[], None)?;
    let mut command = remote(host, "load", "");
    command.stdin(Stdio::piped());
    if quiet {
        command.stdout(Stdio::null());
    }
    let mut child = command.spawn().with_context(|| format!("reach {host}"))?;
    let pipe = child.stdin.take().context("talk to the other machine")?;
    let mut output = Output::new(std::fs::File::from(std::os::fd::OwnedFd::from(pipe)));
    let how = Save { format: SaveFormat::DockerArchive, compress: false, uncompressed: false };
    let saved = engine.save_archive(&[chosen], &how, &mut output);
    drop(output);
    let status = child.wait().with_context(|| format!("wait for {host}"))?;
    // Why it took no more is told by the other side.
    if status.success() {
        Ok(saved?)
    } else {
        Err(Error::system(format!("copy {image} to {host}"), format!("it said {status}")).into())
    }
}

fn receive(session: &mut Session<'_>, host: &str, image: &str) -> anyhow::Result<()> {
    let mut child = remote(host, "save", image)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("reach {host}"))?;
    let pipe = child.stdout.take().context("talk to the other machine")?;
    let loaded = session.engine()?.load(Origin::Archive(Box::new(pipe), None), None, None);
    let status = child.wait().with_context(|| format!("wait for {host}"))?;
    if !status.success() {
        return Err(Error::system(format!("copy {image} from {host}"), format!("it said {status}")).into());
    }
    for image in loaded? {
        for name in image.names {
            writeln!(session.out, "Loaded image: {name}")?;
        }
    }
    Ok(())
}
