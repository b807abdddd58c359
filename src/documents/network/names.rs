//! Networks as docker lists them: ours is its `bridge`, and `host` and `none` are networks, too.

use jiff::Timestamp;

use crate::base::digest::Digest;
use crate::base::order::InOrder as _;
use crate::engine::{Engine, Result};
use crate::net::network::{DEFAULT_NETWORK, Network};

/// What docker calls the network that containers are on unless told otherwise.
const BRIDGE: &str = "bridge";

/// Modes that docker has as networks, and the drivers of those.
const MODES: [(&str, &str); 2] = [("host", "host"), ("none", "null")];

/// Docker's name of a network.
pub(crate) fn name(own: &str) -> &str {
    if own == DEFAULT_NETWORK { BRIDGE } else { own }
}

/// All networks by docker's names, in the order of those.
///
/// # Errors
///
/// If the store cannot be read.
pub(crate) fn all(engine: &Engine) -> Result<Vec<Network>> {
    let mut all = engine.networks()?;
    for network in &mut all {
        network.name = name(&network.name).to_owned();
    }
    all.extend(MODES.iter().filter_map(|(word, _)| mode(word)));
    all.order_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// The network that stands for `host` or `none`, by that word or its ID, as it is listed or shortened.
pub(crate) fn mode(typed: &str) -> Option<Network> {
    let id = |name: &str| Digest::of(name.as_bytes()).hex();
    let means = |name: &str| name == typed || typed.len() >= 12 && id(name).starts_with(typed);
    let (name, driver) = MODES.iter().find(|(name, _)| means(name))?;
    let id = id(name);
    let network = Network::bridge(name, id, String::new(), Timestamp::UNIX_EPOCH, &[]);
    Some(Network { driver: (*driver).to_owned(), ..network })
}
