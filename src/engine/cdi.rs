//! CDI, the Container Device Interface: what vendors say a device needs, in files of JSON or YAML.
//!
//! ```text
//! --device nvidia.com/gpu=all ─▶ /etc/cdi/*.{json,yaml}, /var/run/cdi/* ─▶ device nodes, mounts, variables, hooks
//! ```
//!
//! # Source
//!
//! CDI specification 0.8, `SPEC.md`. A file in a later directory takes precedence over one in an earlier.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::bytes::Bytes;
use crate::base::mount_syntax::{MountKindRequest, MountRequest};
use crate::base::order::InOrder as _;
use crate::base::spec::Device;
use crate::base::yaml::read as yaml;
use crate::engine::request::ContainerRequest;
use crate::engine::{Engine, Error, Result, hooks};

/// Where such files lie unless the configuration says otherwise, the strongest last.
const DIRECTORIES: [&str; 3] = ["/etc/cdi", "/run/cdi", "/var/run/cdi"];

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CdiFile {
    kind: String,
    #[serde(default)]
    devices: Vec<CdiDevice>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CdiDevice {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<CdiMount>,
    hooks: Vec<CdiHook>,
    #[serde(rename = "additionalGids")]
    additional_gids: Vec<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CdiHook {
    hook_name: String,
    #[serde(flatten)]
    program: hooks::Program,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    path: String,
    host_path: Option<String>,
    permissions: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CdiMount {
    host_path: String,
    container_path: String,
    #[serde(default)]
    options: Vec<String>,
}

/// Capabilities of devices that mean NVIDIA's.
const OF_NVIDIA: [&str; 8] =
    ["gpu", "nvidia", "compute", "utility", "graphics", "video", "display", "compat32"];

/// The CDI names of the devices that a request in Docker's form asks for: those of `ids`, or `count` of them, where -1 is all
/// of them, and 0 as good as none said.
///
/// # Errors
///
/// For a driver or a capability that is not known.
pub(crate) fn names(
    driver: &str,
    count: Option<i64>,
    ids: &[String],
    capabilities: &[&str],
) -> Result<Vec<String>> {
    let unknown = |what: String| {
        Error::invalid(format!("could not select a device driver {what}"))
            .hint("name devices by CDI: driver: cdi, device_ids: [vendor.com/class=name]")
    };
    if let Some(other) = capabilities.iter().find(|known| !OF_NVIDIA.contains(known)) {
        return Err(unknown(format!("with the capability {other:?}")));
    }
    match driver {
        "cdi" => Ok(ids.to_vec()),
        "" | "nvidia" if !ids.is_empty() => Ok(ids.iter().map(|id| format!("nvidia.com/gpu={id}")).collect()),
        "" | "nvidia" => Ok(match count {
            None | Some(-1) => vec!["nvidia.com/gpu=all".to_owned()],
            Some(count) => (0..count).map(|gpu| format!("nvidia.com/gpu={gpu}")).collect(),
        }),
        driver => Err(unknown(format!("of the name {driver:?}"))),
    }
}

impl Engine {
    /// Puts what CDI devices need into a request.
    ///
    /// # Errors
    ///
    /// For a device that no file describes.
    pub(crate) fn add_cdi_devices(&self, request: &mut ContainerRequest) -> Result<()> {
        if request.cdi_devices.is_empty() {
            return Ok(());
        }
        let usual: Vec<PathBuf> = DIRECTORIES.iter().map(PathBuf::from).collect();
        let configured = &self.conf().engine.cdi_spec_dirs;
        let files = self.read_files(if configured.is_empty() { &usual } else { configured });
        let names = std::mem::take(&mut request.cdi_devices);
        let mut seen_kinds: Vec<&str> = Vec::new();
        for name in &names {
            let (kind, device) = name.split_once('=').unwrap_or((name, ""));
            let found = files.iter().rev().find_map(|file| {
                let device = file.devices.iter().find(|known| file.kind == kind && known.name == device)?;
                Some((file, device))
            });
            let (file, device) = found.ok_or_else(|| {
                Error::invalid(format!("setting up CDI devices: unresolvable CDI devices {name}"))
                    .hint("its description belongs into /etc/cdi or /var/run/cdi; for NVIDIA: nvidia-ctk cdi generate")
            })?;
            if !seen_kinds.contains(&kind) {
                seen_kinds.push(kind);
                apply(request, &file.container_edits)?;
            }
            apply(request, &device.container_edits)?;
        }
        request.cdi_devices = names;
        Ok(())
    }

    /// All files that can be read; one that cannot is told of and left out.
    fn read_files(&self, directories: &[PathBuf]) -> Vec<CdiFile> {
        let mut files = Vec::new();
        for directory in directories {
            let Ok(entries) = std::fs::read_dir(directory) else { continue };
            let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            paths.order();
            for path in paths {
                match read_file(&path) {
                    Some(Ok(file)) => files.push(file),
                    Some(Err(why)) => self.tell(&format!("{} is left out: {why}", path.display())),
                    None => {}
                }
            }
        }
        files
    }
}

/// Puts what a device needs into a request.
fn apply(request: &mut ContainerRequest, edits: &Edits) -> Result<()> {
    // Before what the user sets.
    request.env.splice(0..0, edits.env.iter().map(|entry| Bytes::from(entry.as_str())));
    request.groups.extend(edits.additional_gids.iter().map(ToString::to_string));
    request.devices.extend(edits.device_nodes.iter().map(|node| Device {
        source: node.host_path.as_ref().unwrap_or(&node.path).into(),
        target: node.path.as_str().into(),
        access: node.permissions.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| "rwm".to_owned()),
    }));
    request.mounts.extend(edits.mounts.iter().map(CdiMount::request));
    for CdiHook { hook_name, program } in &edits.hooks {
        request.hooks.push(program.at(hooks::stage(hook_name)?));
    }
    Ok(())
}

impl CdiMount {
    fn request(&self) -> MountRequest {
        let has = |word: &str| self.options.iter().any(|option| option == word);
        let flags = ["nosuid", "nodev", "noexec", "noatime"];
        MountRequest {
            kind: MountKindRequest::Bind {
                source: PathBuf::from(&self.host_path),
                recursive: !has("bind"),
                chown: false,
                glob: false,
            },
            target: self.container_path.as_str().into(),
            read_only: has("ro"),
            options: flags.into_iter().filter(|flag| has(flag)).map(str::to_owned).collect(),
            propagation: None,
            overlay: None,
            idmap: None,
        }
    }
}

/// Reads a description; `None` for a file of another kind.
fn read_file(path: &Path) -> Option<std::result::Result<CdiFile, String>> {
    let extension = path.extension()?.to_str()?;
    if !matches!(extension, "json" | "yaml" | "yml") {
        return None;
    }
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > MAX_BYTES) {
        return Some(Err("it is too large".to_owned()));
    }
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(err) => return Some(Err(err.to_string())),
    };
    Some(if extension == "json" {
        serde_json::from_str(&text).map_err(|err| err.to_string())
    } else {
        yaml::value_of(&text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let json = r#"{"cdiVersion":"0.6.0","kind":"v.com/c","devices":[{"name":"d","containerEdits":{"deviceNodes":[{"path":"/dev/x","hostPath":"/dev/null","permissions":"rw"}]}}],"containerEdits":{"env":["A=b"],"mounts":[{"hostPath":"/etc","containerPath":"/x","options":["ro","nosuid","bind"]}]}}"#;
        let yaml = "cdiVersion: 0.6.0\nkind: v.com/c\ndevices:\n- name: d\n  containerEdits:\n    deviceNodes:\n    - path: /dev/x\n      hostPath: /dev/null\n      permissions: rw\ncontainerEdits:\n  env: [A=b]\n  mounts:\n  - {hostPath: /etc, containerPath: /x, options: [ro, nosuid, bind]}\n";
        let mut seen = Vec::new();
        for (name, text) in [("a.json", json), ("a.yaml", yaml)] {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            let file = read_file(&path).unwrap().unwrap();
            assert_eq!(file.container_edits.mounts[0].request().options, ["nosuid"]);
            seen.push(format!("{file:?}"));
        }
        assert_eq!(seen[0], seen[1]);
        assert!(read_file(&dir.path().join("notes.txt")).is_none());
    }
}
