//! `ketch build`, `buildx` and `builder`.
//!
//! Output is podman's: `STEP i/n` lines and what RUN writes go to standard output, the image's ID is its
//! last line, so that `id=$(ketch build -q .)` and scripts that take the last line work. `--progress=plain`
//! is BuildKit's form (`#1 …` on standard error), a terminal gets the steps that run at the bottom.

mod attest;
mod bake;
mod bake_file;
mod buildx;
mod call;
mod flags;
mod imagetools;
mod output;
mod progress;
mod prune;
mod refused;
mod several;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::base::manifest::Form;
use crate::base::platform::Platform;
use crate::cli::build::attest::AttestFlags;
use crate::cli::build::call::Call;
use crate::cli::build::flags::{ImageFlags, RunFlags, SourceFlags};
use crate::cli::build::output::CacheFlags;
use crate::cli::build::progress::{Mode, Show};
use crate::cli::build::refused::RefusedFlags;
use crate::cli::build::several::BuildPlatforms;
use crate::cli::error::{AlreadyReported, FAILED};
use crate::cli::pull::RegistryArgs;
use crate::cli::session::{Exit, Session};
use crate::engine::build::request::{BuildRequest, Output};
use crate::engine::build::{self, Built};
use crate::engine::pull::PullPolicy;
use crate::engine::push::{self, PushRequest};
use crate::engine::{Engine, Error};

pub(crate) use bake::{BakeArgs, bake};
pub(crate) use buildx::{
    BuildxCreateArgs, BuildxDuArgs, BuildxInspectArgs, BuildxLsArgs, BuildxRmArgs, BuildxStopArgs,
    BuildxUseArgs, BuildxVersionArgs, choose, create, du, inspect, ls, rm, stop, version,
};
pub(crate) use imagetools::{ImagetoolsArgs, run as imagetools};
pub(crate) use prune::{PruneArgs, prune};

/// Build an image from a Containerfile or Dockerfile
///
/// CONTEXT is a directory (the current one if nothing is said), a tar archive, the address of one or of a git
/// repository (ADDRESS#REF:DIRECTORY), or `-` for an archive or a Dockerfile on standard input. Steps that
/// an earlier build has done are taken from its cache. The last line of output is the image's ID.
#[derive(Args, Debug)]
pub(crate) struct BuildArgs {
    /// Where files come from
    #[arg(value_name = "CONTEXT")]
    context: Option<OsString>,

    #[command(flatten)]
    source: SourceFlags,

    #[command(flatten)]
    image: ImageFlags,

    /// Privileges that RUN --security and --network may ask for: they need no leave, containers are rootless
    #[arg(long, value_name = "ENTITLEMENT", value_delimiter = ',', value_parser = ["network.host", "security.insecure"])]
    allow: Vec<String>,

    /// What to do: build, check (as --check), outline (what the target takes) or targets (the stages); `,format=json`
    #[arg(long, value_name = "METHOD", visible_alias = "print", value_parser = call::parse, default_value = "build")]
    call: Call,

    #[command(flatten)]
    attest: AttestFlags,

    #[command(flatten)]
    cache: CacheFlags,

    /// Compress what goes to a server: there is none, and it has no effect
    #[arg(long)]
    compress: bool,

    /// Look at the Dockerfile, tell what could be better, and build nothing
    #[arg(long)]
    check: bool,

    /// Remove the containers of RUN when something fails: ketch always does
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    force_rm: Option<bool>,

    /// Format of the image: oci (where the configuration says nothing else) or docker
    #[arg(long, value_name = "FORMAT", env = "BUILDAH_FORMAT", value_parser = parse_form)]
    format: Option<Form>,

    /// Write the image's ID to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,

    /// How many stages are built at the same time; 0 for as many as there are
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    jobs: usize,

    /// Keep each step as a layer, and use the cache
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    layers: bool,

    /// Put the image into the local store: ketch always does
    #[arg(long)]
    load: bool,

    /// Write output to a file instead
    #[arg(long, value_name = "FILE")]
    logfile: Option<PathBuf>,

    /// With --logfile and several platforms: a file for each, FILE_OS_ARCH
    #[arg(long)]
    logsplit: bool,

    /// Write what was built to a file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,

    /// What becomes of the result: a directory, `-`, or type=local|tar|oci|docker|image|registry|cacheonly[,dest=PATH] (can be repeated)
    #[arg(short, long, value_name = "OUTPUT")]
    output: Vec<String>,

    #[command(flatten)]
    platforms: BuildPlatforms,

