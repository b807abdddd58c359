//! Who is who, as one container may know it.

use std::net::{IpAddr, SocketAddr};

use super::upstream::Target;
use crate::net::dns::Names;
use crate::net::netd::slab::Key;
use crate::net::netd::world::World;

/// `db` of `db.backend`.
fn strip_domain<'n>(name: &'n str, domain: &str) -> Option<&'n str> {
    let (start, end) = name.split_at_checked(name.len().checked_sub(domain.len())?)?;
    start.strip_suffix('.').filter(|start| !start.is_empty() && end.eq_ignore_ascii_case(domain))
}

/// What one container may know of the others: those with which it shares a network with names.
pub(super) struct View<'a> {
    world: &'a World,
    asker: Key,
    pub(super) may_forward: bool,
    bridge: Key,
}

impl<'a> View<'a> {
    pub(super) fn of(world: &'a World, bridge: Key, from: IpAddr) -> Option<Self> {
        let owner = world.owner(from).filter(|owner| owner.bridge == bridge)?;
        let member = world.members.get(owner.member)?;
        // One network with a way out is enough, whichever of its gateways the container asks.
        let may_forward = member.joined.iter().any(|joined| !joined.request.network.internal);
        Some(Self { world, asker: owner.member, may_forward, bridge })
    }

    /// Where queries are passed on to: to the servers that were named for this container or its network, else to those
    /// of the `host`.
    ///
    /// A container that is a server is asked where the two share a network. Nobody is asked for itself: a server that
    /// was named for its own network asks the host's, as does who named netd.
    pub(super) fn servers(&self, host: &[SocketAddr]) -> Vec<Target> {
        let own = self.world.members.get(self.asker).map_or(&[][..], |member| &member.attach.dns);
        let network = self.world.bridges.get(self.bridge);
        let network = network.map_or(&[][..], |bridge| &bridge.record.network_dns_servers);
        let chosen = if own.is_empty() { network } else { own };
        let others: Vec<IpAddr> = chosen.iter().copied().filter(|ip| !self.is_itself(*ip)).collect();
        if others.is_empty() {
            let host = host.iter().filter(|_| self.may_forward);
            return host.copied().map(Target::Outside).collect();
        }
        others.into_iter().filter_map(|ip| self.target(SocketAddr::new(ip, 53))).collect()
    }

    /// Whether an address is the asker's, or netd's on some network.
    fn is_itself(&self, ip: IpAddr) -> bool {
        self.world.owner(ip).is_some_and(|owner| owner.member == self.asker)
            || self.world.bridges.iter().any(|(_, of)| of.record.gateway(ip.is_ipv6()) == Some(ip))
    }

    /// From where a named server can be asked, if this container may.
    fn target(&self, server: SocketAddr) -> Option<Target> {
        match self.world.bridge_around(server.ip()) {
            Some(bridge) => self.shares(bridge).then_some(Target::Inside(server)),
            None => self.may_forward.then_some(Target::Outside(server)),
        }
    }

    /// Networks of the asker.
    fn shares(&self, bridge: Key) -> bool {
        let joined = self.world.members.get(self.asker).map(|member| &member.joined);
        joined.is_some_and(|joined| joined.iter().any(|joined| joined.bridge == bridge))
    }
}

