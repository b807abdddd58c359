//! Flags of `run` and `create`: the root file system, mounts and devices.

use std::ffi::OsString;

use clap::Args;

use crate::base::device;
use crate::base::mount_syntax;
use crate::base::spec::Device;
use crate::cli::container_flags::bytes;
use crate::cli::verbs::truth_value;
use crate::engine::request::{ContainerRequest, ImageVolumes};
use crate::engine::{Error, Result};

/// The root file system, mounts and devices.
#[derive(Args, Debug)]
#[command(next_help_heading = "Files")]
pub(crate) struct MountFlags {
    /// Give the container a device, or a directory of devices, of the host (HOST[:CONTAINER][:rwm]), or a CDI device (VENDOR/CLASS=NAME; can be repeated)
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,

    /// Give it graphics processors by their CDI names: all, or numbers and names (can be repeated)
    #[arg(long, value_name = "GPU", value_delimiter = ',')]
    gpus: Vec<String>,

    /// Volumes that the image declares: anonymous (the default, also called bind), tmpfs or ignore
    #[arg(long, value_name = "MODE")]
    image_volume: Option<String>,

    /// Mount something: type=bind|volume|tmpfs|ramfs|image|devpts|mqueue|glob,source=…,target=…,… (can be repeated)
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<String>,

    /// Mount the root file system read-only
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = truth_value)]
    read_only: Option<bool>,

    /// With --read-only: mount writable tmpfs on /run, /tmp and /var/tmp
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    read_only_tmpfs: bool,

    /// Size of /dev/shm, like 64m
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,

    /// Mount a tmpfs (PATH[:OPTIONS]; can be repeated)
    #[arg(long, value_name = "PATH")]
    tmpfs: Vec<String>,

    /// Mount a directory, file or volume: [SOURCE:]TARGET[:OPTIONS] (can be repeated)
    #[arg(short, long, value_name = "VOLUME")]
    volume: Vec<OsString>,

    /// Mount the volumes of another container (NAME[:ro,z]; can be repeated)
    #[arg(long, value_name = "CONTAINER")]
    volumes_from: Vec<String>,
}

impl MountFlags {
    /// Puts these flags' part into a request.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; files that cannot be read.
    pub(super) fn fill(&self, request: &mut ContainerRequest) -> Result<()> {
        request.read_only = self.read_only == Some(true);
        request.writable_asked = self.read_only == Some(false);
        request.read_only_tmpfs = self.read_only_tmpfs;
        request.mounts = self.mounts()?;
        request.binds = self.volume.iter().map(|text| text.to_string_lossy().into_owned()).collect();
        request.volumes_from.clone_from(&self.volumes_from);
        request.image_volumes = self.image_volumes()?;
        let (cdi, nodes): (Vec<_>, Vec<_>) = self.device.iter().partition(|text| device::is_cdi_name(text));
        request.devices = nodes.into_iter().map(|text| device(text)).collect::<Result<_>>()?;
        let gpus = self.gpus.iter().map(|gpu| format!("nvidia.com/gpu={gpu}"));
        request.cdi_devices = cdi.into_iter().cloned().chain(gpus).collect();
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

/// `HOST[:CONTAINER][:rwm]`.
pub(crate) fn device(text: &str) -> Result<Device> {
    device::parse(text)
        .ok_or_else(|| Error::invalid(format!("invalid device {text:?}: write HOST[:CONTAINER][:rwm]")))
}
