//! A container's networks: published ports, the connection to netd, and what both become in its files.
//!
//! ```text
//! prepare: records of the networks, listening sockets      (before process 1 is born)
//! begin:   netd is asked to link process 1's namespace      (init mounts meanwhile)
//! finish:  it is linked, and the files say so               (before process 1 executes)
//! serve:   netd gone ─▶ started again, linked again; a command has changed something ─▶ files
//! ```

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::base::bytes::Bytes;
use crate::base::id::ContainerId;
use crate::base::network::{NetworkAttachment, PortMapping, PrivateNetwork};
use crate::base::spec::{ContainerSpec, NetworkMode};
use crate::cgroup::unit::Surroundings;
use crate::net::client::{self, Asked, Called, ClientError, Link, Listeners};
use crate::net::control::{Attach, Endpoint, EndpointRequest, RefusalKind};
use crate::net::ipam::{self, Subnet, Taken};
use crate::net::netlink::RouteEntry;
use crate::net::network::{DEFAULT_NETWORK, Network, PRIVATE_DRIVER};
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::{netd, networks};
use crate::sys::{fs, namespace};

use super::etcfiles::{self, Texts};
use super::{Monitor, links, ports};

/// The longest of the files below that is read, in bytes.
const MAX_BYTES: usize = 16 << 20;

/// The file that says what a running container has on its networks.
pub(crate) const STATE_FILE: &str = "network.json";

/// What a running container has on its networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkState {
    pub(crate) endpoints: Vec<Endpoint>,
    /// Further names, by network.
    pub(crate) aliases: Vec<(String, Vec<String>)>,
    pub(crate) ports: Vec<PortMapping>,
    /// Variables that say where linked containers are (`--link`).
    #[serde(default)]
    pub(crate) link_environment: Vec<Bytes>,
}

impl NetworkState {
    /// Reads it from the container's directory.
    pub(crate) fn read(directory: &Path) -> Option<Self> {
        serde_json::from_slice(&read(&directory.join(STATE_FILE))?).ok()
    }
}

/// The file that says which networks a container is on, once a command has changed that.
const ATTACHMENTS_FILE: &str = "networks.json";

