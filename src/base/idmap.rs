//! Mappings between the IDs of two user namespaces.

use serde::{Deserialize, Serialize};

/// One extent of a `uid_map` or `gid_map`: `len` IDs from `inside` on are those from `outside` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdExtent {
    /// First ID within the new namespace.
    pub(crate) inside: u32,
    /// First ID in the parent namespace.
    pub(crate) outside: u32,
    /// How many.
    pub(crate) len: u32,
}

/// A whole `uid_map` or `gid_map`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct IdMap(pub(crate) Vec<IdExtent>);

impl IdMap {
    /// The text the kernel's map files take: one `inside outside len` line per extent.
    pub(crate) fn to_kernel(&self) -> String {
        use std::fmt::Write as _;
        self.0.iter().fold(String::new(), |mut text, e| {
            // Writing to a String cannot fail.
            writeln!(text, "{} {} {}", e.inside, e.outside, e.len).ok();
            text
        })
    }

    /// Where `inside` lies in the parent namespace, if it is mapped.
    pub(crate) fn to_outside(&self, inside: u32) -> Option<u32> {
        self.0.iter().find_map(|e| {
            let offset = inside.checked_sub(e.inside)?;
            (offset < e.len).then(|| e.outside + offset)
        })
    }

    /// Which ID of the new namespace is `outside` in the parent's, if any is.
    pub(crate) fn to_inside(&self, outside: u32) -> Option<u32> {
        self.0.iter().find_map(|e| {
            let offset = outside.checked_sub(e.outside)?;
            (offset < e.len).then(|| e.inside + offset)
        })
    }

    /// How many IDs are mapped in all.
    pub(crate) fn size(&self) -> u64 {
        self.0.iter().map(|e| u64::from(e.len)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_both_ways() {
        let map = IdMap(vec![
            IdExtent { inside: 0, outside: 1000, len: 1 },
            IdExtent { inside: 1, outside: 100_000, len: 65_536 },
        ]);
        for (inside, outside) in
            [(0, Some(1000)), (1, Some(100_000)), (65_536, Some(165_535)), (65_537, None)]
        {
            assert_eq!(map.to_outside(inside), outside);
            assert!(outside.is_none_or(|outside| map.to_inside(outside) == Some(inside)));
        }
        assert_eq!(map.to_kernel(), "0 1000 1\n1 100000 65536\n");
        assert_eq!(map.size(), 65_537);
    }
}