    #[command(flatten)]
    refused: RefusedFlags,

    /// How progress is shown: auto, plain (BuildKit's form), tty, rawjson or quiet
    #[arg(long, value_name = "FORM", env = "BUILDKIT_PROGRESS", default_value = "auto", value_parser = ["auto", "plain", "tty", "rawjson", "quiet", "none"])]
    progress: String,

    /// When to ask the registry for base images: missing, always, never or newer
    #[arg(long, value_name = "POLICY", num_args = 0..=1, require_equals = true, default_value = "missing", default_missing_value = "always", value_parser = crate::cli::pull::parse_policy)]
    pull: PullPolicy,

    /// Never ask a registry
    #[arg(long, hide = true)]
    pull_never: bool,

    /// Push the image to its registry afterwards
    #[arg(long)]
    push: bool,

    /// Print the image's ID and nothing else
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    registry: RegistryArgs,

    /// Remove the containers of RUN: ketch always does
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    rm: Option<bool>,

    #[command(flatten)]
    run: RunFlags,

    /// Leave out stages that the target does not need
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    skip_unused_stages: bool,
}

/// Says whether the result itself goes to standard output.
fn to_stdout(outputs: &[Output]) -> bool {
    let is_stdout = |output: &Output| matches!(output, Output::Saved(path, _) | Output::Tar(path) if path.as_os_str() == "/dev/stdout");
    outputs.iter().any(is_stdout)
}

fn parse_form(text: &str) -> Result<Form, String> {
    match text {
        "oci" => Ok(Form::Oci),
        "docker" => Ok(Form::Docker),
        _ => Err("choose from: oci, docker".to_owned()),
    }
}

/// `build`.
pub(crate) fn run(session: &mut Session<'_>, args: BuildArgs) -> anyhow::Result<Exit> {
    run_one(session, args).map(|(exit, _)| exit)
}

/// What a build for one platform has made.
struct Made {
    /// What `--metadata-file` says of it.
    metadata: Value,
}

/// Builds, and says what was made if it is one image.
fn run_one(session: &mut Session<'_>, args: BuildArgs) -> anyhow::Result<(Exit, Option<Made>)> {
    args.refused.refuse()?;
    if let Some(call) = args.call.instead(args.check) {
        return Ok((call::run(session, &args, call)?, None));
    }
    let (mut request, push) = args.request()?;
    if args.format.is_none() {
        request.form = session.engine()?.conf().engine.default_form()?;
    }
    if let Some(path) = &args.logfile {
        File::create(path).map_err(|err| Error::system(format!("create {}", path.display()), err))?;
    }
    let wished = args.attest.wished()?;
    let mut platforms = args.platforms.several(session, &request)?;
    if wished.is_some() && platforms.is_none() {
        platforms = Some(vec![request.platform.clone().unwrap_or_else(Platform::host)]);
    }
    if let Some(platforms) = platforms {
        let made = several::run(session, &args, request, &platforms, push, wished.as_ref())?;
        return Ok((Exit::OK, Some(made)));
    }
    let built = build_one(session, &args, &request, args.logfile.clone())?;
    if let Some(id) = &built.id {
        several::add_to_list(session, &args, id)?;
    }
    args.tell(session, &request, &built)?;
    if push {
        let quiet = args.mode(session, &request.outputs) == Mode::Quiet;
        let engine = session.engine()?;
        for name in &request.names {
            push_to(engine, &name.to_string(), &args, quiet)?;
        }
    }
    Ok((Exit::OK, Some(Made { metadata: metadata(&request, &built) })))
}

/// What buildx tells of a result.
fn metadata(request: &BuildRequest, built: &Built) -> Value {
    let Some(id) = &built.id else { return json!({}) };
    let names: Vec<String> = request.names.iter().map(ToString::to_string).collect();
    let mut document =
        json!({ "containerimage.config.digest": id.to_string(), "image.name": names.join(",") });
    if let Some(manifest) = &built.manifest {
        document["containerimage.digest"] = manifest.digest.to_string().into();
        document["containerimage.descriptor"] = crate::base::image_document::descriptor(manifest);
    }
    document
}

