//! What a request names in the plural: directories of devices, and files by a pattern.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::base::bytes::Bytes;
use crate::base::mount_syntax::{MountKindRequest, MountRequest};
use crate::base::order::InOrder as _;
use crate::base::pattern;
use crate::base::spec::Device;
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, Result};

/// Replaces directories by the devices in them, and patterns by the files that match.
///
/// # Errors
///
/// For what is not there or matches nothing.
pub(crate) fn expand(request: &mut ContainerRequest) -> Result<()> {
    if request.devices.iter().any(|device| device.source.is_dir()) {
        let devices = std::mem::take(&mut request.devices);
        for device in devices {
            if device.source.is_dir() {
                let before = request.devices.len();
                devices_below(&device, &mut request.devices)?;
                if request.devices.len() == before {
                    return Err(Error::invalid(format!("no devices found in {}", device.source.display())));
                }
            } else {
                request.devices.push(device);
            }
        }
    }
    let is_glob = |mount: &MountRequest| matches!(mount.kind, MountKindRequest::Bind { glob: true, .. });
    if request.mounts.iter().any(is_glob) {
        let mounts = std::mem::take(&mut request.mounts);
        for mount in mounts {
            if is_glob(&mount) { files_of(&mount, &mut request.mounts)? } else { request.mounts.push(mount) }
        }
    }
    Ok(())
}

/// Every device node below a directory, at the same place below the target.
fn devices_below(directory: &Device, found: &mut Vec<Device>) -> Result<()> {
    let failed = |err| Error::system(format!("read {}", directory.source.display()), err);
    let mut entries: Vec<_> = std::fs::read_dir(&directory.source).map_err(failed)?.flatten().collect();
    entries.order_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let Ok(kind) = entry.file_type() else { continue };
        let below = Device {
            source: entry.path(),
            target: directory.target.as_path().join(entry.file_name()).into(),
            access: directory.access.clone(),
        };
        if kind.is_dir() {
            // One that may not be read has nothing to pass on.
            devices_below(&below, found).ok();
        } else if kind.is_char_device() || kind.is_block_device() {
            found.push(below);
        }
    }
    Ok(())
}

/// A mount for each file that the pattern matches.
fn files_of(wish: &MountRequest, found: &mut Vec<MountRequest>) -> Result<()> {
    let MountKindRequest::Bind { source, recursive, chown, .. } = &wish.kind else { return Ok(()) };
    let pattern = source.to_str().ok_or_else(|| Error::invalid("a pattern is text"))?;
    let paths = matching(pattern);
    if paths.is_empty() {
        return Err(Error::invalid(format!("no file paths matching glob {pattern:?}")));
    }
    for path in paths {
        let target = if wish.target.is_empty() {
            Bytes::from(path.as_path())
        } else {
            let name = path.file_name().unwrap_or_default();
            Bytes::from(wish.target.as_path().join(name))
        };
        let kind = MountKindRequest::Bind { source: path, recursive: *recursive, chown: *chown, glob: false };
        found.push(MountRequest { kind, target, ..wish.clone() });
    }
    Ok(())
}

/// The paths that match a shell pattern, in order.
fn matching(pattern: &str) -> Vec<PathBuf> {
    let start = if pattern.starts_with('/') { "/" } else { "." };
    let mut paths = vec![PathBuf::from(start)];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        paths = paths.iter().flat_map(|path| step(path, part)).collect();
    }
    paths
}

fn step(path: &Path, part: &str) -> Vec<PathBuf> {
    if !part.contains(['*', '?', '[', '\\']) {
        let next = path.join(part);
        return if next.symlink_metadata().is_ok() { vec![next] } else { Vec::new() };
    }
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let hidden = part.starts_with('.');
    let mut names: Vec<_> = entries
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| hidden || !name.as_bytes().starts_with(b"."))
        .filter(|name| name.to_str().is_some_and(|name| pattern::glob(part, name, true)))
        .collect();
    names.order();
    names.into_iter().map(|name| path.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a1", "a2", "b1", ".a3"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("f"), "").unwrap();
        }
        let base = dir.path().to_str().unwrap();
        let of = |pattern: &str| -> Vec<String> {
            let names = matching(&format!("{base}/{pattern}")).into_iter();
            names.map(|path| path.strip_prefix(dir.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(of("a*"), ["a1", "a2"]);
        assert_eq!(of("?1/f"), ["a1/f", "b1/f"]);
        assert_eq!(of(".a*"), [".a3"]);
        assert_eq!(of("nothing*"), [""; 0]);
    }
}
