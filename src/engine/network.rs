//! Networks: made, listed, removed; containers connected to them and taken off.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd;

use jiff::Timestamp;

use crate::base::id::ContainerId;
use crate::base::network::NetworkAttachment;
use crate::base::spec::NetworkMode;
use crate::engine::config::containers_conf::SubnetPool;
use crate::engine::filter::{self, Filters};
use crate::engine::lifecycle::Grace;
use crate::engine::remove::Removing;
use crate::engine::{Engine, Error, Kind, Result};
use crate::net::client;
use crate::net::control::{Endpoint, Reply, Request};
use crate::net::ipam::{self, LeaseRange, Subnet};
use crate::net::network::{DEFAULT_NETWORK, Network, NetworkSubnet, Route};
use crate::runtime::monitor::wiring::{self, NetworkState};
use crate::runtime::netcheck::{self, CheckOrder, Finding};
use crate::runtime::{netd, networks};

/// How long a container may take to come back to its networks.
const RELOAD: std::time::Duration = std::time::Duration::from_secs(10);

/// Keys of `network ls` and `network prune`.
pub(crate) const FILTERS: &[&str] =
    &["driver", "id", "label", "label!", "name", "until", "dangling", "dns_enabled"];

/// What somebody wants of a new network.
#[derive(Clone, Debug, Default)]
pub(crate) struct NetworkRequest {
    /// Chosen if empty.
    pub(crate) name: String,
    pub(crate) driver: String,
    pub(crate) subnets: Vec<String>,
    pub(crate) gateways: Vec<String>,
    pub(crate) ranges: Vec<String>,
    pub(crate) ipv6: bool,
    pub(crate) internal: bool,
    pub(crate) disable_dns: bool,
    /// `host-local` or `none`; empty is the former.
    pub(crate) ipam_driver: String,
    pub(crate) dns: Vec<IpAddr>,
    /// `DESTINATION,GATEWAY[,METRIC]`.
    pub(crate) routes: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) interface_name: Option<String>,
    /// It is no failure if there is one of that name.
    pub(crate) ignore_existing: bool,
}

impl Engine {
    /// All networks, the default one included.
    ///
    /// # Errors
    ///
    /// If the records cannot be read, or the default network cannot be made.
    pub(crate) fn networks(&self) -> Result<Vec<Network>> {
        self.network_or_default(DEFAULT_NETWORK)?;
        Ok(self.network_records()?.0)
    }

    fn network_records(&self) -> Result<(Vec<Network>, Vec<std::path::PathBuf>)> {
        networks::list(self.store().root()).map_err(|err| Error::system("list networks", err))
    }

    /// Finds a network by name, ID, or the beginning of its ID.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`]; [`Kind::Conflict`] if several IDs begin so.
    pub(crate) fn network(&self, typed: &str) -> Result<Network> {
        let read = |err| Error::system(format!("read network {typed}"), err);
        if let Some(found) = networks::load(self.store().root(), typed).map_err(read)? {
            return Ok(found);
        }
        if typed == DEFAULT_NETWORK {
            return self.network_or_default(typed);
        }
        let found: Vec<Network> =
            self.network_records()?.0.into_iter().filter(|network| network.id.starts_with(typed)).collect();
        match found.len() {
            1 if !typed.is_empty() => Ok(found.into_iter().next().expect("there is one")),
            0 | 1 => Err(Error::not_found(format!("network {typed}: network not found"))),
            _ => Err(Error::new(Kind::Conflict, format!("network {typed}: several IDs begin so"))),
        }
    }

    /// A network by name; the default one is made if it is not there.
    fn network_or_default(&self, name: &str) -> Result<Network> {
        let root = self.store().root();
        let load =
            || networks::load(root, name).map_err(|err| Error::system(format!("read network {name}"), err));
        if let Some(found) = load()? {
            return Ok(found);
        }
        let _lock = self.lock()?;
        if let Some(found) = load()? {
            return Ok(found);
        }
        let invalid = |err: ipam::IpamError| Error::invalid(err.to_string());
        let subnet = match &self.conf().network.default_subnet {
            Some(text) => text.parse().map_err(invalid)?,
            None => ipam::default_subnet(&self.subnets_in_use(), &self.pools()?).map_err(invalid)?,
        };
        let network =
            Network::bridge(name, new_id()?, Network::interface_name(0), Timestamp::now(), &[subnet]);
        self.write_network(&network)?;
        Ok(network)
    }

