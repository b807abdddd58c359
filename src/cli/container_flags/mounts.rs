//! Flags of `run` and `create`: the root file system, mounts and devices.

use std::ffi::OsString;

use clap::Args;

use crate::base::csv;
use crate::base::device;
use crate::base::mount_syntax;
use crate::base::order;
use crate::base::spec::Device;
use crate::cli::container_flags::bytes;
use crate::cli::verbs::truth_value;
use crate::engine::request::{ContainerRequest, ImageVolumes};
use crate::engine::{Error, Result};

/// The root file system, mounts and devices.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Files")]
pub(crate) struct MountFlags {
    /// Give the container a device, or a directory of devices, of the host (HOST[:CONTAINER][:rwm]), or a CDI device (VENDOR/CLASS=NAME; can be repeated)
    #[arg(long, value_name = "DEVICE", value_delimiter = ',')]
    pub(super) device: Vec<String>,

    /// Give it graphics processors by their CDI names: all, how many, device=NAME or a list of names (can be repeated)
    #[arg(long, value_name = "GPU")]
    pub(super) gpus: Vec<String>,

    /// Volumes that the image declares: anonymous (the default, also called bind), tmpfs or ignore
    #[arg(long, value_name = "MODE")]
    pub(super) image_volume: Option<String>,

    /// Mount something: type=bind|volume|tmpfs|ramfs|image|devpts|mqueue|glob,source=…,target=…,… (can be repeated)
    #[arg(long, value_name = "MOUNT")]
    pub(super) mount: Vec<String>,

    /// Mount the root file system read-only
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = truth_value)]
    pub(super) read_only: Option<bool>,

    /// With --read-only: mount writable tmpfs on /run, /tmp and /var/tmp
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(super) read_only_tmpfs: bool,

    /// Size of /dev/shm, like 64m
    #[arg(long, value_name = "SIZE")]
    pub(super) shm_size: Option<String>,

    /// Mount a tmpfs (PATH[:OPTIONS]; can be repeated)
    #[arg(long, value_name = "PATH")]
    pub(super) tmpfs: Vec<String>,

    /// Mount a directory, file or volume: [SOURCE:]TARGET[:OPTIONS] (can be repeated)
    #[arg(short, long, value_name = "VOLUME")]
    pub(super) volume: Vec<OsString>,

    /// Mount the volumes of another container (NAME[:ro,z]; can be repeated)
    #[arg(long, value_name = "CONTAINER")]
    pub(super) volumes_from: Vec<String>,
}

impl MountFlags {
    /// Puts these flags' part into a request.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; files that cannot be read.
    pub(super) fn fill(&self, request: &mut ContainerRequest) -> Result<()> {
        request.read_only = self.read_only == Some(true);
        request.denied.read_only = self.read_only == Some(false);
        request.read_only_tmpfs = self.read_only_tmpfs;
        request.mounts = self.mounts()?;
        let tmpfs = self.tmpfs.iter().map(|text| mount_syntax::split_tmpfs(text));
        request.tmpfs = order::map(tmpfs.map(|(target, options)| (target.to_owned(), options.to_owned())));
        request.binds = self.volume.iter().map(|text| text.to_string_lossy().into_owned()).collect();
        request.volumes_from.clone_from(&self.volumes_from);
        request.image_volumes = self.image_volumes()?;
        let (cdi, nodes): (Vec<_>, Vec<_>) = self.device.iter().partition(|text| device::is_cdi_name(text));
        request.devices = nodes.into_iter().map(|text| device(text)).collect::<Result<_>>()?;
        request.cdi_devices = cdi.into_iter().cloned().collect();
        for text in &self.gpus {
            request.cdi_devices.extend(gpus(text)?.into_iter().map(|gpu| format!("nvidia.com/gpu={gpu}")));
        }
        request.shm_size_bytes = self.shm_size.as_deref().map(bytes).transpose()?;
        Ok(())
    }

