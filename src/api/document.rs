//! Documents that clients send, as Go reads them: `null` is what a missing field is, and unknown fields are passed over.

use std::collections::BTreeMap;

use crate::base::order;

use serde::Deserialize;

/// Structs of which each field may be missing or `null`.
macro_rules! documents {
    ($($(#[$about:meta])* $name:ident { $($(#[$with:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Debug, Default, ::serde::Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        pub(crate) struct $name {
            $($(#[$with])* #[serde(deserialize_with = "crate::base::manifest::or_default")] pub(crate) $field: $kind,)*
        }
    )*};
}
pub(crate) use documents;

/// Names of which only the keys count (`{"80/tcp": {}}`).
pub(crate) type Set = BTreeMap<String, serde::de::IgnoredAny>;
/// Texts by name; Go reads a `null` among them as an empty one.
pub(crate) type Texts = BTreeMap<String, Option<String>>;

/// Texts by name, without what JSON adds to them.
pub(crate) fn texts(from: &Texts) -> BTreeMap<String, String> {
    order::map(from.iter().map(|(key, value)| (key.clone(), value.clone().unwrap_or_default())))
}

/// A command: a list of words, or one word.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub(crate) enum Words {
    Word(String),
    List(Vec<String>),
}

impl Words {
    pub(crate) fn into_list(self) -> Vec<String> {
        match self {
            Self::Word(word) => vec![word],
            Self::List(words) => words,
        }
    }
}

documents! {
    /// How a container is on one network.
    Endpoint {
        #[serde(rename = "IPAMConfig")]
        ipam_config: IpamConfig,
        links: Vec<String>,
        aliases: Vec<String>,
        mac_address: String,
        driver_opts: Texts,
        gw_priority: i64,
    }

    IpamConfig {
        #[serde(rename = "IPv4Address")]
        ipv4_address: String,
        #[serde(rename = "IPv6Address")]
        ipv6_address: String,
        #[serde(rename = "LinkLocalIPs")]
        link_local_ips: Vec<String>,
    }
}