    /// Where new networks take their subnets from.
    fn pools(&self) -> Result<Vec<ipam::SubnetSource>> {
        let configured = &self.conf().network.default_subnet_pools;
        if configured.is_empty() {
            return Ok(ipam::usual_pools());
        }
        let read = |pool: &SubnetPool| {
            let range: Subnet = pool.base.parse().map_err(|err: ipam::IpamError| {
                Error::invalid(format!("containers.conf: default_subnet_pools: {err}"))
            })?;
            let longest = if range.is_ipv6() { 127 } else { 30 };
            if !(range.prefix()..=longest).contains(&pool.size) {
                return Err(Error::invalid(format!(
                    "containers.conf: default_subnet_pools: no subnets of /{} can be cut from {range}",
                    pool.size
                )));
            }
            Ok(ipam::SubnetSource { range, size: pool.size })
        };
        configured.iter().map(read).collect()
    }

    /// Subnets that a new network must not meet: those of the others, of the host, and of containers that
    /// have a private one.
    fn subnets_in_use(&self) -> Vec<Subnet> {
        let mut taken = wiring::subnets_in_use(self.store().root());
        if let Ok(Some(Reply::State { containers })) = self.ask_netd(&Request::Query) {
            let endpoints = containers.iter().flat_map(|container| &container.endpoints);
            taken.extend(
                endpoints.flat_map(|endpoint| &endpoint.ips).filter_map(|ip| Subnet::new(ip.ip, ip.prefix)),
            );
        }
        taken
    }

    fn write_network(&self, network: &Network) -> Result<()> {
        let failed = |err| Error::system(format!("write network {}", network.name), err);
        let path = networks::path(self.store().root(), &network.name);
        let directory = path.parent().expect("networks/<name>.json has a parent");
        std::fs::create_dir_all(directory).map_err(failed)?;
        let text = serde_json::to_vec_pretty(network).map_err(|err| failed(err.into()))?;
        let new = directory.join(format!(".{}.new", network.name));
        let write = || {
            std::fs::write(&new, &text)?;
            std::fs::File::open(&new)?.sync_all()?;
            std::fs::rename(&new, &path)
        };
        write().map_err(failed)
    }

    /// Makes a network.
    ///
    /// # Errors
    ///
    /// Conflict if there is one of that name; Invalid for subnets that overlap, and for drivers that
    /// need root.
    pub(crate) fn create_network(&self, request: &NetworkRequest) -> Result<Network> {
        let _lock = self.lock()?;
        let (others, _) = self.network_records()?;
        let name = match request.name.as_str() {
            "" => free_name(&others),
            name if networks::is_name(name) => name.to_owned(),
            name => {
                return Err(Error::invalid(format!("network name {name:?} is invalid"))
                    .hint("letters, digits, '_', '.' and '-', the first a letter or digit"));
            }
        };
        if matches!(name.as_str(), "none" | "host" | "bridge" | "default" | "container" | "ns" | "private") {
            return Err(Error::invalid(format!("network name {name:?} has a meaning of its own")));
        }
        if let Some(existing) = others.iter().find(|other| other.name == name) {
            return match request.ignore_existing {
                true => Ok(existing.clone()),
                false => Err(Error::new(
                    Kind::Conflict,
                    format!("network name {name} already used: network already exists"),
                )),
            };
        }
        let network = describe(request, name, new_id()?, &others, (&self.subnets_in_use(), &self.pools()?))?;
        self.write_network(&network)?;
        self.record_network("create", &network.id, &network.name, &network.driver);
        Ok(network)
    }

    /// Removes a network. With `force` the containers on it lose it, or are removed if it is their only one.
    ///
    /// # Errors
    ///
    /// NotFound; Conflict for the default one and for one in use.
    pub(crate) fn remove_network(&self, typed: &str, force: bool, grace: Option<Grace>) -> Result<String> {
        let network = self.network(typed)?;
        if network.name == DEFAULT_NETWORK {
            return Err(Error::new(
                Kind::Conflict,
                format!("default network {DEFAULT_NETWORK} cannot be removed"),
            ));
        }
        let users = self.containers_on(&network.name)?;
        if !users.is_empty() && !force {
            let names: Vec<&str> = users.iter().map(|id| id.short()).collect();
            return Err(Error::new(
                Kind::Conflict,
                format!(
                    "{:?} has associated containers with it: {}: network is being used",
                    network.name,
                    names.join(", ")
                ),
            )
            .hint("remove them first, or use -f to do so"));
        }
        for id in users {
            let how = Removing { force: true, grace, volumes: true, depend: false };
            self.remove_container(&id, &how)?;
        }
        let path = networks::path(self.store().root(), &network.name);
        std::fs::remove_file(path)
            .map_err(|err| Error::system(format!("remove network {}", network.name), err))?;
        self.record_network("remove", &network.id, &network.name, &network.driver);
        Ok(network.name)
    }

