//! Who is who, as one container may know it.

use std::net::{IpAddr, SocketAddr};

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

    /// Servers that were named for this container or its network.
    pub(super) fn servers(&self) -> Vec<SocketAddr> {
        let own = self.world.members.get(self.asker).map_or(&[][..], |member| &member.attach.dns);
        let network = self.world.bridges.get(self.bridge);
        let network = network.map_or(&[][..], |bridge| &bridge.record.network_dns_servers);
        let chosen = if own.is_empty() { network } else { own };
        chosen.iter().map(|ip| SocketAddr::new(*ip, 53)).collect()
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
}
