//! A container's networks: published ports, the connection to netd, and what both become in its files.
//!
//! ```text
//! prepare: records of the networks, listening sockets      (before process 1 is born)
//! attach:  netd links process 1's namespace                 (before it may go)
//! serve:   netd gone ─▶ started again, linked again; a command has changed something ─▶ files
//! ```

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::base::network::{NetworkAttachment, PortMapping};
use crate::base::spec::{ContainerSpec, NetworkMode, Record};
use crate::net::client::{self, ClientError, Link, Listeners};
use crate::net::control::{Attach, Endpoint, EndpointRequest, RefusalKind};
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::{netd, networks};
use crate::store::Store;

use super::Monitor;

/// The file that says what a running container has on its networks.
pub(crate) const STATE_FILE: &str = "network.json";

/// What a running container has on its networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkState {
    pub(crate) endpoints: Vec<Endpoint>,
    /// Further names, by network.
    pub(crate) aliases: Vec<(String, Vec<String>)>,
    pub(crate) ports: Vec<PortMapping>,
}

impl NetworkState {
    /// Reads it from the container's directory.
    pub(crate) fn read(directory: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(directory.join(STATE_FILE)).ok()?).ok()
    }
}

/// The file that says which networks a container is on, once a command has changed that.
const ATTACHMENTS_FILE: &str = "networks.json";

/// The networks of a container, if they are not those of its spec any more.
pub(crate) fn changed_attachments(directory: &Path) -> Option<Vec<NetworkAttachment>> {
    serde_json::from_slice(&std::fs::read(directory.join(ATTACHMENTS_FILE)).ok()?).ok()
}

/// Notes the networks of a container.
pub(crate) fn change_attachments(directory: &Path, attachments: &[NetworkAttachment]) -> io::Result<()> {
    let new = directory.join("networks.json.new");
    std::fs::write(&new, serde_json::to_vec(attachments)?)?;
    std::fs::rename(&new, directory.join(ATTACHMENTS_FILE))
}

/// The networks of one container, through all its lives.
#[derive(Debug)]
pub(crate) struct Wiring {
    spec: ContainerSpec,
    root: PathBuf,
    /// The container's directory.
    directory: PathBuf,
    /// netd's directory.
    netd: OwnedFd,
    linger: Duration,
    /// Of U's maps.
    fingerprint: String,
    listeners: Listeners,
    attach: Attach,
    link: Option<Link>,
    /// The network namespace of the current life.
    namespace: Option<OwnedFd>,
    /// netd is gone and could not be brought back yet.
    lost: bool,
}

impl Wiring {
    /// Prepares the networks of a container; `None` if it has none of ketch's.
    pub(super) fn prepare(monitor: &Monitor) -> Result<Option<Self>, Failure> {
        let spec = &monitor.spec;
        let NetworkMode::Bridge(attachments) = &spec.network.mode else { return Ok(None) };
        let root = &monitor.order.root;
        let changed = changed_attachments(&monitor.directory);
        let attachments = changed.as_ref().unwrap_or(attachments);
        let endpoints = attachments.iter().map(|wanted| endpoint(root, wanted)).collect::<Result<_, _>>()?;
        let name =
            Store::open(root).ok().and_then(|store| store.names().of(&spec.id).ok()?.into_iter().next());
        let attach = Attach {
            container: spec.id.to_string(),
            name: name.unwrap_or_else(|| spec.id.short().to_owned()),
            hostname: spec.hostname.clone(),
            endpoints,
            dns: spec.network.dns.iter().filter_map(|server| server.parse().ok()).collect(),
            links: spec.network.links.iter().map(|(alias, id)| (alias.clone(), id.to_string())).collect(),
            again: false,
        };
        if spec.network.ports.iter().map(|port| usize::from(port.range)).sum::<usize>() > MANY_PORTS {
            raise_descriptor_limit();
        }
        let netd = netd::directory(root)
            .map_err(|err| Failure::errno("make the network helper's directory", err))?;
        let listeners =
            client::listen(&spec.network.ports).map_err(|error| failure(error, root, &spec.network.ports))?;
        Ok(Some(Self {
            spec: spec.clone(),
            root: root.clone(),
            directory: monitor.directory.clone(),
            netd,
            linger: Duration::from_millis(monitor.order.network_linger_ms),
            fingerprint: monitor.order.fingerprint.clone(),
            listeners,
            attach,
            link: None,
            namespace: None,
            lost: false,
        }))
    }

