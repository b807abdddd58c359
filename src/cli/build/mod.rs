//! `ketch build`, `buildx` and `builder`.
//!
//! Output is podman's: `STEP i/n` lines and what RUN writes go to standard output, the image's ID is its
//! last line, so that `id=$(ketch build -q .)` and scripts that take the last line work. `--progress=plain`
//! is BuildKit's form (`#1 …` on standard error), a terminal gets the steps that run at the bottom.

mod attest;
mod bake;
mod bake_file;
mod buildx;
mod caches;
mod call;
mod exports;
mod flags;
mod imagetools;
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

use crate::base::digest::Digest;
use crate::base::image_ref::NameRule;
use crate::base::manifest::Form;
use crate::base::platform::Platform;
use crate::cli::build::attest::AttestFlags;
use crate::cli::build::caches::CacheFlags;
use crate::cli::build::call::Call;
use crate::cli::build::exports::Delivery;
use crate::cli::build::flags::{ImageFlags, RunFlags, SourceFlags};
use crate::cli::build::progress::{Mode, Show};
use crate::cli::build::refused::RefusedFlags;
use crate::cli::build::several::BuildPlatforms;
use crate::cli::error::{AlreadyReported, FAILED};
use crate::cli::progress::can_draw;
use crate::cli::pull::RegistryArgs;
use crate::cli::session::{Exit, Session};
use crate::engine::build::request::{BuildRequest, Output};
use crate::engine::build::{self, Built};
use crate::engine::pull::PullPolicy;
use crate::engine::push::{self, PushRequest};
use crate::engine::save::SaveFormat;
use crate::engine::{Engine, Error};

pub(crate) use bake::{BakeArgs, bake};
pub(crate) use buildx::{
    BuildxCreateArgs, BuildxDuArgs, BuildxInspectArgs, BuildxLsArgs, BuildxRmArgs, BuildxStopArgs,
    BuildxUseArgs, BuildxVersionArgs, COMPATIBLE as BUILDX, choose, create, du, inspect, ls, rm, stop,
    version,
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

    /// Privileges that RUN may ask for: security.insecure, or network.host, which needs no leave
    #[arg(long, value_name = "ENTITLEMENT", value_delimiter = ',', value_parser = ["network.host", "security.insecure"])]
    allow: Vec<String>,

    /// What to do: build, check (as --check), outline (what the target takes) or targets (the stages); `,format=json`
    #[arg(long, value_name = "METHOD", visible_alias = "print", value_parser = call::parse, default_value = "build")]
    call: Call,

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

    /// How progress is shown: auto, plain (BuildKit's form), tty, rawjson or quiet
    #[arg(long, value_name = "FORM", env = "BUILDKIT_PROGRESS", default_value = "auto", value_parser = ["auto", "plain", "tty", "rawjson", "quiet", "none"])]
    progress: String,

    /// When to ask the registry for base images: missing, always, never or newer; newer if only the flag is there
    #[arg(long, value_name = "POLICY", num_args = 0..=1, require_equals = true, default_value = "missing", default_missing_value = "newer", value_parser = crate::cli::pull::parse_policy)]
    pull: PullPolicy,

    /// Always ask the registry
    #[arg(long, hide = true, conflicts_with = "pull_never")]
    pull_always: bool,

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

    /// Leave out stages that the target does not need
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    skip_unused_stages: bool,

    #[command(flatten)]
    source: SourceFlags,

    #[command(flatten)]
    image: ImageFlags,

    #[command(flatten)]
    attest: AttestFlags,

    #[command(flatten)]
    cache: CacheFlags,

    #[command(flatten)]
    platforms: BuildPlatforms,

    #[command(flatten)]
    run: RunFlags,

    #[command(flatten)]
    refused: RefusedFlags,
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
    let (mut request, delivery) = args.request(session.name_rule())?;
    request.form = match args.format.or(delivery.form) {
        Some(form) => form,
        None => session.engine()?.conf().engine.default_form()?,
    };
    if let Some(path) = &args.logfile {
        File::create(path).map_err(|err| Error::system(format!("create {}", path.display()), err))?;
    }
    let wished = args.attest.wished()?;
    let mut platforms = args.platforms.several(session, &request)?;
    if wished.is_some() && platforms.is_none() {
        platforms = Some(vec![request.platform.clone().unwrap_or_else(Platform::host)]);
    }
    if let Some(platforms) = platforms {
        let made = several::run(session, &args, request, &platforms, (&delivery, wished.as_ref()))?;
        return Ok((Exit::OK, Some(made)));
    }
    if !request.index_annotations.is_empty() {
        let message = "index annotations not supported for single platform export";
        return Err(Error::invalid(message).hint("several platforms make an index: --platform").into());
    }
    if request.split_platforms == Some(true) {
        let platform = request.platform.clone().unwrap_or_else(Platform::host);
        request.outputs.iter_mut().for_each(|output| *output = several::of_platform(output, &platform, true));
    }
    let layouts = take_layouts(&mut request.outputs, &delivery);
    let built = build_one(session, &args, &request, args.logfile.clone())?;
    if let Some(id) = &built.id {
        several::add_to_list(session, &args, id)?;
    }
    let mut document = metadata(&request, &built);
    let quiet = args.mode(session, &request.outputs) == Mode::Quiet;
    let engine = session.engine()?;
    if let Some(id) = &built.id {
        let name = request.names.first().map(ToString::to_string);
        several::save(engine, (&id.to_string(), name.as_deref()), &layouts, &delivery)?;
        let named = request.names.iter().map(|name| (name.to_string(), None));
        let plain = delivery.by_digest.iter().map(|to| (id.to_string(), Some(to.as_str())));
        for (image, to) in named.filter(|_| delivery.push).chain(plain) {
            let digest = push_to(engine, (&image, to), &args, &delivery, quiet)?;
            several::set_digest(&mut document, &digest);
        }
        if request.names.is_empty() && !delivery.by_digest.is_empty() {
            document["image.name"] = delivery.by_digest.join(",").into();
        }
    }
    args.tell(session, &request, &built, &document)?;
    Ok((Exit::OK, Some(Made { metadata: document })))
}

