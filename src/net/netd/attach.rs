//! Containers come, join networks, leave them, and go.
//!
//! ```text
//! request ─▶ plan: addresses reserved, names chosen (here, at once)
//!         ─▶ job: bridge and links made (worker)
//!         ─▶ answer; or everything undone and a refusal
//! ```

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use super::Netd;
use super::sessions::refusal;
use super::site::{BridgeSockets, Join, Site, SiteError, link_name};
use super::slab::Key;
use super::world::{Bridge, Joined, Member, Owner};
use crate::base::order::InOrder as _;
use crate::net::control::{
    AssignedIp, Attach, Endpoint, EndpointRequest, PublishedPort, Refusal, RefusalKind, Reply,
};
use crate::net::ipam::{self, IpamError};
use crate::net::network::Network;

/// What the worker shall make.
#[derive(Debug)]
struct Plan {
    bridge: Key,
    /// The bridge is new.
    open: bool,
    network: Network,
    mtu: u32,
    endpoint: Endpoint,
    /// Further addresses, of the link alone.
    link_local: Vec<IpAddr>,
    link: String,
    /// Whether the default route of IPv4 and IPv6 leads here.
    default_route: [bool; 2],
    /// The container was attached before.
    again: bool,
}

impl Netd {
    /// A container wants to be linked to its networks; `session` is its life.
    pub(super) fn attach(&mut self, session: Key, attach: Attach, namespace: OwnedFd) -> Result<(), Refusal> {
        // Its monitor has come again before the end of the old connection was noticed.
        if let Some(old) = self.core.world.find(&attach.container) {
            self.detach(old);
        }
        let requests = attach.endpoints.clone();
        let visit = namespace
            .try_clone()
            .map_err(|error| refusal(RefusalKind::System, format!("duplicate network namespace: {error}")))?;
        let member = self.core.world.members.insert(Member {
            attach,
            namespace,
            session,
            joined: Vec::new(),
            flows: 0,
            dials: 0,
            ready: false,
            changed: false,
        });
        self.sessions.bind(session, member);
        let mut plans = Vec::new();
        for request in requests {
            match self.plan(member, request) {
                Ok(plan) => plans.push(plan),
                Err(refusal) => {
                    self.detach(member);
                    return Err(refusal);
                }
            }
        }
        self.build(member, plans, visit, move |netd, outcome| match outcome {
            Ok(()) => netd.report_attached(session, member),
            Err(refusal) => {
                netd.detach(member);
                netd.sessions.reply(session, &Reply::Refused(refusal), &[]);
            }
        });
        Ok(())
    }

    fn report_attached(&mut self, session: Key, member: Key) {
        let endpoints = self.endpoints(member);
        self.sessions.reply(session, &Reply::Attached { endpoints }, &[self.gateway.as_fd()]);
        let Some(of) = self.core.world.members.get_mut(member) else { return };
        of.ready = true;
        if of.changed {
            self.report(member);
        }
        self.report_to_linked(member);
    }

    fn endpoints(&self, member: Key) -> Vec<Endpoint> {
        let member = self.core.world.members.get(member);
        member
            .map_or(Vec::new(), |member| member.joined.iter().map(|joined| joined.endpoint.clone()).collect())
    }