    fn mounts(&self) -> Result<Vec<mount_syntax::MountRequest>> {
        let invalid = |err: mount_syntax::MountSyntaxError| Error::invalid(err.to_string());
        let volumes = self.volume.iter().map(|text| mount_syntax::parse_volume(text));
        let mounts = self.mount.iter().map(|text| mount_syntax::parse_mount(text));
        let tmpfs = self.tmpfs.iter().map(|text| mount_syntax::parse_tmpfs(text));
        volumes.chain(mounts).chain(tmpfs).map(|mount| mount.map_err(invalid)).collect()
    }

    fn image_volumes(&self) -> Result<Option<ImageVolumes>> {
        let Some(text) = &self.image_volume else { return Ok(None) };
        ImageVolumes::named(text).map(Some).ok_or_else(|| {
            Error::invalid(format!(
                "invalid image volume mode {text:?} required value: anonymous, tmpfs, ignore (or docker's bind)"
            ))
        })
    }
}

/// The CDI names that a value of `--gpus` means, in docker's form (`all`, `2`, `device=0`, `"device=0,2"`,
/// `all,capabilities=utility`) or podman's (`0,1`). A number alone is how many; their names are numbers from 0.
fn gpus(text: &str) -> Result<Vec<String>> {
    let bad = |why: &str| Error::invalid(format!("invalid --gpus {text:?}: {why}"));
    let first = |count: &str| -> Result<Vec<String>> {
        match (count, count.parse::<u16>()) {
            ("all" | "-1", _) => Ok(vec!["all".to_owned()]),
            (_, Ok(count)) => Ok((0..count).map(|number| number.to_string()).collect()),
            _ => Err(bad("the count is a number, or all")),
        }
    };
    // Shells take the outer quotes of `"device=0,2"` away, or they do not.
    let whole =
        text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).filter(|text| !text.contains('"'));
    let fields: Vec<String> = match whole.unwrap_or(text) {
        list if list.starts_with("device=") && !list.contains('"') => vec![list.to_owned()],
        _ => csv::fields(text),
    };
    let bare = fields.iter().filter(|field| !field.contains('=')).count();
    let mut names = Vec::new();
    for field in &fields {
        match field.split_once('=') {
            Some(("device", list)) => names.extend(devices(list)),
            Some(("count", count)) => names.extend(first(count)?),
            // Which driver, and for what: CDI knows one, which gives all it can.
            Some(("driver" | "capabilities" | "options", _)) => {}
            Some((key, _)) => return Err(bad(&format!("unexpected key {key:?}"))),
            None if field != "0" && bare == 1 && field.parse::<u16>().is_ok() => names.extend(first(field)?),
            None => names.push(field.clone()),
        }
    }
    // As docker has it: one, unless more is said.
    if names.is_empty() { first("1") } else { Ok(names) }
}

/// `0,2`; what follows with a key of its own is none of them.
fn devices(list: &str) -> impl Iterator<Item = String> {
    list.split(',').filter(|name| !name.is_empty() && !name.contains('=')).map(str::to_owned)
}

/// `HOST[:CONTAINER][:rwm]`.
pub(crate) fn device(text: &str) -> Result<Device> {
    device::parse(text)
        .ok_or_else(|| Error::invalid(format!("invalid device {text:?}: write HOST[:CONTAINER][:rwm]")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphics_processors() {
        for (text, want) in [
            ("all", &["all"][..]),
            ("all,capabilities=utility", &["all"]),
            ("driver=nvidia,count=all", &["all"]),
            ("device=0", &["0"]),
            ("device=0,2", &["0", "2"]),
            ("\"device=0,2\"", &["0", "2"]),
            ("\"device=0,2\",\"capabilities=utility,compute\"", &["0", "2"]),
            ("device=GPU-1,driver=nvidia", &["GPU-1"]),
            ("2", &["0", "1"]),
            ("count=2", &["0", "1"]),
            ("0,1", &["0", "1"]),
            ("0", &["0"]),
            ("capabilities=gpu", &["0"]),
        ] {
            assert_eq!(gpus(text).unwrap(), want, "{text}");
        }
        for bad in ["count=x", "vendor=y"] {
            assert!(gpus(bad).is_err(), "{bad}");
        }
    }
}
