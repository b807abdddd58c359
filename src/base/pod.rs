//! Pods: containers that share namespaces, and their words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::id::{ContainerId, IdError};
use crate::base::order::InOrder as _;

/// The full ID of a pod: 64 lower-case hex digits, random, never reused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct PodId(ContainerId);

impl PodId {
    /// A new ID from 32 random bytes.
    pub(crate) fn from_random(bytes: [u8; 32]) -> Self {
        Self(ContainerId::from_random(bytes))
    }

    /// All 64 digits.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The first 12 digits, as tables show them.
    pub(crate) fn short(&self) -> &str {
        self.0.short()
    }
}

impl FromStr for PodId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A container's place in a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Membership {
    pub(crate) id: PodId,
    /// It holds the namespaces that the others share.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) infra: bool,
    /// It runs to its end before the others are started with the pod (`--init-ctr`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) init: Option<InitKind>,
}

impl Membership {
    /// That of an ordinary member.
    pub(crate) fn of(id: PodId) -> Self {
        Self { id, infra: false, init: None }
    }
}

/// When an init container of a pod runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum InitKind {
    /// At each start of the pod.
    Always,
    /// At the first one; then it is removed.
    Once,
}

impl InitKind {
    /// The word of `--init-ctr`.
    pub(crate) fn named(text: &str) -> Option<Self> {
        match text {
            "always" => Some(Self::Always),
            "once" => Some(Self::Once),
            _ => None,
        }
    }
}

/// A namespace that the containers of a pod may share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Share {
    Cgroup,
    Ipc,
    Net,
    Pid,
    Uts,
}

impl Share {
    /// What pods share where nothing else is said.
    pub(crate) const USUAL: [Self; 3] = [Self::Ipc, Self::Net, Self::Uts];

    /// The word of `--share`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Net => "net",
            Self::Pid => "pid",
            Self::Uts => "uts",
        }
    }

    /// Reads the value of `--share`: names with commas between them, `none`, nothing; after `+` they come to the usual ones.
    ///
    /// # Errors
    ///
    /// The name that is none.
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let (mut shared, names) = match text.strip_prefix('+') {
            Some(names) => (Self::USUAL.to_vec(), names),
            None => (Vec::new(), text),
        };
        for name in names.split(',').filter(|name| !matches!(*name, "" | "none")) {
            let all = [Self::Cgroup, Self::Ipc, Self::Net, Self::Pid, Self::Uts];
            shared.push(all.into_iter().find(|one| one.word() == name).ok_or_else(|| name.to_owned())?);
        }
        shared.order();
        shared.dedup();
        Ok(shared)
    }
}

/// What becomes of the infra container when the last of the other containers has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ExitPolicy {
    /// It stays.
    #[default]
    Continue,
    /// It is stopped.
    Stop,
}

impl ExitPolicy {
    /// The word of `--exit-policy`.
    pub(crate) fn named(text: &str) -> Option<Self> {
        match text {
            "continue" => Some(Self::Continue),
            "stop" => Some(Self::Stop),
            _ => None,
        }
    }

    /// Its word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Stop => "stop",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared() {
        let of = |text| Share::parse_list(text);
        assert_eq!(of("ipc,net,uts"), Ok(Share::USUAL.to_vec()));
        assert_eq!(of("uts,net,uts"), Ok(vec![Share::Net, Share::Uts]));
        assert_eq!(of("+pid"), Ok(vec![Share::Ipc, Share::Net, Share::Pid, Share::Uts]));
        for nothing in ["", "none"] {
            assert_eq!(of(nothing), Ok(Vec::new()));
        }
        assert_eq!(of("net,user"), Err("user".to_owned()));
    }

    #[test]
    fn a_membership_is_short_where_nothing_is_said() {
        let id = PodId::from_random([1; 32]);
        let member = Membership::of(id.clone());
        assert_eq!(serde_json::to_value(&member).unwrap(), serde_json::json!({"id": id.as_str()}));
        let infra = Membership { infra: true, ..member };
        let text = serde_json::to_string(&infra).unwrap();
        assert_eq!(serde_json::from_str::<Membership>(&text).unwrap(), infra);
    }
}