    /// Decides everything about one endpoint and reserves its addresses.
    fn plan(&mut self, member: Key, request: EndpointRequest) -> Result<Plan, Refusal> {
        let request = self.settle(member, request)?;
        let network = request.network.clone();
        let invalid = |error: &dyn std::fmt::Display| refusal(RefusalKind::Invalid, error.to_string());
        network.check().map_err(|error| invalid(&error))?;
        let mtu = network.mtu().map_err(|error| invalid(&error))?;
        let leads_out = network.has_default_route().map_err(|error| invalid(&error))?;
        let world = &self.core.world;
        let Some(of) = world.members.get(member) else { return Err(gone()) };
        let already = |joined: &Joined| joined.endpoint.network == network.name;
        if of.joined.iter().any(already) {
            let message = format!(
                "container {} {}",
                of.attach.name,
                crate::net::network::connected_already(&network.name)
            );
            return Err(refusal(RefusalKind::Conflict, message));
        }
        let prefix = network.interface_prefix().map_err(|error| invalid(&error))?;
        let n = (0..).find(|n| {
            let (link, name) = (link_name(&of.attach.container, *n), format!("{prefix}{n}"));
            of.joined.iter().all(|joined| joined.link != link && joined.endpoint.interface != name)
        });
        let n = n.unwrap_or_default();
        let link = link_name(&of.attach.container, n);
        let interface = request.interface.clone().unwrap_or_else(|| format!("{prefix}{n}"));
        let is_odd = |b: u8| b == b'/' || b <= b' ';
        if !(1..=15).contains(&interface.len()) || interface == "lo" || interface.bytes().any(is_odd) {
            return Err(refusal(RefusalKind::Invalid, format!("invalid interface name {interface:?}")));
        }
        // The route through this network takes the place of one that counts less.
        let has_route = |v6: bool| {
            of.joined.iter().any(|joined| {
                joined.request.leads_out()
                    && joined.request.gw_priority >= request.gw_priority
                    && joined.endpoint.ips.iter().any(|ip| ip.ip.is_ipv6() == v6)
            })
        };
        let default_route = [false, true].map(|v6| leads_out && !has_route(v6));
        let (container, again) = (of.attach.container.clone(), of.attach.again);
        let (bridge, open) = self.plan_bridge(&network)?;
        let ips = match self.plan_addresses(bridge, &container, &network, &request) {
            Ok(ips) => ips,
            Err(refusal) => {
                self.release_bridge(bridge);
                return Err(refusal);
            }
        };
        let mac = request.mac.or_else(|| ips.first().map(|ip| ipam::mac_of(ip.ip)));
        let endpoint = Endpoint {
            network: network.name.clone(),
            interface,
            mac: mac.unwrap_or_else(|| mac_of_id(&container)),
            ips,
        };
        for ip in &endpoint.ips {
            self.core.world.reserve(ip.ip, Owner { member, bridge });
        }
        let link_local = request.link_local.clone();
        if let Some(of) = self.core.world.members.get_mut(member) {
            let joined = Joined { bridge, endpoint: endpoint.clone(), request, link: link.clone() };
            of.joined.push(joined);
        }
        Ok(Plan { bridge, open, network, mtu, endpoint, link_local, link, default_route, again })
    }

    /// Gives a private network a subnet that nobody has, beginning with the one it asks for.
    fn settle(&self, member: Key, mut request: EndpointRequest) -> Result<EndpointRequest, Refusal> {
        if !request.network.is_private() {
            return Ok(request);
        }
        let world = &self.core.world;
        let mut taken = world.members.get(member).map_or(Vec::new(), |of| of.attach.avoid.clone());
        let own = |bridge: &Bridge| bridge.record.name == request.network.name;
        let others = world.bridges.iter().filter(|(_, bridge)| !own(bridge));
        taken.extend(others.flat_map(|(_, bridge)| bridge.record.subnets.iter().map(|of| of.subnet)));
        for of in request.network.subnets.iter_mut().filter(|of| !of.subnet.is_ipv6()) {
            if taken.iter().any(|other| of.subnet.overlaps(*other)) {
                of.subnet = ipam::private_subnet(ipam::place_of(of.subnet), &taken)
                    .map_err(|error| refusal(RefusalKind::Conflict, error.to_string()))?;
                of.gateway = Some(of.subnet.gateway());
            }
        }
        Ok(request)
    }

    /// The bridge of a network, counted as used once more, and whether it is new.
    fn plan_bridge(&mut self, network: &Network) -> Result<(Key, bool), Refusal> {
        let world = &mut self.core.world;
        if let Some(key) = world.bridge(&network.name) {
            if let Some(bridge) = world.bridges.get_mut(key) {
                bridge.endpoints += 1;
            }
            return Ok((key, false));
        }
        let wanted: Vec<ipam::Subnet> = network.subnets.iter().map(|subnet| subnet.subnet).collect();
        for (_, other) in world.bridges.iter() {
            let taken: Vec<ipam::Subnet> = other.record.subnets.iter().map(|subnet| subnet.subnet).collect();
            ipam::check_free(&wanted, &taken).map_err(|error| {
                refusal(
                    RefusalKind::Conflict,
                    format!("network {}: {error} of {}", network.name, other.record.name),
                )
            })?;
        }
        let bridge =
            Bridge { record: network.clone(), index: 0, captures: vec![], endpoints: 1, last: [None; 2] };
        Ok((world.bridges.insert(bridge), true))
    }

