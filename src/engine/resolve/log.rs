//! Where output goes: the driver and its options.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::id::ContainerId;
use crate::base::log_tag::{self, TagFacts};
use crate::base::size;
use crate::base::spec::{ContainerSpec, Log};
use crate::engine::error::{Error, Result};
use crate::engine::request::ContainerRequest;
use crate::engine::resolve::Facts;

/// 10 MiB three times: enough to find out what happened, and no full disk.
const SIZE: u64 = 10 << 20;
const FILES: u32 = 3;

/// Drivers, and the options that each has.
const DRIVERS: [(&str, &[&str]); 6] = [
    (
        "k8s-file",
        &["path", "max-size", "max-file", "tag", "labels", "env", "compress", "mode", "max-buffer-size"],
    ),
    (
        "json-file",
        &["path", "max-size", "max-file", "tag", "labels", "env", "compress", "mode", "max-buffer-size"],
    ),
    ("journald", &["tag", "labels", "env"]),
    ("passthrough", &[]),
    ("passthrough-tty", &[]),
    ("none", &[]),
];

/// Decides where output goes.
pub(super) fn log(request: &ContainerRequest, facts: &Facts<'_>) -> Result<Log> {
    // Docker's other name for a file that rotates.
    let typed = match request.log_driver.as_deref() {
        None | Some("" | "local") => "k8s-file",
        Some(other) => other,
    };
    let Some((driver, known)) = DRIVERS.iter().find(|(name, _)| *name == typed) else {
        let names: Vec<_> = DRIVERS.iter().map(|(name, _)| *name).collect();
        return Err(Error::invalid(format!("log driver {typed:?} is not known"))
            .hint(format!("known are {}", names.join(", "))));
    };
    let mut log = Log {
        driver: (*driver).to_owned(),
        path: None,
        max_size_bytes: SIZE,
        max_files: FILES,
        options: BTreeMap::new(),
    };
    if driver.starts_with("passthrough") && request.terminal {
        return Err(Error::invalid(format!("--log-driver {driver} cannot be used with --tty")));
    }
    for option in &request.log_options {
        let (key, value) = option
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Error::invalid(format!("invalid log option {option:?}: write KEY=VALUE")))?;
        // podman's name and docker's.
        let key = if key == "label" { "labels" } else { key };
        if !known.contains(&key) {
            let hint = match known {
                [] => format!("{driver} has no options"),
                known => format!("{driver} has {}", known.join(", ")),
            };
            return Err(Error::invalid(format!("log option {key:?} is not known to {driver}")).hint(hint));
        }
        set(&mut log, key, value, facts)?;
    }
    let usual = request.log_directory.as_ref().map(|top| log_below(&facts.directory.join(top), &facts.id));
    log.path = log.path.or(usual);
    Ok(log)
}

/// The place of a container's log below the directory of the configuration, as containers.conf(5) has it.
fn log_below(top: &Path, id: &ContainerId) -> PathBuf {
    top.join(id.as_str()).join("ctr.log")
}

/// The directory of the configuration that `path` is below, if it is the place of that container's log there.
fn directory_of<'a>(path: &'a Path, id: &ContainerId) -> Option<&'a Path> {
    let top = path.parent()?.parent()?;
    (path == log_below(top, id)).then_some(top)
}

/// The directory of a log that is below that of the configuration.
pub(crate) fn own_log_directory(spec: &ContainerSpec) -> Option<&Path> {
    let path = spec.log.path.as_deref()?;
    directory_of(path, &spec.id).and(path.parent())
}

/// Gives what was the container `original` a log of its own, if that one had.
pub(crate) fn rename_log(spec: &mut ContainerSpec, original: &ContainerId) {
    if let Some(path) = &mut spec.log.path
        && let Some(top) = directory_of(path, original)
    {
        *path = log_below(top, &spec.id);
    }
}

fn set(log: &mut Log, key: &str, value: &str, facts: &Facts<'_>) -> Result<()> {
    let bad = |why: &str| Error::invalid(format!("invalid log option {key}={value}: {why}"));
    match key {
        "path" if value.is_empty() => return Err(bad("an empty path")),
        "path" => log.path = Some(facts.directory.join(value)),
        "max-size" if value == "-1" => log.max_size_bytes = 0,
        "max-size" => log.max_size_bytes = size::parse_decimal(value).map_err(|err| bad(&err.to_string()))?,
        "max-file" => {
            let count = value.parse().ok().filter(|count| *count > 0);
            log.max_files = count.ok_or_else(|| bad("a number of at least 1"))?;
        }
        // Docker's, best effort: old files stay as they are, and the monitor never makes the container wait for a file.
        "compress" if !matches!(value, "true" | "false") => return Err(bad("true or false")),
        "mode" if !matches!(value, "blocking" | "non-blocking") => {
            return Err(bad("blocking or non-blocking"));
        }
        "max-buffer-size" => {
            size::parse_decimal(value).map_err(|err| bad(&err.to_string()))?;
            log.options.insert(key.to_owned(), value.to_owned());
        }
        "tag" => {
            log_tag::render(value, &TagFacts::default()).map_err(|err| Error::invalid(err.to_string()))?;
            log.options.insert(key.to_owned(), value.to_owned());
        }
        _ => drop(log.options.insert(key.to_owned(), value.to_owned())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_driver_is_named_once_and_files_can_rotate() {
        for (driver, known) in DRIVERS {
            assert_eq!(DRIVERS.iter().filter(|(name, _)| *name == driver).count(), 1);
            assert_eq!(known.contains(&"max-size"), driver.ends_with("-file"), "{driver}");
            let has_tag = driver.ends_with("-file") || driver == "journald";
            assert_eq!(known.contains(&"tag"), has_tag, "{driver}");
        }
    }
}
