//! What a container asks of networks: which ones it joins, which ports it publishes.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::id::ContainerId;

/// One network that a container joins, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkAttachment {
    /// Name of the network.
    pub(crate) name: String,
    /// Name of the interface inside; `eth0`, `eth1` … if not given.
    #[serde(default)]
    pub(crate) interface: Option<String>,
    /// Wanted addresses, at most one per family.
    #[serde(default)]
    pub(crate) ips: Vec<IpAddr>,
    /// Further addresses, of the link alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) link_local: Vec<IpAddr>,
    #[serde(default)]
    pub(crate) mac: Option<[u8; 6]>,
    /// Further names of the container on this network.
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    /// The container's way out is its network with the largest; the first of several.
    #[serde(default)]
    pub(crate) gw_priority: i32,
    /// Names that only this container knows others by on this network.
    #[serde(default)]
    pub(crate) links: Vec<(String, ContainerId)>,
}

/// A network of a container's own: it leads out, and nobody else is on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PrivateNetwork {
    /// What was typed: `private`, `pasta` or `slirp4netns`.
    pub(crate) word: String,
    #[serde(default)]
    pub(crate) mtu: Option<u32>,
    /// `ADDRESS/PREFIX`; chosen if not given.
    #[serde(default)]
    pub(crate) subnet: Option<String>,
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
    /// `host.containers.internal` is the host's loopback.
    #[serde(default)]
    pub(crate) host_loopback: bool,
    /// Name of the interface inside.
    #[serde(default)]
    pub(crate) interface: Option<String>,
}

/// Transport protocol of a published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// Ports of the host that lead to ports of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PortMapping {
    /// The host's address; every one if not given.
    pub(crate) host_ip: Option<IpAddr>,
    /// First port of the host; 0 if any free one will do.
    pub(crate) host_port: u16,
    /// First port of the container.
    pub(crate) container_port: u16,
    /// How many ports in a row.
    pub(crate) range: u16,
    pub(crate) protocol: Protocol,
}

/// A text that asks for no network, or no port.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NetworkSyntaxError {
    #[error("invalid port {text:?}: {why}")]
    Port { text: String, why: String },
    #[error("ports {text:?}: host and container port ranges have different lengths: {host} vs {container}")]
    Range { text: String, host: u16, container: u16 },
    #[error(
        "network option {0:?}: known are ip=, ip6=, mac=, alias=, interface_name=, gw-priority=, link-local-ip= and driver-opt="
    )]
    Option(String),
    #[error("invalid option for network {0}: alias cannot be empty")]
    Alias(String),
    #[error("invalid link-local address {0:?}: one of 169.254.0.0/16 or fe80::/10")]
    LinkLocal(String),
    #[error("driver option {0:?}: known is {INTERFACE_OPTION}=NAME")]
    DriverOption(String),
    #[error("network option {option:?}: ketch has no {word}, and nothing that would do the same")]
    Helper { word: String, option: String },
    #[error("address {0}: invalid MAC address: write six pairs of hex digits, like 02:00:00:00:00:01")]
    Mac(String),
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl FromStr for Protocol {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(()),
        }
    }
}

impl PortMapping {
    /// What `8000-8003:80` asks for: each of the host's ports, of which one is to lead there. None for all else.
    pub(crate) fn choices(text: &str) -> Vec<Self> {
        let Some((rest, container)) = text.rsplit_once(':') else { return Vec::new() };
        let host_at = rest.rfind(':').map_or(0, |colon| colon + 1);
        let (ip, host) = rest.split_at(host_at);
        match port_range(host) {
            Ok((first, count)) if count > 1 && !container.contains('-') => (first..=first + (count - 1))
                .filter_map(|port| format!("{ip}{port}:{container}").parse().ok())
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Each port by itself.
    pub(crate) fn each(self) -> impl Iterator<Item = Self> {
        (0..self.range.max(1)).map(move |n| Self {
            host_port: if self.host_port == 0 { 0 } else { self.host_port + n },
            container_port: self.container_port + n,
            range: 1,
            ..self
        })
    }

    /// The host's side as listings show it.
    pub(crate) fn host_ip_text(&self) -> String {
        self.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string())
    }
}

impl FromStr for PortMapping {
    type Err = NetworkSyntaxError;