    /// Containers, running or not, that are on a network.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) fn containers_on(&self, network: &str) -> Result<Vec<ContainerId>> {
        let mut found = Vec::new();
        for id in self.store().containers().list()? {
            let on = self.attachments_of(&id).unwrap_or_default();
            if on.iter().any(|attachment| attachment.name == network) {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// Removes networks that no container is on.
    ///
    /// # Errors
    ///
    /// If the store cannot be read; the first that cannot be removed.
    pub(crate) fn prune_networks(&self, filters: &Filters) -> Result<Vec<String>> {
        let mut used = BTreeSet::from([DEFAULT_NETWORK.to_owned()]);
        for id in self.store().containers().list()? {
            used.extend(self.attachments_of(&id).unwrap_or_default().into_iter().map(|on| on.name));
        }
        let mut removed = Vec::new();
        for network in self.network_records()?.0 {
            if !used.contains(&network.name) && passes(&network, filters, &used)? {
                removed.push(self.remove_network(&network.name, false, None)?);
            }
        }
        Ok(removed)
    }

    /// Networks that pass all filters.
    ///
    /// # Errors
    ///
    /// Those of [`networks`](Self::networks); filters without meaning.
    pub(crate) fn filtered_networks(&self, filters: &Filters) -> Result<Vec<Network>> {
        let mut used = BTreeSet::new();
        if filters.values("dangling").next().is_some() {
            for id in self.store().containers().list()? {
                used.extend(self.attachments_of(&id).unwrap_or_default().into_iter().map(|on| on.name));
            }
        }
        let mut found = Vec::new();
        for network in self.networks()? {
            if passes(&network, filters, &used)? {
                found.push(network);
            }
        }
        Ok(found)
    }

    /// The networks of a container as they are now: what it was created with, and what commands changed.
    ///
    /// # Errors
    ///
    /// If its spec cannot be read.
    pub(crate) fn attachments_of(&self, id: &ContainerId) -> Result<Vec<NetworkAttachment>> {
        let spec = self.container_spec(id)?;
        Ok(match spec.network.mode {
            NetworkMode::Bridge(created) => {
                wiring::changed_attachments(&self.store().containers().path(id)).unwrap_or(created)
            }
            _ => Vec::new(),
        })
    }

    /// Joins a container to one more network, at once if it runs.
    ///
    /// # Errors
    ///
    /// NotFound; Conflict if it is on it already; what netd could not do.
    pub(crate) fn connect_network(&self, typed: &str, mut wanted: NetworkAttachment) -> Result<()> {
        let id = self.container(typed)?;
        wanted.name = self.network(&wanted.name)?.name;
        let mut attachments = self.changeable(&id)?;
        if attachments.iter().any(|on| on.name == wanted.name) {
            let message = format!("container {typed} is already connected to network {}", wanted.name);
            return Err(Error::new(Kind::Conflict, message));
        }
        if self.runs(&id)? {
            let endpoint = wiring::endpoint(self.store().root(), &wanted)
                .map_err(|failure| crate::engine::start::failed(failure, &id))?;
            self.ask_netd(&Request::Connect { container: Some(id.to_string()), endpoint })?;
        }
        let network = wanted.name.clone();
        attachments.push(wanted);
        self.write_attachments(&id, &attachments)?;
        self.record_connection("connect", &id, &network);
        Ok(())
    }

    /// Takes a container off a network, at once if it runs.
    ///
    /// # Errors
    ///
    /// NotFound if it is not on it; what netd could not do.
    pub(crate) fn disconnect_network(&self, typed: &str, network: &str) -> Result<()> {
        let id = self.container(typed)?;
        let network = self.network(network)?.name;
        let mut attachments = self.changeable(&id)?;
        let Some(at) = attachments.iter().position(|on| on.name == network) else {
            return Err(Error::not_found(format!("container {typed} is not connected to network {network}")));
        };
        if self.runs(&id)? {
            let network = network.clone();
            self.ask_netd(&Request::Disconnect { container: Some(id.to_string()), network })?;
        }
        attachments.remove(at);
        self.write_attachments(&id, &attachments)?;
        self.record_connection("disconnect", &id, &network);
        Ok(())
    }

    fn changeable(&self, id: &ContainerId) -> Result<Vec<NetworkAttachment>> {
        match self.container_spec(id)?.network.mode {
            NetworkMode::Bridge(_) => self.attachments_of(id),
            NetworkMode::Private(network) => Err(Error::invalid(format!(
                "the container has a private network ({}), which nothing can be connected to",
                network.word
            ))
            .hint("create it with --network NAME instead")),
            _ => Err(Error::invalid(
                "the container's network mode does not allow to connect or disconnect networks",
            )
            .hint("it was created with --network none, host, container: or ns:")),
        }
    }

    /// Does the container run?
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub(crate) fn runs(&self, id: &ContainerId) -> Result<bool> {
        let dir = self.store().containers().open(id)?;
        Ok(crate::engine::state::examine(dir.as_fd(), id)?.phase.is_running())
    }

    fn write_attachments(&self, id: &ContainerId, attachments: &[NetworkAttachment]) -> Result<()> {
        wiring::change_attachments(&self.store().containers().path(id), attachments)
            .map_err(|err| Error::system("write down the container's networks", err))
    }

    /// Builds the links of running containers anew. Returns when they are on their networks again.
    ///
    /// # Errors
    ///
    /// NotFound; Conflict for a container that does not run; what netd could not do.
    pub(crate) fn reload_network(&self, typed: &str) -> Result<ContainerId> {
        let id = self.container(typed)?;
        self.reload_network_of(&id)?;
        Ok(id)
    }

    /// IDs of the running containers that are on networks of ketch.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) fn containers_on_networks(&self) -> Result<Vec<String>> {
        let mut found = self.store().containers().list()?;
        found.retain(|id| self.network_state(id).is_some() && self.runs(id).unwrap_or(false));
        Ok(found.iter().map(ToString::to_string).collect())
    }

    fn reload_network_of(&self, id: &ContainerId) -> Result<()> {
        if !self.runs(id)? {
            let message = format!("container {} does not run, so it has no links", id.short());
            return Err(Error::new(Kind::Conflict, message));
        }
        if !matches!(self.container_spec(id)?.network.mode, NetworkMode::Bridge(_) | NetworkMode::Private(_))
        {
            return Ok(());
        }
        let container = id.to_string();
        self.ask_netd(&Request::Reload { container: container.clone() })?;
        let deadline = std::time::Instant::now() + RELOAD;
        while std::time::Instant::now() < deadline {
            if let Some(Reply::State { containers }) = self.ask_netd(&Request::Query)?
                && containers.iter().any(|there| there.container == container)
            {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Err(Error::new(Kind::System, format!("container {} did not come back to its networks", id.short())))
    }

    /// Tries what a container's network needs, from both sides.
    ///
    /// # Errors
    ///
    /// If no process of it can be started. What does not work is a finding.
    pub(crate) fn check_network(&self) -> Result<Vec<Finding>> {
        let caller = self.caller();
        let order = CheckOrder {
            root: self.store().root().to_owned(),
            linger_ms: crate::engine::config::network_linger_ms(),
            fingerprint: caller.fingerprint(),
            cgroups: crate::engine::config::cgroups(&caller),
            network: self.network_or_default(DEFAULT_NETWORK)?,
        };
        netcheck::check(&caller, &order).map_err(|failure| {
            let err = Error::new(Kind::System, failure.message);
            match failure.hint {
                Some(hint) => err.hint(hint),
                None => err,
            }
        })
    }

    /// Tells netd a container's new name, if it is on a network now.
    pub(crate) fn rename_on_networks(&self, id: &ContainerId, name: &str) {
        // Who asks for the new name before the next start finds out that it is unknown; nothing is lost.
        if self.runs(id).unwrap_or(false) && self.network_state(id).is_some() {
            self.ask_netd(&Request::Rename { container: id.to_string(), name: name.to_owned() }).ok();
        }
    }

    fn ask_netd(&self, request: &Request) -> Result<Option<Reply>> {
        let directory = netd::directory(self.store().root())
            .map_err(|err| Error::system("open the network helper's directory", err))?;
        let reply = client::ask(directory.as_fd(), request)
            .map_err(|err| Error::system("talk to the network helper", err))?;
        match reply {
            Some(Reply::Refused(refusal)) => Err(Error::invalid(refusal.message)),
            other => Ok(other),
        }
    }

    /// What a running container has on its networks; `None` for one that does not run or has none.
    pub(crate) fn network_state(&self, id: &ContainerId) -> Option<NetworkState> {
        NetworkState::read(&self.store().containers().path(id))
    }

    /// Running containers on a network: ID, name, and what they have there.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) fn endpoints_on(&self, network: &str) -> Result<Vec<(ContainerId, String, Endpoint)>> {
        let mut found = Vec::new();
        for id in self.store().containers().list()? {
            let Some(state) = self.network_state(&id) else { continue };
            let Some(endpoint) = state.endpoints.into_iter().find(|endpoint| endpoint.network == network)
            else {
                continue;
            };
            if self.runs(&id).unwrap_or(false) {
                let name = self.store().names().of(&id)?.into_iter().next().unwrap_or_default();
                found.push((id, name, endpoint));
            }
        }
        Ok(found)
    }

    /// Adds and removes the name servers of a network.
    ///
    /// # Errors
    ///
    /// NotFound; if the record cannot be written.
    pub(crate) fn update_network(&self, typed: &str, add: &[IpAddr], drop: &[IpAddr]) -> Result<()> {
        let mut network = self.network(typed)?;
        let _lock = self.lock()?;
        network.network_dns_servers.retain(|server| !drop.contains(server));
        for server in add {
            if !network.network_dns_servers.contains(server) {
                network.network_dns_servers.push(*server);
            }
        }
        self.write_network(&network)?;
        self.ask_netd(&Request::Update { network }).map(drop_reply)
    }
}

fn drop_reply(_reply: Option<Reply>) {}

/// 64 random hex digits.
fn new_id() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|err| Error::system("read random numbers", err))?;
    Ok(ContainerId::from_random(bytes).to_string())
}

