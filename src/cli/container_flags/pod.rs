//! Flags of `run` and `create`: the pod that a container is of; and those of `pod create`, for its infra container.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::base::bytes::Bytes;
use crate::base::pod::{InitKind, Share};
use crate::base::spec::RestartPolicy;
use crate::cli::container_flags::identity::IdentityFlags;
use crate::cli::container_flags::mounts::MountFlags;
use crate::cli::container_flags::namespaces::NamespaceFlags;
use crate::cli::container_flags::network::NetworkFlags;
use crate::cli::container_flags::security::SecurityFlags;
use crate::cli::pod::pod_id_in;
use crate::engine::pod::PodRequest;
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, Result};

/// The pod that it is of.
#[derive(Args, Debug)]
#[command(next_help_heading = "Pod")]
pub(crate) struct PodFlags {
    /// Run it before the others of its pod, whenever that starts (always) or the first time (once)
    #[arg(long, value_name = "WHEN")]
    init_ctr: Option<String>,

    /// Put it into a pod, by name or ID; new:NAME makes one, which gets its ports, networks and host name
    #[arg(long, value_name = "POD")]
    pod: Option<String>,

    /// Put it into the pod whose ID this file holds
    #[arg(long, value_name = "FILE")]
    pod_id_file: Option<PathBuf>,
}

/// What `--pod` says.
#[derive(Debug)]
pub(crate) enum PodChoice {
    /// Nothing, or a pod that is there.
    AsAsked,
    /// `new:NAME`: this is made first.
    New(Box<PodRequest>),
}

impl PodFlags {
    /// Puts these flags' part into a request.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; files that cannot be read.
    pub(super) fn fill(&self, request: &mut ContainerRequest) -> Result<()> {
        let pod = self.pod.as_deref().filter(|pod| !pod.is_empty());
        request.pod = match (pod, &self.pod_id_file) {
            (Some(_), Some(_)) => return Err(Error::invalid("cannot specify both --pod and --pod-id-file")),
            (Some(pod), None) => Some(pod.to_owned()),
            (None, Some(file)) => Some(pod_id_in(file)?),
            (None, None) => None,
        };
        let init = self.init_ctr.as_deref().filter(|word| !word.is_empty());
        request.init_container = init
            .map(|word| {
                InitKind::named(word)
                    .ok_or_else(|| Error::invalid("init-ctr value must be 'always' or 'once'"))
            })
            .transpose()?;
        Ok(())
    }
}

impl PodChoice {
    /// Takes the pod out of a request that is to be made for it (`--pod new:NAME`), with what the pod decides.
    ///
    /// # Errors
    ///
    /// If the pod has no name.
    pub(crate) fn take(request: &mut ContainerRequest) -> Result<Self> {
        let Some(name) = request.pod.as_deref().and_then(|pod| pod.strip_prefix("new:")) else {
            return Ok(Self::AsAsked);
        };
        if name.is_empty() {
            return Err(Error::invalid("new pod name must be at least one character"));
        }
        let name = name.to_owned();
        request.pod = Some(name.clone());
        let infra = ContainerRequest {
            networks: std::mem::take(&mut request.networks),
            ip: request.ip.take(),
            ip6: request.ip6.take(),
            mac: request.mac.take(),
            link_local_ips: std::mem::take(&mut request.link_local_ips),
            network_aliases: std::mem::take(&mut request.network_aliases),
            publish: std::mem::take(&mut request.publish),
            expose: std::mem::take(&mut request.expose),
            add_hosts: std::mem::take(&mut request.add_hosts),
            dns: std::mem::take(&mut request.dns),
            dns_search: std::mem::take(&mut request.dns_search),
            dns_options: std::mem::take(&mut request.dns_options),
            no_hosts: request.no_hosts,
            userns: std::mem::take(&mut request.userns),
            create_command: request.create_command.clone(),
            ..ContainerRequest::default()
        };
        Ok(Self::New(Box::new(PodRequest {
            name: Some(name),
            share: Share::USUAL.to_vec(),
            hostname: request.hostname.take(),
            infra: Some(infra),
            restart: request.restart.filter(|policy| *policy != RestartPolicy::No),
            share_parent: true,
            create_command: request.create_command.clone(),
            ..PodRequest::default()
        })))
    }
}

/// What a pod's infra container is like: flags of `pod create`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Shared")]
pub(crate) struct InfraFlags {
    /// Make the infra container of this image; its own has no files, and needs none
    #[arg(long, value_name = "IMAGE")]
    pub(crate) infra_image: Option<String>,

    /// Leave /etc/hostname to the images
    #[arg(long)]
    no_hostname: bool,

    #[command(flatten)]
    pub(crate) shared: SharedFlags,

    #[command(flatten)]
    pub(crate) network: NetworkFlags,
}

/// What the containers of a pod have in common but for the network: flags of `pod create` and `pod clone`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Shared")]
pub(crate) struct SharedFlags {
    /// Give the containers of the pod a device of the host (HOST[:CONTAINER][:rwm]), or a CDI device (can be repeated)
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,

    /// Map group IDs, as `create` does (can be repeated)
    #[arg(long, value_name = "MAP", value_delimiter = ',')]
    gidmap: Vec<String>,