/// Takes away the OCI layouts whose layers are to be other than they are here: they are written like a push.
fn take_layouts(outputs: &mut Vec<Output>, delivery: &Delivery) -> Vec<Output> {
    let is_one = |output: &Output| matches!(output, Output::Saved(path, format) if *format != SaveFormat::DockerArchive && path.as_os_str() != "/dev/stdout");
    if !delivery.changes() {
        return vec![];
    }
    let (layouts, mut others): (Vec<_>, Vec<_>) = outputs.drain(..).partition(is_one);
    if !layouts.is_empty() {
        others.push(Output::Image);
    }
    *outputs = others;
    layouts
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
            let mut error = fault.error;
            if let Some(what) = show.unsuccessful().filter(|_| session.globals.called.is_docker()) {
                what.clone_into(&mut error.message);
            }
            session.report(error);
            return Err(AlreadyReported { code: code.unwrap_or(FAILED) }.into());
        }
    };
    show.finish();
    Ok(built)
}

/// Pushes an image or a manifest list: under its name, or under its digest alone to a repository.
fn push_to(
    engine: &Engine,
    (image, repository): (&str, Option<&str>),
    args: &BuildArgs,
    delivery: &Delivery,
    quiet: bool,
) -> anyhow::Result<Digest> {
    let progress = crate::cli::progress::Progress::new(quiet);
    let mut remote = args.registry.remote();
    if delivery.insecure {
        remote.tls_verify = Some(false);
    }
    let request = PushRequest {
        image: image.to_owned(),
        destination: repository.map(|name| format!("docker://{name}")),
        by_digest: repository.is_some(),
        wishes: delivery.wishes,
        remote,
        ..PushRequest::default()
    };
    Ok(push::push(engine, &request, &|event| progress.show(event))?.digest)
}

