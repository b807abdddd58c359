//! What users write for devices: `HOST[:CONTAINER][:rwm]`, or the name of a CDI device.

use crate::base::spec::Device;

/// `vendor.com/class=name`, in distinction from a path.
pub(crate) fn is_cdi_name(text: &str) -> bool {
    !text.starts_with('/')
        && text.split_once('=').is_some_and(|(kind, name)| kind.contains('/') && !name.is_empty())
}

/// Reads `HOST[:CONTAINER][:rwm]`; `None` if it is nothing of the kind.
pub(crate) fn parse(text: &str) -> Option<Device> {
    let is_access = |part: &str| !part.is_empty() && part.bytes().all(|b| b"rwm".contains(&b));
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
        assert!(is_cdi_name("nvidia.com/gpu=all") && !is_cdi_name("/dev/a=b") && !is_cdi_name("gpu=all"));
    }
}
