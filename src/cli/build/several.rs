//! Builds for several platforms, and those with statements about them: one after the other, and a manifest list of
//! them all.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::base::digest::Digest;
use crate::base::image_ref::Purpose;
use crate::base::platform::Platform;
use crate::cli::build::exports::Delivery;
use crate::cli::build::{BuildArgs, Made};
use crate::cli::session::Session;
use crate::engine::build::provenance::Wished;
use crate::engine::build::request::{BuildRequest, Output};
use crate::engine::build::{Built, platforms, provenance};
use crate::engine::manifest_list::NewList;
use crate::engine::push::{self, PushRequest};
use crate::engine::save::SaveFormat;
use crate::engine::{Engine, Error, Result, config};

/// What the image is for.
#[derive(Args, Debug)]
#[command(next_help_heading = "Platform")]
pub(crate) struct BuildPlatforms {
    /// Build for all platforms that the base images are there for
    #[arg(long, conflicts_with_all = ["platform", "os", "arch", "variant"])]
    all_platforms: bool,

    /// Processor the image is for, like `arm64`
    #[arg(long, alias = "override-arch", value_name = "ARCH")]
    arch: Option<String>,

    /// Manifest list to add the image to; it is made if there is none
    #[arg(long, value_name = "NAME")]
    pub(super) manifest: Option<String>,

    /// Operating system the image is for
    #[arg(long, alias = "override-os", value_name = "OS")]
    os: Option<String>,

    /// Operating system and processor: OS/ARCH[/VARIANT]; several make a manifest list (can be repeated)
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',', value_parser = platform, conflicts_with_all = ["os", "arch", "variant"], env = "DOCKER_DEFAULT_PLATFORM")]
    platform: Vec<Platform>,

    /// Variant of the processor, like `v7`
    #[arg(long, alias = "override-variant", value_name = "VARIANT")]
    variant: Option<String>,
}

fn platform(text: &str) -> std::result::Result<Platform, String> {
    match text {
        "local" => Ok(Platform::host()),
        text => text.parse().map_err(|err: crate::base::platform::PlatformError| err.to_string()),
    }
}

impl BuildPlatforms {
    /// The one platform that was asked for, if one was.
    pub(super) fn single(&self) -> Option<Platform> {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let any = self.os.is_some() || self.arch.is_some() || self.variant.is_some();
        let of_parts = any.then(|| Platform::new(&part(&self.os), &part(&self.arch), &part(&self.variant)));
        self.platform.first().cloned().or(of_parts)
    }

    /// All platforms, if several were asked for.
    pub(super) fn several(
        &self,
        session: &mut Session<'_>,
        request: &BuildRequest,
    ) -> anyhow::Result<Option<Vec<Platform>>> {
        let mut all = self.platform.clone();
        if self.all_platforms {
            all = platforms::of_bases(session.engine()?, request).map_err(|fault| fault.error)?;
        }
        let mut different: Vec<Platform> = Vec::new();
        for platform in all {
            if !different.contains(&platform) {
                different.push(platform);
            }
        }
        Ok((different.len() > 1 || self.all_platforms).then_some(different))
    }
}

