//! A port that may be published at any of several ports of the host (`8000-8010:80`): the first free one is taken
//! when the container is made, so that each container of a scaled service has its own.

use std::collections::BTreeSet;
use std::net::{TcpListener, UdpSocket};

use crate::base::id::ContainerId;
use crate::compose::apply::Compose;
use crate::compose::observe;
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, Kind, Result};

/// One entry of `ports` with a choice.
#[derive(Debug, PartialEq, Eq)]
struct Choice<'a> {
    /// With brackets if it is of version 6; empty for every address.
    address: &'a str,
    first: u16,
    last: u16,
    /// `80/tcp`.
    inside: &'a str,
}

impl Choice<'_> {
    fn protocol(&self) -> &str {
        self.inside.split_once('/').map_or("tcp", |(_, protocol)| protocol)
    }

    /// Whether nobody listens there now.
    fn is_free(&self, port: u16) -> bool {
        let address = match self.address.trim_matches(['[', ']']) {
            "" => "0.0.0.0",
            address => address,
        };
        match self.protocol() {
            "udp" => UdpSocket::bind((address, port)).is_ok(),
            _ => TcpListener::bind((address, port)).is_ok(),
        }
    }
}

/// Reads `[IP:]FIRST-LAST:INSIDE/PROTOCOL`; `None` for what leaves no choice.
fn choice(text: &str) -> Option<Choice<'_>> {
    let (outside, inside) = text.rsplit_once(':')?;
    let (address, range) = outside.rsplit_once(':').unwrap_or(("", outside));
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (!inside.contains('-')).then_some(Choice { address, first, last, inside })
}

impl Compose<'_> {
    /// Chooses where the request's ports are published that leave a choice. The container in whose place it is
    /// made gives its ports to it.
    ///
    /// # Errors
    ///
    /// If all ports of a range are taken.
    pub(crate) fn choose_ports(
        &self,
        request: &mut ContainerRequest,
        old: Option<&ContainerId>,
    ) -> Result<()> {
        if request.publish.iter().all(|text| choice(text).is_none()) {
            return Ok(());
        }
        let (mut taken, mut own) = (BTreeSet::new(), BTreeSet::new());
        for container in observe::of_all_projects(self.engine)? {
            let set = if Some(&container.id) == old { &mut own } else { &mut taken };
            let ports = container.summary.network.ports.iter().flat_map(|port| port.each());
            set.extend(ports.map(|port| (port.host_port, port.protocol.to_string())));
        }
        for text in &mut request.publish {
            let Some(choice) = choice(text) else { continue };
            let key = |port: u16| (port, choice.protocol().to_owned());
            let kept = (choice.first..=choice.last).find(|port| own.contains(&key(*port)));
            let port = kept.or_else(|| {
                (choice.first..=choice.last)
                    .find(|port| !taken.contains(&key(*port)) && choice.is_free(*port))
            });
            let Some(port) = port else {
                let message = format!("all ports of {text:?} are in use");
                return Err(Error::new(Kind::Conflict, message).hint("name a longer range"));
            };
            taken.insert(key(port));
            own.remove(&key(port));
            let address =
                if choice.address.is_empty() { String::new() } else { format!("{}:", choice.address) };
            *text = format!("{address}{port}:{}", choice.inside);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_for_one_port_is_a_choice() {
        for (text, want) in [
            ("8000-8010:80/tcp", Some(("", 8000, 8010, "80/tcp"))),
            ("127.0.0.1:8000-8001:80/udp", Some(("127.0.0.1", 8000, 8001, "80/udp"))),
            ("[::1]:8000-8001:80/tcp", Some(("[::1]", 8000, 8001, "80/tcp"))),
            ("8000-8001:80-81/tcp", None),
            ("8000:80/tcp", None),
            ("127.0.0.1::80/tcp", None),
            ("80/tcp", None),
        ] {
            let want = want.map(|(address, first, last, inside)| Choice { address, first, last, inside });
            assert_eq!(choice(text), want, "{text}");
        }
    }
}