    /// Reads what `--publish` takes: `80`, `8080:80`, `127.0.0.1::80`, `[::1]:53:53/udp`, `8000-8010:80-90`.
    fn from_str(text: &str) -> Result<Self, NetworkSyntaxError> {
        let shortened = || text.chars().take(100).collect();
        let bad = |why: String| NetworkSyntaxError::Port { text: shortened(), why };
        let (rest, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
        let protocol = protocol
            .to_ascii_lowercase()
            .parse()
            .map_err(|()| bad(format!("unrecognized protocol {protocol:?} in port mapping")))?;
        let (rest, container) = rest.rsplit_once(':').unwrap_or(("", rest));
        let (ip, host) = match rest.rsplit_once(':') {
            Some((ip, host)) => (ip, host),
            None => ("", rest),
        };
        let host_ip = match (ip.strip_prefix('['), ip) {
            (_, "") => None,
            (Some(v6), _) => {
                let v6: Option<Ipv6Addr> = v6.strip_suffix(']').and_then(|v6| v6.parse().ok());
                Some(IpAddr::V6(v6.ok_or_else(|| bad(no_address(ip)))?))
            }
            (None, v4) => Some(IpAddr::V4(v4.parse().map_err(|_| bad(no_address(ip)))?)),
        };
        if container.is_empty() {
            return Err(bad("must provide a non-empty container port to publish".into()));
        }
        let (container_port, range) = port_range(container).map_err(bad)?;
        let (host_port, host_range) = match host {
            "" | "0" => (0, range),
            _ => port_range(host).map_err(bad)?,
        };
        if host_range != range {
            return Err(NetworkSyntaxError::Range { text: shortened(), host: host_range, container: range });
        }
        Ok(Self { host_ip, host_port, container_port, range, protocol })
    }
}

fn no_address(text: &str) -> String {
    format!("cannot parse {text:?} as an IP address")
}

/// First port and number of ports of `80` or `80-90`; or what is wrong with it.
fn port_range(text: &str) -> Result<(u16, u16), String> {
    let number = |text: &str| -> Result<u16, String> {
        // `parse` would take a sign.
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("invalid port number: {text:?}"));
        }
        let within = text.parse().ok().filter(|port| *port > 0);
        within.ok_or_else(|| format!("port numbers must be between 1 and 65535 (inclusive), got {text}"))
    };
    let Some((first, last)) = text.split_once('-') else { return Ok((number(text)?, 1)) };
    let (first, last) = (number(first)?, number(last)?);
    let more = last.checked_sub(first).ok_or_else(|| {
        format!(
            "the end port of a range must be higher than the start port - {last} is not higher than {first}"
        )
    })?;
    // There is no port 0, so that there is room for one more.
    Ok((first, more + 1))
}

/// Docker's word for the name of the interface inside.
pub(crate) const INTERFACE_OPTION: &str = "com.docker.network.endpoint.ifname";
/// Its word for what the kernel shall do with that.
pub(crate) const SYSCTLS_OPTION: &str = "com.docker.network.endpoint.sysctls";

/// Takes these two out of `options`: the name that the interface must have, if it matters (`named` says so otherwise), and its
/// kernel parameters, which stand in one option, after one another, with `IFNAME` for the interface. `place` is that of the
/// network among the container's.
pub(crate) fn interface_of(
    options: &mut BTreeMap<String, String>,
    named: Option<String>,
    place: usize,
    sysctls: &mut BTreeMap<String, String>,
) -> Option<String> {
    let named = named.or_else(|| options.remove(INTERFACE_OPTION));
    let Some(parameters) = options.remove(SYSCTLS_OPTION) else { return named };
    let name = named.unwrap_or_else(|| format!("eth{place}"));
    let each = parameters.split(',').filter_map(|parameter| parameter.trim().split_once('='));
    sysctls.extend(each.map(|(key, value)| (key.replace("IFNAME", &name), value.to_owned())));
    Some(name)
}