    fn plan_addresses(
        &mut self,
        bridge: Key,
        container: &str,
        network: &Network,
        request: &EndpointRequest,
    ) -> Result<Vec<AssignedIp>, Refusal> {
        let kind = |error: IpamError| {
            let kind = match error {
                IpamError::Taken(_) | IpamError::Exhausted(_) => RefusalKind::Conflict,
                _ => RefusalKind::Invalid,
            };
            refusal(kind, format!("network {}: {error}", network.name))
        };
        network
            .check_addresses(&request.ips)
            .map_err(|error| refusal(RefusalKind::Invalid, format!("network {}: {error}", network.name)))?;
        let world = &mut self.core.world;
        let mut ips: Vec<AssignedIp> = Vec::new();
        for pool in network.pools() {
            let v6 = pool.subnet.is_ipv6();
            let wanted = request.ips.iter().find(|ip| pool.subnet.contains(**ip)).copied();
            let is_first = ips.iter().all(|ip| ip.ip.is_ipv6() != v6);
            let last = world.bridges.get(bridge).and_then(|bridge| bridge.last[usize::from(v6)]);
            let reserved = |ip: IpAddr| network.aux_addresses.values().any(|of| *of == ip);
            let taken = |ip: IpAddr| world.is_taken(ip, container) || reserved(ip);
            let before = request.prefer.iter().copied();
            let before = before.filter(|ip| ip.is_ipv6() == v6).find(|ip| pool.check(*ip, taken).is_ok());
            let ip = match wanted {
                Some(ip) => pool.check(ip, taken).map(|()| ip).map_err(kind)?,
                None => before.map_or_else(|| pool.next(last, taken), Ok).map_err(kind)?,
            };
            if let Some(bridge) = world.bridges.get_mut(bridge).filter(|_| wanted.is_none() && is_first) {
                bridge.last[usize::from(v6)] = Some(ip);
            }
            let gateway = pool.gateway.unwrap_or_else(|| pool.subnet.gateway());
            ips.push(AssignedIp { ip, prefix: pool.subnet.prefix(), gateway });
        }
        Ok(ips)
    }

    /// Has the worker make what was planned, then calls `done` with how that went.
    fn build(
        &mut self,
        member: Key,
        plans: Vec<Plan>,
        namespace: OwnedFd,
        done: impl FnOnce(&mut Self, Result<(), Refusal>) + Send + 'static,
    ) {
        let container = self.core.world.members.get(member).map(|member| member.attach.container.clone());
        let container = container.unwrap_or_default();
        let work = move |site: &mut Site| {
            let mut opened = Vec::new();
            let outcome = carry_out(site, &container, &namespace, &plans, &mut opened);
            (outcome, opened)
        };
        self.worker.submit(work, move |netd, (outcome, opened)| {
            for (bridge, sockets) in opened {
                netd.open_bridge(bridge, sockets);
            }
            let outcome = outcome.map_err(|error| system(&error));
            // The container may have gone meanwhile, and taken its links along.
            let alive = netd.core.world.members.get(member).is_some();
            done(netd, outcome.and_then(|()| if alive { Ok(()) } else { Err(gone()) }));
        });
    }

    /// Begins to serve a bridge that was made.
    fn open_bridge(&mut self, key: Key, sockets: BridgeSockets) {
        let Some(bridge) = self.core.world.bridges.get_mut(key) else { return };
        bridge.index = sockets.index;
        bridge.captures = sockets.captures;
        for socket in &bridge.captures {
            let token = super::Token::new(super::Source::Capture, key);
            // Without it the network is there but leads nowhere; epoll is out of memory only with the machine.
            self.core.reactor.add(socket, super::Interest::Read, token).ok();
        }
        self.dns.open(&self.core, key, sockets.dns_udp, sockets.dns_tcp);
    }

    /// Counts a bridge as used once less; the last user takes it along.
    fn release_bridge(&mut self, key: Key) {
        let Some(bridge) = self.core.world.bridges.get_mut(key) else { return };
        bridge.endpoints -= 1;
        if bridge.endpoints > 0 {
            return;
        }
        self.dns.close(key);
        if let Some(bridge) = self.core.world.bridges.remove(key) {
            let name = bridge.record.network_interface;
            self.worker.submit(move |site| site.close_bridge(&name), |_netd, _outcome| {});
        }
    }

    /// Serves published ports of the session's container with the sockets that came along.
    pub(super) fn publish(
        &mut self,
        session: Key,
        ports: &[PublishedPort],
        sockets: Vec<OwnedFd>,
    ) -> Result<(), Refusal> {
        let member = self.sessions.member(session).ok_or_else(not_attached)?;
        if ports.len() != sockets.len() {
            let message = format!("publish: {} ports, but {} sockets", ports.len(), sockets.len());
            return Err(refusal(RefusalKind::Invalid, message));
        }
        for (port, socket) in ports.iter().zip(sockets) {
            self.publisher.add(&self.core, member, *port, socket).map_err(|error| {
                refusal(RefusalKind::System, format!("publish port {}: {error}", port.container_port))
            })?;
        }
        self.sessions.reply(session, &Reply::Published, &[]);
        Ok(())
    }