/// The networks of a container, if they are not those of its spec any more.
///
/// # Errors
///
/// If what was noted cannot be read or understood.
pub(crate) fn changed_attachments(directory: &Path) -> io::Result<Option<Vec<NetworkAttachment>>> {
    match fs::read_at(rustix::fs::CWD, directory.join(ATTACHMENTS_FILE), MAX_BYTES) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

/// Forgets them: the container is on the networks of its spec again.
pub(crate) fn forget_attachments(directory: &Path) -> io::Result<()> {
    let file = directory.join(ATTACHMENTS_FILE);
    std::fs::remove_file(&file).or_else(|_| std::fs::remove_dir_all(&file))
}

/// A file that may be missing. One that is no file holds nobody up.
fn read(path: &Path) -> Option<Vec<u8>> {
    fs::read_at(rustix::fs::CWD, path, MAX_BYTES).ok()
}

/// Notes the networks of a container.
pub(crate) fn change_attachments(directory: &Path, attachments: &[NetworkAttachment]) -> io::Result<()> {
    let new = directory.join(format!("networks.json.{}.new", std::process::id()));
    std::fs::write(&new, serde_json::to_vec(attachments)?)?;
    // Whoever has been told that it is connected finds it so after a power cut (REL-33).
    std::fs::File::open(&new)?.sync_all()?;
    std::fs::rename(&new, directory.join(ATTACHMENTS_FILE))?;
    std::fs::File::open(directory)?.sync_all()
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
    cgroups: Surroundings,
    listeners: Listeners,
    attach: Attach,
    link: Option<Link>,
    /// The network namespace of the current life.
    namespace: Option<OwnedFd>,
    /// netd is gone and could not be brought back yet.
    lost: bool,
    /// The netd that is there, or gets ready, before the first life.
    called: Option<Called>,
    /// What has become of it, for whoever asks next: the status of an event.
    news: Option<&'static str>,
    /// netd was asked to link the current life, and has not answered yet.
    asked: Option<Asked>,
    link_environment: Vec<Bytes>,
    /// What the container's files were made to say last; unknown to a monitor that has adopted it.
    texts: Option<Texts>,
}

impl Wiring {
    /// Prepares the networks of a container; `None` if it has none of ketch's.
    ///
    /// `passed` are sockets that whoever started the container got from its own parent: they serve the
    /// ports that they are bound to.
    pub(super) fn prepare(monitor: &Monitor, passed: Vec<OwnedFd>) -> Result<Option<Self>, Failure> {
        let spec = &monitor.spec;
        let root = &monitor.order.root;
        let mut avoid = Vec::new();
        let mut host_loopback = false;
        let mut endpoints: Vec<EndpointRequest> = match &spec.network.mode {
            NetworkMode::Bridge(created) => {
                // Who starts the container has told of damage.
                let changed = changed_attachments(&monitor.directory).unwrap_or_default();
                let attachments = changed.as_ref().unwrap_or(created);
                attachments.iter().map(|wanted| endpoint(root, wanted)).collect::<Result<_, _>>()?
            }
            NetworkMode::Private(private) => {
                let taken = subnets_in_use(root);
                host_loopback = private.host_loopback;
                let endpoint = private_endpoint(private, spec.id.as_str(), &taken)?;
                avoid = taken.certain();
                vec![endpoint]
            }
            _ => return Ok(None),
        };
        if let Some(before) = NetworkState::read(&monitor.directory) {
            prefer(&mut endpoints, &before);
        }
        let attach = Attach {
            container: spec.id.to_string(),
            name: monitor.name(),
            hostname: spec.hostname.clone(),
            endpoints,
            dns: spec.network.dns.iter().filter_map(|server| server.parse().ok()).collect(),
            links: spec.network.links.iter().map(|(alias, id)| (alias.clone(), id.to_string())).collect(),
            again: false,
            host_loopback,
            avoid,
        };
        if spec.network.ports.iter().map(|port| usize::from(port.range)).sum::<usize>() > MANY_PORTS {
            raise_descriptor_limit();
        }
        let netd = netd::directory(root)
            .map_err(|err| Failure::errno("make the network helper's directory", err))?;
        let listeners = client::listen(&spec.network.ports, passed).map_err(|error| failure(error, root))?;
        let mut wiring = Self {
            spec: spec.clone(),
            root: root.clone(),
            directory: monitor.directory.clone(),
            netd,
            linger: Duration::from_millis(monitor.order.network_linger_ms),
            fingerprint: monitor.order.fingerprint.clone(),
            cgroups: monitor.order.cgroups.clone(),
            listeners,
            attach,
            link: None,
            namespace: None,
            lost: false,
            called: None,
            news: None,
            asked: None,
            link_environment: Vec::new(),
            texts: None,
        };
        wiring.called = Some(wiring.call()?);
        Ok(Some(wiring))
    }

    /// Connects to netd, or starts it.
    fn call(&self) -> Result<Called, Failure> {
        let (root, settings) = (&self.root, (self.linger, self.fingerprint.as_str(), &self.cgroups));
        let start =
            |first: OwnedFd, gateway: Option<BorrowedFd<'_>>| netd::start(root, settings, first, gateway);
        client::call(self.netd.as_fd(), &start).map_err(|error| failure(error, root))
    }

    /// The variables that say where linked containers are, beside those that are set already.
    ///
    /// # Errors
    ///
    /// If one of them does not run.
    pub(super) fn link_environment(&mut self, env: &[Bytes]) -> Result<Vec<Bytes>, Failure> {
        let networks = self.attach.endpoints.iter().map(|endpoint| endpoint.network.name.as_str());
        let networks: Vec<&str> = networks.collect();
        let linked = links::look_up(&self.root, &self.spec.network.links, &networks)?;
        self.link_environment = links::environment(&linked, &self.attach.name, env);
        Ok(self.link_environment.clone())
    }

    /// Lines of the hosts file for linked containers: address and names. Those that do not run now have none.
    pub(super) fn link_hosts(&self) -> Vec<(IpAddr, String)> {
        let endpoints: Vec<&str> =
            self.endpoints().iter().map(|endpoint| endpoint.network.as_str()).collect();
        let line = |(alias, id): &(String, ContainerId)| {
            // netd knows of a change before the other's monitor has written it down.
            let now = self.link.as_ref().and_then(|own| own.linked_ip(id.as_str()));
            links::hosts(&self.root, (alias, id), &endpoints, now)
        };
        let wanted = self.link.as_ref().map_or(self.attach.endpoints.as_slice(), Link::wanted);
        let connected = wanted.iter().flat_map(|endpoint| &endpoint.links);
        let connected: Vec<_> =
            connected.filter_map(|(alias, id)| Some((alias.clone(), id.parse().ok()?))).collect();
        self.spec.network.links.iter().chain(&connected).filter_map(line).collect()
    }

    /// Asks netd to link the network namespace of a process that has just been born. The answer
    /// comes with [`finish`](Self::finish).
    pub(super) fn begin(&mut self, namespace: Result<OwnedFd, Errno>) -> Result<(), Failure> {
        let namespace =
            namespace.map_err(|errno| Failure::errno("open the container's network namespace", errno))?;
        let (root, settings) = (&self.root, (self.linger, self.fingerprint.as_str(), &self.cgroups));
        let start =
            |first: OwnedFd, gateway: Option<BorrowedFd<'_>>| netd::start(root, settings, first, gateway);
        let asked = match &mut self.link {
            Some(link) => {
                link.ask_again(self.netd.as_fd(), &start, namespace.as_fd(), |name| record(root, name))
            }
            None => {
                let called = self.called.take().map_or_else(|| self.call(), Ok)?;
                Link::ask(called, &self.attach, namespace.as_fd())
            }
        };
        self.asked = Some(asked.map_err(|error| failure(error, &self.root))?);
        self.namespace = Some(namespace);
        Ok(())
    }

    /// Waits until the container is linked.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        let (Some(asked), Some(namespace)) = (self.asked.take(), &self.namespace) else { return Ok(()) };
        let (root, settings) = (&self.root, (self.linger, self.fingerprint.as_str(), &self.cgroups));
        let start =
            |first: OwnedFd, gateway: Option<BorrowedFd<'_>>| netd::start(root, settings, first, gateway);
        let (netd, listeners) = (self.netd.as_fd(), &self.listeners);
        let outcome = match &mut self.link {
            Some(link) => link.linked_again(asked, netd, &start, namespace.as_fd(), listeners),
            None => Link::linked(asked, netd, &start, self.attach.clone(), namespace.as_fd(), listeners)
                .map(|link| self.link = Some(link)),
        };
        netd::reap();
        outcome.map_err(|error| failure(error, &self.root))?;
        self.lost = false;
        self.write_state().map_err(|err| Failure::errno("write the container's network state", err))
    }

    /// Links the network namespace of process `pid`, which runs, again: its first link ended with its first
    /// monitor. Whatever is refused, the container goes on without.
    pub(super) fn adopt(&mut self, pid: i32) {
        self.attach.again = true;
        if self.begin(namespace::open(pid, "net")).and_then(|()| self.finish()).is_ok() {
            self.refresh_files();
        }
    }

    /// What the container has on its networks.
    pub(super) fn endpoints(&self) -> &[Endpoint] {
        self.link.as_ref().map_or(&[], Link::endpoints)
    }

    /// The container's name, for its hosts file.
    pub(super) fn name(&self) -> &str {
        self.link.as_ref().map_or(self.attach.name.as_str(), Link::name)
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

    /// Whether it is on a network that somebody made. Elsewhere other engines have no name server of their own, and a
    /// container finds the servers that were named for it in its resolv.conf.
    pub(super) fn is_on_custom(&self) -> bool {
        let is_usual = |wanted: &EndpointRequest| wanted.network.name == DEFAULT_NETWORK;
        let wanted = self.link.as_ref().map_or(&[][..], Link::wanted);
        matches!(self.spec.network.mode, NetworkMode::Bridge(_)) && !wanted.iter().all(is_usual)
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
        let (root, settings) = (&self.root, (self.linger, self.fingerprint.as_str(), &self.cgroups));
        let start =
            |first: OwnedFd, gateway: Option<BorrowedFd<'_>>| netd::start(root, settings, first, gateway);
        let netd = self.netd.as_fd();
        let outcome = link
            .ask_again(netd, &start, namespace.as_fd(), |name| record(root, name))
            .and_then(|asked| link.linked_again(asked, netd, &start, namespace.as_fd(), &self.listeners));
        netd::reap();
        let was_lost = std::mem::replace(&mut self.lost, outcome.is_err());
        if !self.lost {
            self.refresh_files();
        }
        self.news = match (was_lost, self.lost) {
            (true, true) => None,
            (false, true) => Some("network_lost"),
            (_, false) => Some("network_restored"),
        };
    }

    /// The last life is over: its ports and addresses are given back before anybody hears of it, who may want them for
    /// the next life or container at once. Nobody knows those of one that goes with its chance address.
    pub(super) fn end(self) {
        let asked_for = |endpoint: &EndpointRequest| !endpoint.ips.is_empty() || endpoint.mac.is_some();
        let is_missed = !self.spec.auto_remove
            || !self.listeners.is_empty()
            || self.attach.endpoints.iter().any(asked_for);
        drop(self.listeners);
        if let Some(link) = self.link.filter(|_| is_missed && !self.lost) {
            link.leave();
        }
    }

    /// What has become of netd since this was asked last: the status of an event.
    pub(super) fn take_news(&mut self) -> Option<&'static str> {
        self.news.take()
    }

    /// Writes the container's files for a new life.
    pub(super) fn write_files(&mut self) -> io::Result<()> {
        let texts = etcfiles::texts(&self.spec, self.name(), &self.directory, Some(self))?;
        etcfiles::write(&self.directory, &texts)?;
        self.texts = Some(texts);
        Ok(())
    }

    /// The files show what has changed. One that cannot be written keeps what it said.
    fn refresh_files(&mut self) {
        if let Ok(texts) = etcfiles::texts(&self.spec, self.name(), &self.directory, Some(self)) {
            etcfiles::refresh(&self.directory, self.texts.as_ref(), &texts);
            self.texts = Some(texts);
        }
        // Last: whoever has changed something waits for this.
        self.write_state().ok();
    }

    fn write_state(&self) -> io::Result<()> {
        let Some(link) = &self.link else { return Ok(()) };
        let aliases = link.wanted().iter().map(|w| (w.network.name.clone(), w.aliases.clone())).collect();
        let state = NetworkState {
            endpoints: link.endpoints().to_vec(),
            aliases,
            ports: self.spec.network.ports.clone(),
            link_environment: self.link_environment.clone(),
        };
        let new = self.directory.join("network.json.new");
        std::fs::write(&new, serde_json::to_vec(&state)?)?;
        std::fs::rename(&new, self.directory.join(STATE_FILE))
    }
}