impl FromStr for NetworkAttachment {
    type Err = NetworkSyntaxError;

    /// Reads podman's `NAME[:ip=…,ip6=…,mac=…,alias=…,interface_name=…]` and Docker's
    /// `name=NAME[,ip=…,ip6=…,mac-address=…,alias=…,gw-priority=…,driver-opt=KEY=VALUE]`; each takes the other's options.
    fn from_str(text: &str) -> Result<Self, NetworkSyntaxError> {
        let (name, options) = match text.strip_prefix("name=") {
            Some(rest) => rest.split_once(',').unwrap_or((rest, "")),
            None => text.split_once(':').unwrap_or((text, "")),
        };
        let mut attachment = Self { name: name.into(), ..Self::default() };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            let bad = || NetworkSyntaxError::Option(option.into());
            let (key, value) = option.split_once('=').ok_or_else(bad)?;
            match key {
                "ip" | "ip6" => attachment.ips.push(value.parse().map_err(|_| bad())?),
                "mac" | "mac-address" => attachment.mac = Some(parse_mac(value)?),
                "alias" if value.is_empty() => return Err(NetworkSyntaxError::Alias(name.into())),
                "alias" => attachment.aliases.push(value.into()),
                "interface_name" => attachment.interface = Some(value.into()),
                "link-local-ip" => attachment.link_local.push(parse_link_local(value)?),
                "gw-priority" => attachment.gw_priority = value.parse().map_err(|_| bad())?,
                "driver-opt" => attachment.driver_option(value)?,
                _ => return Err(bad()),
            }
        }
        Ok(attachment)
    }
}

impl NetworkAttachment {
    /// Takes up Docker's `--driver-opt KEY=VALUE`.
    ///
    /// # Errors
    ///
    /// For all but the name of the interface.
    pub(crate) fn driver_option(&mut self, text: &str) -> Result<(), NetworkSyntaxError> {
        match text.split_once('=') {
            Some((INTERFACE_OPTION, name)) => self.interface = Some(name.into()),
            _ => return Err(NetworkSyntaxError::DriverOption(text.chars().take(100).collect())),
        }
        Ok(())
    }
}

/// Reads an address that holds on one link only.
pub(crate) fn parse_link_local(text: &str) -> Result<IpAddr, NetworkSyntaxError> {
    let is_one = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let bad = || NetworkSyntaxError::LinkLocal(text.chars().take(60).collect());
    text.parse().ok().filter(is_one).ok_or_else(bad)
}

impl PrivateNetwork {
    /// Reads `private`, `pasta[:OPTION,…]` and `slirp4netns[:OPTION,…]`; `None` if the text is about
    /// something else. Of the options of those programs it knows those that mean something here.
    pub(crate) fn parse(text: &str) -> Option<Result<Self, NetworkSyntaxError>> {
        let (word, options) = text.split_once(':').unwrap_or((text, ""));
        if !matches!(word, "private" | "pasta" | "slirp4netns") {
            return None;
        }
        let mut network = Self {
            word: word.into(),
            mtu: None,
            subnet: None,
            ipv4: true,
            ipv6: true,
            host_loopback: false,
            interface: None,
        };
        let mut options = options.split(',').filter(|option| !option.is_empty());
        while let Some(option) = options.next() {
            let known = match word {
                "pasta" => network.pasta_option(option, &mut options),
                "slirp4netns" => network.slirp_option(option),
                _ => None,
            };
            if known.is_none() {
                let (word, option) = (word.to_owned(), option.chars().take(60).collect());
                return Some(Err(NetworkSyntaxError::Helper { word, option }));
            }
        }
        Some(Ok(network))
    }

