//! `ketch container runlabel`: runs the command that an image's label holds.

use std::io::Write as _;
use std::process::Command;

use clap::Args;

use crate::cli::NAME;
use crate::cli::progress::Progress;
use crate::cli::pull::RegistryArgs;
use crate::cli::session::{Exit, Session};
use crate::engine::pull::{self, PullEvent, PullPolicy};
use crate::engine::remove::Removing;
use crate::engine::{Engine, Error, Kind, changes};

/// Run the command that a label of an image holds
///
/// In the label IMAGE stands for the image and NAME for the container, $NAME, $IMAGE and $PWD as well; `podman`,
/// `docker` and `ketch` mean this program. The arguments come behind. The image is pulled if it is not here.
#[derive(Args, Debug)]
pub(crate) struct RunlabelArgs {
    /// Only print the command
    #[arg(long)]
    display: bool,

    /// What NAME stands for [default: the last part of the image's name]
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,

    /// Do not print the command, nor how the image is pulled
    #[arg(short, long)]
    quiet: bool,

    /// Remove the container of that name first
    #[arg(long)]
    replace: bool,

    #[command(flatten)]
    registry: RegistryArgs,

    /// The label
    #[arg(value_name = "LABEL")]
    label: String,

    /// The image, by name or ID
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Further arguments of the command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: RunlabelArgs) -> anyhow::Result<Exit> {
    let engine = session.engine()?;
    let found = engine.image(&args.image).or_else(|_| {
        let request = args.registry.request(PullPolicy::Missing, None);
        let progress = Progress::new(args.quiet);
        pull::pull(engine, &args.image, &request, &|event: &PullEvent<'_>| progress.show(event))?;
        engine.image(&args.image)
    })?;
    let Some(text) = found.image.labels.get(&args.label) else {
        let message = format!("cannot find the value of label: {} in image: {}", args.label, args.image);
        return Err(Error::invalid(message).into());
    };
    let image = found.name.as_ref().map_or_else(|| found.image.id.hex(), ToString::to_string);
    let name = args.name.clone().unwrap_or_else(|| last_part(&image));
    let here = std::env::current_dir().unwrap_or_default().display().to_string();
    let mut words: Vec<String> = changes::words(text)
        .iter()
        .map(|word| expand(word, &image, &name, &here))
        .filter(|word| !word.is_empty())
        .collect();
    words.extend(args.arguments.iter().cloned());
    let Some((program, rest)) = words.split_first() else {
        return Err(Error::invalid(format!("label {} of image {} is empty", args.label, args.image)).into());
    };
    let own = is_engine(program);
    let shown = std::iter::once(if own { session.globals.called.name() } else { program })
        .chain(rest.iter().map(String::as_str));
    let shown = shown.collect::<Vec<_>>().join(" ");
    if args.replace && !args.display {
        remove(engine, &name)?;
    }
    if args.display || !args.quiet {
        writeln!(session.out, "command: {shown}")?;
        session.out.flush()?;
    }
    if args.display {
        return Ok(Exit::OK);
    }
    let program = if own { "/proc/self/exe" } else { program };
    let status = Command::new(program).args(rest).env("NAME", &name).env("IMAGE", &image).status();
    match status {
        Ok(status) if status.success() => Ok(Exit::OK),
        Ok(status) => Err(Error::system(format!("`{shown}` failed"), status.to_string()).into()),
        Err(err) => Err(Error::system(format!("`{shown}` failed"), err).into()),
    }
}

/// True for a word that means a container engine, and so this one.
fn is_engine(word: &str) -> bool {
    matches!(word.rsplit('/').next(), Some("podman" | "docker" | NAME))
}

/// `nginx` of `docker.io/library/nginx:latest`.
fn last_part(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split([':', '@']).next().unwrap_or(last).to_owned()
}

/// One word of a label, with what it stands for.
fn expand(word: &str, image: &str, name: &str, here: &str) -> String {
    match word {
        "IMAGE" => return image.to_owned(),
        "NAME" => return name.to_owned(),
        "IMAGE=IMAGE" => return format!("IMAGE={image}"),
        "NAME=NAME" => return format!("NAME={name}"),
        _ => {}
    }
    let mut text = word.to_owned();
    for (key, value) in [("IMAGE", image), ("NAME", name), ("PWD", here)] {
        text = text.replace(&format!("${{{key}}}"), value).replace(&format!("${key}"), value);
    }
    text
}

/// Removes the container of that name, if there is one.
fn remove(engine: &Engine, name: &str) -> Result<(), Error> {
    match engine.container(name) {
        Ok(id) => engine.remove_container(&id, &Removing { force: true, ..Removing::default() }),
        Err(err) if err.kind == Kind::NotFound => Ok(()),
        Err(err) => Err(err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_labels() {
        for (word, want) in [
            ("IMAGE", "docker.io/library/web:1"),
            ("NAME", "w"),
            ("NAME=NAME", "NAME=w"),
            ("--name=$NAME", "--name=w"),
            ("${PWD}/data:/data", "/here/data:/data"),
            ("MYNAME", "MYNAME"),
        ] {
            assert_eq!(expand(word, "docker.io/library/web:1", "w", "/here"), want, "{word}");
        }
        assert_eq!(last_part("docker.io/library/web:1"), "web");
        assert_eq!(last_part("localhost:5000/a/b@sha256:0"), "b");
        assert!(is_engine("/usr/bin/podman") && is_engine("docker") && !is_engine("sh"));
    }
}