    /// Joins a running container to one more network.
    pub(super) fn connect(
        &mut self,
        session: Key,
        container: Option<&str>,
        endpoint: EndpointRequest,
    ) -> Result<(), Refusal> {
        let member = self.addressed(session, container)?;
        let Some(of) = self.core.world.members.get(member) else { return Err(gone()) };
        let namespace = of
            .namespace
            .try_clone()
            .map_err(|error| refusal(RefusalKind::System, format!("duplicate network namespace: {error}")))?;
        let plan = self.plan(member, endpoint)?;
        let (network, endpoint) = (plan.endpoint.network.clone(), plan.endpoint.clone());
        self.build(member, vec![plan], namespace, move |netd, outcome| {
            let reply = match outcome {
                Ok(()) => Reply::Connected { endpoint },
                Err(refusal) => {
                    netd.unjoin(member, &network);
                    Reply::Refused(refusal)
                }
            };
            netd.sessions.reply(session, &reply, &[]);
            netd.report_change(member, session);
        });
        Ok(())
    }

    /// Takes a running container off a network.
    pub(super) fn disconnect(
        &mut self,
        session: Key,
        container: Option<&str>,
        network: &str,
    ) -> Result<(), Refusal> {
        let member = self.addressed(session, container)?;
        if !self.unjoin(member, network) {
            let message = format!("container is not connected to network {network}");
            return Err(refusal(RefusalKind::NotFound, message));
        }
        // The link and its route go before that is told.
        let told = move |netd: &mut Self, ()| {
            netd.sessions.reply(session, &Reply::Disconnected, &[]);
            netd.report_change(member, session);
        };
        self.worker.submit(|_site| (), told);
        Ok(())
    }

    /// Takes up a changed record of a network.
    pub(super) fn update(&mut self, session: Key, network: Network) -> Result<(), Refusal> {
        let world = &mut self.core.world;
        if let Some(bridge) = world.bridge(&network.name).and_then(|key| world.bridges.get_mut(key)) {
            bridge.record = network;
        }
        self.sessions.reply(session, &Reply::Updated, &[]);
        Ok(())
    }

    /// Takes up a container's new name: others find it by that from now on.
    pub(super) fn rename(&mut self, session: Key, container: &str, name: String) -> Result<(), Refusal> {
        let member = self.addressed(session, Some(container))?;
        if let Some(of) = self.core.world.members.get_mut(member) {
            of.attach.name = name;
        }
        self.sessions.reply(session, &Reply::Renamed, &[]);
        self.report_change(member, session);
        Ok(())
    }

    /// Takes a container off all its networks and ends its monitor's connection: the monitor thinks
    /// netd gone, and attaches the container again.
    pub(super) fn reload(&mut self, session: Key, container: &str) -> Result<(), Refusal> {
        let member = self.addressed(session, Some(container))?;
        if let Some(of) = self.core.world.members.get(member) {
            let life = of.session;
            self.sessions.close(&self.core, life);
        }
        self.detach(member);
        self.sessions.reply(session, &Reply::Reloaded, &[]);
        Ok(())
    }

    fn addressed(&self, session: Key, container: Option<&str>) -> Result<Key, Refusal> {
        match container {
            Some(id) => self.core.world.find(id).ok_or_else(|| {
                refusal(RefusalKind::NotFound, format!("container {id} has no network of its own"))
            }),
            None => self.sessions.member(session).ok_or_else(not_attached),
        }
    }

    /// Tells a container's monitor what it has now, if somebody else has changed that, and those who know it by a link.
    fn report_change(&mut self, member: Key, by: Key) {
        if self.core.world.members.get(member).is_some_and(|of| of.session != by) {
            self.report(member);
        }
        self.report_to_linked(member);
    }

    /// Tells the monitors of containers that are linked to `member` where that is now.
    fn report_to_linked(&mut self, member: Key) {
        let members = &self.core.world.members;
        let Some(of) = members.get(member) else { return };
        let is_linked = |other: &Member| other.links().any(|(_, id)| *id == of.attach.container);
        for key in members.keys_where(is_linked) {
            self.report(key);
        }
    }

    /// Where the containers are that a container is linked to, on the networks that both are on.
    fn linked_to(&self, of: &Member) -> Vec<(String, IpAddr)> {
        let address = |(_, id): &(String, String)| {
            let other = self.core.world.members.get(self.core.world.find(id)?)?;
            let shares = |joined: &&Joined| of.joined.iter().any(|own| own.bridge == joined.bridge);
            let ip = other.joined.iter().find(shares)?.endpoint.ips.first()?.ip;
            Some((id.clone(), ip))
        };
        of.links().filter_map(address).collect()
    }

