//! Networks: made, listed, removed.

mod connect;
mod describe;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd;

use jiff::Timestamp;

use crate::base::id::ContainerId;
use crate::base::order;
use crate::base::pattern::Regex;
use crate::engine::config::containers_conf::SubnetPool;
use crate::engine::filter::{self, Filters};
use crate::engine::lifecycle::Grace;
use crate::engine::list::Container;
use crate::engine::network::describe::describe;
pub(crate) use crate::engine::network::describe::{BRIDGE_NAME, FAMILIES, dockers_option, known_option};
use crate::engine::remove::Removing;
use crate::engine::state::Phase;
use crate::engine::{Engine, Error, Kind, Result};
use crate::net::client;
use crate::net::control::{Reply, Request};
use crate::net::ipam::{self, Subnet, Taken};
use crate::net::network::{DEFAULT_ELSEWHERE, DEFAULT_NETWORK, Network};
use crate::runtime::monitor::wiring;
use crate::runtime::netcheck::{self, CheckOrder, Finding};
use crate::runtime::{netd, networks};

/// Keys of `network ls` and `network prune`.
pub(crate) const FILTERS: &[&str] =
    &["driver", "id", "label", "label!", "name", "until", "dangling", "dns_enabled", "scope", "type"];

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
    /// Only IPv6.
    pub(crate) no_ipv4: bool,
    /// Addresses that no container gets, by what has them.
    pub(crate) aux_addresses: BTreeMap<String, String>,
    pub(crate) internal: bool,
    pub(crate) disable_dns: bool,
    /// `host-local` or `none`; empty is the former.
    pub(crate) ipam_driver: String,
    /// Noted with the network: neither of the two has options.
    pub(crate) ipam_options: BTreeMap<String, String>,
    pub(crate) attachable: bool,
    /// Docker's network that carries a swarm's published ports.
    pub(crate) ingress: bool,
    /// Make no network but what others are made from.
    pub(crate) config_only: bool,
    /// Name of the network to take subnets, options and labels from.
    pub(crate) config_from: Option<String>,
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
        let made = self.network_or_default(DEFAULT_NETWORK);
        let (networks, damaged) = self.network_records()?;
        for name in &damaged {
            self.tell(&damaged_network(name).to_string());
        }
        // A damaged default network is told of, and hides no other.
        if networks.is_empty() {
            made?;
        }
        Ok(networks)
    }

    /// The records of all networks, and the names of those that cannot be read.
    fn network_records(&self) -> Result<(Vec<Network>, Vec<String>)> {
        networks::list(self.store().root()).map_err(|err| Error::system("list networks", err))
    }

    /// Finds a network by name, ID, or the beginning of its ID; the default one also by what others call theirs.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`]; [`Kind::Conflict`] if several IDs begin so.
    pub(crate) fn network(&self, typed: &str) -> Result<Network> {
        let read = |err| Error::system(format!("read network {typed}"), err);
        if let Some(found) = networks::load(self.store().root(), typed).map_err(read)? {
            return Ok(found);
        }
        if typed == DEFAULT_NETWORK || DEFAULT_ELSEWHERE.contains(&typed) {
            return self.network_or_default(DEFAULT_NETWORK);
        }
        let found: Vec<Network> =
            self.network_records()?.0.into_iter().filter(|network| network.id.starts_with(typed)).collect();
        match found.len() {
            1 if !typed.is_empty() => Ok(found.into_iter().next().expect("there is one")),
            0 | 1 => Err(no_such_network(typed)),
            _ => Err(Error::new(Kind::Conflict, format!("network {typed}: several IDs begin so"))),
        }
    }

    /// A network that containers can be on.
    ///
    /// # Errors
    ///
    /// Those of [`network`](Self::network); Conflict for one that only holds a configuration.
    pub(crate) fn network_to_join(&self, typed: &str) -> Result<Network> {
        let network = self.network(typed)?;
        if network.config_only {
            return Err(Error::new(Kind::Conflict, "cannot create endpoint on configuration-only network")
                .hint(format!("make one of it: ketch network create --config-from {}", network.name)));
        }
        Ok(network)
    }

    /// A network by name; the default one is made if it is not there.
    fn network_or_default(&self, name: &str) -> Result<Network> {
        let root = self.store().root();
        let load =
            || networks::load(root, name).map_err(|err| Error::system(format!("read network {name}"), err));
        if let Some(found) = load()? {
            return Ok(found);
        }
        // Whoever makes containers waits for the lock, but not for netd.
        let given = self.subnets_given();
        let _lock = self.lock()?;
        if let Some(found) = load()? {
            return Ok(found);
        }
        let invalid = |err: ipam::IpamError| Error::invalid(err.to_string());
        let subnet = match &self.conf().network.default_subnet {
            Some(text) => text.parse().map_err(invalid)?,
            None => {
                let pools = self.pools()?;
                let taken = self.subnets_in_use(given);
                taken.choose(|taken| ipam::default_subnet(taken, &pools)).map_err(invalid)?
            }
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

    /// Subnets that a new network must not meet: those of the others, of the host, and those `given` to containers.
    fn subnets_in_use(&self, given: Vec<Subnet>) -> Taken {
        let mut taken = wiring::subnets_in_use(self.store().root());
        taken.networks.extend(given);
        taken
    }

    /// Subnets that containers have now, private ones included.
    fn subnets_given(&self) -> Vec<Subnet> {
        let Ok(Some(Reply::State { containers, .. })) = self.ask_netd(&Request::Query) else {
            return Vec::new();
        };
        let endpoints = containers.iter().flat_map(|container| &container.endpoints);
        endpoints.flat_map(|endpoint| &endpoint.ips).filter_map(|ip| Subnet::new(ip.ip, ip.prefix)).collect()
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
            std::fs::rename(&new, &path)?;
            // The name is there after a power cut, too (REL-33).
            std::fs::File::open(directory)?.sync_all()
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
        if request.name == DEFAULT_ELSEWHERE[0] {
            // It is there without being made.
            return name_taken(&self.network(&request.name)?, request);
        }
        let request = &describe::with_families(request)?;
        // Whoever makes containers waits for the lock, but not for netd.
        let given = if request.config_only { Vec::new() } else { self.subnets_given() };
        let _lock = self.lock()?;
        let (others, damaged) = self.network_records()?;
        let name = match request.name.as_str() {
            "" => free_name(&others),
            name if networks::is_name(name) => name.to_owned(),
            name => {
                return Err(Error::invalid(format!(
                    "network name {name} invalid: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument"
                )));
            }
        };
        if matches!(name.as_str(), "none" | "host" | "bridge" | "default" | "container" | "ns" | "private") {
            return Err(Error::invalid(format!(
                "cannot create network with name {name:?} because it conflicts with a valid network mode"
            )));
        }
        if let Some(existing) = others.iter().find(|other| other.name == name) {
            return name_taken(existing, request);
        }
        // What was there is not replaced without a word.
        if damaged.contains(&name) {
            return Err(damaged_network(&name));
        }
        let network = match &request.config_from {
            None if request.config_only => describe::configuration(request, name, new_id()?)?,
            None => {
                describe(request, name, new_id()?, &others, (&self.subnets_in_use(given), &self.pools()?))?
            }
            Some(from) => {
                let from = others.iter().find(|other| other.config_only && other.name == *from);
                let request = &describe::configured(request, from)?;
                describe(request, name, new_id()?, &others, (&self.subnets_in_use(given), &self.pools()?))?
            }
        };
        self.write_network(&network)?;
        self.record_network("create", &network.id, &network.name, &network.driver);
        Ok(network)
    }

    /// Removes a network. With `force` the containers on it lose it, or are removed if it is their only one.
    ///
    /// # Errors
    ///
    /// NotFound; Invalid for the default one; Conflict for one in use.
    pub(crate) fn remove_network(&self, typed: &str, force: bool, grace: Option<Grace>) -> Result<String> {
        let network = match self.network(typed) {
            Err(_) if self.is_damaged_network(typed)? => return self.remove_damaged_network(typed),
            found => found?,
        };
        if network.name == DEFAULT_NETWORK {
            return Err(Error::invalid(format!("default network {typed} cannot be removed")));
        }
        let made_from_it = |other: &Network| other.config_from.as_deref() == Some(network.name.as_str());
        if network.config_only && self.network_records()?.0.iter().any(made_from_it) {
            let message = format!("configuration network {:?} is in use", network.name);
            return Err(Error::new(Kind::Conflict, message));
        }
        // Held until the record is gone: nobody is put on the network meanwhile.
        let _lock = loop {
            let lock = self.lock()?;
            let users = self.containers_on(&network.name)?;
            if users.is_empty() {
                break lock;
            }
            if !force {
                return Err(in_use(&network.name, &users));
            }
            drop(lock);
            for id in users {
                let how = Removing { force: true, grace, volumes: true, depend: true, with_pods: true };
                self.remove_container(&id, &how)?;
            }
        };
        let path = networks::path(self.store().root(), &network.name);
        std::fs::remove_file(path).map_err(|err| match err.kind() {
            // Another command was faster.
            std::io::ErrorKind::NotFound => no_such_network(typed),
            _ => Error::system(format!("remove network {}", network.name), err),
        })?;
        self.record_network("remove", &network.id, &network.name, &network.driver);
        Ok(network.name)
    }

    /// Whether there is a network `name` whose record cannot be read.
    fn is_damaged_network(&self, name: &str) -> Result<bool> {
        Ok(self.damaged_networks()?.iter().any(|damaged| damaged == name))
    }

    /// Removes a record that cannot be read. Containers on that network start again once it is made anew.
    pub(crate) fn remove_damaged_network(&self, name: &str) -> Result<String> {
        let path = networks::path(self.store().root(), name);
        let removed = match path.symlink_metadata() {
            Ok(found) if found.is_dir() => std::fs::remove_dir_all(&path),
            _ => std::fs::remove_file(&path),
        };
        removed.map_err(|err| Error::system(format!("remove network {name}"), err))?;
        self.record_network("remove", "", name, "");
        Ok(name.to_owned())
    }

    /// Names of the networks whose records cannot be read.
    pub(crate) fn damaged_networks(&self) -> Result<Vec<String>> {
        Ok(self.network_records()?.1)
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
        let mut used = order::set([DEFAULT_NETWORK.to_owned()]);
        for id in self.store().containers().list()? {
            used.extend(self.attachments_of(&id).unwrap_or_default().into_iter().map(|on| on.name));
        }
        let mut removed = Vec::new();
        for network in self.network_records()?.0 {
            // As with docker, what others are made from is not there for containers in the first place.
            let unused = !used.contains(&network.name) && !network.config_only;
            if unused && passes(&network, filters, &used)? {
                match self.remove_network(&network.name, false, None) {
                    Ok(name) => removed.push(name),
                    // Another command was faster: it has removed it, or put a container on it.
                    Err(err) if matches!(err.kind, Kind::NotFound | Kind::Conflict) => {}
                    Err(err) => return Err(err),
                }
            }
        }
        self.record_prune("network", 0);
        Ok(removed)
    }

    /// Networks that pass all filters.
    ///
    /// # Errors
    ///
    /// Those of [`networks`](Self::networks); filters without meaning.
    pub(crate) fn filtered_networks(&self, filters: &Filters) -> Result<Vec<Network>> {
        self.filtered_among(filters, self.networks()?)
    }

    /// The ones of `all` that pass.
    ///
    /// # Errors
    ///
    /// Those of [`networks`](Self::networks); filters without meaning.
    pub(crate) fn filtered_among(&self, filters: &Filters, all: Vec<Network>) -> Result<Vec<Network>> {
        let mut used = BTreeSet::new();
        if filters.values("dangling").next().is_some() {
            for id in self.store().containers().list()? {
                used.extend(self.attachments_of(&id).unwrap_or_default().into_iter().map(|on| on.name));
            }
        }
        let mut found = Vec::new();
        for network in all {
            if passes(&network, filters, &used)? {
                found.push(network);
            }
        }
        Ok(found)
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
            cgroups: self.cgroups(&caller),
            network: self.network_or_default(DEFAULT_NETWORK)?,
        };
        netcheck::check(&caller, &order)
            .map_err(|failure| Error::new(Kind::System, failure.message).hinted(failure.hint))
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

    /// True if one of `containers` runs on a network and the helper that carries its traffic does not: their
    /// monitors cannot start it again (REL-08).
    pub(crate) fn lacks_network_helper(&self, containers: &[Container]) -> bool {
        let needs_it = |container: &Container| {
            container.status.phase == Phase::Up && container.summary.network.mode.uses_netd()
        };
        containers.iter().any(needs_it)
            && netd::directory(self.store().root()).is_ok_and(|dir| !client::is_there(dir.as_fd()))
    }

    /// Adds and removes the name servers of a network.
    ///
    /// # Errors
    ///
    /// NotFound; if the record cannot be written.
    pub(crate) fn update_network(&self, typed: &str, add: &[IpAddr], drop: &[IpAddr]) -> Result<()> {
        let name = self.network(typed)?.name;
        let lock = self.lock()?;
        // What another command has changed meanwhile stays changed.
        let read = |err| Error::system(format!("read network {name}"), err);
        let found = networks::load(self.store().root(), &name).map_err(read)?;
        let mut network = found.ok_or_else(|| no_such_network(typed))?;
        network.network_dns_servers.retain(|server| !drop.contains(server));
        for server in add {
            if !network.network_dns_servers.contains(server) {
                network.network_dns_servers.push(*server);
            }
        }
        self.write_network(&network)?;
        std::mem::drop(lock);
        self.ask_netd(&Request::Update { network }).map(drop_reply)
    }
}

fn no_such_network(typed: &str) -> Error {
    Error::not_found(format!("unable to find network with name or ID {typed}: network not found"))
}

/// Why a network cannot be removed without force.
fn in_use(network: &str, users: &[ContainerId]) -> Error {
    let names: Vec<&str> = users.iter().map(|id| id.short()).collect();
    let message = format!(
        "{network:?} has associated containers with it: {}. Use -f to forcibly delete containers and pods: \
         network is being used",
        names.join(", ")
    );
    Error::new(Kind::Conflict, message)
}

fn drop_reply(_reply: Option<Reply>) {}

/// What comes of a request for a network whose name `existing` has.
fn name_taken(existing: &Network, request: &NetworkRequest) -> Result<Network> {
    if request.ignore_existing {
        return Ok(existing.clone());
    }
    let message = format!("network name {} already used: network already exists", request.name);
    Err(Error::new(Kind::Conflict, message))
}

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

fn passes(network: &Network, filters: &Filters, used: &BTreeSet<String>) -> Result<bool> {
    let until = |value: &str| {
        crate::base::time::parse_when(value, Timestamp::now(), &jiff::tz::TimeZone::system())
            .map_err(|err| Error::invalid(err.to_string()))
    };
    filters.tests(|key, value| Ok((key.to_owned(), value.to_owned())))?.pass(|(key, value)| {
        Ok(match key.as_str() {
            "driver" => network.driver == *value,
            "id" => network.id.starts_with(value.as_str()),
            "name" => {
                Regex::new(value).map_err(|err| Error::invalid(err.to_string()))?.is_match(&network.name)
            }
            "label" => filter::has_label(&network.labels, value),
            "label!" => !filter::has_label(&network.labels, value),
            "until" => network.created < until(value)?,
            // Docker's: there is one machine, and one network that nobody made.
            "scope" => value == "local",
            "type" => match value.as_str() {
                "builtin" => is_builtin(network),
                "custom" => !is_builtin(network),
                _ => return Err(Error::invalid(format!("invalid filter 'type={value}': builtin or custom"))),
            },
            "dns_enabled" => network.dns_enabled == filter::boolean(key, value)?,
            _ => (!is_builtin(network) && !used.contains(&network.name)) == filter::boolean(key, value)?,
        })
    })
}

/// One that nobody made; docker's names of those are no others' (`host`, `none`), or mean ours.
fn is_builtin(network: &Network) -> bool {
    [DEFAULT_NETWORK, "bridge", "host", "none"].contains(&network.name.as_str())
}

/// What is said of a network whose record cannot be read.
fn damaged_network(name: &str) -> Error {
    Error::new(Kind::System, format!("network {name} is damaged"))
        .hint(format!("remove it (network rm {name}), and make it again"))
}