/// `ketch1`, `ketch2` …
fn free_name(others: &[Network]) -> String {
    (1..)
        .map(|n| format!("{DEFAULT_NETWORK}{n}"))
        .find(|name| others.iter().all(|other| other.name != *name))
        .unwrap_or_default()
}

/// The record of a new network.
fn describe(
    request: &NetworkRequest,
    name: String,
    id: String,
    others: &[Network],
    (taken, pools): (&[Subnet], &[ipam::SubnetSource]),
) -> Result<Network> {
    let invalid = |err: &dyn std::fmt::Display| Error::invalid(err.to_string());
    if !matches!(request.driver.as_str(), "" | "bridge") {
        return Err(match request.driver.as_str() {
            "macvlan" | "ipvlan" => Error::new(
                Kind::Unsupported,
                format!("network driver {} needs the host's interfaces, which only root has", request.driver),
            ),
            other => Error::invalid(format!("unsupported network driver {other:?}")),
        }
        .hint("use the driver bridge"));
    }
    let wanted: Vec<Subnet> = request
        .subnets
        .iter()
        .map(|text| text.parse().map_err(|err: ipam::IpamError| invalid(&err)))
        .collect::<Result<_>>()?;
    ipam::check_free(&wanted, taken).map_err(|err| invalid(&err))?;
    let mut subnets = wanted;
    let has_v4 = subnets.iter().any(|subnet| !subnet.is_ipv6());
    let wants_only_v6 = request.ipv6 && !subnets.is_empty();
    if !has_v4 && !wants_only_v6 {
        subnets.insert(0, ipam::free_subnet(taken, pools).map_err(|err| invalid(&err))?);
    }
    if request.ipv6 && !subnets.iter().any(|subnet| subnet.is_ipv6()) {
        let random = || {
            let mut bytes = [0; 7];
            // Without random numbers the first try is a collision at worst, and found out.
            getrandom::fill(&mut bytes).ok();
            bytes
        };
        subnets.push(ipam::free_subnet_v6(taken, random).map_err(|err| invalid(&err))?);
    }
    let n = (1..).find(|n| others.iter().all(|other| other.network_interface != Network::interface_name(*n)));
    let interface = match &request.interface_name {
        Some(name) => interface_name(name.clone())?,
        None => Network::interface_name(n.unwrap_or_default()),
    };
    if (!request.gateways.is_empty() || !request.ranges.is_empty()) && request.subnets.is_empty() {
        return Err(Error::invalid("--gateway and --ip-range need a --subnet that they lie in"));
    }
    let mut network = Network::bridge(&name, id, interface, Timestamp::now(), &subnets);
    place(&mut network.subnets, &request.gateways, "gateway", |subnet, gateway| {
        subnet.gateway = Some(gateway);
    })?;
    for text in &request.ranges {
        let range = lease_range(text)?;
        let fits = |subnet: &&mut NetworkSubnet| {
            subnet.subnet.contains(range.start_ip) && subnet.subnet.contains(range.end_ip)
        };
        let subnet = network.subnets.iter_mut().find(fits);
        subnet
            .ok_or_else(|| Error::invalid(format!("range {text} is in no subnet of the network")))?
            .lease_range = Some(range);
    }
    network.routes = request.routes.iter().map(|text| route(text)).collect::<Result<_>>()?;
    network.internal = request.internal;
    network.dns_enabled = !request.disable_dns;
    network.network_dns_servers.clone_from(&request.dns);
    network.labels.clone_from(&request.labels);
    network.options = options(&request.options)?;
    if let Some(name) = network.options.remove(BRIDGE_NAME) {
        network.network_interface = interface_name(name)?;
    }
    match request.ipam_driver.as_str() {
        "" | "host-local" | "default" => {}
        "none" if request.subnets.is_empty() && !request.ipv6 => {
            network.subnets.clear();
            network.dns_enabled = false;
            network.ipam_options.insert("driver".into(), "none".into());
        }
        "none" => {
            return Err(Error::invalid("--ipam-driver none gives no addresses, so leave out the subnets"));
        }
        "dhcp" => {
            return Err(Error::new(Kind::Unsupported, "the IPAM driver dhcp needs the host's network")
                .hint("use host-local, or none"));
        }
        other => return Err(Error::invalid(format!("unsupported IPAM driver {other:?}"))),
    }
    network.check().map_err(|err| invalid(&err))?;
    Ok(network)
}