    /// An argument of pasta(1); its value may be the next one.
    fn pasta_option<'a>(&mut self, option: &str, rest: &mut impl Iterator<Item = &'a str>) -> Option<()> {
        let (name, value) =
            option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        let mut value = || value.or_else(|| rest.next());
        match name {
            "-4" | "--ipv4-only" => self.ipv6 = false,
            "-6" | "--ipv6-only" => self.ipv4 = false,
            "--map-gw" => self.host_loopback = true,
            "--no-map-gw" => self.host_loopback = false,
            "-m" | "--mtu" => self.mtu = Some(value()?.parse().ok()?),
            "-I" | "--ns-ifname" => self.interface = Some(value()?.to_owned()),
            _ => return None,
        }
        Some(())
    }

    /// An option as podman passes it to slirp4netns(1).
    fn slirp_option(&mut self, option: &str) -> Option<()> {
        let (name, value) = option.split_once('=')?;
        match name {
            "mtu" => self.mtu = Some(value.parse().ok()?),
            "cidr" => self.subnet = Some(value.to_owned()),
            "enable_ipv6" => self.ipv6 = value.parse().ok()?,
            "allow_host_loopback" => self.host_loopback = value.parse().ok()?,
            // Both words name a forwarder; the client's address is kept whoever forwards.
            "port_handler" if matches!(value, "rootlesskit" | "slirp4netns") => {}
            _ => return None,
        }
        Some(())
    }
}

/// Reads `02:00:5e:10:00:01`, with colons or dashes. A group address is none.
pub(crate) fn parse_mac(text: &str) -> Result<[u8; 6], NetworkSyntaxError> {
    let bad = || NetworkSyntaxError::Mac(text.chars().take(40).collect());
    let mut mac = [0; 6];
    let mut pairs = text.split([':', '-']);
    for byte in &mut mac {
        let pair = pairs.next().filter(|pair| pair.len() == 2).ok_or_else(bad)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
    }
    if pairs.next().is_some() || mac[0] & 1 != 0 || mac == [0; 6] { Err(bad()) } else { Ok(mac) }
}