/// Builds for each platform, and makes the list.
pub(super) fn run(
    session: &mut Session<'_>,
    args: &BuildArgs,
    request: BuildRequest,
    platforms: &[Platform],
    (delivery, wished): (&Delivery, Option<&Wished>),
) -> anyhow::Result<Made> {
    let is_list = |output: &Output| match output {
        Output::Image => true,
        Output::Saved(path, format) => {
            *format != SaveFormat::DockerArchive && path.as_os_str() != "/dev/stdout"
        }
        _ => false,
    };
    // What is said of an image has no place among files.
    let is_files = |output: &Output| wished.is_none() && matches!(output, Output::Local(_) | Output::Discard);
    if !request.outputs.iter().all(|output| is_list(output) || is_files(output)) {
        let message =
            "--output: a build for several platforms, and one with attestations, makes a list of images";
        return Err(Error::invalid(message)
            .hint("known for several are type=image, type=registry, type=oci,dest=FILE and type=local,dest=DIRECTORY")
            .into());
    }
    let (names, outputs) = (request.names.clone(), request.outputs.clone());
    let makes_list = outputs.is_empty() || outputs.iter().any(is_list);
    let split = request.split_platforms.unwrap_or(platforms.len() > 1);
    let mut built = Vec::new();
    for platform in platforms {
        let mut each: Vec<Output> = outputs
            .iter()
            .filter(|output| is_files(output))
            .map(|output| of_platform(output, platform, split))
            .collect();
        each.extend(makes_list.then_some(Output::Image));
        let request = BuildRequest {
            platform: Some(platform.clone()),
            names: vec![],
            outputs: each,
            ..request.clone()
        };
        let log = args.logfile.as_deref().map(|file| log_of(file, platform, args.logsplit));
        let done = super::build_one(session, args, &request, log)?;
        if let Some(id) = done.id {
            built.push((platform.clone(), id, done));
        }
    }
    if !makes_list {
        tell(session, args, &built, &json!({}), None)?;
        return Ok(Made { metadata: json!({}) });
    }
    let ids: Vec<String> = built.iter().map(|(_, id, _)| id.to_string()).collect();
    let mut lists: Vec<String> =
        names.iter().map(ToString::to_string).chain(args.platforms.manifest.clone()).collect();
    // A list without a name is there only until it is written where it is to go.
    let leaves =
        !delivery.by_digest.is_empty() || outputs.iter().any(|output| matches!(output, Output::Saved(..)));
    let passing = lists.is_empty() && leaves;
    if passing {
        lists.push(format!("localhost/build-{}", &Digest::of(ids.concat().as_bytes()).hex()[..16]));
    } else if lists.is_empty() && wished.is_some() {
        let message = "--provenance: what is said of an image is kept in a list, which needs a name";
        return Err(Error::invalid(message).hint("give it one: -t NAME").into());
    }
    let mut document = metadata(&lists, &built);
    let mut last = None;
    for name in &lists {
        let is_own = args.platforms.manifest.as_deref() == Some(name);
        let id = list(session, name, &ids, (is_own, &request.index_annotations))?;
        let engine = session.engine()?;
        for (platform, _, done) in &built {
            if let (Some(wished), Some(manifest)) = (wished, &done.manifest) {
                let named = BuildRequest { names: names.clone(), ..request.clone() };
                let statement =
                    provenance::statement(wished, &done.facts, &named, platform, &manifest.digest);
                let text = statement.to_string();
                engine.attest_in_list(name, &manifest.digest, wished.predicate_type(), text.as_bytes())?;
                let suffix = if built.len() > 1 { format!("/{platform}") } else { String::new() };
                document[format!("buildx.build.provenance{suffix}")] = statement["predicate"].clone();
            }
        }
        last = Some(id);
        let list = engine.manifest_list(name, Purpose::Act)?;
        document["containerimage.digest"] = list.document.to_string().into();
        if delivery.push {
            let digest = super::push_to(engine, (&list.name, None), args, delivery, args.quiet)?;
            set_digest(&mut document, &digest);
        }
    }
    if let Some(name) = lists.first() {
        let engine = session.engine()?;
        save(engine, (name, (!passing).then_some(name)), &outputs, delivery)?;
        for repository in &delivery.by_digest {
            let digest = super::push_to(engine, (name, Some(repository)), args, delivery, args.quiet)?;
            set_digest(&mut document, &digest);
            if passing {
                document["image.name"] = delivery.by_digest.join(",").into();
            }
        }
    }
    if passing {
        session.engine()?.remove_list(&lists[0], true)?;
        last = None;
    }
    tell(session, args, &built, &document, last)?;
    Ok(Made { metadata: document })
}

/// Where the files of a platform go: with `split` to a directory of their own, as `linux_arm_v7`.
pub(super) fn of_platform(output: &Output, platform: &Platform, split: bool) -> Output {
    match output {
        Output::Local(path) if split => Output::Local(path.join(platform.to_string().replace('/', "_"))),
        other => other.clone(),
    }
}

