//! Containers connected to networks and taken off.

use std::os::fd::AsFd;
use std::time::Duration;

use crate::base::id::ContainerId;
use crate::base::network::{NetworkAttachment, PortMapping};
use crate::base::spec::NetworkMode;
use crate::engine::state::{self, Phase};
use crate::engine::{Engine, Error, Kind, Result};
use crate::net::control::{Endpoint, Reply, Request};
use crate::net::network::connected_already;
use crate::runtime::monitor::wiring::{self, NetworkState};
use crate::sys::waiting;

/// How long the monitor of a container that runs may take to bring the network helper back, or to note what that has done.
const HELPER: Duration = Duration::from_secs(5);
/// How often is looked for it meanwhile.
const PAUSE: Duration = Duration::from_millis(20);
/// How often is looked for what is noted.
const NOTED_LOOK: Duration = Duration::from_millis(1);
/// How long a container may take to come back to its networks, and how often is looked.
const RELOAD: Duration = Duration::from_secs(10);
const RELOAD_LOOK: Duration = Duration::from_millis(2);

impl Engine {
    /// The ports that lead to a container: its own, or those of the one whose network it shares.
    ///
    /// # Errors
    ///
    /// If its spec cannot be read, or the other's.
    pub(crate) fn published_ports(&self, id: &ContainerId) -> Result<Vec<PortMapping>> {
        let network = self.container_spec(id)?.network;
        match network.mode {
            NetworkMode::Container(other) => self.published_ports(&other),
            _ => Ok(network.ports),
        }
    }

    /// The networks of a container as they are now: what it was created with, and what commands changed.
    ///
    /// # Errors
    ///
    /// If its spec cannot be read.
    pub(crate) fn attachments_of(&self, id: &ContainerId) -> Result<Vec<NetworkAttachment>> {
        let spec = self.container_spec(id)?;
        Ok(match spec.network.mode {
            NetworkMode::Bridge(created) => self.changed_attachments(id).unwrap_or(created),
            _ => Vec::new(),
        })
    }

    /// What commands have changed about the networks of a container. Damage is told, and then nothing counts as changed.
    pub(crate) fn changed_attachments(&self, id: &ContainerId) -> Option<Vec<NetworkAttachment>> {
        let changed = wiring::changed_attachments(&self.store().containers().path(id));
        changed.unwrap_or_else(|err| {
            self.tell(&format!(
                "Warning: container {}: what was noted of its networks is damaged ({err}); it has those it was created with",
                id.short()
            ));
            None
        })
    }

    /// Joins a container to one more network, at once if it runs. `links` are other containers that it shall
    /// know by names of its own (`NAME[:ALIAS]`).
    ///
    /// # Errors
    ///
    /// NotFound; Conflict if it is on it already; what netd could not do.
    pub(crate) fn connect_network(
        &self,
        typed: &str,
        mut wanted: NetworkAttachment,
        links: &[String],
    ) -> Result<()> {
        let id = self.container(typed)?;
        for link in links {
            let (name, alias) = link.split_once(':').unwrap_or((link, link));
            wanted.links.push((alias.to_owned(), self.container(name)?));
        }
        wanted.name = self.network_to_join(&wanted.name)?.name;
        let _alone = self.lock_changes(&id)?;
        let mut attachments = self.changeable(&id)?;
        if attachments.iter().any(|on| on.name == wanted.name) {
            let message = format!("container {typed} {}", connected_already(&wanted.name));
            return Err(Error::new(Kind::Conflict, message));
        }
        if self.runs(&id)? {
            let endpoint = wiring::endpoint(self.store().root(), &wanted)
                .map_err(|failure| crate::engine::start::failed(failure, &id))?;
            let container = Some(id.to_string());
            self.ask_netd_about(&id, &Request::Connect { container, endpoint })?;
        }
        let network = wanted.name.clone();
        attachments.push(wanted);
        self.write_attachments(&id, &attachments)?;
        self.await_noted(&id, &network, true);
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
        let _alone = self.lock_changes(&id)?;
        let mut attachments = self.changeable(&id)?;
        let Some(at) = attachments.iter().position(|on| on.name == network) else {
            return Err(Error::not_found(format!("container {typed} is not connected to network {network}")));
        };
        let container = Some(id.to_string());
        self.ask_netd_about(&id, &Request::Disconnect { container, network: network.clone() })?;
        attachments.remove(at);
        self.write_attachments(&id, &attachments)?;
        self.await_noted(&id, &network, false);
        self.record_connection("disconnect", &id, &network);
        Ok(())
    }

    /// Waits until the monitor of a running container has noted that it is on a network, or not any more: who looks at it next
    /// finds it so. A monitor that is held up is not waited for for ever.
    fn await_noted(&self, id: &ContainerId, network: &str, is_on: bool) {
        let is_noted = || {
            let state = self.network_state(id).unwrap_or_default();
            let noted = state.endpoints.iter().any(|endpoint| endpoint.network == network) == is_on;
            Ok::<_, Error>((noted || !self.is_watched(id)?).then_some(()))
        };
        // What is wrong with the container is not wrong with its connection.
        waiting::until(HELPER, NOTED_LOOK, is_noted).ok();
    }

    /// Whether a monitor hears what netd says of a container. That of one that waits for its start does so then.
    fn is_watched(&self, id: &ContainerId) -> Result<bool> {
        let dir = self.store().containers().open(id)?;
        Ok(state::examine(dir.as_fd(), id)?.phase == Phase::Up)
    }

    /// Asks netd about a container for as long as that runs: after a crash its monitor brings netd back.
    fn ask_netd_about(&self, id: &ContainerId, request: &Request) -> Result<()> {
        let is_told = || Ok::<_, Error>((!self.runs(id)? || self.ask_netd(request)?.is_some()).then_some(()));
        let told = waiting::until(HELPER, PAUSE, is_told)?;
        told.ok_or_else(|| Error::new(Kind::System, "the network helper is not there"))
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
        Ok(state::examine(dir.as_fd(), id)?.phase.is_running())
    }

    pub(in crate::engine) fn write_attachments(
        &self,
        id: &ContainerId,
        attachments: &[NetworkAttachment],
    ) -> Result<()> {
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
        if !self.container_spec(id)?.network.mode.uses_netd() {
            return Ok(());
        }
        let container = id.to_string();
        self.ask_netd(&Request::Reload { container: container.clone() })?;
        let is_back = || {
            let Some(Reply::State { containers, .. }) = self.ask_netd(&Request::Query)? else {
                return Ok(None);
            };
            Ok::<_, Error>(containers.iter().any(|there| there.container == container).then_some(()))
        };
        let message = || format!("container {} did not come back to its networks", id.short());
        waiting::until(RELOAD, RELOAD_LOOK, is_back)?.ok_or_else(|| Error::new(Kind::System, message()))
    }

    /// Tells netd a container's new name, if it is on a network now.
    pub(crate) fn rename_on_networks(&self, id: &ContainerId, name: &str) {
        // Who asks for the new name before the next start finds out that it is unknown; nothing is lost.
        if self.runs(id).unwrap_or(false) && self.network_state(id).is_some() {
            self.ask_netd(&Request::Rename { container: id.to_string(), name: name.to_owned() }).ok();
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
}