impl BuildArgs {
    fn request(&self, rule: NameRule) -> Result<(BuildRequest, Delivery), Error> {
        let mut request = BuildRequest {
            context: self.context.clone().unwrap_or_else(|| ".".into()).into(),
            ..BuildRequest::default()
        };
        request.single_layer = !self.layers;
        self.source.fill(&mut request)?;
        self.image.fill(&mut request, rule)?;
        self.cache.fill(&mut request)?;
        request.platform = self.platforms.single();
        request.form = self.format.unwrap_or_default();
        request.discard_in_volumes = self.run.compat_volumes == Some(true);
        request.all_stages = !self.skip_unused_stages;
        request.jobs = if self.jobs == 0 { usize::MAX } else { self.jobs };
        let policy = match (self.pull_never, self.pull_always) {
            (true, _) => PullPolicy::Never,
            (_, true) => PullPolicy::Always,
            // docker's `--pull=false` only says that no newer one is wanted.
            _ if rule == NameRule::Docker && self.pull == PullPolicy::Never => PullPolicy::Missing,
            _ => self.pull,
        };
        request.pull = self.registry.request(policy, None);
        request.container = self.run.request()?;
        request.insecure = self.allow.iter().any(|entitlement| entitlement == "security.insecure");
        let mut delivery = Delivery { push: self.push, ..Delivery::default() };
        for text in &self.output {
            let export = exports::read(text)?;
            if to_stdout(&request.outputs) && to_stdout(std::slice::from_ref(&export.output)) {
                return Err(Error::invalid("--output: only one result can go to standard output"));
            }
            request.outputs.push(export.output);
            request.uncompressed |= export.uncompressed;
            request.split_platforms = export.split.or(request.split_platforms);
            for (key, value) in &export.annotations {
                flags::annotate(&mut request, key, value)?;
            }
            for name in &export.names {
                request.names.push(crate::engine::image::new_name(name, rule)?);
            }
            delivery.extend(export.delivery);
        }
        if delivery.push && request.names.is_empty() {
            return Err(
                Error::invalid("an image that is pushed needs a name").hint("give it one: -t REGISTRY/NAME")
            );
        }
        Ok((request, delivery))
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
            // Standard output is left alone, and may be anything.
            _ if session.globals.called.is_docker() => {
                let is_tty = std::io::IsTerminal::is_terminal(&std::io::stderr());
                if is_tty && can_draw() && self.logfile.is_none() { Mode::Live } else { Mode::BuildKit }
            }
            _ if session.out_is_tty
                && std::io::IsTerminal::is_terminal(&std::io::stderr())
                && can_draw()
                && self.logfile.is_none() =>
            {
                Mode::Live
            }
            _ => Mode::Plain,
        }
    }

    /// Tells what was built, on standard output and in files.
    fn tell(
        &self,
        session: &mut Session<'_>,
        request: &BuildRequest,
        built: &Built,
        metadata: &Value,
    ) -> anyhow::Result<()> {
        let write = |path: &PathBuf, text: String| {
            std::fs::write(path, text).map_err(|err| Error::system(format!("write {}", path.display()), err))
        };
        if let Some(path) = &self.metadata_file {
            write(path, format!("{metadata:#}\n"))?;
        }
        let Some(id) = built.id else { return Ok(()) };
        if let Some(path) = &self.iidfile {
            write(path, id.to_string())?;
        }
        if to_stdout(&request.outputs) {
            return Ok(());
        }
        let mut lines = Vec::new();
        let is_quiet = self.quiet || self.progress == "quiet";
        match session.globals.called.is_docker() {
            true if is_quiet => writeln!(lines, "{id}")?,
            true => {}
            false => {
                for name in request.names.iter().filter(|_| !is_quiet) {
                    writeln!(lines, "Successfully tagged {name}")?;
                }
                writeln!(lines, "{}", id.hex())?;
            }
        }
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
