//! Host names to addresses, without libc: static glibc must never load the machine's NSS modules.
//!
//! A registry may send ketch anywhere by a redirect, also to a name that leads to a link-local
//! address (169.254.169.254 hands out a cloud machine's secrets). Such addresses are left out of
//! every answer but that for the registry's own name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Looks names up in /etc/hosts and at the name servers of /etc/resolv.conf.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    /// Made on first use: it belongs to the runtime that asks.
    inner: Arc<OnceLock<TokioResolver>>,
    /// The registry's own host.
    trusted: Arc<str>,
}

impl Resolver {
    /// A resolver for the client of the registry on `host` (without port).
    pub(crate) fn new(host: &str) -> Self {
        Self { inner: Arc::default(), trusted: host.into() }
    }

    async fn lookup(&self, name: &str) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        if is_localhost(name) {
            return Ok([IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]
                .map(|address| SocketAddr::new(address, 0))
                .to_vec());
        }
        let resolver = match self.inner.get() {
            Some(resolver) => resolver,
            None => {
                let mut builder = TokioResolver::builder_tokio()?;
                builder.options_mut().ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
                let made = builder.build()?;
                self.inner.get_or_init(|| made)
            }
        };
        let trusted = name.eq_ignore_ascii_case(&self.trusted);
        let found = resolver.lookup_ip(name).await.map_err(|err| {
            if err.is_no_records_found() {
                format!("lookup {name}: no such host")
            } else {
                format!("find {name}: the name servers of /etc/resolv.conf do not answer ({err})")
            }
        })?;
        let addresses: Vec<SocketAddr> = found
            .iter()
            .filter(|address| trusted || !is_link_local(*address))
            .map(|address| SocketAddr::new(address, 0))
            .collect();
        if addresses.is_empty() {
            return Err(format!("{name} has no address that ketch connects to").into());
        }
        Ok(addresses)
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let addresses = this.lookup(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// `localhost` and everything below it is this machine (RFC 6761, section 6.3).
pub(crate) fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
}

/// True for 169.254.0.0/16 and fe80::/10, also when written as an IPv4-mapped address.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.is_link_local(),
            // fd00:ec2::254 is where Amazon's machines have the same service.
            None => v6.is_unicast_link_local() || v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_addresses() {
        for (address, want) in [
            ("169.254.169.254", true),
            ("::ffff:169.254.169.254", true),
            ("fe80::1", true),
            ("fd00:ec2::254", true),
            ("127.0.0.1", false),
            ("10.0.0.1", false),
            ("::1", false),
            ("fd00::1", false),
        ] {
            assert_eq!(is_link_local(address.parse().unwrap()), want, "{address}");
        }
    }
}