/// Whether the host's TCP sends by a timer, as bbr does, which a new network namespace takes over. Between a container
/// and netd that costs several times what moving the bytes does.
pub(super) fn host_paces() -> bool {
    std::fs::read("/proc/sys/net/ipv4/tcp_congestion_control")
        .is_ok_and(|name| !matches!(name.trim_ascii_end(), b"cubic" | b"reno"))
}

/// More published ports than this need more descriptors than a process usually may have.
const MANY_PORTS: usize = 400;

fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).ok();
}

/// What is written down about a network, if it can be read.
fn record(root: &Path, network: &str) -> Option<Network> {
    networks::load(root, network).ok().flatten()
}

/// What to ask netd for one network.
pub(crate) fn endpoint(root: &Path, wanted: &NetworkAttachment) -> Result<EndpointRequest, Failure> {
    let what = || format!("read network {}", wanted.name);
    let network = networks::load(root, &wanted.name)
        .map_err(|err| Failure::errno(what(), err))?
        .ok_or_else(|| Failure::new(FailureKind::Invalid, format!("network {} not found", wanted.name)))?;
    Ok(EndpointRequest {
        interface: wanted.interface.clone(),
        ips: wanted.ips.clone(),
        link_local: wanted.link_local.clone(),
        mac: wanted.mac,
        aliases: wanted.aliases.clone(),
        gw_priority: wanted.gw_priority,
        links: wanted.links.iter().map(|(alias, id)| (alias.clone(), id.to_string())).collect(),
        ..EndpointRequest::on(network)
    })
}