/// What was pushed may be compressed otherwise than what is here.
pub(super) fn set_digest(document: &mut Value, digest: &Digest) {
    let text = digest.to_string();
    if document["containerimage.digest"] != text.as_str() {
        if let Some(fields) = document.as_object_mut() {
            fields.remove("containerimage.descriptor");
        }
        document["containerimage.digest"] = text.into();
    }
}

/// Writes an image or a list to where `--output` says, under its name or without one.
pub(super) fn save(
    engine: &Engine,
    (image, name): (&str, Option<&str>),
    outputs: &[Output],
    delivery: &Delivery,
) -> Result<()> {
    for output in outputs {
        let Output::Saved(path, format) = output else { continue };
        let transport = if *format == SaveFormat::OciDir { "oci" } else { "oci-archive" };
        let name = name.map(|name| format!(":{name}")).unwrap_or_default();
        let path = config::directory()?.join(path);
        let request = PushRequest {
            image: image.to_owned(),
            destination: Some(format!("{transport}:{}{name}", path.display())),
            wishes: delivery.wishes,
            ..PushRequest::default()
        };
        push::push(engine, &request, &|_| {})?;
    }
    Ok(())
}

/// What `--metadata-file` says of the images.
fn metadata(lists: &[String], built: &[(Platform, Digest, Built)]) -> Value {
    let mut document = json!({ "image.name": lists.join(",") });
    if let [(_, id, _)] = built {
        document["containerimage.config.digest"] = id.to_string().into();
        return document;
    }
    for (platform, id, _) in built {
        document[format!("containerimage.config.digest/{platform}")] = id.to_string().into();
    }
    document
}

/// Makes a list, or with `amend` goes on with one.
fn list(
    session: &mut Session<'_>,
    name: &str,
    images: &[String],
    (amend, annotations): (bool, &[(String, String)]),
) -> Result<Digest> {
    let engine = session.engine()?;
    if !amend && engine.manifest_list(name, Purpose::Act).is_ok() {
        engine.remove_list(name, true)?;
    }
    let new = NewList { amend, replace: !amend, annotations: annotations.to_vec(), ..NewList::default() };
    engine.create_list(name, images, &new, &|_| {})
}

/// Adds an image to the list of `--manifest`.
pub(super) fn add_to_list(session: &mut Session<'_>, args: &BuildArgs, id: &Digest) -> anyhow::Result<()> {
    if let Some(name) = &args.platforms.manifest {
        list(session, name, &[id.to_string()], (true, &[]))?;
    }
    Ok(())
}

/// The log of a platform: with `--logsplit` a file of its own.
fn log_of(file: &std::path::Path, platform: &Platform, split: bool) -> PathBuf {
    if !split {
        return file.to_owned();
    }
    let mut name = file.as_os_str().to_owned();
    name.push(format!("_{}", platform.to_string().replace('/', "_")));
    name.into()
}

/// Tells what was built.
fn tell(
    session: &mut Session<'_>,
    args: &BuildArgs,
    built: &[(Platform, Digest, Built)],
    metadata: &Value,
    list: Option<Digest>,
) -> anyhow::Result<()> {
    let write = |path: &PathBuf, text: String| {
        std::fs::write(path, text).map_err(|err| Error::system(format!("write {}", path.display()), err))
    };
    let id = list.or_else(|| built.last().map(|(_, id, _)| *id));
    if let (Some(path), Some(id)) = (&args.iidfile, &id) {
        write(path, id.to_string())?;
    }
    if let Some(path) = &args.metadata_file {
        write(path, format!("{metadata:#}\n"))?;
    }
    if let Some(id) = id {
        writeln!(session.out, "{}", id.hex())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_platforms() {
        let arm = Platform::new("linux", "arm", "v7");
        let local = Output::Local("o".into());
        assert_eq!(of_platform(&local, &arm, true), Output::Local("o/linux_arm_v7".into()));
        assert_eq!(of_platform(&local, &arm, false), local);
        assert_eq!(log_of("a/log".as_ref(), &arm, true), PathBuf::from("a/log_linux_arm_v7"));
        assert_eq!(log_of("a/log".as_ref(), &arm, false), PathBuf::from("a/log"));
        assert_eq!(platform("local").unwrap(), Platform::host());
        assert!(platform("a b").is_err());
    }
}