    /// Links the network namespace of process `pid`, which has just been born.
    pub(super) fn attach(&mut self, pid: i32) -> Result<(), Failure> {
        let path = format!("/proc/{pid}/ns/net");
        let namespace = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Failure::errno("open the container's network namespace", errno))?;
        let (root, settings) = (&self.root, (self.linger, self.fingerprint.as_str()));
        let start =
            |first: OwnedFd, gateway: Option<BorrowedFd<'_>>| netd::start(root, settings, first, gateway);
        let (netd, listeners) = (self.netd.as_fd(), &self.listeners);
        let outcome = match &mut self.link {
            Some(link) => link.reopen(netd, &start, namespace.as_fd(), listeners),
            None => Link::open(netd, &start, self.attach.clone(), namespace.as_fd(), listeners)
                .map(|link| self.link = Some(link)),
        };
        outcome.map_err(|error| failure(error, &self.root, &self.spec.network.ports))?;
        self.namespace = Some(namespace);
        self.lost = false;
        self.write_state().map_err(|err| Failure::errno("write the container's network state", err))
    }

    /// What the container has on its networks.
    pub(super) fn endpoints(&self) -> &[Endpoint] {
        self.link.as_ref().map_or(&[], Link::endpoints)
    }

    /// The container's name, for its hosts file.
    pub(super) fn name(&self) -> &str {
        &self.attach.name
    }

    /// Addresses of the name servers on its networks.
    pub(super) fn name_servers(&self) -> Vec<IpAddr> {
        let Some(link) = &self.link else { return Vec::new() };
        let with_names = |endpoint: &&Endpoint| {
            let wanted = link.wanted().iter().find(|wanted| wanted.network.name == endpoint.network);
            wanted.is_some_and(|wanted| wanted.network.dns_enabled)
        };
        link.endpoints().iter().filter(with_names).flat_map(|e| e.ips.iter().map(|ip| ip.gateway)).collect()
    }

    /// Readable when [`Wiring::on_ready`] has something to do.
    pub(super) fn session(&self) -> Option<BorrowedFd<'_>> {
        self.link.as_ref().filter(|_| !self.lost).map(Link::session)
    }

    /// Whether netd has to be brought back still.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// netd has said something, or is gone.
    pub(super) fn on_ready(&mut self) {
        let Some(link) = &mut self.link else { return };
        if link.listen() {
            self.refresh_files();
        } else {
            self.bring_back();
        }
    }

    /// Starts netd again, or finds the one that another monitor has started, and is linked again.
    pub(super) fn bring_back(&mut self) {
        let (Some(link), Some(namespace)) = (&mut self.link, &self.namespace) else { return };
        let (root, settings) = (&self.root, (self.linger, self.fingerprint.as_str()));
        let start =
            |first: OwnedFd, gateway: Option<BorrowedFd<'_>>| netd::start(root, settings, first, gateway);
        let outcome = link.reopen(self.netd.as_fd(), &start, namespace.as_fd(), &self.listeners);
        self.lost = outcome.is_err();
        if !self.lost {
            self.refresh_files();
        }
    }

    /// The files show what has changed. One that cannot be written keeps what it said.
    fn refresh_files(&self) {
        self.write_state().ok();
        super::etcfiles::write(&self.spec, &self.root, &self.directory, Some(self)).ok();
    }

    fn write_state(&self) -> io::Result<()> {
        let Some(link) = &self.link else { return Ok(()) };
        let aliases = link.wanted().iter().map(|w| (w.network.name.clone(), w.aliases.clone())).collect();
        let state = NetworkState {
            endpoints: link.endpoints().to_vec(),
            aliases,
            ports: self.spec.network.ports.clone(),
        };
        let new = self.directory.join("network.json.new");
        std::fs::write(&new, serde_json::to_vec(&state)?)?;
        std::fs::rename(&new, self.directory.join(STATE_FILE))
    }
}