    /// Give the containers graphics processors by their CDI names (can be repeated)
    #[arg(long, value_name = "GPU")]
    gpus: Vec<String>,

    /// Host name of the pod, instead of its name
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,

    /// The command of an infra container that has an image: words, or a JSON list of them
    #[arg(long, value_name = "COMMAND")]
    pub(crate) infra_command: Option<String>,

    /// Write the number of the infra container's monitor to this file at each start
    #[arg(long, value_name = "FILE")]
    infra_conmon_pidfile: Option<PathBuf>,

    /// Name of the infra container
    #[arg(long, value_name = "NAME")]
    pub(crate) infra_name: Option<String>,

    /// PID namespace of the infra container, which is shared with --share=pid: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE")]
    pid: Option<String>,

    /// Set a security option of all containers, as `create` does (can be repeated)
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,

    /// Size of /dev/shm, like 64m
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,

    /// Map the group IDs that /etc/subgid gives to this name
    #[arg(long, value_name = "NAME", conflicts_with_all = ["gidmap", "userns"])]
    subgidname: Option<String>,

    /// Map the user IDs that /etc/subuid gives to this name
    #[arg(long, value_name = "NAME", conflicts_with_all = ["uidmap", "userns"])]
    subuidname: Option<String>,

    /// Set a kernel parameter of the shared namespaces (NAME=VALUE; can be repeated)
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,

    /// Map user IDs, as `create` does (can be repeated)
    #[arg(long, value_name = "MAP", value_delimiter = ',')]
    uidmap: Vec<String>,

    /// User namespace of all containers: host, auto[:size=N], keep-id[:uid=N,gid=N,size=N], nomap, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,

    /// UTS namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE")]
    uts: Option<String>,

    /// Mount a directory, file or volume in all containers: [SOURCE:]TARGET[:OPTIONS] (can be repeated)
    #[arg(short, long, value_name = "VOLUME")]
    volume: Vec<OsString>,

    /// Mount the volumes of another container in all containers (NAME[:ro,z]; can be repeated)
    #[arg(long, value_name = "CONTAINER")]
    volumes_from: Vec<String>,
}

impl InfraFlags {
    /// The request for the infra container.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; files that cannot be read; a command without an image.
    pub(crate) fn request(&self) -> Result<ContainerRequest> {
        let mut request = self.shared.request()?;
        request.image = self.infra_image.clone().unwrap_or_default();
        if request.entrypoint.is_some() && request.image.is_empty() {
            return Err(Error::invalid("--infra-command needs an image that has the command")
                .hint("name one with --infra-image"));
        }
        request.no_hostname |= self.no_hostname;
        self.network.fill(&mut request)?;
        Ok(request)
    }
}

impl SharedFlags {
    /// What is asked for of the infra container.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; files that cannot be read.
    pub(crate) fn request(&self) -> Result<ContainerRequest> {
        let mut request = ContainerRequest {
            name: self.infra_name.clone().filter(|name| !name.is_empty()),
            monitor_pid_file: self.infra_conmon_pidfile.clone(),
            create_command: std::env::args_os().map(Bytes::from).collect(),
            ..ContainerRequest::default()
        };
        let command = self.infra_command.as_deref().filter(|command| !command.is_empty());
        request.entrypoint = command.map(infra_command);
        MountFlags {
            device: self.device.clone(),
            gpus: self.gpus.clone(),
            shm_size: self.shm_size.clone(),
            volume: self.volume.clone(),
            volumes_from: self.volumes_from.clone(),
            ..MountFlags::default()
        }
        .fill(&mut request)?;
        IdentityFlags {
            gidmap: self.gidmap.clone(),
            uidmap: self.uidmap.clone(),
            subgidname: self.subgidname.clone(),
            subuidname: self.subuidname.clone(),
            userns: self.userns.clone(),
            ..IdentityFlags::default()
        }
        .fill(&mut request)?;
        NamespaceFlags {
            hostname: self.hostname.clone(),
            pid: self.pid.clone(),
            uts: self.uts.clone(),
            ..NamespaceFlags::default()
        }
        .fill(&mut request)?;
        SecurityFlags {
            security_opt: self.security_opt.clone(),
            sysctl: self.sysctl.clone(),
            ..SecurityFlags::default()
        }
        .fill(&mut request)?;
        Ok(request)
    }
}

/// The words of the command of an infra container: those of a JSON list, or between white space.
pub(crate) fn infra_command(text: &str) -> Vec<Bytes> {
    let list = serde_json::from_str::<Vec<String>>(text);
    let words = list.unwrap_or_else(|_| text.split_whitespace().map(str::to_owned).collect());
    words.into_iter().map(Bytes::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_infra_containers() {
        for (text, want) in [
            ("/pause", &["/pause"][..]),
            ("sleep  1000", &["sleep", "1000"]),
            (r#"["sh", "-c", "a b"]"#, &["sh", "-c", "a b"]),
            ("[sleep 5", &["[sleep", "5"]),
        ] {
            let words: Vec<_> =
                infra_command(text).iter().map(|word| word.to_string_lossy().into_owned()).collect();
            assert_eq!(words, want, "{text}");
        }
    }
}