    /// Tells a container's monitor what it has now; one that waits for its links, as soon as they are there.
    fn report(&mut self, member: Key) {
        let Some(of) = self.core.world.members.get_mut(member) else { return };
        of.changed = !of.ready;
        if of.changed {
            return;
        }
        let Some(of) = self.core.world.members.get(member) else { return };
        let as_it_is = |joined: &Joined| EndpointRequest {
            ips: joined.endpoint.ips.iter().map(|ip| ip.ip).collect(),
            mac: Some(joined.endpoint.mac),
            interface: Some(joined.endpoint.interface.clone()),
            ..joined.request.clone()
        };
        let wanted = of.joined.iter().map(as_it_is).collect();
        let (endpoints, name) = (self.endpoints(member), of.attach.name.clone());
        let linked = self.linked_to(of);
        self.sessions.tell(of.session, &Reply::Changed { wanted, endpoints, linked, name });
    }

    /// Removes one endpoint. Returns whether there was one.
    fn unjoin(&mut self, member: Key, network: &str) -> bool {
        let Some(of) = self.core.world.members.get_mut(member) else { return false };
        let Some(at) = of.joined.iter().position(|joined| joined.endpoint.network == network) else {
            return false;
        };
        let joined = of.joined.remove(at);
        let mut ways: Vec<&Joined> = of.joined.iter().filter(|of| of.request.leads_out()).collect();
        ways.order_by_key(|joined| std::cmp::Reverse(joined.request.gw_priority));
        let metric = |of: &Joined| of.request.network.metric().unwrap_or_default();
        let ways: Vec<(Endpoint, u32)> =
            ways.into_iter().map(|of| (of.endpoint.clone(), metric(of))).collect();
        let namespace = of.namespace.try_clone();
        // Connections through the removed link would hang.
        self.drop_traffic(member, Some(joined.bridge));
        self.remove_link(joined);
        if let Ok(namespace) = namespace {
            self.worker.submit(move |site| site.reroute(&namespace, &ways), |_netd, _outcome| {});
        }
        true
    }

    fn remove_link(&mut self, joined: Joined) {
        for ip in &joined.endpoint.ips {
            self.core.world.release(ip.ip);
        }
        self.worker.submit(move |site| site.leave(&joined.link), |_netd, _outcome| {});
        self.release_bridge(joined.bridge);
    }

    /// Ends everything of a container.
    pub(super) fn detach(&mut self, member: Key) {
        self.drop_traffic(member, None);
        let Some(gone) = self.core.world.members.remove(member) else { return };
        for joined in gone.joined {
            self.remove_link(joined);
        }
    }

    /// Ends what a container has under way on the network of `bridge`, or everywhere, its ports included.
    fn drop_traffic(&mut self, member: Key, bridge: Option<Key>) {
        self.relays.drop_owner(member, bridge);
        self.outbound.drop_owner(&mut self.core, member, bridge);
        self.echoes.drop_owner(member, bridge);
        self.flows.drop_owner(&mut self.core, member, bridge);
        if bridge.is_none() {
            self.publisher.drop_owner(&mut self.core, &mut self.flows, member);
        }
    }
}

fn carry_out(
    site: &mut Site,
    container: &str,
    namespace: &OwnedFd,
    plans: &[Plan],
    opened: &mut Vec<(Key, BridgeSockets)>,
) -> Result<(), SiteError> {
    for plan in plans {
        if plan.open {
            opened.push((plan.bridge, site.open_bridge(&plan.network, plan.mtu)?));
        }
        site.join(&Join {
            container,
            namespace,
            bridge: &plan.network.network_interface,
            link: &plan.link,
            endpoint: &plan.endpoint,
            link_local: &plan.link_local,
            network: &plan.network,
            mtu: plan.mtu,
            default_route: plan.default_route,
            again: plan.again,
        })?;
    }
    Ok(())
}

/// What went wrong, with all its causes on one line.
fn system(error: &SiteError) -> Refusal {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    refusal(RefusalKind::System, message)
}

fn gone() -> Refusal {
    refusal(RefusalKind::NotFound, "container has gone")
}

fn not_attached() -> Refusal {
    refusal(RefusalKind::Invalid, "this connection has no container")
}

/// A hardware address for a container without any IP address.
fn mac_of_id(container: &str) -> [u8; 6] {
    let mut mac = [0x42, 0, 0, 0, 0, 0];
    for (byte, pair) in mac[1..].iter_mut().zip(container.as_bytes().chunks(2)) {
        *byte = std::str::from_utf8(pair).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0);
    }
    mac
}
