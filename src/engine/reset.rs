//! Removes everything.

use crate::base::digest::Digest;
use crate::engine::build::prune::PruneBuilds;
use crate::engine::lifecycle::{Grace, StopOrder};
use crate::engine::remove::Removing;
use crate::engine::{Engine, Error, Result};
use crate::store::record;
use crate::store::shelf::Shelf;
use crate::store::staging;

impl Engine {
    /// Stops and removes every container, and removes every image, layer, blob and volume.
    ///
    /// Goes on after a failure, and returns all of them.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) fn reset(&self) -> Result<Vec<Error>> {
        let mut failed = Vec::new();
        let containers = self.store().containers().list()?;
        let now = Some(Grace::from_seconds(0));
        let orders: Vec<_> =
            containers.iter().map(|id| StopOrder { id: id.clone(), grace: now, signal: None }).collect();
        // Those that cannot be stopped show up in the removal.
        drop(self.stop(&orders));
        for id in &containers {
            let how = Removing { force: true, grace: now, volumes: true, depend: true, with_pods: true };
            failed.extend(self.remove_container(id, &how).err());
        }
        failed.extend(self.forget_pods().err());
        let volumes = record::names(self.store(), "volumes")?;
        for name in volumes {
            let removed = self.store().volumes().take(&name).map_err(Error::from);
            failed.extend(removed.and_then(|taken| self.discard(taken.into_iter().collect())).err());
        }
        self.remove_all_images()?;
        failed.extend(self.store().blobs().remove_abandoned().map_err(Error::from).err());
        failed.extend(self.prune_builds(PruneBuilds { all: true, ..PruneBuilds::default() }).err());
        match self.collect_garbage() {
            Ok(freed) => failed.extend(freed.damaged),
            Err(err) => failed.push(err),
        }
        self.store().wait_for_sweepers();
        match std::fs::remove_dir_all(crate::events::directory(self.store().root())) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                failed.push(crate::engine::Error::system("remove the events", err));
            }
            _ => {}
        }
        Ok(failed)
    }

    /// Removes every image, readable or not; their layers and blobs are garbage then.
    fn remove_all_images(&self) -> Result<()> {
        let lock = self.lock()?;
        for known in self.store().refs().list()?.items {
            self.store().refs().remove(&known.name, &lock)?;
        }
        // A name that cannot be read is removed as the file it is.
        for file in record::names(self.store(), "refs")? {
            drop(staging::take(self.store(), &std::path::Path::new("refs").join(file))?);
        }
        for shelf in [Shelf::Lists, Shelf::Artifacts] {
            for item in self.store().shelf(shelf).list()?.items {
                self.store().shelf(shelf).remove(&item.name, &lock)?;
            }
        }
        for hex in self.store().images().ids()? {
            if let Ok(id) = Digest::from_hex(&hex) {
                self.store().images().remove(&id, &lock)?;
            }
        }
        Ok(())
    }
}
