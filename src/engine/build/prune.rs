//! What builds have kept: seeing it, and removing it.

use jiff::Timestamp;

use crate::engine::prune::Pruned;
use crate::engine::{Engine, Result};
use crate::store::build_cache::Cached;
use crate::sys::fs;

/// What to remove.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PruneBuilds {
    /// What images made of it still use, too, and cache mounts.
    pub(crate) all: bool,
    /// Only what nobody has used since then.
    pub(crate) unused_since: Option<Timestamp>,
    /// Keep what was used last, up to so many bytes.
    pub(crate) keep_bytes: Option<u64>,
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
        kept.sort_by_key(|kept| std::cmp::Reverse(kept.cached.last_used));
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
            if how.unused_since.is_some_and(|since| kept.cached.last_used >= since) {
                continue;
            }
            if let Some(bytes) = &mut left
                && *bytes >= kept.bytes
            {
                *bytes -= kept.bytes;
                continue;
            }
            // Without --all: what is of no image, as Docker's dangling build cache.
            if !how.all && (kept.shared || kept.cached.is_mount) {
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
        if how.all {
            self.store().build_cache().forget_file_digests()?;
        }
        self.discard(mounts)?;
        let freed = self.collect_garbage()?;
        pruned.bytes += freed.bytes;
        pruned.failed.extend(freed.damaged);
        Ok(pruned)
    }
}