/// Docker's option for the name of the bridge.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";

/// The options of a network, under the names that its record has for them.
fn options(asked: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    for (key, value) in asked {
        let known = match key.as_str() {
            "mtu" | "com.docker.network.driver.mtu" => "mtu",
            "enable_icc" | "com.docker.network.bridge.enable_icc" => "enable_icc",
            "metric" => "metric",
            "no_default_route" => "no_default_route",
            BRIDGE_NAME => BRIDGE_NAME,
            // Networks never reach each other: that is how netd is made.
            "isolate" if matches!(value.as_str(), "true" | "1" | "strict") => "isolate",
            "isolate" => {
                let message = format!("network option isolate={value}: networks are always isolated");
                return Err(Error::new(Kind::Unsupported, message)
                    .hint("connect a container to both networks instead: ketch network connect"));
            }
            _ => {
                return Err(Error::invalid(format!("unsupported network option {key}"))
                    .hint("known are mtu, metric, no_default_route, enable_icc, isolate"));
            }
        };
        options.insert(known.to_owned(), value.clone());
    }
    Ok(options)
}

fn interface_name(name: String) -> Result<String> {
    let bad = name.is_empty() || name.len() > 15 || name.bytes().any(|b| b == b'/' || b <= b' ');
    if bad || matches!(name.as_str(), "." | ".." | "lo") {
        return Err(Error::invalid(format!(
            "interface name {name:?}: 1 to 15 bytes, without blanks and slashes"
        )));
    }
    Ok(name)
}

