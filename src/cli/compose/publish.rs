//! `ketch compose publish`: a project's files as an artifact in a registry. And its other end: `-f oci://…`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, json};

use crate::base::path::clean;
use crate::cli::compose::config;
use crate::cli::compose::open;
use crate::cli::error::AlreadyReported;
use crate::cli::progress::Progress;
use crate::cli::session::Session;
use crate::compose::load::{Loaded, Options};
use crate::compose::node::Node;
use crate::compose::project::Project;
use crate::compose::published;
use crate::engine::artifact::documents::Document;
use crate::engine::pull::PullEvent;
use crate::engine::push::{PushRequest, Wishes};
use crate::engine::remote::RemoteOptions;
use crate::engine::{Error, config as engine_config};

/// Push a project's files to a registry
///
/// `-f oci://REPOSITORY[:TAG]` runs the project from there. The images of services that are built are pushed too.
#[derive(Args, Debug)]
pub(crate) struct PublishArgs {
    /// Write the artifact for this version of OCI's specification: 1.1, or 1.0 for older registries
    #[arg(long, value_name = "VERSION")]
    oci_version: Option<String>,

    /// Write the digests of images behind their names, as their registries know them
    #[arg(long)]
    resolve_image_digests: bool,

    /// Publish the values of variables too: `environment`, and the files of `env_file`
    #[arg(long)]
    with_env: bool,

    /// Answer every question with yes
    #[arg(short, long)]
    yes: bool,

    /// Where to
    #[arg(value_name = "REPOSITORY[:TAG]")]
    repository: String,
}

pub(crate) fn publish(session: &mut Session<'_>, args: PublishArgs) -> anyhow::Result<()> {
    let kind = published::kind(args.oci_version.as_deref())?;
    let flags = session.globals.project.clone();
    let mut options = flags.options(&[])?;
    options.profiles = vec!["*".to_owned()];
    options.no_env_resolution = true;
    let loaded = flags.load(session, &options)?;
    let mut documents = compose_files(&loaded)?;
    let env_files = env_files(&loaded, args.with_env)?;
    if args.resolve_image_digests {
        documents.push(published::compose_file("image-digests.yaml", digests(session, &loaded)?));
    }
    for (name, path) in env_files {
        documents.push(published::env_file(&name, read(&path)?));
    }
    let project = Project::new(loaded);
    check_builds(&project)?;
    let mounts = bind_mounts(&project);
    if !mounts.is_empty() && !args.yes {
        session.note(format!(
            "you are about to publish bind mounts declaration within your OCI artifact.\nonly the bind mount declarations will be added to the OCI artifact (not content)\nplease double check that you are not mounting potential user's sensitive directories or data\n{}",
            mounts.join("\n")
        ));
        if !open::confirm("Are you ok to publish these bind mount declarations?") {
            return Ok(());
        }
    }
    let repository = args.repository;
    if flags.dry_run {
        session.note(format!(" DRY-RUN MODE -  {repository}  published"));
        return Ok(());
    }
    push_images(session, &project)?;
    let request = PushRequest {
        by_digest: false,
        image: repository.clone(),
        destination: None,
        wishes: Wishes::default(),
        all: false,
        further: vec![],
        sign: None,
        remote: RemoteOptions::default(),
    };
    let progress = Progress::new(true);
    let events = |event: &PullEvent<'_>| progress.show(event);
    let pushed = session.engine()?.push_documents(&kind, &documents, &request, &events)?;
    drop(progress);
    session.note(format!(" {repository}  published ({})", pushed.digest));
    Ok(())
}

/// The files of `-f`, and those that they extend, as they are written.
fn compose_files(loaded: &Loaded) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    let mut extended: Vec<PathBuf> = Vec::new();
    for path in &loaded.config_files {
        if path.as_os_str() == "-" {
            return Err(Error::invalid("cannot publish what comes from standard input").into());
        }
        let content = read(path)?;
        let named = published::extended_by(path, &String::from_utf8_lossy(&content))?;
        extended.extend(named.iter().map(|file| clean(&loaded.directory.join(file))));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        documents.push(published::compose_file(&name, content));
    }
    let mut known = BTreeSet::new();
    while let Some(path) = extended.pop() {
        if !known.insert(path.clone()) {
            continue;
        }
        let content = read(&path)?;
        let named = published::extended_by(&path, &String::from_utf8_lossy(&content))?;
        let directory = path.parent().unwrap_or(&loaded.directory);
        extended.extend(named.iter().map(|file| clean(&directory.join(file))));
        documents.push(published::extended_file(&name_inside(loaded, &path)?, content));
    }
    Ok(documents)
}

