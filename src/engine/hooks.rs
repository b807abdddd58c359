//! Hooks: programs that the machine's administrator or the user has run at points of each container's life.
//!
//! ```text
//! --hooks-dir, hooks_dir ─▶ *.json ─▶ when does it match this container? ─▶ spec.hooks ─▶ monitor and init run them
//! ```
//!
//! Of files with one name that of the last directory counts; they are run in the order of their names.
//!
//! # Source
//!
//! oci-hooks(5), version 1.0.0; OCI runtime specification, config.md, "POSIX-platform Hooks"; what podman 5.4.2 does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::pattern::Regex;
use crate::base::spec::{ContainerSpec, Hook, HookStage};
use crate::engine::{Engine, Error, Kind, Result};

/// Where such files lie unless somebody says otherwise, the strongest last; the second is root's.
const DIRECTORIES: [&str; 2] = ["/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"];

/// The largest file that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// One file.
#[derive(Debug, Deserialize)]
struct HookFile {
    version: String,
    hook: Program,
    when: When,
    stages: Vec<String>,
}

/// What is run: the same in these files and in those of CDI.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Program {
    path: PathBuf,
    #[serde(default)]
    args: Vec<String>,
    env: Option<Vec<String>>,
    /// In seconds.
    timeout: Option<u32>,
}

/// All that is said must hold, and something must be said.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct When {
    always: Option<bool>,
    annotations: BTreeMap<String, String>,
    commands: Vec<String>,
    has_bind_mounts: Option<bool>,
}

impl When {
    /// Does it hold for a container?
    fn matches(&self, spec: &ContainerSpec, has_mounts: bool) -> std::result::Result<bool, String> {
        let regex = |text: &String| Regex::new(text).map_err(|err| err.to_string());
        let mut said = self.always.into_iter().chain(self.has_bind_mounts.map(|wanted| wanted && has_mounts));
        let mut is_said = self.always.is_some() || self.has_bind_mounts.is_some();
        if said.any(|holds| !holds) {
            return Ok(false);
        }
        for (key, value) in &self.annotations {
            let (key, value) = (regex(key)?, regex(value)?);
            if !spec.annotations.iter().any(|(known, its)| key.is_match(known) && value.is_match(its)) {
                return Ok(false);
            }
            is_said = true;
        }
        if !self.commands.is_empty() {
            let command = spec.process.args.first().map(|word| word.to_string_lossy()).unwrap_or_default();
            let patterns = self.commands.iter().map(regex).collect::<std::result::Result<Vec<_>, _>>()?;
            return Ok(patterns.iter().any(|pattern| pattern.is_match(&command)));
        }
        Ok(is_said)
    }
}

impl Engine {
    /// The hooks of a container, in the order in which they run; `has_mounts`: somebody has asked for mounts.
    ///
    /// # Errors
    ///
    /// For a file that is no hook.
    pub(super) fn hooks_for(&self, spec: &ContainerSpec, has_mounts: bool) -> Result<Vec<Hook>> {
        let usual = &DIRECTORIES[..if self.is_rootful() { 2 } else { 1 }];
        let usual: Vec<PathBuf> = usual.iter().map(PathBuf::from).collect();
        let mut files = BTreeMap::new();
        for directory in self.conf().engine.hooks_dir.as_ref().unwrap_or(&usual) {
            // One that is not there has none.
            let Ok(entries) = std::fs::read_dir(directory) else { continue };
            let paths = entries.flatten().map(|entry| entry.path());
            let paths = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
            files.extend(paths.filter_map(|path| Some((path.file_name()?.to_ascii_lowercase(), path))));
        }
        let mut hooks = Vec::new();
        for path in files.values() {
            let bad = |why: String| {
                Error::invalid(format!("setting up OCI Hooks: parsing hook {}: {why}", path.display()))
            };
            if let Some(file) = read(path).map_err(bad)?
                && file.when.matches(spec, has_mounts).map_err(bad)?
            {
                let stages = file.stages.iter().map(|name| stage(name)).collect::<Result<Vec<_>>>()?;
                hooks.extend(stages.into_iter().map(|stage| file.hook.at(stage)));
            }
        }
        Ok(hooks)
    }
}

impl Program {
    /// The hook that runs it at a stage.
    pub(super) fn at(&self, stage: HookStage) -> Hook {
        let Self { path, args, env, timeout } = self;
        Hook { stage, path: path.clone(), args: args.clone(), env: env.clone(), timeout_s: *timeout }
    }
}

/// Reads a file; `None` if its program is not there, as with podman.
fn read(path: &Path) -> std::result::Result<Option<HookFile>, String> {
    let text = crate::sys::fs::read_at(rustix::fs::CWD, path, MAX_BYTES).map_err(|err| err.to_string())?;
    let file: HookFile = serde_json::from_slice(&text).map_err(|err| err.to_string())?;
    if file.version != "1.0.0" {
        return Err(format!("unrecognized hook version: {:?}", file.version));
    }
    if !file.hook.path.is_absolute() {
        return Err(format!("path must be absolute: {}", file.hook.path.display()));
    }
    if let Some(bad) = file.hook.env.iter().flatten().find(|entry| !entry.contains('=')) {
        return Err(format!("{bad:?} is no variable"));
    }
    if file.stages.is_empty() {
        return Err("missing required property: stages".to_owned());
    }
    Ok(file.hook.path.exists().then_some(file))
}

/// A stage by its name.
///
/// # Errors
///
/// For a name that there is not, and for what ketch does not do.
pub(super) fn stage(name: &str) -> Result<HookStage> {
    match name {
        "prestart" => Ok(HookStage::Prestart),
        "createRuntime" => Ok(HookStage::CreateRuntime),
        "createContainer" => Ok(HookStage::CreateContainer),
        "startContainer" => Ok(HookStage::StartContainer),
        "poststart" => Ok(HookStage::Poststart),
        "poststop" => Ok(HookStage::Poststop),
        "precreate" => {
            let message =
                "setting up OCI Hooks: precreate hooks change what a runtime is told, and ketch is its own";
            Err(Error::new(Kind::Unsupported, message))
        }
        _ => Err(Error::invalid(format!("setting up OCI Hooks: unknown stage {name:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_a_name() {
        for name in
            ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
        {
            assert!(stage(name).is_ok(), "{name}");
        }
        assert!(stage("precreate").is_err() && stage("Prestart").is_err());
    }
}
