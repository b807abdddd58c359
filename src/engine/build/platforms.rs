//! Platforms: which a build can be for, and whether this machine can run their programs.

use crate::base::manifest::Document;
use crate::base::platform::Platform;
use crate::engine::build::plan::{self, Base, Given};
use crate::engine::build::request::BuildRequest;
use crate::engine::build::{Fault, Result, sources};
use crate::engine::{Engine, Error, Kind};

/// Where the kernel lists its interpreters.
const INTERPRETERS: &str = "/proc/sys/fs/binfmt_misc";

/// The platforms for which all base images of a build exist: what `--all-platforms` means.
///
/// # Errors
///
/// If the Dockerfile or a base image cannot be read, or if there is no such platform.
pub(crate) fn of_bases(engine: &Engine, request: &BuildRequest) -> Result<Vec<Platform>> {
    let read = sources::read(engine, request)?;
    let file = crate::base::dockerfile::parse(&read.text)?;
    let contexts: Vec<String> = request.contexts.keys().cloned().collect();
    let plan = plan::plan(&file, &Given::of(request, &contexts, &Platform::host()))?;
    let mut common: Option<Vec<Platform>> = None;
    for stage in plan.needed.iter().map(|number| &plan.stages[*number]) {
        // A stage of a fixed platform is the same in all builds.
        let Base::Image { name, platform: None } = &stage.base else { continue };
        let have = of_image(engine, request, name).map_err(|err| Fault::at(&stage.from, err))?;
        match &mut common {
            None => common = Some(have),
            Some(common) => common.retain(|platform| have.contains(platform)),
        }
    }
    let common = common.unwrap_or_else(|| vec![Platform::host()]);
    if common.is_empty() {
        return Err(Fault::plain("--all-platforms: the base images have no platform in common"));
    }
    Ok(common)
}

fn of_image(engine: &Engine, request: &BuildRequest, name: &str) -> Result<Vec<Platform>, Error> {
    let bytes = engine.inspect_list(name, &request.pull.remote)?;
    let Ok(Document::Index { entries, .. }) = Document::parse(&bytes, "") else {
        // One image: its configuration says.
        return Ok(vec![engine.image(name).map_or_else(|_| Platform::host(), |found| found.image.platform)]);
    };
    let known = entries.into_iter().filter_map(|entry| entry.platform);
    Ok(known.filter(|platform| platform.os == "linux").collect())
}

/// Can programs of `platform` be run here, by themselves or by an emulator that the kernel knows?
///
/// # Errors
///
/// [`Kind::Unsupported`] if not.
pub(super) fn check_runnable(platform: &Platform) -> Result<(), Error> {
    let host = Platform::host();
    if host.runs(platform) || has_emulator(&platform.arch) {
        return Ok(());
    }
    let message = format!("RUN for {platform} on {host} needs an emulator, and the kernel knows none");
    Err(Error::new(Kind::Unsupported, message)
        .hint("install one, like qemu-user-static with binfmt-support; or build in a stage FROM --platform=$BUILDPLATFORM"))
}

fn has_emulator(arch: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(INTERPRETERS) else { return false };
    let name = kernel_name(arch);
    entries.flatten().any(|entry| {
        let file = entry.file_name();
        file.to_str().is_some_and(|file| file.rsplit('-').next() == Some(name))
    })
}

/// What emulators call an architecture.
fn kernel_name(arch: &str) -> &str {
    match arch {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "386" => "i386",
        "mips64le" => "mips64el",
        "mipsle" => "mipsel",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_here() {
        assert!(check_runnable(&Platform::host()).is_ok());
        let err = check_runnable(&Platform::new("linux", "pdp11", "")).unwrap_err();
        assert!(err.message.contains("linux/pdp11") && err.hint.is_some(), "{err}");
        assert_eq!(kernel_name("arm64"), "aarch64");
        assert_eq!(kernel_name("riscv64"), "riscv64");
    }
}
