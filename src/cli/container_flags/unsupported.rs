//! Flags of `run` and `create` that other engines have and that cannot work here: each says why and fails.
//!
//! A script that uses one of them is told so in one line, rather than served something else than it asked for.

use clap::Args;

use crate::engine::{Error, Kind, Result};

/// Flags that cannot work.
#[derive(Args, Debug)]
#[command(next_help_heading = "Known, but refused with the reason")]
pub(crate) struct UnsupportedFlags {
    /// Key for encrypted images: ketch does not decrypt images
    #[arg(long, value_name = "KEY")]
    decryption_key: Vec<String>,

    /// Isolation technology: `default` is the only one on Linux
    #[arg(long, value_name = "NAME")]
    isolation: Option<String>,

    /// Class of service for cache and memory bandwidth: resctrl is for root of the host only
    #[arg(long, value_name = "CLASS")]
    rdt_class: Option<String>,

    /// Runtime: ketch starts containers itself and uses no other program
    #[arg(long, value_name = "RUNTIME")]
    runtime: Option<String>,

    /// Option for another runtime: ketch uses none
    #[arg(long, value_name = "FLAG")]
    runtime_flag: Vec<String>,

    /// Option of the storage driver: quotas of overlays are for root of the host only
    #[arg(long, value_name = "KEY=VALUE")]
    storage_opt: Vec<String>,

    /// The engine's socket inside: there is no engine that listens
    #[arg(long)]
    use_api_socket: bool,

    /// Driver of the volumes: `local` is the only one
    #[arg(long, value_name = "DRIVER")]
    volume_driver: Option<String>,
}

impl UnsupportedFlags {
    /// Docker's own runtime is what starts containers here.
    pub(super) fn take_as_docker(&mut self) {
        self.runtime.take_if(|name| matches!(name.as_str(), "runc" | "io.containerd.runc.v2"));
    }

    /// Says which of the flags was used, and why it cannot work.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`], if any was.
    pub(super) fn refuse(&self) -> Result<()> {
        let given = |flag: &Option<String>| flag.as_deref().is_some_and(|value| !value.is_empty());
        let other = |flag: &Option<String>, fine: &[&str]| {
            flag.as_deref().is_some_and(|value| !value.is_empty() && !fine.contains(&value))
        };
        for (used, why) in [
            (!self.decryption_key.is_empty(), "--decryption-key: ketch does not decrypt images"),
            (other(&self.isolation, &["default"]), "--isolation: \"default\" is the only isolation on Linux"),
            (given(&self.rdt_class), "--rdt-class: resctrl is for root of the host only"),
            (
                other(&self.runtime, &["ketch"]),
                "--runtime: ketch starts containers itself and uses no other runtime",
            ),
            (!self.runtime_flag.is_empty(), "--runtime-flag: ketch uses no other runtime"),
            (
                !self.storage_opt.is_empty(),
                "--storage-opt: quotas of the container's own files are for root of the host only",
            ),
            (self.use_api_socket, "--use-api-socket: there is no engine that listens"),
            (other(&self.volume_driver, &["local"]), "--volume-driver: \"local\" is the only driver"),
        ] {
            if used {
                return Err(Error::new(Kind::Unsupported, why));
            }
        }
        Ok(())
    }
}