/// The path of a file in the project.
fn name_inside(loaded: &Loaded, path: &Path) -> anyhow::Result<String> {
    let inside = path.strip_prefix(&loaded.directory).ok().and_then(Path::to_str);
    let name = inside.ok_or_else(|| {
        Error::invalid(format!("cannot publish {}: it is outside of the project", path.display()))
    })?;
    Ok(name.to_owned())
}

/// The files of variables, by their names in the Compose file. Without `allowed` there must be no variables at all:
/// they often hold what others must not read.
fn env_files(loaded: &Loaded, allowed: bool) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut told = Vec::new();
    for (name, service) in loaded.tree.get("services").and_then(Node::as_map).into_iter().flatten() {
        let files = service.get("env_file").and_then(Node::as_list).unwrap_or_default();
        if !files.is_empty() {
            told.push(format!("service {name:?} has env_file declared."));
        }
        if service.get("environment").is_some() {
            told.push(format!("service {name:?} has environment variable(s) declared."));
        }
        for file in files {
            let path = PathBuf::from(file.str_at("path").or_else(|| file.as_str()).unwrap_or_default());
            let name = name_inside(loaded, &path)?;
            if path.exists() && !found.iter().any(|(known, _)| *known == name) {
                found.push((name, path));
            }
        }
    }
    if told.is_empty() || allowed {
        return Ok(found);
    }
    Err(Error::invalid(told.join("\n"))
        .hint("--with-env publishes them; remove what others must not read before")
        .into())
}

/// An override file with the digest of every image.
fn digests(session: &Session<'_>, loaded: &Loaded) -> anyhow::Result<Vec<u8>> {
    let mut pinned = loaded.clone();
    config::pin_images(session, &mut pinned)?;
    let services = pinned.tree.get("services").and_then(Node::as_map).into_iter().flatten();
    let images: Map<String, serde_json::Value> = services
        .filter_map(|(name, service)| Some((name.clone(), json!({"image": service.str_at("image")?}))))
        .collect();
    // JSON is YAML.
    Ok(serde_json::to_vec(&json!({ "services": images }))?)
}

/// What is built must have a name by which others get it.
fn check_builds(project: &Project) -> anyhow::Result<()> {
    let nameless: Vec<String> = project
        .services()
        .filter(|(_, service)| service.get("image").is_none())
        .map(|(name, _)| format!("- {name:?}"))
        .collect();
    if nameless.is_empty() {
        return Ok(());
    }
    let list = nameless.join("\n");
    let message = format!(
        "your Compose stack cannot be published as it only contains a build section for service(s):\n{list}"
    );
    Err(Error::invalid(message).hint("give them an `image`").into())
}

fn bind_mounts(project: &Project) -> Vec<String> {
    let mut found = Vec::new();
    for (name, service) in project.services() {
        let volumes = service.get("volumes").and_then(Node::as_list).unwrap_or_default();
        let sources = volumes
            .iter()
            .filter(|volume| volume.str_at("type") == Some("bind"))
            .filter_map(|volume| volume.str_at("source"));
        found.extend(sources.map(|source| format!("  {name}: {source}")));
    }
    found
}

/// Pushes what the project builds, as far as that is possible.
fn push_images(session: &mut Session<'_>, project: &Project) -> anyhow::Result<()> {
    let built: Vec<String> = project
        .services()
        .filter(|(_, service)| service.get("build").is_some())
        .map(|(name, _)| project.image(name))
        .collect();
    for image in built {
        match open::delegate(session, ["push".to_owned(), image.clone()]) {
            Err(err) if !err.is::<AlreadyReported>() => session.warn(format!("image {image}: {err:#}")),
            _ => {}
        }
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    Ok(std::fs::read(path).map_err(|err| Error::system(format!("read {}", path.display()), err))?)
}

/// The same options, with published projects among the files replaced by what they were fetched to.
///
/// # Errors
///
/// If one cannot be fetched.
pub(super) fn fetched<'a>(session: &Session<'_>, options: &'a Options) -> anyhow::Result<Cow<'a, Options>> {
    if options.files.iter().all(|file| published::name_of(file).is_none()) {
        return Ok(Cow::Borrowed(options));
    }
    let mut local = options.clone();
    if options.project_directory.is_none()
        && options.files.first().and_then(|file| published::name_of(file)).is_some()
    {
        local.project_directory = Some(engine_config::directory()?);
    }
    for file in &mut local.files {
        let Some(name) = published::name_of(file) else { continue };
        let engine = session.engine()?;
        let progress = Progress::new(true);
        let events = |event: &PullEvent<'_>| progress.show(event);
        let artifact = engine.fetch_documents(name, &RemoteOptions::default(), &events)?;
        *file = published::unpack(engine, name, &artifact)?;
        local.published = file.parent().map(Path::to_path_buf);
    }
    Ok(Cow::Owned(local))
}
