//! `POST /containers/create`.

pub(crate) mod document;
pub(crate) mod limits;
mod mounts;
mod network;
pub(crate) mod process;
mod security;

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::api::containers::create::document::{Resources, Wanted};
use crate::api::fault::Fault;
use crate::api::http::exchange::{Answer, Exchange};
use crate::base::mount_syntax::MountRequest;
use crate::base::platform::Platform;
use crate::engine::request::ContainerRequest;
use crate::engine::{Engine, Error, create};

/// Creates a container.
///
/// # Errors
///
/// 404 without the image; 409 for a name in use; 400 and 501 for what means nothing, or nothing here.
pub(crate) fn create(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let wanted: Wanted = exchange.json()?;
    let engine = exchange.engine()?;
    if wanted.image.is_empty() {
        return Err(Fault::new(400, "no command specified"));
    }
    let (mut request, sources) = request(&wanted)?;
    request.name = exchange.query("name").map(|name| name.strip_prefix('/').unwrap_or(name).to_owned());
    request.name = request.name.filter(|name| !name.is_empty());
    check_image(&engine, &wanted.image, exchange.query("platform").filter(|text| !text.is_empty()))?;
    let of_host = request.mounts.iter().filter_map(MountRequest::directory_of_host);
    if of_host
        .chain(sources.iter().map(PathBuf::as_path))
        .any(|path| path.as_os_str().as_bytes().contains(&0))
    {
        return Err(Fault::new(400, "invalid mount config: a source contains a NUL"));
    }
    sources.iter().try_for_each(|path| create::make_source(path))?;
    let binds = request.mounts.iter().filter_map(MountRequest::directory_of_host);
    if let Some(missing) = binds.into_iter().find(|source| !source.exists()) {
        let message = "invalid mount config for type \"bind\": bind source path does not exist";
        return Err(Fault::new(400, format!("{message}: {}", missing.display())));
    }
    // With 404 clients would pull the image.
    let id = engine.create_container(&request).map_err(|err| {
        let fault = Fault::from(err);
        if fault.status == 404 { Fault { status: 400, ..fault } } else { fault }
    })?;
    Ok(Answer::Json(
        201,
        json!({"Id": id.as_str(), "Warnings": warnings(&request, &wanted.host_config.resources)}),
    ))
}

/// The request for a container, and the directories of the host that are made for it if they are not there.
///
/// # Errors
///
/// Values that mean nothing, and those that mean what there is not.
fn request(wanted: &Wanted) -> Result<(ContainerRequest, Vec<PathBuf>), Error> {
    let (host, resources) = (&wanted.host_config.own, &wanted.host_config.resources);
    let mut request = ContainerRequest { image: wanted.image.clone(), ..ContainerRequest::default() };
    process::fill(wanted, host, &mut request)?;
    network::fill(wanted, host, &mut request)?;
    limits::fill(host, resources, &mut request)?;
    security::fill(host, &mut request)?;
    let sources = mounts::fill(&wanted.volumes, host, resources, &mut request)?;
    request.take_as_docker();
    Ok((request, sources))
}

/// The image has to be here: clients pull it when they are told that it is not.
fn check_image(engine: &Engine, typed: &str, platform: Option<&str>) -> Result<(), Fault> {
    if engine.obtain_builtin(typed)? {
        return Ok(());
    }
    let found = engine.image(typed)?;
    let Some(platform) = platform else { return Ok(()) };
    let wanted: Platform =
        platform.parse().map_err(|_| Fault::new(400, format!("{platform:?} is an invalid platform")))?;
    let is = &found.image.platform;
    if wanted.os == is.os && wanted.arch == is.arch {
        return Ok(());
    }
    Err(Fault::new(
        404,
        format!(
            "image with reference {typed} was found but its platform ({is}) does not match the specified platform ({platform})"
        ),
    ))
}

/// What was asked for and has no effect.
fn warnings(request: &ContainerRequest, resources: &Resources) -> Vec<Value> {
    let mut warnings: Vec<Value> = limits::discarded(resources).into_iter().map(Value::from).collect();
    if request.discards_ports() {
        warnings.push("Published ports are discarded when using host network mode".into());
    }
    warnings
}