/// Puts each address into the subnet that holds it.
fn place(
    subnets: &mut [NetworkSubnet],
    addresses: &[String],
    what: &str,
    put: impl Fn(&mut NetworkSubnet, IpAddr),
) -> Result<()> {
    for text in addresses {
        let ip: IpAddr = text.parse().map_err(|_| Error::invalid(format!("invalid {what} {text:?}")))?;
        let subnet = subnets.iter_mut().find(|subnet| subnet.subnet.contains(ip));
        put(subnet.ok_or_else(|| Error::invalid(format!("{what} {ip} is in no subnet of the network")))?, ip);
    }
    Ok(())
}

/// `10.89.0.128/25`, or `10.89.0.10-10.89.0.20`.
fn lease_range(text: &str) -> Result<LeaseRange> {
    let bad = || Error::invalid(format!("invalid range {text:?}: write ADDRESS/PREFIX or FIRST-LAST"));
    match text.split_once('-') {
        Some((first, last)) => {
            let (start_ip, end_ip) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
            if start_ip > end_ip { Err(bad()) } else { Ok(LeaseRange { start_ip, end_ip }) }
        }
        None => Ok(LeaseRange::of(text.parse().map_err(|_| bad())?)),
    }
}

fn route(text: &str) -> Result<Route> {
    let bad = || Error::invalid(format!("invalid route {text:?}: write DESTINATION,GATEWAY[,METRIC]"));
    let mut parts = text.split(',');
    let mut next = || parts.next().map(str::trim).filter(|part| !part.is_empty());
    let destination = next().and_then(|part| part.parse().ok()).ok_or_else(bad)?;
    let gateway = next().and_then(|part| part.parse().ok()).ok_or_else(bad)?;
    let metric = next().map(|part| part.parse().map_err(|_| bad())).transpose()?;
    Ok(Route { destination, gateway, metric })
}