/// More published ports than this need more descriptors than a process usually may have.
const MANY_PORTS: usize = 400;

fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).ok();
}

/// What to ask netd for one network.
pub(crate) fn endpoint(root: &Path, wanted: &NetworkAttachment) -> Result<EndpointRequest, Failure> {
    let what = || format!("read network {}", wanted.name);
    let network = networks::load(root, &wanted.name)
        .map_err(|err| Failure::errno(what(), err))?
        .ok_or_else(|| Failure::new(FailureKind::Invalid, format!("network {} not found", wanted.name)))?;
    Ok(EndpointRequest {
        network,
        interface: wanted.interface.clone(),
        ips: wanted.ips.clone(),
        mac: wanted.mac,
        aliases: wanted.aliases.clone(),
    })
}

fn failure(error: ClientError, root: &Path, ports: &[PortMapping]) -> Failure {
    match error {
        ClientError::Refused(refusal) => {
            let kind = match refusal.kind {
                RefusalKind::Invalid | RefusalKind::NotFound | RefusalKind::Conflict => FailureKind::Invalid,
                RefusalKind::System => FailureKind::System,
            };
            let mut failure = Failure::new(kind, refusal.message);
            if refusal.kind == RefusalKind::System {
                failure.hint = Some(
                    "the kernel must have bridge, veth, nf_tables, nft_tproxy, nft_socket and nft_fib; \
                     without them use --network none or host"
                        .into(),
                );
            }
            failure
        }
        ClientError::Bind { address, protocol, source } => {
            let mut failure = Failure::errno(
                format!("publish port {}/{protocol} at {}", address.port(), address.ip()),
                source,
            );
            failure.kind = FailureKind::Invalid;
            failure.hint = match source {
                rustix::io::Errno::ACCESS | rustix::io::Errno::PERM => Some(format!(
                    "only root may use ports below {}; as root: sysctl net.ipv4.ip_unprivileged_port_start={}",
                    first_free_port(),
                    address.port()
                )),
                rustix::io::Errno::ADDRINUSE => {
                    let wanted = ports.iter().find(|port| port.protocol == protocol);
                    wanted.and_then(|_| owner(root, address.port(), protocol))
                }
                _ => None,
            };
            failure
        }
        other => Failure::system("set up the container's network", &other),
    }
}

fn first_free_port() -> String {
    let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    std::fs::read_to_string(path).map_or_else(|_| "1024".to_owned(), |text| text.trim().to_owned())
}

/// Says which container publishes a port already.
fn owner(root: &Path, port: u16, protocol: crate::base::network::Protocol) -> Option<String> {
    let has = |mapping: &PortMapping| {
        mapping.protocol == protocol
            && (u32::from(mapping.host_port)..u32::from(mapping.host_port) + u32::from(mapping.range))
                .contains(&port.into())
    };
    for entry in std::fs::read_dir(root.join("containers")).ok()?.flatten() {
        let directory = entry.path();
        let Some(state) = NetworkState::read(&directory).filter(|state| state.ports.iter().any(has)) else {
            continue;
        };
        let record: Option<Record> = super::record::read(&directory);
        if record.is_some_and(|record| record.ended.is_none()) && !state.ports.is_empty() {
            let id = entry.file_name();
            let id = id.to_string_lossy();
            return Some(format!("container {} publishes it already", id.get(..12).unwrap_or(&id)));
        }
    }
    None
}