impl Names for View<'_> {
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let asker = self.world.members.get(self.asker)?;
        let linked = asker.links().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
        let mut found = None;
        for (_, member) in self.world.members.iter() {
            let is_linked = linked.is_some_and(|(_, container)| *container == member.attach.container);
            for joined in member.joined.iter().filter(|joined| self.shares(joined.bridge)) {
                // As with docker, a network is the domain of its containers, too.
                let within = strip_domain(name, &joined.request.network.name);
                let is_called = |name: &str| {
                    let aliases = &joined.request.aliases;
                    member.attach.is_called(name)
                        || aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
                };
                let own = is_linked || is_called(name) || within.is_some_and(is_called);
                if own && joined.request.network.dns_enabled {
                    found.get_or_insert_with(Vec::new).extend(joined.endpoint.ips.iter().map(|ip| ip.ip));
                }
            }
        }
        found
    }

    fn names_of(&self, ip: IpAddr) -> Vec<String> {
        let owner = self.world.owner(ip).filter(|owner| self.shares(owner.bridge));
        let of = owner.and_then(|owner| Some((owner, self.world.members.get(owner.member)?)));
        let Some((owner, member)) = of else { return Vec::new() };
        let mut names = vec![member.attach.name.clone()];
        let here = member.joined.iter().filter(|joined| joined.bridge == owner.bridge);
        let aliases = here.flat_map(|joined| joined.request.aliases.iter().cloned());
        let others = [member.attach.hostname.clone(), member.attach.short_id().to_owned()];
        for name in aliases.chain(others) {
            if !names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                names.push(name);
            }
        }
        names
    }

    fn is_inside(&self, ip: IpAddr) -> bool {
        self.world.is_inside(ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::netd::world::tests::two_networks;

    #[test]
    fn containers_know_only_those_they_share_a_network_with() {
        let (world, a, b) = two_networks();
        let view = View::of(&world, a, "10.1.0.2".parse().unwrap()).unwrap();
        let own: Vec<IpAddr> = vec!["10.1.0.2".parse().unwrap()];
        for name in ["ca", "CA", "hosta", "aaaaaaaaaaaa", "ca.a", "hosta.A"] {
            assert_eq!(view.addresses(name).as_ref(), Some(&own), "{name}");
        }
        assert_eq!(view.addresses("aaaaaaaaaaa"), None, "too short for an ID");
        for name in ["cb", "cb.b", "cb.a", "ca.b", "ca.", ".a", "xca.a"] {
            assert_eq!(view.addresses(name), None, "{name}: on another network, or nobody");
        }
        assert_eq!(view.names_of("10.2.0.2".parse().unwrap()), [""; 0]);
        assert_eq!(view.names_of("10.1.0.2".parse().unwrap()), ["ca", "hosta", "aaaaaaaaaaaa"]);
        assert!(view.is_inside("10.2.0.2".parse().unwrap()), "so its reverse name does not leak");
        assert!(view.may_forward);
        assert!(!View::of(&world, b, "10.2.0.2".parse().unwrap()).unwrap().may_forward);
        assert!(View::of(&world, b, "10.1.0.2".parse().unwrap()).is_none(), "forged source");
    }

    #[test]
    fn named_servers_are_asked_where_they_are() {
        let (mut world, a, b) = two_networks();
        let host: SocketAddr = "192.0.2.53:53".parse().unwrap();
        let at = |text: &str| SocketAddr::new(text.parse().unwrap(), 53);
        for (bridge, from, named, want) in [
            (a, "10.1.0.2", &[][..], vec![Target::Outside(host)]),
            (a, "10.1.0.2", &["9.9.9.9"], vec![Target::Outside(at("9.9.9.9"))]),
            (
                a,
                "10.1.0.2",
                &["10.1.0.7", "9.9.9.9"],
                vec![Target::Inside(at("10.1.0.7")), Target::Outside(at("9.9.9.9"))],
            ),
            (a, "10.1.0.2", &["10.2.0.2"], vec![]), // of a network that it is not on
            (a, "10.1.0.2", &["10.1.0.2"], vec![Target::Outside(host)]), // itself
            (a, "10.1.0.2", &["10.1.0.1", "10.1.0.2"], vec![Target::Outside(host)]),
            (b, "10.2.0.2", &[], vec![]), // internal
            (b, "10.2.0.2", &["9.9.9.9", "10.2.0.7"], vec![Target::Inside(at("10.2.0.7"))]),
        ] {
            world.bridges.get_mut(bridge).unwrap().record.network_dns_servers =
                named.iter().map(|ip| ip.parse().unwrap()).collect();
            let view = View::of(&world, bridge, from.parse().unwrap()).unwrap();
            assert_eq!(view.servers(&[host]), want, "{from}, {named:?}");
        }
    }
}
