//! What users write for devices: `HOST[:CONTAINER][:rwm]`, the name of a CDI device, or a rule like `c 189:* rmw`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::spec::Device;

/// What may be done with devices of some numbers (`--device-cgroup-rule`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct DeviceRule {
    pub(crate) kind: DeviceKind,
    /// `None` is any.
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    pub(crate) access: Access,
}

/// Which nodes a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceKind {
    Any,
    Block,
    Character,
}

/// Reading, writing, and making a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) make: bool,
}

impl Access {
    /// Reads letters out of `rwm`; `None` if there are others, or none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let has = |letter| text.contains(letter);
        let known = !text.is_empty() && text.bytes().all(|byte| b"rwm".contains(&byte));
        known.then(|| Self { read: has('r'), write: has('w'), make: has('m') })
    }
}

impl FromStr for DeviceRule {
    type Err = String;

    /// Reads `KIND MAJOR:MINOR ACCESS`, as the kernel's first version of control groups took it.
    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || {
            format!(
                "invalid device cgroup rule {text:?}: write a, b or c, MAJOR:MINOR (* is any), and some of rwm: c 189:* rwm"
            )
        };
        let number = |text: &str| match text {
            "*" => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| invalid()),
        };
        let [kind, numbers, access] = text.split(' ').collect::<Vec<_>>()[..] else { return Err(invalid()) };
        let kind = match kind {
            "a" => DeviceKind::Any,
            "b" => DeviceKind::Block,
            "c" => DeviceKind::Character,
            _ => return Err(invalid()),
        };
        let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
        let access = Access::parse(access).ok_or_else(invalid)?;
        Ok(Self { kind, major: number(major)?, minor: number(minor)?, access })
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::Any => 'a',
            DeviceKind::Block => 'b',
            DeviceKind::Character => 'c',
        };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        let Access { read, write, make } = self.access;
        [(read, "r"), (write, "w"), (make, "m")]
            .into_iter()
            .filter(|(is_allowed, _)| *is_allowed)
            .try_for_each(|(_, letter)| f.write_str(letter))
    }
}

impl TryFrom<String> for DeviceRule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DeviceRule> for String {
    fn from(rule: DeviceRule) -> Self {
        rule.to_string()
    }
}

/// `vendor.com/class=name`, in distinction from a path.
pub(crate) fn is_cdi_name(text: &str) -> bool {
    !text.starts_with('/')
        && text.split_once('=').is_some_and(|(kind, name)| kind.contains('/') && !name.is_empty())
}

/// Reads `HOST[:CONTAINER][:rwm]`; `None` if it is nothing of the kind.
pub(crate) fn parse(text: &str) -> Option<Device> {
    let is_access = |part: &str| Access::parse(part).is_some();
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, access) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, access] if is_access(access) => (source, source, access),
        [source, target] => (source, target, "rwm"),
        [source, target, access] if is_access(access) => (source, target, access),
        _ => return None,
    };
    let absolute = source.starts_with('/') && target.starts_with('/');
    absolute.then(|| Device { source: source.into(), target: target.into(), access: access.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (text, want) in [
            ("/dev/x", Some(("/dev/x", "/dev/x", "rwm"))),
            ("/dev/x:rw", Some(("/dev/x", "/dev/x", "rw"))),
            ("/dev/x:/dev/y", Some(("/dev/x", "/dev/y", "rwm"))),
            ("/dev/x:/dev/y:r", Some(("/dev/x", "/dev/y", "r"))),
            ("x", None),
            ("/dev/x:/dev/y:z", None),
        ] {
            let found = parse(text);
            let found = found
                .as_ref()
                .map(|d| (d.source.to_str().unwrap(), d.target.as_str().unwrap(), d.access.as_str()));
            assert_eq!(found, want, "{text}");
        }
        for (text, want) in [
            ("c 189:* rmw", Some("c 189:* rwm")),
            ("b 8:0 r", Some("b 8:0 r")),
            ("a *:* rwm", Some("a *:* rwm")),
            ("c 1:3", None),
            ("c 1 r", None),
            ("c 1:3 x", None),
            ("c 1:3 ", None),
            ("d 1:3 r", None),
            ("c -1:3 r", None),
            ("c  1:3 r", None),
            ("", None),
        ] {
            let rule = text.parse::<DeviceRule>().map(|rule| rule.to_string());
            assert_eq!(rule.as_deref().ok(), want, "{text:?}");
        }
        assert!(is_cdi_name("nvidia.com/gpu=all") && !is_cdi_name("/dev/a=b") && !is_cdi_name("gpu=all"));
    }
}