/// Writes a hardware address as everybody does.
pub(crate) fn mac_text(mac: &[u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        let shown = |text: &str| {
            text.parse::<PortMapping>()
                .map(|p| {
                    format!(
                        "{} {} {} {} {}",
                        p.host_ip_text(),
                        p.host_port,
                        p.container_port,
                        p.range,
                        p.protocol
                    )
                })
                .map_err(|err| matches!(err, NetworkSyntaxError::Range { .. }))
        };
        for (text, want) in [
            ("80", Ok("0.0.0.0 0 80 1 tcp")),
            ("8080:80", Ok("0.0.0.0 8080 80 1 tcp")),
            ("8080:80/udp", Ok("0.0.0.0 8080 80 1 udp")),
            ("53:53/UDP", Ok("0.0.0.0 53 53 1 udp")),
            ("127.0.0.1:8080:80", Ok("127.0.0.1 8080 80 1 tcp")),
            ("127.0.0.1::80", Ok("127.0.0.1 0 80 1 tcp")),
            ("[::1]:8080:80", Ok("::1 8080 80 1 tcp")),
            ("8000-8010:80-90", Ok("0.0.0.0 8000 80 11 tcp")),
            ("80-90", Ok("0.0.0.0 0 80 11 tcp")),
            ("1-65535:1-65535", Ok("0.0.0.0 1 1 65535 tcp")),
            ("8000-8010:80", Err(true)),
            ("0", Err(false)),
            ("65536", Err(false)),
            ("80:", Err(false)),
            ("+80", Err(false)),
            ("90-80", Err(false)),
            ("80/sctp", Err(false)),
            ("::1:80:80", Err(false)),
            ("", Err(false)),
        ] {
            assert_eq!(shown(text).as_deref(), want.as_deref(), "{text}");
        }
        let each: Vec<_> = "8000-8002:80-82"
            .parse::<PortMapping>()
            .unwrap()
            .each()
            .map(|p| (p.host_port, p.container_port))
            .collect();
        assert_eq!(each, [(8000, 80), (8001, 81), (8002, 82)]);
    }

    #[test]
    fn one_port_of_several() {
        let choices =
            |text: &str| PortMapping::choices(text).iter().map(|port| port.host_port).collect::<Vec<_>>();
        assert_eq!(choices("8000-8002:80"), [8000, 8001, 8002]);
        assert_eq!(choices("[::1]:8000-8001:80/udp"), [8000, 8001]);
        assert_eq!(choices("65534-65535:80"), [65534, 65535]);
        for other in
            ["80", "8000:80", "8000-8002:80-82", "8000-8001", "127.0.0.1::80", "8001-8000:80", "1-2:x"]
        {
            assert!(choices(other).is_empty(), "{other}");
        }
    }

    #[test]
    fn both_ways_to_write_an_attachment() {
        for (text, want) in [
            ("web", Ok("web None [] [] 0")),
            ("web:alias=a,alias=b,interface_name=lan0", Ok("web Some(\"lan0\") [] [\"a\", \"b\"] 0")),
            ("name=web", Ok("web None [] [] 0")),
            ("name=web,ip=10.1.0.2,gw-priority=-3", Ok("web None [10.1.0.2] [] -3")),
            ("name=web,driver-opt=com.docker.network.endpoint.ifname=x0", Ok("web Some(\"x0\") [] [] 0")),
            ("web:gw-priority=7", Ok("web None [] [] 7")),
            ("name=web,gw-priority=much", Err(())),
            ("name=web,driver-opt=other=1", Err(())),
            ("web:bogus=1", Err(())),
        ] {
            let got = text.parse::<NetworkAttachment>().map_err(|_| ());
            let shown = got.map(|a| {
                format!("{} {:?} {:?} {:?} {}", a.name, a.interface, a.ips, a.aliases, a.gw_priority)
            });
            assert_eq!(shown.as_deref(), want.as_deref(), "{text}");
        }
    }

    #[test]
    fn networks_of_ones_own() {
        let of = |text: &str| PrivateNetwork::parse(text).map(|parsed| parsed.map_err(|_| ()));
        assert_eq!(of("ketch"), None);
        assert_eq!(of("privately"), None);
        let plain = of("private").unwrap().unwrap();
        assert!(plain.ipv4 && plain.ipv6 && !plain.host_loopback);
        let pasta = of("pasta:-4,--mtu,1400,--map-gw,-I=lan").unwrap().unwrap();
        assert_eq!((pasta.mtu, pasta.ipv6, pasta.host_loopback), (Some(1400), false, true));
        assert_eq!(pasta.interface.as_deref(), Some("lan"));
        let slirp = of("slirp4netns:cidr=10.9.0.0/24,enable_ipv6=false,allow_host_loopback=true,mtu=1500");
        let slirp = slirp.unwrap().unwrap();
        assert_eq!((slirp.subnet.as_deref(), slirp.ipv6), (Some("10.9.0.0/24"), false));
        for bad in ["private:x", "pasta:-T,80", "pasta:--mtu", "slirp4netns:bogus=1", "slirp4netns:mtu=x"] {
            assert_eq!(of(bad), Some(Err(())), "{bad}");
        }
    }

    #[test]
    fn attachments() {
        let all: NetworkAttachment =
            "net:ip=10.89.0.5,ip6=fd00::5,mac=02:00:00:00:00:0a,alias=db,alias=sql,interface_name=lan"
                .parse()
                .unwrap();
        assert_eq!((all.name.as_str(), all.ips.len(), all.aliases.len()), ("net", 2, 2));
        assert_eq!(mac_text(&all.mac.unwrap()), "02:00:00:00:00:0a");
        assert_eq!("plain".parse::<NetworkAttachment>().unwrap().name, "plain");
        for bad in ["n:ip", "n:ip=x", "n:mac=01:00:00:00:00:00", "n:mac=2:0:0:0:0:1", "n:what=1"] {
            assert!(bad.parse::<NetworkAttachment>().is_err(), "{bad}");
        }
    }
}