/// A container that is started again has its old addresses if they are free.
fn prefer(endpoints: &mut [EndpointRequest], before: &NetworkState) {
    for wanted in endpoints {
        let had = before.endpoints.iter().find(|endpoint| endpoint.network == wanted.network.name);
        wanted.prefer = had.map_or_else(Vec::new, |had| had.ips.iter().map(|ip| ip.ip).collect());
    }
}

/// Subnets of all networks that are written down, and those that the host has routes to.
pub(crate) fn subnets_in_use(root: &Path) -> Taken {
    let networks = networks::list(root).map_or_else(|_| Vec::new(), |(networks, _damaged)| networks);
    // Those that only hold a configuration have no addresses themselves.
    let real = networks.iter().filter(|network| !network.config_only);
    let networks = real.flat_map(|network| network.subnets.iter().map(|of| of.subnet)).collect();
    let mut taken = Taken { networks, ..Taken::default() };
    for route in host_routes() {
        if let Some(subnet) = Subnet::new(route.destination.ip, route.destination.prefix) {
            taken.add_route(subnet, route.gateway.is_some());
        }
    }
    taken
}

/// The host's routes. Without them a collision is possible, but nothing else is wrong.
fn host_routes() -> Vec<RouteEntry> {
    use crate::sys::netlink::{Netlink, Protocol};
    Netlink::open(Protocol::Route)
        .ok()
        .and_then(|mut socket| crate::net::netlink::routes(&mut socket).ok())
        .unwrap_or_default()
}

