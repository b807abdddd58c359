//! What builds have kept: seeing it, and removing it.

use jiff::Timestamp;

use crate::base::order::InOrder as _;
use crate::engine::prune::Pruned;
use crate::engine::{Engine, Error, Result};
use crate::store::build_cache::Cached;
use crate::sys::fs;

/// What to remove.
#[derive(Clone, Debug, Default)]
pub(crate) struct PruneBuilds {
    /// What images made of it still use, too, and cache mounts.
    pub(crate) all: bool,
    /// Only what nobody has used since then.
    pub(crate) unused_since: Option<Timestamp>,
    /// Keep what was used last, up to so many bytes.
    pub(crate) keep_bytes: Option<u64>,
    /// Only what all of these fit.
    pub(crate) filters: Vec<KeptFilter>,
}

/// What somebody looks for among what builds have kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeptFilter {
    /// `id`: the ID, or its beginning.
    Id(String),
    /// `type`: `regular`, or `exec.cachemount`.
    Kind(String),
    /// `shared`, `private`: an image has its layer, too.
    Shared(bool),
    /// `description`: a part of the instruction.
    Description(String),
}

impl KeptFilter {
    /// Reads KEY=VALUE.
    ///
    /// # Errors
    ///
    /// [`Kind::Invalid`](crate::engine::Kind::Invalid) for others than those above.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let truth = |value: &str| value.parse().ok();
        let (key, value) = text.split_once('=').unwrap_or((text, "true"));
        let filter = match key {
            "id" => Some(Self::Id(value.to_owned())),
            "type" if ["regular", "exec.cachemount"].contains(&value) => Some(Self::Kind(value.to_owned())),
            "shared" => truth(value).map(Self::Shared),
            "private" => truth(value).map(|private: bool| Self::Shared(!private)),
            "description" | "description~" => Some(Self::Description(value.to_owned())),
            _ => None,
        };
        filter.ok_or_else(|| {
            Error::invalid(format!("invalid filter {text:?}"))
                .hint("known are id, type=regular|exec.cachemount, shared, private and description")
        })
    }
}

/// One kept thing, with its size.
#[derive(Debug)]
pub(crate) struct KeptBuild {
    pub(crate) cached: Cached,
    /// Bytes of its own files.
    pub(crate) bytes: u64,
    /// An image has its layer as well, so that removing this frees nothing.
    pub(crate) shared: bool,
}

impl KeptBuild {
    /// What BuildKit calls it.
    pub(crate) fn kind(&self) -> &'static str {
        if self.cached.is_mount { "exec.cachemount" } else { "regular" }
    }

    /// True if all of these fit it.
    pub(crate) fn fits(&self, filters: &[KeptFilter]) -> bool {
        filters.iter().all(|filter| match filter {
            KeptFilter::Id(start) => self.cached.id.starts_with(start.as_str()),
            KeptFilter::Kind(kind) => self.kind() == kind,
            KeptFilter::Shared(shared) => self.shared == *shared,
            KeptFilter::Description(part) => self.cached.description.contains(part.as_str()),
        })
    }
}

impl Engine {
    /// What builds have kept, the last used one first.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) fn kept_builds(&self) -> Result<Vec<KeptBuild>> {
        let store = self.store();
        let images = store.images().list()?.items;
        let in_images: std::collections::HashSet<_> =
            images.iter().flat_map(|image| image.chain_ids()).collect();
        let mut kept: Vec<KeptBuild> = store
            .build_cache()
            .list()?
            .into_iter()
            .map(|cached| {
                let shared = cached.layer.as_ref().is_some_and(|layer| in_images.contains(&layer.chain_id));
                let bytes = match &cached.layer {
                    Some(layer) => layer.size_bytes,
                    None if cached.is_mount => {
                        let data = store.build_cache().mount_data(&cached.id);
                        fs::tree::usage(fs::here(), data.as_os_str()).map_or(0, |usage| usage.bytes)
                    }
                    None => 0,
                };
                KeptBuild { cached, bytes, shared }
            })
            .collect();
        kept.order_by_key(|kept| std::cmp::Reverse(kept.cached.last_used));
        Ok(kept)
    }

    /// Removes what builds have kept. What a build is using at this moment stays.
    ///
    /// # Errors
    ///
    /// If the store cannot be read or changed.
    pub(crate) fn prune_builds(&self, how: PruneBuilds) -> Result<Pruned<String>> {
        let mut pruned = Pruned::default();
        let mut left = how.keep_bytes;
        let mut mounts = Vec::new();
        for kept in self.kept_builds()? {
            let is_recent = how.unused_since.is_some_and(|since| kept.cached.last_used >= since);
            if is_recent || !kept.fits(&how.filters) {
                continue;
            }
            if let Some(bytes) = &mut left
                && *bytes >= kept.bytes
            {
                *bytes -= kept.bytes;
                continue;
            }
            // Without --all: what is of no image, as Docker's dangling build cache; cache mounts, who asks for them.
            let is_meant = how.filters.iter().any(|filter| matches!(filter, KeptFilter::Kind(_)));
            if !how.all && (kept.shared || kept.cached.is_mount && !is_meant) {
                continue;
            }
            if kept.cached.is_mount {
                let Some(taken) = self.store().build_cache().take_mount(&kept.cached.id)? else { continue };
                mounts.push(taken);
                pruned.bytes += kept.bytes;
            } else {
                self.store().build_cache().forget(&kept.cached.id)?;
            }
            pruned.removed.push(kept.cached.id);
        }
        if how.all && how.filters.is_empty() {
            self.store().build_cache().forget_file_digests()?;
        }
        self.discard(mounts)?;
        let freed = self.collect_garbage()?;
        pruned.bytes += freed.bytes;
        pruned.failed.extend(freed.damaged);
        self.record_prune("builder", pruned.bytes);
        Ok(pruned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        for (text, want) in [
            ("id=ab", KeptFilter::Id("ab".to_owned())),
            ("type=exec.cachemount", KeptFilter::Kind("exec.cachemount".to_owned())),
            ("shared", KeptFilter::Shared(true)),
            ("private=true", KeptFilter::Shared(false)),
            ("description~=RUN", KeptFilter::Description("RUN".to_owned())),
        ] {
            assert_eq!(KeptFilter::parse(text).unwrap(), want, "{text}");
        }
        for text in ["type=other", "shared=maybe", "nothing=x", ""] {
            assert!(KeptFilter::parse(text).is_err(), "{text}");
        }
    }
}