/// Builds for one platform, and shows how it goes.
fn build_one(
    session: &mut Session<'_>,
    args: &BuildArgs,
    request: &BuildRequest,
    log: Option<PathBuf>,
) -> anyhow::Result<Built> {
    let mode = args.mode(session, &request.outputs);
    let mut show = Show::new(mode, log.as_deref(), &args.refused.builder(session)?)?;
    let engine = session.engine()?;
    let outcome = build::build(engine, request, &mut |event| show.event(event));
    let built = match outcome {
        Ok(built) => built,
        Err(fault) => {
            show.failed(fault.picture.as_ref().map(|picture| picture.as_str()));
            let code = fault.exit.and_then(|code| u8::try_from(code).ok());
            session.report(fault.error);
            return Err(AlreadyReported { code: code.unwrap_or(FAILED) }.into());
        }
    };
    show.finish();
    Ok(built)
}

/// Pushes an image or a manifest list.
fn push_to(engine: &Engine, name: &str, args: &BuildArgs, quiet: bool) -> anyhow::Result<()> {
    let progress = crate::cli::progress::Progress::new(quiet);
    let request =
        PushRequest { image: name.to_owned(), remote: args.registry.remote(), ..PushRequest::default() };
    push::push(engine, &request, &|event| progress.show(event))?;
    Ok(())
}

impl BuildArgs {
    fn request(&self) -> Result<(BuildRequest, bool), Error> {
        let mut request = BuildRequest {
            context: self.context.clone().unwrap_or_else(|| ".".into()).into(),
            ..BuildRequest::default()
        };
        request.single_layer = !self.layers;
        self.source.fill(&mut request)?;
        self.image.fill(&mut request)?;
        self.cache.fill(&mut request)?;
        request.platform = self.platforms.single();
        request.form = self.format.unwrap_or_default();
        request.discard_in_volumes = self.run.compat_volumes == Some(true);
        request.all_stages = !self.skip_unused_stages;
        request.jobs = if self.jobs == 0 { usize::MAX } else { self.jobs };
        let policy = if self.pull_never { PullPolicy::Never } else { self.pull };
        request.pull = self.registry.request(policy, None);
        request.container = self.run.request()?;
        let mut push = self.push;
        for text in &self.output {
            let (output, name, pushes) = output::output(text)?;
            if to_stdout(&request.outputs) && to_stdout(std::slice::from_ref(&output)) {
                return Err(Error::invalid("--output: only one result can go to standard output"));
            }
            request.outputs.push(output);
            push |= pushes;
            if let Some(name) = name {
                request.names.push(crate::engine::image::new_name(&name)?);
            }
        }
        if push && request.names.is_empty() {
            return Err(
                Error::invalid("an image that is pushed needs a name").hint("give it one: -t REGISTRY/NAME")
            );
        }
        Ok((request, push))
    }

    fn mode(&self, session: &Session<'_>, outputs: &[Output]) -> Mode {
        match self.progress.as_str() {
            _ if self.quiet => Mode::Quiet,
            "quiet" | "none" => Mode::Quiet,
            // What goes to standard output must not be among the lines of the steps.
            "auto" if to_stdout(outputs) => Mode::BuildKit,
            "plain" => Mode::BuildKit,
            "tty" => Mode::Live,
            "rawjson" => Mode::Json,
            _ if session.out_is_tty
                && std::io::IsTerminal::is_terminal(&std::io::stderr())
                && progress::can_draw()
                && self.logfile.is_none() =>
            {
                Mode::Live
            }
            _ => Mode::Plain,
        }
    }

    /// Tells what was built, on standard output and in files.
    fn tell(&self, session: &mut Session<'_>, request: &BuildRequest, built: &Built) -> anyhow::Result<()> {
        let write = |path: &PathBuf, text: String| {
            std::fs::write(path, text).map_err(|err| Error::system(format!("write {}", path.display()), err))
        };
        if let Some(path) = &self.metadata_file {
            write(path, format!("{:#}\n", metadata(request, built)))?;
        }
        let Some(id) = built.id else { return Ok(()) };
        if let Some(path) = &self.iidfile {
            write(path, id.to_string())?;
        }
        if to_stdout(&request.outputs) {
            return Ok(());
        }
        let mut lines = Vec::new();
        if !self.quiet && self.progress != "quiet" {
            for name in &request.names {
                writeln!(lines, "Successfully tagged {name}")?;
            }
        }
        writeln!(lines, "{}", id.hex())?;
        match &self.logfile {
            // As podman: all that would be written goes there.
            Some(path) => {
                let failed = |err| Error::system(format!("write {}", path.display()), err);
                File::options()
                    .append(true)
                    .open(path)
                    .and_then(|mut log| log.write_all(&lines))
                    .map_err(failed)?;
            }
            None => session.out.write_all(&lines)?,
        }
        Ok(())
    }
}