/// A network for one container. Its subnets follow from the container's ID unless they are taken.
fn private_endpoint(private: &PrivateNetwork, id: &str, avoid: &Taken) -> Result<EndpointRequest, Failure> {
    let invalid = |err: ipam::IpamError| Failure::new(FailureKind::Invalid, err.to_string());
    let mut bytes = [0; 7];
    for (byte, pair) in bytes.iter_mut().zip(id.as_bytes().chunks(2)) {
        let hex = std::str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(hex, 16).unwrap_or_default();
    }
    let mut subnets = Vec::new();
    if private.ipv4 {
        let number = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        subnets.push(match &private.subnet {
            Some(text) => text.parse().map_err(invalid)?,
            None => avoid.choose(|taken| ipam::private_subnet(number, taken)).map_err(invalid)?,
        });
    }
    if private.ipv6 {
        subnets.push(ipam::subnet_v6_of(bytes));
    }
    let short = id.get(..12).unwrap_or(id);
    let interface = format!("kp{}", id.get(..10).unwrap_or(id));
    let created = jiff::Timestamp::UNIX_EPOCH;
    let mut network =
        Network::bridge(&format!("private-{short}"), id.to_owned(), interface, created, &subnets);
    // One that was asked for is not exchanged for another.
    if private.subnet.is_none() {
        network.driver = PRIVATE_DRIVER.into();
    }
    network.options.extend(private.mtu.map(|mtu| ("mtu".to_owned(), mtu.to_string())));
    Ok(EndpointRequest { interface: private.interface.clone(), ..EndpointRequest::on(network) })
}

/// Why there is no network, and what could help.
pub(crate) fn failure(error: ClientError, root: &Path) -> Failure {
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
        ClientError::Bind { address, protocol, source } => ports::failure(root, address, protocol, source),
        other => Failure::system("set up the container's network", &other),
    }
}