fn passes(network: &Network, filters: &Filters, used: &BTreeSet<String>) -> Result<bool> {
    let until = |value: &str| {
        crate::base::time::parse_when(value, Timestamp::now(), &jiff::tz::TimeZone::system())
            .map_err(|err| Error::invalid(err.to_string()))
    };
    filters.tests(|key, value| Ok((key.to_owned(), value.to_owned())))?.pass(|(key, value)| {
        Ok(match key.as_str() {
            "driver" => network.driver == *value,
            "id" => network.id.starts_with(value.as_str()),
            "name" => network.name.contains(value.as_str()),
            "label" => filter::has_label(&network.labels, value),
            "label!" => !filter::has_label(&network.labels, value),
            "until" => network.created < until(value)?,
            "dns_enabled" => network.dns_enabled == filter::boolean(key, value)?,
            _ => {
                (network.name != DEFAULT_NETWORK && !used.contains(&network.name))
                    == filter::boolean(key, value)?
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(subnets: &[&str]) -> NetworkRequest {
        NetworkRequest { subnets: subnets.iter().map(|s| (*s).to_owned()).collect(), ..Default::default() }
    }

    fn made(request: &NetworkRequest) -> std::result::Result<Network, String> {
        describe(request, "n".into(), "0".repeat(64), &[], (&[], &ipam::usual_pools()))
            .map_err(|err| err.message)
    }

    #[test]
    fn what_is_asked_for_is_written_down() {
        let mut wanted = request(&["172.30.5.0/24", "fd12::/64"]);
        wanted.gateways = vec!["172.30.5.254".into()];
        wanted.ranges = vec!["172.30.5.128/25".into()];
        wanted.routes = vec!["10.20.0.0/16,172.30.5.9,50".into()];
        wanted.options = BTreeMap::from([("mtu".into(), "1400".into())]);
        let network = made(&wanted).unwrap();
        assert_eq!(network.subnets[0].gateway.unwrap().to_string(), "172.30.5.254");
        assert_eq!(network.subnets[0].lease_range.unwrap().start_ip.to_string(), "172.30.5.128");
        assert!(network.ipv6_enabled && network.mtu() == Ok(1400));
        assert_eq!(network.routes[0].metric, Some(50));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let gateway = NetworkRequest { gateways: vec!["10.1.1.1".into()], ..request(&["172.30.0.0/24"]) };
        assert_eq!(made(&gateway).unwrap_err(), "gateway 10.1.1.1 is in no subnet of the network");
        assert!(made(&request(&["172.30.0.0/24", "172.30.0.0/25"])).unwrap_err().contains("overlaps"));
        assert!(made(&request(&["nonsense"])).unwrap_err().contains("invalid subnet"));
        let driver = NetworkRequest { driver: "macvlan".into(), ..request(&[]) };
        assert!(made(&driver).unwrap_err().contains("needs the host's interfaces"));
        let option =
            NetworkRequest { options: BTreeMap::from([("vlan".into(), "1".into())]), ..request(&[]) };
        assert!(made(&option).is_err());
        for bad in ["10.1.0.5-10.1.0.1", "x", "10.1.0.1"] {
            assert!(lease_range(bad).is_err(), "{bad}");
        }
    }
}
